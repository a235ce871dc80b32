"""Every row of the table: the policy adds to a pod what `inject` adds to it."""

import pytest
from tests.manifests.examples import SELF_MANAGED
from tests.manifests.policies.policy_examples import (
    inject_into,
    make_control_plane,
    make_pod,
    simplify,
)
from tests.support.golang import MAY_BUILD

from hcpcreds.components import WORKLOADS
from hcpcreds.manifests.policies.tables import LABELS

pytestmark = MAY_BUILD

CONTROL_PLANES = {"managed": make_control_plane(), "self-managed": make_control_plane(SELF_MANAGED)}


@pytest.mark.parametrize("credential", [None, "keyless"])
@pytest.mark.parametrize("kind", CONTROL_PLANES)
def test_policy_adds_what_inject_adds(server, kind, credential):
    for workload in WORKLOADS:
        pod, control_plane = make_pod(workload, credential), CONTROL_PLANES[kind]
        answer = server.create(pod, control_plane)
        assert answer.errors == ()
        expected = inject_into(pod, control_plane, keyless=credential == "keyless" and kind == "managed")
        assert simplify(answer.object) == simplify(expected), workload
        assert server.create(answer.object, control_plane) == answer, workload


@pytest.mark.parametrize("credential", [None, "keyless"])
def test_policy_takes_each_name_of_a_component(server, credential):
    for name, workloads in LABELS.items():
        for workload in workloads:
            pod, control_plane = make_pod(workload, credential), CONTROL_PLANES["managed"]
            pod["metadata"]["labels"]["hcpcreds.io/component"] = name
            answer = server.create(pod, control_plane)
            expected = inject_into(pod, control_plane, keyless=credential == "keyless")
            assert simplify(answer.object) == simplify(expected), (name, workload)
