"""Custom components: the policy reads from annotations what `inject` is given as options."""

import copy
from typing import Any

import pytest
from tests.manifests.policies.policy_examples import IMAGE, make_control_plane, make_pod, simplify
from tests.support.golang import MAY_BUILD

from hcpcreds.manifests.inject import CustomComponent, InjectOptions, Sidecar, inject

pytestmark = MAY_BUILD

CLIENT_ID = "cccccccc-0000-4000-8000-0000000000aa"
TENANT = "66666666-7777-4888-8999-aaaaaaaaaaaa"
CLASS = {"hcpcreds.io/secret-provider-class": "shop"}
FILE = {**CLASS, "hcpcreds.io/credentials-secret-name": "shop-secret"}
IDS = {"hcpcreds.io/client-id": CLIENT_ID, "hcpcreds.io/tenant-id": TENANT}
PLACE = {
    "hcpcreds.io/volume-name": "shop-cert",
    "hcpcreds.io/mount-path": "/etc/shop/",
    "hcpcreds.io/container": "shop",
}
PROXY = [
    {"name": "HTTP_PROXY", "value": "http://proxy:3128"},
    {"name": "HTTPS_PROXY", "value": "http://proxy"},
]
TWO = [{"name": "shop", "image": "shop"}, {"name": "other", "image": "other"}]
CASES: dict[str, tuple[str | None, dict[str, str], dict[str, Any]]] = {
    "class": (None, CLASS, {}),
    "file": (None, FILE, {}),
    "place": (None, {**FILE, **PLACE}, {"containers": TWO}),
    "keyless": ("keyless", {**FILE, **IDS}, {}),
    "keyless place": ("keyless", {**FILE, **IDS, **PLACE}, {"containers": TWO}),
    "service principal": ("keyless", {**FILE, **IDS, "hcpcreds.io/service-principal": "true"}, {}),
    "cloud": ("keyless", {**FILE, **IDS, "hcpcreds.io/cloud": "AzureUSGovernmentCloud"}, {}),
    "key given before": (
        "keyless",
        {**FILE, **IDS},
        {
            "containers": [
                {
                    "name": "app",
                    "image": "app",
                    "volumeMounts": [
                        {"name": "hcpcreds-credential", "mountPath": "/mnt/certs", "readOnly": True},
                        {"name": "own", "mountPath": "/own"},
                    ],
                    "env": [
                        {
                            "name": "MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH",
                            "value": "/mnt/certs/shop-secret",
                        },
                        {"name": "AZURE_CLIENT_CERTIFICATE_PATH", "value": "/mnt/certs/shop-secret"},
                        {"name": "OWN", "value": "1"},
                    ],
                }
            ],
            "initContainers": [
                {
                    "name": "migrate",
                    "image": "app",
                    "volumeMounts": [{"name": "hcpcreds-credential", "mountPath": "/mnt/certs"}],
                },
                {"name": "wait", "image": "app"},
            ],
            "volumes": [{"name": "own", "emptyDir": {}}],
        },
    ),
    "proxy": ("keyless", {**FILE, **IDS}, {"containers": [{"name": "app", "image": "app", "env": PROXY}]}),
    "proxy on loopback": (
        "keyless",
        {**FILE, **IDS},
        {
            "containers": [
                {
                    "name": "app",
                    "image": "app",
                    "env": [{"name": "https_proxy", "value": "http://user:word@127.0.0.1:3128"}],
                }
            ]
        },
    ),
    "endpoint": ("endpoint", FILE, {}),
    "endpoint with client id": ("endpoint", {**FILE, **IDS}, {}),
    "endpoint with service principal": (
        "endpoint",
        {**FILE, **IDS, "hcpcreds.io/service-principal": "true"},
        {},
    ),
    "endpoint with proxy": (
        "endpoint",
        FILE,
        {"containers": [{"name": "app", "image": "app", "env": PROXY}]},
    ),
    "endpoint with exceptions": (
        "endpoint",
        FILE,
        {
            "containers": [
                {
                    "name": "app",
                    "image": "app",
                    "env": [
                        *PROXY,
                        {"name": "NO_PROXY", "value": "a, 127.0.0.1"},
                        {"name": "no_proxy", "value": "localhost, 127.0.0.1"},
                    ],
                }
            ]
        },
    ),
}


def inject_custom(pod: dict[str, Any], credential: str | None, annotations: dict[str, str]) -> dict[str, Any]:
    """What `inject` makes of a pod with the options that the annotations stand for."""
    get = {key.removeprefix("hcpcreds.io/"): value for key, value in annotations.items()}.get
    sidecar = Sidecar(
        image=IMAGE,
        client_id=get("client-id"),
        tenant_id=get("tenant-id"),
        cloud=get("cloud", "AzurePublicCloud"),
        endpoint=credential == "endpoint",
        service_principal=get("service-principal") == "true",
    )
    custom = CustomComponent(
        secret_provider_class=get("secret-provider-class", ""),
        volume_name=get("volume-name", "hcpcreds-credential"),
        mount_path=get("mount-path", "/mnt/certs"),
        credentials_secret_name=get("credentials-secret-name"),
    )
    options = InjectOptions(
        custom=custom, container=get("container"), sidecar=sidecar if credential else None
    )
    return inject(copy.deepcopy(pod), options)


@pytest.mark.parametrize("case", CASES)
def test_policy_adds_what_inject_adds_to_a_component_of_ones_own(server, case):
    credential, annotations, spec = CASES[case]
    pod = make_pod("shop", credential, annotations=annotations, **spec)
    answer = server.create(pod)
    assert answer.errors == ()
    assert simplify(answer.object) == simplify(inject_custom(pod, credential, annotations))
    assert server.create(answer.object, make_control_plane()) == answer


@pytest.mark.parametrize(
    ("credential", "annotations", "spec"),
    [
        (None, {}, {}),
        (None, FILE, {"containers": TWO}),
        (None, {**FILE, "hcpcreds.io/container": "none"}, {}),
        ("keyless", FILE, {}),
        ("keyless", {**CLASS, **IDS}, {}),
        ("keyless", {**FILE, **IDS, "hcpcreds.io/cloud": "Cumulus"}, {}),
        ("keyless", {**FILE, **IDS, "hcpcreds.io/mount-path": "/a,b"}, {}),
        ("keyless", {**FILE, **IDS, "hcpcreds.io/client-id": "shop"}, {}),
        ("keyless", {**FILE, **IDS, "hcpcreds.io/tenant-id": "a,client_id=b"}, {}),
        (None, {**FILE, "hcpcreds.io/credentials-secret-name": "../other"}, {}),
        ("endpoint", {**FILE, "hcpcreds.io/client-id": "shop"}, {}),
        ("endpoint", {**FILE, "hcpcreds.io/service-principal": "true"}, {}),
        ("paperless", FILE, {}),
    ],
)
def test_policy_leaves_a_component_of_ones_own_alone_when_it_is_not_told_enough(
    server, credential, annotations, spec
):
    pod = make_pod("shop", credential, annotations=annotations, **spec)
    answer = server.create(pod)
    assert answer.errors == ()
    assert simplify(answer.object) == simplify(pod)
