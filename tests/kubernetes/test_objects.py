"""One idea of what a List holds and what a workload is, for all who read manifests."""

from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hcpcreds.errors import InputError
from hcpcreds.kubernetes.documents import Document
from hcpcreds.kubernetes.objects import find_objects, find_pod_template
from hcpcreds.manifests.check import check
from hcpcreds.manifests.inject import InjectOptions
from hcpcreds.manifests.inject.plan import make_plans

SECRET = "ingress-credentials"
POD = {
    "spec": {
        "containers": [{"name": "ingress-operator", "image": "image"}],
        "volumes": [
            {
                "name": "ingress-cert",
                "csi": {
                    "driver": "secrets-store.csi.k8s.io",
                    "volumeAttributes": {"secretProviderClass": "managed-azure-ingress"},
                },
            }
        ],
    },
}
KINDS = (
    ("v1", "Pod"),
    ("v1", "PodTemplate"),
    ("v1", "ReplicationController"),
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("batch/v1", "Job"),
    ("batch/v1", "CronJob"),
    ("extensions/v1beta1", "Deployment"),
    ("apps.openshift.io/v1", "DeploymentConfig"),
    ("argoproj.io/v1alpha1", "Rollout"),
    ("example.com/v1", "Pod"),
    ("v1", "Service"),
    ("example.com/v1", "CronJob"),
    (None, "Deployment"),
)
SHAPES: dict[str, Any] = {
    "pod": lambda: POD,
    "template": lambda: {"spec": {"template": POD}},
    "cron": lambda: {"spec": {"jobTemplate": {"spec": {"template": POD}}}},
    "bare template": lambda: {"template": POD},
    "nothing": lambda: {"spec": None},
}


def make_object(kind, shape):
    api_version, name = kind
    head = {"kind": name} if api_version is None else {"apiVersion": api_version, "kind": name}
    body = SHAPES[shape]()
    annotations = {"hcpcreds.io/credentials-secret-name": SECRET}
    return {**head, **body, "metadata": {"name": "ingress-operator", "annotations": annotations}}


objects = st.builds(make_object, st.sampled_from(KINDS), st.sampled_from(list(SHAPES)))
documents = st.recursive(
    objects | st.none() | st.just("text"),
    lambda items: st.builds(
        lambda kind, items: {"apiVersion": "v1", "kind": kind, "items": items},
        st.sampled_from(["List", "PodList", "Whatever"]),
        st.lists(items, max_size=3),
    ),
    max_leaves=6,
)


@given(documents)
def test_check_judges_exactly_the_workloads_that_inject_changes(document):
    options = InjectOptions(replace=True)
    try:
        [plans] = make_plans([document], options, where="test")
    except InputError as error:  # a workload without containers: there is nothing to compare
        assume("no container" not in str(error))
        raise
    injected = {render(plan.workload.path) for plan in plans}
    judged = {
        render(place)
        for place, _ in find_objects(document)
        for finding in check([Document(document)])
        if finding.code == "HC105" and finding.path.startswith(f"{render(place)}.")
    }
    assert judged == injected


def render(path):
    return "$" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)


def test_find_objects_goes_through_lists_in_lists_in_order():
    inner = {"kind": "PodList", "items": [{"kind": "b"}, {"kind": "c"}]}
    document = {"kind": "List", "items": [{"kind": "a"}, inner, None, {"kind": "d"}]}
    assert [(path, found["kind"]) for path, found in find_objects(document)] == [
        (("items", 0), "a"),
        (("items", 1, "items", 0), "b"),
        (("items", 1, "items", 1), "c"),
        (("items", 3), "d"),
    ]


def test_find_objects_refuses_a_document_that_aliases_make_huge():
    document: dict[str, Any] = {"kind": "Pod"}
    for _ in range(9):
        document = {"kind": "List", "items": [document] * 10}
    with pytest.raises(InputError, match="more than 10000 objects"):
        list(find_objects(document))


@pytest.mark.parametrize(
    ("kind", "shape", "template"),
    [
        (("v1", "Pod"), "pod", ()),
        (("batch/v1", "CronJob"), "cron", ("spec", "jobTemplate", "spec", "template")),
        (("example.com/v1", "CronJob"), "cron", ("spec", "jobTemplate", "spec", "template")),
        (("argoproj.io/v1alpha1", "Rollout"), "template", ("spec", "template")),
        (("apps/v1", "Deployment"), "nothing", ("spec", "template")),
        (("argoproj.io/v1alpha1", "Rollout"), "nothing", None),
        (("v1", "Service"), "pod", None),
    ],
)
def test_find_pod_template_knows_kinds_by_name_and_others_by_shape(kind, shape, template):
    assert find_pod_template(make_object(kind, shape)) == template
