import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kr8s.asyncio.objects import ConfigMap, Secret, new_class
from kubernetes.client import ApiClient
from lightkube import codecs
from lightkube.generic_resource import create_namespaced_resource
from tests.manifests.examples import AZURE, CONTROL_PLANE, KEY_VAULT_USER, REMOVED, make_manifest, manifests

from hcpcreds.components import COMPONENTS
from hcpcreds.errors import InputError
from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.manifests import render
from hcpcreds.manifests.render import KINDS

OBJECTS = render(parse_hosted_cluster(make_manifest()), key_vault_user_client_id=KEY_VAULT_USER)
CUSTOM = [
    ("secrets-store.csi.x-k8s.io", "v1", "SecretProviderClass", "secretproviderclasses"),
    ("infrastructure.cluster.x-k8s.io", "v1beta1", "AzureClusterIdentity", "azureclusteridentities"),
]


def names(objects):
    return [f"{item['kind']}/{item['metadata']['name']}" for item in objects]


def test_render_gives_every_object_in_a_fixed_order():
    assert names(OBJECTS) == [
        "SecretProviderClass/managed-azure-cpo",
        "SecretProviderClass/managed-azure-nodepool-management",
        "SecretProviderClass/managed-azure-cloud-provider",
        "SecretProviderClass/managed-azure-ingress",
        "SecretProviderClass/managed-azure-image-registry",
        "SecretProviderClass/managed-azure-network",
        "SecretProviderClass/managed-azure-disk-csi",
        "SecretProviderClass/managed-azure-file-csi",
        "SecretProviderClass/managed-azure-kms",
        "Secret/azure-cloud-config",
        "Secret/cloud-network-config-controller-creds",
        "Secret/azure-disk-csi-config",
        "Secret/azure-file-csi-config",
        "Secret/azure-kms-config",
        "ConfigMap/azure-cloud-config",
        "AzureClusterIdentity/otter",
    ]


def test_render_leaves_out_what_the_cluster_does_not_have():
    changes = {"spec.secretEncryption": REMOVED, f"{CONTROL_PLANE}.imageRegistry": REMOVED}
    objects = render(parse_hosted_cluster(make_manifest(changes)), key_vault_user_client_id=KEY_VAULT_USER)
    missing = set(names(OBJECTS)) - set(names(objects))
    assert missing == {
        "SecretProviderClass/managed-azure-image-registry",
        "SecretProviderClass/managed-azure-kms",
        "Secret/azure-kms-config",
    }


@settings(max_examples=25, deadline=None)
@given(manifests())
def test_objects_of_any_cluster_are_plain_data_with_names_of_their_own_in_one_namespace(manifest):
    cluster = parse_hosted_cluster(manifest)
    objects = render(cluster, key_vault_user_client_id=KEY_VAULT_USER)
    assert (
        json.loads(json.dumps(objects)) == objects == render(cluster, key_vault_user_client_id=KEY_VAULT_USER)
    )
    assert len(set(names(objects))) == len(objects)
    assert {item["metadata"]["namespace"] for item in objects} == {cluster.control_plane_namespace}


def test_every_object_goes_to_another_namespace_when_told_to():
    objects = render(
        parse_hosted_cluster(make_manifest()), key_vault_user_client_id=KEY_VAULT_USER, namespace="elsewhere"
    )
    assert {item["metadata"]["namespace"] for item in objects} == {"elsewhere"}


@pytest.mark.parametrize(
    ("components", "expected"),
    [
        (["ingress-operator"], ["SecretProviderClass/managed-azure-ingress"]),
        (
            ["kube-apiserver", "cluster-api-provider-azure"],
            [
                "SecretProviderClass/managed-azure-nodepool-management",
                "SecretProviderClass/managed-azure-kms",
                "Secret/azure-kms-config",
                "AzureClusterIdentity/otter",
            ],
        ),
        (
            ["cloud-controller-manager"],
            [
                "SecretProviderClass/managed-azure-cloud-provider",
                "Secret/azure-cloud-config",
                "ConfigMap/azure-cloud-config",
            ],
        ),
        (
            ["cluster-storage-operator"],
            [
                "SecretProviderClass/managed-azure-disk-csi",
                "SecretProviderClass/managed-azure-file-csi",
                "Secret/azure-disk-csi-config",
                "Secret/azure-file-csi-config",
            ],
        ),
        (
            ["cloud-network-config-controller"],
            [
                "SecretProviderClass/managed-azure-network",
                "Secret/cloud-network-config-controller-creds",
            ],
        ),
        (
            ["azure-cloud-controller-manager"],
            [
                "SecretProviderClass/managed-azure-cloud-provider",
                "Secret/azure-cloud-config",
                "ConfigMap/azure-cloud-config",
            ],
        ),
        (["control-plane-operator"], ["SecretProviderClass/managed-azure-cpo"]),
    ],
)
def test_render_gives_only_what_the_named_components_or_workloads_need(components, expected):
    cluster = parse_hosted_cluster(make_manifest())
    objects = render(cluster, key_vault_user_client_id=KEY_VAULT_USER, components=components)
    assert names(objects) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_render_gives_only_objects_of_the_named_kind_in_the_same_order(kind):
    objects = render(
        parse_hosted_cluster(make_manifest()), key_vault_user_client_id=KEY_VAULT_USER, kinds=[kind]
    )
    assert objects == [item for item in OBJECTS if item["kind"] == kind] != []


@settings(max_examples=25, deadline=None)
@given(st.sets(st.sampled_from([component.name for component in COMPONENTS]), min_size=1))
def test_labels_say_which_component_an_object_is_rendered_for(components):
    cluster = parse_hosted_cluster(make_manifest())
    objects = render(cluster, key_vault_user_client_id=KEY_VAULT_USER, components=components)
    component = "app.kubernetes.io/component"
    assert objects == [item for item in OBJECTS if item["metadata"]["labels"][component] in components]


def test_render_needs_no_vault_user_without_secret_provider_classes():
    cluster = parse_hosted_cluster(make_manifest())
    assert names(render(cluster, key_vault_user_client_id="", kinds=["ConfigMap"])) == [
        "ConfigMap/azure-cloud-config"
    ]


def test_render_of_one_component_goes_through_when_another_cannot_be_expressed():
    cluster = parse_hosted_cluster(make_manifest({f"{AZURE}.cloud": "AzureGermanCloud"}))
    objects = render(cluster, key_vault_user_client_id=KEY_VAULT_USER, components=["ingress-operator"])
    assert names(objects) == ["SecretProviderClass/managed-azure-ingress"]


def test_render_lists_every_problem_in_one_error():
    cluster = parse_hosted_cluster(make_manifest({"spec.secretEncryption": REMOVED}))
    with pytest.raises(InputError) as caught:
        render(
            cluster,
            key_vault_user_client_id="nobody",
            namespace="No_Name",
            components=["ingres-operator", "kube-apiserver"],
            kinds=["Pod", "SecretProviderClass"],
        )
    assert [problem.split(",")[0] for problem in caught.value.problems] == [
        "component: unknown 'ingres-operator'; expected one of control-plane-operator",
        "component: the hosted cluster otter has no identity for kube-apiserver",
        "kind: unknown 'Pod'; expected one of SecretProviderClass",
        "namespace: got 'No_Name'",
        "key vault user's client id: got (6 characters)",
    ]
    assert "ARO_HCP_KEY_VAULT_USER_CLIENT_ID" in str(caught.value)


def test_render_is_refused_when_nothing_is_left_to_render():
    cluster = parse_hosted_cluster(make_manifest())
    with pytest.raises(InputError, match="options: ingress-operator: no object of kind Secret or ConfigMap"):
        render(
            cluster,
            key_vault_user_client_id="",
            components=["ingress-operator"],
            kinds=["Secret", "ConfigMap"],
        )


def test_render_is_refused_when_the_vault_user_is_not_known():
    with pytest.raises(InputError, match="key vault user's client id: not set"):
        render(parse_hosted_cluster(make_manifest()), key_vault_user_client_id="")


@pytest.mark.parametrize("item", OBJECTS, ids=names(OBJECTS))
def test_clients_take_the_objects_as_they_are(item):
    client = ApiClient()
    assert client.sanitize_for_serialization(item) == item
    if item["apiVersion"] == "v1":
        model = client.deserialize(json.dumps(item), f"V1{item['kind']}", None)
        assert client.sanitize_for_serialization(model) == item
    for resource in CUSTOM:
        create_namespaced_resource(*resource)
    assert codecs.from_dict(item).to_dict() == item


@pytest.mark.parametrize("item", OBJECTS, ids=names(OBJECTS))
def test_kr8s_takes_the_objects_as_they_are(item):
    for group, version, kind, _ in CUSTOM:
        if item["kind"] == kind:
            kr8s_class = new_class(kind=kind, version=f"{group}/{version}", asyncio=True, namespaced=True)
            break
    else:
        kr8s_class = {"Secret": Secret, "ConfigMap": ConfigMap}[item["kind"]]
    assert kr8s_class(item).to_dict() == item
