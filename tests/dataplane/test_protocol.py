"""Requests and answers of the data plane, and the hosts that they may go to, without I/O."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from hcpcreds.dataplane import MoveIdentityRequest, UserAssignedIdentitiesRequest
from hcpcreds.dataplane.hosts import check_identity_url, choose_hosts
from hcpcreds.dataplane.models import ManagedIdentityCredentials
from hcpcreds.dataplane.protocol import Answer, Tenants, build_request, read_answer
from hcpcreds.errors import InputError, IssueError

URL = "https://control.identity.azure.net/subscriptions/s/credentials"
QUERIES = st.lists(st.from_regex(r"\A[a-z]{1,5}=[A-Za-z0-9%+._-]{0,8}\Z"), max_size=4).map("&".join)


@given(query=QUERIES)
def test_build_request_keeps_the_query_byte_for_byte_when_the_url_has_one(query: str):
    request = build_request("GET", f"{URL}?{query}" if query else URL)
    kept, _, version = request.url.removeprefix(f"{URL}?").rpartition("&")
    assert (kept, version) == (query, "api-version=2024-01-01")


def test_build_request_puts_the_path_before_the_query_when_both_are_given():
    request = build_request(
        "POST", f"{URL}?tid=1", path="/proxy/move", body=MoveIdentityRequest(target_resource_id="/sub")
    )
    assert request.url == f"{URL}/proxy/move?tid=1&api-version=2024-01-01"
    assert request.content == b'{"targetResourceId":"/sub"}'
    assert request.headers["Content-Type"] == "application/json"


def test_build_request_omits_fields_when_they_are_none():
    request = build_request("POST", URL, body=UserAssignedIdentitiesRequest(identity_ids=("/id",)))
    assert request.content == b'{"identityIds":["/id"]}'


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://host/path",
        "https://",
        "/path",
        "https://[bad/path",
        "host/path",
        "https://evil.example\\@azure.net/x",
        "https://evil.example\\.azure.net/x",
        "https://evil.example;.azure.net/",
        "https://user@azure.net/",
        "https://azure.net /",
        "https://azure.net/\r\nHost:evil",
        "https://azure.net\t.evil.example/",
        "https://\u212azure.net/",
    ],
)
def test_check_identity_url_raises_when_parsers_could_disagree_about_the_host(url: str):
    with pytest.raises(InputError, match="identity URL"):
        check_identity_url(url, ["azure.net"])


def test_tenants_learn_the_tenant_when_it_is_in_the_second_of_two_fields():
    request = build_request("GET", URL)
    fields = CIMultiDict(
        [
            ("WWW-Authenticate", "Negotiate"),
            ("www-authenticate", 'Bearer authorization="https://login/TENANT"'),
        ]
    )
    tenants = Tenants()
    assert tenants.get(request) is None
    assert tenants.learn(request, status=401, headers=fields) == "tenant"
    assert tenants.get(build_request("GET", f"{URL}/other?a=b")) == "tenant"
    assert tenants.get(build_request("GET", "https://elsewhere.azure.net/x")) is None


@pytest.mark.parametrize(
    ("status", "headers"), [(200, {"WWW-Authenticate": 'Bearer authorization="https://l/t"'}), (401, {})]
)
def test_tenants_learn_nothing_when_the_answer_is_not_a_challenge(status: int, headers: dict[str, str]):
    assert Tenants().learn(build_request("GET", URL), status=status, headers=headers) is None


@pytest.mark.parametrize(
    ("status", "content", "said"),
    [
        (400, b'{"error": {"code": "BadRequest", "message": "no ids"}}', "HTTP 400, BadRequest: no ids"),
        (500, b"<html>sentinel</html>", "HTTP 500, no readable error"),
        (302, b"", "HTTP 302, but not from the data plane.*firewall"),
        (403, b"<html>sentinel</html>", "HTTP 403, but not from the data plane.*firewall"),
        (403, b'{"error": null}', "HTTP 403, but not from the data plane.*firewall"),
        (401, b"", "HTTP 401, no readable error.*application"),
        (200, b'{"client_secret": ["sentinel"]}', r"unreadable answer: .*\$\.client_secret"),
        (200, b"", "unreadable answer"),
        (204, b"", "HTTP 204"),
    ],
)
def test_read_answer_never_shows_content_or_query_when_it_raises(status: int, content: bytes, said: str):
    request = build_request("GET", f"{URL}?sig=hidden")
    with pytest.raises(IssueError, match=said) as caught:
        read_answer(request, Answer(status, content), ManagedIdentityCredentials)
    assert str(caught.value).startswith("GET control.identity.azure.net/subscriptions/s/credentials: ")
    assert "sentinel" not in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_read_answer_truncates_the_message_when_it_is_long():
    content = b'{"error": {"code": "X", "message": "%s"}}' % (b"m" * 10_000)
    with pytest.raises(IssueError) as caught:
        read_answer(build_request("GET", URL), Answer(500, content), ManagedIdentityCredentials)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("host", ["identity.azure.net", "east.IDENTITY.azure.net"])
def test_check_identity_url_returns_it_when_the_host_is_the_audiences_or_below(host: str):
    hosts = choose_hosts("https://Identity.azure.net/", None)
    assert check_identity_url(f"https://{host}/a?b=c", hosts)


@pytest.mark.parametrize("host", ["evilidentity.azure.net", "identity.azure.net.evil.example", "azure.net"])
def test_check_identity_url_raises_when_another_host_looks_alike(host: str):
    with pytest.raises(InputError, match=r"is not among the allowed hosts: identity\.azure\.net"):
        check_identity_url(f"https://{host}/a", ["identity.azure.net"])


@pytest.mark.parametrize(
    ("audience", "hosts"),
    [
        ("api://guid", []),
        ("guid", None),
        ("https://[", None),
        ("http://identity.azure.net", None),
        ("https://identity.azure.net\\@evil.example", None),
        ("https://user@identity.azure.net", None),
    ],
)
def test_choose_hosts_raises_when_there_is_none(audience: str, hosts: list[str] | None):
    with pytest.raises(InputError, match="no host given"):
        choose_hosts(audience, hosts)


@pytest.mark.parametrize(
    "host",
    [
        *("com", "*", "*.identity.azure.net", "a b.example", "identity.azure.net:443", "", ".", "..", "a..b"),
        *("-a.example", "a-.example", "a_b.example", "é.example", "https://identity.azure.net", "[::2]"),
        *("a.example/", "a.example\n", f"{'a' * 64}.example", f"{'a.' * 127}example", "x@a.example"),
    ],
)
def test_choose_hosts_raises_when_one_is_not_a_host_name(host: str):
    with pytest.raises(InputError, match="expected a host name") as caught:
        choose_hosts("https://identity.azure.net", ["fine.example", host])
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "host",
    [
        *("azure.net", "azure.com", "windows.net", "core.windows.net", "vault.azure.net", "cloudapp.net"),
        *("usgovcloudapi.net", "azure.cn", "chinacloudapi.cn", "sovcloud-api.fr", "microsoftonline.com"),
        *("AZURE.NET", "azure.net."),
        *("blob.core.windows.net", "servicebus.windows.net", "database.windows.net", "azurewebsites.net"),
        *("cloudapp.azure.com", "trafficmanager.net", "azure-api.net", "azureedge.net", "azurefd.net"),
        *("azurecontainer.io", "azurestaticapps.net", "azurewebsites.us", "usgovcloudapp.net"),
        *("usgovtrafficmanager.net", "chinacloudapp.cn", "chinacloudsites.cn", "trafficmanager.cn"),
    ],
)
def test_choose_hosts_raises_when_customers_share_the_domain(host: str):
    for audience, hosts in ((f"https://{host}", None), ("https://identity.azure.net", [host])):
        with pytest.raises(InputError, match="anybody can have a host below it"):
            choose_hosts(audience, hosts)


@pytest.mark.parametrize(
    ("host", "chosen"),
    [
        ("identity.azure.net", "identity.azure.net"),
        ("East.Identity.Azure.Net.", "east.identity.azure.net"),
        ("identity.usgovcloudapi.net", "identity.usgovcloudapi.net"),
        *((host, host) for host in ("127.0.0.1", "localhost", "::1")),
        ("[::1]", "::1"),
    ],
)
def test_choose_hosts_normalizes_the_name_when_it_is_a_host_or_this_machine(host: str, chosen: str):
    assert choose_hosts("api://guid", [host]) == (chosen,)


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (401, "Use a credential of an application that may call the data plane"),
        (403, "The application may not get the credentials of this resource."),
        (404, "The identity does not exist; get the x-ms-identity-url from ARM again."),
        (429, "Throttled; try again later."),
        (503, "Try again later."),
        (500, None),
    ],
)
def test_refusal_of_the_data_plane_has_a_hint_when_the_status_tells_the_cause(status: int, hint: str | None):
    content = b'{"error": {"code": "Some", "message": "said"}}'
    with pytest.raises(IssueError) as caught:
        read_answer(build_request("GET", URL), Answer(status, content), ManagedIdentityCredentials)
    assert (caught.value.hint or "").startswith(hint or "")
    assert bool(caught.value.hint) == bool(hint)


def test_message_of_the_data_plane_is_safe_when_it_is_hostile():
    message = f"\x1b[2J\n Bearer opaque-token eyJhbGciOiJSUzI1NiJ9.e30.c2ln \u202e {'m' * 5000}"
    content = msgspec.json.encode({"error": {"code": "Bad\x9b", "message": message}})
    with pytest.raises(IssueError) as caught:
        read_answer(build_request("GET", URL), Answer(400, content), ManagedIdentityCredentials)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500
    assert "opaque-token" not in str(caught.value)
    assert "eyJ" not in str(caught.value)


def test_host_of_an_identity_url_is_masked_when_it_looks_like_a_key():
    with pytest.raises(InputError) as caught:
        check_identity_url(f"https://{'MIIEvQIBADANBgkqhkiG9w0BAQEFAASC' * 40}/a", ["identity.azure.net"])
    assert "mii" not in str(caught.value).lower()
