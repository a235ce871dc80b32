import json
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.manifests.inject_examples import dump_yaml, get_pod_spec, make_options, make_workload, workloads

from hcpcreds.errors import InputError
from hcpcreds.kubernetes.documents import parse_documents
from hcpcreds.manifests.inject import CustomComponent, InjectOptions, inject
from hcpcreds.manifests.inject.stream import inject_stream

WORKLOADS = Path(__file__).parents[1] / "workloads"
GOLDEN = Path(__file__).parents[1] / "golden"
SWEEP = CustomComponent(
    secret_provider_class="vault-sweep", volume_name="sweep-cert", credentials_secret_name="sweep"
)
OPTIONS = {
    "four-spaces.yaml": InjectOptions(),
    "kustomize-rendered.yaml": make_options(init_containers=True),
    "tabs.json": make_options(custom=SWEEP),
}


def run(source, options=None):
    if isinstance(source, str):
        source = source.encode()
    return inject_stream(source, options or make_options(), where="x.yaml").after


def run_bytes(source, options=None):
    stream = inject_stream(source, options or make_options(), where="x.yaml")
    return stream.encode(stream.after)


def refuse(source, options=None):
    with pytest.raises(InputError) as caught:
        run(source, options)
    return str(caught.value)


def is_within(lines, others):
    """Whether all lines stand among the others, in the same order."""
    rest = iter(others)
    return all(line in rest for line in lines)


@pytest.mark.parametrize("path", sorted(WORKLOADS.glob("*.*[ln]")), ids=lambda path: path.name)
def test_realistic_workload_gets_what_it_lacks_and_keeps_every_other_byte(path):
    options = OPTIONS.get(path.name, make_options())
    injected = run(path.read_bytes(), options)
    assert injected.encode() == (GOLDEN / path.name).read_bytes()
    assert run(injected, options) == injected


def test_there_is_a_golden_file_for_each_workload_and_no_other():
    assert {path.name for path in GOLDEN.iterdir()} == {path.name for path in WORKLOADS.iterdir()}
    assert len(list(WORKLOADS.glob("*.*[ln]"))) >= 10


@given(st.data())
def test_injecting_twice_is_injecting_once_to_the_byte_in_any_style(data):
    documents = data.draw(st.lists(workloads(), min_size=1, max_size=2))
    source = dump_yaml(data.draw, documents)
    options = make_options(init_containers=data.draw(st.booleans()))
    once = run(source, options)
    assert run(once, options) == once
    # What is added is in the end what `inject` adds to the plain data.
    for read, document in zip(parse_documents(once, where=""), documents, strict=True):
        assert to_plain(read) == to_plain(parse_documents(json.dumps(inject(document, options)), where="")[0])


def to_plain(value):
    """YAML's scalars as JSON's."""
    if isinstance(value, dict):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [to_plain(item) for item in value]
    if hasattr(value, "kind"):
        return json.loads(value.text)
    return value


@given(st.data())
def test_every_line_stays_where_lists_are_there_already(data):
    full = {"env": [{"name": "A"}], "volumeMounts": [{"mountPath": "/a", "name": "a"}]}
    document = data.draw(workloads())
    spec = document["spec"]
    while "containers" not in spec:
        spec = spec.get("template", spec.get("jobTemplate", {}))["spec"]
    spec["volumes"] = spec.get("volumes") or [{"name": "a"}]
    for container in spec["containers"]:
        container.update({key: container.get(key) or value for key, value in full.items()})
    source = dump_yaml(data.draw, [document]).decode()
    assert is_within(source, run(source))
    if "{" not in source:
        assert is_within(source.splitlines(), run(source).splitlines())


@given(workloads(), st.sampled_from([None, 0, 1, 2, 4, "\t"]), st.booleans(), st.booleans())
def test_json_stays_json_in_its_own_layout(document, indent, is_ascii, is_tight):
    separators = (",", ":") if is_tight else None
    source = json.dumps(document, indent=indent, ensure_ascii=is_ascii, separators=separators)
    injected = run(source)
    assert json.loads(injected) == inject(document, make_options())
    assert run(injected) == injected
    if not is_tight or indent is None:
        assert injected == json.dumps(
            json.loads(injected), indent=indent, ensure_ascii=is_ascii, separators=separators
        )


@pytest.mark.parametrize("indent", [1, 2, 4, "\t"])
@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_replaced_entry_in_json_keeps_the_layout_of_its_lines(indent, line_break):
    container = {
        "name": "ingress-operator",
        "env": [
            {"name": "A", "value": "a"},
            {
                "name": "MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH",
                "valueFrom": {"configMapKeyRef": {"name": "x", "key": "y"}},
            },
        ],
        "volumeMounts": [{"name": "other", "mountPath": "/mnt/certs/"}, {"name": "b", "mountPath": "/b"}],
    }
    volumes = [{"name": "b"}, {"name": "ingress-cert", "projected": {"sources": [{"secret": {"name": "x"}}]}}]
    document = make_workload(containers=[container], volumes=volumes)
    options = make_options(replace=True)
    source = json.dumps(document, indent=indent).replace("\n", line_break)
    expected = json.dumps(inject(document, options), indent=indent).replace("\n", line_break)
    assert run(source, options) == expected


def test_what_is_there_in_another_spelling_is_left():
    source = (WORKLOADS / "already-there.yaml").read_text()
    assert run(source) == source


def test_byte_order_mark_stays():
    source = "\ufeff" + (WORKLOADS / "comments.yaml").read_text()
    assert run(source) == "\ufeff" + (GOLDEN / "comments.yaml").read_text()


def test_replaced_entry_stands_in_its_place():
    source = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: ingress-operator}
spec:
  template:
    spec:
      containers:
      - name: ingress-operator
        env:
        - name: MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH # where
          valueFrom:
            configMapKeyRef: {name: x, key: |
              y
            }
        - name: B
        volumeMounts: [{name: a, mountPath: /a}, {name: ingress-cert, mountPath: /mnt/certs/}]
      volumes:
      # ours
      -   name: ingress-cert
          secret:
              secretName: "x" # old
      # next
      -   emptyDir: {}
          name: b
"""
    source = source.replace("{name: x, key: |\n              y\n            }", "{name: x, key: y}")
    assert (
        run(source, make_options(replace=True))
        == """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: ingress-operator}
spec:
  template:
    spec:
      containers:
      - name: ingress-operator
        env:
        - name: MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH
          value: /mnt/certs/otter-ingress
        - name: B
        volumeMounts: [{name: a, mountPath: /a}, {name: ingress-cert, mountPath: /mnt/certs/, readOnly: true}]
      volumes:
      # ours
      -   name: ingress-cert
          csi:
            driver: secrets-store.csi.k8s.io
            readOnly: true
            volumeAttributes:
              secretProviderClass: managed-azure-ingress # old
      # next
      -   emptyDir: {}
          name: b
"""
    )


SHARED = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: ingress-operator}
spec:
  template:
    spec:
      containers:
      - name: ingress-operator
        env: &env
        - {name: A, value: b}
      - name: other
        env: *env
"""


@pytest.mark.parametrize(
    "source",
    [
        SHARED,
        SHARED.replace("- name: ingress-operator", "- &c\n        name: ingress-operator").replace(
            "env: *env", "<<: *c"
        ),
        SHARED.replace("      containers:", "      x: &c").replace(
            "      - name: other\n        env: *env", "      containers: *c"
        ),
    ],
)
def test_what_is_shared_with_something_else_is_refused(source):
    message = refuse(source)
    assert "x.yaml: not changed: the list is shared with something else" in message
    assert "Write out the lists that are shared by anchors" in message


def test_alias_of_anothers_list_is_written_out_and_the_other_stays():
    source = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: ingress-operator}
spec:
  template:
    spec:
      containers:
      - name: first
        env: &env
        - {name: A, value: "1"}
        - name: B
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
      - name: ingress-operator
        env: *env # as the first
        volumeMounts: [{name: x, mountPath: /x}]
      volumes: [{name: x}]
"""
    written = """env: # as the first
        - name: A
          value: "1"
        - name: B
          valueFrom:
            fieldRef:
              fieldPath: metadata.name
        - name: MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH
          value: /mnt/certs/otter-ingress
"""
    assert written in run(source)
    assert 'env: &env\n        - {name: A, value: "1"}\n        - name: B\n          valueFrom: {f' in run(
        source
    )


def test_list_from_a_merge_key_is_written_out_and_not_shadowed():
    source = """\
x: &x
  env: [{name: A, value: b}]
apiVersion: v1
kind: Pod
metadata: {name: ingress-operator}
spec:
  containers:
  - <<: *x
    name: ingress-operator
    volumeMounts: []
"""
    expected = """
    env:
    - name: A
      value: b
    - name: MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH
      value: /mnt/certs/otter-ingress
"""
    assert expected in run(source)


@given(st.data())
def test_any_shared_list_is_written_out_as_it_was(data):
    # PyYAML dumps what is the same object as an anchor and its aliases.
    document = data.draw(workloads())
    containers = get_pod_spec(document)["containers"]
    shared = {key: containers[0].get(key) or [] for key in ("env", "volumeMounts")}
    for container in containers:
        container.update(shared)
    style = data.draw(st.sampled_from([True, False, None]))
    source = yaml.safe_dump({"x": shared, **document}, default_flow_style=style, sort_keys=False)
    once = run(source)
    assert run(once) == once
    [read] = parse_documents(once, where="")
    [expected] = parse_documents(json.dumps(inject({"x": shared, **document}, make_options())), where="")
    assert to_plain(read) == to_plain(expected)


def test_conflicts_of_all_documents_are_told_at_once():
    document = make_workload(volumes=[{"name": "ingress-cert"}])
    source = "\n---\n".join(json.dumps({**document, "kind": kind}) for kind in ("Deployment", "DaemonSet"))
    message = refuse(source)
    assert "x.yaml: 2 problems" in message
    assert "Deployment ingress-operator: spec" in message
    assert "DaemonSet ingress-operator: spec" in message


def test_aliases_that_make_a_small_text_large_are_compared_at_once():
    levels = "\n".join(f"  l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 60))
    source = f"""\
x-bomb:
  l0: &l0 [x]
{levels}
apiVersion: v1
kind: Pod
metadata: {{name: ingress-operator}}
spec:
  containers:
  - name: ingress-operator
"""
    assert run(source).startswith(source)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("kind: ConfigMap\n---\n\ufeff", ""),
        ("\ufeff", "---\n\ufeffkind: ConfigMap\n"),
        ("a: [\n---\n", "---\n{{ .Values.x }}\n"),
        ("a: 1\na: 2\n---\n", "---\n*x\n"),
        ("%YAML 1.1\n---\n", "...\n"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le"])
def test_everything_around_a_workload_stays_to_the_byte(before, after, encoding):
    workload = yaml.safe_dump(make_workload(), sort_keys=False)
    injected = run(workload)
    mark = "" if encoding == "utf-8" or before.startswith("\ufeff") else "\ufeff"
    result = run_bytes(f"{mark}{before}{workload}{after}".encode(encoding)).decode(encoding)
    assert result == f"{mark}{before}{injected}{after}"


def test_objects_that_follow_each_other_in_json_are_edited_alone():
    objects = [{"kind": "ConfigMap"}, make_workload(), {"kind": "Secret"}]
    source = "\n".join(json.dumps(each) for each in objects)
    expected = [objects[0], inject(objects[1], make_options()), objects[2]]
    assert [json.loads(line) for line in run(source).splitlines()] == expected


def test_large_list_passes_through_unless_something_in_it_changes():
    items = [{"kind": "ConfigMap", "data": {"a": "x" * 2_000_000}}] * 2
    text = json.dumps({"kind": "List", "items": items})
    assert run(text) == text
    text = json.dumps({"kind": "List", "items": [*items, make_workload()]})
    assert "it would be larger than 3 MiB. Split its List" in refuse(text)


LEVELS = "\n".join(f"  l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 30))
BOMB = f"""\
x:
  l0: &l0 LEAF
{LEVELS}
  e: &e {{env: [{{name: a, value: *l29}}]}}
apiVersion: v1
kind: Pod
metadata: {{name: ingress-operator}}
spec:
  containers:
"""


@pytest.mark.parametrize("leaf", ["[]", "[a]", "{a: b}", "1"])
@pytest.mark.parametrize(
    "container", ["  - <<: *e\n    name: ingress-operator\n", "  - {name: ingress-operator, <<: *e}\n"]
)
def test_list_that_aliases_make_large_is_refused_when_it_would_be_written_out(leaf, container):
    message = refuse(BOMB.replace("LEAF", leaf) + container)
    assert "written out, it would be larger than 3 MiB" in message


@pytest.mark.unmeasured
@pytest.mark.parametrize("levels", [4, 5, 20])
def test_lists_in_lists_are_refused_in_short_when_aliases_make_them_many(levels):
    pod = json.dumps(make_workload("Pod"))
    lines = [f"l0: &l0 {pod}"]
    lines += [
        f"l{n}: &l{n} {{kind: List, items: [{', '.join([f'*l{n - 1}'] * 9)}]}}" for n in range(1, levels)
    ]
    source = "\n".join([*lines, "kind: List", f"items: [*l{levels - 1}]"])
    assert len(refuse(source)) < 1000
    options = make_options(component="ingress-operator", cluster=None, credentials_secret_name="mine")
    assert len(refuse(source, options)) < 1000


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_other_input_passes_through_or_is_refused(source):
    try:
        injected = run_bytes(source)
    except InputError:
        return
    assert injected == source


@given(st.data())
def test_damaged_text_is_refused_or_changed_rightly(data):
    source = data.draw(st.sampled_from(sorted(WORKLOADS.glob("*.yaml")))).read_bytes()
    start = data.draw(st.integers(0, len(source)))
    end = data.draw(st.integers(start, min(start + 20, len(source))))
    damage = data.draw(
        st.sampled_from([b"", b"[", b"}", b"*x", b"&x ", b"- ", b": ", b"\n", b"|\n", b"<<: ", b"'"])
    )
    try:
        once = run_bytes(source[:start] + damage + source[end:])
    except InputError:
        return
    assert run_bytes(once) == once


def test_json_with_surrogate_pairs_and_escapes_is_edited():
    document = make_workload(note='\U0001f9a6 \u2028 \\u1234 " \\')
    injected = run(json.dumps(document))
    assert msgspec.json.decode(injected) == inject(document, make_options())
