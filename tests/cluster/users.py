"""Users of the real API server who may only what a shipped ClusterRole allows."""

from pathlib import Path
from typing import Any

import yaml
from tests.cluster.api_server import ApiServer


def make_user(api_server: ApiServer, name: str, *roles: dict[str, Any], folder: Path) -> Path:
    """Make a service account with these ClusterRoles; returns its kubeconfig."""
    group = "rbac.authorization.k8s.io"
    account = {"kind": "ServiceAccount", "name": name, "namespace": "default"}
    bindings = [
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": f"{name}-{role['metadata']['name']}"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role["metadata"]["name"]},
            "subjects": [account],
        }
        for role in roles
    ]
    metadata = {"name": name, "namespace": "default"}
    api_server.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}, *roles, *bindings)
    with api_server.open_session() as session:
        path = f"{api_server.url}/api/v1/namespaces/default/serviceaccounts/{name}/token"
        request: dict[str, Any] = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {},
        }
        answer = session.post(path, json=request, timeout=10).json()
    config = yaml.safe_load(api_server.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": answer["status"]["token"]}
    file = folder / f"{name}-kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return file
