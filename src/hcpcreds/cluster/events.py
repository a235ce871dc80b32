"""What the kubelet and the driver have told about a pod's mounts."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec

from hcpcreds.cluster.case import Case, Mounted
from hcpcreds.cluster.facts import read_time
from hcpcreds.kubernetes.nodes import Node

_FAILED: Final = frozenset({"FailedMount", "FailedAttachVolume", "MountRotationFailed"})
_DONE: Final = "MountRotationComplete"
_VAGUE: Final = "timed out waiting for the condition"
_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)


class Failure(msgspec.Struct, frozen=True):
    """The newest failure to mount that nothing has made good since."""

    message: str
    reason: str
    """The end of the message, which says why."""


def is_started(pod: Node) -> bool:
    """Whether a container of the pod has ever started, before which all volumes are mounted."""
    statuses = [
        *pod.at("status", "initContainerStatuses").items(),
        *pod.at("status", "containerStatuses").items(),
    ]
    return any(
        status[when][state].is_set
        for status in statuses
        for when in ("state", "lastState")
        for state in ("running", "terminated")
    )


def find_failure(case: Case, volume: Mounted) -> Failure | None:
    """Find why a pod's credential is not mounted, or no longer rotates."""
    pod = case.subject.pod
    if pod is None:
        return None
    started = is_started(pod)
    others = [f'"{other.volume}"' for other in case.volumes if other.volume != volume.volume]
    events = [event for event in _find_events(case, pod) if not _is_about(event, others)]
    events.sort(key=_find_time)
    rotated = max((_find_time(event) for event in events if event["reason"].text == _DONE), default=_LONG_AGO)
    failed = [event for event in events if event["reason"].text in _FAILED and _find_time(event) >= rotated]
    if started:
        failed = [event for event in failed if event["reason"].text == "MountRotationFailed"]
    telling = [event for event in failed if _VAGUE not in event["message"].text] or failed
    if not telling:
        return None
    # Each program that passes an error on has put its own words before it.
    message = telling[-1]["message"].text.rpartition(" desc = ")[2]
    return Failure(telling[-1]["message"].text, message)


def _find_events(case: Case, pod: Node) -> Iterator[Node]:
    uid = pod.at("metadata", "uid").text
    for event in case.facts.events:
        about = event["involvedObject"]
        is_same = about["uid"].text == uid if about["uid"].is_set else True
        if about["kind"].text == "Pod" and about["name"].text == case.subject.name and is_same:
            yield event


def _is_about(event: Node, volumes: list[str]) -> bool:
    return any(f"volume {name}" in event["message"].text for name in volumes)


def _find_time(event: Node) -> datetime:
    places = (
        event.at("series", "lastObservedTime"),
        event["lastTimestamp"],
        event["eventTime"],
        event.at("metadata", "creationTimestamp"),
    )
    return next((time for place in places if (time := read_time(place.text)) is not None), _LONG_AGO)
