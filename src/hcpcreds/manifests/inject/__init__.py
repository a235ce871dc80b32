"""Adding a component's volume, mounts and environment to workloads, as plain data and without any I/O.

In order: find the workloads (`workloads`), identify each one's component (`identify`), plan its missing and
conflicting entries (`plan`, `changes`), and write the plan as text (`stream`) or as a patch (`patches`).
Entries are only added; a conflict is refused, or with `InjectOptions.replace` replaced in its place.
Only `InjectOptions.sidecar` removes some: the mounts and variables of a key that a sidecar alone shall have.
Injecting a second time changes nothing.
"""

from hcpcreds.manifests.inject.options import CustomComponent, InjectOptions, Sidecar
from hcpcreds.manifests.inject.plan import inject

__all__ = ["CustomComponent", "InjectOptions", "Sidecar", "inject"]
