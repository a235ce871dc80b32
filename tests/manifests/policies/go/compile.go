package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/version"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/cel/environment"
)

// compile compiles policies as a release of Kubernetes does that has just been given them. It
// follows mutating/compilation.go and validating/plugin.go of k8s.io/apiserver.
func compile(texts []json.RawMessage, kubernetes string) (rules []rule, problems []string) {
	release, err := version.ParseGeneric(kubernetes)
	if err != nil {
		return nil, []string{err.Error()}
	}
	policies := map[string]rule{}
	var mutatingBindings []*v1.MutatingAdmissionPolicyBinding
	var validatingBindings []*v1.ValidatingAdmissionPolicyBinding
	for _, text := range texts {
		object, _, err := decoder.Decode(text, nil, nil)
		if err != nil {
			return nil, []string{err.Error()}
		}
		switch policy := object.(type) {
		case *v1.MutatingAdmissionPolicy:
			compiled, found := compileMutating(policy, release)
			policies["mutating/"+policy.Name] = compiled
			problems = append(problems, found...)
		case *v1.ValidatingAdmissionPolicy:
			compiled, found := compileValidating(policy, release)
			policies["validating/"+policy.Name] = compiled
			problems = append(problems, found...)
		case *v1.MutatingAdmissionPolicyBinding:
			mutatingBindings = append(mutatingBindings, policy)
		case *v1.ValidatingAdmissionPolicyBinding:
			validatingBindings = append(validatingBindings, policy)
		}
	}
	for _, binding := range mutatingBindings {
		compiled, ok := policies["mutating/"+binding.Spec.PolicyName]
		if !ok {
			problems = append(problems, binding.Name+": no policy "+binding.Spec.PolicyName)
			continue
		}
		compiled.name, compiled.paramRef, compiled.binding = binding.Name, binding.Spec.ParamRef, binding.Spec.MatchResources
		rules = append(rules, compiled)
	}
	for _, binding := range validatingBindings {
		compiled, ok := policies["validating/"+binding.Spec.PolicyName]
		if !ok {
			problems = append(problems, binding.Name+": no policy "+binding.Spec.PolicyName)
			continue
		}
		compiled.name, compiled.paramRef, compiled.binding = binding.Name, binding.Spec.ParamRef, binding.Spec.MatchResources
		compiled.actions = binding.Spec.ValidationActions
		rules = append(rules, compiled)
	}
	return rules, problems
}

func newCompiler(
	variables []v1.Variable, options plugincel.OptionalVariableDeclarations, release *version.Version,
) (*plugincel.CompositedCompiler, []string) {
	compiler, err := plugincel.NewCompositedCompiler(environment.MustBaseEnvSet(release))
	if err != nil {
		return nil, []string{err.Error()}
	}
	var problems []string
	for _, variable := range variables {
		accessor := &validating.Variable{Name: variable.Name, Expression: variable.Expression}
		result := compiler.CompileAndStoreVariable(accessor, options, environment.NewExpressions)
		if result.Error != nil {
			problems = append(problems, fmt.Sprintf("variable %s: %v", variable.Name, result.Error))
		}
	}
	return compiler, problems
}

func compileConditions(
	compiler plugincel.ConditionCompiler, conditions []v1.MatchCondition, options plugincel.OptionalVariableDeclarations,
	failure *v1.FailurePolicyType, name string,
) (matchconditions.Matcher, []string) {
	if len(conditions) == 0 {
		return nil, nil
	}
	accessors := make([]plugincel.ExpressionAccessor, len(conditions))
	for i := range conditions {
		accessors[i] = (*matchconditions.MatchCondition)(&conditions[i])
	}
	evaluator := compiler.CompileCondition(accessors, options, environment.NewExpressions)
	return matchconditions.NewMatcher(evaluator, failure, "policy", "validate", name), describe(evaluator.CompilationErrors())
}

func describe(errors []error) (texts []string) {
	for _, err := range errors {
		texts = append(texts, err.Error())
	}
	return texts
}

func compileMutating(policy *v1.MutatingAdmissionPolicy, release *version.Version) (rule, []string) {
	options := plugincel.OptionalVariableDeclarations{HasParams: policy.Spec.ParamKind != nil, HasAuthorizer: true}
	compiler, problems := newCompiler(policy.Spec.Variables, options, release)
	matcher, found := compileConditions(compiler, policy.Spec.MatchConditions, options, policy.Spec.FailurePolicy, policy.Name)
	problems = append(problems, found...)
	options.HasPatchTypes = true
	var patchers []patch.Patcher
	for _, mutation := range policy.Spec.Mutations {
		if mutation.JSONPatch == nil {
			return rule{}, append(problems, policy.Name+": only JSONPatch is applied here")
		}
		accessor := &patch.JSONPatchCondition{Expression: mutation.JSONPatch.Expression}
		evaluator := compiler.CompileMutatingEvaluator(accessor, options, environment.NewExpressions)
		problems = append(problems, describe(evaluator.CompilationErrors())...)
		patchers = append(patchers, patch.NewJSONPatcher(evaluator))
	}
	return rule{
		constraints: policy.Spec.MatchConstraints, matcher: matcher, compiler: compiler,
		needsParams: policy.Spec.ParamKind != nil, patchers: patchers, failure: policy.Spec.FailurePolicy,
	}, problems
}

func compileValidating(policy *v1.ValidatingAdmissionPolicy, release *version.Version) (rule, []string) {
	options := plugincel.OptionalVariableDeclarations{HasParams: policy.Spec.ParamKind != nil, HasAuthorizer: true}
	messageOptions := plugincel.OptionalVariableDeclarations{HasParams: options.HasParams}
	compiler, problems := newCompiler(policy.Spec.Variables, options, release)
	matcher, found := compileConditions(compiler, policy.Spec.MatchConditions, options, policy.Spec.FailurePolicy, policy.Name)
	problems = append(problems, found...)
	var validations, messages, annotations []plugincel.ExpressionAccessor
	for _, validation := range policy.Spec.Validations {
		validations = append(validations, &validating.ValidationCondition{
			Expression: validation.Expression, Message: validation.Message, Reason: validation.Reason,
		})
		if validation.MessageExpression == "" {
			messages = append(messages, nil)
		} else {
			messages = append(messages, &validating.MessageExpressionCondition{MessageExpression: validation.MessageExpression})
		}
	}
	for _, annotation := range policy.Spec.AuditAnnotations {
		annotations = append(annotations, &validating.AuditAnnotationCondition{
			Key: annotation.Key, ValueExpression: annotation.ValueExpression,
		})
	}
	compiledValidations := compiler.CompileCondition(validations, options, environment.NewExpressions)
	compiledAnnotations := compiler.CompileCondition(annotations, options, environment.NewExpressions)
	compiledMessages := compiler.CompileCondition(messages, messageOptions, environment.NewExpressions)
	for _, each := range []plugincel.ConditionEvaluator{compiledValidations, compiledAnnotations, compiledMessages} {
		problems = append(problems, describe(each.CompilationErrors())...)
	}
	validator := validating.NewValidator(compiledValidations, matcher, compiledAnnotations, compiledMessages, policy.Spec.FailurePolicy, nil)
	return rule{
		constraints: policy.Spec.MatchConstraints, compiler: compiler, needsParams: policy.Spec.ParamKind != nil,
		validator: validator, failure: policy.Spec.FailurePolicy,
	}, problems
}

// selects tells whether a policy and its binding are for an object; rules by resource and operation only.
func (r rule) selects(object runtime.Object, kind string, namespace *corev1.Namespace) bool {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return false
	}
	for _, resources := range []*v1.MatchResources{r.constraints, r.binding} {
		if resources == nil {
			continue
		}
		matchesRule := len(resources.ResourceRules) == 0
		for _, each := range resources.ResourceRules {
			creates := slices.Contains(each.Operations, v1.Create) || slices.Contains(each.Operations, v1.OperationAll)
			matchesRule = matchesRule || creates && (slices.Contains(each.Resources, plural(kind)) || slices.Contains(each.Resources, "*"))
		}
		if !matchesRule || !fits(resources.ObjectSelector, accessor.GetLabels()) || !fits(resources.NamespaceSelector, namespace.Labels) {
			return false
		}
	}
	return true
}

func fits(selector *metav1.LabelSelector, found map[string]string) bool {
	if selector == nil {
		return true
	}
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && parsed.Matches(labels.Set(found))
}

func plural(kind string) string {
	if strings.HasSuffix(kind, "s") {
		return strings.ToLower(kind) + "es"
	}
	return strings.ToLower(kind) + "s"
}
