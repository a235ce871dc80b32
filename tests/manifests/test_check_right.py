"""What is right is not a finding, as the programs that read a manifest take it."""

import copy
import json
from typing import Any

import pytest
from tests.manifests.check_examples import (
    UUID,
    codes,
    make_class,
    make_cloud_config,
    make_pod,
    read_codes,
)
from tests.manifests.examples import (
    KEY_VAULT_USER,
    WITH_CLIENT_IDS,
    make_manifest,
)
from tests.manifests.inject_examples import make_options, make_workload

from hcpcreds.components import WORKLOADS
from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.manifests import inject, render
from hcpcreds.manifests.inject import Sidecar


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("0640", []),
        ("00640", []),
        ("640", []),
        ("0", []),
        ("+640", []),
        ("017777777777", []),
        ("0o640", ["HC318"]),
        ("0_640", ["HC318"]),
        ("0888", ["HC318"]),
        ("0x1a", ["HC318"]),
        ("u=rw", ["HC318"]),
        ("020000000000", ["HC318"]),
    ],
)
def test_file_permission_is_read_as_the_provider_reads_it(mode, expected):
    assert codes(make_class(f"objectName: a\nobjectType: secret\nfilePermission: '{mode}'")) == expected


@pytest.mark.parametrize(
    ("alias", "expected"),
    [
        ("app/v1/cred", []),
        ("a" * 255 + "/b", []),
        (".hidden", []),
        ("./cred", ["HC311"]),
        ("app//cred", ["HC311"]),
        ("app/", ["HC311"]),
        ("/cred", ["HC311"]),
        ("a/../cred", ["HC311"]),
        ("a..b", ["HC311"]),
        ("a" * 256, ["HC311"]),
    ],
)
def test_alias_may_have_folders_as_the_driver_takes_them(alias, expected):
    assert codes(make_class(f"objectName: a\nobjectType: secret\nobjectAlias: {alias}")) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/mnt/certs/app/cred", []),
        ("/mnt//certs/./app/cred", []),
        ("/mnt/certs/app", ["HC203"]),
        ("/mnt/certs/cred", ["HC202"]),
        ("/mnt/certs/../cred", ["HC201"]),
    ],
)
@pytest.mark.parametrize("mount_path", ["/mnt/certs", "/mnt/certs/", "//mnt/./certs"])
def test_paths_are_compared_as_the_kernel_reads_them(path, mount_path, expected):
    aliased = make_class("objectName: a\nobjectType: secret\nobjectAlias: app/cred")
    assert codes(aliased, make_pod(path, mount_path=mount_path)) == expected


@pytest.mark.parametrize(
    ("version", "expected"), [("0", []), ("2", []), ("3", ["HC202"]), ("", ["HC203"]), ("latest", ["HC202"])]
)
def test_object_with_a_version_history_is_a_directory(version, expected):
    kept = make_class("objectName: a\nobjectType: secret\nobjectVersionHistory: 2")
    assert codes(kept, make_pod(f"/mnt/certs/a/{version}".rstrip("/"))) == expected
    assert (
        codes(
            make_class("objectName: a\nobjectVersionHistory: 1\nobjectType: secret"), make_pod("/mnt/certs/a")
        )
        == []
    )


def test_certificate_may_be_in_a_file_of_its_own():
    assert codes(make_class(), make_pod("/mnt/certs/shop.crt")) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--enable-secret-rotation"], []),
        (["-enable-secret-rotation=T", "-v=5"], []),
        (["--rotation-poll-interval", "2m", "--enable-secret-rotation=true"], []),
        (["--enable-secret-rotation=false", "--enable-secret-rotation=true"], []),
        (["--nodeid", "$(NODE)", "--enable-secret-rotation=true"], []),
        (["--enable-secret-rotation=true", "--rotation-poll-interval", "2h"], ["HC504"]),
        (["--enable-secret-rotation=true", "--rotation-poll-interval", "2"], ["HC503"]),
        (["--enable-secret-rotation=true", "--enable-secret-rotation=0"], ["HC502"]),
        (["--", "--enable-secret-rotation"], ["HC502"]),
        (["---enable-secret-rotation"], ["HC502"]),
        (["enable-secret-rotation=true"], ["HC502"]),
        (["--enable-secret-rotation=yes"], ["HC502"]),
    ],
)
def test_flags_of_the_driver_are_read_as_go_reads_them(arguments, expected):
    container = {"name": "secrets-store", "args": arguments}
    driver = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "csi"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    assert codes(driver) == expected
    container["command"], container["args"] = ["/secrets-store-csi", *arguments], []
    assert codes(driver) == expected
    container["command"] = ["sh", "-c", "exec /secrets-store-csi $ARGS"]
    assert codes(driver) == []


@pytest.mark.parametrize(
    "key", ["aadMSIDataPlaneIdentityPath", "aadmsidataplaneidentitypath", "AADMSIDATAPLANEIDENTITYPATH"]
)
def test_keys_of_a_cloud_config_are_matched_as_its_reader_matches_them(key):
    settings = {key: "/mnt/certs/a", "UseManagedIdentityExtension": True}
    assert codes(make_cloud_config(settings)) == ["HC403"]
    is_exact = key == "aadMSIDataPlaneIdentityPath"
    assert codes(make_cloud_config({key: "/mnt/certs/a"}, "azure-kms-config")) == (
        [] if is_exact else ["HC409"]
    )


def test_string_data_is_judged_and_not_the_data_that_it_replaces():
    secret = make_cloud_config({"aadMSIDataPlaneIdentityPath": "/mnt/certs/a"})
    assert codes({**secret, "data": {"cloud.conf": "!"}}) == []
    assert codes({**secret, "data": {"other": "!"}}) == []


def test_config_map_for_nodes_needs_no_credential():
    settings = {"aadMSIDataPlaneIdentityPath": "", "useManagedIdentityExtension": False}
    config = make_cloud_config(settings, "azure-cloud-config")
    assert codes(config) == ["HC407"]
    assert codes({**config, "kind": "ConfigMap", "data": config.pop("stringData")}) == []


@pytest.mark.parametrize("name", ["shop", "managed-azure-ingress"])
def test_workload_identity_is_an_identity_to_read_the_vault_with(name):
    own = make_class(name=name, useVMManagedIdentity=None, userAssignedIdentityID=None, clientID=UUID)
    assert codes(own) == []


# Objects of one name

ONE = """\
kind: SecretProviderClass
metadata: {name: a, namespace: shop}
spec: {provider: gcp, parameters: {a: b}}
"""
OTHER = ONE.replace("a: b", "a: c")
SERVICE = "---\napiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: shop}\n"


def test_two_objects_of_one_name_are_found_where_they_are_applied_together():
    assert read_codes(one=f"{ONE}---\n{OTHER}") == ["HC501"]
    assert read_codes(deploy__one=ONE, deploy__two=OTHER) == ["HC501"]
    assert read_codes(_=ONE, deploy__two=OTHER) == ["HC501"]


def test_objects_of_one_name_are_no_finding_where_each_stands_for_the_other():
    assert read_codes(west__one=ONE, east__two=OTHER) == []
    assert read_codes(deploy__one=ONE + SERVICE, deploy__two=OTHER + SERVICE) == []
    for name in ("name: '${APP}'", "name: '{{ a }}'", "name: __APP__"):
        assert read_codes(one=f"{ONE}---\n{OTHER}".replace("name: a,", f"{name},")) == []
    template = OTHER.replace("a: c", "a: '{{ .Values.a }}'")
    assert read_codes(deploy__one=ONE, deploy__two=template) == []


@pytest.mark.parametrize("lacking", ["env", "volumeMounts"])
def test_what_an_overlay_supplies_is_not_missing_in_its_base(lacking):
    manifest = make_manifest()
    whole = inject(make_workload(), make_options())
    base = copy.deepcopy(whole)
    base["spec"]["template"]["spec"]["containers"][0].pop(lacking)
    objects = [manifest, *render(parse_hosted_cluster(manifest), key_vault_user_client_id=KEY_VAULT_USER)]
    assert codes(*objects, base) != []
    assert codes(*objects, base, whole) == []


def test_component_is_not_missed_where_its_class_is_from_elsewhere():
    workload = json.dumps(make_workload())
    made = json.dumps(make_class(name="managed-azure-ingress"))
    found = ["HC114", "HC206"]
    assert (
        read_codes(deploy__a=made, deploy__b=workload)
        == read_codes(deploy__a=made, deploy__more__b=workload)
        == found
    )
    assert read_codes(deploy__a=made, apps__b=workload) == found
    assert read_codes(tests__data__a=made, operator__assets__b=workload) == []


def test_class_of_ones_own_may_be_anywhere():
    assert codes(make_class(name="other"), make_pod()) == ["HC101"]  # in one file
    assert read_codes(a__class=json.dumps(make_class(name="other")), b__pod=json.dumps(make_pod())) == []
    assert read_codes(a__class=json.dumps(make_class(name="shops")), b__pod=json.dumps(make_pod())) == [
        "HC101"
    ]


KMS_CONFIG = "azure-kms-config"
KEYLESS_CLUSTER = parse_hosted_cluster(make_manifest(WITH_CLIENT_IDS))


def make_keyless(name: str) -> dict[str, Any]:
    """A workload of the table whose sidecar alone has the key; one that cannot do without keeps it."""
    names = dict.fromkeys(name for _, row in WORKLOADS[name] for name in row.containers)
    workload = make_workload(name=name, containers=[{"name": each} for each in names])
    workload["metadata"]["namespace"] = "clusters-otter"
    return inject(workload, make_options(cluster=KEYLESS_CLUSTER, sidecar=Sidecar(image="hcpcreds")))


def make_control_plane(*names: str, keyless: bool = False) -> list[dict[str, Any]]:
    """The hosted cluster, all its objects, and some workloads without a key."""
    objects = render(KEYLESS_CLUSTER, key_vault_user_client_id=KEY_VAULT_USER, keyless=keyless)
    return [make_manifest(WITH_CLIENT_IDS), *objects, *map(make_keyless, names)]


def mount_config(workload: dict[str, Any], secret: str) -> None:
    spec = workload["spec"]["template"]["spec"]
    spec["volumes"].append({"name": "config", "secret": {"secretName": secret}})
    spec["containers"][0]["volumeMounts"].append({"name": "config", "mountPath": "/etc/config"})


def test_keyless_components_lack_nothing_when_their_environment_is_enough():
    by_environment = [
        name
        for name, rows in WORKLOADS.items()
        if (keyless := rows[0][1].keyless) is not None and not keyless.beside
    ]
    assert len(by_environment) == 7
    assert codes(*make_control_plane(*by_environment)) == []


def test_keyless_component_is_found_when_its_config_still_names_the_key():
    assert codes(*make_control_plane("capi-provider")) == ["HC601"]
    documents = make_control_plane("kube-apiserver")
    mount_config(documents[-1], KMS_CONFIG)
    assert codes(*documents) == ["HC402"]


def test_all_of_a_keyless_control_plane_is_right_when_its_objects_are_keyless_too():
    documents = make_control_plane(*WORKLOADS, keyless=True)
    mount_config(next(item for item in documents if item["metadata"]["name"] == "kube-apiserver"), KMS_CONFIG)
    assert codes(*documents) == []


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("azure-cloud-controller-manager", "azure-cloud-config"),
        ("azure-disk-csi-driver-controller", "azure-disk-csi-config"),
    ],
)
def test_cloud_config_may_name_the_key_when_the_environment_overrides_it(name, secret):
    documents = make_control_plane(name)
    mount_config(documents[-1], secret)
    assert codes(*documents) == []


def test_cluster_api_lacks_nothing_when_another_identity_beside_its_own_needs_no_key():
    both = [*make_control_plane("capi-provider"), *make_control_plane(keyless=True)]
    identities = [item for item in both if item["kind"] == "AzureClusterIdentity"]
    assert [item["metadata"]["name"] for item in identities] == ["otter", "otter-keyless"]
    assert codes(*make_control_plane("capi-provider"), identities[1]) == []


def test_program_that_serves_nobody_in_its_pod_needs_no_probe_and_no_restart_policy():
    pod = make_pod()
    pod["spec"]["containers"][0]["args"] = ["hcpcreds", "serve", "--imds-address", ":8080"]
    assert codes(pod) == []
