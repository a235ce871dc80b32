"""A small Kubernetes API server over HTTPS. For development and tests only.

It answers get, list, create, update and delete, and asks pods as a proxy; it neither watches nor patches.
It serves the kinds in `kinds`, and those that are registered. It has one user, by default allowed to do
everything. Nothing acts on its objects: no controller, no admission.

Source: the API conventions and the API concepts of Kubernetes; what it says, is said by Kubernetes 1.36.
"""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import msgspec
from aiohttp import ClientError, ClientSession, web
from typing_extensions import override

from hcpcreds.local.azure.faults import Faults, RequestLog
from hcpcreds.local.kubernetes.kinds import KINDS, Kind
from hcpcreds.local.kubernetes.selectors import read_field_selector, read_label_selector
from hcpcreds.local.kubernetes.store import Object, Store, build_status, refuse
from hcpcreds.local.service import Service, json_response
from hcpcreds.local.serving import ServingThread, make_tls

_MADE: Final = ("creationTimestamp", "managedFields", "uid")
"""What an API server fills in, and `put` takes as it is given."""
_PASSED_ON: Final = ("Content-Encoding", "Content-Type", "Date")
_USER: Final = "system:serviceaccount:{}:default"


class KubernetesApi(Service):
    """An API server that runs in its own thread; a context manager.

    Args:
        folder: Directory for its files: a kubeconfig, and a directory like that of a pod's service account.
        namespace: That of the kubeconfig and the service account; it exists from the start.

    Attributes:
        token: The only bearer token that it accepts; can be changed, as kubelet changes that of a pod.
        rules: What its user may do, as in a ClusterRole; None means everything. Can be changed.
        faults: Faults to inject; the service is called `kubernetes`.
        requests: Counts of its requests.
    """

    name: ClassVar[str] = "kubernetes"

    def __init__(self, folder: Path, *, namespace: str = "hcpcreds") -> None:
        self.faults, self.requests = Faults(), RequestLog()
        super().__init__(faults=self.faults, requests=self.requests)
        self.token = "the-first-token"  # noqa: S105 (of a server for tests)
        self.rules: Sequence[Mapping[str, Any]] | None = None
        self.kubeconfig = folder / "kubeconfig"
        self.service_account = folder / "serviceaccount"
        self._namespace = namespace
        self._kinds = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}
        self._store = Store()
        self._thread = ServingThread("hcpcreds-kubernetes-api", [self], self._listen)
        self.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})

    def __enter__(self) -> Self:
        self._thread.start()
        self.write_files()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.close()

    def register(self, kind: Kind) -> None:
        """Serve another kind."""
        self._kinds[kind.group, kind.version, kind.plural] = kind

    def unregister(self, plural: str) -> None:
        """Serve a kind no longer, as a cluster does that lacks its CustomResourceDefinition."""
        self._kinds = {key: kind for key, kind in self._kinds.items() if kind.plural != plural}

    def put(self, *items: Mapping[str, Any]) -> None:
        """Store objects, new or changed, whatever the user may do; a missing namespace is made."""
        for each in items:
            item = copy.deepcopy(dict(each))
            kind = self._find_kind_of(item)
            name = item["metadata"]["name"]
            namespace = item["metadata"].get("namespace", self._namespace) if kind.namespaced else ""
            if namespace and namespace not in self.find_all("namespaces"):
                self.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
            if name in self._store.find_all(kind, namespace):
                item["metadata"]["resourceVersion"] = self._store.get(kind, namespace, name)["metadata"][
                    "resourceVersion"
                ]
                self._store.update(kind, namespace, name, item)
            else:
                made = self._store.create(kind, namespace, item)["metadata"]
                made.update({key: given for key in _MADE if (given := each["metadata"].get(key))})

    def find_all(self, plural: str, namespace: str | None = None) -> dict[str, Object]:
        """Return the stored objects of a kind by name, to be changed at will.

        Args:
            plural: The kind's name in paths, for instance `leases`.
            namespace: Where; by default that of the kubeconfig.
        """
        kind = next(kind for kind in self._kinds.values() if kind.plural == plural)
        return self._store.find_all(kind, (namespace or self._namespace) if kind.namespaced else "")

    def expire_pages(self) -> None:
        """Let every list that a client has begun to page through expire."""
        self._store.expire_pages()

    def write_files(self) -> None:
        """Write the kubeconfig and the service account's files, with the current token."""
        self.service_account.mkdir(exist_ok=True)
        (self.service_account / "token").write_text(self.token)
        (self.service_account / "namespace").write_text(self._namespace)
        authority = self.service_account / "ca.crt"
        context = {"cluster": "local", "user": "user", "namespace": self._namespace}
        cluster = {"server": self.url, "certificate-authority": str(authority)}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "local",
            "clusters": [{"name": "local", "cluster": cluster}],
            "contexts": [{"name": "local", "context": context}],
            "users": [{"name": "user", "user": {"tokenFile": str(self.service_account / "token")}}],
        }
        self.kubeconfig.write_bytes(msgspec.json.encode(config))  # JSON is YAML

    @override
    def build_error(self, code: str, message: str) -> dict[str, Any]:
        return build_status(500, code, message)

    @override
    def routes(self) -> list[web.RouteDef]:
        pods = "/api/{version}/namespaces/{namespace}/{plural:pods}"
        routes = [web.get(pods + "/{target}/proxy{path:/.*}", self._proxy)]
        for group in ("/api/{version}", "/apis/{group}/{version}"):
            for within in ("", "/namespaces/{namespace}"):
                path = f"{group}{within}/{{plural}}"
                routes += [
                    web.get(path, self._list),
                    web.post(path, self._create),
                    web.get(path + "/{name}", self._get),
                    web.put(path + "/{name}", self._update),
                    web.delete(path + "/{name}", self._delete),
                ]
        return routes

    async def _get(self, request: web.Request) -> web.Response:
        kind, namespace = self._authorize(request, "get")
        return json_response(self._store.get(kind, namespace or "", request.match_info["name"]))

    async def _proxy(self, request: web.Request) -> web.Response:
        """Ask a pod at its own address, by plain HTTP."""
        kind, namespace = self._authorize(request, "get")
        name, _, port = request.match_info["target"].partition(":")
        address = self._store.get(kind, namespace or "", name)["status"]["podIP"]
        url = f"http://{address}:{port or 80}{request.match_info['path']}"
        try:
            async with (
                ClientSession(auto_decompress=False) as session,
                session.get(url, allow_redirects=False) as answer,
            ):
                headers = {key: answer.headers[key] for key in _PASSED_ON if key in answer.headers}
                return web.Response(status=answer.status, body=await answer.read(), headers=headers)
        except ClientError:
            message = f"error trying to reach service: dial tcp {address}:{port}: connect: connection refused"
            raise refuse(503, "ServiceUnavailable", message) from None

    async def _list(self, request: web.Request) -> web.Response:
        kind, namespace = self._authorize(request, "list")
        query = request.query
        if query.get("watch") in {"1", "true"}:
            raise refuse(405, "MethodNotAllowed", "this API server is for tests and does not watch")
        try:
            by_label = read_label_selector(query.get("labelSelector", ""))
            by_field = read_field_selector(query.get("fieldSelector", ""), kind.fields)
            limit = int(query.get("limit", 0))
        except ValueError as error:
            raise refuse(400, "BadRequest", str(error)) from None
        if token := query.get("continue"):
            found = self._store.take_page(token)
        else:
            found = [each for each in self._store.list(kind, namespace) if by_label(each) and by_field(each)]
        metadata: dict[str, Any] = {"resourceVersion": self._store.version}
        if limit and len(found) > limit:
            metadata["continue"] = self._store.start_page(found[limit:])
            found = found[:limit]
        names = () if kind.custom else ("apiVersion", "kind")  # which the items of built-in lists lack
        items = [{key: value for key, value in each.items() if key not in names} for each in found]
        return json_response(
            {"apiVersion": kind.api_version, "kind": f"{kind.name}List", "metadata": metadata, "items": items}
        )

    async def _create(self, request: web.Request) -> web.Response:
        kind, namespace = self._authorize(request, "create")
        if namespace and namespace not in self.find_all("namespaces"):
            raise refuse(404, "NotFound", f'namespaces "{namespace}" not found')
        item = await _read(request, kind, namespace)
        return json_response(self._store.create(kind, namespace or "", item), status=201)

    async def _update(self, request: web.Request) -> web.Response:
        kind, namespace = self._authorize(request, "update")
        item = await _read(request, kind, namespace)
        name = request.match_info["name"]
        if item["metadata"].get("name") != name:
            raise refuse(400, "BadRequest", "the name of the object does not match the name on the URL")
        return json_response(self._store.update(kind, namespace or "", name, item))

    async def _delete(self, request: web.Request) -> web.Response:
        kind, namespace = self._authorize(request, "delete")
        options = msgspec.json.decode(await request.read() or b"{}", type=dict[str, Any])
        name = request.match_info["name"]
        self._store.delete(kind, namespace or "", name, options.get("preconditions") or {})
        return json_response(build_status(200, "", "", status="Success"))

    def _authorize(self, request: web.Request, verb: str) -> tuple[Kind, str | None]:
        """Find out which kind and namespace a request is for; None means every namespace, or none at all."""
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            raise refuse(401, "Unauthorized", "Unauthorized")
        path = request.match_info
        group, plural, namespace = path.get("group", ""), path["plural"], path.get("namespace")
        name = path.get("name", "")
        resource = f"{plural}/proxy" if "target" in path else plural
        if not self._is_allowed(group, resource, verb, name):
            # As the authorizer comes first, this is also what is said of a kind that does not exist.
            message = f'{plural}.{group} "{name}"' if group else f'{plural} "{name}"'
            message = message.replace(' ""', "") + f' is forbidden: User "{_USER.format(self._namespace)}" '
            message += f'cannot {verb} resource "{resource}" in API group "{group}" '
            scope = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
            raise refuse(403, "Forbidden", message + scope)
        kind = self._kinds.get((group, path["version"], plural))
        if kind is None or (namespace is not None and not kind.namespaced):
            raise refuse(404, "NotFound", "the server could not find the requested resource")
        if kind.namespaced and namespace is None and verb != "list":
            raise refuse(405, "MethodNotAllowed", "the server does not allow this method on the resource")
        return kind, namespace if kind.namespaced else ""

    def _is_allowed(self, group: str, plural: str, verb: str, name: str) -> bool:
        def has(rule: Mapping[str, Any], key: str, value: str) -> bool:
            return not {"*", value}.isdisjoint(rule.get(key, ()))

        return self.rules is None or any(
            has(rule, "apiGroups", group)
            and has(rule, "resources", plural)
            and has(rule, "verbs", verb)
            and (not rule.get("resourceNames") or name in rule["resourceNames"])
            for rule in self.rules
        )

    def _find_kind_of(self, item: Mapping[str, Any]) -> Kind:
        for kind in self._kinds.values():
            if (kind.api_version, kind.name) == (item["apiVersion"], item["kind"]):
                return kind
        raise LookupError(f"no kind {item['kind']} of {item['apiVersion']} is registered")

    async def _listen(self) -> None:
        self.service_account.mkdir(exist_ok=True)
        await self.listen(make_tls(self.service_account / "ca.crt"))


async def _read(request: web.Request, kind: Kind, namespace: str | None) -> Object:
    try:
        item = msgspec.json.decode(await request.read(), type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise refuse(400, "BadRequest", str(error)) from None
    named = (item.get("apiVersion"), item.get("kind"))
    if named != (kind.api_version, kind.name):
        message = f"the object provided is unrecognized (must be of type {kind.name} of {kind.api_version})"
        raise refuse(400, "BadRequest", message)
    if not isinstance(item.get("metadata"), dict):
        raise refuse(422, "Invalid", f"{kind.name} is invalid: metadata.name: Required value")
    if item["metadata"].get("namespace", namespace or "") != (namespace or ""):
        raise refuse(
            400,
            "BadRequest",
            "the namespace of the provided object does not match the namespace on the request",
        )
    return item
