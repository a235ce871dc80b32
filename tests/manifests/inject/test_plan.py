import copy
from typing import Any

import pytest
from hypothesis import given
from tests.manifests.examples import KEY_VAULT_USER, KMS, REMOVED, make_manifest
from tests.manifests.inject_examples import (
    CLUSTER,
    POD_SPECS,
    get_pod_spec,
    make_options,
    make_workload,
    workloads,
)

from hcpcreds.components import WORKLOADS
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.manifests import build_pod_additions
from hcpcreds.manifests.inject import CustomComponent, InjectOptions, inject
from hcpcreds.manifests.inject.changes import Change, ListDiff, diff_list

VOLUME: dict[str, Any] = {
    "name": "ingress-cert",
    "csi": {
        "driver": "secrets-store.csi.k8s.io",
        "readOnly": True,
        "volumeAttributes": {"secretProviderClass": "managed-azure-ingress"},
    },
}
MOUNT = {"name": "ingress-cert", "mountPath": "/mnt/certs", "readOnly": True}
VARIABLE = {"name": "MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH", "value": "/mnt/certs/otter-ingress"}
STATUS_KEY = {
    "provider": "Azure",
    "azure": {"keyVaultName": "otter-etcd", "keyName": "etcd", "keyVersion": "2"},
}
CUSTOM = CustomComponent(
    secret_provider_class="my.class",
    volume_name="my-cert",
    mount_path="/var/run/azure/",
    credentials_secret_name="my-secret",
)


def refuse(workload, /, **options):
    with pytest.raises(InputError) as caught:
        inject(workload, make_options(**options))
    return str(caught.value)


@pytest.mark.parametrize("name", WORKLOADS)
@pytest.mark.parametrize("kind", [kind for _, kind in POD_SPECS])
def test_workload_gets_exactly_its_additions_in_every_kind(kind, name):
    expected = build_pod_additions(
        CLUSTER, name, key_vault_user_client_id=KEY_VAULT_USER, managed_service="ARO-HCP"
    )
    containers = [{"name": "sidecar"}, *({"name": each} for each in expected.containers)]
    spec = get_pod_spec(inject(make_workload(kind, name, containers=containers), make_options()))
    assert spec.get("volumes", []) == expected.volumes
    assert spec["containers"][0] == {"name": "sidecar"}
    for container in spec["containers"][1:]:
        added = expected.containers[container["name"]]
        assert container.get("volumeMounts", []) == added.volume_mounts
        assert container.get("env", []) == added.env


@given(workloads())
def test_injecting_twice_is_injecting_once_and_the_argument_stays_as_it_was(workload):
    before = copy.deepcopy(workload)
    options = make_options(init_containers=True)
    once = inject(workload, options)
    assert workload == before
    assert inject(once, options) == once


@given(workloads())
def test_nothing_but_ends_of_lists_changes(workload):
    injected = copy.deepcopy(inject(workload, make_options()))
    for spec, before in [(get_pod_spec(injected), get_pod_spec(workload))]:
        pairs = [(spec, before, "volumes")]
        for container, old in zip(spec["containers"], before["containers"], strict=True):
            pairs += [(container, old, "env"), (container, old, "volumeMounts")]
        for mapping, old, key in pairs:
            there = old.get(key) or []
            assert (mapping.get(key) or [])[: len(there)] == there
            mapping.pop(key, None)
            if key in old:
                mapping[key] = old[key]
    assert injected == workload


@pytest.mark.parametrize(
    "document",
    [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "ingress-operator"}},
        {"apiVersion": "example.com/v1", "kind": "Deployment", "metadata": {"name": "ingress-operator"}},
        {"apiVersion": "v1", "kind": "List", "items": [None, {}, "text"]},
        {"kind": ["Deployment"], "apiVersion": 3},
        make_workload(name="nothing-of-ours"),
    ],
)
def test_document_is_unchanged_when_it_is_not_a_components_workload(document):
    assert inject(document, make_options()) == document


def test_list_items_are_injected_one_by_one():
    items = [
        make_workload(),
        make_workload(name="other"),
        make_workload("Pod", "capi-provider", containers=[{"name": "manager"}]),
    ]
    document = {"apiVersion": "v1", "kind": "List", "items": items}
    injected = inject(document, make_options())["items"]
    assert injected == [inject(item, make_options()) for item in items]
    assert injected[1] == items[1]


def test_component_is_taken_from_the_argument_then_the_annotation_or_label_then_the_name():
    workload = make_workload(name="renamed", containers=[{"name": "ingress-operator"}])
    expected = [VOLUME]
    assert get_pod_spec(inject(workload, make_options(component="ingress-operator")))["volumes"] == expected
    for where in ("labels", "annotations"):
        noted = copy.deepcopy(workload)
        noted["metadata"][where] = {"hcpcreds.io/component": "ingress-operator"}
        assert get_pod_spec(inject(noted, make_options()))["volumes"] == expected
        noted = copy.deepcopy(workload)
        noted["spec"]["template"]["metadata"] = {where: {"hcpcreds.io/component": "ingress-operator"}}
        assert get_pod_spec(inject(noted, make_options()))["volumes"] == expected


def test_component_and_its_workload_are_the_same():
    workload = make_workload(name="x", containers=[{"name": "manager"}])
    assert inject(workload, make_options(component="cluster-api-provider-azure")) == inject(
        workload, make_options(component="capi-provider")
    )


@pytest.mark.parametrize("name", ["azure-cloud-controller-manager", "cloud-controller-manager"])
def test_cloud_controller_manager_is_recognized_by_either_name(name):
    workload = make_workload(name=name, containers=[{"name": "cloud-controller-manager"}])
    injected = inject(workload, make_options())
    [container] = get_pod_spec(injected)["containers"]
    assert container["volumeMounts"] == [
        {"name": "cloud-provider-cert", "mountPath": "/mnt/certs", "readOnly": True}
    ]


def test_config_operator_gets_the_service_and_needs_no_identity():
    workload = make_workload(name="hosted-cluster-config-operator")
    expected = [{"name": "MANAGED_SERVICE", "value": "ARO-HCP"}]
    for options in (make_options(), InjectOptions(managed_service="ARO-HCP")):
        injected = inject(workload, options)
        assert get_pod_spec(injected)["containers"][0]["env"] == expected
        assert "volumes" not in get_pod_spec(injected)


@pytest.mark.parametrize(
    ("status", "containers"),
    [
        ({}, ["azure-kms-provider-active"]),
        (
            {"activeKey": STATUS_KEY, "targetKey": STATUS_KEY},
            ["azure-kms-provider-active", "azure-kms-provider-backup"],
        ),
    ],
    ids=["no rotation", "rotation"],
)
def test_kms_containers_are_those_of_the_status_when_a_key_rotates(status, containers):
    changes = {f"{KMS}.backupKey": REMOVED, "status.secretEncryption": status}
    cluster = parse_hosted_cluster(make_manifest(changes))
    assert list(build_pod_additions(cluster, "kube-apiserver").containers) == containers


def test_component_of_two_workloads_is_told_by_the_workloads_name():
    workload = make_workload(name="azure-disk-csi-driver-controller", containers=[{"name": "csi-driver"}])
    options = make_options(component="cluster-storage-operator-disk")
    assert get_pod_spec(inject(workload, options))["volumes"][0]["name"] == "azure-disk"
    message = refuse(make_workload(name="x"), component="cluster-storage-operator-disk")
    assert "expected one of cluster-storage-operator, azure-disk-csi-driver-controller" in message


def test_identity_is_taken_from_the_annotation_when_there_is_no_cluster():
    workload = make_workload()
    workload["metadata"]["annotations"] = {"hcpcreds.io/credentials-secret-name": "of-my-own"}
    [container] = get_pod_spec(inject(workload, InjectOptions()))["containers"]
    assert container["env"] == [{**VARIABLE, "value": "/mnt/certs/of-my-own"}]
    workload["metadata"]["annotations"] = {"hcpcreds.io/credentials-secret-name": "a/b"}
    with pytest.raises(InputError, match=r"hcpcreds.io/credentials-secret-name: got 'a/b', expected 1-127"):
        inject(workload, InjectOptions())


def test_annotation_that_contradicts_the_cluster_is_refused_and_names_both():
    workload = make_workload()
    workload["metadata"]["annotations"] = {"hcpcreds.io/credentials-secret-name": "of-my-own"}
    message = refuse(workload)
    expected = (
        "hcpcreds.io/credentials-secret-name: got 'of-my-own', but the hosted cluster has 'otter-ingress'"
    )
    assert expected in message
    workload["metadata"]["annotations"] = {"hcpcreds.io/credentials-secret-name": "otter-ingress"}
    assert get_pod_spec(inject(workload, make_options()))["volumes"] == [VOLUME]


def test_control_plane_operator_gets_no_kms_credential_when_only_its_own_secret_is_known():
    workload = make_workload(name="control-plane-operator")
    spec = get_pod_spec(inject(workload, InjectOptions(credentials_secret_name="own")))
    assert [volume["name"] for volume in spec["volumes"]] == ["cpo-cert"]


def test_unknown_identity_is_refused_with_the_ways_to_name_it():
    with pytest.raises(
        InputError, match=r"give the hosted cluster.*annotation hcpcreds.io/credentials-secret-name"
    ):
        inject(make_workload(), InjectOptions())


@pytest.mark.parametrize("active", [True, False])
@pytest.mark.parametrize("backup", [True, False])
@pytest.mark.parametrize("backup_key", [True, False])
def test_kms_containers_get_the_mount_when_they_are_there(active, backup, backup_key):
    cluster = parse_hosted_cluster(make_manifest({} if backup_key else {f"{KMS}.backupKey": REMOVED}))
    kms = ["azure-kms-provider-active"] * active + ["azure-kms-provider-backup"] * backup
    workload = make_workload(
        name="kube-apiserver", containers=[{"name": n} for n in ["kube-apiserver", *kms]]
    )
    if not kms:
        assert "no container azure-kms-provider-active or azure-kms" in refuse(workload, cluster=cluster)
        return
    spec = get_pod_spec(inject(workload, make_options(cluster=cluster)))
    mounted = [container["name"] for container in spec["containers"] if "volumeMounts" in container]
    assert mounted == kms


def test_container_of_another_name_gets_the_credential_when_it_is_named():
    workload = make_workload(containers=[{"name": "proxy"}, {"name": "operator"}])
    message = refuse(workload)
    assert "no container ingress-operator; there are: proxy, operator" in message
    proxy, operator = get_pod_spec(inject(workload, make_options(container="operator")))["containers"]
    assert proxy == {"name": "proxy"}
    assert operator == {"name": "operator", "volumeMounts": [MOUNT], "env": [VARIABLE]}


def test_init_containers_get_the_credential_only_when_asked():
    workload = make_workload(initContainers=[{"name": "wait"}])
    assert get_pod_spec(inject(workload, make_options()))["initContainers"] == [{"name": "wait"}]
    [init] = get_pod_spec(inject(workload, make_options(init_containers=True)))["initContainers"]
    assert init == {"name": "wait", "volumeMounts": [MOUNT], "env": [VARIABLE]}


def test_custom_component_gets_its_volume_mount_and_variable():
    spec = get_pod_spec(inject(make_workload("CronJob", "sweep"), make_options(custom=CUSTOM)))
    [volume], [container] = spec["volumes"], spec["containers"]
    assert volume["name"] == "my-cert"
    assert volume["csi"]["volumeAttributes"] == {"secretProviderClass": "my.class"}
    assert container["volumeMounts"] == [
        {"name": "my-cert", "mountPath": "/var/run/azure/", "readOnly": True}
    ]
    assert container["env"] == [{**VARIABLE, "value": "/var/run/azure/my-secret"}]


def test_custom_component_needs_to_know_the_container_when_there_are_several():
    workload = make_workload(name="x", containers=[{"name": "a"}, {"name": "b"}])
    assert "containers a, b: name the one that gets the credential" in refuse(workload, custom=CUSTOM)


def test_every_conflict_is_named_with_both_sides():
    workload = make_workload(
        volumes=[{"name": "ingress-cert", "emptyDir": {}}],
        containers=[
            {
                "name": "ingress-operator",
                "volumeMounts": [{"name": "old", "mountPath": "/mnt/certs/"}],
                "env": [{"name": "A"}, {**VARIABLE, "value": "/old"}],
            }
        ],
    )
    assert refuse(workload) == (
        "inject: 3 problems\n"
        "  Deployment ingress-operator: spec.template.spec.volumes[0]: the volume 'ingress-cert' is another "
        "(emptyDir), expected the SecretProviderClass 'managed-azure-ingress'\n"
        "  Deployment ingress-operator: spec.template.spec.containers[0].volumeMounts[0]: /mnt/certs/ mounts "
        "the volume 'old', expected 'ingress-cert'\n"
        "  Deployment ingress-operator: spec.template.spec.containers[0].env[1]: the variable "
        "MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH is '/old', expected '/mnt/certs/otter-ingress'\n"
        "Conflicting entries can be replaced."
    )


def csi(**changes):
    return {"name": "ingress-cert", "csi": {**VOLUME["csi"], **changes}}


CONFLICTS = [
    ("volumes", csi(driver="disk.csi.azure.com"), "of the driver 'disk.csi.azure.com'"),
    (
        "volumes",
        csi(volumeAttributes={"secretProviderClass": "other"}),
        "of the SecretProviderClass 'other', expected the SecretProviderClass 'managed-azure-ingress'",
    ),
    ("volumes", csi(volumeAttributes=None), "of the SecretProviderClass nothing"),
    ("volumes", csi(readOnly=False), "is not read-only"),
    ("volumeMounts", {**MOUNT, "name": "other"}, "mounts the volume 'other', expected 'ingress-cert'"),
    ("volumeMounts", {**MOUNT, "readOnly": False}, "is mounted writable"),
    ("volumeMounts", {**MOUNT, "subPath": "x"}, "mounts a subPath ('x'), which never rotates"),
    ("volumeMounts", {**MOUNT, "subPathExpr": "$(X)"}, "mounts a subPathExpr"),
    ("env", {**VARIABLE, "value": ""}, "is ''"),
    ("env", {"name": VARIABLE["name"]}, "is ''"),
    (
        "env",
        {"name": VARIABLE["name"], "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        "is taken from elsewhere (valueFrom), expected '/mnt/certs/otter-ingress'",
    ),
]


@pytest.mark.parametrize(("key", "entry", "message"), CONFLICTS)
def test_conflict_is_refused_and_replaced_in_its_place_when_asked(key, entry, message):
    entries = [{"name": "first", "mountPath": "/first"}, entry, {"name": "last", "mountPath": "/last"}]
    container: dict[str, Any] = {"name": "ingress-operator"}
    workload = make_workload(containers=[container])
    (get_pod_spec(workload) if key == "volumes" else container)[key] = entries
    assert message in refuse(workload)
    spec = get_pod_spec(inject(workload, make_options(replace=True)))
    wanted = {"volumes": VOLUME, "volumeMounts": MOUNT, "env": VARIABLE}[key]
    assert (spec if key == "volumes" else spec["containers"][0])[key] == [entries[0], wanted, entries[2]]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"volumes": {}}, "spec.template.spec.volumes: expected a list, got a mapping"),
        ({"volumes": ["x"]}, "spec.template.spec.volumes[0]: expected a mapping, got 'x'"),
        ({"containers": None}, "no container ingress-operator; there are: none"),
        ({"containers": [None, {"name": 3}]}, "no container ingress-operator; there are: none"),
        (
            {"containers": [{"name": "ingress-operator", "env": "x"}]},
            "spec.template.spec.containers[0].env: expected a list, got 'x'",
        ),
    ],
)
def test_unusable_workload_is_refused_with_the_path(spec, message):
    assert message in refuse(make_workload(**spec))


def test_one_component_for_several_workloads_is_refused():
    document = {"apiVersion": "v1", "kind": "List", "items": [make_workload(), make_workload(name="b")]}
    assert "one component for several workloads: Deployment ingress-operator, Deployment b" in refuse(
        document, component="ingress-operator"
    )
    assert "one component for several workloads" in refuse(document, credentials_secret_name="x")
    injected = inject(document, make_options(component="ingress-operator", workload="ingress-operator"))
    assert injected == inject(document, make_options())
    assert "there is no workload 'c'; there are: Deployment ingress-operator" in refuse(
        document, workload="c"
    )


def test_wrong_options_are_refused_together():
    with pytest.raises(InputError) as caught:
        InjectOptions(
            cluster=CLUSTER,
            component="etcd",
            credentials_secret_name="a b",
            custom=CustomComponent(
                secret_provider_class="UPPER",
                volume_name="a.b",
                mount_path="relative",
                credentials_secret_name="-",
            ),
        )
    assert len(caught.value.problems) == 8


@pytest.mark.parametrize("path", ["", "mnt", "/a:b", "/a\nb", "/a\u2028b", "/a\ud800b"])
def test_mount_path_that_no_container_takes_is_refused(path):
    custom = CustomComponent(secret_provider_class="x", volume_name="x", mount_path=path)
    with pytest.raises(InputError, match="expected an absolute path without ':'"):
        InjectOptions(custom=custom)


def test_wrong_vault_user_is_refused():
    with pytest.raises(InputError, match="expected a UUID"):
        InjectOptions(key_vault_user_client_id="x")


def test_unwanted_entry_is_removed_when_nothing_is_wanted_instead():
    path = ("spec", "containers", 0, "volumeMounts")
    entries = [MOUNT, "no mapping", {"name": "other", "mountPath": "/other"}]
    diff = diff_list(entries, path, [], lambda entry: entry.get("name") == "ingress-cert")
    assert diff == ListDiff((Change(path, None, 0),))
    assert diff_list(None, path, [], lambda _: True) == ListDiff()
