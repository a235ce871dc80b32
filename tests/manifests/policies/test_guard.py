"""The guard: what it refuses, and in which words; and that it leaves alone whatever is as it should be."""

import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.manifests.examples import CONTROL_PLANE, KEY_VAULT_USER, REMOVED, SELF_MANAGED
from tests.manifests.policies.api_server import start_api_server
from tests.manifests.policies.policy_examples import POLICIES, inject_into, make_control_plane, make_pod
from tests.support.golang import MAY_BUILD

from hcpcreds.components import COMPONENTS, WORKLOADS
from hcpcreds.hosted_cluster import parse_hosted_cluster
from hcpcreds.manifests import render
from hcpcreds.manifests.inject import CustomComponent, InjectOptions, Sidecar, inject
from hcpcreds.manifests.policies.guard import build_guard

pytestmark = MAY_BUILD

HOSTED = {"hypershift.openshift.io/hosted-control-plane": "true"}
OPTED_IN = {**HOSTED, "hcpcreds.io/hypershift": "keyless"}
MANAGED = make_control_plane()
UNNAMED = make_control_plane({f"{CONTROL_PLANE}.ingress": {"credentialsSecretName": "otter-ingress"}})
OTHER = make_control_plane({f"{CONTROL_PLANE}.ingress.credentialsSecretName": "badger-ingress"}, "badger")
CUSTOM = CustomComponent(
    secret_provider_class="mine",
    volume_name="hcpcreds-credential",
    credentials_secret_name="my-secret",
)
NOTES = {"hcpcreds.io/secret-provider-class": "mine", "hcpcreds.io/credentials-secret-name": "my-secret"}
MOUNTING = [workload for workload, rows in WORKLOADS.items() if any(pod.mount is not None for _, pod in rows)]
PASSING_ON = ["cluster-network-operator", "cluster-storage-operator"]
INJECT = (
    ". Complete its manifest with hcpcreds inject; where a policy does that, find out why it did not: "
    "kubectl get mutatingadmissionpolicybindings."
)


@pytest.fixture(scope="module")
def server():
    # 1.30 is the first release with this API that everybody has.
    with start_api_server(build_guard(key_vault_user_client_id=KEY_VAULT_USER), "1.30") as found:
        assert found.problems == []
        yield found


@pytest.fixture
def refused(server):
    """What the guard says about an object in a control plane's namespace."""

    def create(manifest, *params, labels=HOSTED, **options):
        answer = server.create(manifest, *(params or [MANAGED]), labels=labels, **options)
        assert answer.errors == answer.warned == answer.audited == ()
        return list(answer.denied)

    return create


def make_keyless(workload="ingress-operator"):
    return inject_into(make_pod(workload, "keyless"), MANAGED, keyless=True)


def make_class(name="managed-azure-ingress", provider="azure", **parameters):
    cluster = parse_hosted_cluster(MANAGED)
    [made] = [
        copy.deepcopy(item)
        for item in render(cluster, key_vault_user_client_id=KEY_VAULT_USER)
        if item["metadata"]["name"] == "managed-azure-ingress"
    ]
    made["metadata"]["name"] = name
    made["spec"]["provider"] = provider
    made["spec"]["parameters"].update(parameters)
    return made


def lacks(label, *missing, fix=INJECT):
    return f"the pod is labelled hcpcreds.io/component={label}, but lacks: {'; '.join(missing)}{fix}"


@pytest.mark.parametrize("workload", MOUNTING)
def test_guard_refuses_a_pod_that_lacks_everything(refused, workload):
    component, pod = WORKLOADS[workload][0]
    assert pod.mount
    volume, path = pod.mount.volume_name, pod.mount.path
    expected = [f"the volume {volume} (of the SecretProviderClass {component.secret_provider_class})"]
    for container in pod.containers:
        expected.append(f"the mount of the volume {volume} at {path} in the container {container}")
        expected += [
            f"the variable {variable.name} in the container {container}"
            for variable in pod.env
            if not variable.optional
        ]
    assert refused(make_pod(workload))[0] == lacks(workload, *expected)


@pytest.mark.parametrize("workload", PASSING_ON)
def test_guard_refuses_an_operator_without_the_names_that_it_passes_on(refused, workload):
    variables = [variable for _, pod in WORKLOADS[workload] for variable in pod.env]
    lacking = "; ".join(f"the variable {each.name} in the container {workload}" for each in variables)
    assert refused(make_pod(workload)) == [
        (
            f"the HostedControlPlane otter has managed identities, and the pod lacks: {lacking}. Complete "
            f"its manifest "
            "with hcpcreds inject --hosted-cluster."
        )
    ]
    # With workload identities, it needs none.
    assert refused(make_pod(workload), make_control_plane(SELF_MANAGED)) == []


def test_guard_refuses_a_pod_where_there_is_no_control_plane(server):
    answer = server.create(make_pod("ingress-operator"), labels=HOSTED)
    assert len(answer.denied) == 1
    complete = inject_into(make_pod("ingress-operator"), MANAGED)
    assert server.create(complete, labels=HOSTED).denied == ()


def test_guard_refuses_an_operator_without_the_key_of_etcd(refused):
    without = make_control_plane({"spec.secretEncryption": REMOVED})
    pod = inject_into(make_pod("control-plane-operator"), without)
    assert refused(pod, without) == []
    assert refused(pod) == [
        (
            "the HostedControlPlane otter encrypts etcd with a key of Azure, and the pod lacks: the volume "
            "kms-cert (of the SecretProviderClass managed-azure-kms); the mount of the volume kms-cert at "
            "/mnt/kms in the container control-plane-operator. Complete its manifest with hcpcreds inject "
            "--hosted-cluster."
        )
    ]


def test_guard_says_why_the_policy_that_injects_left_a_pod_alone(refused):
    mounts = [{"name": "mine", "mountPath": "/mnt/certs/"}]
    pod = make_pod(
        "ingress-operator",
        containers=[{"name": "ingress-operator", "image": "example", "volumeMounts": mounts}],
        volumes=[{"name": "ingress-cert", "emptyDir": {}}, {"name": "mine", "emptyDir": {}}],
    )
    assert refused(pod) == [
        lacks(
            "ingress-operator",
            "the volume ingress-cert (of the SecretProviderClass managed-azure-ingress), because it has "
            "another volume of this name (rename that one)",
            "the mount of the volume ingress-cert at /mnt/certs in the container ingress-operator, because "
            "something else is mounted there (mount that elsewhere)",
            "the variable MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH in the container ingress-operator",
        )
    ]


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"subPath": "otter-ingress"}, "the mount of the volume ingress-cert at /mnt/certs"),
        ({"mountPath": "/elsewhere"}, "the mount of the volume ingress-cert at /mnt/certs"),
        ({"name": "other"}, "the mount of the volume ingress-cert at /mnt/certs"),
    ],
)
def test_guard_names_the_mount_when_only_that_is_wrong(refused, changes, missing):
    pod = inject_into(make_pod("ingress-operator", volumes=[{"name": "other", "emptyDir": {}}]), MANAGED)
    pod["spec"]["containers"][0]["volumeMounts"][0].update(changes)
    [message] = refused(pod)
    assert message.startswith(lacks("ingress-operator", missing, fix=""))
    assert "variable" not in message
    assert "the volume ingress-cert (" not in message


@pytest.mark.parametrize("path", ["/mnt/certs/", "//mnt/./certs"])
def test_guard_reads_a_path_however_it_is_spelt(refused, path):
    pod = inject_into(make_pod("ingress-operator"), MANAGED)
    [mount] = pod["spec"]["containers"][0]["volumeMounts"]
    mount["mountPath"] = path
    assert refused(pod) == []


@pytest.mark.parametrize("changes", [{"subPath": "otter-ingress"}, {"readOnly": False}])
def test_guard_says_what_is_wrong_with_a_mount(refused, changes):
    pod = inject_into(make_pod("ingress-operator"), MANAGED)
    pod["spec"]["containers"][0]["volumeMounts"][0].update(changes)
    assert refused(pod) == [
        lacks(
            "ingress-operator",
            "the mount of the volume ingress-cert at /mnt/certs in the container ingress-operator, because "
            "only a part of it is mounted there, or not read-only (correct that mount)",
        )
    ]


@pytest.mark.parametrize("kind", ["containers", "initContainers"])
def test_guard_says_that_the_sidecars_name_is_taken(refused, kind):
    pod = make_pod("ingress-operator", "keyless")
    pod["spec"].setdefault(kind, []).append({"name": "hcpcreds", "image": "example"})
    [message] = refused(pod)
    assert "ingress-cert), because it has another container of this name (rename that one); " in message


def test_guard_refuses_a_volume_that_overrides_its_class(refused):
    pod = inject_into(make_pod("ingress-operator"), MANAGED)
    [volume] = pod["spec"]["volumes"]
    volume["csi"]["volumeAttributes"]["keyvaultName"] = "somebody-elses"
    expected = (
        "volumeAttributes of the volume ingress-cert override its SecretProviderClass, and so could read any "
        "secret of any vault that the node may read: leave only secretProviderClass"
    )
    assert refused(pod) == [expected]
    del pod["metadata"]["labels"]  # anybody's pod, not only a component's
    assert refused(pod) == [expected]


def test_guard_refuses_labels_that_mean_nothing(refused):
    assert refused(make_pod("ingres-operator")) == [
        (
            "the pod is labelled hcpcreds.io/component=ingres-operator, which is not a component of "
            "HyperShift: correct it, or for a component of your own name its class in the annotation "
            "hcpcreds.io/secret-provider-class"
        )
    ]
    complete = inject_into(make_pod("ingress-operator"), MANAGED)
    complete["metadata"]["labels"]["hcpcreds.io/credential"] = "endpoint"
    assert refused(complete)[:1] == [
        (
            "the pod is labelled hcpcreds.io/component=ingress-operator and hcpcreds.io/credential=endpoint: "
            "expected keyless, or, for a component of your own, endpoint"
        )
    ]


def test_guard_refuses_a_keyless_pod_without_sidecar(refused):
    [message] = refused(make_pod("ingress-operator", "keyless"))
    assert message == lacks(
        "ingress-operator",
        "the volume ingress-cert (of the SecretProviderClass managed-azure-ingress)",
        "the sidecar hcpcreds (an init container with restartPolicy: Always, with the volume ingress-cert)",
        "the volume hcpcreds-assertion (an emptyDir)",
        "the mount of the volume hcpcreds-assertion at /var/run/hcpcreds in the container ingress-operator",
        *(
            f"the variable {name} in the container ingress-operator"
            for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE")
        ),
    )


@pytest.mark.parametrize("kind", ["containers", "initContainers"])
def test_guard_refuses_a_keyless_pod_that_mounts_the_key_all_the_same(refused, kind):
    pod = make_keyless()
    mount = {"name": "ingress-cert", "mountPath": "/anywhere"}
    pod["spec"][kind].append({"name": "curious", "image": "example", "volumeMounts": [mount]})
    assert refused(pod) == [
        (
            "the pod ingress-operator is keyless, but mounts the key all the same in curious: only the "
            "sidecar hcpcreds needs it; remove the mount"
        )
    ]


def test_guard_refuses_a_keyless_pod_that_prefers_a_key(refused):
    pod = make_keyless()
    variables = pod["spec"]["containers"][0]["env"]
    variables.append({"name": "MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH", "value": ""})
    assert refused(pod) == []
    variables[-1]["value"] = "/mnt/certs/otter-ingress"
    assert refused(pod) == [
        (
            "the pod ingress-operator is keyless, but names a key in MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH "
            "or ARO_HCP_CLIENT_CREDENTIALS_PATH, which its program prefers to the assertion: set it to the "
            "empty text"
        )
    ]


def test_guard_refuses_a_keyless_pod_without_client_id(refused):
    pod = make_keyless()
    [container] = pod["spec"]["containers"]
    container["env"] = [each for each in container["env"] if each["name"] != "AZURE_CLIENT_ID"]
    assert refused(pod, UNNAMED) == [
        lacks("ingress-operator", "the variable AZURE_CLIENT_ID in the container ingress-operator"),
        (
            "the HostedControlPlane otter does not name the client id that the keyless pod ingress-operator "
            "needs: set "
            "spec.platform.azure.azureAuthenticationConfig.managedIdentities.controlPlane.ingress.clientID"
        ),
    ]
    assert refused(make_keyless(), UNNAMED) == []  # somebody told `inject` the id


@pytest.mark.parametrize(
    ("credential", "name", "expected"),
    [
        (None, "MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH", "/mnt/certs/otter-ingress"),
        ("keyless", "AZURE_CLIENT_ID", "cccccccc-0000-4000-8000-000000000004"),
        ("keyless", "AZURE_FEDERATED_TOKEN_FILE", "/var/run/hcpcreds/otter-ingress"),
    ],
)
def test_guard_refuses_a_pod_that_reaches_for_another_credential(refused, credential, name, expected):
    pod = make_keyless() if credential else inject_into(make_pod("ingress-operator"), MANAGED)
    [variable] = [each for each in pod["spec"]["containers"][0]["env"] if each["name"] == name]
    assert variable["value"] == expected
    variable["value"] = "somebody-elses\x1b[31m"
    assert refused(pod) == [
        (
            f"the HostedControlPlane otter names other credentials: correct the variable {name} in the "
            f"container ingress-operator (expected {expected})"
        )
    ]


def test_guard_refuses_a_keyless_pod_with_another_key_of_etcd(refused):
    pod = make_keyless("kube-apiserver")
    for name, expected in (
        ("AZURE_CLIENT_ID", "cccccccc-0000-4000-8000-000000000009"),
        ("AZURE_FEDERATED_TOKEN_FILE", "/var/run/hcpcreds/otter-kms"),
    ):
        [variable] = [each for each in pod["spec"]["containers"][0]["env"] if each["name"] == name]
        assert variable["value"] == expected
        variable["value"] = "another"
        assert f"{name} in the container azure-kms-provider-active (expected {expected})" in refused(pod)[0]
        variable["value"] = expected


def test_guard_lets_large_pods_pass(refused):
    pod = make_pod("ingress-operator")
    mounts = [{"name": f"v{each}", "mountPath": f"/v{each}"} for each in range(100)]
    env = [{"name": f"E{each}", "value": "1"} for each in range(100)]
    pod["spec"]["volumes"] = [{"name": mount["name"], "emptyDir": {}} for mount in mounts]
    pod["spec"]["containers"] += [
        {"name": f"c{each}", "image": "example", "volumeMounts": mounts, "env": env} for each in range(30)
    ]
    assert refused(inject_into(pod, MANAGED)) == []
    pod["metadata"]["labels"]["hcpcreds.io/credential"] = "keyless"
    assert refused(inject_into(pod, MANAGED, keyless=True)) == []


def test_guard_refuses_a_token_where_identities_are_managed(refused):
    pod = inject_into(make_pod("ingress-operator"), make_control_plane(SELF_MANAGED))
    assert refused(pod, make_control_plane(SELF_MANAGED)) == []
    [message] = refused(pod)
    assert message.startswith(
        "the HostedControlPlane otter has managed identities, and the pod lacks: the volume ingress-cert"
    )


def test_guard_refuses_pods_beside_two_control_planes(refused):
    pod = inject_into(make_pod("azure-disk-csi-driver-controller"), MANAGED)
    assert refused(pod, MANAGED, OTHER) == [
        (
            "the HostedControlPlane badger does not belong into the namespace clusters-otter, by its name "
            "and its HostedCluster: nobody can tell whose credentials the pod gets; delete the one that is "
            "not the namespace's own"
        )
    ]
    del pod["metadata"]["labels"]
    assert refused(pod, MANAGED, OTHER) == []


@pytest.mark.parametrize(
    ("name", "cluster", "namespace", "belongs"),
    [
        ("otter", None, "clusters-otter", True),
        ("otter", "clusters/otter", "clusters-otter", True),
        ("b.c", "clusters-a/b.c", "clusters-a-b-c", True),
        ("b", "clusters/a-b", "clusters-a-b", False),
        ("a-b", "clusters/a-b", "clusters-a-b", True),
        ("otter", "others/otter", "clusters-otter", False),
        ("badger", None, "clusters-otter", False),
    ],
)
def test_guard_tells_the_control_plane_of_a_namespace_by_its_name(refused, name, cluster, namespace, belongs):
    control_plane = make_control_plane(name=name)
    control_plane["metadata"]["namespace"] = namespace
    if cluster:
        control_plane["metadata"]["annotations"] = {"hypershift.openshift.io/cluster": cluster}
    pod = inject_into(make_pod("ingress-operator"), MANAGED)
    pod["metadata"]["namespace"] = namespace
    assert (refused(pod, control_plane) == []) == belongs


def test_guard_refuses_no_control_plane_because_of_its_own_faults():
    [policy] = [
        item["spec"] for item in build_guard() if item["metadata"]["name"] == "hcpcreds-guard-control-planes"
    ]
    assert policy["failurePolicy"] == "Ignore"


def test_guard_refuses_a_second_control_plane(refused):
    assert refused(OTHER, MANAGED) == [
        (
            "the namespace clusters-otter has the HostedControlPlane otter already: with two, nobody can "
            "tell whose credentials its pods get"
        )
    ]
    assert refused(MANAGED, MANAGED) == []


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        (
            {"keyvaultName": "somebody-elses"},
            "keyvaultName is not the vault of the HostedControlPlane otter; expected otter-vault",
        ),
        (
            {"tenantID": "somebody-elses"},
            (
                "tenantId is not that of the vault of the HostedControlPlane otter; expected "
                "bbbbbbbb-cccc-4ddd-8eee-ffffffffffff"
            ),
        ),
        (
            {"userAssignedIdentityID": "0a1b2c3d-0000-4000-8000-00000000ffff"},
            (
                "userAssignedIdentityID or clientID is not the identity that reads the vault for control "
                "planes; "
                f"expected {KEY_VAULT_USER}"
            ),
        ),
        (
            {"objects": "\narray:\n  - |\n    objectName: badger-ingress\n    objectType: secret\n"},
            (
                "objects names the secret badger-ingress, but the HostedControlPlane otter has for this "
                "class: otter-ingress"
            ),
        ),
        (
            {"objects": "\narray:\n  - |\n    objectName: otter-disk\n    objectType: secret\n"},
            (
                "objects names the secret otter-disk, but the HostedControlPlane otter has for this class: "
                "otter-ingress"
            ),
        ),
    ],
)
def test_guard_refuses_a_class_that_reaches_further(refused, parameters, expected):
    assert refused(make_class(**parameters)) == [expected]
    assert refused(make_class(provider="gcp", **parameters)) == []


@pytest.mark.parametrize(
    "objects",
    [
        'array:\n  - |\n    "objectN\\x61me": badger-ingress\n    objectName: otter-ingress\n',
        'array: ["{objectName: badger-ingress}"]',
        "array:\n  - >\n    objectName: otter-ingress\n",
        "array:\n  - |\n    ? objectName\n    : badger-ingress\n",
        "array:\n  - |\n    objectName: otter-ingress\n    <<: *other\n",
        "array:\n  - |\n    objectName: otter-ingress\narray:\n  - 'objectName: badger-ingress'\n",
        "array:\n  - |\n    objectName: otter-ingress # objectName: badger-ingress\n",
        "",
    ],
)
def test_guard_refuses_a_class_whose_names_it_cannot_read(refused, objects):
    assert refused(make_class(objects=objects))[0] == (
        "objects is not a list in the form that the guard can read: write each secret as objectName, "
        "objectEncoding and objectType: secret, one a line and without quotes, as hcpcreds render does"
    )


def test_guard_lets_a_class_of_any_name_use_the_control_planes_own_secrets(refused):
    both = (
        "array:\n  - |\n    objectName: otter-disk\n  - |\n    objectName: otter-kms\n    objectVersion: \n"
    )
    assert refused(make_class("mine", objects=both, keyvaultName=" Otter-Vault ")) == []
    [message] = refused(make_class("mine", objects=both + "  - |\n    objectName: badger-disk\n"))
    assert message.startswith(
        "objects names the secret badger-disk, but the HostedControlPlane otter has for this"
    )


def test_guard_refuses_the_vaults_reader_to_other_namespaces(refused):
    elsewhere = {"team": "shop"}
    expected = [
        (
            "userAssignedIdentityID or clientID is the identity that reads the credentials of all hosted "
            "control planes; only namespaces of hosted control planes may use it"
        )
    ]
    assert (
        refused(make_class("mine", userAssignedIdentityID=f" {KEY_VAULT_USER.upper()}"), labels=elsewhere)
        == expected
    )
    assert refused(make_class("mine", userAssignedIdentityID="another"), labels=elsewhere) == []
    attributes = {"secretProviderClass": "mine", "clientID": KEY_VAULT_USER}
    volume = {"name": "key", "csi": {"driver": "secrets-store.csi.k8s.io", "volumeAttributes": attributes}}
    pod = make_pod("shop", labels={}, volumes=[volume])
    assert refused(pod, labels=elsewhere) == expected
    attributes["clientID"] = "another"
    assert refused(pod, labels=elsewhere) == []
    assert refused(make_pod("ingress-operator"), labels=elsewhere) == []


def test_guard_lets_operators_write_classes(refused):
    reaching = make_class(keyvaultName="somebody-elses")
    for user in ("hypershift:operator", "clusters-otter:control-plane-operator"):
        assert refused(reaching, user=f"system:serviceaccount:{user}") == []
    for user in ("clusters-badger:control-plane-operator", "clusters-otter:default"):
        assert refused(reaching, user=f"system:serviceaccount:{user}") != []


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_guard_lets_every_class_of_render_pass(refused, component):
    cluster = parse_hosted_cluster(MANAGED)
    classes = [
        item
        for item in render(cluster, key_vault_user_client_id=KEY_VAULT_USER)
        if item["metadata"]["name"] == component.secret_provider_class
    ]
    assert [refused(item) for item in classes] == [[]]


@pytest.mark.parametrize(
    ("labels", "does"),
    [
        (HOSTED, "denied"),
        ({"hcpcreds.io/guard": "deny"}, "denied"),
        ({"hcpcreds.io/guard": "warn"}, "warned"),
        ({**HOSTED, "hcpcreds.io/guard": "warn"}, "warned"),
        ({**HOSTED, "hcpcreds.io/guard": "audit"}, "audited"),
        ({**HOSTED, "hcpcreds.io/guard": "off"}, "denied"),
        ({}, None),
    ],
)
def test_guard_does_what_the_namespace_says(server, labels, does):
    answer = server.create(make_pod("ingress-operator"), MANAGED, labels=labels)
    for name in ("denied", "warned", "audited"):
        is_expected = name == does or (does, name) == ("warned", "audited")
        assert (len(getattr(answer, name)) == 1) == is_expected


@pytest.mark.parametrize("action", ["Deny", "Warn", "Audit"])
def test_guard_does_in_other_namespaces_what_it_was_built_for(action):
    built = build_guard(action=action, is_fail_closed=False)
    with start_api_server(built) as server:
        answer = server.create(make_pod("ingress-operator"), MANAGED, labels=HOSTED)
    assert [bool(each) for each in (answer.denied, answer.warned, answer.audited)] == [
        action == "Deny",
        action == "Warn",
        action != "Deny",
    ]
    failures = {item["spec"].get("failurePolicy") for item in built if item["kind"].endswith("Policy")}
    assert failures == {"Ignore"}


def test_guard_watches_hypershifts_own_pods_when_the_namespace_is_opted_in(refused):
    own = {"hypershift.openshift.io/control-plane-component": "ingress-operator"}
    pod = make_pod("ingress-operator", labels=own)
    assert refused(pod) == []
    [message] = refused(pod, labels=OPTED_IN)
    assert message.startswith("the pod is labelled hcpcreds.io/component=ingress-operator, but lacks: ")
    done = inject_into(pod, MANAGED, keyless=True)
    assert refused(done, labels=OPTED_IN) == []
    disk = "azure-disk-csi-driver-controller"
    operand = make_pod(disk, labels={"app": disk, "hypershift.openshift.io/hosted-control-plane": "otter"})
    assert len(refused(operand, labels=OPTED_IN)) == 1
    assert refused(make_pod(disk, labels={"app": disk}), labels=OPTED_IN) == []
    for kept in ("cluster-image-registry-operator", "kube-apiserver", "control-plane-operator"):
        labels = {"hypershift.openshift.io/control-plane-component": kept}
        assert refused(make_pod(kept, labels=labels), labels=OPTED_IN) == []


def test_guard_asks_which_container_of_ones_own_gets_the_credential(refused):
    containers = [{"name": name, "image": "example"} for name in ("one", "two")]
    pod = make_pod("mine", annotations=NOTES, containers=containers)
    [message] = refused(pod)
    assert "in the container that the annotation hcpcreds.io/container has to name" in message
    made = inject(pod, InjectOptions(custom=CUSTOM, container="two"))
    assert refused(made) == []
    made["metadata"]["annotations"]["hcpcreds.io/container"] = "one"
    assert refused(made) != []


@pytest.mark.parametrize("workload", [*WORKLOADS, "etcd", "kube-controller-manager"])
def test_guard_leaves_hypershifts_own_pods_alone(refused, workload):
    labels = {"app": workload, "hypershift.openshift.io/control-plane-component": workload}
    bare = make_pod(workload, labels=labels)
    for control_plane in (MANAGED, make_control_plane(SELF_MANAGED), OTHER):
        assert refused(bare, control_plane) == []
        if workload in WORKLOADS:
            assert refused(inject_into(bare, MANAGED, component=workload), control_plane) == []


def test_guard_lets_a_class_pass_as_hypershift_writes_it(refused):
    # Its own tests have neither an encoding nor the id of the vault's reader.
    objects = "\narray:\n  - |\n    objectName: otter-ingress\n    objectEncoding: \n    objectType: secret\n"
    assert refused(make_class(objects=objects, userAssignedIdentityID="")) == []


@pytest.mark.parametrize("credential", [None, "keyless", "endpoint"])
def test_guard_checks_components_of_ones_own(refused, credential):
    pod = make_pod("mine", credential, annotations=NOTES)
    [message] = refused(pod)
    assert message.startswith(
        lacks("mine", "the volume hcpcreds-credential (of the SecretProviderClass mine)", fix="; the ")
    )
    sidecar = Sidecar(
        image="example",
        client_id="cccccccc-0000-4000-8000-000000000001",
        tenant_id="cccccccc-0000-4000-8000-000000000002",
        endpoint=credential == "endpoint",
    )
    options = InjectOptions(custom=CUSTOM, sidecar=sidecar if credential else None)
    assert refused(inject(pod, options)) == []


@pytest.mark.parametrize(
    "pod", [{"os": {"name": "windows"}}, {"nodeSelector": {"kubernetes.io/os": "windows"}}]
)
def test_guard_leaves_windows_pods_alone(refused, pod):
    assert refused(make_pod("ingress-operator", **pod)) == []


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_guard_lets_every_pod_pass_that_inject_has_made(server, data):
    kind = data.draw(st.sampled_from([{}, SELF_MANAGED, {"spec.secretEncryption": REMOVED}]))
    control_plane = make_control_plane(kind)
    workload = data.draw(st.sampled_from(list(WORKLOADS)))
    is_keyless = kind is not SELF_MANAGED and data.draw(st.booleans())
    names = list(dict.fromkeys(name for _, pod in WORKLOADS[workload] for name in pod.containers))
    if "spec.secretEncryption" in kind and workload == "kube-apiserver":
        names = ["kube-apiserver"]
    others = data.draw(st.lists(st.sampled_from(["proxy", "token-minter"]), unique=True, max_size=2))
    mounts = data.draw(st.sampled_from([[], [{"name": "other", "mountPath": "/other"}]]))
    env = data.draw(st.sampled_from([[], [{"name": "A", "value": "1"}]]))
    pod = make_pod(
        workload,
        "keyless" if is_keyless and data.draw(st.booleans()) else None,
        containers=[
            {"name": name, "image": "example", "volumeMounts": mounts, "env": env} for name in names + others
        ],
        volumes=[{"name": "other", "emptyDir": {}}] if mounts else [],
    )
    made = inject_into(pod, control_plane, keyless=is_keyless)
    answer = server.create(made, control_plane, labels=HOSTED)
    assert answer.errors == answer.denied == ()


@pytest.mark.parametrize(
    "kind", [{}, SELF_MANAGED, {"spec.secretEncryption": REMOVED}], ids=["all", "self-managed", "without KMS"]
)
def test_guard_lets_every_pod_pass_that_the_policies_complete(kind):
    control_plane = make_control_plane(kind)
    with start_api_server(POLICIES) as server:
        for workload in WORKLOADS:
            for credential in (None, "keyless"):
                pod = make_pod(workload, credential)
                if "spec.secretEncryption" in kind and workload == "kube-apiserver":
                    pod["spec"]["containers"] = [{"name": workload, "image": "example"}]
                answer = server.create(pod, control_plane, labels=HOSTED)
                assert answer.errors == answer.denied == (), workload
            own = {"hypershift.openshift.io/control-plane-component": workload}
            bare = make_pod(workload, labels=own)
            if kind is SELF_MANAGED:  # HyperShift writes them with their tokens
                bare = inject_into(bare, control_plane, component=workload)
            answer = server.create(bare, control_plane, labels=OPTED_IN)
            assert answer.errors == answer.denied == (), workload
