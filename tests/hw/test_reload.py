"""A board that is given another configuration: what its own table did not change does not notice."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from functools import partial

import pytest
from tests.hw.ends import KINDS, ends

from knoop_hw import config as hw_config
from knoop_hw import decode
from knoop_hw.board import Board
from knoop_hw.chips import Chip, Line
from knoop_hw.errors import DeviceError, NotAsBefore, SetRefused
from knoop_hw.link import LinkClosed, pair
from knoop_hw.messages import Hello, Readings
from knoop_hw.preflight import Machine
from knoop_hw.simulated import SimulatedFactory

DOOR = '[input.door]\npin = "GPIO17"\n'
LAMP = '[output.lamp]\npin = "GPIO27"\n'
FAN = '[output.fan]\npin = "GPIO18"\nkind = "pwm"\n'
AIR = '[sensor.air]\ndriver = "simulated"\nevery = "1s"\n'
HOUSE = DOOR + LAMP + FAN + AIR
SCENARIO = 'trace = "board.jsonl"\n'


@pytest.fixture
def made(configured):
    return lambda text: configured(text, SCENARIO)


@pytest.fixture
async def board(made, clock):
    async with Board(made(HOUSE), clock=clock, run="k3v9q2xa") as opened:
        await clock.advance(0.5)
        yield opened


@pytest.fixture
def moves(tmp_path):
    """What probes on the pins of an output saw."""

    def moves(channel):
        entries = [json.loads(line) for line in (tmp_path / "board.jsonl").read_text("utf-8").splitlines()]
        return [entry["level"] for entry in entries if entry["channel"] == channel]

    return moves


@pytest.fixture(params=KINDS)
def heard(request):
    """What an agent hears that connects now, up to the last reading there is: the hello, and all readings."""
    return partial(_heard, request.param)


async def _heard(kind, board, clock):
    agent_end, board_end = ends(kind)
    serving = asyncio.create_task(board.serve(board_end))
    await clock.advance(0)
    await board_end.close()
    await asyncio.wait_for(serving, 20)
    messages = []
    with suppress(LinkClosed):
        while True:
            messages.append(await agent_end.receive())
    await agent_end.close()
    assert isinstance(messages[0], Hello)
    return messages[0], [item for message in messages if isinstance(message, Readings) for item in message.items]


async def test_the_same_again_touches_nothing(board, made, clock, moves):
    board.outputs.set("lamp", True, for_s=60)
    before = dict(board.latest)
    digest = board.hello().digest
    await board.reload(made(HOUSE))
    assert moves("lamp") == [True]
    assert board.latest == before
    assert board.hello().digest == digest
    await clock.advance(59)
    assert moves("lamp") == [True]
    await clock.advance(2)
    assert moves("lamp") == [True, False]


@pytest.mark.parametrize(
    "changed",
    [
        DOOR + 'debounce = "50ms"\n' + LAMP + FAN + AIR,
        LAMP + FAN + AIR,
        HOUSE + 'delta = 0.5\n[output.pump]\npin = "GPIO5"\n',
        DOOR + LAMP + 'label = "Desk lamp"\nclass = "alarm"\n' + FAN + AIR,
        DOOR + LAMP + FAN,
    ],
    ids=["another input", "one input less", "one output more", "its own label", "one sensor less"],
)
async def test_an_output_whose_own_table_is_as_it_was_does_not_move(board, made, clock, moves, changed):
    board.outputs.set("lamp", True, for_s=60)
    board.outputs.set("fan", 40)
    await board.reload(made(changed))
    assert (moves("lamp"), moves("fan")) == ([True], [0.4])
    await clock.advance(61)
    assert (moves("lamp"), moves("fan")) == ([True, False], [0.4])


async def test_an_output_whose_own_table_changed_goes_to_safe_and_starts_anew(board, made, clock, moves):
    board.outputs.set("lamp", True, for_s=60)
    await board.reload(made(DOOR + LAMP + 'active_low = true\ninitial = "on"\n' + FAN + AIR))
    assert moves("lamp") == [True, False]  # safe is low, and low is on now
    assert board.latest["lamp"].value is True
    assert [board.outputs.set("lamp", level) for level in (False, True)] == [False, True]
    await clock.advance(61)
    assert moves("lamp") == [True, False, True, False]


async def test_an_output_that_is_named_no_more_is_left_safe(board, made, clock, moves, heard):
    board.outputs.set("lamp", True)
    await board.reload(made(DOOR + FAN + AIR))
    assert moves("lamp") == [True, False]
    with pytest.raises(SetRefused, match="is not an output of this board"):
        board.outputs.set("lamp", True)
    _, readings = await heard(board, clock)
    assert "lamp" not in {reading.channel for reading in readings}


async def test_a_pin_changes_from_switch_to_pulses_and_back(board, made, moves):
    board.outputs.set("lamp", True)
    await board.reload(made(DOOR + LAMP + 'kind = "pwm"\n' + FAN + AIR))
    assert board.outputs.set("lamp", 30) == 30
    await board.reload(made(HOUSE))
    assert moves("lamp") == [True, False, 0.3, 0]
    assert board.outputs.set("lamp", True) is True


async def test_an_input_and_an_output_change_places(board, made, clock):
    swapped = '[input.door]\npin = "GPIO27"\n[output.lamp]\npin = "GPIO17"\n'
    await board.reload(made(swapped))
    board.simulated.drive("door", True)
    await clock.advance(1)
    assert board.latest["door"].value is True
    assert board.outputs.set("lamp", True) is True
    assert board.simulated.level("lamp") is True


async def test_numbers_go_on_and_nothing_is_said_twice(board, made, clock):
    board.simulated.drive("door", True)
    await clock.advance(1)
    assert (board.latest["door"].seq, board.latest["door"].value) == (2, True)
    kept = len(board._pipes.kept)
    await board.reload(made(DOOR + 'debounce = "50ms"\nheartbeat = "10s"\n' + LAMP + FAN + AIR))
    assert len(board._pipes.kept) == kept, "the level was read again and is no news"
    board.simulated.drive("door", False)
    await clock.advance(1)
    assert (board.latest["door"].seq, board.latest["door"].value) == (3, False)
    await clock.advance(11)
    assert board.latest["door"].seq == 4
    await board.reload(made(LAMP))
    await board.reload(made(HOUSE))
    assert board.latest["door"].seq == 5, "no number is used twice in a run"


async def test_readings_that_wait_are_told_to_the_next_agent_once(board, made, clock, heard):
    await clock.advance(3)
    _, before = await heard(board, clock)
    await board.reload(made(HOUSE.replace('"GPIO17"\n', '"GPIO17"\nlabel = "Door"\n')))
    hello, after = await heard(board, clock)
    assert after == before
    assert len(set(after)) == len(after)
    assert next(channel for channel in hello.channels if channel.name == "door").label == "Door"


async def test_a_sensor_is_opened_anew_only_for_its_own_table(board, made, clock):
    task = board._sensing["air"][1]
    await board.reload(made(DOOR + AIR + 'label = "Air"\n'))
    assert board._sensing["air"][1] is task
    await board.reload(made(DOOR + AIR.replace("1s", "5s")))
    assert board._sensing["air"][1] is not task
    assert task.done()
    seq = board.latest["air.temperature"].seq
    await clock.advance(11)
    assert board.latest["air.temperature"].seq == seq + 3
    assert board.latest["air.temperature"].quality == "ok"


async def test_of_two_that_are_on_and_become_interlocked_one_stays(board, made, moves):
    board.outputs.set("lamp", True)
    board.outputs.set("fan", 40)
    await board.reload(made(DOOR + LAMP + FAN + 'interlock = ["lamp"]\ninterlock_wait = "1min"\n' + AIR))
    assert (moves("lamp"), moves("fan")) == ([True], [0.4, 0])
    with pytest.raises(SetRefused, match="switch lamp off first"):
        board.outputs.set("fan", 40)
    board.outputs.set("lamp", False)
    with pytest.raises(SetRefused, match="waits another"):
        board.outputs.set("fan", 40)


async def test_an_interlock_waits_for_what_was_on_before_the_reload(made, clock):
    """The line was let go of and opened anew meanwhile: its motor still turns."""
    text = '[output.up]\npin = "GPIO5"\ninterlock = ["down"]\ninterlock_wait = "5s"\n{}[output.down]\npin = "GPIO6"\n'
    async with Board(made(text.format("")), clock=clock) as board:
        await clock.advance(5)
        board.outputs.set("up", True)
        await board.reload(made(text.format('max_on = "1min"\n')))
        with pytest.raises(SetRefused, match="down: waits another 5 s after up"):
            board.outputs.set("down", True)


async def test_no_output_starts_on_beside_one_that_is_on(board, made):
    board.outputs.set("lamp", True)
    bell = '[output.bell]\npin = "GPIO5"\ninitial = "on"\ninterlock = ["lamp"]\n'
    await board.reload(made(HOUSE + bell))
    assert (board.latest["lamp"].value, board.latest["bell"].value) == (True, False)


async def test_what_does_not_open_leaves_everything_as_it_was(board, made, clock, moves, heard):
    board.outputs.set("lamp", True, for_s=60)
    board.outputs.set("fan", 40)
    _, before = await heard(board, clock)
    pulled_down = '[input.door]\npin = "GPIO2"\npull = "down"\n'
    with pytest.raises(DeviceError, match=r"input\.door: GPIO2 has a resistor that pulls it up"):
        await board.reload(made(pulled_down + LAMP + FAN + 'max_on = "1h"\n[output.pump]\npin = "GPIO5"\n'))
    there = [channel.name for channel in board.channels]
    assert there == ["door", "lamp", "fan", "air.temperature", "air.humidity"]
    assert moves("lamp") == [True]
    assert moves("fan") == [0.4, 0], "its own table changed: it is where a start leaves it"
    assert moves("pump") == []
    _, after = await heard(board, clock)
    assert set(before) <= set(after), "what the agent has not stored is still there"
    board.simulated.drive("door", True)
    seq = next(reading.seq for reading in before if reading.channel == "air.temperature")
    await clock.advance(2)
    assert board.latest["door"].value is True
    assert board.latest["air.temperature"].seq > seq
    await clock.advance(60)
    assert moves("lamp") == [True, False]


async def test_going_back_may_fail_as_well_and_says_so(board, made, monkeypatch):
    def broken(line, **_):
        raise DeviceError(f"input.{line.name}: gone")

    monkeypatch.setattr("knoop_hw.inputs.InputLine", broken)
    with pytest.raises(NotAsBefore, match=r"input\.door: gone; and going back: input\.door: gone"):
        await board.reload(made(DOOR + 'debounce = "50ms"\n'))


@pytest.fixture
def real(clock, monkeypatch):
    """A board that is not simulated, as far as anybody can tell: what it has, and every transition of an output."""
    factory, seen = SimulatedFactory(clock=clock, trace=None), []
    factory.note = lambda line, level: seen.append((line, level))
    lines = [Line(number=number, used=number == 5, consumer="knocker" if number == 5 else "") for number in range(28)]
    machine = Machine(chip=Chip(path="/dev/gpiochip0", size=28), lines=lines, functions={})
    monkeypatch.setattr("knoop_hw.board.look", lambda chip: machine)
    monkeypatch.setattr("knoop_hw.board.pin_factory", lambda board, clock: factory)
    return seen


def of(text):
    problems = []
    loaded = hw_config.load(decode.parse(text, "node.toml"), problems)
    assert not problems
    return loaded


async def test_a_line_of_another_program_is_found_out_before_anything_moves(clock, real):
    async with Board(of(LAMP), clock=clock) as board:
        board.outputs.set("lamp", True)
        with pytest.raises(DeviceError, match=r"output\.pump: GPIO5 is in use by 'knocker'"):
            await board.reload(of(LAMP + 'max_on = "1h"\n[output.pump]\npin = "GPIO5"\n'))
        assert real == [("GPIO27", True)]
        await board.reload(of('[output.lamp]\npin = "GPIO6"\n'))
        assert real == [("GPIO27", True), ("GPIO27", False)]
        assert board.outputs.set("lamp", True) is True


async def test_nothing_opens_when_one_line_cannot(clock, real):
    with pytest.raises(DeviceError, match=r"input\.bell: GPIO5 is in use"):
        async with Board(of(LAMP + 'initial = "on"\n[input.bell]\npin = "GPIO5"\n'), clock=clock):
            pass
    assert real == []


async def test_lines_come_to_a_board_that_had_none(clock, real):
    async with Board(hw_config.Config(), clock=clock) as board:
        await board.reload(of(LAMP))
        assert board.outputs.set("lamp", True) is True


async def test_another_chip_takes_a_new_start(clock, real):
    async with Board(of(LAMP), clock=clock) as board:
        with pytest.raises(DeviceError, match="takes a new start"):
            await board.reload(of('[board]\nchip = "gpiochip1"\n' + LAMP))


async def test_who_comes_in_amid_a_reload_hears_what_there_is_after_it(board, made, clock):
    """An agent of another process connects again at once when it is hung up on."""
    agent_end, board_end = pair()
    reloading = asyncio.create_task(board.reload(made(DOOR)))
    serving = asyncio.create_task(board.serve(board_end))
    await clock.advance(0)
    await reloading
    assert [channel.name for channel in (await agent_end.receive()).channels] == ["door"]
    await agent_end.close()
    await asyncio.wait_for(serving, 20)


async def test_another_board_takes_a_new_start(board, configured, made, moves):
    board.outputs.set("lamp", True)
    for other in (hw_config.Config(), configured(HOUSE, SCENARIO + "seed = 2\n")):
        with pytest.raises(DeviceError, match="takes a new start"):
            await board.reload(other)
    assert moves("lamp") == [True]


async def test_a_reload_hangs_up_and_the_next_agent_hears_the_new_channels(board, made, clock, heard):
    _, board_end = pair()
    serving = asyncio.create_task(board.serve(board_end))
    await clock.advance(0)
    await board.reload(made(DOOR))
    await asyncio.wait_for(serving, 20)
    hello, _ = await heard(board, clock)
    assert [channel.name for channel in hello.channels] == ["door"]
