"""A disk that fills up, dies, or comes back with other bytes, under a real node with a real server (docs/adr/0031)."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest
from tests.integration.running import NODE, TICKING, Owned, Running, Way, until, write

from knoop.store import Store
from knoop_bench.certificates import Authority
from knoop_bench.prosody import Prosody
from knoop_bench.witness import EVENTS, Witness

pytestmark = pytest.mark.prosody

FULL = "Alert storage: my disk is full; make room there."
FAILING = "Alert storage: my disk does not take what I write; the log says why"
LOST = "Alert storage: rights given or taken in chat are lost; look at [people]"
REPLACED = "Alert storage: a damaged file was set aside and begun anew"
OVER = "storage is over: my disk takes everything again."
OVER_S = 90.0  # it must have been well for a minute
ROOMY = "size=2m,nr_inodes=100"


class Volume:
    """A file system of its own over a folder, in a mount namespace that outlives the processes that use it."""

    def __init__(self, home: Path, options: str) -> None:
        self._home, self._folder, self._options = home, home / "state/knoop", options
        self._keeper: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        script = 'mount -t tmpfs -o "$1" knoop "$0" && echo there && exec sleep infinity'
        self._keeper = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "unshare", "-rm", "sh", "-c", script, self._folder, self._options],
            stdout=subprocess.PIPE,
        )
        assert self._keeper.stdout is not None
        if self._keeper.stdout.readline() != b"there\n":
            self.__exit__()
            pytest.skip("this machine lets nobody make a private mount: no small disk to fill")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._keeper is not None
        self._keeper.kill()
        self._keeper.wait()
        assert self._keeper.stdout is not None
        self._keeper.stdout.close()

    @property
    def inside(self) -> tuple[str, ...]:
        """What a command begins with to run where the volume is; tied to our life anew, since this unties it."""
        assert self._keeper is not None
        enter = ("nsenter", "-t", str(self._keeper.pid), "-U", "-m", "--preserve-credentials")
        return (*enter, "setpriv", "--pdeathsig", "KILL", "env", "-C", str(self._home))

    @property
    def path(self) -> Path:
        """The folder as it is there, from here."""
        assert self._keeper is not None
        return Path(f"/proc/{self._keeper.pid}/root{self._folder}")

    def remount(self, options: str) -> None:
        subprocess.run([*self.inside, "mount", "-o", f"remount,{options}", self._folder], check=True)

    def fill(self) -> None:
        """Leave no room for another byte."""
        with suppress(OSError), (self.path / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(512))

    def crowd(self) -> None:
        """Leave no room for another file."""
        with suppress(OSError):
            for number in range(10_000):
                (self.path / f"ballast-{number}").touch()

    def relieve(self) -> None:
        for ballast in self.path.glob("ballast*"):
            ballast.unlink()

    def close(self) -> None:
        self.remount("ro")

    def reopen(self) -> None:
        self.remount("rw")


@asynccontextmanager
async def refusing(pid: int, how: str, *calls: str) -> AsyncIterator[None]:
    """Let the kernel answer these calls of a process with an error."""
    inject = [part for call in calls for part in ("-e", f"inject={call}:{how}")]
    tracer = await asyncio.create_subprocess_exec(
        "setpriv", "--pdeathsig", "KILL", "strace", "-f", "-o", "/dev/null", "-p", str(pid),
        "-e", f"trace={','.join(calls)}", *inject, stderr=subprocess.PIPE,
    )
    assert tracer.stderr is not None
    try:
        assert b"attached" in await asyncio.wait_for(tracer.stderr.readline(), 10)
        yield
    finally:
        tracer.send_signal(signal.SIGINT)
        await tracer.communicate()


EIO = "error=EIO"
WRITING = ("pwrite64", "fdatasync", "fsync", "ftruncate")


@dataclass(slots=True, kw_only=True)
class Trial:
    """A node whose front door opens and closes each second, and its owner."""

    node: Running
    house: Owned
    state: Path

    @property
    def seen(self) -> list[tuple[str, int]]:
        """Run and seq of the door's events, as the owner's client received them."""
        return [
            (item.payload.get("run", ""), int(child.get("seq", "0")))
            for item in self.house.owner.items if item.node == EVENTS and item.payload is not None
            for child in item.payload if child.get("channel") == "door"
        ]  # fmt: skip

    def copied(self) -> Path:
        """The readings as a power cut now would leave them."""
        copy = self.node.folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for part in ("readings.db", "readings.db-wal"):
            if (self.state / part).exists():
                shutil.copyfile(self.state / part, copy / part)
        return copy / "readings.db"

    def kept(self) -> int:
        """The last row in the file; 0 where that was copied in the middle of a change."""
        try:
            with closing(sqlite3.connect(self.copied())) as db:
                return int(db.execute("SELECT ifnull(max(id), 0) FROM reading").fetchone()[0])
        except sqlite3.DatabaseError:
            return 0

    async def events(self, more: int = 2) -> None:
        """Wait for so many more events of the door."""
        wanted = len(self.seen) + more
        await until(lambda: len(self.seen) >= wanted, lambda: f"{self.seen}\n{self.node.log}")

    async def goes_on(self) -> None:
        """Events arrive, and what is asked is done."""
        await self.events()
        await self.house.asks("lamp on", "Lamp is on.")
        await self.house.asks("lamp off", "Lamp is off.")

    async def again(self, how: signal.Signals, *, meanwhile: Callable[[], None]) -> None:
        """End it, let something happen, start it."""
        await self.node.stop(how)
        meanwhile()
        times = self.node.log.count("connected as")
        self.node.start()
        await self.node.online(times=times + 1)
        await self.events(1)

    async def owns_up(self) -> None:
        """What cannot be kept is not promised, and what is asked of the disk is answered, in a sentence."""
        await self.house.asks("quiet 2h", "My disk does not do that now")
        assert "incident" not in self.node.log
        assert "alert" in (await self.house.asks("status", "🔴"))

    async def told(self, text: str, *, within_s: float = 15.0) -> None:
        """The owner heard it: once."""
        await until(lambda: self.heard(text) > 0, lambda: f"{self.bodies}\n{self.node.log}", within_s)
        assert self.heard(text) == 1, self.bodies

    @property
    def bodies(self) -> list[str]:
        return [seen.body for seen in self.house.owner.seen if seen.kind == "message" and seen.body]

    def heard(self, text: str) -> int:
        return sum(body.startswith(text) for body in self.bodies)

    async def keeps_again(self) -> None:
        """What happens is on the disk: a kill and another start lose nothing of it, and the promise was kept."""
        before = self.kept()
        await until(lambda: self.kept() > before, lambda: self.node.log)
        safe = self.kept()
        await self.node.stop(signal.SIGKILL)
        run, last = self.seen[-1]
        async with Store.open(self.copied()) as store:
            records = await store.latest()
        assert store.set_aside is None
        assert max(record.row for record in records) >= safe
        await self.again(signal.SIGKILL, meanwhile=lambda: None)
        seqs = sorted({seq for ran, seq in self.seen if ran == run})
        assert seqs == list(range(seqs[0], seqs[-1] + 1)), seqs
        assert seqs[-1] >= last
        assert "Traceback" not in self.node.log, self.node.log


Run = AbstractAsyncContextManager[Trial]


@pytest.fixture
async def trial(tmp_path: Path, authority: Authority) -> AsyncIterator[Callable[..., Run]]:
    """`async with trial(volume) as it:` is a node that runs, on a disk of its own or the test's, and its owner."""
    async with Prosody(tmp_path / "prosody", authority=authority) as server:
        jid, owner = (server.add_account(name, "secret") for name in (NODE, "anna"))
        write(tmp_path, Way.to(server), jid=jid, people={owner: '"owner"'}, scenario=TICKING)

        @asynccontextmanager
        async def run(volume: Volume | None = None) -> AsyncIterator[Trial]:
            node = Running(tmp_path, before=volume.inside if volume else ())
            where = {"port": server.tls_port, "ca_file": server.ca_file}
            async with Witness(owner, "secret", friends=[jid], **where) as anna:
                state = volume.path if volume else tmp_path / "state/knoop"
                it = Trial(node=node, house=Owned(owner=anna, jid=jid), state=state)
                node.start()
                try:
                    await node.online()
                    await it.events(1)
                    yield it
                finally:
                    await node.stop()

        yield run


async def test_a_disk_that_reports_errors(trial):
    async with trial() as it:
        async with refusing(it.node.pid, EIO, *WRITING):
            await it.told(FAILING)
            await it.goes_on()
        assert "Traceback" not in it.node.log


async def test_a_disk_that_fills_up(trial, tmp_path):
    with Volume(tmp_path, ROOMY) as volume:
        async with trial(volume) as it:
            volume.fill()
            await it.told(FULL)
            await it.goes_on()
            volume.relieve()
            await it.keeps_again()


@pytest.mark.long
@pytest.mark.parametrize(
    ("calls", "how", "says"),
    [
        (WRITING, EIO, FAILING), (("fdatasync", "fsync"), EIO, FAILING),
        (WRITING, "error=EROFS", FAILING),
        (("fdatasync",), "delay_enter=45000000", FAILING), (("pread64", *WRITING), EIO, FAILING),
    ],
)  # fmt: skip
async def test_it_is_told_once_and_once_when_it_is_over(trial, calls, how, says):
    async with trial() as it:
        async with refusing(it.node.pid, how, *calls):
            await it.told(says, within_s=60)
            await it.goes_on()
            if how == EIO:
                await it.owns_up()
            elif "delay" in how:
                await it.house.asks("quiet 2h", "My disk does not ")
        await it.told(OVER, within_s=OVER_S)
        assert it.heard(says) == it.heard("Alert ") == 1
        await it.keeps_again()
        assert it.heard("Alert ") == 1


@pytest.mark.long
async def test_a_full_one_that_has_room_again(trial, tmp_path):
    with Volume(tmp_path, ROOMY) as volume:
        async with trial(volume) as it:
            volume.fill()
            await it.told(FULL)
            await it.goes_on()
            await it.owns_up()
            volume.relieve()
            await it.told(OVER, within_s=OVER_S)
            assert it.heard("Alert ") == 1
            await it.keeps_again()


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize(
    ("bad", "good", "says"),
    [(Volume.fill, Volume.relieve, FULL), (Volume.close, Volume.reopen, FAILING), (Volume.crowd, Volume.relieve, FULL)],
    ids=["full", "read-only", "no inodes"],
)  # fmt: skip
async def test_a_start_without_a_disk(trial, tmp_path, how, bad, good, says):  # noqa: PLR0917
    with Volume(tmp_path, ROOMY) as volume:
        async with trial(volume) as it:
            await it.house.asks("allow bram@localhost operator", "bram@localhost: ")
            await it.again(how, meanwhile=lambda: bad(volume))
            # A node that was killed has left its files: out of inodes it lacks nothing.
            lacks = (bad, how) != (Volume.crowd, signal.SIGKILL)
            if lacks:
                await it.told(says)
            await it.goes_on()
            assert "\nbram@localhost: " in await it.house.asks("who", "anna@localhost: ")
            good(volume)
            if lacks:
                await it.told(OVER, within_s=OVER_S)
            assert it.heard("Alert ") == lacks
            await it.keeps_again()
            assert "\nbram@localhost: " in await it.house.asks("who", "anna@localhost: ")


@pytest.mark.long
@pytest.mark.parametrize("bad", [Volume.fill, Volume.close], ids=["full", "read-only"])
async def test_a_first_start_without_a_disk(trial, tmp_path, bad):
    with Volume(tmp_path, ROOMY) as volume:
        bad(volume)
        async with trial(volume) as it:
            await it.told("Alert storage: my disk")
            await it.goes_on()
            await it.owns_up()
            (volume.relieve if bad is Volume.fill else volume.reopen)()
            await it.told(OVER, within_s=OVER_S)
            await it.keeps_again()


@pytest.mark.long
@pytest.mark.parametrize("name", ["readings.db", "state.db"])
async def test_a_damaged_file_at_the_start(trial, name):
    async with trial() as it:
        await it.again(signal.SIGTERM, meanwhile=lambda: spoil(it.state / name))
        await it.told(REPLACED if name == "readings.db" else LOST)
        await it.goes_on()
        assert (it.state / f"{name}.corrupt-1").exists()
        await it.keeps_again()
        await it.told(OVER)  # a start later nothing is damaged
        assert it.heard("Alert ") == 1


@pytest.mark.long
async def test_a_file_that_is_damaged_under_a_running_node(trial):
    async with trial() as it:
        spoil(it.state / "readings.db")
        spoil(it.state / "readings.db-wal")
        await it.goes_on()  # it knows its pages by heart: only a read of others shows it
        await it.again(signal.SIGKILL, meanwhile=lambda: None)
        await it.told(REPLACED)
        await it.goes_on()
        await it.keeps_again()
        assert it.heard("Alert ") == 1


def spoil(file: Path) -> None:
    """Other bytes instead of those that were there."""
    with file.open("r+b") as there:
        there.write(random.Random(1).randbytes(file.stat().st_size or 4096))
