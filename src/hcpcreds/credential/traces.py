"""A trace for each rotation, for programs that use OpenTelemetry."""

import contextlib
import sys
from datetime import datetime
from typing import Any, Final, NamedTuple

from hcpcreds._version import __version__
from hcpcreds.credential.state import SourceState

_API: Final = "opentelemetry.trace"


class Rotation(NamedTuple):
    """A later credential that has replaced another one, and with which there is a token now."""

    path: str
    client_id: str
    thumbprint: str
    generation: int
    noticed: datetime
    """When the changed file began to be read."""
    loaded: datetime
    """When the credential in it was accepted."""
    first_token: datetime
    """When the authority first gave a token for it."""


def find_rotation(state: SourceState, *, noticed: datetime, traced: int) -> Rotation | None:
    """Return the rotation that has come to its end; None if there is none.

    Args:
        state: The state of the source.
        noticed: When the file of its current credential began to be read.
        traced: The last generation that was traced.
    """
    snapshot, loaded, first_token = state.snapshot, state.reloaded_at, state.proven_at
    if snapshot is None or snapshot is not state.proven or snapshot.generation <= traced:
        return None
    if loaded is None or first_token is None:
        return None
    file = snapshot.file
    thumbprint = snapshot.certificate.thumbprint
    return Rotation(state.path, file.client_id, thumbprint, snapshot.generation, noticed, loaded, first_token)


def trace_rotation(rotation: Rotation) -> None:
    """Record a rotation: a span from the swap of the file to the first token, and one for each part of it.

    Does nothing in a program that has not imported OpenTelemetry's API (`opentelemetry-api`), because it then
    exports no traces either. Never raises.
    """
    api: Any = sys.modules.get(_API)
    if api is None:
        return
    with contextlib.suppress(Exception):  # whatever an exporter raises; the token is there
        noticed, loaded, first_token = (
            _to_nanoseconds(each) for each in (rotation.noticed, rotation.loaded, rotation.first_token)
        )
        tracer = api.get_tracer("hcpcreds", __version__)
        whole = tracer.start_span(
            "hcpcreds.rotation",
            context=api.set_span_in_context(api.INVALID_SPAN),  # not a part of what happens to run now
            start_time=noticed,
            attributes={
                "hcpcreds.path": rotation.path,
                "hcpcreds.client_id": rotation.client_id,
                "hcpcreds.thumbprint": rotation.thumbprint,
                "hcpcreds.generation": rotation.generation,
            },
        )
        inside = api.set_span_in_context(whole)
        for name, begin, end in (
            ("hcpcreds.judge", noticed, loaded),
            ("hcpcreds.prove", loaded, first_token),
        ):
            tracer.start_span(name, context=inside, start_time=begin).end(end_time=end)
        whole.add_event("first token", timestamp=first_token)
        whole.end(end_time=first_token)


def _to_nanoseconds(time: datetime) -> int:
    return int(time.timestamp() * 1_000_000) * 1_000
