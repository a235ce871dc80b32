import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.manifests.examples import (
    CONTROL_PLANE,
    KEY_VAULT_USER,
    REMOVED,
    VAULT_TENANT,
    encodings,
    make_labels,
    make_manifest,
    secret_names,
)

from hcpcreds.components import COMPONENTS
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import ManagedIdentity, parse_hosted_cluster
from hcpcreds.manifests import build_secret_provider_class
from hcpcreds.manifests.secret_provider_class import render_objects

CLUSTER = parse_hosted_cluster(make_manifest())
BY_NAME = {component.name: component for component in COMPONENTS}


def test_secret_provider_class_is_what_hypershift_writes():
    built = build_secret_provider_class(
        CLUSTER, BY_NAME["kube-apiserver"], key_vault_user_client_id=KEY_VAULT_USER
    )
    assert built == {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {
            "name": "managed-azure-kms",
            "namespace": "clusters-otter",
            "labels": make_labels("kube-apiserver"),
        },
        "spec": {
            "provider": "azure",
            "parameters": {
                "usePodIdentity": "false",
                "useVMManagedIdentity": "true",
                "userAssignedIdentityID": KEY_VAULT_USER,
                "keyvaultName": "otter-vault",
                "tenantId": VAULT_TENANT,
                "objects": "\narray:\n  - |\n    objectName: otter-kms\n    objectEncoding: base64\n"
                "    objectType: secret\n",
            },
        },
    }


def test_secret_provider_class_goes_to_another_namespace_when_told_to():
    built = build_secret_provider_class(
        CLUSTER, COMPONENTS[0], key_vault_user_client_id=KEY_VAULT_USER, namespace="elsewhere"
    )
    assert built["metadata"]["namespace"] == "elsewhere"


@given(name=secret_names, encoding=encodings)
def test_objects_give_back_any_identity_when_parsed_as_the_azure_provider_does(name, encoding):
    objects = render_objects(ManagedIdentity(credentials_secret_name=name, object_encoding=encoding))
    [entry] = yaml.safe_load(objects)["array"]
    # The provider decodes into Go's texts: what YAML takes for a number stays as it is written, and only
    # what it takes for nothing is lost.
    node = yaml.compose(entry, Loader=yaml.SafeLoader)
    assert isinstance(node, yaml.MappingNode)
    assert {key.value: value.value for key, value in node.value} == {
        "objectName": name,
        "objectEncoding": encoding,
        "objectType": "secret",
    }
    assert not any(value.tag.endswith(":null") for _, value in node.value)


@given(st.text().filter(lambda name: not name.isascii() or not name.replace("-", "a").isalnum()))
def test_name_is_refused_when_it_could_break_out_of_the_yaml(name):
    with pytest.raises(InputError, match="credentialsSecretName"):
        render_objects(ManagedIdentity(credentials_secret_name=name))


@pytest.mark.parametrize(
    "name", ["a\n    objectType: key", "a: b", "null", "Null", "NULL", "-", "a" * 128, "ä", "a\n"]
)
def test_name_is_refused_when_yaml_or_key_vault_would_not_take_it(name):
    with pytest.raises(InputError, match="credentialsSecretName"):
        render_objects(ManagedIdentity(credentials_secret_name=name))


@pytest.mark.parametrize("encoding", ["", "utf8", "UTF-8", "hex\n", "hex # x"])
def test_encoding_is_refused_when_it_is_unknown(encoding):
    with pytest.raises(InputError, match=r"objectEncoding: got .* expected utf-8, hex or base64"):
        render_objects(ManagedIdentity(credentials_secret_name="a", object_encoding=encoding))


def test_both_problems_of_an_identity_are_in_one_error():
    with pytest.raises(InputError, match=r"2 problems(.|\n)*credentialsSecretName(.|\n)*objectEncoding"):
        render_objects(ManagedIdentity(credentials_secret_name="a b", object_encoding="c"))


@pytest.mark.parametrize("client_id", ["", "not-a-uuid", f"{KEY_VAULT_USER}\n"])
def test_vault_user_is_refused_when_it_is_not_a_uuid(client_id):
    with pytest.raises(InputError, match="ARO_HCP_KEY_VAULT_USER_CLIENT_ID"):
        build_secret_provider_class(CLUSTER, COMPONENTS[0], key_vault_user_client_id=client_id)


def test_component_is_refused_when_the_cluster_has_no_identity_for_it():
    cluster = parse_hosted_cluster(make_manifest({f"{CONTROL_PLANE}.imageRegistry": REMOVED}))
    with pytest.raises(
        InputError, match="cluster-image-registry-operator: the hosted cluster otter has no identity"
    ):
        build_secret_provider_class(
            cluster, BY_NAME["cluster-image-registry-operator"], key_vault_user_client_id=KEY_VAULT_USER
        )
