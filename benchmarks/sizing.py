"""A region of hosted clusters, computed: renewals over a year, reads of the vaults, Leases, and nodes.

`python -m benchmarks.sizing` prints docs/sizing.md. It uses no clock, no network and one seed, so that it
always prints the same; a test compares the page with it.
"""

import random
from collections import Counter
from dataclasses import dataclass
from typing import Final

from hcpcreds.components import COMPONENTS
from hcpcreds.kubernetes.lease import RETRY_SECONDS

HOUR: Final = 3_600
DAY_HOURS: Final = 24
YEAR_HOURS: Final = 365 * DAY_HOURS


@dataclass(frozen=True)
class Region:
    """What a region has, and what Azure allows."""

    clusters: int = 10_000
    clusters_for_each_vault: int = 60
    """Those of one management cluster, which has a vault of its own."""
    replicas: int = 3
    """Of each component's pod, in a highly available control plane."""
    renew_after_days: int = 46
    valid_days: int = 90
    """Of a managed identity's certificate in Azure."""
    republish_seconds: int = 60
    """The kubelet's, for each pod and volume; after a quiet interval the driver asks the provider each time."""
    reads_for_each_vault: int = 400
    """A second: 4,000 in 10 s."""
    writes_for_each_vault: int = 30
    """A second: 300 in 10 s."""
    vaults_for_each_subscription: int = 5
    """The limit of a subscription, in limits of a vault."""
    data_plane_renewals: int = 10
    """A second, for the region: an assumption, since its limit is not published."""
    inotify_instances: int = 128
    """fs.inotify.max_user_instances, Linux' default, for each user of a node."""
    pods_for_each_node: int = 250
    sidecar_request_mib: int = 64
    sidecar_resident_mib: int = 64
    """Measured by `make bench`, with 100 credentials; with one it is less."""

    @property
    def identities(self) -> int:
        """Those of all clusters."""
        return self.clusters * len(COMPONENTS)

    @property
    def volumes_of_a_cluster(self) -> int:
        """Its volumes with a credential, in all replicas."""
        return self.replicas * sum(pod.mount is not None for each in COMPONENTS for pod in each.pods)

    @property
    def vaults(self) -> int:
        """Their number, rounded up."""
        return -(-self.clusters // self.clusters_for_each_vault)


def simulate_renewals(
    region: Region, *, batch: int = 0, outage_days: int = 0, seed: int = 1
) -> tuple[Counter[int], int]:
    """Simulate the renewals of a year, hour by hour.

    Args:
        region: The region.
        batch: Clusters that are all created in the first hour; the others' certificates are of any age.
        outage_days: Length of an outage of the data plane, or of all renewers, that begins on day 100.
        seed: Of the ages.

    Returns:
        The number of renewals in each hour, and how many certificates expired before they were renewed.
    """
    dice = random.Random(seed)  # noqa: S311 (a simulation)
    cycle = region.renew_after_days * DAY_HOURS
    batched = batch * len(COMPONENTS)
    due = Counter({cycle: batched})
    due.update(dice.randrange(cycle) for _ in range(region.identities - batched))
    outage = range(100 * DAY_HOURS, (100 + outage_days) * DAY_HOURS)
    capacity = region.data_plane_renewals * HOUR
    waiting: dict[int, int] = {}
    done: Counter[int] = Counter()
    expired = 0
    for hour in range(YEAR_HOURS):
        if due[hour]:
            waiting[hour] = due[hour]
        if hour in outage:
            continue
        room = capacity
        for since in sorted(waiting):  # the most urgent first, as `hcpcreds renew` does
            taken = min(room, waiting[since])
            room -= taken
            waiting[since] -= taken
            if not waiting[since]:
                del waiting[since]
            done[hour] += taken
            due[hour + cycle] += taken
            if hour - since > (region.valid_days - region.renew_after_days) * DAY_HOURS:
                expired += taken
            if not room:
                break
    return done, expired


def _row(*cells: object) -> str:
    return "| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells) + " |"


def _renewals(region: Region) -> list[str]:
    lines = [
        "| | renewals in the year | in an hour, on average | most in an hour | most in an hour of the last 46 days | expired |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    cases: tuple[tuple[str, dict[str, int]], ...] = (
        ("certificates of any age", {}),
        ("2,000 clusters created in one hour", {"batch": 2_000}),
        ("an outage of 1 day", {"outage_days": 1}),
        ("an outage of 7 days", {"outage_days": 7}),
        ("an outage of 43 days", {"outage_days": 43}),
        ("an outage of 50 days", {"outage_days": 50}),
    )
    for name, case in cases:
        done, expired = simulate_renewals(region, **case)
        last = range(YEAR_HOURS - region.renew_after_days * DAY_HOURS, YEAR_HOURS)
        total = done.total()
        lines.append(
            _row(
                name,
                total,
                round(total / YEAR_HOURS),
                max(done.values()),
                max(done[hour] for hour in last),
                expired,
            )
        )
    return lines


def _reads(region: Region) -> list[str]:
    volumes = region.clusters * region.volumes_of_a_cluster
    subscription = region.reads_for_each_vault * region.vaults_for_each_subscription
    lines = [
        "| | reads a second, region | in a vault | clusters until one vault throttles | clusters until a subscription does |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, for_each_cluster in (
        (f"today's driver, {region.replicas} replicas", region.volumes_of_a_cluster),
        ("today's driver, 1 replica", region.volumes_of_a_cluster // region.replicas),
        ("one read for each secret", len(COMPONENTS)),
    ):
        rate = for_each_cluster / region.republish_seconds
        lines.append(
            _row(
                name,
                round(region.clusters * rate),
                f"{region.clusters_for_each_vault * rate:.0f} of {region.reads_for_each_vault}",
                int(region.reads_for_each_vault / rate),
                int(subscription / rate),
            )
        )
    started = volumes / subscription
    lines += [
        "",
        (
            f"After an outage of a whole region, all {volumes:,} volumes are mounted anew. At the limit of one subscription that "
            f"takes {started:.0f} s if every read succeeds; with a vault for each {region.clusters_for_each_vault} clusters, "
            f"each vault has {region.clusters_for_each_vault * region.volumes_of_a_cluster:,} of them, "
            f"{region.clusters_for_each_vault * region.volumes_of_a_cluster / region.reads_for_each_vault:.1f} s at its own limit."
        ),
    ]
    return lines


def _leases(region: Region) -> list[str]:
    writes = region.vaults / RETRY_SECONDS
    return [
        (
            f"- {region.vaults:,} vaults have a Lease each. Its holder renews it every {RETRY_SECONDS:.0f} s, and the other replica "
            f"reads it as often: {writes:.0f} writes and {writes:.0f} reads a second at one API server, if one renewer has all "
            f"vaults; {1 / RETRY_SECONDS:.1f} of each at the API server of a management cluster, if each has its own renewer."
        ),
        (
            "- A renewal changes the status of each volume with that secret once "
            f"(SecretProviderClassPodStatus): {region.identities * region.replicas * 365 / region.renew_after_days / YEAR_HOURS:,.0f} "
            "writes an hour in the region."
        ),
    ]


def _nodes(region: Region) -> list[str]:
    pods = region.pods_for_each_node
    return [
        "| | keyless pods on a node | what it costs |",
        "| --- | --- | --- |",
        _row(
            "memory requested",
            pods,
            f"{pods * region.sidecar_request_mib / 1024:.1f} GiB ({region.sidecar_request_mib} MiB each; "
            f"{region.sidecar_resident_mib} MiB are resident with 100 credentials)",
        ),
        _row(
            "inotify instances of one user",
            region.inotify_instances,
            "one for each process, all with the image's user; a sidecar beyond them polls, and says so",
        ),
    ]


def _breaking(region: Region) -> list[str]:
    rate = region.volumes_of_a_cluster / region.republish_seconds
    subscription = int(region.reads_for_each_vault * region.vaults_for_each_subscription / rate)
    vault = int(region.reads_for_each_vault / rate)
    batch = region.data_plane_renewals * HOUR // len(COMPONENTS)
    return [
        (
            f"1. **{region.inotify_instances} keyless pods on a node**: inotify instances of one user, with Linux' default. The next "
            "sidecar polls instead. (Programs with the Go library fail there.)"
        ),
        f"2. **{vault:,} clusters in one vault**: its reads, with today's driver and {region.replicas} replicas.",
        (
            f"3. **{subscription:,} clusters in one subscription**: the reads of all its vaults together. A region of "
            f"{region.clusters:,} needs {-(-region.clusters // subscription)} subscriptions, or one read for each secret."
        ),
        (
            f"4. **{batch:,} clusters created in one hour**: at {region.data_plane_renewals} renewals a second their herd takes more "
            f"than an hour, every {region.renew_after_days} days. Nothing expires: there are "
            f"{region.valid_days - region.renew_after_days} days between `renew_after` and the end of a certificate."
        ),
        f"5. **{region.valid_days - region.renew_after_days} days without a renewal**: certificates begin to expire.",
    ]


def render(region: Region) -> str:
    """Render the page."""
    return "\n".join(
        [
            "# Sizing: a region of 10,000 hosted clusters",
            "",
            "`python -m benchmarks.sizing` computes this page by a simulation with a fixed seed, and by plain",
            "arithmetic. Its assumptions are fields of `Region` in that file; change them for your own region.",
            "",
            (
                f"{region.clusters:,} hosted clusters with {len(COMPONENTS)} identities each: {region.identities:,} identities, in "
                f"{region.vaults} vaults. Each cluster mounts {region.volumes_of_a_cluster} volumes in {region.replicas} replicas of "
                "its pods."
            ),
            "",
            "Key Vault allows 4,000 reads and 300 writes of secrets in 10 s for each vault, and five times that for a",
            'subscription (Microsoft, "Azure Key Vault service limits"). A certificate is due after 46 of its 90 days.',
            "",
            "## What breaks first, and where",
            "",
            *_breaking(region),
            "",
            "## Renewals over a year",
            "",
            *_renewals(region),
            "",
            "A herd does not dissolve: certificates that were renewed in one hour are due in one hour again. It does no harm",
            "while the data plane takes it; `hcpcreds renew` takes the most urgent first, and waits as long as it is throttled.",
            (
                "A renewal reads its secret twice and writes it once, so that the write limit of a vault "
                f"({region.writes_for_each_vault} a second) comes"
            ),
            "before the read limit.",
            "",
            "## Reads of the vaults",
            "",
            *_reads(region),
            "",
            "## Leases and the API server",
            "",
            *_leases(region),
            "",
            "## Nodes",
            "",
            *_nodes(region),
            "",
            "## What of this was measured",
            "",
            "On one machine of two cores, by `make bench`: `hcpcreds renew` renewed 1,000 secrets of a throttling vault in 1.21",
            "times what the throttle allows, each once; `hcpcreds serve` with 100 credentials has 64 MiB resident; 1,000 sources",
            "in one process take 9.8 KiB each and use one inotify instance. The rest is arithmetic.",
            "",
        ]
    )


if __name__ == "__main__":
    print(render(Region()), end="")
