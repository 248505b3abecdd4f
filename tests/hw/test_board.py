"""A whole simulated board, as an agent sees it over the Board protocol; in objects and in JSON."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import threading

import pytest
from tests.hw.ends import KINDS, ends

from knoop_hw import config, decode
from knoop_hw.board import Board, new_run
from knoop_hw.clock import SystemClock
from knoop_hw.errors import DeviceError
from knoop_hw.link import LinkClosed, QueueLink, pair
from knoop_hw.messages import Beat, Done, Failed, Hello, Readings, Set, Stored

HOUSE = """
[input.door]
pin = "GPIO17"
[input.rain]
pin = "GPIO23"
kind = "counter"
[output.lamp]
pin = "GPIO27"
[output.pump]
pin = "GPIO24"
max_on = "60s"
min_off = "5s"
[output.heater]
pin = "GPIO25"
dead_man = true
[output.up]
pin = "GPIO5"
interlock = ["down"]
[output.down]
pin = "GPIO6"
[output.fan]
pin = "GPIO18"
kind = "pwm"
[sensor.air]
driver = "simulated"
every = "1s"
delta = 0.5
"""
WEATHER = "[sensor.air]\nnoise = 0\nlag = 0\ntemperature = 20\nhumidity = 50\n"


class Agent:
    """The other end: keeps everything it hears and can ask."""

    def __init__(self, link, clock):
        self.link, self.clock = link, clock
        self.heard = []
        self.readings = []
        self.upto = 0
        self._ids = 0
        self._task = asyncio.create_task(self._listen())

    async def _listen(self):
        try:
            while True:
                message = await self.link.receive()
                self.heard.append(message)
                if isinstance(message, Readings):
                    self.readings += message.items
                    self.upto = message.upto
        except LinkClosed:
            pass

    async def set(self, channel, value, for_ms=None, *, ago_s=0.0):
        self._ids += 1
        asked_ns = self.clock.boottime_ns() - int(ago_s * 1e9)
        wish = Set(
            id=self._ids, channel=channel, value=value, for_ms=for_ms, by="anna@example.org", asked_ns=asked_ns
        )
        await self.link.send(wish)
        await self.clock.advance(0)
        [answer] = [m for m in self.heard if isinstance(m, Done | Failed) and m.id == self._ids]
        return answer

    def values(self, channel):
        return [reading.value for reading in self.readings if reading.channel == channel]

    async def close(self):
        await self.link.close()
        await asyncio.wait_for(self._task, 20)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
async def connect(clock, kind):
    """Connect an agent to a board; at the end all links are closed and all serving has ended."""
    agents, serving = [], []

    async def connect(board):
        agent_end, board_end = ends(kind)
        serving.append(asyncio.create_task(board.serve(board_end)))
        agents.append(Agent(agent_end, clock))
        await clock.advance(0)
        return agents[-1]

    yield connect
    for agent in agents:
        await agent.close()
    await asyncio.wait_for(asyncio.gather(*serving), 1)


@pytest.fixture
async def board(configured, clock):
    async with Board(configured(HOUSE, WEATHER), clock=clock, run="k3v9q2xa") as opened:
        yield opened


async def test_hello_then_the_state_of_every_channel(board, connect, clock):
    agent = await connect(board)
    hello = agent.heard[0]
    assert isinstance(hello, Hello)
    assert (hello.v, hello.run, hello.boot) == (1, "k3v9q2xa", clock.boot_id)
    assert hello.channels == board.channels
    assert {reading.channel for reading in agent.readings} == {channel.name for channel in board.channels}
    assert all(reading.seq == 1 for reading in agent.readings)
    assert agent.values("lamp") == [False]
    assert agent.values("air.temperature") == [20.0]


async def test_a_door_that_opens_is_a_reading_with_the_next_number(board, connect, clock):
    agent = await connect(board)
    board.simulated.drive("door", True)
    await clock.advance(1)
    board.simulated.drive("door", False)
    await clock.advance(1)
    assert [(r.seq, r.value) for r in agent.readings if r.channel == "door"] == [(1, False), (2, True), (3, False)]


async def test_set_answers_with_the_level_read_back(board, connect):
    agent = await connect(board)
    done = await agent.set("lamp", True)
    assert isinstance(done, Done)
    assert (done.reading.channel, done.reading.value, done.reading.seq) == ("lamp", True, 2)
    assert board.simulated.level("lamp") is True
    assert agent.values("lamp") == [False, True]
    again = await agent.set("lamp", True)
    assert (again.reading.value, again.reading.seq) == (True, 2)
    assert (await agent.set("fan", 40)).reading.value == 40.0


@pytest.mark.parametrize(
    ("asked", "error", "text"),
    [
        (("lmp", True), "unknown", "lmp: is not an output of this board; outputs: lamp, pump, heater, up, down, fan"),
        (("door", True), "unknown", "door: is not an output of this board; outputs: lamp, pump, heater, up, down, fan"),
        (("fan", 101), "range", "fan: takes 0 to 100 %, not 101"),
        (("lamp", 0.5), "range", "lamp: is on or off; 0.5 is neither"),
        (("pump", True), "min-off", "pump: rests for another 5 s (min_off 5 s); try again then"),
    ],
)
async def test_a_refusal_moves_nothing_and_says_why(board, connect, asked, error, text):
    agent = await connect(board)
    failed = await agent.set(*asked)
    assert isinstance(failed, Failed)
    assert (failed.error, failed.text) == (error, text)
    assert not any(board.simulated.level(name) for name in ("lamp", "pump", "fan"))


@pytest.mark.parametrize("ago_s", [5.1, 3600, -5.1])
async def test_what_was_asked_too_long_ago_moves_nothing(board, connect, clock, ago_s):
    """A half that hung for a while finds what was asked meanwhile, and nobody waits for it any more."""
    await clock.advance(3600)
    agent = await connect(board)
    failed = await agent.set("lamp", True, ago_s=ago_s)
    assert (failed.error, failed.text) == ("device", f"lamp: asked too long ago ({ago_s:.1f} s); ask again")
    assert board.simulated.level("lamp") is False
    assert isinstance(await agent.set("lamp", True, ago_s=4.9), Done)


async def test_interlocked_outputs(board, connect):
    agent = await connect(board)
    assert isinstance(await agent.set("up", True), Done)
    failed = await agent.set("down", True)
    assert (failed.error, failed.text) == ("interlock", "down: may not be on together with up; switch up off first")


async def test_max_on_and_leases_are_readings_too(board, connect, clock):
    agent = await connect(board)
    await clock.advance(5)
    await agent.set("pump", True)
    await agent.set("lamp", True, for_ms=10_000)
    await clock.advance(9.9)
    assert board.simulated.level("lamp") is True
    await clock.advance(0.2)
    assert agent.values("lamp") == [False, True, False]
    await clock.advance(49.7)
    assert board.simulated.level("pump") is True
    await clock.advance(0.3)
    assert agent.values("pump") == [False, True, False]
    assert board.simulated.level("pump") is False


async def test_the_dead_man_lets_go_two_seconds_after_the_last_beat(board, connect, clock):
    agent = await connect(board)
    await agent.set("heater", True)
    for _ in range(20):
        await agent.link.send(Beat())
        await clock.advance(0.5)
    assert board.simulated.level("heater") is True
    last_beat_ns = clock.boottime_ns() - 500_000_000
    await clock.advance(10)
    [_, _, off] = [reading for reading in agent.readings if reading.channel == "heater"]
    assert off.value is False
    assert off.boottime_ns - last_beat_ns == 2_000_000_000


async def test_an_agent_that_goes_changes_no_other_output(board, connect, clock):
    agent = await connect(board)
    await agent.set("lamp", True)
    await agent.close()
    await clock.advance(3600)
    assert board.simulated.level("lamp") is True


async def test_what_was_not_stored_comes_again_and_what_was_stored_as_the_last_state(board, connect, clock):
    first = await connect(board)
    await first.set("lamp", True)
    await first.link.send(Stored(upto=first.upto))
    await clock.advance(0)
    board.simulated.drive("door", True)
    await clock.advance(1)
    await first.close()
    board.simulated.drive("door", False)
    await clock.advance(1)
    second = await connect(board)
    identities = [(reading.channel, reading.seq) for reading in second.readings]
    assert len(identities) == len(set(identities))
    assert [item for item in identities if item[0] == "door"] == [("door", 2), ("door", 3)]
    assert [item for item in identities if item[0] == "lamp"] == [("lamp", 2)]
    assert {channel for channel, _ in identities} == {channel.name for channel in board.channels}


async def test_a_new_agent_replaces_the_old(board, connect, clock):
    old = await connect(board)
    new = await connect(board)
    board.simulated.drive("door", True)
    await clock.advance(1)
    assert new.values("door")[-1] is True
    assert old.values("door") == [False]
    with pytest.raises(LinkClosed):
        await old.link.send(Beat())


async def test_an_agent_that_stores_nothing_costs_telemetry_before_alarms(configured, clock, connect):
    config = configured(
        '[input.door]\npin = "GPIO17"\nclass = "alarm"\n[sensor.air]\ndriver = "simulated"\nevery = "1s"\n'
    )
    async with Board(config, clock=clock, keep=5) as board:
        board.simulated.drive("door", True)
        await clock.advance(20)
        agent = await connect(board)
        assert agent.values("door") == [False, True]
        assert board.dropped["telemetry"] > 10
        assert board.dropped["alarm"] == 0
        for value in (False, True, False, True):  # now only alarms are kept: telemetry goes as it comes
            board.simulated.drive("door", value)
            await clock.advance(1)
        await clock.advance(5)
        assert agent.values("door") == [False, True, False, True, False, True]
        assert board.dropped["alarm"] == 1


async def test_a_wrong_acknowledgement_is_logged_and_forgotten(board, connect, clock, caplog):
    agent = await connect(board)
    await agent.link.send(Stored(upto=10_000))
    await clock.advance(0)
    assert "the agent stored up to 10000, but the last reading is number" in caplog.text
    assert isinstance(await agent.set("lamp", True), Done)


async def test_a_sensor_that_fails_is_told_once_and_comes_back(configured, clock, connect, caplog):
    weather = WEATHER + '[[step]]\nat = "10s"\nsensor = "air"\nerror = "EIO"\nfor = "20s"\n'
    caplog.set_level(logging.INFO)
    async with Board(configured(HOUSE, weather), clock=clock) as board:
        agent = await connect(board)
        await clock.advance(60)
        history = [(r.value, r.quality) for r in agent.readings if r.channel == "air.temperature"]
        assert history == [(20.0, "ok"), (None, "error"), (20.0, "ok")]
        board.simulated.drive("door", True)
        await clock.advance(1)
        assert agent.values("door")[-1] is True
    messages = [record.message for record in caplog.records if record.name == "knoop_hw.sensing"]
    assert messages == ["sensor.air: Input/output error; it is tried again", "sensor.air: is back"]


async def test_a_sensor_that_is_not_there_is_missing_and_nothing_else_notices(configured, clock, connect, caplog):
    config = configured(
        '[input.door]\npin = "GPIO17"\n[sensor.meter]\ndriver = "p1"\ndevice = "/dev/ttyUSB7"\nfields = ["power"]\n'
    )
    async with Board(config, clock=clock) as board:
        agent = await connect(board)
        assert [channel.name for channel in agent.heard[0].channels] == ["door", "meter.power"]
        async with asyncio.timeout(10):
            while not agent.readings or agent.readings[-1].channel != "meter.power":  # a thread opens the port
                await asyncio.sleep(0.001)
        assert [(r.value, r.quality) for r in agent.readings if r.channel == "meter.power"] == [(None, "missing")]
        await clock.advance(120)
        assert len([r for r in agent.readings if r.channel == "meter.power"]) == 1
    [line] = [record.message for record in caplog.records if record.name == "knoop_hw.sensing"]
    assert line.startswith("sensor.meter: /dev/ttyUSB7 does not exist; plug it in or correct 'device'; ports here: ")


async def test_leaving_takes_each_output_to_its_safe_level_in_one_transition(configured, clock, connect, tmp_path):
    trace = tmp_path / "lines.jsonl"
    tables = """
    [output.lamp]
    pin = "GPIO27"
    [output.door_lock]
    pin = "GPIO5"
    safe = "keep"
    [output.light]
    pin = "GPIO6"
    safe = "on"
    """
    async with Board(configured(tables, f'trace = "{trace}"\n'), clock=clock) as board:
        agent = await connect(board)
        await agent.set("lamp", True)
        await agent.set("door_lock", True)
        before = len(trace.read_text().splitlines())
    after = [json.loads(row) for row in trace.read_text().splitlines()[before:]]
    assert [(entry["channel"], entry["level"]) for entry in after] == [("lamp", False), ("light", True)]
    assert board.simulated.level("door_lock") is True


async def test_restore_brings_back_what_people_wanted_not_what_was_safe(configured, clock, connect, tmp_path):
    tables = '[output.lamp]\npin = "GPIO27"\ninitial = "restore"\n[output.pump]\npin = "GPIO24"\n'
    for wanted in (True, False):
        async with Board(configured(tables), clock=clock, state=tmp_path) as board:
            agent = await connect(board)
            await agent.set("pump", True)
            assert (await agent.set("lamp", wanted)).reading.value is wanted
        assert board.simulated.level("lamp") is False
        async with Board(configured(tables), clock=clock, state=tmp_path) as board:
            agent = await connect(board)
            assert (agent.values("lamp"), agent.values("pump")) == ([wanted], [False])


async def test_a_memory_that_cannot_be_read_or_written_costs_only_itself(configured, clock, connect, tmp_path, caplog):
    (tmp_path / "outputs.json").write_text("{")
    tables = '[output.lamp]\npin = "GPIO27"\ninitial = "restore"\n'
    async with Board(configured(tables), clock=clock, state=tmp_path) as board:
        assert board.simulated.level("lamp") is False
    async with Board(configured(tables), clock=clock, state=tmp_path / "none") as board:
        agent = await connect(board)
        assert isinstance(await agent.set("lamp", True), Done)
    assert "cannot be read" in caplog.text
    assert "cannot be written (No such file or directory)" in caplog.text


async def test_a_line_that_does_not_open_closes_the_others(configured, clock):
    config = configured('[input.door]\npin = "GPIO2"\npull = "down"\n[output.lamp]\npin = "GPIO27"\ninitial = "on"\n')
    board = Board(config, clock=clock)
    with pytest.raises(DeviceError, match=r"^input.door: GPIO2 has a resistor"):
        await board.__aenter__()
    assert board.simulated.level("lamp") is False
    assert [task for task in asyncio.all_tasks() if task is not asyncio.current_task()] == []


async def test_leaving_hangs_up_and_leaves_no_task(configured, clock, connect):
    async with Board(configured(HOUSE, WEATHER), clock=clock) as board:
        agent = await connect(board)
    with pytest.raises(LinkClosed):
        await agent.link.send(Beat())


class Hung:
    """A machine whose load average is a pipe that nobody fills: reading it waits in the kernel."""

    def __init__(self, root):
        self.root, self.left = root, False
        self._pipe = root / "proc/loadavg"
        self._pipe.parent.mkdir(parents=True)
        os.mkfifo(self._pipe)
        self._writer = None
        self._bound = threading.Timer(10, self.release)  # a board that waits would wait for ever

    async def reading(self):
        """Return when the sensor hangs: a pipe can be opened for writing once it has a reader."""
        async with asyncio.timeout(20):
            while self._writer is None:
                try:
                    self._writer = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
                except OSError as error:
                    assert error.errno == errno.ENXIO
                    await asyncio.sleep(0.01)
        self._bound.start()

    def release(self):
        self._bound.cancel()
        writer, self._writer = self._writer, None
        if writer is not None:
            os.close(writer)

    @property
    def hangs(self):
        return self._writer is not None


@pytest.fixture
def hung(tmp_path):
    machine = Hung(tmp_path / "machine")
    yield machine
    machine.release()


async def test_a_sensor_that_hangs_keeps_no_output_on(configured, clock, hung):
    tables = f'[output.heater]\npin = "GPIO27"\n[sensor.pi]\ndriver = "system"\nroot = "{hung.root}"\n'
    async with Board(configured(tables), clock=clock) as board:
        board.outputs.set("heater", True)
        await hung.reading()
    assert hung.hangs, "closing waited for the sensor"
    assert board.simulated.level("heater") is False


async def test_a_board_with_sensors_only_closes_at_once_while_one_hangs(clock, hung):
    problems = []
    document = decode.parse(f'[sensor.pi]\ndriver = "system"\nroot = "{hung.root}"\n', "node.toml")
    async with Board(config.load(document, problems), clock=clock) as board:
        assert (problems, board.simulated) == ([], None)
        await hung.reading()
    assert hung.hangs, "closing waited for the sensor"


async def test_a_reload_does_not_wait_for_a_sensor_that_is_stuck(configured, clock, hung):
    tables = f'[sensor.pi]\ndriver = "system"\nroot = "{hung.root}"\n'
    async with Board(configured(tables), clock=clock) as board:
        await hung.reading()
        await clock.advance(60)
        assert board.latest["pi.load"].quality == "error"
        await board.reload(configured(tables + 'every = "5s"\n'))
        assert hung.hangs


async def test_outputs_are_safe_before_an_agent_that_is_slow_to_hang_up(configured, clock):
    class Lingering(QueueLink):
        async def close(self):
            await gone.wait()
            await super().close()

    gone = asyncio.Event()
    _, end = pair()
    link = Lingering(end._out, end._into, through_json=False)
    board = await Board(configured(HOUSE, WEATHER), clock=clock).__aenter__()
    serving = asyncio.create_task(board.serve(link))
    board.outputs.set("lamp", True)
    await clock.advance(0)
    closing = asyncio.create_task(board.__aexit__(None, None, None))
    await clock.advance(0)
    waits, level = not closing.done(), board.simulated.level("lamp")
    gone.set()
    await asyncio.wait_for(asyncio.gather(closing, serving), 1)
    assert (waits, level) == (True, False)


async def test_a_board_without_lines_or_sensors(configured, clock, connect):
    async with Board(configured(""), clock=clock) as board:
        agent = await connect(board)
        assert agent.heard[0].channels == ()
        assert (await agent.set("lamp", True)).error == "unknown"


async def test_the_script_plays(configured, clock, connect):
    script = """
    repeat = "20s"
    [contact.door]
    bounce = "5ms"
    [[step]]
    at = "3s"
    line = "door"
    value = true
    [[step]]
    at = "6s"
    line = "rain"
    pulses = 4
    every = "500ms"
    [[step]]
    at = "10s"
    line = "door"
    value = false
    """
    async with Board(configured(HOUSE, script), clock=clock) as board:
        agent = await connect(board)
        await clock.advance(35)
        assert agent.values("door") == [False, True, False, True, False]
        assert agent.values("rain") == [float(count) for count in range(9)]


async def test_channels_decide_the_digest(configured, clock):
    one = Board(configured('[input.door]\npin = "GPIO17"\n'), clock=clock).hello()
    same = Board(configured('[input.door]\npin = "GPIO5"\n'), clock=clock).hello()
    other = Board(configured('[input.door]\npin = "GPIO17"\nlabel = "Front"\n'), clock=clock).hello()
    assert one.digest == same.digest != other.digest
    assert one.run != same.run


async def test_in_real_time_too(configured, kind):
    """The same on the machine's clock: no part of it depends on time standing still."""
    async with Board(configured(HOUSE + '[sensor.pi]\ndriver = "system"\n', WEATHER), clock=SystemClock()) as board:
        agent_end, board_end = ends(kind)
        serving = asyncio.create_task(board.serve(board_end))
        board.simulated.drive("door", True)
        asked_ns = SystemClock().boottime_ns()
        wish = Set(id=1, channel="lamp", value=True, for_ms=50, by="anna@example.org", asked_ns=asked_ns)
        await agent_end.send(wish)
        heard = []
        async with asyncio.timeout(20):
            while (
                not {("door", True), ("lamp", True), ("pi.load", True)} <= set(heard)
                or heard.count(("lamp", False)) < 2
            ):
                message = await agent_end.receive()
                if isinstance(message, Readings):
                    heard += [
                        (r.channel, r.value is not None if r.channel == "pi.load" else r.value) for r in message.items
                    ]
        await agent_end.close()
        await asyncio.wait_for(serving, 20)
    assert heard.count(("door", True)) == 1


def test_a_run_is_eight_base32_characters():
    assert {len(new_run()) for _ in range(100)} == {8}
    assert set("".join(new_run() for _ in range(500))) == set("abcdefghijklmnopqrstuvwxyz234567")
