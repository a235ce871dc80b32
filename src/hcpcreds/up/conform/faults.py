"""What happens to a program's credential, its authority and its node, one after the other."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from hcpcreds.local.azure.azure import LocalAzure
from hcpcreds.up.conform.launch import CALLS
from hcpcreds.up.conform.mounted import Mounted
from hcpcreds.up.conform.program import Provision

TOKEN_SECONDS: Final = 2.0
"""How long a token lives. Azure's SDKs ask again at each call when less than five minutes are left."""
_RETRY_AFTER: Final = 2.0
"""Seconds: short, so that a program which waits as told does not fail."""


@dataclass(frozen=True, kw_only=True)
class World:
    """What a fault can change."""

    azure: LocalAzure
    mounted: Mounted
    provision: Provision
    hold: float
    """How long a program is left without what it needs, in seconds."""

    @property
    def longer(self) -> float:
        """The same for a program that has a token in memory."""
        return self.hold + TOKEN_SECONDS


def _nothing(_: World) -> None:
    pass


def _rotate(world: World) -> None:
    world.mounted.rotate()


def _let_authority_work(world: World) -> None:
    world.azure.faults.clear()


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault, and what a program has to do in it."""

    name: str
    what: str
    """What happens, for people."""
    begin: Callable[[World], None] = _nothing
    lasts: bool = True
    """Whether it stays for a while before it ends."""
    end: Callable[[World], None] = _nothing
    steady: bool = False
    """The program has to have tokens all the time."""
    renews: bool = False
    """Its end makes the certificate that was mounted last the one to use."""
    recovers: bool = False
    """The program has to have tokens again after its end."""
    without_inotify: bool = False
    """The program is started anew, without inotify."""
    clean_up: Callable[[World], None] = _nothing
    """Makes the next fault independent of how the program has come through this one."""

    def find_obstacle(self, provision: Provision) -> str | None:
        """Find why it cannot be judged; None if it can."""
        if self.name == "unregistered" and provision is Provision.KEYLESS:
            return "programs keep an assertion for 10 minutes: the old certificate has to stay for 11"
        if self.without_inotify and os.uname().machine not in CALLS:
            return f"cannot be caused on {os.uname().machine}"
        return None


FAULTS: Final = (
    Fault(
        name="rotation",
        what="the CSI driver mounts a new certificate",
        lasts=False,
        end=_rotate,
        steady=True,
        renews=True,
    ),
    Fault(
        name="unregistered",
        what="Entra ID no longer takes the certificates before the mounted one",
        begin=lambda world: world.mounted.unregister_old(),
        steady=True,
        clean_up=lambda world: world.mounted.register_old(),
    ),
    Fault(
        name="unknown",
        what="a new certificate is mounted that Entra ID does not know yet",
        begin=lambda world: world.mounted.rotate(registration_delay=world.longer),
        steady=True,
        recovers=True,  # when a program tries the new one again is its own affair
    ),
    Fault(
        name="torn",
        what="half of a file is mounted, then a new certificate",
        begin=lambda world: world.mounted.tear(),
        end=_rotate,
        steady=True,
        renews=True,
    ),
    Fault(
        name="empty",
        what="the file is truncated, then a new certificate mounted",
        begin=lambda world: world.mounted.empty(),
        end=_rotate,
        steady=True,
        renews=True,
    ),
    Fault(
        name="deleted",
        what="the volume is emptied, then a new certificate mounted",
        begin=lambda world: world.mounted.delete(),
        end=_rotate,
        steady=True,
        renews=True,
    ),
    Fault(
        name="failing",
        what="the authority answers 503",
        begin=lambda world: _fail(world, status=503),
        end=_let_authority_work,
        recovers=True,
    ),
    Fault(
        name="throttling",
        what=f"the authority answers 429 with Retry-After: {_RETRY_AFTER:g}",
        begin=lambda world: _fail(world, status=429, retry_after=_RETRY_AFTER),
        end=_let_authority_work,
        recovers=True,
    ),
    Fault(
        name="cut",
        what="the authority cuts connections",
        begin=lambda world: _fail(world, drop=True),
        end=_let_authority_work,
        recovers=True,
    ),
    Fault(
        name="inotify",
        what="the program starts when no inotify instance is left; then a rotation",
        lasts=False,
        without_inotify=True,
        end=_rotate,
        steady=True,
        renews=True,
    ),
)


def _fail(
    world: World, *, status: int | None = None, retry_after: float | None = None, drop: bool = False
) -> None:
    world.azure.faults.add("entra", match="/token", status=status, retry_after=retry_after, drop=drop)
