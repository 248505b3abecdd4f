"""What a machine says of its clock."""

import pytest

from knoop_hw import clock
from knoop_hw.clock import FakeClock, SystemClock

NOW_S = 1_795_342_503


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """One whose clock nobody has set; `machine(rtc, hctosys, since_epoch)` gives it a battery clock."""
    monkeypatch.setattr(clock, "TIMESYNC", tmp_path / "synchronized")
    monkeypatch.setattr(clock, "RTC", tmp_path / "rtc")
    monkeypatch.setattr(clock, "kernel_synchronised", lambda: False)
    monkeypatch.setattr(SystemClock, "time_ns", lambda _self: NOW_S * 10**9)

    def battery(name, **files):
        (tmp_path / "rtc" / name).mkdir(parents=True)
        for file, text in files.items():
            (tmp_path / "rtc" / name / file).write_text(f"{text}\n")

    return battery


def test_nobody_has_set_it(machine):
    assert not SystemClock().synced()


@pytest.mark.parametrize(("says", "synced"), [(True, True), (False, False), (None, False)])
def test_the_kernel_knows(machine, monkeypatch, says, synced):
    monkeypatch.setattr(clock, "kernel_synchronised", lambda: says)
    assert SystemClock().synced() is synced


def test_a_time_server_answered_since_the_boot(machine):
    clock.TIMESYNC.touch()
    assert SystemClock().synced()


def test_a_battery_clock_set_it_and_still_agrees(machine):
    machine("rtc0", hctosys=0, since_epoch=NOW_S)
    assert not SystemClock().synced()
    machine("rtc1", hctosys=1, since_epoch=NOW_S + 59)
    assert SystemClock().synced()


@pytest.mark.parametrize("files", [
    {"hctosys": 1, "since_epoch": 120},  # without its battery: systemd moved the wall clock to the last shutdown
    {"hctosys": 1, "since_epoch": NOW_S - 61},
    {"hctosys": 1}, {"since_epoch": NOW_S}, {"hctosys": 1, "since_epoch": "x"},
])
def test_a_battery_clock_that_vouches_for_nothing(machine, files):
    machine("rtc0", **files)
    assert not SystemClock().synced()


def test_the_kernel_is_asked_without_a_right_to_set_anything():
    assert clock.kernel_synchronised() in {True, False}


async def test_a_clock_for_tests_is_set_as_they_want():
    assert FakeClock().synced()
    assert not FakeClock(synced=False).synced()
