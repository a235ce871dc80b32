import json
import os
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.manifests.examples import (
    AZURE,
    CONTROL_PLANE,
    IDENTITIES,
    KMS,
    REMOVED,
    VAULT_TENANT,
    make_manifest,
    manifests,
    probe,
)

from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import (
    HostedCluster,
    KeyVault,
    KmsKey,
    ManagedIdentity,
    parse_hosted_cluster,
    read_hosted_cluster,
)
from hcpcreds.kubernetes.documents import parse_documents

VNET = "/subscriptions/s/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/v"


def parse(changes: dict[str, Any] | None = None) -> HostedCluster:
    return parse_hosted_cluster(make_manifest(changes))


def problems_of(source: Any) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        parse_hosted_cluster(source, where="here")
    assert str(caught.value).startswith("here: ")
    return caught.value.problems


class TestValue:
    def test_hosted_cluster_has_the_values_of_the_manifest(self):
        cluster = parse()
        assert (cluster.kind, cluster.name, cluster.namespace) == ("HostedCluster", "otter", "clusters")
        assert (cluster.infra_id, cluster.location, cluster.resource_group) == (
            "otter-x1y2z",
            "westeurope",
            "otter-rg",
        )
        assert (cluster.vnet_name, cluster.vnet_resource_group) == ("otter-vnet", "net-rg")
        assert cluster.subnet_name == "otter-subnet"
        assert (cluster.security_group_name, cluster.security_group_resource_group) == ("otter-nsg", "nsg-rg")
        assert cluster.key_vault == KeyVault(name="otter-vault", tenant_id=VAULT_TENANT)
        assert cluster.identities.ingress == ManagedIdentity(credentials_secret_name="otter-ingress")
        assert cluster.identities.kms == ManagedIdentity(
            credentials_secret_name="otter-kms", object_encoding="base64"
        )
        assert cluster.kms_keys is not None
        assert cluster.kms_keys.backup == KmsKey(
            key_vault_name="otter-etcd", key_name="etcd", key_version="1"
        )

    def test_defaults_are_those_of_the_api(self):
        cluster = parse()
        assert cluster.cloud == "AzurePublicCloud"
        assert cluster.identities.disk == ManagedIdentity(
            credentials_secret_name="otter-disk", object_encoding="utf-8", client_id=None
        )
        assert (cluster.health_probe_mode, cluster.health_probe_path, cluster.health_probe_port) == (
            "shared",
            None,
            None,
        )
        assert cluster.container_registry_identity_id is None

    def test_hosted_cluster_cannot_be_changed(self):
        with pytest.raises(AttributeError):
            parse().name = "other"  # type: ignore[misc]

    def test_unknown_fields_are_ignored(self):
        changes = {
            "items": [],
            "spec.futureField": {"a": [1]},
            f"{AZURE}.futureField": 5,
            f"{CONTROL_PLANE}.disk.extra": True,
        }
        assert parse(changes) == parse()

    def test_field_is_unset_when_it_is_null(self):
        changes = {
            f"{AZURE}.cloud": None,
            "metadata.annotations": None,
            f"{CONTROL_PLANE}.disk.objectEncoding": None,
        }
        assert parse(changes) == parse()

    def test_control_plane_namespace_is_made_of_namespace_and_name(self):
        cluster = parse({"metadata.name": "sea.otter", "metadata.namespace": "zoo"})
        assert cluster.control_plane_namespace == "zoo-sea-otter"

    def test_hosted_control_plane_is_in_its_own_namespace(self):
        cluster = parse({"kind": "HostedControlPlane", "metadata.namespace": "clusters-otter"})
        assert (cluster.name, cluster.control_plane_namespace) == ("otter", "clusters-otter")

    @pytest.mark.parametrize(
        "absent", [REMOVED, None, {}, {"credentialsSecretName": "", "objectEncoding": ""}]
    )
    def test_image_registry_is_none_when_not_set(self, absent):
        assert parse({f"{CONTROL_PLANE}.imageRegistry": absent}).identities.image_registry is None

    @pytest.mark.parametrize("absent", [REMOVED, None, {}, {"type": "aescbc", "aescbc": {"activeKey": {}}}])
    def test_kms_is_none_when_etcd_is_not_encrypted_with_a_key_of_azure(self, absent):
        cluster = parse({"spec.secretEncryption": absent})
        assert cluster.identities.kms is None
        assert cluster.kms_keys is None

    def test_resource_id_is_read_as_arm_reads_it_when_case_and_slashes_differ(self):
        cluster = parse({f"{AZURE}.vnetID": VNET.lower().replace("/providers", "//PROVIDERS") + "/"})
        assert (cluster.vnet_resource_group, cluster.vnet_name) == ("rg", "v")

    def test_container_registry_identity_is_kept_as_written(self):
        resource_id = f"{IDENTITIES}/Pull".replace("Microsoft.ManagedIdentity", "MICROSOFT.managedidentity")
        registry = {
            "credentials": {"type": "ManagedIdentity", "managedIdentity": {"resourceID": resource_id}}
        }
        assert parse({f"{AZURE}.containerRegistry": registry}).container_registry_identity_id == resource_id

    @pytest.mark.parametrize(
        ("annotations", "expected"),
        [
            (probe(path="/healthz", port="10256"), ("shared", "/healthz", 10256)),
            (probe("shared", "", "+080"), ("shared", None, 80)),
            (probe("servicenodeport", "/healthz", "no port"), ("servicenodeport", None, None)),
        ],
    )
    def test_probe_annotations_are_read_as_hypershift_does(self, annotations, expected):
        cluster = parse(annotations)
        assert (cluster.health_probe_mode, cluster.health_probe_path, cluster.health_probe_port) == expected


class TestProblems:
    @pytest.mark.parametrize(
        ("changes", "problem"),
        [
            ({f"{CONTROL_PLANE}.disk.objectEncoding": "utf8"}, "got 'utf8', expected utf-8, hex or base64"),
            ({f"{CONTROL_PLANE}.disk.objectEncoding": ""}, "got '', expected utf-8, hex or base64"),
            ({f"{CONTROL_PLANE}.disk.credentialsSecretName": "a_b"}, "got 'a_b', expected 1-127 letters"),
            ({f"{CONTROL_PLANE}.disk.credentialsSecretName": "a\n"}, r"got 'a\n', expected 1-127 letters"),
            (
                {f"{CONTROL_PLANE}.disk.credentialsSecretName": "a" * 128},
                "got text of 128 characters, expected 1-127 letters",
            ),
            ({f"{CONTROL_PLANE}.disk.credentialsSecretName": "null"}, "(not 'null' or '-')"),
            ({f"{CONTROL_PLANE}.disk.credentialsSecretName": 7}, "got a number (for text, put it in quotes)"),
            (
                {f"{CONTROL_PLANE}.disk.credentialsSecretName": True},
                "got a boolean (for text, put it in quotes)",
            ),
            ({f"{CONTROL_PLANE}.disk.credentialsSecretName": ["a"]}, "got a list, expected 1-127 letters"),
            ({f"{CONTROL_PLANE}.disk.credentialsSecretName": b"a"}, "got a bytes, expected 1-127 letters"),
            ({f"{CONTROL_PLANE}.disk.clientID": "1234"}, "got '1234', expected a UUID"),
            ({f"{CONTROL_PLANE}.disk": "secret"}, "expected a mapping, got 'secret'"),
            ({f"{CONTROL_PLANE}.disk": REMOVED}, "required, but not set"),
            ({f"{CONTROL_PLANE}.imageRegistry": {"objectEncoding": "hex"}}, "required, but not set"),
            ({f"{CONTROL_PLANE}.managedIdentitiesKeyVault.name": "ab"}, "got 'ab', expected 3-24 letters"),
            ({f"{CONTROL_PLANE}.managedIdentitiesKeyVault.tenantID": "x"}, "got 'x', expected a UUID"),
            (
                {f"{AZURE}.azureAuthenticationConfig.azureAuthenticationConfigType": "ServicePrincipal"},
                "got 'ServicePrincipal', expected ManagedIdentities or WorkloadIdentities",
            ),
            ({f"{AZURE}.azureAuthenticationConfig.managedIdentities": REMOVED}, "required, but not set"),
            (
                {f"{AZURE}.cloud": "AzureMoonCloud"},
                "expected one of AzurePublicCloud, AzureUSGovernmentCloud",
            ),
            ({f"{AZURE}.location": ""}, "got '', expected text"),
            ({f"{AZURE}.subscriptionID": "x"}, "got 'x', expected a UUID"),
            ({f"{AZURE}.tenantID": REMOVED}, "required, but not set; expected a UUID"),
            (
                {f"{AZURE}.vnetID": VNET + "/subnets/s"},
                "expected /subscriptions/{subscription}/resourceGroups/{group}",
            ),
            ({f"{AZURE}.vnetID": VNET[1:]}, "Microsoft.Network/virtualNetworks/{name}"),
            ({f"{AZURE}.subnetID": VNET}, "Microsoft.Network/virtualNetworks/{vnet}/subnets/{name}"),
            ({f"{AZURE}.securityGroupID": VNET}, "Microsoft.Network/networkSecurityGroups/{name}"),
            ({"spec.infraID": REMOVED}, "HyperShift sets it when it creates the cluster"),
            ({"spec.platform.type": "AWS"}, "got 'AWS', expected Azure"),
            ({"spec.platform.azure": REMOVED}, "required, but not set"),
            ({"spec.platform": []}, "expected a mapping, got a list"),
            ({"spec": REMOVED}, "required, but not set"),
            ({"spec.secretEncryption.type": "rot13"}, "got 'rot13', expected kms or aescbc"),
            ({"spec.secretEncryption.kms": REMOVED}, "required, but not set"),
            ({"spec.secretEncryption.kms.provider": "AWS"}, "got 'AWS', expected Azure"),
            ({f"{KMS}.kms": REMOVED}, "required, but not set"),
            ({f"{KMS}.activeKey.keyVersion": 3}, "got a number"),
            ({"apiVersion": "hypershift.openshift.io/v1alpha1"}, "expected hypershift.openshift.io/v1beta1"),
            ({"metadata.name": "Otter"}, "got 'Otter', expected lower-case letters"),
            ({"metadata.namespace": REMOVED}, "required, but not set"),
            ({"metadata.name": "o" * 60}, "longer than 63 characters"),
        ],
    )
    def test_problem_has_the_path_of_its_field_and_says_what_was_expected(self, changes, problem):
        found = problems_of(make_manifest(changes))
        assert len(found) == 1
        path = next(iter(changes))
        assert found[0].startswith(path)
        assert problem in found[0]

    @pytest.mark.parametrize(
        "annotations",
        [probe("both"), probe(""), probe(port="0"), probe(port="65536"), probe(port="x"), probe(path=5)],
    )
    def test_problem_is_found_in_probe_annotations(self, annotations):
        [problem] = problems_of(make_manifest(annotations))
        assert problem.startswith("metadata.annotations.hypershift.openshift.io/")

    def test_resource_id_of_the_container_registry_is_checked_once(self):
        registry = {"credentials": {"type": "ManagedIdentity", "managedIdentity": {"resourceID": VNET}}}
        [problem] = problems_of(make_manifest({f"{AZURE}.containerRegistry": registry}))
        assert problem.startswith(
            f"{AZURE}.containerRegistry.credentials.managedIdentity.resourceID: got '/sub"
        )

    def test_every_problem_is_in_one_error(self):
        changes = {
            "metadata.name": 5,
            f"{AZURE}.vnetID": "nonsense",
            f"{CONTROL_PLANE}.ingress.objectEncoding": "rot13",
            f"{CONTROL_PLANE}.file": REMOVED,
            f"{KMS}.kms.credentialsSecretName": "a b",
        }
        found = problems_of(make_manifest(changes))
        assert sorted(problem.split(":")[0] for problem in found) == sorted(
            {**changes, f"{KMS}.kms.credentialsSecretName": ""}
        )

    @pytest.mark.parametrize(
        "source",
        [
            "-----BEGIN PRIVATE KEY-----\nSENTINEL\n-----END PRIVATE KEY-----\n",
            json.dumps({"client_secret": "SENTINEL" * 200}),
            json.dumps({"kind": "SENTINEL" * 200}),
            json.dumps(make_manifest({f"{CONTROL_PLANE}.disk.credentialsSecretName": "SENTINEL" * 200})),
            json.dumps(make_manifest({f"{AZURE}.vnetID": "SENTINEL" * 200})),
            f"{'SENTINEL' * 20}: 1\n{'SENTINEL' * 20}: 1\n".replace("SENTINEL", "x" * 90 + "SENTINEL"),
        ],
    )
    def test_secret_that_was_given_by_mistake_is_not_repeated(self, source):
        assert "SENTINEL" not in str(problems_of(source))


class TestDocuments:
    def test_yaml_and_json_and_mapping_give_the_same(self):
        manifest = make_manifest()
        expected = parse_hosted_cluster(manifest)
        assert parse_hosted_cluster(yaml.safe_dump(manifest)) == expected
        assert parse_hosted_cluster(json.dumps(manifest)) == expected
        assert parse_hosted_cluster(json.dumps(manifest, indent=1).encode()) == expected
        assert parse_hosted_cluster(b"\xef\xbb\xbf" + json.dumps(manifest).encode()) == expected

    @given(manifests())
    def test_any_valid_cluster_comes_through_yaml_and_json_unchanged(self, manifest):
        expected = parse_hosted_cluster(manifest)
        # In quotes: PyYAML itself writes 1e3 and y without, which to kubectl are no text.
        assert parse_hosted_cluster(yaml.safe_dump(manifest, default_style='"', width=40)) == expected
        assert parse_hosted_cluster(json.dumps(manifest).encode()) == expected

    @given(
        st.text()
        | st.binary()
        | st.recursive(st.none() | st.text(max_size=9) | st.integers(), st.lists).map(json.dumps)
    )
    def test_garbage_is_an_input_error(self, garbage):
        problems_of(garbage)

    @given(
        st.sampled_from(
            ["spec", "metadata", AZURE, CONTROL_PLANE, f"{CONTROL_PLANE}.file", KMS, "spec.infraID", "kind"]
        ),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
            lambda values: st.lists(values) | st.dictionaries(st.text() | st.integers(), values),
        ),
    )
    def test_wrong_value_is_an_input_error_wherever_it_is(self, path, value):
        try:
            parse_hosted_cluster(make_manifest({path: value}))
        except InputError:
            pass
        else:
            assert value in ("HostedCluster", "HostedControlPlane") or path in (KMS, "spec.infraID")

    def test_cluster_is_found_among_other_objects_and_in_a_list(self):
        manifest = make_manifest()
        others = [None, {"kind": "Namespace"}, manifest, {"kind": "NodePool", "spec": {"replicas": 2}}]
        assert parse_hosted_cluster(yaml.safe_dump_all(others)) == parse_hosted_cluster(manifest)
        assert parse_hosted_cluster({"kind": "List", "items": [manifest]}) == parse_hosted_cluster(manifest)

    @pytest.mark.parametrize(
        ("source", "problem"),
        [
            ("", "empty; expected one HostedCluster or HostedControlPlane (hypershift.openshift.io/v1beta1)"),
            ("--- \n---\n", "empty; expected"),
            ("kind: Deployment\n", "kind: expected one HostedCluster or HostedControlPlane"),
            ("kind: Deployment\n", "found 'Deployment'"),
            ("kind: [a]\n", "found a list"),
            ("metadata: {}\n", "found nothing"),
            ("just text", "found no object"),
            ("- 1\n- 2\n", "found no object"),
            ("a: b: c", "line 1: not YAML: mapping values are not allowed in this context (column 5)"),
            ("a:\n\t- b", "line 2: not YAML: found character"),
            ("a: 1\nb: 2\na: 3\n", "line 3: the key 'a' is repeated"),
            ("a: *x", "line 1: an alias (*) without its anchor (&)"),
            ("? [a]\n: b", "line 1: a mapping or list stands where a key is expected"),
            ("a:\n  <<: text\n", "line 2: a merge key (<<) takes a mapping"),
            ("a: \0", "line 1: not YAML: there are characters in it that YAML forbids"),
            (b"a: b\n\xff\xfe", "line 2: not text: it is not UTF-8"),
            (b"x" * (3 * 1024 * 1024 + 1), "larger than 3 MiB"),
        ],
    )
    def test_source_is_refused_when_it_is_not_a_cluster(self, source, problem):
        [found] = problems_of(source)
        assert problem in found

    @pytest.mark.parametrize("loader", ["libyaml", "Python"])
    @pytest.mark.parametrize(
        ("source", "line"),
        [
            ("[" * 101, 1),
            ("[" * 1_000_000, 1),
            ('{"a":' * 100_000, 1),
            ("- " * 5000, 1),
            ("a: b\nc: " + "[" * 5000, 2),
            ("[\n" * 5000, 101),
        ],
    )
    def test_source_is_refused_with_its_line_when_it_is_nested_too_deep(
        self, monkeypatch, source, line, loader
    ):
        if loader == "Python":  # as where PyYAML was built without libyaml
            monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
        [found] = problems_of(source)
        assert found == f"line {line}: nested deeper than 100 levels"

    def test_keys_are_ignored_when_they_are_not_text(self):
        text = yaml.safe_dump(make_manifest()) + "1: a\n~: b\nyes: c\n"
        assert parse_hosted_cluster(text) == parse()

    def test_two_clusters_are_refused(self):
        assert "found 2" in problems_of(yaml.safe_dump_all([make_manifest(), make_manifest()]))[0]

    @pytest.mark.parametrize(
        ("plain", "kind"),
        [
            ("123", "number"),
            ("0x1F", "number"),
            ("1e3", "number"),
            ("1_0", "number"),
            ("yes", "boolean"),
            ("Off", "boolean"),
        ],
    )
    def test_value_without_quotes_is_refused_when_yaml_takes_it_for_something_else(self, plain, kind):
        text = yaml.safe_dump(make_manifest()).replace("otter-disk", plain)
        [problem] = problems_of(text)
        field = f"{CONTROL_PLANE}.disk.credentialsSecretName"
        assert problem.startswith(f"{field}: got the {kind} {plain} (for text, put it in quotes), expected ")
        parse_hosted_cluster(text.replace(plain, f"'{plain.replace('_', '-')}'"))

    @pytest.mark.parametrize("plain", ["2026-11-23", "1-2", "null-x", "e3", "no-1"])
    def test_value_without_quotes_is_text_when_kubectl_takes_it_for_text(self, plain):
        cluster = parse_hosted_cluster(yaml.safe_dump(make_manifest()).replace("otter-disk", plain))
        assert cluster.identities.disk == ManagedIdentity(credentials_secret_name=plain)

    def test_anchors_aliases_and_merge_keys_are_followed(self):
        text = yaml.safe_dump(make_manifest())
        text = text.replace("credentialsSecretName: otter-cpo", "credentialsSecretName: &name otter-cpo")
        text = (
            text.replace("file:\n", "file: &file\n", 1)
            .replace("credentialsSecretName: otter-ingress", "<<: *file")
            .replace("otter-network", "*name")
        )
        assert "*file" in text
        identities = parse_hosted_cluster(text).identities
        assert identities.ingress == ManagedIdentity(credentials_secret_name="otter-file")
        assert identities.network == ManagedIdentity(credentials_secret_name="otter-cpo")

    def test_aliases_are_harmless_when_they_multiply(self):
        bomb = "a: &a0 [x, x]\n" + "".join(
            f"b{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 50)
        )
        assert "expected one HostedCluster" in problems_of(bomb)[0]

    def test_merge_keys_that_multiply_are_refused(self):
        bomb = f"a: &a {{{', '.join(f'k{n}: v' for n in range(10_000))}}}\nb:\n" + "- <<: [*a, *a]\n" * 1000
        assert "merge keys (<<) copy too much" in problems_of(bomb)[0]

    def test_yaml_is_refused_with_the_remedy_when_pyyaml_is_not_installed(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "yaml", None)
        with pytest.raises(InputError, match=r"pip install 'hcpcreds\[manifests\]'"):
            parse_hosted_cluster("kind: HostedCluster")
        assert parse_hosted_cluster(json.dumps(make_manifest())) == parse()

    def test_yaml_is_read_the_same_when_libyaml_is_missing(self, monkeypatch):
        text = yaml.safe_dump(make_manifest())
        monkeypatch.delattr(yaml, "CSafeLoader")
        assert parse_hosted_cluster(text) == parse()
        assert "YAML forbids" in problems_of(r'"\UFFFFFFFF"')[0]


class TestFile:
    def test_file_is_read(self, tmp_path):
        path = tmp_path / "cluster.yaml"
        path.write_text(yaml.safe_dump(make_manifest()))
        assert read_hosted_cluster(path) == read_hosted_cluster(str(path)) == parse()

    @pytest.mark.parametrize(
        ("name", "reason"), [("missing.yaml", "No such file"), ("", "Is a directory"), ("\0", "null")]
    )
    def test_file_is_refused_when_it_cannot_be_read(self, tmp_path, name, reason):
        path = f"{tmp_path}/{name}"
        with pytest.raises(InputError) as caught:
            read_hosted_cluster(path)
        shown = path.replace("\0", "\N{REPLACEMENT CHARACTER}")
        assert str(caught.value).startswith(f"{shown}: cannot be read: ")
        assert reason in str(caught.value)

    def test_endless_file_is_refused(self):
        with pytest.raises(InputError, match="larger than 128 MiB"):
            read_hosted_cluster(Path(os.devnull).with_name("zero"))

    def test_example_in_the_package_has_all_nine_identities_in_three_encodings(self):
        cluster = parse_hosted_cluster(
            files("hcpcreds.up").joinpath("example-hosted-cluster.yaml").read_bytes()
        )
        identities = [getattr(cluster.identities, name) for name in cluster.identities.__struct_fields__]
        assert len({identity.credentials_secret_name for identity in identities}) == 9
        assert len({identity.client_id for identity in identities}) == 9
        assert {identity.object_encoding for identity in identities} == {"utf-8", "hex", "base64"}
        assert cluster.kms_keys is not None
        assert cluster.kms_keys.backup is not None


def test_documents_take_a_quoted_merge_key_for_a_key_like_any_other():
    assert parse_documents('"<<": {a: b}\n', where="file") == [{"<<": {"a": "b"}}]
