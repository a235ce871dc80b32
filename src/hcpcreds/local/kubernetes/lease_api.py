"""A small Kubernetes API server with Leases only. For development and tests only.

Source: the API conventions (resourceVersion, Status), and coordination.k8s.io/v1 with its validation.
"""

import copy
import re
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import msgspec
from aiohttp import web
from typing_extensions import override

from hcpcreds.local.azure.faults import Faults, RequestLog
from hcpcreds.local.service import Refusal, Service, json_response
from hcpcreds.local.serving import ServingThread, make_tls

_MICRO_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_FIELDS: Final = {
    "holderIdentity": str,
    "leaseDurationSeconds": int,
    "leaseTransitions": int,
    "acquireTime": str,
    "renewTime": str,
}


class LeaseApi(Service):
    """An API server that runs in its own thread; a context manager.

    Args:
        folder: Directory for its files: a kubeconfig, and a directory like that of a pod's service account.
        namespace: The only namespace.

    Attributes:
        token: The only bearer token that it accepts; can be changed, as kubelet changes that of a pod.
        faults: Faults to inject; the service is called `kubernetes`.
        requests: Counts of its requests.
        leases: The stored Leases by name.
    """

    name: ClassVar[str] = "kubernetes"

    def __init__(self, folder: Path, *, namespace: str = "hcpcreds") -> None:
        self.faults, self.requests = Faults(), RequestLog()
        super().__init__(faults=self.faults, requests=self.requests)
        self.token = "the-first-token"  # noqa: S105 (of a server for tests)
        self.leases: dict[str, dict[str, Any]] = {}
        self.kubeconfig = folder / "kubeconfig"
        self.service_account = folder / "serviceaccount"
        self._namespace = namespace
        self._version = 0
        self._thread = ServingThread("hcpcreds-lease-api", [self], self._listen)

    def __enter__(self) -> Self:
        self._thread.start()
        self.write_files()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.close()

    def write_files(self) -> None:
        """Write the kubeconfig and the service account's files, with the current token."""
        self.service_account.mkdir(exist_ok=True)
        (self.service_account / "token").write_text(self.token)
        (self.service_account / "namespace").write_text(self._namespace)
        authority = self.service_account / "ca.crt"
        user = {"name": "user", "user": {"tokenFile": str(self.service_account / "token")}}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "local",
            "clusters": [
                {"name": "local", "cluster": {"server": self.url, "certificate-authority": str(authority)}}
            ],
            "contexts": [
                {
                    "name": "local",
                    "context": {"cluster": "local", "user": "user", "namespace": self._namespace},
                }
            ],
            "users": [user],
        }
        self.kubeconfig.write_bytes(msgspec.json.encode(config))  # JSON is YAML

    @override
    def build_error(self, code: str, message: str) -> dict[str, Any]:
        return _build_status(500, code, message)

    @override
    def routes(self) -> list[web.RouteDef]:
        path = "/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        return [
            web.get(path + "/{name}", self._get),
            web.post(path, self._create),
            web.put(path + "/{name}", self._update),
        ]

    async def _get(self, request: web.Request) -> web.Response:
        self._authorize(request)
        return json_response(self._find(request.match_info["name"]))

    async def _create(self, request: web.Request) -> web.Response:
        self._authorize(request)
        lease = await self._read(request)
        name = lease["metadata"]["name"]
        if name in self.leases:
            raise _refuse(409, "AlreadyExists", f'leases.coordination.k8s.io "{name}" already exists')
        return json_response(self._store(name, lease), status=201)

    async def _update(self, request: web.Request) -> web.Response:
        self._authorize(request)
        lease = await self._read(request)
        name = request.match_info["name"]
        stored = self._find(name)
        if lease["metadata"].get("resourceVersion") != stored["metadata"]["resourceVersion"]:
            message = f'Operation cannot be fulfilled on leases.coordination.k8s.io "{name}": '
            raise _refuse(
                409, "Conflict", message + "the object has been modified; please apply your changes"
            )
        return json_response(self._store(name, lease))

    def _find(self, name: str) -> dict[str, Any]:
        if name not in self.leases:
            raise _refuse(404, "NotFound", f'leases.coordination.k8s.io "{name}" not found')
        return self.leases[name]

    def _store(self, name: str, lease: dict[str, Any]) -> dict[str, Any]:
        self._version += 1
        stored = copy.deepcopy(lease)
        stored["metadata"]["resourceVersion"] = str(self._version)
        stored["metadata"]["namespace"] = self._namespace
        self.leases[name] = stored
        return stored

    async def _read(self, request: web.Request) -> dict[str, Any]:
        try:
            lease = msgspec.json.decode(await request.read(), type=dict[str, Any])
        except msgspec.MsgspecError as error:
            raise _refuse(400, "BadRequest", str(error)) from None
        problems = list(_find_problems(lease))
        if problems:
            raise _refuse(422, "Invalid", f"Lease is invalid: {', '.join(problems)}")
        return lease

    def _authorize(self, request: web.Request) -> None:
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            raise _refuse(401, "Unauthorized", "Unauthorized")
        if request.match_info["namespace"] != self._namespace:
            where = request.match_info["namespace"]
            message = f'leases.coordination.k8s.io is forbidden: cannot use it in the namespace "{where}"'
            raise _refuse(403, "Forbidden", message)

    async def _listen(self) -> None:
        self.service_account.mkdir(exist_ok=True)
        await self.listen(make_tls(self.service_account / "ca.crt"))


def _find_problems(lease: dict[str, Any]) -> list[str]:
    spec = lease.get("spec") or {}
    problems = [f"spec.{name}: unknown field" for name in spec if name not in _FIELDS]
    problems += [
        f"spec.{name}: not a {kind.__name__}"
        for name, kind in _FIELDS.items()
        if name in spec and type(spec[name]) is not kind
    ]
    problems += [
        f"spec.{name}: not a MicroTime"
        for name in ("acquireTime", "renewTime")
        if name in spec and not _MICRO_TIME.fullmatch(str(spec[name]))
    ]
    problems += [
        f"spec.{name}: not an int32"
        for name, kind in _FIELDS.items()
        if kind is int and type(spec.get(name)) is int and abs(spec[name]) >= 2**31
    ]
    if "leaseDurationSeconds" in spec and spec["leaseDurationSeconds"] <= 0:
        problems.append("spec.leaseDurationSeconds: must be greater than 0")
    if spec.get("leaseTransitions", 0) < 0:
        problems.append("spec.leaseTransitions: must be greater than or equal to 0")
    if not _NAME.fullmatch(str((lease.get("metadata") or {}).get("name"))):
        problems.append("metadata.name: must be a lowercase RFC 1123 subdomain")
    return problems


def _refuse(code: int, reason: str, message: str) -> Refusal:
    return Refusal(code, _build_status(code, reason, message))


def _build_status(code: int, reason: str, message: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": code,
    }
