"""Programs that are judged: each is Python, and asks for a token five times a second."""

from tests.docs.snippets import read_blocks

_LOOP = """
    while True:
        try:
            token = credential.get_token("https://management.azure.com/.default").token
            headers = {{"Authorization": f"Bearer {{token}}"}}
            urlopen(Request(os.environ["HCPCREDS_CONFORM_URL"], headers=headers)).close()
        except Exception as error:
            print(error, flush=True)
        time.sleep(0.2)
"""
_PROGRAM = f"""
import os, time
from urllib.request import Request, urlopen
{{imports}}
with {{credential}} as credential:{_LOOP}"""


def _read_program(page: str) -> str:
    (program,) = read_blocks(f"docs/{page}.md", "python")
    return program


OURS = _read_program("conform")
"""The program on the page: reloads the file."""
READS_ONCE = _PROGRAM.format(
    imports="from azure.identity import CertificateCredential",
    credential="CertificateCredential(os.environ['AZURE_TENANT_ID'], os.environ['AZURE_CLIENT_ID'], "
    "os.environ['AZURE_CLIENT_CERTIFICATE_PATH'], disable_instance_discovery=True)",
)
"""Azure's own: reads the file in its constructor."""
ASSERTION = _read_program("first-steps")
"""The program of the first steps: Azure's own, without a key."""
ENDPOINT = _PROGRAM.format(
    imports="from azure.identity import ManagedIdentityCredential",
    credential="ManagedIdentityCredential(client_id=os.environ['AZURE_CLIENT_ID'])",
)
DIES = """
import os, sys
print(open(os.environ["AZURE_CLIENT_CERTIFICATE_PATH"]).read(), file=sys.stderr)
sys.exit("\\x1b[31mno credential")
"""
"""Prints its key, and ends."""
