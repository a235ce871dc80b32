import copy
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.manifests.check_examples import codes
from tests.manifests.inject.test_patches import apply_json_patch, apply_strategic_merge_patch
from tests.manifests.inject.test_stream import to_plain
from tests.manifests.inject_examples import dump_yaml, get_pod_spec, make_workload, workloads
from tests.support import commands

from hcpcreds.cli.credential_option import parse_credential
from hcpcreds.errors import InputError
from hcpcreds.kubernetes.documents import parse_documents
from hcpcreds.manifests.inject import CustomComponent, InjectOptions, Sidecar, inject
from hcpcreds.manifests.inject.patches import build_json_patch, build_strategic_merge_patch
from hcpcreds.manifests.inject.plan import make_plans
from hcpcreds.manifests.inject.stream import inject_stream

CUSTOM = CustomComponent(
    secret_provider_class="my-class", volume_name="my-cert", credentials_secret_name="my-secret"
)
CLIENT_ID, TENANT_ID = "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"
SIDECAR = Sidecar(image="registry.example/hcpcreds:1", client_id=CLIENT_ID, tenant_id=TENANT_ID)
PLAIN = InjectOptions(custom=CUSTOM, container="app")
OPTIONS = InjectOptions(custom=CUSTOM, container="app", sidecar=SIDECAR)
ENDPOINT = InjectOptions(custom=CUSTOM, container="app", sidecar=Sidecar(image="x", endpoint=True))
KEY = {"name": "my-cert", "mountPath": "/mnt/certs", "readOnly": True}
ASSERTION = {"name": "hcpcreds-assertion", "mountPath": "/var/run/hcpcreds", "readOnly": True}
ENV = [
    {"name": "AZURE_CLIENT_ID", "value": CLIENT_ID},
    {"name": "AZURE_TENANT_ID", "value": TENANT_ID},
    {"name": "AZURE_FEDERATED_TOKEN_FILE", "value": "/var/run/hcpcreds/my-secret"},
    {"name": "AZURE_AUTHORITY_HOST", "value": "https://login.microsoftonline.com/"},
]
PATH = {"name": "MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH", "value": "/mnt/certs/my-secret"}


def make(**pod_spec):
    pod_spec.setdefault("containers", [{"name": "app"}])
    return make_workload(name="app", **pod_spec)


def inject_spec(workload, options=OPTIONS):
    return get_pod_spec(inject(workload, options))


def refuse(workload, options=OPTIONS):
    with pytest.raises(InputError) as caught:
        inject(workload, options)
    return str(caught.value)


def test_sidecar_alone_mounts_the_key_and_the_program_is_given_the_assertion():
    spec = inject_spec(make())
    assert spec["containers"] == [{"name": "app", "volumeMounts": [ASSERTION], "env": ENV}]
    [sidecar] = spec["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["volumeMounts"] == [KEY, {"name": "hcpcreds-assertion", "mountPath": "/var/run/hcpcreds"}]
    assert [volume["name"] for volume in spec["volumes"]] == ["my-cert", "hcpcreds-assertion"]
    assert spec["volumes"][1]["emptyDir"]["medium"] == "Memory"


def test_sidecar_has_probes_resources_and_what_the_restricted_standard_wants():
    [sidecar] = inject_spec(make())["initContainers"]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} < sidecar.keys()
    assert set(sidecar["resources"]) == {"requests", "limits"}
    assert sidecar["securityContext"] == {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }


@pytest.mark.parametrize("options", [OPTIONS, ENDPOINT])
def test_sidecar_is_configured_by_variables_that_serve_knows(options):
    [sidecar] = inject_spec(make(), options)["initContainers"]
    assert sidecar["command"] == ["hcpcreds", "serve"]
    assert "args" not in sidecar
    known = commands.run("serve", "--help", environment={"COLUMNS": "200"}).stdout
    for variable in sidecar["env"]:
        assert variable["name"] in known


def test_sidecar_is_the_first_of_the_init_containers():
    spec = inject_spec(make(initContainers=[{"name": "migrate"}, {"name": "wait"}]))
    assert [each["name"] for each in spec["initContainers"]] == ["hcpcreds", "migrate", "wait"]
    assert spec["initContainers"][1] == {"name": "migrate"}


def test_every_container_that_mounts_the_key_moves_over():
    init = {"name": "migrate", "volumeMounts": [KEY], "env": [{"name": "A", "value": "b"}]}
    other = {"name": "agent", "volumeMounts": [{"name": "x", "mountPath": "/x"}, KEY]}
    spec = inject_spec(make(containers=[{"name": "app"}, other], initContainers=[init]))
    assert spec["initContainers"][1]["volumeMounts"] == [ASSERTION]
    assert spec["initContainers"][1]["env"] == [{"name": "A", "value": "b"}, *ENV]
    assert spec["containers"][1]["volumeMounts"] == [{"name": "x", "mountPath": "/x"}, ASSERTION]
    assert spec["containers"][1]["env"] == ENV


def test_plainly_injected_workload_moves_over():
    spec = inject_spec(inject(make(), PLAIN))
    assert spec["containers"] == [{"name": "app", "volumeMounts": [ASSERTION], "env": ENV}]


def test_keyless_workload_does_not_get_its_key_back_when_it_is_injected_plainly():
    keyless = inject(make(), OPTIONS)
    assert "its sidecar hcpcreds holds the key" in refuse(keyless, PLAIN)
    other = CustomComponent(
        secret_provider_class="other", volume_name="other-cert", credentials_secret_name="other"
    )
    spec = inject_spec(keyless, InjectOptions(custom=other, container="app"))
    assert "other-cert" in [volume["name"] for volume in spec["volumes"]]


def test_mount_stays_beside_the_sidecar_when_it_is_to_be_kept():
    sidecar = Sidecar(image="x", client_id=CLIENT_ID, tenant_id=TENANT_ID, keep_mount=True)
    options = InjectOptions(custom=CUSTOM, sidecar=sidecar)
    [container] = inject_spec(inject(make(), PLAIN), options)["containers"]
    assert container["volumeMounts"] == [KEY, ASSERTION]
    assert PATH not in container["env"]


@pytest.mark.parametrize("endpoint", [False, True])
def test_check_finds_nothing_when_the_mount_is_kept_on_purpose(endpoint):
    settings = {"client_id": CLIENT_ID, "tenant_id": TENANT_ID, "endpoint": endpoint}
    kept = InjectOptions(custom=CUSTOM, sidecar=Sidecar(image="x", keep_mount=True, **settings))
    assert codes(inject(inject(make(), PLAIN), kept)) == []


def test_authority_is_that_of_the_cloud():
    sidecar = Sidecar(image="x", client_id=CLIENT_ID, tenant_id=TENANT_ID, cloud="AzureChinaCloud")
    spec = inject_spec(make(), InjectOptions(custom=CUSTOM, sidecar=sidecar))
    assert {"name": "AZURE_AUTHORITY_HOST", "value": "https://login.chinacloudapi.cn/"} in spec["containers"][
        0
    ]["env"]
    assert {"name": "HCPCREDS_CLOUD", "value": "AzureChinaCloud"} in spec["initContainers"][0]["env"]


def test_sidecar_reads_the_file_as_serve_does_when_it_is_a_service_principals():
    sidecar = Sidecar(image="x", client_id=CLIENT_ID, tenant_id=TENANT_ID, service_principal=True)
    spec = inject_spec(make(), InjectOptions(custom=CUSTOM, sidecar=sidecar))
    given = parse_credential(spec["initContainers"][0]["env"][0]["value"])
    assert given == (None, "/mnt/certs/my-secret", {"tenant_id": TENANT_ID, "client_id": CLIENT_ID})


def test_sidecar_takes_the_programs_proxy():
    proxy = [
        {"name": "HTTPS_PROXY", "value": "http://proxy.example:3128"},
        {"name": "NO_PROXY", "value": "x"},
    ]
    spec = inject_spec(make(containers=[{"name": "app", "env": proxy}]))
    assert spec["initContainers"][0]["env"][-2:] == proxy


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_sidecar_does_not_take_a_proxy_of_the_pod_itself_which_starts_later(host):
    proxy = [{"name": "HTTPS_PROXY", "value": f"socks5://{host}:8090"}]
    spec = inject_spec(make(containers=[{"name": "app", "env": proxy}]))
    assert "HTTPS_PROXY" not in {each["name"] for each in spec["initContainers"][0]["env"]}


def read_yaml(workload):
    [document] = parse_documents(yaml.safe_dump(workload), where="")
    return document


def test_endpoint_is_refused_when_every_process_of_the_node_could_ask_it():
    workload = make(hostNetwork=True)
    for each in (workload, read_yaml(workload)):
        assert "spec.template.spec.hostNetwork: every process on the node" in refuse(each, ENDPOINT)
        assert inject_spec(each)["initContainers"]


def test_plan_says_that_the_key_can_be_read_when_the_pod_shares_its_processes():
    for name in ("shareProcessNamespace", "hostPID"):
        [[plan]] = make_plans([make(**{name: True})], OPTIONS, where="")
        assert plan.remark == f"its programs may read the key through /proc: remove {name}"
    [[plan]] = make_plans([make(shareProcessNamespace=False)], OPTIONS, where="")
    assert plan.remark is None


@pytest.mark.parametrize("options", [OPTIONS, ENDPOINT])
def test_sidecar_is_refused_when_the_pod_runs_as_root(options):
    workload = make(securityContext={"runAsUser": 0})
    for each in (workload, read_yaml(workload)):
        text = refuse(each, options)
        assert "spec.template.spec.securityContext.runAsUser: the sidecar does not run as root" in text
    assert inject_spec(make(securityContext={"runAsUser": 1000}), options)["initContainers"]


@given(workloads(), st.booleans(), st.sampled_from([SIDECAR, ENDPOINT.sidecar]))
def test_injecting_twice_is_injecting_once(workload, is_plain_first, sidecar):
    [*_, container] = [each["name"] for each in get_pod_spec(workload)["containers"]]
    options = InjectOptions(custom=CUSTOM, container=container, sidecar=sidecar, init_containers=True)
    before = copy.deepcopy(workload)
    once = inject(
        inject(workload, InjectOptions(custom=CUSTOM, container=container)) if is_plain_first else workload,
        options,
    )
    assert workload == before
    assert inject(once, options) == once
    mounting = [
        each["name"]
        for kind in ("initContainers", "containers")
        for each in get_pod_spec(once)[kind]
        if any(mount["name"] == "my-cert" for mount in each.get("volumeMounts") or ())
    ]
    assert mounting == ["hcpcreds"]


@given(st.data())
def test_text_of_any_style_becomes_what_inject_makes_of_the_data(data):
    documents = data.draw(st.lists(workloads(), min_size=1, max_size=1))
    [*_, container] = [each["name"] for each in get_pod_spec(documents[0])["containers"]]
    options = InjectOptions(custom=CUSTOM, container=container, sidecar=SIDECAR, init_containers=True)
    documents = [
        inject(documents[0], InjectOptions(custom=CUSTOM, container=container, init_containers=True))
    ]
    if data.draw(st.booleans()):  # then there are more entries to remove than to add
        documents = [inject(documents[0], options)]
        for each in get_pod_spec(documents[0])["containers"]:
            each["volumeMounts"] = [KEY, *(each.get("volumeMounts") or ()), KEY]
            each["env"] = [PATH, *(each.get("env") or ()), PATH]
    source = dump_yaml(data.draw, documents)
    once = inject_stream(source, options, where="x").after
    assert inject_stream(once.encode(), options, where="x").after == once
    [read] = parse_documents(once, where="")
    [expected] = parse_documents(json.dumps(inject(documents[0], options)), where="")
    assert to_plain(read) == to_plain(expected)


@pytest.mark.parametrize("build", ["json", "merge"])
@given(workload=workloads())
def test_patches_make_what_inject_makes(build, workload):
    [*_, container] = [each["name"] for each in get_pod_spec(workload)["containers"]]
    for each in get_pod_spec(workload)["containers"]:  # the API takes no two of one name
        each.pop("env", None)
    plain = inject(workload, InjectOptions(custom=CUSTOM, container=container))
    options = InjectOptions(custom=CUSTOM, container=container, sidecar=SIDECAR)
    [[plan]] = make_plans([plain], options, where="x")
    if build == "json":
        assert apply_json_patch(plain, build_json_patch(plan)) == inject(plain, options)
    else:
        merged = apply_strategic_merge_patch(plain, build_strategic_merge_patch(plan))
        expected = inject(plain, options)
        for each in (merged, expected):  # the places of mounts and variables do not matter
            for kind in ("containers", "initContainers"):
                for item in get_pod_spec(each)[kind]:
                    item["env"] = sorted(item.get("env") or [], key=json.dumps)
                    item["volumeMounts"] = sorted(item.get("volumeMounts") or [], key=json.dumps)
        assert merged == expected


@given(workloads(), st.sampled_from([SIDECAR, ENDPOINT.sidecar]))
def test_check_finds_nothing_new_in_what_inject_makes(workload, sidecar):
    [*_, container] = [each["name"] for each in get_pod_spec(workload)["containers"]]
    workload["metadata"]["name"] = "app"
    options = InjectOptions(custom=CUSTOM, container=container, sidecar=sidecar)
    assert set(codes(inject(workload, options))) <= set(codes(workload))


def test_emptied_list_stays_a_list():
    source = """\
apiVersion: v1
kind: Pod
metadata: {name: app}
spec:
  containers:
  - name: app
    env: # ours
    - name: MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH
      value: /mnt/certs/my-secret # the key
    # after it
"""
    options = InjectOptions(custom=CUSTOM, sidecar=SIDECAR)
    after = inject_stream(source.encode(), options, where="x").after
    assert "# ours" in after
    assert "# after it" in after
    assert "MANAGED_AZURE" not in after


def test_missing_facts_are_named():
    options = InjectOptions(custom=CUSTOM, sidecar=Sidecar(image="x"))
    assert "its programs need: client id, tenant id" in refuse(make(), options)


@pytest.mark.parametrize(
    ("pod_spec", "expected"),
    [
        ({"containers": [{"name": "app"}, {"name": "hcpcreds"}]}, "has the name of the sidecar; rename it"),
        (
            {"initContainers": [{"name": "hcpcreds", "image": "mine"}]},
            "'hcpcreds' is another (image is 'mine')",
        ),
        ({"initContainers": [{"name": "hcpcreds", "image": SIDECAR.image}]}, "command is missing"),
        (
            {"volumes": [{"name": "hcpcreds-assertion", "secret": {"secretName": "x"}}]},
            "'hcpcreds-assertion' is another (emptyDir is missing)",
        ),
        (
            {"volumes": [{"name": "hcpcreds-assertion", "emptyDir": {}}]},
            "'hcpcreds-assertion' is another (emptyDir.medium is missing)",
        ),
        (
            {
                "containers": [
                    {"name": "app", "volumeMounts": [{"name": "x", "mountPath": "/var/run/hcpcreds/"}]}
                ]
            },
            "/var/run/hcpcreds/ mounts the volume 'x', expected 'hcpcreds-assertion'",
        ),
        (
            {"containers": [{"name": "app", "volumeMounts": [{**ASSERTION, "subPath": "my-secret"}]}]},
            "which never rotates",
        ),
        (
            {"containers": [{"name": "app", "env": [{"name": "AZURE_CLIENT_ID", "value": "other"}]}]},
            "the variable AZURE_CLIENT_ID is 'other'",
        ),
    ],
)
def test_conflict_is_refused_and_names_what_is_there(pod_spec, expected):
    assert expected in refuse(make(**pod_spec))


def test_conflicts_are_replaced_when_that_is_asked_for():
    options = InjectOptions(custom=CUSTOM, sidecar=SIDECAR, replace=True)
    taken = make(initContainers=[{"name": "hcpcreds", "image": "mine", "args": ["x"]}])
    assert inject(taken, options) == inject(make(), options)


def test_sidecar_behind_an_init_container_that_needs_it_is_refused():
    injected = inject(make(), OPTIONS)
    get_pod_spec(injected)["initContainers"].insert(0, {"name": "migrate", "volumeMounts": [KEY]})
    assert "stands behind an init container that needs its assertion; put it first" in refuse(injected)


def test_sidecar_to_which_the_user_adds_is_the_sidecar():
    injected = inject(make(), OPTIONS)
    [sidecar] = get_pod_spec(injected)["initContainers"]
    sidecar["env"].append({"name": "HCPCREDS_CA_FILE", "value": "/ca.pem"})
    sidecar["resources"]["limits"]["cpu"] = "1"
    assert inject(injected, OPTIONS) == injected


def test_endpoint_is_told_to_the_program_with_the_pods_own_secret():
    spec = inject_spec(inject(make(), PLAIN), ENDPOINT)
    secret = {"fieldRef": {"fieldPath": "metadata.uid"}}
    assert spec["containers"] == [
        {
            "name": "app",
            "volumeMounts": [],
            "env": [
                {"name": "IDENTITY_ENDPOINT", "value": "http://127.0.0.1:9470/msi/token"},
                {"name": "IDENTITY_HEADER", "valueFrom": secret},
            ],
        }
    ]
    [sidecar] = spec["initContainers"]
    assert sidecar["volumeMounts"] == [KEY]
    assert {"name": "HCPCREDS_APP_SERVICE_ADDRESS", "value": "127.0.0.1:9470"} in sidecar["env"]
    assert {"name": "HCPCREDS_SECRET", "valueFrom": secret} in sidecar["env"]
    assert [volume["name"] for volume in spec["volumes"]] == ["my-cert"]


def test_keyless_workload_moves_over_to_the_endpoint_when_that_may_replace():
    options = InjectOptions(custom=CUSTOM, container="app", sidecar=ENDPOINT.sidecar, replace=True)
    spec = inject_spec(inject(make(), OPTIONS), options)
    names = {each["name"] for each in spec["containers"][0]["env"]}
    assert "AZURE_FEDERATED_TOKEN_FILE" not in names
    assert spec["containers"][0]["volumeMounts"] == []
    assert spec["initContainers"] == inject_spec(make(), ENDPOINT)["initContainers"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([], ["127.0.0.1,localhost"]),
        ([""], ["127.0.0.1,localhost"]),
        (["a.example, localhost"], ["a.example,localhost,127.0.0.1"]),
        (["localhost,127.0.0.1"], ["localhost,127.0.0.1"]),
        (["*"], ["*"]),
    ],
)
def test_proxy_is_not_asked_for_the_endpoint(before, after):
    proxy = [{"name": "HTTP_PROXY", "value": "http://proxy.example:3128"}]
    env = [*proxy, *({"name": "NO_PROXY", "value": value} for value in before)]
    injected = inject(make(containers=[{"name": "app", "env": env}]), ENDPOINT)
    [container] = get_pod_spec(injected)["containers"]
    assert [each["value"] for each in container["env"] if each["name"] == "NO_PROXY"] == after
    assert inject(injected, ENDPOINT) == injected


def test_no_proxy_from_elsewhere_is_refused():
    elsewhere = {"configMapKeyRef": {"name": "proxy", "key": "no"}}
    env = [{"name": "HTTP_PROXY", "value": "http://x"}, {"name": "no_proxy", "valueFrom": elsewhere}]
    workload = make(containers=[{"name": "app", "env": env}])
    assert "no_proxy has to name 127.0.0.1 and localhost; write it out" in refuse(workload, ENDPOINT)


def test_component_of_hypershift_asks_no_endpoint():
    options = InjectOptions(credentials_secret_name="x", sidecar=ENDPOINT.sidecar)
    assert "asks no token endpoint" in refuse(make_workload(name="ingress-operator"), options)
