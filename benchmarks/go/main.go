// Command bench does with HyperShift's library for Go what `benchmarks.subject` does with ours.
//
// Each line of standard input is one order in JSON, each line of standard output its answer.
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/msi-dataplane/pkg/dataplane"
	"github.com/go-logr/logr"
)

const arm = "https://management.azure.com/.default"

type order struct {
	Do       string
	Path     string
	Paths    []string
	Backstop float64 // seconds; 0 leaves the library's own
	Scope    string
	Callers  int
	Calls    int
	Seconds  float64
	Tokens   int
}

type answer map[string]any

type subject struct {
	credential azcore.TokenCredential
	asked      int
	signer     string
}

func main() {
	answers := json.NewEncoder(os.Stdout)
	subject := &subject{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Buffer(nil, 1<<20); lines.Scan(); {
		var order order
		if err := json.Unmarshal(lines.Bytes(), &order); err != nil {
			panic(err)
		}
		answers.Encode(subject.do(order))
	}
}

func (s *subject) do(order order) answer {
	switch order.Do {
	case "open":
		s.credential = must(open(order.Path, order.Backstop))
		s.signer = signer(must(get(s.credential, arm)))
		return answer{}
	case "cached":
		return answer{"seconds": s.measure(order.Callers, order.Calls), "loop": 0}
	case "start":
		go get(s.credential, order.Scope)
		return answer{}
	case "meanwhile":
		return answer{"seconds": s.callFor(order.Callers, order.Seconds)}
	case "renewed":
		return s.wait(order.Seconds)
	case "requests":
		taken := make([]float64, order.Calls)
		for call := range taken {
			started := time.Now()
			s.request()
			taken[call] = time.Since(started).Seconds()
		}
		return answer{"seconds": median(taken)}
	case "take":
		return answer{"seconds": take(order.Paths)}
	case "many":
		return many(order.Paths, order.Tokens)
	}
	panic("unknown order " + order.Do)
}

func open(path string, backstop float64) (azcore.TokenCredential, error) {
	logger := logr.Discard() // its own writes to standard output
	options := []dataplane.Option{dataplane.WithLogger(&logger)}
	if backstop > 0 {
		options = append(options, dataplane.WithBackstopRefresh(seconds(backstop)))
	}
	return dataplane.NewUserAssignedIdentityCredential(context.Background(), path, options...)
}

func get(credential azcore.TokenCredential, scope string) (string, error) {
	token, err := credential.GetToken(context.Background(), policy.TokenRequestOptions{Scopes: []string{scope}})
	return token.Token, err
}

// measure tells the seconds that each of so many calls takes of the whole.
func (s *subject) measure(callers, calls int) float64 {
	ctx, options := context.Background(), policy.TokenRequestOptions{Scopes: []string{arm}}
	var group sync.WaitGroup
	started := time.Now()
	for range callers {
		group.Go(func() {
			for range calls {
				if _, err := s.credential.GetToken(ctx, options); err != nil {
					panic(err)
				}
			}
		})
	}
	group.Wait()
	return time.Since(started).Seconds() / float64(callers*calls)
}

// callFor has callers ask for a time, and tells how long each call took.
func (s *subject) callFor(callers int, length float64) []float64 {
	var group sync.WaitGroup
	until := time.Now().Add(seconds(length))
	taken := make([][]float64, callers)
	for caller := range callers {
		group.Go(func() {
			for time.Now().Before(until) {
				started := time.Now()
				must(get(s.credential, arm))
				taken[caller] = append(taken[caller], time.Since(started).Seconds())
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	group.Wait()
	return slices.Concat(taken...)
}

// wait asks for one token after another, past the cache, until another certificate has signed a request.
func (s *subject) wait(length float64) answer {
	for until := time.Now().Add(seconds(length)); time.Now().Before(until); {
		found := signer(s.request())
		if found != s.signer {
			s.signer = found
			return answer{"at": float64(time.Now().UnixNano()) / 1e9}
		}
	}
	return answer{"at": nil}
}

func (s *subject) request() string {
	s.asked++
	claims := fmt.Sprintf(`{"access_token": {"nbf": {"value": "%d"}}}`, s.asked)
	options := policy.TokenRequestOptions{Scopes: []string{arm}, Claims: claims}
	return must(s.credential.GetToken(context.Background(), options)).Token
}

// take does what the library does with a changed file; its own `load` is not exported.
func take(paths []string) float64 {
	taken := []float64{}
	for _, path := range paths {
		started := time.Now()
		var content dataplane.UserAssignedIdentityCredentials
		if err := json.Unmarshal(must(os.ReadFile(path)), &content); err != nil {
			panic(err)
		}
		must(dataplane.GetCredential(azcore.ClientOptions{}, content))
		taken = append(taken, time.Since(started).Seconds())
	}
	return median(taken)
}

// many opens credentials until one fails; the memory of each is that of the first ones, which have a token.
func many(paths []string, tokens int) answer {
	opened := []azcore.TokenCredential{}
	memory, each := 0.0, 0.0
	var failed error
	for _, path := range paths {
		credential, err := open(path, 0)
		if err != nil {
			failed = err
			break
		}
		opened = append(opened, credential)
		if len(opened) <= tokens+1 {
			must(get(credential, arm))
		}
		if len(opened) == 1 { // what it loads is not the cost of each
			memory = resident()
		}
		if len(opened) == tokens+1 {
			each = (resident() - memory) / float64(tokens)
		}
	}
	runtime.KeepAlive(opened)
	return answer{"opened": len(opened), "failed": fmt.Sprint(failed), "kib_each": each}
}

// resident is the resident set in KiB, without what the collector may free.
func resident() float64 {
	runtime.GC()
	debug.FreeOSMemory()
	fields := strings.Fields(string(must(os.ReadFile("/proc/self/statm"))))
	return must(strconv.ParseFloat(fields[1], 64)) * float64(os.Getpagesize()) / 1024
}

// signer tells which certificate a token was got with, as the local Azure has written into it.
func signer(token string) string {
	var claims struct {
		Signer string `json:"hcpcreds_certificate"`
	}
	body := must(base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1]))
	if err := json.Unmarshal(body, &claims); err != nil || claims.Signer == "" {
		panic("no certificate in the token")
	}
	return claims.Signer
}

func median(taken []float64) float64 {
	slices.Sort(taken)
	return taken[len(taken)/2]
}

func seconds(length float64) time.Duration { return time.Duration(length * float64(time.Second)) }

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
