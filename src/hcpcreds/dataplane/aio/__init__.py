"""The asyncio twins of `hcpcreds.dataplane`: same names, same arguments, same behaviour."""

from hcpcreds.dataplane.aio.client import (
    ManagedIdentityDataPlaneClient,
    ManagedIdentityDataPlaneClientFactory,
)

__all__ = ["ManagedIdentityDataPlaneClient", "ManagedIdentityDataPlaneClientFactory"]
