import copy

import pytest
from hypothesis import given
from tests.manifests.inject_examples import get_pod_spec, make_options, make_workload, workloads

from hcpcreds.manifests.inject import inject
from hcpcreds.manifests.inject.patches import build_json_patch, build_strategic_merge_patch
from hcpcreds.manifests.inject.plan import make_plans

MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "volumes": "name",
    "env": "name",
    "volumeMounts": "mountPath",
}
CONFLICTING = make_workload(
    volumes=[{"name": "b", "emptyDir": {}}, {"name": "ingress-cert", "secret": {"secretName": "x"}}],
    containers=[
        {
            "name": "ingress-operator",
            "volumeMounts": [{"name": "old", "mountPath": "/mnt/certs/", "subPath": "x"}],
            "env": [
                {
                    "name": "MANAGED_AZURE_HCP_CREDENTIALS_FILE_PATH",
                    "valueFrom": {"fieldRef": {"fieldPath": "a"}},
                }
            ],
        }
    ],
)
WRONG_CLASS = make_workload(
    volumes=[
        {
            "name": "ingress-cert",
            "csi": {
                "driver": "x",
                "fsType": "ext4",
                "volumeAttributes": {"secretProviderClass": "old", "other": "y"},
            },
        }
    ]
)


def find(workload, **options):
    [[changes]] = make_plans([workload], make_options(**options), where="x")
    return changes


def apply_json_patch(document, patch):
    """RFC 6902: test, add, replace and remove."""
    document = copy.deepcopy(document)
    for operation in patch:
        *path, last = [
            part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]
        ]
        parent = document
        for part in path:
            parent = parent[int(part)] if isinstance(parent, list) else parent[part]
        if operation["op"] == "remove":
            del parent[int(last)]
            continue
        value = copy.deepcopy(operation["value"])
        if isinstance(parent, list):
            if operation["op"] == "add":
                parent.insert(len(parent) if last == "-" else int(last), value)
                continue
            last = int(last)
        if operation["op"] == "test":
            assert parent[last] == value
        else:
            assert operation["op"] == "add" or last in (
                parent if isinstance(parent, dict) else range(len(parent))
            )
            parent[last] = value
    return document


def apply_strategic_merge_patch(value, patch, key=""):
    """Kubernetes' strategic merge: lists of objects merge by their key, null and directives take away."""
    if isinstance(patch, dict):
        merged = dict(value) if isinstance(value, dict) else {}
        for name, item in patch.items():
            if name.startswith("$setElementOrder/"):
                order = [each["name"] for each in item]
                merged[name.partition("/")[2]].sort(key=lambda each, order=order: order.index(each["name"]))
            elif item is None:
                merged.pop(name, None)
            else:
                merged[name] = apply_strategic_merge_patch(merged.get(name), item, name)
        return merged
    if isinstance(patch, list) and key in MERGE_KEYS:
        merge_key = MERGE_KEYS[key]
        items = list(value or [])
        for entry in patch:
            if entry.get("$patch") == "delete":
                items = [item for item in items if item[merge_key] != entry[merge_key]]
                continue
            for index, item in enumerate(items):
                if item[merge_key] == entry[merge_key]:
                    items[index] = apply_strategic_merge_patch(item, entry)
                    break
            else:
                items.append(apply_strategic_merge_patch(None, entry))
        return items
    return patch


@given(workloads())
def test_json_patch_of_the_workload_gives_what_inject_gives(workload):
    patch = build_json_patch(find(workload, init_containers=True))
    assert apply_json_patch(workload, patch) == inject(workload, make_options(init_containers=True))


@given(workloads())
def test_strategic_merge_patch_of_the_workload_gives_what_inject_gives(workload):
    for container in get_pod_spec(workload)["containers"]:  # the API takes no two of one name
        container.pop("env", None)
    patch = build_strategic_merge_patch(find(workload, init_containers=True))
    merged = apply_strategic_merge_patch(workload, patch)
    assert merged == inject(workload, make_options(init_containers=True))


@pytest.mark.parametrize("workload", [CONFLICTING, WRONG_CLASS])
def test_patches_replace_conflicting_entries(workload):
    expected = inject(workload, make_options(replace=True))
    changes = find(workload, replace=True)
    assert apply_json_patch(workload, build_json_patch(changes)) == expected
    assert apply_strategic_merge_patch(workload, build_strategic_merge_patch(changes)) == expected


def test_json_patch_fails_when_the_containers_are_others():
    patch = build_json_patch(find(make_workload()))
    with pytest.raises(AssertionError):
        apply_json_patch(make_workload(containers=[{"name": "proxy"}, {"name": "ingress-operator"}]), patch)


def test_patches_are_empty_when_nothing_is_missing():
    changes = find(inject(make_workload(), make_options()))
    assert build_json_patch(changes) == []
    assert build_strategic_merge_patch(changes) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "ingress-operator"},
    }


def test_strategic_merge_patch_names_its_object_for_kustomize():
    workload = make_workload()
    workload["metadata"] = {"name": "ingress-operator", "namespace": "clusters-otter", "labels": {"a": "b"}}
    patch = build_strategic_merge_patch(find(workload))
    assert patch["metadata"] == {"name": "ingress-operator", "namespace": "clusters-otter"}
    assert list(patch) == ["apiVersion", "kind", "metadata", "spec"]
