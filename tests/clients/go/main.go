// Command clients asks for tokens with Azure's SDK for Go, as the other programs here do in their languages.
//
//	clients [-every DURATION] [-scope SCOPE] [-backstop DURATION] [-root DIRECTORY] [LOGIN [FILE]]
//
// LOGIN is how it finds its credential: `variables` (the default) as any program does; each of the others as one
// of HyperShift's components does, see components.go; FILE is that component's configuration.
//
// Standard input has a line for each token: a scope, or `new` and a scope for a credential that has asked for
// nothing yet. Standard output has a line of JSON for each: {"token": ..., "login": ...} or {"error": ...}.
// With -every, it asks by itself until it is stopped, calls the URL in HCPCREDS_CONFORM_URL with each token, and
// prints no token.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

type answer struct {
	Token string `json:"token,omitempty"`
	Login string `json:"login,omitempty"`
	Error string `json:"error,omitempty"`
}

func main() {
	every := flag.Duration("every", 0, "ask so often, until stopped")
	scope := flag.String("scope", "https://management.azure.com/.default", "what -every asks for")
	keys := &keys{}
	flag.StringVar(&keys.root, "root", "", "the container's file system, in which the paths of keys lead")
	flag.DurationVar(&keys.backstop, "backstop", 0, "how often a key is read; the library's default is 6h")
	flag.Parse()
	client := &client{find: func() (login, error) { return find(flag.Arg(0), flag.Arg(1), keys) }}
	answers := json.NewEncoder(os.Stdout)
	for *every > 0 {
		answers.Encode(client.call(*scope))
		time.Sleep(*every)
	}
	for questions := bufio.NewScanner(os.Stdin); questions.Scan(); {
		words := strings.Fields(questions.Text())
		if words[0] == "new" {
			client.forget()
		}
		answers.Encode(client.ask(words[len(words)-1]))
	}
}

type client struct {
	find func() (login, error)
	used login
}

func (c *client) forget() { c.used = login{} }

func (c *client) ask(scope string) answer {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if c.used.credential == nil {
		found, err := c.find()
		if err != nil {
			return answer{Error: err.Error()}
		}
		c.used = found
	}
	token, err := c.used.credential.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Token: token.Token, Login: c.used.name}
}

func (c *client) call(scope string) answer {
	found := c.ask(scope)
	url := os.Getenv("HCPCREDS_CONFORM_URL")
	if found.Error != "" || url == "" {
		return answer{Login: found.Login, Error: found.Error}
	}
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err == nil {
		var response *http.Response
		request.Header.Set("Authorization", "Bearer "+found.Token)
		if response, err = http.DefaultClient.Do(request); err == nil {
			response.Body.Close()
			if response.StatusCode != http.StatusOK {
				err = errors.New(response.Status)
			}
		}
	}
	if err != nil {
		return answer{Error: fmt.Sprintf("%s: %s", url, err)}
	}
	return answer{Login: found.Login}
}
