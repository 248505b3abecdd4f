"""How long to wait before trying again."""

import random

from hypothesis import given
from hypothesis import strategies as st

from knoop.xmpp.link import CAP_S, pause_s


@given(st.integers(0, 10_000), st.integers())
def test_full_jitter_stays_within_a_growing_capped_bound(failures, seed):
    pause = pause_s(failures, base_s=1.0, cap_s=CAP_S, rng=random.Random(seed))
    assert 0 <= pause <= min(CAP_S, 2.0 ** min(failures, 16))


def test_a_fleet_spreads_evenly_over_the_minute():
    pauses = [pause_s(20, base_s=1.0, cap_s=CAP_S, rng=random.Random(seed)) for seed in range(1000)]
    peak = max(sum(second <= pause < second + 1 for pause in pauses) for second in range(60))
    assert peak <= 100, "at most 10 % of a fleet in any second"
