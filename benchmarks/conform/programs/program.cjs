// A program in JavaScript that is judged: `node program.cjs certificate|workload|managed`.
const {
  ClientCertificateCredential,
  ManagedIdentityCredential,
  WorkloadIdentityCredential,
} = require("@azure/identity");
const { setTimeout: sleep } = require("node:timers/promises");

const environment = process.env;
// The local authority is not in the list that the SDK asks Microsoft for.
const options = { authorityHost: environment.AZURE_AUTHORITY_HOST, disableInstanceDiscovery: true };
const credentials = {
  certificate: () =>
    new ClientCertificateCredential(
      environment.AZURE_TENANT_ID,
      environment.AZURE_CLIENT_ID,
      environment.AZURE_CLIENT_CERTIFICATE_PATH,
      options,
    ),
  workload: () => new WorkloadIdentityCredential(options),
  managed: () => new ManagedIdentityCredential(environment.AZURE_CLIENT_ID),
};

async function main() {
  const credential = credentials[process.argv[2]]();
  for (;;) {
    try {
      const { token } = await credential.getToken("https://management.azure.com/.default");
      const headers = { Authorization: `Bearer ${token}` };
      await (await fetch(environment.HCPCREDS_CONFORM_URL, { headers })).arrayBuffer();
    } catch (error) {
      console.log(String(error));
    }
    await sleep(200);
  }
}

main();
