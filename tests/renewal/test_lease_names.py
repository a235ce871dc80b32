"""The names of vaults' Leases."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hcpcreds.renewal.lease_names import render_lease_name


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://Harbour.vault.azure.net", "harbour.vault.azure.net"),
        ("https://my-vault-1.vault.azure.net", "my-vault-1.vault.azure.net"),
        ("https://127.0.0.1:8443", "127.0.0.1-8443-f376fb01"),
        ("https://[::1]:8443", "1-8443-2ef9851e"),
    ],
)
def test_render_lease_name_returns_the_host_when_it_is_a_dns_name(url: str, name: str):
    assert render_lease_name(url) == f"hcpcreds-renew.{name}"


@pytest.mark.parametrize(
    "pair",
    [
        ("https://a.b:1", "https://a.b-1"),
        ("https://[::1]:5", "https://1-5"),
        ("https://a_b.c", "https://a-b.c"),
        ("https://a--b.c", "https://a-b.c"),
        ("https://-a.b", "https://a.b"),
        ("https://a..b", "https://a.b"),
        (f"https://{'a' * 300}.b", f"https://{'a' * 300}.c"),
    ],
)
def test_render_lease_name_differs_when_hosts_do(pair: tuple[str, str]):
    one, other = map(render_lease_name, pair)
    assert one != other


def test_render_lease_name_uses_the_longest_allowed_name_when_the_host_is_longer():
    name = render_lease_name(f"https://{'a' * 300}.b")
    assert len(name) == 253
    assert name.startswith("hcpcreds-renew.aaa")


@given(st.text(alphabet="aZ09.-_:[]é", min_size=1, max_size=300))
def test_render_lease_name_returns_a_dns_subdomain_when_given_any_host(host: str):
    name = render_lease_name(f"https://{host}")
    assert len(name) <= 253
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*", name)
