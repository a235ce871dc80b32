"""docs/sizing.md is what the simulation prints, and the simulation does what it says."""

from dataclasses import replace

from benchmarks.sizing import HOUR, Region, render, simulate_renewals
from tests.docs.snippets import ROOT

SMALL = Region(clusters=100, data_plane_renewals=1)


def test_page_is_what_the_simulation_prints():
    assert (ROOT / "docs/sizing.md").read_text() == render(Region()), "python -m benchmarks.sizing"


def test_each_certificate_is_renewed_once_in_each_cycle():
    done, expired = simulate_renewals(SMALL)
    assert SMALL.identities * (365 // 46) <= done.total() <= SMALL.identities * (365 // 46 + 1)
    assert expired == 0


def test_herd_is_as_large_in_the_last_cycle_as_in_the_first():
    done, _ = simulate_renewals(SMALL, outage_days=7)
    first, last = (max(done[hour] for hour in range(day * 24, (day + 46) * 24)) for day in (100, 319))
    assert first == last
    assert first > SMALL.identities * 6 / 46


def test_renewals_take_longer_when_the_data_plane_throttles():
    small = replace(SMALL, clusters=1_000)
    done, expired = simulate_renewals(small, batch=1_000)
    assert max(done.values()) == small.data_plane_renewals * HOUR
    assert expired == 0


def test_certificates_expire_when_an_outage_lasts_longer_than_they_live():
    assert simulate_renewals(SMALL, outage_days=44)[1] == 0
    assert simulate_renewals(SMALL, outage_days=60)[1] > 0
