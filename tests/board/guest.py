"""The emulated board: boots, runs what the host asks for, dies with its user.

Everything is bounded. A guest that dies is said with the last lines of its console. QEMU is ended by its own pid; it
ends as well when this process is killed (setpriv) and when the line to it closes.
"""

from __future__ import annotations

import itertools
import json
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.board import cpio, recipe
from tests.board.guest_agent import RECORD
from tests.board.monitor import Monitor
from tests.board.qtest import Lines, Qtest

BOOT_S = 240.0  # 10 s on two idle cores
BOUND_S = 60.0
HOST = "10.0.2.2"  # where the guest finds the host's 127.0.0.1
PACKAGES = ("hw/knoop_hw", "node/knoop")
COMMANDS = {"knoop-hw": "knoop_hw.cli", "knoop": "knoop.cli"}
REVISION = "a02082"  # a Raspberry Pi 3B: without it gpiozero takes the board for no Pi at all

INIT = f"""#!/bin/busybox sh
export PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 HOME=/root
busybox mkdir -p /proc /sys /dev /tmp /run /root /etc
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
busybox mount -t devtmpfs dev /dev
for module in {' '.join(recipe.MODULES)}; do
    busybox insmod /lib/modules/$module.ko
done
busybox ifconfig lo 127.0.0.1
if busybox ifconfig eth0 10.0.2.15 netmask 255.255.255.0 2>/dev/null; then
    busybox route add default gw {HOST}
fi
python3 -I /rig/guest_agent.py
busybox poweroff -f
"""
# A command as pip would install it; knoop_bench and the tests stay outside.
COMMAND = """#!/usr/bin/python3
import sys
from {module} import main
sys.exit(main())
"""
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n", "etc/group": "root:x:0:\n", "etc/hosts": "127.0.0.1 localhost\n",
}  # fmt: skip


def checkout() -> list[cpio.Entry]:
    """What a boot adds to the base: init, the agent and the code as it is now."""
    entries = [
        cpio.file("init", INIT.encode(), executable=True),
        cpio.folder("rig"),
        cpio.file("rig/guest_agent.py", (recipe.HERE / "guest_agent.py").read_bytes()),
        cpio.folder("etc"),
        *(cpio.file(path, text.encode()) for path, text in FILES.items()),
        *(
            cpio.file(f"usr/local/bin/{name}", COMMAND.format(module=module).encode(), executable=True)
            for name, module in COMMANDS.items()
        ),
    ]
    for package in PACKAGES:
        source = recipe.ROOT / package
        entries += cpio.tree(source, f"{recipe.SITE}/{source.name}")
    return [cpio.folder("usr/local/bin"), *entries]


@dataclass
class Program:
    """A process in the guest; `code` once it has ended (minus the signal that killed it)."""

    guest: Guest
    pid: int
    log_path: str
    code: int | None = None
    ended_ns: int | None = None

    def signal(self, number: signal.Signals) -> None:
        self.guest.call("signal", pid=self.pid, number=int(number))

    def wait(self, within_s: float = BOUND_S) -> int:
        """Its exit code. Raises AssertionError with its log when it does not end."""
        self.guest.until(lambda: self.code is not None, lambda: f"{self.pid} does not end:\n{self.log}", within_s)
        assert self.code is not None
        return self.code

    @property
    def log(self) -> str:
        """What it said so far, and what others said to the same file."""
        return self.guest.read(self.log_path)

    def says(self, text: str, *, times: int = 1, within_s: float = BOUND_S) -> str:
        """Return its log once it holds `text` so often."""
        deadline = time.monotonic() + within_s
        while (log := self.log).count(text) < times:
            assert self.code is None, f"{self.pid} ended with {self.code}:\n{log}"
            assert time.monotonic() < deadline, f"{text!r} is not in\n{log}"
            time.sleep(0.05)
        return log


class Stream:
    """A Unix socket in the guest that the host has dialled: whole lines, and whether the other end has hung up."""

    def __init__(self, guest: Guest, number: int) -> None:
        self._guest, self._number = guest, number
        self._rest = b""
        self.lines: list[bytes] = []
        self.heard_s: list[float] = []  # when each of them came, on the host's monotonic clock
        self.closed = False

    def say(self, text: str) -> None:
        """Raises RuntimeError when the other end is gone."""
        self._guest.call("say", stream=self._number, text=text)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            with suppress(RuntimeError):
                self._guest.hang_up(self._number)

    def heard(self, text: str) -> None:
        """The guest told what came; called by the thread that listens to it."""
        self.closed = self.closed or not text
        *lines, self._rest = (self._rest + text.encode("latin-1")).split(b"\n")
        self.heard_s += [time.monotonic()] * len(lines)
        self.lines += lines


@dataclass
class Guest:
    """A board that is up. Made by `boot`; methods may be called from any thread."""

    folder: Path
    process: subprocess.Popen[bytes]
    line: socket.socket
    qtest: Qtest
    monitor: Monitor
    ready: Mapping[str, Any] = field(default_factory=dict)
    lines: Lines | None = None
    _console: bytearray = field(default_factory=bytearray)
    _news: threading.Condition = field(default_factory=threading.Condition)
    _answers: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    _programs: dict[int, Program] = field(default_factory=dict)
    _ended: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    _streams: dict[int, Stream] = field(default_factory=dict)
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def call(self, op: str, *, within_s: float = BOUND_S, **values: Any) -> Mapping[str, Any]:
        """Ask the guest's agent. Raises RuntimeError with its sentence."""
        number = next(self._numbers)
        data = RECORD + json.dumps({"id": number, "op": op, **values}).encode() + b"\n"
        self.line.sendall(data)
        self.until(lambda: number in self._answers, lambda: f"no answer to {op} {values}", within_s)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise RuntimeError(f"{op}: {answer['error']}")
        return answer

    def start(
        self, *argv: str, half: str | None = None, cwd: str = "/root", log: str | None = None, **environment: str
    ) -> Program:
        """Start a command; with `half` ("hw", "node") its main is called in a fork that has everything imported."""
        log = log or f"/tmp/log-{next(self._numbers)}"
        answer = self.call("start", argv=argv, half=half, cwd=cwd, log=log, env=environment, within_s=BOOT_S)
        program = Program(self, answer["pid"], log)
        with self._news:
            self._programs[program.pid] = program
            if ended := self._ended.pop(program.pid, None):
                program.code, program.ended_ns = ended["code"], ended["at_ns"]
        return program

    def run(self, *argv: str, within_s: float = BOUND_S, **more: Any) -> tuple[int, str]:
        """Run a command to its end: its exit code and what it said."""
        program = self.start(*argv, **more)
        code = program.wait(within_s)
        return code, program.log

    def dial(self, path: str) -> Stream:
        """Connect to a Unix socket in the guest. Raises RuntimeError when nobody listens."""
        number = self.call("dial", path=path)["stream"]
        with self._news:
            return self._streams.setdefault(number, Stream(self, number))

    def hang_up(self, number: int) -> None:
        """Close a dialled socket."""
        self.call("hang up", stream=number)
        with self._news:
            self._streams.pop(number, None)

    def write(self, path: str, text: str, *, mode: int = 0o644) -> None:
        self.call("write", path=path, text=text, mode=mode)

    def read(self, path: str) -> str:
        """A file's text; long ones in parts."""
        texts, offset = [], 0
        while True:
            answer = self.call("read", path=path, offset=offset)
            if not answer["text"]:
                return "".join(texts)
            texts.append(answer["text"])
            offset = answer["offset"]

    def load(self, *modules: str) -> None:
        """Have the kernel load modules of recipe.LATER that are not there yet, each after those that it needs."""
        there = {line.split()[0] for line in self.read("/proc/modules").splitlines()}
        for module in modules:
            if module.replace("-", "_") not in there:
                code, said = self.run("/bin/busybox", "insmod", f"/lib/modules/{module}.ko")
                assert code == 0, f"{module}: {said}"

    def wait_for(self, path: str, within_s: float = BOUND_S) -> None:
        """Return when a file is there."""
        deadline = time.monotonic() + within_s
        while self.run("/bin/busybox", "test", "-e", path)[0]:
            assert time.monotonic() < deadline, f"no {path} within {within_s:g} s"

    def boottime_ns(self) -> int:
        """The guest's clock, as its programs stamp with."""
        return int(self.call("clock")["at_ns"])

    @property
    def console(self) -> str:
        """What the kernel and init said."""
        file = self.folder / "console"
        return (file.read_bytes() if file.exists() else bytes(self._console)).decode("utf-8", "replace")

    def until(self, true: Callable[[], bool], what: Callable[[], str], within_s: float) -> None:
        """Return when `true`; a guest that died, or the bound, is an AssertionError."""
        with self._news:
            done = self._news.wait_for(lambda: true() or self.process.poll() is not None, within_s)
        if self.process.poll() is not None and not true():
            last = "\n".join(self.console.splitlines()[-30:])
            raise AssertionError(f"the emulated board ended ({self.process.returncode}); its console said:\n{last}")
        if not done:
            last = "\n".join(self.console.splitlines()[-10:])
            raise AssertionError(f"not within {within_s:g} s: {what()}\nconsole:\n{last}")

    def rest(self, within_s: float = BOUND_S) -> None:
        """Return when the guest has nothing to do: all of QEMU's threads sleep, in two looks in a row.

        What a line brought about in the kernel and in programs has then happened. Two edges before the kernel has dealt
        with the first are one to it, on real hardware as well: a test that counts must not drive faster than this.
        """
        deadline = time.monotonic() + within_s
        looks = 0
        while looks < 2:
            looks = looks + 1 if self._asleep() else 0
            if time.monotonic() > deadline:
                raise AssertionError(f"the guest is busy for {within_s:g} s")

    def _asleep(self) -> bool:
        """proc(5): the state is what follows the name in parentheses."""
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            with suppress(FileNotFoundError):
                if (task / "stat").read_bytes().rpartition(b") ")[2][:1] != b"S":
                    return False
        return True

    def close(self) -> None:
        """End QEMU."""
        with suppress(OSError):
            self.line.shutdown(socket.SHUT_RDWR)
        self.line.close()
        self.qtest.close()
        self.monitor.close()
        end(self.process)

    def listen(self) -> None:
        """Read the line until it closes; in a thread of its own."""
        rest = b""
        with suppress(OSError):
            while data := self.line.recv(65_536):
                *texts, rest = (rest + data).split(b"\n")
                with self._news:
                    for text in texts:
                        said, mark, record = text.partition(RECORD)
                        self._console += said + (b"" if mark else b"\n")
                        if mark:
                            self._hear(json.loads(record))
                    self._news.notify_all()
        with self._news, suppress(subprocess.TimeoutExpired):
            self.process.wait(5)
            self._news.notify_all()

    def _hear(self, record: Mapping[str, Any]) -> None:
        match record.get("event"):
            case "ready":
                self.ready = record
            case "ended":
                if program := self._programs.get(record["pid"]):
                    program.code, program.ended_ns = record["code"], record["at_ns"]
                else:
                    self._ended[record["pid"]] = record
            case "heard":
                stream = self._streams.setdefault(record["stream"], Stream(self, record["stream"]))
                stream.heard(record["text"])
                if stream.closed:
                    del self._streams[record["stream"]]  # its number may be another's soon
            case _:
                self._answers[record["id"]] = record


def boot(folder: Path, *, machine: str = "virt") -> Guest:
    """Boot a board with the code of the checkout; `machine` is virt (edges) or raspi3b (a Pi's names).

    Close it. Raises AssertionError with the console's last lines.
    """
    base = recipe.base()
    archive = folder / "initrd"
    with archive.open("wb") as out:
        out.write(base.archive.read_bytes())
        cpio.write(out, checkout())
    sockets = {name: folder / f"{name}.sock" for name in ("rig", "qtest", "qmp")}
    command = [
        "qemu-system-aarch64", "-nodefaults", "-display", "none", "-no-reboot", "-kernel", str(base.kernel),
        "-initrd", str(archive), "-qtest-log", "none",
        "-chardev", f"socket,id=rig,path={sockets['rig']},server=on,wait=on",
        "-qtest", f"unix:{sockets['qtest']},server=on,wait=off",
        "-qmp", f"unix:{sockets['qmp']},server=on,wait=off",
        *(_virt(folder) if machine == "virt" else _raspi(base)),
    ]  # fmt: skip
    said = (folder / "qemu.log").open("wb")
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL, stdout=said, stderr=said
    )
    said.close()
    try:
        line = connect(sockets["rig"], process, folder)
        qtest, qmp = (connect(sockets[name], process, folder) for name in ("qtest", "qmp"))
        guest = Guest(folder, process, line, Qtest(qtest), Monitor(qmp))
        threading.Thread(target=guest.listen, name="guest", daemon=True).start()
        if machine == "virt":
            guest.lines = Lines(guest.qtest, controller(guest.monitor))
        guest.until(lambda: bool(guest.ready), lambda: "no sign of life", BOOT_S)
    except BaseException:
        end(process)
        raise
    archive.unlink()
    return guest


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process we started, at the latest by force."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# Each system call would change page tables, and with them throw away what the emulator has translated.
FAST = "nokaslr kpti=off mitigations=off"
MACHINE = ("-M", "virt", "-cpu", "cortex-a72", "-smp", "2", "-m", "1024")


def _virt(folder: Path) -> Sequence[str]:
    """A machine with a GPIO controller whose lines are all free, that passes for a Raspberry Pi."""
    tree = folder / "virt.dtb"
    subprocess.run(
        ["qemu-system-aarch64", "-nodefaults", "-display", "none", *MACHINE, "-M", f"dumpdtb={tree}"],
        check=True, capture_output=True,
    )  # fmt: skip
    for change in (("-c", str(tree), "/system"), ("-t", "x", str(tree), "/system", "linux,revision", REVISION),
                   ("-r", str(tree), "/gpio-keys")):  # fmt: skip
        subprocess.run(["fdtput", *change], check=True)
    return (
        *MACHINE, "-dtb", str(tree), "-append", f"console=ttyAMA0 rdinit=/init panic=-1 quiet {FAST}",
        "-serial", f"file:{folder / 'console'}",
        "-device", "virtio-serial-device", "-device", "virtserialport,chardev=rig,name=rig",
        "-netdev", "user,id=net", "-device", "virtio-net-device,netdev=net",
        "-device", "qemu-xhci,id=usb",
    )  # fmt: skip


def _raspi(base: recipe.Base) -> Sequence[str]:
    """A Raspberry Pi 3B with Debian's own device tree; the agent shares the console."""
    return (
        "-M", "raspi3b", "-dtb", str(base.pi_tree), "-serial", "null", "-serial", "chardev:rig",
        "-append", f"console=ttyS1,115200 knoop.rig=/dev/ttyS1 rdinit=/init panic=-1 quiet {FAST}",
    )  # fmt: skip


def controller(monitor: Monitor) -> str:
    """Where the PL061 is in QEMU's tree of objects: its number differs between versions."""
    unattached = "/machine/unattached"
    (found,) = (item["name"] for item in monitor.ask("qom-list", path=unattached) if item["type"] == "child<pl061>")
    return f"{unattached}/{found}"


def connect(path: Path, process: subprocess.Popen[bytes], folder: Path) -> socket.socket:
    """Connected to one of QEMU's sockets, as soon as it is there."""

    def once() -> socket.socket:
        line = socket.socket(socket.AF_UNIX)
        try:
            line.connect(str(path))
        except OSError:
            line.close()
            raise
        return line

    return _eventually(once, process, folder)


def _eventually(make: Callable[[], Any], process: subprocess.Popen[bytes], folder: Path) -> Any:
    """What `make` makes, once QEMU has its socket there."""
    deadline = time.monotonic() + BOUND_S
    while True:
        try:
            return make()
        except OSError as error:
            said = (folder / "qemu.log").read_text("utf-8", "replace")
            assert process.poll() is None, f"QEMU ended with {process.returncode}: {said}"
            assert time.monotonic() < deadline, f"QEMU makes no socket: {error}; {said}"
            time.sleep(0.02)
