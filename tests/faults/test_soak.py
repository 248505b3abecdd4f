"""What a soak calls growth: a slope, not a hill; descriptors that stay, not those that come and go."""

from __future__ import annotations

import os

from tests.faults.soak import SPARE, Growth, Sample, markdown, sample

WARM_UP_S = 300.0


def growth(*, rss_mb=lambda at_s: 60.0, descriptors=lambda at_s: 20, threads=lambda at_s: 5):
    return Growth([
        Sample(at_s=at_s, rss_mb=rss_mb(at_s), descriptors=descriptors(at_s), threads=threads(at_s))
        for at_s in range(0, 1800, 10)
    ])  # fmt: skip


def test_what_stays_as_it_is_is_fine_whatever_it_needed_to_warm_up():
    assert growth().problems("agent", WARM_UP_S) == []
    assert growth(rss_mb=lambda at_s: min(60.0, 30.0 + at_s / 10)).problems("agent", WARM_UP_S) == []


def test_memory_that_grows_by_more_than_a_tenth_of_a_megabyte_a_minute_is_not():
    assert growth(rss_mb=lambda at_s: 60 + 0.09 * at_s / 60).problems("agent", WARM_UP_S) == []
    assert growth(rss_mb=lambda at_s: 60 + 0.11 * at_s / 60).problems("agent", WARM_UP_S) == [
        "agent: RSS grows by 0.110 MB a minute"
    ]


def test_descriptors_and_threads_that_stay_are_not_those_that_come_and_go():
    assert growth(descriptors=lambda at_s: 20 + at_s % 7).problems("hw", WARM_UP_S) == []
    assert growth(descriptors=lambda at_s: 20 + at_s // 100).problems("hw", WARM_UP_S) == [
        "hw: descriptors grew from at most 27 to at least 33"
    ]
    assert growth(threads=lambda at_s: 5 + (SPARE + 1) * (at_s > 1000)).problems("hw", WARM_UP_S) != []


def test_without_samples_nothing_is_proven():
    assert Growth().problems("agent", WARM_UP_S) == ["agent: no samples after the warm-up"]


def test_a_process_is_looked_at_and_shown():
    now = sample(os.getpid(), 1.0)
    assert now.rss_mb > 5
    assert now.descriptors >= 3
    assert now.threads >= 1
    page = markdown({"agent": Growth([now]), "hw": Growth()}, 0.0)
    assert f"{now.rss_mb:.1f} to {now.rss_mb:.1f} MB" in page
