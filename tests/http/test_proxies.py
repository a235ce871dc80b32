"""The choice of a proxy for a request."""

import base64
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcpcreds.errors import InputError
from hcpcreds.http.proxies import Proxies

PROXY = "http://proxy.example:3128"
URL = "https://login.example.com/tenant/oauth2/v2.0/token"


def find(url: str = URL, given: dict[str, str | None] | None = None, **environment: str) -> str | None:
    proxy = Proxies(given, environment).find(url)
    return None if proxy is None else proxy.url


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": PROXY}, PROXY),
        ({"https_proxy": PROXY, "HTTPS_PROXY": "http://other:1"}, PROXY),
        ({"https_proxy": "", "HTTPS_PROXY": PROXY}, None),
        ({"https_proxy": "", "ALL_PROXY": PROXY}, PROXY),
        ({"HTTP_PROXY": PROXY}, None),
        ({"ALL_PROXY": PROXY}, PROXY),
        ({"all_proxy": "http://other:1", "https_proxy": PROXY}, PROXY),
        ({"HTTPS_PROXY": " proxy.example:3128 "}, PROXY),
        ({"HTTPS_PROXY": "http://proxy.example/"}, "http://proxy.example:80"),
        ({"HTTPS_PROXY": "https://proxy.example"}, "https://proxy.example:443"),
        ({"HTTPS_PROXY": "HTTP://[2001:db8::1]:3128"}, "http://[2001:db8::1]:3128"),
        ({"HTTPS_PROXY": "http://[2001:db8::1]"}, "http://[2001:db8::1]:80"),
        ({"HTTPS_PROXY": "http://proxy.example:"}, "http://proxy.example:80"),
        # A proxy that is not chosen is not parsed.
        ({"ALL_PROXY": "socks5://one", "HTTPS_PROXY": PROXY}, PROXY),
        ({"HTTPS_PROXY": "socks5://one", "NO_PROXY": "*"}, None),
    ],
)
def test_proxy_comes_from_the_environment_when_none_is_given(
    environment: dict[str, str], expected: str | None
):
    assert find(URL, None, **environment) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"https": PROXY}, PROXY),
        ({"http": PROXY}, "http://environment:1"),
        ({"https": None}, None),
        ({"https": ""}, None),
        ({"all": PROXY}, PROXY),
        ({"https://login.example.com": PROXY, "https": "http://other:1"}, PROXY),
        ({"https://elsewhere.example": "http://other:1", "all://login.example.com": PROXY}, PROXY),
    ],
)
def test_given_proxies_take_precedence_when_the_environment_names_others(
    given: dict[str, str | None], expected: str | None
):
    assert find(given=given, HTTPS_PROXY="http://environment:1", NO_PROXY="elsewhere.example") == expected


@pytest.mark.parametrize(
    ("exempt", "url", "is_exempt"),
    [
        ("login.example.com", URL, True),
        ("example.com", URL, True),
        (".example.com", URL, True),
        ("*.example.com", URL, True),
        ("EXAMPLE.COM.", URL, True),
        ("a.b, example.com", URL, True),
        ("a.b example.com", URL, True),
        ("*", URL, True),
        ("example.com:443", URL, True),
        ("example.com:8443", URL, False),
        ("example.com:8443", "https://login.example.com:8443/", True),
        ("ample.com", URL, False),
        ("gin.example.com", URL, False),
        ("", URL, False),
        (",.,:,[],*.", URL, False),
        ("10.0.0.0/8", "https://10.1.2.3/", True),
        ("10.0.0.0/8", "https://11.1.2.3/", False),
        ("10.0.0.0/8", URL, False),
        ("10.1.2.3", "https://10.1.2.3/", True),
        ("10.1.2.3:443", "https://10.1.2.3/", True),
        ("2.3", "https://10.1.2.3/", False),
        ("2001:db8::/32", "https://[2001:db8::1]/", True),
        ("[2001:db8::1]", "https://[2001:db8::1]/", True),
        ("[2001:db8::1]:443", "https://[2001:db8::1]/", True),
    ],
)
def test_request_is_direct_when_no_proxy_covers_its_host(exempt: str, url: str, *, is_exempt: bool):
    assert (find(url, HTTPS_PROXY=PROXY, NO_PROXY=exempt) is None) is is_exempt


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:5", "127.8.8.8", "[::1]:5", "169.254.169.254", "[fe80::1]"]
)
def test_environment_proxy_is_ignored_when_the_host_is_local(host: str):
    assert find(f"https://{host}/", HTTPS_PROXY=PROXY) is None
    assert find(f"https://{host}/", {"https": PROXY}, HTTPS_PROXY=PROXY) == PROXY


@given(st.text(min_size=1), st.text(min_size=1))
def test_login_is_decoded_and_hidden_when_the_proxy_has_one(user: str, password: str):
    url = f"http://{quote(user, safe='')}:{quote(password, safe='')}@proxy.example:3128"
    proxy = Proxies({}, {"HTTPS_PROXY": url}).find(URL)
    assert proxy is not None
    assert proxy.authorization == f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
    assert f"{proxy} {proxy.url}" == f"{PROXY} (HTTPS_PROXY) {PROXY}"
    assert "authorization" not in repr(proxy)


@given(st.one_of(st.text(), st.text().map(lambda text: f"http://user:{text}qj7zkx@proxy.example:3128")))
def test_proxy_url_is_accepted_or_refused_without_repeating_it_when_it_is_anything(url: str):
    try:
        proxy = Proxies({}, {"HTTPS_PROXY": url}).find(URL)
    except InputError as error:
        assert "qj7zkx" not in f"{error!r}"  # noqa: PT017 (not every one raises)
    else:
        assert "qj7zkx" not in f"{proxy!r}"


@pytest.mark.parametrize("given", [["https"], 5, {"https": 5}, "https"])
def test_proxies_are_refused_when_they_are_not_a_mapping(given: object):
    with pytest.raises(InputError, match="proxies"):
        Proxies(given)  # type: ignore[arg-type]
