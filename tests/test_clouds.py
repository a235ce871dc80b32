import pytest

from hcpcreds.clouds import CLOUDS, get_cloud
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
    ],
)
def test_cloud_is_found_by_its_other_name(alias, name):
    assert get_cloud(alias) is get_cloud(name)


def test_scope_keeps_the_audience_slash_that_arm_expects():
    assert get_cloud("").resource_manager_scope == "https://management.core.windows.net//.default"


@pytest.mark.parametrize("name", ["azurepubliccloud", "AzureStackCloud", " AzurePublicCloud"])
def test_unknown_cloud_is_refused_and_the_known_are_listed(name):
    with pytest.raises(InputError) as caught:
        get_cloud(name)
    assert all(known in str(caught.value) for known in CLOUDS)
