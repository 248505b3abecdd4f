"""starts.json: how the starts before this one ended, so that a node that keeps crashing begins in safe mode.

A start that ends without saying so crashed, if the machine runs since; what it says that is no good end crashed as
well. docs/adr/0043 says what counts. The file is worth a line in the log, never a start: one that cannot be read or
written means that nobody counts.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from knoop.ending import Ending
from knoop.errors import LoginRefused, StoreError
from knoop.files import put
from knoop.health import SafeMode
from knoop_hw.clock import Clock
from knoop_hw.errors import ConfigError, DeviceError
from knoop_hw.life import in_a_thread
from knoop_hw.logs import printable

log = logging.getLogger(__name__)

FILE = "starts.json"
SCHEMA = 1
MODE = 0o600
MOST = 5  # crashes: with systemd's pauses half a minute, in which nobody is told anything
# A machine that goes off is no crash of ours, unless we make it go: a relay that moves at each start may pull a weak
# supply down, for ever. Thirty times in a row within two minutes no house has, and no test of power cuts does.
MOST_CUTS = 30
# A start that lived so long after its login was good. The watchdog's slowest verdict takes 80 s (`progress.STUCK_S` and
# WatchdogSec): a minute would forgive each start of those that it ends.
GOOD_S = 120.0
ALONE_S = 3600.0  # and one that no server let in, after so long: crashes that are days apart do not add up
LOOK_S = 1.0
SAFE_S = 600.0  # enough to look; what is measured and alarmed is not missed for longer than it must
PATIENT_S = 5.0  # for the disk; a write takes milliseconds
LONGEST = 4096  # bytes of the file
LINE = 300  # characters of what the last crash said
_ADDRESS = re.compile(r"[^\s'\"<>(]+@[^\s'\"<>)]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What is known of the starts since the last good one.

    `running` is the boot of a start that has not ended yet, '' for none, and `safe` whether the last one was in safe
    mode. `ended`: how the last one did. `last`: what the last crash said, '' where nobody could say anything.
    """

    crashes: int = 0
    cuts: int = 0
    ended: Literal["well", "crash", "cut"] = "well"
    last: str = ""
    running: str = ""
    safe: bool = False

    def looked_back(self, boot: str) -> History:
        """The same once another start begins, in this boot: one that still runs has ended without a word."""
        if not self.running:
            return self
        if self.running != boot:
            return replace(self, running="", ended="cut", cuts=self.cuts + 1)
        return replace(self, running="", ended="crash", crashes=self.crashes + 1, last="")

    @property
    def too_often(self) -> int:
        """By how many it is too often, counted from 1; 0 where it is not, or where the last start ended well."""
        if self.ended == "crash":
            return max(0, self.crashes - MOST + 1)
        return max(0, self.cuts - MOST_CUTS + 1) if self.ended == "cut" else 0


class Start:
    """This start: noted when it begins, when it has proven good and when it ends; an async context manager.

    Entering never raises. `safe` is then why it is to be in safe mode, None where it is not.
    """

    def __init__(self, folder: Path, *, clock: Clock, ending: Ending, by_hand: bool = False) -> None:
        self.safe: SafeMode | None = None
        self.bare = False  # whether not even state.db is to be opened: safe mode itself crashed
        self.tells = False  # whether owners are told
        self._path, self._clock, self._ending, self._by_hand = folder / FILE, clock, ending, by_hand
        self._known = History()
        self._out: asyncio.Future[None] | None = None
        self._failed = False

    async def __aenter__(self) -> Self:
        before = (await self._read()).looked_back(self._clock.boot_id)
        often = before.too_often
        if self._by_hand:
            self.safe = SafeMode(crashes=before.crashes, cuts=before.cuts, last=before.last, by_hand=True)
        elif often:
            until_ns = self._clock.boottime_ns() + round(SAFE_S * 1e9)
            self.safe = SafeMode(crashes=before.crashes if before.ended == "crash" else 0, cuts=before.cuts,
                                 last=before.last, until_ns=until_ns)  # fmt: skip
        self.bare = bool(often) and before.safe and before.ended == "crash"
        self.tells = self._by_hand or (often & (often - 1)) == 0  # the 1st, 2nd, 4th, 8th time: eight messages a day
        await self._write(replace(before, running=self._clock.boot_id, safe=self.safe is not None))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ended = replace(self._known, running="", ended="well")
        if error is not None and isinstance(error, Exception) and not isinstance(error, ConfigError | LoginRefused):
            ended = replace(ended, ended="crash", crashes=ended.crashes + 1, last=told(error))
        await self._write(ended, within_s=max(self._ending.left_s(keep_s=0), 0.3))

    async def proven(self, logged_in: Callable[[], bool]) -> None:
        """Return when this start was a good one, and the next begins to count anew."""
        began_ns = self._clock.boottime_ns()
        in_ns: int | None = None
        while True:
            now_ns = self._clock.boottime_ns()
            if in_ns is None and logged_in():
                in_ns = now_ns
            if now_ns - began_ns >= ALONE_S * 1e9 or (in_ns is not None and now_ns - in_ns >= GOOD_S * 1e9):
                break
            await self._clock.sleep(LOOK_S)
        if self._known.crashes or self._known.cuts:
            log.info("this start was a good one; the %d before it count no more",
                     self._known.crashes + self._known.cuts)  # fmt: skip
        good = History(running=self._clock.boot_id)
        if good != self._known or self._failed:  # mostly it is what stands there already
            await self._write(good)

    async def _read(self) -> History:
        try:
            async with asyncio.timeout(PATIENT_S):
                return _history(await in_a_thread(partial(_content, self._path), name="starts"))
        except FileNotFoundError:
            return History()
        except (OSError, ValueError, RecursionError, TimeoutError) as error:
            log.warning("%s cannot be read (%s); the starts before this one are not counted", self._path, error)
            return History()

    async def _write(self, known: History, *, within_s: float = PATIENT_S) -> None:
        self._known = known
        content = json.dumps({"schema": SCHEMA, **asdict(known)}, ensure_ascii=False).encode() + b"\n"
        why: str | None = "the disk does not answer"
        if self._out is None or await _over(self._out, within_s):  # one at a time, also when nobody waits for it
            self._out = in_a_thread(partial(put, self._path, content, mode=MODE), name="starts")
            if await _over(self._out, within_s):
                error = self._out.exception()
                why = (getattr(error, "strerror", "") or str(error)) if error else None
        if why is not None and not self._failed:
            log.warning("%s cannot be written (%s); nobody would notice if this node crashed again and again",
                        self._path, why)  # fmt: skip
        self._failed = why is not None


def told(error: Exception) -> str:
    """One line about what ended a start, for its owners: our own sentences, and of all else only what and where.

    What a peer wrote may stand in any other error's text, and an address in both.
    """
    if isinstance(error, DeviceError | StoreError) and str(error):
        text = str(error)[:LONGEST].splitlines()[0]  # the search below takes a minute for 200 kB
    else:
        where, trace = "", error.__traceback__
        while trace is not None:
            if (name := str(trace.tb_frame.f_globals.get("__name__"))).startswith("knoop"):
                where = f" in {name}, line {trace.tb_lineno}"
            trace = trace.tb_next
        text = f"{type(error).__name__}{where}"
    return printable(_ADDRESS.sub("…", text), LINE)


async def _over(work: asyncio.Future[None], within_s: float) -> bool:
    """Whether it has ended by then, however; who is cancelled meanwhile does not end it."""
    done, _ = await asyncio.wait({work}, timeout=within_s)
    return bool(done)


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(LONGEST + 1)


def _history(content: bytes) -> History:
    """What the file says. Raises ValueError where it says something else."""
    said = json.loads(content)
    keys = {field.name for field in fields(History)}
    if not isinstance(said, dict) or said.pop("schema", None) != SCHEMA or set(said) != keys:
        raise ValueError("it is of another Knoop, or damaged")
    known = History(**said)
    counts = (known.crashes, known.cuts)
    if not all(type(count) is int and 0 <= count < 1_000_000 for count in counts) or type(known.safe) is not bool:
        raise ValueError("it is damaged")
    if known.ended not in {"well", "crash", "cut"} or not all(isinstance(s, str) for s in (known.last, known.running)):
        raise ValueError("it is damaged")
    return replace(known, last=printable(known.last, LINE, copied=True))
