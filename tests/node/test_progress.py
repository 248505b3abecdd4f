"""What must move is watched, what may wait is not; and who looks from outside is told how the node is."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import sys
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest
from tests.node.test_delivery import house
from tests.node.test_outbox import PUBSUB

from knoop import config, serve
from knoop import vitals as module
from knoop.delivery import deliver
from knoop.ending import ANSWERS_S, CLOSE_S, LINK_S, PATIENT_S, SETTLE_S, WHOLE_S, Ending
from knoop.errors import LinkError, Refusal
from knoop.glance import glance
from knoop.health import Health
from knoop.progress import STUCK_S, Progress
from knoop.publishers import Partly
from knoop.status_file import EVERY_S, StatusFile
from knoop.vitals import Vitals
from knoop.worker import Worker
from knoop.xmpp import compat
from knoop.xmpp.session import GOODBYE_S
from knoop_hw import places
from knoop_hw.clock import FakeClock, SystemClock
from knoop_hw.errors import DeviceError
from knoop_hw.life import lock

FINE = Health(link_up=True, link_since_s=1, uptime_s=2, version="1.2.3")


@pytest.fixture
def clock():
    return FakeClock()


def test_the_level_is_one_of_four_words():
    assert FINE.level == "fine"
    assert replace(FINE, alarms=("door",), unacknowledged=1).level == "fine", "an alert is what a node is for"
    assert replace(FINE, dropped=5).level == "fine", "that was last week"
    reasons = {"faulty": ("air",), "losing": True, "away_s": 0.0, "storage": "full"}
    for poorly in ({name: value} for name, value in reasons.items()):
        assert replace(FINE, **poorly).level == "degraded"
        assert replace(FINE, **poorly, link_up=False).level == "link down"
        assert replace(FINE, **poorly, link_up=False, stopped=True).level == "stopped"
    assert replace(FINE, storage="ok").level == "fine"


def test_presence_says_what_is_wrong_with_the_node_and_names_no_alert():
    said = [
        glance(replace(FINE, **wrong, alarms=("door",), unacknowledged=1)) for wrong in (
            {"faulty": ("air",), "losing": True, "away_s": 1.0, "storage": "full"},
            {"faulty": ("air",), "losing": True, "storage": "full"},
            {"faulty": ("air",), "losing": True, "storage": "ok"}, {"losing": True}, {},
        )
    ]  # fmt: skip
    assert [sentence and sentence.message for sentence in said] == [
        "The hardware half is away.", "Trouble with the disk.", "Values are missing.", "Readings were lost.", None,
    ]
    assert not any(sentence.values for sentence in said if sentence)


# ── progress ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_only_a_step_that_is_still_under_way_is_stuck(clock):
    progress = Progress(clock)
    with progress.step("pubsub:"), pytest.raises(LinkError), progress.step("chat:anna@example.org"):
        await clock.advance(STUCK_S)
        assert progress.stuck() == ()
        await clock.advance(0.1)
        assert progress.stuck() == ("pubsub:", "chat:anna@example.org")
        raise LinkError("gone")
    assert progress.stuck() == ()


class House:
    """What `Vitals` asks a house."""

    def __init__(self, clock):
        self.clock = clock
        self.now = FINE
        self.now_ns = None

    def health(self):
        return self.now

    def glance(self, health):
        sentence = glance(health)
        return sentence.message if sentence else ""


@pytest.fixture
def fed(monkeypatch):
    said = []
    monkeypatch.setattr(module, "notify", said.append)
    return said


@pytest.fixture
async def living(clock, fed):
    """Vitals that run: the house, the progress, what was shown."""
    house, progress, shown = House(clock), Progress(clock), []
    vitals = Vitals(house, progress=progress, show=lambda: shown.append(house.now), status=None)
    task = asyncio.create_task(vitals.run())
    await clock.advance(3)
    assert len(fed) == 3
    yield house, progress, shown
    task.cancel()
    await asyncio.wait({task})


class Server:
    """A publisher that never returns, refuses, or takes one and wants the rest later, as in a room that is muted."""

    at_once = 1

    def __init__(self, how):
        self._how = how

    async def send(self, records):
        if self._how == "refuses":
            raise Refusal("forbidden", "it does not let us")
        if self._how == "later":
            return Partly(records=(), wait_s=3600.0)
        return await asyncio.Event().wait()


@pytest.mark.parametrize(("how", "moves"), [("hangs", False), ("refuses", True), ("later", True)])
async def test_the_watchdog_hears_of_a_delivery_that_hangs_and_of_no_wait_that_may_last(fed, caplog, how, moves):
    async with house() as it:
        progress = Progress(it.clock)
        vitals = Vitals(House(it.clock), progress=progress, show=lambda: None, status=None)
        tasks = [
            asyncio.create_task(vitals.run()),
            asyncio.create_task(deliver(PUBSUB, Server(how), outbox=it.outbox, clock=it.clock, progress=progress)),
        ]
        it.hold("door 1")
        await it.clock.advance(STUCK_S + 1)
        said = len(fed)
        assert said >= STUCK_S
        await it.clock.advance(30)
        assert (len(fed) > said + 1) == moves
        assert caplog.text.count("no progress with pubsub") == (0 if moves else 1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_without_a_link_nothing_is_to_be_sent(living, clock, fed):
    house, progress, _ = living
    with progress.step("pubsub:"):
        house.now = replace(FINE, link_up=False)
        await clock.advance(10 * STUCK_S)
        assert len(fed) == 3 + 10 * STUCK_S
        house.now = FINE
        await clock.advance(5)
        assert len(fed) == 3 + 10 * STUCK_S
    await clock.advance(5)
    assert len(fed) == 8 + 10 * STUCK_S, "it moves again"


async def test_a_loop_that_is_blocked_feeds_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TICK_S", 0.01)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.setblocking(False)
        loop, clock = asyncio.get_running_loop(), SystemClock()
        vitals = Vitals(House(clock), progress=Progress(clock), show=lambda: None, status=None)
        task = asyncio.create_task(vitals.run())
        async with asyncio.timeout(10):
            for _ in range(3):
                assert await loop.sock_recv(systemd, 100) == b"WATCHDOG=1"
        with suppress(BlockingIOError):
            while systemd.recv(100):
                pass
        time.sleep(0.2)  # the block itself: twenty ticks that a thread of its own would have fed
        with pytest.raises(BlockingIOError):
            systemd.recv(100)
        task.cancel()
        await asyncio.wait({task})


async def test_a_disk_that_hangs_is_no_reason_to_restart(living, clock, fed):
    class Store:
        async def backlog(self):
            await asyncio.Event().wait()

    it = House(clock)
    it.store = Store()
    counting = asyncio.create_task(Vitals(it, progress=Progress(clock), show=lambda: None, status=None).count())
    await clock.advance(100)
    assert len(fed) == 103
    counting.cancel()
    await asyncio.wait({counting})


async def test_presence_follows_what_changes_and_nothing_else(living, clock):
    house, _, shown = living
    await clock.advance(60)
    assert shown == [], "the login has said it"
    house.now = replace(FINE, away_s=0.0)
    await clock.advance(1)
    house.now = replace(FINE, away_s=1.0, uptime_s=99)
    await clock.advance(10)
    assert len(shown) == 1
    house.now = replace(FINE, away_s=2.0, link_up=False)
    await clock.advance(10)
    assert len(shown) == 1


# ── status.json ───────────────────────────────────────────────────────────────────────────────────────────────────────


def read(path):
    return json.loads(path.read_text("utf-8"))


def test_the_file_is_written_on_each_change_and_every_ten_seconds(tmp_path):
    path = tmp_path / "status.json"
    file = StatusFile(path, name="greenhouse")
    file.tell(FINE, now_ns=0, at_ns=None)
    assert read(path) == {
        "schema": 1, "level": "fine", "at": None, "boottime_s": 0.0, "node": "greenhouse", "version": "1.2.3",
        "pid": os.getpid(),
        "uptime_s": 2, "link": {"up": True, "for_s": 1}, "alerts": [], "unacknowledged": 0, "missing": [],
        "waiting": 0, "lost": 0, "storage": None, "hardware_away_s": None,
    }  # fmt: skip
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    later = replace(FINE, uptime_s=50, backlog=0)
    file.tell(later, now_ns=int((EVERY_S - 1) * 1e9), at_ns=None)
    assert read(path)["uptime_s"] == 2, "nothing to say"
    file.tell(later, now_ns=int(EVERY_S * 1e9), at_ns=None)
    assert (read(path)["uptime_s"], read(path)["boottime_s"]) == (50, EVERY_S)
    down = replace(later, link_up=False, alarms=("door",))
    file.tell(down, now_ns=int((EVERY_S + 1) * 1e9), at_ns=1_795_342_503_000_000_000)
    assert (read(path)["level"], read(path)["alerts"]) == ("link down", ["door"])
    assert read(path)["at"] == "2026-11-22T10:15:03.000Z"
    file.stopped(FakeClock(time_ns=1_795_342_504_000_000_000, boottime_ns=int((EVERY_S + 2) * 1e9)))
    assert (read(path)["level"], read(path)["link"]) == ("stopped", {"up": False, "for_s": 1})
    assert (read(path)["at"], read(path)["boottime_s"]) == ("2026-11-22T10:15:04.000Z", EVERY_S + 2)
    file.tell(later, now_ns=int((EVERY_S + 3) * 1e9), at_ns=None)
    file.stopped(FakeClock())
    assert read(path)["link"] == {"up": False, "for_s": 0}  # not for how long it had been there
    assert [one.name for one in tmp_path.iterdir()] == ["status.json"]


def test_a_reader_finds_a_whole_file_also_after_a_kill_amid_the_writing(tmp_path):
    path = tmp_path / "status.json"
    (tmp_path / ".status.json.new").write_text("{half")
    file = StatusFile(path, name="greenhouse")
    file.tell(FINE, now_ns=0, at_ns=None)
    held = path.open("rb")
    with held:
        file.tell(replace(FINE, link_up=False), now_ns=1, at_ns=None)
        assert json.loads(held.read())["level"] == "fine", "who reads has the whole of the one before"
    assert read(path)["level"] == "link down"


def test_a_start_takes_away_what_the_run_before_it_said(tmp_path):
    path = tmp_path / "status.json"
    StatusFile(path, name="greenhouse").tell(FINE, now_ns=0, at_ns=None)  # and was killed
    file = StatusFile(path, name="greenhouse")
    assert path.exists(), "another node's, for as long as nobody knows that it has ended"
    file.begun()
    file.begun()
    assert not path.exists()
    file.stopped(FakeClock())  # before it had anything to say
    assert not path.exists()


async def test_a_node_that_ends_before_it_has_anything_to_say_leaves_no_former_word(tmp_path):
    """And one whose folder another node has leaves that node's own."""
    path, toml = tmp_path / "status.json", tmp_path / "node.toml"
    toml.write_text('[node]\nname = "attic"\n[xmpp]\njid = "attic@example.org"\n', "utf-8")
    StatusFile(path, name="attic").tell(FINE, now_ns=0, at_ns=None)
    (tmp_path / "readings.db").mkdir()
    start = partial(serve.serve, config.load(toml, jid=compat.jid), password="", state=tmp_path, load=list, status=path)
    with lock(tmp_path / "lock", taken=""), pytest.raises(DeviceError, match="in use by another knoop"):
        await start()
    assert path.exists()
    with pytest.raises(OSError, match=r"readings\.db"):
        await start()
    assert not path.exists()


def test_what_cannot_be_taken_away_is_said(tmp_path, caplog):
    (tmp_path / "status.json").mkdir()
    StatusFile(tmp_path / "status.json", name="greenhouse").begun()
    assert "status.json: " in caplog.text


def test_a_folder_that_cannot_be_written_is_said_once(tmp_path, caplog):
    file = StatusFile(tmp_path / "gone" / "status.json", name="greenhouse")
    for second in range(30):
        file.tell(FINE, now_ns=second * 10**9, at_ns=None)
    assert caplog.text.count("nobody can read there how the node is") == 1


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"RUNTIME_DIRECTORY": "{0}/run", "XDG_RUNTIME_DIR": "{0}"}, "run/status.json"),
        ({"XDG_RUNTIME_DIR": "{0}"}, "knoop/status.json"), ({}, None),
    ],
)  # fmt: skip
def test_where_it_is(given, path, tmp_path, monkeypatch):
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value.format(tmp_path))
    assert places.status_file() == (tmp_path / path if path else None)


# ── the end ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_one_part_leaves_goes_to_the_next_and_the_sum_is_bounded(clock):
    ending = Ending(clock)
    assert ending.left_s() == ending.left_s(1.0) == PATIENT_S, "nobody was told to stop"
    ending.begin()
    assert ending.left_s(1.0) == 1.0
    assert ending.left_s() == WHOLE_S - CLOSE_S
    await clock.advance(2)
    ending.begin()
    assert ending.left_s() == pytest.approx(WHOLE_S - CLOSE_S - 2), "the first time counts"
    await clock.advance(10)
    assert ending.left_s() == ending.left_s(keep_s=0) == 0


def test_the_promised_five_seconds_are_kept():
    assert SETTLE_S + LINK_S + ANSWERS_S + CLOSE_S < WHOLE_S < 5
    assert GOODBYE_S < LINK_S


async def test_a_worker_that_hangs_holds_nobody_up():
    """ThreadPoolExecutor's threads are joined when the interpreter exits."""
    code = "import time; from knoop.worker import Worker; Worker('disk').submit(time.sleep, 3600); print('done')"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), 20)
    assert out == b"done\n"


async def test_a_worker_does_what_it_is_given_in_order_and_raises_what_is_raised():
    worker, loop, done = Worker("disk"), asyncio.get_running_loop(), []
    calls = [loop.run_in_executor(worker, done.append, number) for number in range(100)]
    with pytest.raises(ZeroDivisionError):
        await loop.run_in_executor(worker, lambda: 1 / 0)
    assert [call.done() for call in calls] == [True] * 100
    assert done == list(range(100))
    worker.shutdown()
    with pytest.raises(RuntimeError, match="takes nothing more"):
        worker.submit(int)
