"""Retries: how long a service may make a caller wait, and which failures are retried."""

import asyncio
import json
from email.utils import formatdate
from typing import Any

import pytest
from azure.core.pipeline.transport import AioHttpTransport, RequestsTransport
from hypothesis import given
from hypothesis import strategies as st
from tests.credential.files import issue, render_file
from tests.http.conftest import Make, Net
from tests.local.clients import Caller
from tests.support.volume import Mount

import hcpcreds.aio
import hcpcreds.credential
from hcpcreds import dataplane
from hcpcreds.errors import IssueUnavailableError, TokenError, TokenUnavailableError
from hcpcreds.http.retries import LONGEST_WAIT, read_wait
from hcpcreds.local.azure.azure import LocalAzure

SCOPE = "https://management.azure.com/.default"
NOW = 1_780_000_000.0
REFUSAL = json.dumps({"error": "any", "error_description": "no"}).encode()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "2"}, 2),
        ({"RETRY-AFTER": " 0.5 "}, 0.5),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "86400"}, LONGEST_WAIT),
        ({"Retry-After": "1e400"}, LONGEST_WAIT),
        ({"Retry-After": "inf"}, LONGEST_WAIT),
        ({"Retry-After": "9" * 5000}, LONGEST_WAIT),
        ({"Retry-After": "-inf"}, 0),
        ({"Retry-After": "-5"}, 0),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": formatdate(NOW + 7, usegmt=True)}, 7),
        ({"Retry-After": formatdate(NOW - 7, usegmt=True)}, 0),
        ({"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"}, LONGEST_WAIT),
        ({"Retry-After": "Fri, 31 Dec 9999 23:59:59 -2359"}, LONGEST_WAIT),
        ({"Retry-After": "Fri, 01 Jan 99999 00:00:00 GMT"}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"x-ms-retry-after-ms": "86400000"}, LONGEST_WAIT),
        ({"Retry-After": "3", "retry-after-ms": "1500"}, 3),
    ],
)
def test_read_wait_is_a_minute_at_most_when_a_header_asks_for_more(
    headers: dict[str, str], seconds: float | None
):
    assert read_wait(headers, now=NOW) == (None if seconds is None else pytest.approx(seconds, abs=0.01))


@given(
    st.sampled_from(["Retry-After", "retry-after-ms", "x-ms-retry-after-ms"]),
    st.one_of(
        st.text(),
        st.floats().map(str),
        st.integers().map(str),
        st.datetimes().map(lambda at: at.strftime("%a, %d %b %Y %H:%M:%S GMT")),
    ),
)
def test_read_wait_is_within_its_limits_when_the_header_is_anything(name: str, text: str):
    assert 0 <= (read_wait({name: text}) or 0) <= LONGEST_WAIT


@pytest.mark.parametrize(
    ("status", "sent"),
    [(400, 1), (401, 1), (404, 1), (409, 1), (408, 2), (429, 2), (500, 2), (501, 2), (503, 2)],
)
def test_request_is_retried_only_when_the_failure_may_be_temporary(
    make: Make, net: Net, status: int, sent: int
):
    net.web.status = status
    net.web.headers["Retry-After"] = "0"
    net.web.body = REFUSAL
    with pytest.raises(TokenError):
        make(connection_verify=str(net.authority.file), retry_total=1).get_token(SCOPE)
    assert len(net.web.requests) == sent


class Sleepless(RequestsTransport):  # type: ignore[misc] # azure-core imports it lazily
    """Records how long it would have slept."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.slept: list[float] = []

    def sleep(self, duration: float) -> None:
        self.slept.append(duration)


class AioSleepless(AioHttpTransport):  # type: ignore[misc] # as above
    """The same in asyncio code."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.slept: list[float] = []

    async def sleep(self, duration: float) -> None:
        self.slept.append(duration)


@pytest.mark.parametrize("twin", ["sync", "aio"])
@pytest.mark.parametrize(
    ("header", "waited"),
    [
        ("86400", 60),
        ("inf", 60),
        ("1e400", 60),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 60),
        ("1", 1),
        ("nan", 1.6),
    ],
)
def test_retry_waits_a_minute_at_most_when_a_service_asks_for_more(
    net: Net, twin: str, header: str, waited: float
):
    mount = Mount(net.home / "certs")
    mount.swap(render_file(issue()))
    net.web.status = 429
    net.web.body = REFUSAL
    net.web.headers["Retry-After"] = header
    settings: dict[str, Any] = {"connection_verify": str(net.authority.file)}
    options: Any = {"authority": f"https://127.0.0.1:{net.web.port}", "retry_total": 2}
    if twin == "sync":
        with (
            Sleepless(**settings) as transport,
            hcpcreds.credential.UserAssignedIdentityCredential(
                mount.path, transport=transport, **options
            ) as credential,
            pytest.raises(TokenUnavailableError),
        ):
            credential.get_token(SCOPE)
        slept = transport.slept
    else:

        async def ask() -> list[float]:
            async with (
                AioSleepless(**settings) as transport,
                hcpcreds.aio.UserAssignedIdentityCredential(
                    mount.path, transport=transport, **options
                ) as credential,
            ):
                with pytest.raises(TokenUnavailableError):
                    await credential.get_token(SCOPE)
                slept: list[float] = transport.slept
                return slept

        slept = asyncio.run(ask())
    assert slept[-1] == pytest.approx(waited)
    assert max(slept) <= LONGEST_WAIT


def test_refusal_is_raised_at_once_when_its_wait_would_exceed_the_timeout(local_azure: LocalAzure):
    throttled = local_azure.faults.add("data_plane", status=429, retry_after=50)
    with (
        dataplane.ManagedIdentityDataPlaneClientFactory(
            Caller(local_azure),
            local_azure.settings.data_plane_audience,
            hosts=["127.0.0.1"],
            connection_verify=str(local_azure.ca_file),
            timeout=5,
        ) as factory,
        pytest.raises(IssueUnavailableError, match="HTTP 429"),
    ):
        factory.create_client(local_azure.identity_url).get_system_assigned_identity_credentials()
    assert throttled.met == 1
