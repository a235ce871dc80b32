"""Every parser that foreign bytes reach, each through the function that the rest of the code calls."""

import asyncio
import base64
import itertools
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx2
import urllib3
import yarl
from azure.core.rest import HttpRequest
from azure.keyvault.secrets import KeyVaultSecret, SecretClient, SecretProperties
from lightkube import AsyncClient, KubeConfig
from tests.credential.files import PASSWORD, encrypt_pem
from tests.credential.subjects import AioSubject, Loop
from tests.fuzz.judging import Target
from tests.fuzz.templates import get_issued
from tests.local.clients import Caller
from tests.manifests.examples import make_manifest

import hcpcreds.aio
from hcpcreds import UserAssignedIdentityCredential, vault
from hcpcreds.credential_file.content import Content
from hcpcreds.credential_file.file import parse_credential_file
from hcpcreds.credential_file.inspection import inspect_credential_file
from hcpcreds.credential_file.service_principal import ServicePrincipal
from hcpcreds.dataplane.challenge import find_tenant, parse_challenges
from hcpcreds.dataplane.hosts import check_identity_url
from hcpcreds.dataplane.models import ManagedIdentityCredentials
from hcpcreds.dataplane.protocol import Answer, read_answer
from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.kubernetes.lease import Leases
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.local.azure.settings import AzureSettings
from hcpcreds.manifests.check import Document, check, read_documents
from hcpcreds.manifests.inject import InjectOptions
from hcpcreds.manifests.inject.stream import inject_stream
from hcpcreds.renewal.acceptance import build_renewal_request
from hcpcreds.serving.messages import RequestError, parse_head
from hcpcreds.up.running import RunningChain, RunningVault, announce, find_running_chain
from hcpcreds.vault.secret import build_secret, read_secret

_SCOPE: Final = "https://management.azure.com/.default"
_NOW: Final = datetime(2026, 11, 23, 10, tzinfo=UTC)
_LONGEST_LIFE: Final = 7 * 86_400
_STATUSES: Final = (200, 400, 401, 403, 404, 408, 409, 429, 500, 503)
_CREDENTIAL: Final = json.dumps(
    {
        "authentication_endpoint": "https://login.microsoftonline.com/",
        "client_id": "11111111-2222-3333-4444-555555555555",
        "client_secret": "@KEY@",
        "client_secret_url": "https://a.identity.azure.net/x?y=1",
        "tenant_id": "99999999-8888-7777-6666-555555555555",
        "object_id": "11111111-2222-3333-4444-666666666666",
        "resource_id": "/subscriptions/s/resourcegroups/g/providers/"
        "Microsoft.ManagedIdentity/userAssignedIdentities/n",
        "not_before": "2026-11-23T10:00:00Z",
        "not_after": "2027-02-21T10:00:00Z",
        "renew_after": "2027-01-07T10:00:00+01:00",
        "cannot_renew_after": "2027-05-22T10:00:00Z",
        "custom_claims": {"xms_az_tm": "user", "xms_az_nwperimid": ["a"]},
    }
).encode()
_LEASE: Final = json.dumps(
    {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "n", "namespace": "ns", "resourceVersion": "1"},
        "spec": {
            "holderIdentity": "other",
            "leaseDurationSeconds": 15,
            "leaseTransitions": 1,
            "acquireTime": "2026-11-23T10:00:00.000001Z",
            "renewTime": "2026-11-23T10:00:00.000001Z",
        },
    }
).encode()
_STATUS: Final = (
    b'403\n{"kind":"Status","apiVersion":"v1","status":"Failure","message":"no @JWT@","code":403}'
)
_OBJECTS: Final = b"array:\n  - |\n    objectName: a-b\n    objectType: secret\n    objectEncoding: base64\n"
_CHALLENGE: Final = b'Bearer authorization="https://login.microsoftonline.com/tenant", resource="https://a b"'


@contextmanager
def open_targets(folder: Path) -> Iterator[dict[str, Target]]:
    """Make every target, with what the slower ones need: a local Azure, a mounted credential."""
    with LocalAzure(AzureSettings(refuse_replayed_assertions=False, key_pool=5)) as azure:
        reader = _TokenReader(azure, folder)
        try:
            targets = [*_make_file_targets(folder), *_make_text_targets(), *_make_manifest_targets()]
            targets += [*_make_answer_targets(azure, reader), *_make_running_target(folder)]
            yield {target.name: target for target in targets}
        finally:
            reader.close()


def _make_file_targets(folder: Path) -> list[Target]:
    file = folder / "foreign"

    def from_file(read: Callable[[Path], object]) -> Callable[[bytes], object]:
        def run(content: bytes) -> object:
            file.write_bytes(content)
            return read(file)

        return run

    def read_certificate(secret: bytes) -> object:
        fields = {**json.loads(_CREDENTIAL), "client_secret": base64.b64encode(secret).decode()}
        return parse_credential_file(json.dumps(fields).encode(), path="p")

    def read_service_principal(content: bytes) -> object:
        principal = ServicePrincipal(
            tenant_id="t", client_id="c", authority="https://login.example", password=PASSWORD.encode()
        )
        return principal.parse(Content(content), path="/mnt/certs/x", now=_NOW)

    def read_config(path: Path) -> object:
        UserAssignedIdentityCredential.from_cloud_config(path).close()
        return None

    issued = get_issued()
    pem = issued.certificate_pem + issued.key_pem
    config = (
        b'{"cloud":"AzurePublicCloud","tenantId":"t","aadClientSecret":"@KEY@","aadClientCertPath":"",'
        b'"useManagedIdentityExtension":true,"aadMSIDataPlaneIdentityPath":"/mnt/certs/x"}'
    )
    return [
        Target(
            name="credential-file",
            read=lambda content: parse_credential_file(content, path="/mnt/certs/x"),
            seeds=(_CREDENTIAL,),
        ),
        Target(
            name="inspection",
            read=from_file(lambda path: inspect_credential_file(str(path), now=_NOW)),
            seeds=(_CREDENTIAL, b"@KEY@", _CREDENTIAL.hex().encode(), b'{"explicit_identities":[]}'),
        ),
        Target(
            name="certificate",
            read=read_certificate,
            seeds=(pem, b"@P12@", b"@DER@", b"@CERT@@PEM@", pem + issued.certificate_pem * 5),
        ),
        Target(
            name="service-principal",
            read=read_service_principal,
            seeds=(
                encrypt_pem(issued),
                encrypt_pem(issued, older=True),
                base64.b64encode(encrypt_pem(issued)),
                b"@P12@",
                pem,
            ),
        ),
        Target(name="cloud-config", read=from_file(read_config), seeds=(config,)),
    ]


def _make_text_targets() -> list[Target]:
    def read_challenge(content: bytes) -> object:
        header = content.decode("latin-1")
        with suppress(ValueError):
            parse_challenges(header)
        return find_tenant(header)

    def read_url(content: bytes) -> object:
        url = check_identity_url(content.decode("utf-8", "surrogateescape"), ("identity.azure.net",))
        # A token goes to whatever host the HTTP library reads; what it does not read, it does not call.
        for read_host in (lambda: yarl.URL(url).host, lambda: urllib3.util.parse_url(url).host):
            host = "identity.azure.net"
            with suppress(ValueError, urllib3.exceptions.LocationParseError):
                host = read_host() or ""
            assert host == "identity.azure.net" or host.endswith(".identity.azure.net"), host
        return None

    def read_value(content: bytes) -> object:
        properties = SecretProperties(
            name="uamsi-x", vault_id="https://v.vault.azure.net/secrets/uamsi-x/0123456789"
        )
        secret = KeyVaultSecret(properties, content.decode("utf-8", "surrogateescape"))
        loaded = read_secret(secret, where="secret uamsi-x")
        build_renewal_request(loaded.credential)
        return build_secret(loaded.credentials), loaded

    def read_issued(content: bytes) -> object:
        status, body = _split(content)
        request = HttpRequest("GET", "https://a.identity.azure.net/x?y=1")
        return read_answer(request, Answer(status, body), ManagedIdentityCredentials)

    whole = b'{"client_id":"c","explicit_identities":[' + _CREDENTIAL + b'],"delegated_resources":[{}]}'

    def read_request(content: bytes) -> object:
        with suppress(RequestError):
            return repr(parse_head(content))
        return None

    return [
        Target(
            name="request",
            read=read_request,
            seeds=(
                b"GET /token?resource=https://a/&x=@JWT@ HTTP/1.1\r\nHost: x\r\nX-IDENTITY-HEADER: @BEARER@",
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue",
            ),
        ),
        Target(
            name="challenge",
            read=read_challenge,
            seeds=(_CHALLENGE, b"Basic dG9rZW4=, " + _CHALLENGE, b'a="\\"", b=c'),
        ),
        Target(
            name="identity-url",
            read=read_url,
            seeds=(
                b"https://a.identity.azure.net/x?y=1",
                b"https://[::1]:443/",
                b"https://a@b.identity.azure.net/",
            ),
        ),
        Target(
            name="vault-value",
            read=read_value,
            seeds=(_CREDENTIAL, whole, b"@KEY@", _CREDENTIAL.hex().encode()),
        ),
        Target(
            name="issued",
            read=read_issued,
            seeds=(
                b"200\n" + whole,
                b'403\n{"error":{"code":"Forbidden","message":"no @BEARER@"}}',
                b"500\n<html>",
            ),
        ),
        Target(name="lease", read=_read_lease, seeds=(b"200\n" + _LEASE, _STATUS, b"502\n<html>")),
    ]


def _make_manifest_targets() -> list[Target]:
    def read_yaml(content: bytes) -> object:
        check(read_documents(content, file="-"))
        return None

    def read_objects(content: bytes) -> object:
        manifest = {
            "apiVersion": "secrets-store.csi.x-k8s.io/v1",
            "kind": "SecretProviderClass",
            "metadata": {"name": "managed-azure-kms", "namespace": "clusters-otter"},
            "spec": {
                "provider": "azure",
                "parameters": {"objects": content.decode("utf-8", "replace"), "keyvaultName": "v-1"},
            },
        }
        check([Document(manifest)])
        return None

    def read_workload(content: bytes) -> object:
        inject_stream(content, InjectOptions(credentials_secret_name="x"), where="-")
        return None

    def read_cluster(content: bytes) -> object:
        parse_hosted_cluster(content, where="-")
        return None

    examples = Path(__file__).parents[1] / "manifests"
    workloads = tuple(
        (examples / "workloads" / name).read_bytes()
        for name in ("anchors.yaml", "flow.yaml", "deployment.json")
    )
    findings = tuple(
        (examples / "check_fixtures" / code / "failing.yaml").read_bytes()
        for code in ("HC101", "HC301", "HC503")
    )
    cluster = json.dumps(make_manifest()).encode()
    # An event, a node and a mark for each word.
    slow: dict[str, Any] = {"microseconds": 60.0, "memory": 400.0, "limit": 1 << 16}
    return [
        Target(name="yaml", read=read_yaml, seeds=(*workloads, *findings), **slow),
        Target(
            name="objects", read=read_objects, seeds=(_OBJECTS, b"array: [a, b]", b"{{ objects }}"), **slow
        ),
        Target(
            name="hosted-cluster",
            read=read_cluster,
            seeds=(cluster, cluster.replace(b'"', b"")),
            **slow,
        ),
        Target(name="workload", read=read_workload, seeds=workloads, **slow),
    ]


def _make_answer_targets(azure: LocalAzure, reader: "_TokenReader") -> list[Target]:
    def read_secret_answer(content: bytes) -> object:
        status, body = _split(content)
        azure.faults.clear()
        azure.faults.add("vault", match="/secrets/", status=status, body=body)
        with _open_vault(azure) as client:
            loaded = vault.load(client, "uamsi-x")
            return loaded.stored

    def read_list(content: bytes) -> object:
        status, body = _split(content)
        azure.faults.clear()
        azure.faults.add("vault", path="/secrets", status=status, body=body, times=3)
        with _open_vault(azure) as client:
            return list(itertools.islice(vault.list_stored(client), 10))

    item = (
        b'{"id":"https://v/secrets/uamsi-x/0123456789","attributes":{"enabled":true,"created":1,"exp":2000000000,'
        b'"nbf":1},"tags":{"renew_after":"2027-01-07T10:00:00Z","cannot_renew_after":"2027-05-22T10:00:00Z"}'
    )
    secret = b"200\n" + item + b',"value":' + json.dumps(_CREDENTIAL.decode()).encode() + b"}"
    token = b'200\n{"token_type":"Bearer","expires_in":3600,"refresh_in":1800,"access_token":"@JWT@"}'
    refused = (
        b'400\n{"error":"invalid_client","error_description":"AADSTS700027: no @JWT@ @BEARER@",'
        b'"error_codes":[700027],"correlation_id":"c"}'
    )
    return [
        Target(
            name="token-answer",
            read=reader.read,
            seeds=(token, refused, b"200\n<html>", b"500\n"),
            microseconds=40,
        ),
        Target(
            name="vault-answer",
            read=read_secret_answer,
            seeds=(secret, b'403\n{"error":{"code":"Forbidden","message":"no @JWT@"}}'),
            microseconds=40,
        ),
        Target(
            name="vault-list",
            read=read_list,
            seeds=(
                b'200\n{"value":[' + item + b'}],"nextLink":null}',
                b'200\n{"value":[],"nextLink":"https://v/x"}',
            ),
            microseconds=40,
        ),
    ]


def _make_running_target(folder: Path) -> Iterator[Target]:
    place = folder / "tmp"
    (run := place / "hcpcreds-up-fuzz").mkdir(parents=True, mode=0o700)
    own = RunningVault(
        vault_url="https://127.0.0.1:1",
        data_plane_audience="https://a",
        data_plane_host="a",
        credential_file="/own",
    )
    chain = RunningChain(
        started_at=1, cloud="c", authority="https://127.0.0.1/", ca_file="/ca", components=[], vault=own
    )
    seeds: list[bytes] = []

    def read(content: bytes) -> object:
        before, tempfile.tempdir = tempfile.tempdir, str(place)
        try:
            with announce(chain, run):
                seeds.append((run / "running.json").read_bytes())
                (run / "running.json").write_bytes(content or b" ")
                find_running_chain()
                return None
        finally:
            tempfile.tempdir = before

    with suppress(ValueError):
        read(b"{}")
    yield Target(name="running", read=read, seeds=(seeds[0],))


def _split(content: bytes) -> tuple[int, bytes]:
    """The status and the body of an answer: the first line and what comes after."""
    first, _, body = content.partition(b"\n")
    status = int(first) if first.isdigit() and len(first) == 3 else 0
    return (status, body) if status in _STATUSES else (200, content)


def _read_lease(content: bytes) -> object:
    status, body = _split(content)
    headers = {"Content-Type": "application/json"}
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status, content=body, headers=headers))

    config = KubeConfig.from_dict(
        {
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
    )

    async def run() -> object:
        client = AsyncClient(config, transport=transport)
        try:
            return await Leases(client, "ns").write("n")
        finally:
            await client.close()

    return asyncio.run(run())


def _open_vault(azure: LocalAzure) -> SecretClient:
    return SecretClient(
        azure.vault_url(),
        Caller(azure),
        connection_verify=str(azure.ca_file),
        verify_challenge_resource=False,
        retry_total=0,
    )


class _TokenReader:
    """Both credentials, which are answered what a target is fed."""

    def __init__(self, azure: LocalAzure, folder: Path) -> None:
        file = folder / "credential"
        file.write_text(json.dumps(azure.issue("11111111-2222-3333-4444-555555555555")))
        options: Any = {"connection_verify": str(azure.ca_file), "retry_total": 0}
        self._azure = azure
        self._loop = Loop()
        self._numbers = itertools.count()
        self._twins = (
            UserAssignedIdentityCredential(file, **options),
            AioSubject(self._loop, lambda: hcpcreds.aio.UserAssignedIdentityCredential(file, **options)),
        )

    def read(self, content: bytes) -> object:
        status, body = _split(content)
        number = next(self._numbers)
        self._azure.faults.clear()
        self._azure.faults.add("entra", match="/token", status=status, body=body)
        # Claims: what is in memory does not do.
        token = self._twins[number % 2].get_token(_SCOPE, claims=json.dumps({"number": number}))
        assert token.token.isascii()
        assert token.token.isprintable()
        assert token.expires_on - datetime.now(UTC).timestamp() <= _LONGEST_LIFE
        return None

    def close(self) -> None:
        for twin in self._twins:
            twin.close()
        self._loop.close()
