"""How starts are counted, and when the next one is in safe mode: over a real file, with time held still."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop.ending import Ending
from knoop.errors import LoginRefused, StoreError
from knoop.starts import ALONE_S, FILE, GOOD_S, MOST, MOST_CUTS, SAFE_S, History, Start, told
from knoop_hw.clock import FakeClock
from knoop_hw.errors import ConfigError, DeviceError, Problem


class Machine:
    """A machine that boots, and the starts of a node on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock, self._boots = folder, FakeClock(), 0

    def start(self, *, by_hand: bool = False) -> Start:
        return Start(self.folder, clock=self.clock, ending=Ending(self.clock), by_hand=by_hand)

    def cut(self) -> None:
        """The power goes and comes back."""
        self._boots += 1
        self.clock.boot_id = f"boot-{self._boots}"

    async def killed(self, times: int = 1) -> None:
        for _ in range(times):
            await self.start().__aenter__()

    async def ends(self, error: BaseException | None = None) -> None:
        with suppress(Exception, asyncio.CancelledError, KeyboardInterrupt):
            async with self.start():
                if error is not None:
                    raise error

    async def proves_good(self, start: Start, seconds: float, *, logged_in: bool = True) -> bool:
        """Whether a start has proven good after so long; what it writes of that is on the disk then."""
        proving = asyncio.create_task(start.proven(lambda: logged_in))
        await self.clock.advance(seconds)
        if any(not sleeper.done() for *_, sleeper in self.clock._sleepers):  # it looks again later
            proving.cancel()
            return False
        await asyncio.wait_for(proving, 60)
        return True

    async def safe(self) -> bool:
        """Whether the next start is in safe mode; it then ends as it should."""
        async with self.start() as start:
            return start.safe is not None

    @property
    def said(self) -> dict[str, object]:
        return json.loads((self.folder / FILE).read_text("utf-8"))

    @property
    def crashes(self) -> object:
        return self.said["crashes"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def test_five_kills_and_no_fewer(machine):
    await machine.killed(MOST)
    assert machine.crashes == MOST - 1, "the fifth is still running, as far as anybody knows"
    async with machine.start() as start:
        assert start.safe is not None
        assert (start.safe.crashes, start.safe.last, start.safe.by_hand) == (MOST, "", False)
        assert start.safe.until_ns == machine.clock.boottime_ns() + SAFE_S * 1e9
        assert not start.bare
    assert not await machine.safe(), "one that ended as it should is followed by one as usual"


async def test_four_kills_are_not_enough(machine):
    await machine.killed(MOST - 1)
    assert not await machine.safe()


@pytest.mark.parametrize(
    "error",
    [None, LoginRefused("wrong password"), ConfigError([Problem("f", 1, "k", "t")]), asyncio.CancelledError(),
     KeyboardInterrupt()],
)  # fmt: skip
async def test_what_ends_as_it_should_is_no_crash(machine, error):
    for _ in range(3 * MOST):
        await machine.ends(error)
    assert (machine.crashes, machine.said["ended"], machine.said["running"]) == (0, "well", "")
    await machine.killed(MOST - 1)
    await machine.ends(error)
    assert not await machine.safe(), "nor is it one in between"


async def test_what_is_raised_counts_and_says_why(machine):
    for _ in range(MOST):
        await machine.ends(DeviceError("lamp: GPIO17 is taken by “kernel”\nrun gpioinfo"))
    async with machine.start() as start:
        assert start.safe is not None
        assert start.safe.last == "lamp: GPIO17 is taken by “kernel”"


async def test_after_a_stop_the_count_goes_on_and_one_more_crash_is_enough(machine):
    await machine.killed(MOST)
    assert await machine.safe()
    assert not await machine.safe()
    await machine.killed()
    assert await machine.safe()


async def test_safe_mode_that_crashes_too_opens_less(machine):
    await machine.killed(MOST)
    await machine.killed()  # in safe mode
    async with machine.start() as start:
        assert start.safe is not None
        assert start.bare
    await machine.killed()  # as usual
    async with machine.start() as start:
        assert (start.safe is not None, start.bare) == (True, False), "it was not safe mode that crashed"


async def test_owners_hear_of_it_seldom(machine):
    await machine.killed(MOST)
    told_of = []
    for number in range(1, 17):
        async with machine.start() as start:
            assert start.safe is not None
            if start.tells:
                told_of.append(number)
        await machine.killed()
    assert told_of == [1, 2, 4, 8, 16]


async def test_a_good_life_is_counted_from_the_login(machine):
    await machine.killed(MOST - 1)
    start = machine.start()
    await start.__aenter__()
    assert not await machine.proves_good(start, GOOD_S - 2)
    assert machine.crashes == MOST - 1
    assert await machine.proves_good(start, GOOD_S + 2)
    assert machine.crashes == 0
    await machine.killed(MOST - 2)
    assert not await machine.safe(), "that start, and three more"


async def test_a_good_start_after_a_good_one_has_nothing_to_write(machine):
    await machine.ends()
    start = machine.start()
    await start.__aenter__()
    before = (machine.folder / FILE).stat().st_ino
    assert await machine.proves_good(start, GOOD_S + 2)
    assert (machine.folder / FILE).stat().st_ino == before, "each write makes the file anew"


async def test_a_server_that_is_away_proves_nothing_but_crashes_that_are_days_apart_do_not_add_up(machine):
    for _ in range(2 * MOST):
        start = machine.start()
        await start.__aenter__()
        assert start.safe is None
        assert await machine.proves_good(start, ALONE_S + 2, logged_in=False)
        assert machine.crashes == 0
    await machine.killed()
    start = machine.start()
    await start.__aenter__()
    assert machine.crashes == 2
    assert not await machine.proves_good(start, ALONE_S - 2, logged_in=False)
    assert machine.crashes == 2


async def test_a_machine_that_lost_its_power_is_no_crash(machine):
    for _ in range(MOST_CUTS - 1):
        await machine.killed()
        machine.cut()
    assert not await machine.safe()
    assert machine.crashes == 0


async def test_but_one_that_we_pull_down_for_ever_comes_to_an_end(machine):
    for _ in range(MOST_CUTS):
        await machine.killed()
        machine.cut()
    async with machine.start() as start:
        assert start.safe is not None
        assert (start.safe.crashes, start.safe.cuts) == (0, MOST_CUTS)


async def test_a_power_cut_in_safe_mode_is_no_crash_either(machine):
    await machine.killed(MOST + 1)
    machine.cut()
    assert not await machine.safe()


async def test_by_hand_it_lasts_and_whatever_was_before_does_not_matter(machine):
    async with machine.start(by_hand=True) as start:
        assert start.safe is not None
        assert (start.safe.by_hand, start.safe.until_ns, start.bare, start.tells) == (True, None, False, True)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"[" * 4000, b"null", b'{"schema": 2}', b"\xff\xfe", b'{"schema": 1, "crashes": 5}',
     b'{"schema":1,"crashes":"9","cuts":0,"ended":"crash","last":"","running":"","safe":false}',
     b'{"schema":1,"crashes":true,"cuts":0,"ended":"crash","last":"","running":"","safe":false}',
     b'{"schema":1,"crashes":9,"cuts":0,"ended":"bang","last":"","running":"","safe":false}',
     b'{"schema":1,"crashes":9,"cuts":0,"ended":"crash","last":7,"running":"","safe":false}'],
)  # fmt: skip
async def test_a_file_that_is_none_means_a_start_as_usual_and_a_line_in_the_log(machine, content, caplog):
    (machine.folder / FILE).write_bytes(content)
    assert not await machine.safe()
    assert caplog.text.count("cannot be read") == 1
    assert machine.said["ended"] == "well", "and a whole one again"


@given(content=st.binary(max_size=300))
def test_whatever_stands_there_never_ends_a_start(content, tmp_path_factory):
    machine = Machine(tmp_path_factory.mktemp("starts"))
    (machine.folder / FILE).write_bytes(content)
    assert not asyncio.run(machine.safe())


async def test_where_nothing_can_be_written_every_start_is_as_usual(tmp_path, caplog):
    machine = Machine(tmp_path / "no such folder")
    await machine.killed(3 * MOST)
    caplog.clear()
    assert not await machine.safe()
    assert caplog.text.count("cannot be written") == 1


async def test_the_file_is_ours_alone(machine):
    await machine.ends()
    assert (machine.folder / FILE).stat().st_mode & 0o777 == 0o600
    assert [file.name for file in machine.folder.iterdir()] == [FILE]


def test_what_a_crash_says_holds_no_text_of_a_peers_and_no_address():
    def fail() -> None:
        raise KeyError("anna@example.org said: hunter2")

    with pytest.raises(KeyError) as caught:
        fail()
    assert told(caught.value) == "KeyError"
    with pytest.raises(AttributeError) as ours:
        Ending(None).begin()  # a mistake within the package
    assert told(ours.value).startswith("AttributeError in knoop.ending, line ")
    text = told(StoreError("/var/lib/knoop/x: of <anna@example.org/phone>\nsecond line\x1b[2K"))
    assert text == "/var/lib/knoop/x: of <…>"
    assert len(told(DeviceError("x" * 1_000_000))) == 301


def test_looking_back_is_pure():
    before = History(running="a", crashes=2)
    assert before.looked_back("a") == History(crashes=3, ended="crash")
    assert before.looked_back("b") == History(crashes=2, cuts=1, ended="cut")
    assert History(crashes=9).looked_back("a") == History(crashes=9)
