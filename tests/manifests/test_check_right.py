"""What is right is not a finding, as the programs that read a manifest take it."""

import copy
import json

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
    make_manifest,
)
from tests.manifests.inject_examples import make_options, make_workload

from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.manifests import inject, render


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
