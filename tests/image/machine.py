"""An emulated computer that starts from a card: a Raspberry Pi 3B, or `virt`, whose GPIO lines the host can reach.

There is no way into the image but for an owner's ssh key, so a guest is asked by chat: what is seen of it is its
console, the card, its lines, and what its server sees. Every wait is bounded, and says the console's last lines.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from tests.board.guest import FAST, REVISION, connect, controller
from tests.board.monitor import Monitor
from tests.board.qtest import Lines, Qtest
from tests.image import bootloader
from tests.image.card import Card
from tests.image.lan import Lan

Machine = Literal["virt", "raspi3b"]
BOOT_S = 600.0  # a minute on two idle cores, five on busy ones
POLL_S = 0.1
TAIL = 40
MEMORY_MB = 512  # the least of our boards, a Zero 2 W; QEMU's raspi3b always has 1024
# As Guest's, but for the memory: two processors of the kind of a Raspberry Pi 4.
VIRT = ("-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", str(MEMORY_MB))
JOURNAL = "systemd.journald.forward_to_console=1 systemd.journald.max_level_console=info"
NO_WATCHDOG = "systemd.watchdog_sec=off"  # QEMU 7.2's does not count: who starts it is reset at once
_COLOURS = re.compile(r"\x1b\[[0-9;:?!]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b[A-Z]|\r")
STARTED = "Startup finished in"  # systemd, when everything is
_AGAIN = "reboot: Restarting system"  # the kernel's last words


@dataclass
class Board:
    """A computer with power: `with Board(card, folder) as board:`.

    A guest that restarts itself is started again, as the firmware would. `more` is added to the kernel's command line;
    `lan` is a second network, with this machine on it, for a `virt`.
    """

    card: Card
    folder: Path
    machine: Machine = "virt"
    more: str = JOURNAL
    lan: Lan | None = None
    starts: int = 0
    restarts: int = 0
    began_s: float = 0.0
    lines: Lines | None = None
    qtest: Qtest | None = None
    monitor: Monitor | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    @property
    def console(self) -> str:
        """What kernel, systemd and the node said since the first start, without colours."""
        file = self.folder / "console"
        return _COLOURS.sub("", file.read_bytes().decode("utf-8", "replace")) if file.exists() else ""

    @property
    def on(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Put power on: the firmware's part, then QEMU."""
        assert not self.on
        self.folder.mkdir(parents=True, exist_ok=True)
        self.began_s = time.monotonic()
        self.starts += 1
        sockets = {name: self.folder / f"{name}.sock" for name in ("qtest", "qmp")}
        for socket in sockets.values():
            socket.unlink(missing_ok=True)
        loaded = bootloader.load(self.card, bootloader.PI_3B, self.folder / "firmware")
        command = [
            "setpriv", "--pdeathsig", "KILL", "qemu-system-aarch64", "-nodefaults", "-display", "none", "-no-reboot",
            "-accel", "tcg,thread=multi,tb-size=256",
            "-kernel", str(loaded.kernel), "-initrd", str(loaded.initrd),
            "-qtest-log", "none", "-qtest", f"unix:{sockets['qtest']},server=on,wait=off",
            "-qmp", f"unix:{sockets['qmp']},server=on,wait=off",
            "-chardev", f"file,id=console,path={self.folder / 'console'},append=on",
            *(self._virt(loaded) if self.machine == "virt" else self._raspi(loaded)),
        ]  # fmt: skip
        with (self.folder / "qemu.log").open("ab") as said:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, pass_fds=[self.lan.tap] if self.lan else []
            )
        try:
            qtest, qmp = (connect(sockets[name], self.process, self.folder) for name in ("qtest", "qmp"))
            self.qtest, self.monitor = Qtest(qtest), Monitor(qmp)
            if self.machine == "virt":
                self.lines = Lines(self.qtest, controller(self.monitor))
        except BaseException:
            self.cut()
            raise

    def cut(self) -> None:
        """Take the power away: what QEMU was given to write is on the card, what the guest still held is lost."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for line in (self.qtest, self.monitor):
            if line is not None:
                line.close()
        self.qtest = self.monitor = self.lines = None

    async def until(self, true: Callable[[], object], what: str, within_s: float = BOOT_S) -> None:
        """Return when `true`. Raises AssertionError with the console's end, also when the guest ends."""
        deadline = time.monotonic() + within_s
        while not true():
            await self._tend(what)
            assert time.monotonic() < deadline, f"not within {within_s:g} s: {what}\n{self.tail()}"
            await asyncio.sleep(POLL_S)

    async def says(self, text: str, *, times: int = 1, within_s: float = BOOT_S) -> None:
        """Return when the console has this so often."""
        await self.until(lambda: self.console.count(text) >= times, f"{text!r} on the console", within_s)

    def tail(self, lines: int = TAIL) -> str:
        """The console's last lines."""
        return "\n".join([f"the console of {self.machine}, start {self.starts}:", *self.console.splitlines()[-lines:]])

    def cpu_s(self) -> float:
        """What this start has cost the host's processors so far."""
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text("ascii").rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def _tend(self, what: str) -> None:
        if (restarts := self.console.count(_AGAIN)) > self.restarts:  # QEMU 7.2's raspi3b may hang there
            self.restarts = restarts
            self.cut()
            await asyncio.to_thread(self.start)
        if not self.on:
            assert self.process is not None
            said = (self.folder / "qemu.log").read_text("utf-8", "replace")[-1000:]
            raise AssertionError(f"the guest ended ({self.process.returncode}) before: {what}\n{said}\n{self.tail()}")

    def _virt(self, loaded: bootloader.Loaded) -> Sequence[str]:
        """A machine whose GPIO lines are all free and that passes for a Raspberry Pi; it has no overlays."""
        tree = self.folder / "virt.dtb"
        subprocess.run(
            ["qemu-system-aarch64", "-nodefaults", "-display", "none", *VIRT, "-M", f"dumpdtb={tree}"],
            check=True, capture_output=True,
        )  # fmt: skip
        for change in (("-c", str(tree), "/system"), ("-t", "x", str(tree), "/system", "linux,revision", REVISION),
                       ("-r", str(tree), "/gpio-keys")):  # fmt: skip
            subprocess.run(["fdtput", *change], check=True)
        return (
            *VIRT, "-dtb", str(tree), "-append", f"{loaded.command_line} console=ttyAMA0 {FAST} {self.more}",
            "-serial", "chardev:console",
            # Without `unsafe` each flush of the guest waits for this machine's disk; who is killed loses nothing of it.
            "-drive", f"if=none,id=card,format=raw,cache=unsafe,file={self.card.file}",
            "-device", "virtio-blk-device,drive=card", "-device", "virtio-rng-device",
            "-device", "virtio-balloon-device,id=balloon",  # which the guest tells how much memory it has left
            "-netdev", "user,id=net", "-device", "virtio-net-device,netdev=net",
            *(self.lan.device() if self.lan else ()),
        )  # fmt: skip

    def _raspi(self, loaded: bootloader.Loaded) -> Sequence[str]:
        """A Raspberry Pi 3B with the image's own device tree; its network is on USB, as the real one's."""
        return (
            "-M", "raspi3b", "-dtb", str(loaded.tree),
            "-append", f"{loaded.command_line} {NO_WATCHDOG} {FAST} {self.more}",
            "-serial", "null", "-serial", "chardev:console",
            "-drive", f"if=sd,format=raw,cache=unsafe,file={self.card.file}",
            "-netdev", "user,id=net", "-device", "usb-net,netdev=net",
        )  # fmt: skip


def installed() -> None:
    """Raises AssertionError where a program is missing."""
    for program in ("qemu-system-aarch64", "mcopy", "fdtput", "fdtoverlay", "debugfs", "zbarimg", "go-sendxmpp", "ssh",
                    "ip"):  # fmt: skip
        assert shutil.which(program), f"{program} is missing: `make test-image` installs it"
