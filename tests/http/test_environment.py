"""The effects of the environment on token requests of the sync and the asyncio credential."""

import asyncio
import logging
from typing import Any

import pytest
from azure.core.pipeline.transport import AioHttpTransport, RequestsTransport
from tests.credential.files import issue, render_file
from tests.http.conftest import Make, Net
from tests.http.network import HOST, ConnectProxy
from tests.support.volume import Mount

import hcpcreds.aio
import hcpcreds.credential
import hcpcreds.http.aio
import hcpcreds.http.sync
from hcpcreds.errors import InputError, TokenUnavailableError
from hcpcreds.renewal.service import Access, open_renewers
from hcpcreds.renewal.walk import RenewalSettings

SCOPE = "https://management.azure.com/.default"
LOGIN = "basic dxnlcjpwqhnz"
"""The header for user and p@ss, in lower case."""


@pytest.mark.parametrize("variable", [False, True])
def test_token_request_has_no_login_when_netrc_has_one(
    make: Make,
    net: Net,
    *,
    variable: bool,
):
    (net.home / ".netrc").write_text("default login user password sentinel\n")
    (net.home / ".netrc").chmod(0o600)
    if variable:
        (net.home / ".netrc").rename(net.home / "elsewhere")
        net.environment.setenv("NETRC", str(net.home / "elsewhere"))
    with ConnectProxy() as proxy:
        net.environment.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        for host in ("127.0.0.1", HOST):
            assert make(host, connection_verify=str(net.authority.file)).get_token(SCOPE).token == "the-token"
        assert proxy.logins == [None]
    assert len(net.web.requests) == 2
    assert all("authorization" not in headers for headers in net.web.requests)
    assert all("proxy-authorization" not in headers for headers in net.web.requests)


def test_cookies_are_not_sent_back_when_a_response_sets_them(make: Make, net: Net):
    net.web.headers["Set-Cookie"] = "sentinel=1; Path=/"
    credential = make(connection_verify=str(net.authority.file))
    credential.get_token(SCOPE)
    credential.get_token("https://vault.azure.net/.default")
    assert len(net.web.requests) == 2
    assert all("cookie" not in headers for headers in net.web.requests)


@pytest.mark.parametrize(
    ("variable", "attribute"),
    [
        ("REQUESTS_CA_BUNDLE", "file"),
        ("REQUESTS_CA_BUNDLE", "directory"),
        ("CURL_CA_BUNDLE", "file"),
        ("SSL_CERT_FILE", "file"),
        ("SSL_CERT_DIR", "directory"),
        ("connection_verify", "file"),
        ("connection_verify", "directory"),
    ],
)
def test_server_is_trusted_when_a_variable_names_its_ca(make: Make, net: Net, variable: str, attribute: str):
    path = str(getattr(net.authority, attribute))
    if variable == "connection_verify":
        net.environment.setenv("REQUESTS_CA_BUNDLE", "/nowhere")
        assert make(connection_verify=path).get_token(SCOPE)
    else:
        net.environment.setenv(variable, path)
        assert make().get_token(SCOPE)
        with pytest.raises(TokenUnavailableError, match="is not accepted"):
            make(use_env_settings=False).get_token(SCOPE)


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
def test_any_server_is_trusted_when_verification_is_off(make: Make, net: Net):
    net.environment.setenv("REQUESTS_CA_BUNDLE", str(net.make_other_authority().file))
    assert make(connection_verify=False).get_token(SCOPE)


def test_failure_names_the_trusted_ca_certificates_when_they_lack_the_servers(make: Make, net: Net):
    other = net.make_other_authority()
    net.environment.setenv("SSL_CERT_FILE", str(other.file))
    with pytest.raises(TokenUnavailableError) as caught:
        make().get_token(SCOPE)
    text = str(caught.value)
    assert "TLS: the server's certificate is not accepted: unable to get local issuer certificate" in text
    assert f"the trusted CA certificates are those of {other.file}" in text
    assert "SSL_CERT_FILE" in text
    assert net.web.requests == []


def test_failure_does_not_blame_the_ca_when_the_name_is_wrong(make: Make, net: Net):
    with ConnectProxy() as proxy:
        credential = make(
            "other.example.test",
            connection_verify=str(net.authority.file),
            proxies={"https": f"http://127.0.0.1:{proxy.port}"},
        )
        with pytest.raises(TokenUnavailableError, match="Hostname mismatch") as caught:
            credential.get_token(SCOPE)
        assert len(proxy.asked) == 1, "the same again would end the same"
    assert "CA cert" not in str(caught.value)
    assert f"through the proxy http://127.0.0.1:{proxy.port} (proxies['https'])" in str(caught.value)


def test_ca_file_is_read_again_when_it_changes(make: Make, net: Net):
    bundle = net.home / "bundle.pem"
    bundle.write_bytes(net.make_other_authority().file.read_bytes())
    credential = make(connection_verify=str(bundle))
    with pytest.raises(TokenUnavailableError, match="CA certificates"):
        credential.get_token(SCOPE)
    bundle.write_bytes(net.authority.file.read_bytes())
    assert credential.get_token(SCOPE)
    bundle.write_bytes(b"half written")
    assert credential.get_token("https://vault.azure.net/.default"), "those read before are good still"


def test_client_certificate_is_named_when_it_cannot_be_used(make: Make, net: Net):
    credential = make(connection_verify=str(net.authority.file), connection_cert=str(net.home / "missing"))
    with pytest.raises(InputError, match="connection_cert: unusable"):
        credential.get_token(SCOPE)


def test_both_variables_are_named_when_both_name_ca_certificates(make: Make, net: Net):
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        net.environment.setenv(variable, str(net.home / "missing"))
    with pytest.raises(InputError, match=r"^SSL_CERT_FILE, SSL_CERT_DIR: "):
        make().get_token(SCOPE)


@pytest.mark.parametrize(
    "variable", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "connection_verify"]
)
@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_error_names_the_file_and_its_source_when_ca_certificates_are_unusable(
    make: Make,
    net: Net,
    variable: str,
    kind: str,
):
    path = net.home / "ca"
    if kind == "empty":
        path.touch()
    options: dict[str, Any] = {}
    if variable == "connection_verify":
        options[variable] = str(path)
    else:
        net.environment.setenv(variable, str(path))
    credential = make(**options)
    with pytest.raises(InputError) as caught:
        credential.get_token(SCOPE)
    assert variable in caught.value.where
    assert str(path) in str(caught.value)
    path.unlink(missing_ok=True)
    path.symlink_to(net.authority.directory if variable == "SSL_CERT_DIR" else net.authority.file)
    assert credential.get_token(SCOPE), "once it is there, it is used"


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "https", "all"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_requests_go_through_the_proxy_when_one_is_named(make: Make, net: Net, variable: str, scheme: str):
    with ConnectProxy(net.authority.make_tls() if scheme == "https" else None) as proxy:
        url = f"{scheme}://user:p%40ss@127.0.0.1:{proxy.port}"
        options: dict[str, Any] = {"connection_verify": str(net.authority.file)}
        if "proxy" in variable.lower():
            net.environment.setenv(variable, url)
        else:
            options["proxies"] = {variable: url}
        assert make(HOST, **options).get_token(SCOPE).token == "the-token"
        assert [asked.rpartition(" ")[0] for asked in proxy.asked] == [f"CONNECT {HOST}:{net.web.port}"]
        assert [login and login.lower() for login in proxy.logins] == [LOGIN]
    assert all("proxy-authorization" not in headers for headers in net.web.requests)


def test_given_proxy_is_refused_at_once_when_it_is_unusable(make: Make):
    with pytest.raises(InputError, match=r"proxies\['https'\]: unusable proxy URL"):
        make(proxies={"https": "socks5://proxy:1080"})


def test_requests_are_direct_when_no_proxy_or_an_empty_proxy_says_so(make: Make, net: Net):
    with ConnectProxy() as proxy:
        net.environment.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        options: dict[str, Any] = {"connection_verify": str(net.authority.file), "retry_total": 0}
        assert make(**options).get_token(SCOPE), "a loopback address is not for a proxy"
        with pytest.raises(TokenUnavailableError):
            make(HOST, proxies={"https": None}, **options).get_token(SCOPE)
        with pytest.raises(TokenUnavailableError):
            make(HOST, use_env_settings=False, **options).get_token(SCOPE)
        net.environment.setenv("NO_PROXY", ".example.test")
        with pytest.raises(TokenUnavailableError):
            make(HOST, **options).get_token(SCOPE)
        assert proxy.asked == []
        assert len(net.web.requests) == 1


@pytest.mark.parametrize("source", ["HTTPS_PROXY", "proxies"])
@pytest.mark.parametrize(
    "url",
    [
        "http://user:pq7#zkx@127.0.0.1:1",
        "http://user:pq7/zkx@127.0.0.1:1",
        "http://user:pq7?zkx@127.0.0.1:1",
        "http://user:pq7zkx@127.0.0.1:99999",
        "http://user:pq7zkx@127.0.0.1:port",
        "http://user:pq7zkx@",
        "http://user:pq7[zkx@127.0.0.1:1",
        "user:pq7/zkx@127.0.0.1:1",
        "socks5://user:pq7zkx@127.0.0.1:1",
    ],
)
def test_password_is_not_shown_when_a_proxy_is_unusable(  # noqa: PLR0913, PLR0917 (fixtures and parameters)
    make: Make,
    net: Net,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    url: str,
    source: str,
):
    caplog.set_level(logging.DEBUG)
    options = {"proxies": {"https": url}} if source == "proxies" else {}
    if not options:
        net.environment.setenv(source, url)
    with pytest.raises(InputError, match=r"unusable proxy URL.*expected http://") as caught:
        make(HOST, **options).get_token(SCOPE)
    assert source in caught.value.where
    for text in (repr(caught.value), str(caught.value), caplog.text, *capfd.readouterr()):
        for shred in ("pq7", "zkx"):
            assert shred not in text


@pytest.mark.parametrize("answer", ["407 Proxy Authentication Required", "403 Forbidden", "502 Bad Gateway"])
@pytest.mark.parametrize("scheme", ["", "http://"])
def test_error_names_the_proxy_without_its_password_when_it_refuses(
    make: Make,
    net: Net,
    caplog: pytest.LogCaptureFixture,
    answer: str,
    scheme: str,
):
    caplog.set_level(logging.DEBUG)
    with ConnectProxy(answer=answer) as proxy:
        net.environment.setenv("HTTPS_PROXY", f"{scheme}user:sentinel@127.0.0.1:{proxy.port}")
        with pytest.raises(TokenUnavailableError) as caught:
            make(HOST, connection_verify=str(net.authority.file), retry_total=0).get_token(SCOPE)
    assert answer[:3] in str(caught.value)
    assert f"through the proxy http://127.0.0.1:{proxy.port} (HTTPS_PROXY)" in str(caught.value)
    assert "sentinel" not in str(caught.value) + caplog.text


def test_error_names_the_proxy_when_it_is_unreachable(make: Make, net: Net):
    net.environment.setenv("https_proxy", "http://user:sentinel@127.0.0.1:1")
    with pytest.raises(
        TokenUnavailableError, match=r"the proxy http://127\.0\.0\.1:1 \(https_proxy\)"
    ) as caught:
        make(HOST, retry_total=0).get_token(SCOPE)
    assert "sentinel" not in str(caught.value)


def test_given_transport_stays_the_callers_when_a_client_is_closed(net: Net):
    mount = Mount(net.home / "certs")
    mount.swap(render_file(issue()))
    settings: dict[str, Any] = {"connection_verify": str(net.authority.file)}
    authority = f"https://127.0.0.1:{net.web.port}"

    with RequestsTransport(**settings) as transport:
        with hcpcreds.credential.UserAssignedIdentityCredential(
            mount.path, authority=authority, transport=transport
        ) as credential:
            assert credential.get_token(SCOPE)
        assert transport.session is not None

    async def ask() -> None:
        async with AioHttpTransport(**settings) as transport:
            async with hcpcreds.aio.UserAssignedIdentityCredential(
                mount.path, authority=authority, transport=transport
            ) as credential:
                assert await credential.get_token(SCOPE)
            assert transport.session is not None

    asyncio.run(ask())
    assert len(net.web.requests) == 2


def test_timeouts_are_thirty_seconds_when_the_caller_gives_none():
    for module in (hcpcreds.http.sync, hcpcreds.http.aio):
        usual: Any = module.make_transport({}, max_answer=1)
        assert (usual.connection_config.timeout, usual.connection_config.read_timeout) == (30, 30)
        configured: Any = module.make_transport({"connection_timeout": 3, "read_timeout": 4}, max_answer=1)
        assert (configured.connection_config.timeout, configured.connection_config.read_timeout) == (3, 4)


def test_renewer_refuses_the_proxy_before_it_starts_when_it_is_unusable(net: Net):
    net.environment.setenv("HTTPS_PROXY", "http://user:pq7#zkx@proxy:3128")
    access = Access(vault_urls=["https://harbour.vault.azure.net"], audience="https://identity.azure.net")

    async def begin() -> None:
        async with open_renewers(access, RenewalSettings()):
            pass

    with pytest.raises(InputError, match="HTTPS_PROXY: unusable proxy URL") as caught:
        asyncio.run(begin())
    assert "pq7" not in str(caught.value)
