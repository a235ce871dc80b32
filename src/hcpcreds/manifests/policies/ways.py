"""How the pods of a policy may log in, and the expressions that tell how one does."""

from dataclasses import dataclass
from typing import Final

from hcpcreds.manifests.policies.cel import Expression, fill
from hcpcreds.manifests.sidecar import ASSERTION_VOLUME


@dataclass(frozen=True, slots=True)
class Ways:
    """How the pods of a policy may log in."""

    keyless: bool = False
    """Whether a sidecar may have their key."""
    endpoint: bool = False
    """Whether it may give tokens instead of assertions."""

    @property
    def has_assertion(self) -> Expression:
        """Whether the pod gets assertions."""
        return Expression(f"{IS_KEYLESS} && {IS_WITHOUT_ENDPOINT}") if self.endpoint else IS_KEYLESS

    @property
    def is_gone(self) -> Expression:
        """Whether a container loses the mount `m`."""
        key = "m.name == variables.key.volume && variables.key.keep == ''"
        if not self.endpoint:
            return Expression(f"({key})")
        assertion = fill("m.name == $volume && $is_tokens", volume=ASSERTION_VOLUME, is_tokens=IS_TOKENS)
        return Expression(f"(({key}) ||\n  ({assertion}))")


IS_KEYLESS: Final = Expression("variables.key.volume != ''")
IS_WITHOUT_ENDPOINT: Final = Expression("variables.key.endpoint == ''")
IS_TOKENS: Final = Expression("variables.key.volume != '' && variables.key.endpoint != ''")
