"""The client of the managed-identity data plane, which issues and renews the identities' credentials."""

from hcpcreds.dataplane.client import ManagedIdentityDataPlaneClient, ManagedIdentityDataPlaneClientFactory
from hcpcreds.dataplane.models import (
    CustomClaims,
    DelegatedResource,
    ManagedIdentityCredentials,
    MoveIdentityRequest,
    MoveIdentityResponse,
    UserAssignedIdentitiesRequest,
    UserAssignedIdentityCredentials,
)

__all__ = [
    "CustomClaims",
    "DelegatedResource",
    "ManagedIdentityCredentials",
    "ManagedIdentityDataPlaneClient",
    "ManagedIdentityDataPlaneClientFactory",
    "MoveIdentityRequest",
    "MoveIdentityResponse",
    "UserAssignedIdentitiesRequest",
    "UserAssignedIdentityCredentials",
]
