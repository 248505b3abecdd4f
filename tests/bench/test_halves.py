"""What `knoop bench` says of two processes. Figures are for comparing, never for a limit here."""

from __future__ import annotations

import os
from dataclasses import replace

from knoop_bench import halves, report
from knoop_bench.measure import Figures

EARLIER = {
    "version": "0", "python": "3", "machine": "m", "stanzas_per_s": 1.0, "stanzas_in_flight_per_s": 1.0,
    "cpu_us_per_stanza": 1.0, "readings_per_s": 1.0, "cpu_us_per_reading": 1.0, "ping_ms_p50": 1.0, "ping_ms_p99": 1.0,
    "rss_mb": 1.0, "pss_mb": 1.0, "login_ms": 1.0,
}  # fmt: skip


async def test_ten_lines_cost_less_than_what_measures_them_and_leave_nothing_behind():
    cost = await halves.measure(quick=True)
    rss_mb, _ = halves.memory_mb(os.getpid())
    assert 0 < cost.pss_mb <= cost.rss_mb < rss_mb


def test_a_report_of_an_earlier_version_is_no_limit_for_what_it_did_not_measure():
    earlier = Figures(**EARLIER)
    now = replace(earlier, hw_rss_mb=25.0, hw_pss_mb=18.0, both_pss_mb=50.0, socket_ms_p50=0.2, socket_ms_p99=0.4)
    assert not report.worse(now, earlier)
    assert report.worse(replace(now, hw_rss_mb=50.0), now)
    text = report.as_text(now, earlier)
    assert "25.0  MB resident of knoop-hw with ten lines open" in text
    assert "0.40  ms that the socket adds" in text
