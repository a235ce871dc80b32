"""How the chain runs, and who shows what happens."""

from collections.abc import Sequence
from dataclasses import dataclass

from hcpcreds.serving import ListenAddress
from hcpcreds.up.record import ComponentRecord


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """How the chain runs."""

    rotate_every: float = 10.0
    """Seconds from one rotation to the next."""
    rotations: int | None = None
    """Number of rotations after which the run ends; None runs until stopped."""
    renew: bool = False
    """Leave the renewing to `hcpcreds renew`: certificates then live about twice as long as from one rotation
    to the next, and become due by themselves."""
    keyless: bool = False
    """Give the credentials to sidecars, and to the components assertion files, as each one's row says."""
    web: ListenAddress | None = None
    """Where to serve a page that shows the components; None serves none."""

    @property
    def certificate_lifetime(self) -> float | None:
        """Seconds that a certificate lives, due after 46/90 of them; None is as long as in Azure."""
        return self.rotate_every * 90 / 46 if self.renew else None

    @property
    def token_lifetime(self) -> float:
        """Seconds that an access token lives: short, so that every certificate is really used.

        Azure's own SDK, which keyless components use, counts one with less than five minutes left as none; it
        is to have enough time for one call.
        """
        return 3.0 if self.keyless else min(3.0, max(1.0, self.rotate_every / 3))


class Reporter:
    """Shows what happens in a run. This one shows nothing."""

    def step(self, text: str) -> None:
        """A step of the start-up is done."""

    def started(self, records: Sequence[ComponentRecord]) -> None:
        """Every component has been started; the records change from now on."""

    def happened(self, record: ComponentRecord, text: str) -> None:
        """Something happened to a component that a person would want to know."""

    def problem(self, text: str) -> None:
        """Something went wrong."""

    def finished(self, records: Sequence[ComponentRecord]) -> None:
        """The last call has been made."""
