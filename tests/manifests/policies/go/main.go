// Command policies applies admission policies to objects as Kubernetes' API server does, with its own library.
//
// Standard input is a stream of JSON objects. The first is {"policies": [...], "kubernetes": "1.36"}:
// policies, their bindings, and the release of Kubernetes whose expressions they may use.
// Each of the others is {"object": {...}, "params": [...], "namespace": {...}}: an object that somebody
// creates, the parameters in its namespace, and its namespace. The answers are lines of JSON on standard
// output: for the policies {"problems": [...]}, for each object
// {"object": {...}, "errors": [...], "denied": [...], "warned": [...], "audited": [...]}.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	v1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
)

type input struct {
	Policies   []json.RawMessage `json:"policies"`
	Kubernetes string            `json:"kubernetes"`
	Object     json.RawMessage   `json:"object"`
	Params     []json.RawMessage `json:"params"`
	Namespace  *corev1.Namespace `json:"namespace"`
	User       string            `json:"user"`
}

type output struct {
	Object   runtime.Object `json:"object,omitempty"`
	Problems []string       `json:"problems,omitempty"`
	Errors   []string       `json:"errors,omitempty"`
	Denied   []string       `json:"denied,omitempty"`
	Warned   []string       `json:"warned,omitempty"`
	Audited  []string       `json:"audited,omitempty"`
}

// rule is a policy, compiled, with one of its bindings.
type rule struct {
	name        string
	constraints *v1.MatchResources
	matcher     matchconditions.Matcher
	compiler    *plugincel.CompositedCompiler
	needsParams bool
	paramRef    *v1.ParamRef
	binding     *v1.MatchResources
	actions     []v1.ValidationAction
	patchers    []patch.Patcher
	validator   validating.Validator
	failure     *v1.FailurePolicyType
}

var (
	decoder = serializer.NewCodecFactory(clientscheme.Scheme).UniversalDeserializer()
	objects = admission.NewObjectInterfacesFromScheme(clientscheme.Scheme)
)

func main() {
	in := json.NewDecoder(bufio.NewReader(os.Stdin))
	out := json.NewEncoder(os.Stdout)
	var rules []rule
	for {
		var line input
		if err := in.Decode(&line); err != nil {
			return
		}
		var answer output
		if line.Policies != nil {
			rules, answer.Problems = compile(line.Policies, line.Kubernetes)
		} else {
			answer = admit(rules, line)
		}
		if err := out.Encode(answer); err != nil {
			return
		}
	}
}

func admit(rules []rule, line input) (answer output) {
	created, kind, err := decoder.Decode(line.Object, nil, nil)
	if err != nil {
		created = &unstructured.Unstructured{}
		if _, kind, err = unstructured.UnstructuredJSONScheme.Decode(line.Object, nil, created); err != nil {
			return output{Errors: []string{err.Error()}}
		}
	}
	var params []runtime.Object
	for _, text := range line.Params {
		param := &unstructured.Unstructured{}
		if err := param.UnmarshalJSON(text); err != nil {
			return output{Errors: []string{err.Error()}}
		}
		params = append(params, param)
	}
	answer.Object = created
	for _, each := range rules {
		if !each.selects(answer.Object, kind.Kind, line.Namespace) {
			continue
		}
		if each.needsParams && len(params) == 0 {
			if *each.paramRef.ParameterNotFoundAction == v1.DenyAction {
				answer.Denied = append(answer.Denied, each.name+": no params")
			}
			continue
		}
		using := []runtime.Object{nil}
		if each.needsParams {
			using = params
		}
		for _, param := range using {
			each.apply(&answer, *kind, param, line)
		}
	}
	return answer
}

func (r rule) apply(answer *output, kind schema.GroupVersionKind, param runtime.Object, line input) {
	ctx := context.Background()
	if r.compiler != nil {
		ctx = r.compiler.CreateContext(ctx)
	}
	resource := schema.GroupVersionResource{Group: kind.Group, Version: kind.Version, Resource: plural(kind.Kind)}
	attributes := admission.NewAttributesRecord(answer.Object, nil, kind, line.Namespace.Name, "", resource, "",
		admission.Create, nil, true, &user.DefaultInfo{Name: line.User})
	versioned := &admission.VersionedAttributes{Attributes: attributes, VersionedObject: answer.Object, VersionedKind: kind}
	fail := func(err error) {
		text := fmt.Sprintf("%s: %v", r.name, err)
		answer.Errors = append(answer.Errors, text)
	}
	if r.validator != nil {
		result := r.validator.Validate(ctx, resource, versioned, param, line.Namespace, celconfig.RuntimeCELCostBudget, nil)
		for _, decision := range result.Decisions {
			if decision.Evaluation == validating.EvalError {
				fail(errors.New(decision.Message))
			}
			if decision.Action != validating.ActionDeny {
				continue
			}
			for _, action := range r.actions {
				switch action {
				case v1.Deny:
					answer.Denied = append(answer.Denied, decision.Message)
				case v1.Warn:
					answer.Warned = append(answer.Warned, decision.Message)
				case v1.Audit:
					answer.Audited = append(answer.Audited, decision.Message)
				}
			}
		}
		return
	}
	if r.matcher != nil {
		matched := r.matcher.Match(ctx, versioned, param, nil)
		if matched.Error != nil {
			fail(matched.Error)
		}
		if matched.Error != nil || !matched.Matches {
			return
		}
	}
	for _, patcher := range r.patchers {
		request := patch.Request{
			MatchedResource:     resource,
			VersionedAttributes: versioned,
			ObjectInterfaces:    objects,
			OptionalVariables:   plugincel.OptionalVariableBindings{VersionedParams: param},
			Namespace:           line.Namespace,
		}
		patched, err := patcher.Patch(ctx, request, celconfig.RuntimeCELCostBudget)
		if err != nil {
			fail(err)
			return
		}
		versioned.VersionedObject = patched
		answer.Object = patched
	}
}
