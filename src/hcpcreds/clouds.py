"""Azure's clouds, with the addresses of their authorities, ARM and Key Vaults.

Source: openshift/hypershift, support/azureutil, and the Azure SDKs' own tables (August 2026).
"""

import re
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from hcpcreds.errors import InputError

__all__ = [
    "CLOUDS",
    "DEFAULT_CLOUD",
    "Cloud",
    "get_cloud",
]


class Cloud(NamedTuple):
    """One of Azure's clouds."""

    name: str
    authority: str
    """URL of the token authority, with a trailing slash."""
    resource_manager: str
    """URL of ARM."""
    resource_manager_audience: str
    key_vault_suffix: str
    """Host name of a vault without the vault's name."""

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
_NAME: Final = re.compile(r"[A-Za-z ]{1,40}")
"""Unknown names that are shown; any other may be a secret in the wrong place."""
_CLOUDS_IN_CAPITALS: Final = {name.upper(): cloud for name, cloud in CLOUDS.items()}

# Source: AzureAD/microsoft-authentication-library-for-dotnet, KnownMetadataProvider.cs (2026): the aliases of
# each cloud. The host of a region is a subdomain of one of them: westus2.login.microsoft.com.
_ENTRA_HOSTS: Final = (
    ("login.microsoftonline.com", "login.microsoft.com", "login.windows.net", "sts.windows.net"),
    ("login.microsoftonline.us", "login.usgovcloudapi.net"),
    ("login.chinacloudapi.cn", "login.partner.microsoftonline.cn"),
    ("login.microsoftonline.de",),
    ("login.sovcloud-identity.fr",),
    ("login.sovcloud-identity.de",),
    ("login.sovcloud-identity.sg",),
)
_ENTRA_PATTERNS: Final = tuple(
    re.compile(rf"(?:[a-z0-9-]{{1,63}}\.)*(?:{'|'.join(map(re.escape, hosts))})") for hosts in _ENTRA_HOSTS
)

LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
"""Host names of the local machine."""
_OWN_HOSTS: Final = (
    *(cloud.key_vault_suffix for cloud in CLOUDS.values()),
    *(
        urlsplit(url).hostname or ""
        for cloud in CLOUDS.values()
        for url in (cloud.resource_manager, cloud.resource_manager_audience)
    ),
    *(host for hosts in _ENTRA_HOSTS for host in hosts),
)
SHARED_DOMAINS: Final = frozenset(
    (
        *(".".join(host.split(".")[-2:]) for host in _OWN_HOSTS),
        *(cloud.key_vault_suffix for cloud in CLOUDS.values()),
        *("core.windows.net", "blob.core.windows.net", "servicebus.windows.net", "database.windows.net"),
        *("azurewebsites.net", "cloudapp.net", "cloudapp.azure.com", "trafficmanager.net", "azure-api.net"),
        *("azureedge.net", "azurefd.net", "azurecontainer.io", "azurestaticapps.net"),
        *("azurewebsites.us", "usgovcloudapp.net", "usgovtrafficmanager.net"),
        *("chinacloudapp.cn", "chinacloudsites.cn", "trafficmanager.cn"),
    )
)
"""Azure domains that are shared: any service or customer may have hosts below them.

Sources: the clouds above; Microsoft's entries in publicsuffix.org."""


def get_cloud(name: str) -> Cloud:
    """Look up a cloud by its name in HyperShift's API or in a cloud config.

    Args:
        name: For instance `AzurePublicCloud`; case does not matter, as in Azure's Go libraries
            (Azure/go-autorest, EnvironmentFromName). An empty name means the default cloud.

    Raises:
        InputError: There is no such cloud; the message lists the known ones.
    """
    try:
        return _CLOUDS_IN_CAPITALS[(name or DEFAULT_CLOUD).upper()]
    except KeyError:
        shown = repr(name) if _NAME.fullmatch(name) else f"of {len(name)} characters"
        raise InputError("cloud", [f"unknown cloud {shown}; expected one of {', '.join(CLOUDS)}"]) from None


def find_cloud(authority: str) -> Cloud | None:
    """Find the cloud that a token authority belongs to; None when the authority is not Entra ID's.

    Args:
        authority: An `https` URL.
    """
    host = urlsplit(authority).hostname or ""
    if not is_entra_host(host):
        return None
    clouds = (
        each for each in CLOUDS.values() if is_same_authority(host, urlsplit(each.authority).hostname or "")
    )
    return next(clouds, None)


def is_entra_host(host: str) -> bool:
    """Return whether a host name is a token authority of Entra ID, in any cloud or region.

    Args:
        host: A host name without a port; case does not matter.
    """
    return any(pattern.fullmatch(host.lower()) for pattern in _ENTRA_PATTERNS)


def is_same_authority(host: str, other: str) -> bool:
    """Return whether two host names are the same authority: equal, or both Entra ID's in the same cloud.

    Args:
        host: A host name without a port; case does not matter.
        other: Another one.
    """
    host, other = host.lower(), other.lower()
    return host == other or any(
        pattern.fullmatch(host) and pattern.fullmatch(other) for pattern in _ENTRA_PATTERNS
    )
