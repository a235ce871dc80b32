"""No secret is ever shown: not in a log, a repr, an error or a status."""

import base64
import json
import logging
import pickle
import re
import traceback

import pytest
from tests.credential.conftest import OTHER_SCOPE, SCOPE, Identity, Make
from tests.credential.files import wait_for_generation

from hcpcreds.credential.state import Snapshot
from hcpcreds.credential_file.file import parse_credential_file
from hcpcreds.errors import HcpCredsError
from hcpcreds.local.azure.azure import LocalAzure

JWT = re.compile(r"eyJ[\w-]{20,}")


def test_no_secret_is_shown_when_everything_is_logged(
    identity: Identity, make_identity: Make, azure: LocalAzure, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.DEBUG)
    content = identity.issue()
    identity.mount.swap(content)
    credential = make_identity(logging_enable=True, retry_total=1)
    shown = [repr(credential), repr(credential.status())]
    tokens = [credential.get_token(SCOPE).token]
    azure.faults.add("entra", status=500, times=2)
    shown.append(fail(credential))
    echo = json.dumps({"error": "x", "error_description": f"you sent {tokens[0]}"}).encode()
    azure.faults.add("entra", status=400, body=echo, times=1)
    shown.append(fail(credential))
    azure.faults.add("entra", body=json.dumps({"access_token": tokens[0]}).encode(), times=1)
    shown.append(fail(credential))
    identity.mount.swap(content[:-40])
    identity.rotate()
    wait_for_generation(credential, 2)
    tokens.append(credential.get_token(OTHER_SCOPE).token)
    credential.close()
    file = parse_credential_file(content, path="p")
    shown += [repr(file), repr(file.certificate), repr(Snapshot(file, b"digest", 1))]
    shown += [f"{record.getMessage()} {vars(record)}" for record in caplog.records]

    secret = json.loads(content)["client_secret"]
    pem = base64.b64decode(secret).decode()
    text = "\n".join(shown)
    assert not JWT.search(text)
    assert not any(secret[at : at + 32] in text for at in range(0, len(secret) - 32, 16))
    assert not any(line in text for line in pem.split() if len(line) > 40)


def fail(credential: object) -> str:
    with pytest.raises(HcpCredsError) as raised:
        credential.get_token(OTHER_SCOPE)  # type: ignore[attr-defined]
    return f"{raised.value} {raised.value!r} {''.join(traceback.format_exception(raised.value))}"


def test_certificate_cannot_be_pickled(identity: Identity):
    certificate = parse_credential_file(identity.issue(), path="p").certificate
    with pytest.raises(TypeError):
        pickle.dumps(certificate)
