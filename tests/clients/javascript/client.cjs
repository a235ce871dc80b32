// A program with Azure's own SDK, which is told everything by its environment. For each line it reads, it asks for a
// token of that scope, with the credential of the line before unless the line begins with "new ".
//
// `node client.cjs --every SECONDS [--scope SCOPE]` asks by itself until it is stopped, calls the URL in
// HCPCREDS_CONFORM_URL with each token, and prints no token.
const {
  ClientCertificateCredential,
  ManagedIdentityCredential,
  WorkloadIdentityCredential,
} = require("@azure/identity");
const { get } = require("node:https");
const { createInterface } = require("node:readline");
const { parseArgs } = require("node:util");

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

async function ask(credential, scope) {
  try {
    return { token: (await credential.getToken(scope)).token };
  } catch (error) {
    return { error: String(error) };
  }
}

async function call(credential, scope) {
  const { token, error } = await ask(credential, scope);
  const url = process.env.HCPCREDS_CONFORM_URL;
  if (error || !url) return { error };
  const headers = { Authorization: `Bearer ${token}` };
  return new Promise((resolve) => {
    const request = get(url, { headers }, (response) => {
      response.resume();
      resolve(response.statusCode === 200 ? {} : { error: `HTTP ${response.statusCode}` });
    });
    request.on("error", (failed) => resolve({ error: String(failed) }));
  });
}

async function main() {
  const { values } = parseArgs({ options: { every: { type: "string" }, scope: { type: "string" } } });
  let credential = makeCredential();
  while (values.every) {
    const answer = await call(credential, values.scope ?? "https://management.azure.com/.default");
    process.stdout.write(JSON.stringify(answer) + "\n");
    await new Promise((resolve) => setTimeout(resolve, values.every * 1000));
  }
  for await (const line of createInterface({ input: process.stdin })) {
    const [scope, isNew] = line.split(" ").reverse();
    if (isNew) credential = makeCredential();
    process.stdout.write(JSON.stringify(await ask(credential, scope)) + "\n");
  }
}

main();
