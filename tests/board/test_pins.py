"""The pin factory on a real kernel: what a line does outside, and what a program hears of it."""

from __future__ import annotations

import itertools
import json
import textwrap

import pytest

_numbers = itertools.count(1)

# What each program below begins with. `told` is what it heard; `until` waits for the host without running the loop.
HEAD = """
import asyncio, json, os, threading, time
from knoop_hw import lines
from knoop_hw.clock import SystemClock
from knoop_hw.errors import DeviceError
from knoop_hw.gpiod_pins import GpiodFactory
from knoop_hw.lines import InputLine, OutputLine
from knoop_hw.tables import Input, Output

clock, told = SystemClock(), []

def opened(factory, **keys):
    def heard(edges):
        told.append([(edge.level, edge.at_ns, edge.lost) for edge in edges])
    return InputLine(Input(**keys), factory=factory, clock=clock, on_edges=heard)

def until(path):
    while not os.path.exists(path):
        time.sleep(0.01)

async def come(path):
    there = False
    while not there:
        there = os.path.exists(path)
        await asyncio.sleep(0.01)  # also at the end: what is in the line's descriptor is read in any case

def say(**what):
    print(json.dumps(what), flush=True)

def opened_late(path, factory, **keys):
    # An input that is looked at for the first time when the host says so: edges fall between.
    shown = lines._Kernel.shown
    def late(self):
        say(requested=True)
        until(path)
        return shown(self)
    lines._Kernel.shown = late
    line = opened(factory, **keys)
    lines._Kernel.shown = shown
    return line
"""


@pytest.fixture
def script(guest):
    """Start a program of the guest: its text, and what it says; ended after the test."""
    started = []

    def start(text):
        path = f"/tmp/script-{next(_numbers)}.py"
        guest.write(path, HEAD + textwrap.dedent(text))
        started.append(guest.start("python3", path))
        return started[-1]

    yield start
    for program in started:
        if program.code is None:
            program.signal(9)
            program.wait()


def records(program):
    """Everything that the program said, once it has ended well."""
    assert program.wait() == 0, program.log
    return [json.loads(line) for line in program.log.splitlines() if line.startswith("{")]


def test_an_output_opens_with_direction_and_level_together_and_stays_so_when_it_is_let_go(lines, script):
    """However it was before: from outside there is one transition where the level is another one, else none."""
    steps = [
        (before, active_low, initial)
        for active_low in (False, True)
        for initial in (False, True)
        for before in (False, True)
    ]
    mark, first = lines.recorded, lines.level(2)
    program = script(f"""
        factory = GpiodFactory()
        for before, active_low, initial in {steps}:
            OutputLine(Output(name="lamp", pin="GPIO2"), factory=factory, initial=before).close()
            line = OutputLine(Output(name="lamp", pin="GPIO2", active_low=active_low), factory=factory, initial=initial)
            say(value=line.value)
            line.close()
            line.close()
    """)
    assert records(program) == [{"value": initial} for _, _, initial in steps]
    levels = [level for before, active_low, initial in steps for level in (before, initial is not active_low)]
    assert [first, *lines.moves(2, since=mark)] == [level for level, _ in itertools.groupby([first, *levels])]
    assert (lines.level(2), lines.is_output(2)) == (levels[-1], True)


def test_the_level_is_set_and_read_back_and_stays_when_the_program_is_killed(lines, script):
    program = script("""
        factory = GpiodFactory()
        line = OutputLine(Output(name="lamp", pin="GPIO2"), factory=factory, initial=False)
        say(set=[line.set(True), line.set(False), line.set(True)])
        until("/tmp/never")
    """)
    assert json.loads(program.says("set")) == {"set": [True, False, True]}
    mark = lines.recorded
    program.signal(9)
    assert program.wait() == -9
    assert (lines.level(2), lines.is_output(2)) == (True, True)
    assert lines.moves(2, since=mark) == []


def test_a_line_of_another_program_is_named_by_both_checks(lines, script):
    program = script("""
        from knoop_hw import chips
        from knoop_hw.preflight import look, preflight
        from knoop_hw.tables import Config
        import gpiod
        door = Input(name="door", pin="GPIO3")
        with gpiod.request_lines("/dev/gpiochip0", consumer="knocker", config={3: None}):
            try:
                preflight(Config(inputs=(door,)), look(None))
            except DeviceError as error:
                say(error=str(error))
            try:
                lines.InputLine(door, factory=GpiodFactory(), clock=clock, on_edges=print)
            except DeviceError as error:
                say(error=str(error))
        async def main():
            factory = GpiodFactory()
            door = opened(factory, name="door", pin="GPIO3")
            say(consumer=chips.lines(factory.chip)[3].consumer)
        asyncio.run(main())
    """)
    assert records(program) == [
        {"error": "input.door: GPIO3 is in use by 'knocker'; end that, or take another line"},
        {"error": "input.door: GPIO3 is in use by 'knocker'; end that, or take another line"},
        {"consumer": "knoop door"},
    ]


def test_edges_come_without_a_thread_stamped_when_they_were(guest, lines, script):
    program = script("""
        async def main():
            factory = GpiodFactory()
            door = opened(factory, name="door", pin="GPIO5", debounce_s=0.0)
            say(level=door.level)
            await come("/tmp/stamped")
            threads = [thread.name for thread in threading.enumerate()]
            say(told=told, level=door.level, threads=threads, tasks=len(os.listdir("/proc/self/task")))
        asyncio.run(main())
    """)
    program.says("level")
    before_ns = guest.boottime_ns()
    lines.drive(5, True)
    guest.rest()
    between_ns = guest.boottime_ns()
    lines.drive(5, False)
    guest.rest()
    after_ns = guest.boottime_ns()
    guest.write("/tmp/stamped", "")
    first, last = records(program)
    [[[up, up_ns, up_lost]], [[down, down_ns, down_lost]]] = last["told"]
    assert (first["level"], up, down, last["level"], up_lost, down_lost) == (False, True, False, False, 0, 0)
    assert before_ns < up_ns < between_ns < down_ns < after_ns
    assert (last["threads"], last["tasks"]) == (["MainThread"], 1)


@pytest.mark.parametrize("levels", [[True], [True, False], [True, False, True]])
def test_an_edge_while_a_line_opens_is_in_the_level_or_told_and_never_both(guest, lines, script, levels):
    """It falls between the request and the first look at the level."""
    name = f"/tmp/opening-{len(levels)}"
    program = script(f"""
        async def main():
            door = opened_late("{name}", GpiodFactory(), name="door", pin="GPIO5", debounce_s=0.0)
            first = door.level
            say(opened=True)
            await come("{name}-after")
            say(first=first, told=[level for edges in told for level, _, _ in edges], level=door.level)
        asyncio.run(main())
    """)
    program.says("requested")
    for level in levels:
        lines.drive(5, level)
        guest.rest()
    guest.write(name, "")
    program.says("opened")
    guest.rest()
    guest.write(f"{name}-after", "")
    *_, said = records(program)
    assert said["level"] is levels[-1]
    changes = [said["first"], *said["told"]]
    if len(levels) == 1:
        assert changes == [True]
    assert changes[-1] is levels[-1]
    assert [level for level, _ in itertools.groupby(said["told"])] == said["told"]


def test_a_counter_counts_a_pulse_while_it_opens_once_and_a_high_line_not_at_all(guest, lines, script):
    lines.drive(5, True)
    program = script("""
        async def main():
            keys = dict(name="water", pin="GPIO5", kind="counter", debounce_s=0.0)
            water = opened_late("/tmp/pulsed", GpiodFactory(), **keys)
            say(opened=True)
            await come("/tmp/counted")
            say(pulses=sum(1 + lost for edges in told for _, _, lost in edges))
        asyncio.run(main())
    """)
    program.says("requested")
    for level in (False, True, False):
        lines.drive(5, level)
        guest.rest()
    guest.write("/tmp/pulsed", "")
    program.says("opened")
    guest.rest()
    guest.write("/tmp/counted", "")
    assert records(program)[-1] == {"pulses": 1}


def test_a_storm_wakes_the_loop_fifty_times_a_second_and_no_edge_goes_uncounted(guest, lines, script):
    program = script("""
        async def main():
            factory = GpiodFactory()
            water = opened(factory, name="water", pin="GPIO5", kind="counter", debounce_s=0.0)
            say(ready=True)
            await come("/tmp/stormed")
            def counted():
                return sum(1 + lost for edges in told for _, _, lost in edges)
            while counted() < 2_000:
                await asyncio.sleep(0.01)
            edges = [edge for batch in told for edge in batch]
            lasted_s = (edges[-1][1] - edges[0][1]) / 1e9
            say(wakes=len(told), lasted_s=lasted_s, counted=counted(), lost=water.lost,
                told=len(edges), most=max(map(len, told)))
        asyncio.run(main())
    """)
    program.says("ready")
    for _ in range(2_000):
        lines.drive_many([(5, True), (5, False)])
        guest.rest()
    guest.write("/tmp/stormed", "")
    said = records(program)[-1]
    assert said["counted"] == 2_000
    assert said["told"] == 2_000 - said["lost"]
    assert said["most"] <= 64
    assert said["wakes"] <= 50 + 50 * (said["lasted_s"] + 1)


def test_gpiozeros_own_devices_work_on_it(guest, lines, script):
    program = script("""
        from gpiozero import LED, Device, DigitalInputDevice, PWMLED
        Device.pin_factory = GpiodFactory()
        async def main():
            lamp = LED("BOARD3")
            bell = DigitalInputDevice(5, bounce_time=0.01)
            pressed = asyncio.Event()
            bell.when_activated = pressed.set
            say(ready=True)
            await pressed.wait()
            lamp.on()
            tasks = len(os.listdir("/proc/self/task"))
            say(lamp=lamp.value, bell=bell.value, threads=threading.active_count(), tasks=tasks)
            try:
                PWMLED(6)
            except Exception as error:
                say(error=str(error))
            lamp.close()
            bell.close()
        try:
            DigitalInputDevice(4)
        except Exception as error:
            say(error=str(error))
        asyncio.run(main())
    """)
    program.says("ready")
    lines.drive(5, True)
    without_loop, _, at_work, pulses = records(program)
    assert "edges arrive in an event loop" in without_loop["error"]
    assert at_work == {"lamp": 1, "bell": 1, "threads": 1, "tasks": 1}
    assert "gpiod makes no pulses" in pulses["error"]
    assert lines.level(2)


def test_lgpio_is_a_choice(guest, lines, script):
    """It debounces in a thread of its own; outputs open without a glitch and stay as they are, too."""
    mark, before = lines.recorded, lines.level(2)
    program = script("""
        from knoop_hw.pinfactory import pin_factory
        from knoop_hw.tables import BoardTable
        async def main():
            factory = pin_factory(BoardTable(driver="lgpio", chip="gpiochip0"), clock=clock)
            lamp = OutputLine(Output(name="lamp", pin="GPIO2"), factory=factory, initial=True)
            door = opened(factory, name="door", pin="GPIO5", debounce_s=0.05)
            say(level=door.level)
            while not told:
                await asyncio.sleep(0.01)
            say(told=[level for edges in told for level, _, _ in edges], level=door.level, lamp=lamp.value)
            door.close()
            lamp.close()
            factory.close()
        asyncio.run(main())
    """)
    program.says("level")
    lines.drive(5, True)
    assert records(program) == [{"level": False}, {"told": [True], "level": True, "lamp": True}]
    assert lines.moves(2, since=mark) == ([] if before else [True])
    assert (lines.level(2), lines.is_output(2)) == (True, True)
