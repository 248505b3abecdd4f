"""Edges of a real kernel's lines, driven from outside: what is counted is what was driven.

Two edges before the kernel has dealt with the first are one to it: a controller has one bit a line that says "there
was an edge" (PL061: GPIORIS; bcm2835: GPEDS), so nothing could tell them apart. Where a test wants an exact number it
drives the next edge when the guest is at rest (`Guest.rest`), and is then as fast as kernel and program are.
"""

from __future__ import annotations

import re
import signal
import time
from itertools import cycle

import pytest

PULSES = 5_000  # 10,000 edges
PACES = ((50, 0.005), (200, 0.002), (750, 0.0005))  # pulses, and the least pause between edges in seconds; then none
TICK_NS = 4_000_000  # CONFIG_HZ=250


def counter(pin: str, more: str = "") -> str:
    return f'[input.water]\nkind = "counter"\npin = "{pin}"\ndebounce = "0ms"\n{more}\n'


def contact(pin: str, *, name: str = "door", debounce: str = "0ms") -> str:
    return f'[input.{name}]\npin = "{pin}"\ndebounce = "{debounce}"\n'


def pulses(guest, line: int, number: int, pause_s: float = 0.0) -> float:
    """Drive so many, each edge when the one before has been dealt with; returns edges a second."""
    began = time.monotonic()
    for level in (True, False) * number:
        guest.lines.drive(line, level)
        guest.rest()
        if pause_s:
            time.sleep(pause_s)
    return 2 * number / (time.monotonic() - began)


def test_ten_thousand_edges_at_rising_rates_are_counted(guest, lines, hardware, report):
    half = hardware(counter("GPIO5") + counter("GPIO6", "active_low = true").replace("water", "gas"))
    driven, rates = 0, []
    for number, pause_s in (*PACES, (PULSES - sum(number for number, _ in PACES), 0.0)):
        rates.append(pulses(guest, 5, number, pause_s))
        driven += number
        half.seam.wait_value("water", driven)
    assert half.seam.readings("gas")[-1].value == 0
    pulses(guest, 6, 3)
    half.seam.wait_value("gas", 3)
    report("10,000 edges counted exactly, at so many a second", ", ".join(f"{rate:.0f}" for rate in rates))


def test_what_the_kernel_could_not_keep_is_counted_and_said(guest, lines, hardware):
    half = hardware(counter("GPIO5") + contact("GPIO6"))
    half.program.signal(signal.SIGSTOP)
    pulses(guest, 5, 1_000)
    pulses(guest, 6, 150)
    guest.lines.drive(6, True)
    guest.rest()
    half.program.signal(signal.SIGCONT)

    half.seam.wait_value("water", 1_000)
    told = half.seam.wait("door", lambda told: told[-1].value is True and any(one.quality == "lost" for one in told))
    assert len(told) < 40
    log = half.program.says("calm again", times=2)
    said = {name: (int(edges), int(lost)) for name, edges, lost in re.findall(
        r"input\.(\w+): calm again; in [\d.]+ s there were (\d+) \w+: (\d+) ", log
    )}  # fmt: skip
    assert said == {"water": (1_000, 1_000 - 64), "door": (301, 301 - 64)}, log


def test_a_bounce_never_counts_and_a_rest_does(guest, lines, hardware, report):
    water = counter("GPIO7").replace("0ms", "300ms")
    later = contact("GPIO4", name="later", debounce="300ms")
    half = hardware(contact("GPIO5", debounce="300ms") + contact("GPIO6", name="plain") + later + water)
    for _ in range(10):
        lines.drive_many([(line, level) for level in (True, False) for line in (5, 7)])
        guest.rest()
    lines.drive(4, True)
    half.seam.wait_value("later", True)  # it rested as long as the others would have had to, and began later
    assert [one.value for one in half.seam.readings("door")] == [False]
    assert half.seam.readings("water")[-1].value == 0

    for level in (True, False) * 4:  # it bounces, then rests
        lines.drive_many([(5, level), (7, level)])
        guest.rest()
    lines.drive_many([(5, True), (6, True), (7, True)])
    closed = half.seam.wait_value("door", True)[-1]
    half.seam.wait_value("water", 1)
    plain = half.seam.wait_value("plain", True)[-1]
    apart_ns = closed.at_ns - plain.at_ns
    report("a debounced edge is stamped beside the edge by", f"{apart_ns / 1e6:+.1f} ms (debounce 300 ms, a tick 4 ms)")
    assert abs(apart_ns) < 25 * TICK_NS  # the edge that began the rest, not its end 75 ticks later
    assert [one.value for one in half.seam.readings("door")] == [False, True]


def test_a_storm_is_told_slowly_and_the_half_stays_responsive(guest, lines, hardware, report):
    half = hardware(counter("GPIO5") + contact("GPIO6") + '[output.lamp]\npin = "GPIO2"\n')
    half.seam.set("lamp", True)
    before_kb, told_before, mark = half.status("VmRSS"), len(half.seam.readings("door")), lines.recorded
    driven, waits = 0, []
    began = time.monotonic()
    asked = cycle((False, True))
    due = began + 1
    while (now := time.monotonic()) < began + 10:
        lines.drive_many([(5, True), (6, True), (5, False), (6, False)] * 8)
        driven += 8
        if now > due:
            level = next(asked)
            answer = half.seam.set("lamp", level)
            waits.append(time.monotonic() - now)
            assert answer["m"] == "done", answer
            due = now + 1
    lasted = time.monotonic() - began
    assert lines.moves(2, since=mark) == [False, True, False, True, False, True, False, True, False][: len(waits)]
    after_kb = half.status("VmRSS")
    guest.rest()

    half.program.says("input.water: calm again", within_s=40)  # nothing is held back any more
    half.program.says("input.door: calm again", within_s=40)
    counted = half.seam.readings("water")[-1].value
    assert 0 < counted <= driven
    pulses(guest, 5, 7)
    half.seam.wait_value("water", counted + 7)
    assert len(half.seam.readings("door")) - told_before < 20 + 12 * lasted
    assert after_kb - before_kb < 1_024
    report(
        "a storm of 10 s",
        f"{2 * 2 * driven / lasted:.0f} edges a second driven on two lines, {counted:.0f} of {driven} pulses "
        f"reached the kernel apart, {after_kb - before_kb:+d} kB, a command took at most {max(waits) * 1000:.0f} ms",
    )


@pytest.mark.parametrize(("presses", "gesture"), [(1, "click"), (2, "double")])
def test_a_button_tells_what_a_hand_did(lines, hardware, presses, gesture):
    lines.drive(5, True)  # a button is wired to ground
    half = hardware('[input.bell]\nkind = "button"\npin = "GPIO5"\ndouble = "2s"\nlong = "10s"\n')
    for _ in range(presses):
        for level in (False, True):
            lines.drive(5, level)
            time.sleep(0.1)
    half.seam.wait_value("bell", gesture)
    assert [one.value for one in half.seam.readings("bell")] == [gesture]


def test_a_long_press_is_told_while_it_is_held(lines, hardware):
    lines.drive(5, True)
    half = hardware('[input.bell]\nkind = "button"\npin = "GPIO5"\nlong = "1s"\n')
    lines.drive(5, False)
    half.seam.wait_value("bell", "long")


def test_a_count_survives_a_restart_and_a_kill(guest, lines, hardware):
    half = hardware(counter("GPIO5"))
    pulses(guest, 5, 30)
    half.seam.wait_value("water", 30)
    half.stop()
    half = hardware(counter("GPIO5"), folder=half.folder)
    assert half.seam.wait("water", bool)[0].value == 30
    pulses(guest, 5, 5)
    half.seam.wait_value("water", 35)
    deadline = time.monotonic() + 60  # it writes every ten seconds
    while "35" not in guest.read(f"{half.folder}/state/counters.json"):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    half.program.signal(signal.SIGKILL)
    half.program.wait()
    half = hardware(counter("GPIO5"), folder=half.folder)
    assert half.seam.wait("water", bool)[0].value == 35
