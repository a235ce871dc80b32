package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/msi-dataplane/pkg/dataplane"
	"github.com/go-logr/logr"
)

// login is a credential, and how it logs in: with the `key` that is mounted, with an `assertion`, or with what
// an `endpoint` answers.
type login struct {
	name       string
	credential azcore.TokenCredential
}

// find chooses a credential as programs do, each by the rule of its source.
func find(rule, file string, keys *keys) (login, error) {
	switch rule {
	case "", "variables":
		if os.Getenv("AZURE_FEDERATED_TOKEN_FILE") != "" {
			return useAssertion("", "", "")
		}
		if path := os.Getenv("MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH"); path != "" {
			return keys.use(path)
		}
		if path := os.Getenv("AZURE_CLIENT_CERTIFICATE_PATH"); path != "" {
			return useCertificate(path)
		}
		return useEndpoint()

	// hypershift, control-plane-operator/main.go: for private links. What validates identities keeps the key.
	case "control-plane-operator":
		made, err := azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
			DisableInstanceDiscovery: true,
		})
		return login{"assertion", made}, err

	// cloud-provider-azure, pkg/provider/config/env.go and pkg/azclient/auth.go; azuredisk-csi-driver,
	// pkg/azureutils/azure_disk_utils.go; azurefile-csi-driver, pkg/azurefile/azure.go: variables replace what the
	// file says, and that of the assertion turns workload identity on, which comes before the key.
	case "cloud-provider":
		var config struct {
			TenantID              string
			AADClientID           string
			AADFederatedTokenFile string
			UseFederated          bool   `json:"useFederatedWorkloadIdentityExtension"`
			Key                   string `json:"aadMSIDataPlaneIdentityPath"`
		}
		if err := read(file, &config); err != nil {
			return login{}, err
		}
		replace(&config.TenantID, "AZURE_TENANT_ID")
		replace(&config.AADClientID, "AZURE_CLIENT_ID")
		if replace(&config.AADFederatedTokenFile, "AZURE_FEDERATED_TOKEN_FILE") {
			config.UseFederated = true
		}
		if config.UseFederated {
			return useAssertion(config.TenantID, config.AADClientID, config.AADFederatedTokenFile)
		}
		return keys.use(config.Key)

	// cluster-ingress-operator, pkg/dns/azure/client/auth.go: the path first; its Secret says nothing else.
	case "ingress-operator":
		if path := os.Getenv("MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH"); strings.TrimSpace(path) != "" {
			return keys.use(path)
		}
		return useAssertion("", "", "")

	// cluster-image-registry-operator, pkg/storage/azure/azureclient: the path, untrimmed; else the Secret of the
	// guest cluster, which is FILE here, and no variable.
	case "cluster-image-registry-operator":
		if path := os.Getenv("MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH"); path != "" {
			return keys.use(path)
		}
		var secret struct {
			Data map[string][]byte
		}
		if err := read(file, &secret); err != nil {
			return login{}, err
		}
		data := secret.Data
		return useAssertion(
			string(data["azure_tenant_id"]),
			string(data["azure_client_id"]),
			string(data["azure_federated_token_file"]),
		)

	// cloud-network-config-controller, pkg/cloudprovider/azure.go.
	case "cloud-network-config-controller":
		if path := os.Getenv("ARO_HCP_CLIENT_CREDENTIALS_PATH"); path != "" {
			return keys.use(path)
		}
		return useAssertion("", "", "")

	// cluster-api-provider-azure, azure/scope/identity.go: the object decides, but for the assertion's file.
	case "capi-provider":
		var identity struct {
			Spec struct {
				Type, ClientID, TenantID string
				Key                      string `json:"userAssignedIdentityCredentialsPath"`
			}
		}
		if err := read(file, &identity); err != nil {
			return login{}, err
		}
		if identity.Spec.Type != "WorkloadIdentity" {
			return keys.use(identity.Spec.Key)
		}
		assertion := "/var/run/secrets/azure/tokens/azure-identity-token"
		replace(&assertion, "AZURE_FEDERATED_TOKEN_FILE")
		return useAssertion(identity.Spec.TenantID, identity.Spec.ClientID, assertion)

	// HyperShift, v2/kas/kms/azure.go: the path in the file first.
	case "kms":
		var config struct {
			Key string `json:"aadMSIDataPlaneIdentityPath"`
		}
		if err := read(file, &config); err != nil {
			return login{}, err
		}
		if config.Key != "" {
			return keys.use(config.Key)
		}
		return useAssertion("", "", "")
	}
	return login{}, fmt.Errorf("no component logs in by the rule %q", rule)
}

// useAssertion sends the content of a file; what is empty is found in the variables.
//
// The SDK keeps that content for ten minutes. So only a new credential shows at once what a rotation has
// changed, which is also what a program finds that has just been started.
func useAssertion(tenant, client, file string) (login, error) {
	made, err := azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
		TenantID:      tenant,
		ClientID:      client,
		TokenFilePath: file,
		// The components ask hosts that the SDK knows. It would look for the local Azure's at Microsoft's.
		DisableInstanceDiscovery: true,
	})
	return login{"assertion", made}, err
}

// keys are read by the library of HyperShift's components.
type keys struct {
	root     string
	backstop time.Duration
}

func (k *keys) use(path string) (login, error) {
	if path == "" {
		return login{}, errors.New("nothing names a credential")
	}
	logger := logr.Discard() // its own writes to standard output
	options := []dataplane.Option{dataplane.WithLogger(&logger)}
	if k.backstop > 0 {
		options = append(options, dataplane.WithBackstopRefresh(k.backstop))
	}
	made, err := dataplane.NewUserAssignedIdentityCredential(context.Background(), k.root+path, options...)
	return login{"key", made}, err
}

// useCertificate reads the certificate and key of a service principal, as EnvironmentCredential does.
func useCertificate(path string) (login, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return login{}, err
	}
	certificates, key, err := azidentity.ParseCertificates(content, nil)
	if err != nil {
		return login{}, err
	}
	made, err := azidentity.NewClientCertificateCredential(
		os.Getenv("AZURE_TENANT_ID"), os.Getenv("AZURE_CLIENT_ID"), certificates, key,
		&azidentity.ClientCertificateCredentialOptions{DisableInstanceDiscovery: true},
	)
	return login{"certificate", made}, err
}

func useEndpoint() (login, error) {
	options := &azidentity.ManagedIdentityCredentialOptions{}
	if id := os.Getenv("AZURE_CLIENT_ID"); id != "" {
		options.ID = azidentity.ClientID(id)
	}
	made, err := azidentity.NewManagedIdentityCredential(options)
	return login{"endpoint", made}, err
}

func replace(value *string, variable string) bool {
	found := os.Getenv(variable)
	if found != "" {
		*value = found
	}
	return found != ""
}

func read(file string, into any) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return json.Unmarshal(content, into)
}
