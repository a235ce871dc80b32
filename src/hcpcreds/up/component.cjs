// The same as component.py for a pod without a key, in JavaScript: it calls ARM with Azure's own SDK, which is told
// everything by the environment.
const { WorkloadIdentityCredential } = require("@azure/identity");
const { readFileSync, statSync } = require("node:fs");
const { setTimeout: sleep } = require("node:timers/promises");
const { parseArgs } = require("node:util");

const text = { type: "string" };
const { values: options } = parseArgs({
  options: { "resource-manager": text, scope: text, subscription: text, interval: text },
  strict: false,
});
const url =
  `${options["resource-manager"]}/subscriptions/${options.subscription}/resourcegroups?api-version=2021-04-01`;
const seen = new Set();

function printEvent(event, values, at = Date.now() / 1000) {
  process.stdout.write(JSON.stringify({ event, at, ...values }) + "\n");
}

function printAssertion() {
  const file = process.env.AZURE_FEDERATED_TOKEN_FILE;
  const header = JSON.parse(Buffer.from(readFileSync(file, "utf8").split(".")[0], "base64url"));
  const thumbprint = Buffer.from(header["x5t#S256"], "base64url").toString("hex");
  if (seen.has(thumbprint)) return;
  seen.add(thumbprint);
  printEvent("credential", { thumbprint, generation: seen.size }, statSync(file).mtimeMs / 1000);
}

// The local authority is not in the list that the SDK asks Microsoft for.
const makeCredential = () => new WorkloadIdentityCredential({ disableInstanceDiscovery: true });

async function call(credential) {
  try {
    const { token } = await credential.getToken(options.scope);
    const response = await fetch(url, { headers: { Authorization: `Bearer ${token}` } });
    if (!response.ok) throw new Error(`ARM answered ${response.status}: ${await response.text()}`);
    await response.arrayBuffer();
    printEvent("call", { ok: true, login: "assertion", thumbprint: response.headers.get("x-ms-hcpcreds-certificate") });
  } catch (error) {
    printEvent("call", { ok: false, error: String(error) });
  }
}

async function main() {
  if (process.env.ARO_HCP_CLIENT_CREDENTIALS_PATH) {
    // The component that this stands for would take the key before an assertion.
    throw new Error("ARO_HCP_CLIENT_CREDENTIALS_PATH names a key");
  }
  const lasting = makeCredential();
  for (let number = 0; ; number++) {
    printAssertion();
    // The SDK keeps an assertion for minutes, so every other call is made as by a program that has just started.
    await call(number % 2 ? makeCredential() : lasting);
    await sleep(1000 * Number(options.interval ?? 1));
  }
}

process.stdin.on("end", () => process.exit(0)).resume();
main();
