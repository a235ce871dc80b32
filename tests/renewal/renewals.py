"""A vault of stored credentials, its renewers, and the promise that they keep whatever goes wrong."""

import asyncio
import base64
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import AsyncHTTPPolicy
from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.keyvault.secrets import SecretClient
from azure.keyvault.secrets.aio import SecretClient as AsyncSecretClient
from tests.local.clients import ARM, AsyncCaller, Caller, make_key
from typing_extensions import override

from hcpcreds import UserAssignedIdentityCredential
from hcpcreds.credential_file.file import CredentialFile, parse_credential_file
from hcpcreds.dataplane.aio import ManagedIdentityDataPlaneClientFactory
from hcpcreds.errors import IssueError
from hcpcreds.http.aio import open_transports
from hcpcreds.http.answers import MAX_ANSWER, MAX_TOKEN_ANSWER
from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.renewal.issuance import Issuer
from hcpcreds.renewal.outcomes import Observer, Outcome, Result, Walk
from hcpcreds.renewal.possession import KeyProver
from hcpcreds.renewal.throttle import ThrottleGate
from hcpcreds.renewal.walk import RenewalSettings, VaultRenewer
from hcpcreds.vault.naming import render_identifier

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Version:
    """One version of a secret."""

    version: str
    value: str = field(repr=False)
    enabled: bool
    tags: Mapping[str, str]
    content_type: str | None
    not_before: datetime | None
    expires_on: datetime | None

    def decode(self) -> dict[str, Any]:
        """Return the one credential in the value, as a pod would see it."""
        for decode in (bytes.fromhex, lambda text: base64.b64decode(text, validate=True), str.encode):
            try:
                content: dict[str, Any] = msgspec.json.decode(decode(self.value))
            except (ValueError, msgspec.MsgspecError):
                continue
            one: dict[str, Any] = (content.get("explicit_identities") or [content])[0]
            return one
        raise AssertionError("not JSON")

    def parse(self) -> CredentialFile:
        return parse_credential_file(msgspec.json.encode(self.decode()), path=self.version)


@dataclass(frozen=True)
class Held:
    """A secret with all of its versions."""

    latest: Version
    versions: Mapping[str, Version]


@dataclass
class _Rule:
    method: str
    match: str
    do: Callable[[], Awaitable[object]]
    nth: int
    after: bool
    whole: bool

    def fits(self, method: str, path: str) -> bool:
        return self.method == method and (self.match == path if self.whole else self.match in path)


class Meanwhile(AsyncHTTPPolicy[HttpRequest, AsyncHttpResponse]):
    """Calls back just before or after one of a client's requests."""

    def __init__(self, rules: list[_Rule]) -> None:
        super().__init__()
        self._rules = rules

    @override
    async def send(
        self, request: PipelineRequest[HttpRequest]
    ) -> PipelineResponse[HttpRequest, AsyncHttpResponse]:
        path = urlsplit(request.http_request.url).path
        due: list[_Rule] = []
        for rule in self._rules:
            if rule.fits(request.http_request.method, path):
                rule.nth -= 1
                due += [rule] if rule.nth == 0 else []
        for rule in due:
            if not rule.after:
                await rule.do()
        response = await self.next.send(request)
        for rule in due:
            if rule.after:
                await rule.do()
        return response


class Renewals:
    """The first vault of a local Azure, and renewers of it.

    Args:
        azure: Used by this test only, as long as it runs.
        now: The renewers' clock.
    """

    def __init__(self, azure: LocalAzure, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.azure = azure
        self.now = now
        self.options: dict[str, Any] = {"connection_verify": str(azure.ca_file), "retry_total": 0}
        self.vault = SecretClient(
            azure.vault_url(), Caller(azure), verify_challenge_resource=False, **self.options
        )
        """The client of another writer."""
        self.client_ids: dict[str, str] = {}
        """Client id of each secret's identity, by the secret's name."""
        self.said: list[str] = []
        """The reasons of all outcomes."""
        self._rules: list[_Rule] = []

    def close(self) -> None:
        self.vault.close()

    def add(  # noqa: PLR0913 (each by its name)
        self,
        name: str | None = None,
        *,
        due: bool = True,
        encoding: str = "utf-8",
        tags: Mapping[str, str] | None = None,
        content_type: str | None = None,
        system_assigned: bool = False,
        whole: bool = False,
        **fields: Any,
    ) -> str:
        """Store a credential that was issued fifty days ago; returns the name of the secret."""
        client_id = str(uuid.uuid4())
        if system_assigned:
            self.azure.add_identity(client_id, system_assigned=True)
        now = self.now()
        credential: dict[str, Any] = self.azure.issue(
            client_id, private_key=make_key(), not_before=now - 50 * DAY, not_after=now + 40 * DAY
        )
        prefix = "msi" if whole or system_assigned else "uamsi"
        name = name or f"{prefix}-{render_identifier(credential['object_id'])}"
        self.client_ids[name] = client_id
        renew_after = now - HOUR if due else now + 10 * DAY
        credential |= {"renew_after": render_time(renew_after), **fields}
        credential = {key: value for key, value in credential.items() if value is not None}
        self.write(name, credential, encoding=encoding, tags=tags, content_type=content_type, whole=whole)
        return name

    def fill_two_pages(self) -> tuple[list[str], list[str]]:
        """Fill two pages of the vault's list; returns the names of the due credentials on each."""
        due = {0, 7, 24, 25, 29}
        names = [self.add(f"cert-{number:02}", due=number in due) for number in range(30)]
        return [names[0], names[7], names[24]], [names[25], names[29]]

    def write(  # noqa: PLR0913 (each by its name)
        self,
        name: str,
        credential: Mapping[str, Any],
        *,
        encoding: str = "utf-8",
        tags: Mapping[str, str] | None = None,
        content_type: str | None = None,
        whole: bool = False,
        enabled: bool = True,
    ) -> None:
        """Store any credential, as another program would."""
        content: Mapping[str, Any] = credential
        if whole:
            content = {"internal_id": "the resource's", "explicit_identities": [credential]}
        encoded = msgspec.json.encode(content)
        times = {"renew_after", "cannot_renew_after"} & credential.keys()
        self.azure.vault().put(
            name,
            {"utf-8": encoded.decode(), "hex": encoded.hex(), "base64": base64.b64encode(encoded).decode()}[
                encoding
            ],
            tags={**{key: credential[key] for key in times}, **(tags or {})},
            content_type=content_type,
            not_before=parse_time(credential["not_before"]) if "not_before" in credential else None,
            expires_on=parse_time(credential["not_after"]) if "not_after" in credential else None,
            enabled=enabled,
        )

    def issue(self, name: str, *, age: timedelta = timedelta(0), **fields: Any) -> dict[str, Any]:
        """Issue another credential for a secret's identity, valid since so long ago."""
        now = self.now()
        credential: dict[str, Any] = self.azure.issue(
            self.client_ids[name],
            private_key=make_key(1),
            not_before=now - age,
            not_after=now - age + 90 * DAY,
        )
        return {**credential, **fields}

    def store(self, name: str, *, age: timedelta = timedelta(0), **fields: Any) -> None:
        """Store another credential of a secret's identity, as another writer would; by default the newest."""
        self.write(name, self.issue(name, age=age, **fields))

    def answer(self, name: str, credential: Mapping[str, Any]) -> None:
        """Make the data plane return this credential for a secret's identity."""
        body = msgspec.json.encode({"explicit_identities": [credential]})
        self.azure.faults.add("data_plane", match=self.client_ids[name], body=body)

    def read(self) -> dict[str, Held]:
        """Return every secret with its versions."""
        return {name: held for name in self.client_ids if (held := self.look(name))}

    def look(self, name: str) -> Held | None:
        """Return a secret with its versions, or None when it does not exist."""
        versions = [
            Version(
                each.version,
                each.value,
                enabled=each.enabled,
                tags=dict(each.tags),
                content_type=each.content_type,
                not_before=_convert_time(each.not_before),
                expires_on=_convert_time(each.expires),
            )
            for each in self.azure.vault().list_versions(name)
        ]
        return Held(versions[-1], {each.version: each for each in versions}) if versions else None

    def latest(self, name: str) -> dict[str, Any]:
        """Return the credential that pods read."""
        held = self.look(name)
        assert held is not None
        return held.latest.decode()

    def check_kept(self, before: Mapping[str, Held]) -> dict[str, Held]:
        """Check that no identity has lost its credential; returns the secrets as they are now.

        Every version that was there is there, enabled and readable as it was. The latest is a credential
        that pods can use, of the same identity, and no older, wherever it was one before.
        """
        after = self.read()
        for name, was in before.items():
            now = after[name]
            assert was.versions.items() <= now.versions.items(), name
            if was.latest.enabled and is_credential(was.latest):
                old, new = was.latest.parse(), now.latest.parse()
                assert new.client_id == old.client_id, name
                assert new.not_before >= old.not_before, name
                assert new.not_after >= old.not_after, name
        return after

    def check_token(self, name: str, directory: Path) -> None:
        """Check that Entra ID issues a token for the credential that pods read."""
        path = directory / "credential.json"
        path.write_bytes(msgspec.json.encode(self.latest(name)))
        with UserAssignedIdentityCredential(
            str(path), connection_verify=str(self.azure.ca_file)
        ) as credential:
            assert credential.get_token(f"{ARM}/.default").token

    def list_shreds(self) -> Iterator[str]:
        """List pieces of every secret in the vault, decoded and as stored."""
        for held in self.read().values():
            for version in held.versions.values():
                if is_credential(version):
                    secret, value = version.decode()["client_secret"], version.value
                    texts = [secret] if value.startswith("{") else [secret, value[1000:]]
                    for text in texts:
                        yield from (text[start : start + 24] for start in range(200, len(text) - 24, 97))

    def meanwhile(  # noqa: PLR0913 (each by its name)
        self,
        method: str,
        match: str,
        do: Callable[[], Awaitable[object]],
        *,
        nth: int = 1,
        after: bool = False,
        whole: bool = False,
    ) -> None:
        """Call back just before, or after, a renewer's nth matching request.

        Args:
            method: The request's.
            match: Text in its path, or, with `whole`, all of it.
            do: What happens.
            nth: At which of these requests.
            after: Once it is answered.
            whole: See `match`.
        """
        self._rules.append(_Rule(method, match, do, nth, after, whole))

    def when_asked(self, name: str, do: Callable[[], object], *, after: bool = False) -> None:
        """Call back when the data plane is asked for a secret's identity."""
        self.meanwhile("GET", self.client_ids[name], lambda: asyncio.to_thread(do), after=after)

    @asynccontextmanager
    async def renewer(
        self,
        *,
        observers: Sequence[Observer] = (),
        now: Callable[[], datetime] | None = None,
        **settings: Any,
    ) -> AsyncIterator[VaultRenewer]:
        """Open a renewer with its own clients, as another process would."""
        async with (
            open_transports({"connection_verify": str(self.azure.ca_file)}) as make_transport,
            AsyncSecretClient(
                self.vault.vault_url,
                AsyncCaller(self.azure),
                verify_challenge_resource=False,
                per_retry_policies=[ThrottleGate(), Meanwhile(self._rules)],
                transport=make_transport(MAX_ANSWER),
                retry_total=0,
            ) as vault,
            ManagedIdentityDataPlaneClientFactory(
                AsyncCaller(self.azure),
                self.azure.settings.data_plane_audience,
                hosts=("127.0.0.1",),
                per_retry_policies=[ThrottleGate(), Meanwhile(self._rules)],
                transport=make_transport(MAX_ANSWER),
                retry_total=0,
            ) as data_plane,
            KeyProver(
                f"{ARM}/.default",
                list_own_authorities=lambda: [self.azure.authority],
                now=self.now,
                per_retry_policies=[ThrottleGate(), Meanwhile(self._rules)],
                transport=make_transport(MAX_TOKEN_ANSWER),
                retry_total=0,
            ) as prover,
        ):
            # So that the first fault does not hit the request that fetches the challenge.
            with suppress(IssueError):
                await data_plane.create_client(
                    f"{self.azure.data_plane.url}/nobody/credentials?a=b"
                ).get_system_assigned_identity_credentials()
            now = now or self.now
            yield VaultRenewer(
                vault,
                Issuer(data_plane, prover, now=now),
                RenewalSettings(**{"backoff_seconds": 0.01, **settings}),
                observers=observers,
                now=now,
            )

    def walk(self, *, stop: asyncio.Event | None = None, **options: Any) -> Walk:
        """Walk once with a new renewer."""

        async def walk() -> Walk:
            async with self.renewer(**options) as renewer:
                return await renewer.walk(stop)

        return self.heard(asyncio.run(walk()))

    def heard(self, walk: Walk) -> Walk:
        """Keep the reasons of a walk, in which no secret may occur."""
        self.said.append(f"{walk} {[outcome.reason for outcome in walk.outcomes]}")
        return walk


def is_credential(version: Version) -> bool:
    """Tell whether a version claims to be a credential; only then can it be lost."""
    try:
        return "client_secret" in version.decode()
    except AssertionError:
        return False


def _convert_time(seconds: int | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def render_time(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def list_results(walk: Walk) -> dict[str, Result]:
    """Return the results by the names of the secrets; each secret has one."""
    results = {outcome.credential.name: outcome.result for outcome in walk.outcomes}
    assert len(results) == len(walk.outcomes)
    return results


def get_outcome(walk: Walk, name: str) -> Outcome:
    """Return the one outcome of a secret."""
    (outcome,) = [outcome for outcome in walk.outcomes if outcome.credential.name == name]
    return outcome
