"""Starts `hcpcreds renew`, the command itself, for a running chain."""

from collections.abc import Callable

from hcpcreds.up.processes import ChildProcess, Event, base_environment
from hcpcreds.up.running import RunningChain


async def start_renewer(
    chain: RunningChain,
    *,
    interval: float,
    on_event: Callable[[Event], None],
    on_end: Callable[[str], None],
) -> ChildProcess:
    """Start the renewer; see `ChildProcess.start`.

    Args:
        chain: The running chain with its vault.
        interval: Seconds between two walks.
        on_event: Called with each walk, as `--output json` prints it.
        on_end: Called with the reason when it ends without `stop`.
    """
    vault = chain.vault
    arguments = [
        *("hcpcreds.up.tether", "hcpcreds", "renew"),
        *("--interval", f"{interval:g}s"),
        *("--vault", vault.vault_url),
        *("--audience", vault.data_plane_audience),
        *("--data-plane-host", vault.data_plane_host),
        *("--credential-file", vault.credential_file),
        *("--ca-file", chain.ca_file),
        *("--output", "json"),
    ]
    return await ChildProcess.start(
        "renewer", arguments, environment=base_environment(), on_event=on_event, on_end=on_end
    )
