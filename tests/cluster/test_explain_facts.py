"""What is said of any facts: `explain` never fails, and shows nothing of a stranger's as it is."""

import copy
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cli.test_hostile import HOSTILE, assert_is_safe
from tests.cluster.pods import Object, Scene, make_event

from hcpcreds.cluster.explain import explain
from hcpcreds.cluster.facts import Facts, Listing
from hcpcreds.kubernetes import reading

NOW = datetime(2026, 11, 25, 13, 0, tzinfo=UTC)
KINDS = {
    "namespaces": reading.NAMESPACES,
    "pods": reading.PODS,
    "deployments": reading.DEPLOYMENTS,
    "stateful_sets": reading.STATEFUL_SETS,
    "control_planes": reading.HOSTED_CONTROL_PLANES,
    "classes": reading.SECRET_PROVIDER_CLASSES,
    "statuses": reading.SECRET_PROVIDER_CLASS_POD_STATUSES,
    "events": reading.EVENTS,
    "policies": reading.MUTATING_ADMISSION_POLICIES,
    "bindings": reading.MUTATING_ADMISSION_POLICY_BINDINGS,
}


def make_facts(objects: list[Object]) -> Facts:
    listings = {
        name: Listing(kind, tuple(each for each in objects if each.get("kind") == kind.name))
        for name, kind in KINDS.items()
    }
    return Facts(now=NOW, namespace="clusters-otter", **listings)


def make_scenes() -> dict[str, list[Object]]:
    whole = Scene("clusters-otter", labels={"hcpcreds.io/component": "ingress-operator"})
    keyless = Scene("clusters-otter", sidecar=True, labels={"hcpcreds.io/credential": "keyless"})
    pending = Scene("clusters-otter")
    pending.fail("MountVolume.SetUp failed: rpc error: code = Unknown desc = SecretNotFound: x")
    failing = Scene("clusters-otter")
    failing.events.append(make_event(failing.pod, "Forbidden", reason="MountRotationFailed"))
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "x"}}
    failing.set_state("ingress-operator", state=waiting, lastState={"terminated": {"reason": "Error"}})
    scenes = {"whole": whole, "keyless": keyless, "pending": pending, "failing": failing}
    labelled = (whole, keyless)  # no policy is for the others
    return {
        name: [*scene.objects, *(scene.policies if scene in labelled else [])]
        for name, scene in scenes.items()
    }


SCENES = make_scenes()


def find_places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a document, but not the kind, by which it is found at all."""
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            if path or key != "kind":
                yield (*path, key)
                yield from find_places(each, (*path, key))


def replace(value: Any, place: tuple[str | int, ...], new: Any) -> Any:
    """Return a copy with another value at a place; it shares the rest, which is never changed."""
    if not place:
        return new
    copied = copy.copy(value)
    copied[place[0]] = replace(value[place[0]], place[1:], new)
    return copied


def show(facts: Facts) -> str:
    return "\n".join(
        "\n".join([each.title, *(f"{link.what}\n{link.fix}" for link in each.links)])
        for each in explain(facts, None)
    )


leaves = st.one_of(st.none(), st.booleans(), st.integers(-1, 3), st.floats(), st.sampled_from(["", "x"]))
json_values = (
    leaves | st.lists(leaves, max_size=2) | st.dictionaries(st.sampled_from("ab"), leaves, max_size=2)
)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_explain_takes_objects_of_any_shape(data: st.DataObject):
    objects = SCENES[data.draw(st.sampled_from(sorted(SCENES)))]
    for _ in range(data.draw(st.integers(1, 3))):
        number = data.draw(st.integers(0, len(objects) - 1))
        places = sorted(find_places(objects[number]), key=repr)
        place = data.draw(st.sampled_from(places))
        objects = replace(objects, (number, *place), data.draw(json_values))
    explain(make_facts(objects), None)


@pytest.mark.parametrize("name", SCENES)
def test_explain_shows_nothing_as_it_is_when_any_text_is_hostile(name: str):
    text = json.dumps(SCENES[name])
    fixed = ("kind", "apiVersion", "reason")
    for place in find_places(SCENES[name]):
        value: Any = SCENES[name]
        for key in place:
            value = value[key]
        if isinstance(value, str) and place[-1] not in fixed and len(value) < 200:
            assert_is_safe(show(make_facts(replace(SCENES[name], place, value + HOSTILE))))
    assert text == json.dumps(SCENES[name])
