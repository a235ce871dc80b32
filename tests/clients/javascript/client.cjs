// A program with Azure's own SDK, which is told everything by its environment. For each line it reads, it asks for a
// token of that scope, with the credential of the line before unless the line begins with "new ".
const { ManagedIdentityCredential, WorkloadIdentityCredential } = require("@azure/identity");
const { createInterface } = require("node:readline");

function makeCredential() {
  if (process.env.AZURE_FEDERATED_TOKEN_FILE) {
    // The local authority is none that Microsoft's lists.
    return new WorkloadIdentityCredential({ disableInstanceDiscovery: true });
  }
  return new ManagedIdentityCredential(process.env.AZURE_CLIENT_ID ?? {});
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
