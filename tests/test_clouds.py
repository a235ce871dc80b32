import pytest

from hcpcreds.clouds import CLOUDS, get_cloud, is_entra_host, is_same_authority
from hcpcreds.errors import InputError

ENDPOINTS = {  # authority, ARM, ARM's audience, suffix of vaults
    "AzurePublicCloud": (
        "https://login.microsoftonline.com/",
        "https://management.azure.com",
        "https://management.core.windows.net/",
        "vault.azure.net",
    ),
    "AzureUSGovernmentCloud": (
        "https://login.microsoftonline.us/",
        "https://management.usgovcloudapi.net",
        "https://management.core.usgovcloudapi.net/",
        "vault.usgovcloudapi.net",
    ),
    "AzureChinaCloud": (
        "https://login.chinacloudapi.cn/",
        "https://management.chinacloudapi.cn",
        "https://management.core.chinacloudapi.cn/",
        "vault.azure.cn",
    ),
    "AzureGermanCloud": (
        "https://login.microsoftonline.de/",
        "https://management.microsoftazure.de",
        "https://management.core.cloudapi.de/",
        "vault.microsoftazure.de",
    ),
    "AzureBleuCloud": (
        "https://login.sovcloud-identity.fr/",
        "https://management.sovcloud-api.fr",
        "https://management.sovcloud-api.fr/",
        "vault.sovcloud-api.fr",
    ),
}


@pytest.mark.parametrize("name", ENDPOINTS)
def test_cloud_has_its_own_endpoints(name):
    assert get_cloud(name) == (name, *ENDPOINTS[name])


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("", "AzurePublicCloud"),
        ("AzureCloud", "AzurePublicCloud"),
        ("AzureUSGovernment", "AzureUSGovernmentCloud"),
        ("AZUREPUBLICCLOUD", "AzurePublicCloud"),
        ("azurechinacloud", "AzureChinaCloud"),
    ],
)
def test_cloud_is_found_when_its_alias_is_given(alias, name):
    assert get_cloud(alias) is get_cloud(name)


def test_scope_keeps_the_audience_slash_that_arm_expects():
    assert get_cloud("").resource_manager_scope == "https://management.core.windows.net//.default"


@pytest.mark.parametrize("name", ["AzureStackCloud", " AzurePublicCloud", "AzurePublicCloud\n"])
def test_cloud_is_refused_with_the_known_names_when_it_is_unknown(name):
    with pytest.raises(InputError) as caught:
        get_cloud(name)
    assert all(known in str(caught.value) for known in CLOUDS)


@pytest.mark.parametrize("name", ["sentinel" * 1000, "sentinel\n", "sentinel0", "sentinel\x1b]0;"])
def test_unknown_cloud_is_not_repeated_when_it_may_be_a_secret(name):
    with pytest.raises(InputError) as caught:
        get_cloud(name)
    assert f"unknown cloud of {len(name)} characters" in str(caught.value)
    assert "sentinel" not in str(caught.value)


ENTRA_HOSTS = [
    "login.microsoftonline.com",
    "login.microsoft.com",
    "westus2.login.microsoft.com",
    "australiacentral.r.login.microsoft.com",
    "login.windows.net",
    "sts.windows.net",
    "Login.MicrosoftOnline.US",
    "usgovvirginia.login.microsoftonline.us",
    "login.usgovcloudapi.net",
    "login.chinacloudapi.cn",
    "login.partner.microsoftonline.cn",
    "login.microsoftonline.de",
    "login.sovcloud-identity.fr",
    "login.sovcloud-identity.de",
    "login.sovcloud-identity.sg",
]
STRANGE_HOSTS = [
    "",
    "evil.example",
    "microsoftonline.com",
    "login.microsoftonline.com.evil.example",
    "evillogin.microsoftonline.com",
    "login-microsoftonline.com",
    "loginXmicrosoft.com",
    "evil.example/.login.microsoft.com",
    "evil.example\\.login.microsoft.com",
    ".login.microsoft.com",
    "login.microsoft.com.",
    "login.microsoft.com\n",
    "windows.net",
    "x.blob.core.windows.net",
]


@pytest.mark.parametrize("host", ENTRA_HOSTS)
def test_host_is_entras_when_microsoft_lists_it_or_it_has_a_region_prefix(host):
    assert is_entra_host(host)


@pytest.mark.parametrize("host", STRANGE_HOSTS)
def test_host_is_not_entras_when_it_only_looks_similar(host):
    assert not is_entra_host(host)


@pytest.mark.parametrize("name", CLOUDS)
def test_host_is_entras_when_a_cloud_names_it_as_its_authority(name):
    assert is_entra_host(get_cloud(name).authority.removeprefix("https://").rstrip("/"))


@pytest.mark.parametrize(
    ("host", "other", "same"),
    [
        ("login.example", "LOGIN.example", True),
        ("login.microsoftonline.com", "westus2.login.microsoft.com", True),
        ("login.chinacloudapi.cn", "login.partner.microsoftonline.cn", True),
        ("login.microsoftonline.com", "login.microsoftonline.us", False),
        ("login.microsoftonline.de", "login.sovcloud-identity.de", False),
        ("login.microsoftonline.com", "evil.example", False),
        ("evil.example", "login.example", False),
    ],
)
def test_hosts_are_the_same_authority_when_they_are_equal_or_in_one_cloud(host, other, same):
    assert is_same_authority(host, other) is same
    assert is_same_authority(other, host) is same
