// A program with Azure's own SDK, which is told everything by its environment. For each line it reads, it asks for a
// token of that scope, with the credential of the line before unless the line begins with "new ".
const {
  ClientCertificateCredential,
  ManagedIdentityCredential,
  WorkloadIdentityCredential,
} = require("@azure/identity");
const { createInterface } = require("node:readline");

// The local authority is none that Microsoft's lists.
const OPTIONS = { disableInstanceDiscovery: true };

function makeCredential() {
  const { AZURE_CLIENT_CERTIFICATE_PATH, AZURE_CLIENT_ID, AZURE_TENANT_ID } = process.env;
  if (process.env.AZURE_FEDERATED_TOKEN_FILE) return new WorkloadIdentityCredential(OPTIONS);
  if (AZURE_CLIENT_CERTIFICATE_PATH) {
    const file = AZURE_CLIENT_CERTIFICATE_PATH;
    return new ClientCertificateCredential(AZURE_TENANT_ID, AZURE_CLIENT_ID, file, OPTIONS);
  }
  return new ManagedIdentityCredential(AZURE_CLIENT_ID ?? {});
}

async function main() {
  let credential = makeCredential();
  for await (const line of createInterface({ input: process.stdin })) {
    const [scope, isNew] = line.split(" ").reverse();
    if (isNew) credential = makeCredential();
    let answer;
    try {
      answer = { token: (await credential.getToken(scope)).token };
    } catch (error) {
      answer = { error: String(error) };
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
  }
}

main();
