"""Reads what programs show of their credentials: the page of `/metrics` of a container."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from hcpcreds.cluster.rollout.facts import Assertions, Seen
from hcpcreds.errors import HcpCredsError, KubernetesUnavailableError
from hcpcreds.kubernetes.proxy import PodProxy
from hcpcreds.text import make_safe

_SECONDS: Final = 5.0
_LARGEST: Final = 4 * 2**20
_PREFIX: Final = "hcpcreds_"
_LONGEST_LINE: Final = 1_000
"""Characters. The parser takes quadratic time for a line: minutes for one of this page's size."""
_THUMBPRINT: Final = re.compile("[0-9a-f]{64}")


class Target(NamedTuple):
    """Where a container shows its metrics."""

    namespace: str
    pod: str
    ip: str
    port: int


class Page(NamedTuple):
    """A page, or why there is none."""

    text: str = ""
    at: datetime | None = None
    """When it was made, by the clock of its program."""
    problem: str = ""


class Shown(NamedTuple):
    """The credentials that a page shows, and why there are none."""

    seen: tuple[Seen, ...]
    problem: str = ""


ReadPage = Callable[[Target], Awaitable[Page]]


@asynccontextmanager
async def open_pages(context: str | None, *, seconds: float = _SECONDS) -> AsyncIterator[ReadPage]:
    """Open the way to pods: in a cluster directly, else through the API server's proxy.

    Args:
        context: The kubeconfig's context; None means the current one.
        seconds: How long a page may take, in all: a pod may answer a byte at a time.

    Raises:
        InputError: There is no way to a cluster.
    """
    if "KUBERNETES_SERVICE_HOST" in os.environ and context is None:
        # Decompressed, a small answer could fill the memory before anybody has seen how large it is.
        plain: dict[str, Any] = {"auto_decompress": False, "headers": {"Accept-Encoding": "identity"}}
        async with aiohttp.ClientSession(trust_env=False, **plain) as session:
            yield partial(_read_page, partial(_ask, session), seconds)
    else:
        async with PodProxy.open(context=context) as proxy:
            yield partial(_read_page, partial(_ask_through, proxy), seconds)


_Answer = tuple[bytes, Mapping[str, str]]


async def _ask(session: aiohttp.ClientSession, target: Target) -> _Answer:
    host = f"[{target.ip}]" if ":" in target.ip else target.ip
    url = f"http://{host}:{target.port}/metrics"
    async with session.get(url, allow_redirects=False) as answer:
        if answer.status != HTTPStatus.OK:
            raise KubernetesUnavailableError(f"port {target.port} of the pod answered {answer.status}")
        content = b""
        async for part in answer.content.iter_any():
            content += part
            if len(content) > _LARGEST:
                break
        return content, answer.headers


async def _ask_through(proxy: PodProxy, target: Target) -> _Answer:
    return await proxy.get(target.namespace, target.pod, target.port, "/metrics", largest=_LARGEST + 1)


async def _read_page(ask: Callable[[Target], Awaitable[_Answer]], seconds: float, target: Target) -> Page:
    try:
        async with asyncio.timeout(seconds):
            return _build_page(*await ask(target))
    except HcpCredsError as error:
        return Page(problem=str(error))
    except TimeoutError:
        return Page(problem=f"port {target.port} of the pod did not answer within {seconds:g} s")
    except Exception as error:  # noqa: BLE001 (of the HTTP library's many kinds)
        return Page(problem=f"port {target.port} of the pod cannot be read: {type(error).__name__}")


def _build_page(content: bytes, headers: Mapping[str, str]) -> Page:
    if len(content) > _LARGEST:
        return Page(problem=f"its metrics are larger than {_LARGEST} bytes")
    try:
        at = parsedate_to_datetime(headers.get("Date") or "")
    except ValueError:
        at = datetime.now(UTC)
    return Page(text=content.decode(errors="replace"), at=at if at.tzinfo else at.replace(tzinfo=UTC))


def read_seen(page: Page) -> Shown:
    """Read the credentials that a page shows; returns also why there are none."""
    if page.problem:
        return Shown((), page.problem)
    try:
        samples = _Samples.read(page.text)
        seen = tuple(samples.build(name, page.at or datetime.now(UTC)) for name in samples.thumbprints)
    except Exception as error:  # noqa: BLE001 (a foreign text, and a parser that raises anything)
        return Shown((), f"its metrics are not readable: {type(error).__name__}")
    problem = "" if seen else "its metrics show no credential of hcpcreds (hcpcreds_certificate_info)"
    return Shown(seen, problem)


class _Samples(NamedTuple):
    """The samples that matter, by the name of the credential."""

    thumbprints: dict[str, str]
    refused: set[str]
    keepers: set[str]
    signers: dict[str, str]
    since: dict[str, float]

    @classmethod
    def read(cls, text: str) -> "_Samples":
        samples = cls({}, set(), set(), {}, {})
        lines = [line for line in text.split("\n") if line.startswith(_PREFIX)]
        if any(len(line) > _LONGEST_LINE for line in lines):
            raise ValueError
        for family in text_string_to_metric_families("\n".join([*lines, ""])):
            for sample in family.samples:
                name = sample.labels.get("credential")
                if name is not None:
                    samples._add(sample.name, name, sample.labels, sample.value)
        return samples

    def _add(self, metric: str, name: str, labels: Mapping[str, str], value: float) -> None:
        match metric.removeprefix(_PREFIX):
            case "certificate_info":
                _set_once(self.thumbprints, name, labels)
            case "certificate_refused" if value:
                self.refused.add(name)
            case "assertion_writes_total":
                self.keepers.add(name)
            case "assertion_certificate_info":
                _set_once(self.signers, name, labels)
            case "assertion_certificate_timestamp_seconds":
                self.since[name] = value

    def build(self, name: str, at: datetime) -> Seen:
        assertions = None
        if name in self.signers and name in self.since:
            since = datetime.fromtimestamp(self.since[name], UTC)
            assertions = Assertions(thumbprint=self.signers[name], since=since)
        return Seen(
            thumbprint=self.thumbprints[name],
            is_refused=name in self.refused,
            keeps_assertions=name in self.keepers,
            assertions=assertions,
            at=at,
        )


def _set_once(thumbprints: dict[str, str], name: str, labels: Mapping[str, str]) -> None:
    """Note the thumbprint of a credential.

    Raises:
        ValueError: It is not one, or the page shows another for the same credential.
    """
    thumbprint = labels.get("thumbprint", "")
    if not _THUMBPRINT.fullmatch(thumbprint) or thumbprints.setdefault(name, thumbprint) != thumbprint:
        raise ValueError(make_safe(thumbprint))
