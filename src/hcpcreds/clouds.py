"""Azure's clouds: where each one's authority, ARM and Key Vaults are.

Source: openshift/hypershift, support/azureutil, and the Azure SDKs' own tables (August 2026).
"""

from typing import Final, NamedTuple

from hcpcreds.errors import InputError


class Cloud(NamedTuple):
    """One of Azure's clouds."""

    name: str
    authority: str
    """Token authority, with a closing slash."""
    resource_manager: str
    """ARM's endpoint."""
    resource_manager_audience: str
    key_vault_suffix: str
    """Host name of a vault less the vault's name."""

    @property
    def resource_manager_scope(self) -> str:
        """The scope of a token for ARM."""
        return f"{self.resource_manager_audience}/.default"


_PUBLIC = Cloud(
    "AzurePublicCloud",
    "https://login.microsoftonline.com/",
    "https://management.azure.com",
    "https://management.core.windows.net/",
    "vault.azure.net",
)
_US_GOVERNMENT = Cloud(
    "AzureUSGovernmentCloud",
    "https://login.microsoftonline.us/",
    "https://management.usgovcloudapi.net",
    "https://management.core.usgovcloudapi.net/",
    "vault.usgovcloudapi.net",
)
_CHINA = Cloud(
    "AzureChinaCloud",
    "https://login.chinacloudapi.cn/",
    "https://management.chinacloudapi.cn",
    "https://management.core.chinacloudapi.cn/",
    "vault.azure.cn",
)
_GERMANY = Cloud(
    "AzureGermanCloud",
    "https://login.microsoftonline.de/",
    "https://management.microsoftazure.de",
    "https://management.core.cloudapi.de/",
    "vault.microsoftazure.de",
)
_BLEU = Cloud(
    "AzureBleuCloud",
    "https://login.sovcloud-identity.fr/",
    "https://management.sovcloud-api.fr",
    "https://management.sovcloud-api.fr/",
    "vault.sovcloud-api.fr",
)

DEFAULT_CLOUD: Final = _PUBLIC.name
CLOUDS: Final = {
    "AzurePublicCloud": _PUBLIC,
    "AzureCloud": _PUBLIC,
    "AzureUSGovernmentCloud": _US_GOVERNMENT,
    "AzureUSGovernment": _US_GOVERNMENT,
    "AzureChinaCloud": _CHINA,
    "AzureGermanCloud": _GERMANY,
    "AzureBleuCloud": _BLEU,
}


def get_cloud(name: str) -> Cloud:
    """Look a cloud up by its name in HyperShift's API or in a cloud config.

    Args:
        name: For instance ``AzurePublicCloud``; the empty text means the default.

    Raises:
        InputError: No such cloud; the message lists those that there are.
    """
    try:
        return CLOUDS[name or DEFAULT_CLOUD]
    except KeyError:
        raise InputError("cloud", [f"unknown cloud {name!r}; expected one of {', '.join(CLOUDS)}"]) from None
