"""The one table: nine components, the identity of each, and everything that comes with it.

`render`, `inject`, `check` and `up` read it; a new component is one row in `table`.
"""

from hcpcreds.components.shapes import (
    TOKEN_FILE,
    TOKEN_MOUNT_PATH,
    CloudConfigFile,
    Component,
    Content,
    ExtraObject,
    GuestSecret,
    Keyless,
    Mount,
    PathSource,
    Pod,
    Role,
    Scope,
    Token,
    Variable,
)
from hcpcreds.components.table import COMPONENTS, KMS_BACKUP_CONTAINER, WORKLOADS, find_workload

__all__ = [
    "COMPONENTS",
    "KMS_BACKUP_CONTAINER",
    "TOKEN_FILE",
    "TOKEN_MOUNT_PATH",
    "WORKLOADS",
    "CloudConfigFile",
    "Component",
    "Content",
    "ExtraObject",
    "GuestSecret",
    "Keyless",
    "Mount",
    "PathSource",
    "Pod",
    "Role",
    "Scope",
    "Token",
    "Variable",
    "find_workload",
]
