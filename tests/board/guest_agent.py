"""Runs inside the emulated board, as the only child of its init: does what the host's guest.py asks for.

What is asked and answered is JSON, one text a line, each begun by an RS (RFC 7464) so that a console may share the
line. A program is started either as its command (a fresh Python) or forked off a process that has imported it
already and calls its `main`: importing is what takes long under emulation. Imports nothing of the host's.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import pkgutil
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

RECORD = b"\x1e"
PORTS = Path("/sys/class/virtio-ports")
LARGEST = 262_144  # of an answer; a log is read on from where it ended
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, prctl(2)
# What each half's process is forked from. The hardware half has no ssl, as its own main would see to.
HALVES = {"hw": ("knoop_hw.cli", False), "node": ("knoop.cli", True)}
LIBRARIES = {"hw": ("gpiozero", "gpiod", "asyncio"), "node": ("asyncio", "slixmpp", "sqlite3", "uvloop")}


def main() -> None:
    """Serve until the host closes the line."""
    libc = ctypes.CDLL(None)
    libc.prctl(SUBREAPER, 1, 0, 0, 0)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    host = Host(channel())
    parents: dict[str, Parent] = {}
    sockets: dict[int, socket.socket] = {}
    host.say({"event": "ready", "kernel": os.uname().release, "python": sys.version.split()[0]})
    while True:
        ready, _, _ = select.select([host.line, woken, *sockets], [], [])
        if woken in ready:
            os.read(woken, 4096)
            reap(host)
        for number in sockets.keys() & set(ready):
            host.say({"event": "heard", "stream": number, "text": hear(number, sockets)})
        if host.line in ready:
            for request in host.requests():
                try:
                    answer = handle(request, parents, sockets)
                except Exception as error:  # noqa: BLE001 -- whatever it is, the host asked for it
                    answer = {"error": f"{type(error).__name__}: {error}"}
                host.say({"id": request["id"], **answer})


def handle(
    request: Mapping[str, Any], parents: dict[str, Parent], sockets: dict[int, socket.socket]
) -> dict[str, Any]:
    """One request's answer."""
    match request["op"]:
        case "clock":
            return {"at_ns": time.clock_gettime_ns(time.CLOCK_BOOTTIME)}
        case "start":
            half = request["half"]
            if not half:
                return {"pid": launch(lambda: os.execvpe(request["argv"][0], request["argv"], os.environ), request)}
            if half not in parents:
                parents[half] = Parent(half)
            return {"pid": parents[half].start(request)}
        case "dial":
            dialled = socket.socket(socket.AF_UNIX)
            dialled.connect(request["path"])
            sockets[dialled.fileno()] = dialled
            return {"stream": dialled.fileno()}
        case "say":
            sockets[request["stream"]].sendall(request["text"].encode())
        case "hang up":
            sockets.pop(request["stream"]).close()
        case "signal":
            os.kill(request["pid"], request["number"])
        case "write":
            path = Path(request["path"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(request["text"], "utf-8")
            path.chmod(request["mode"])
        case "read":
            with Path(request["path"]).open("rb") as file:
                file.seek(request["offset"])
                return {"text": file.read(LARGEST).decode("utf-8", "replace"), "offset": file.tell()}
    return {}


def hear(number: int, sockets: dict[int, socket.socket]) -> str:
    """What came on a dialled socket, empty when the other end hung up."""
    try:
        data = sockets[number].recv(65_536)
    except OSError:
        data = b""
    if not data:
        sockets.pop(number).close()
    return data.decode("latin-1")  # a character may be in two parts


class Parent:
    """The process that has a half imported, and forks."""

    def __init__(self, half: str) -> None:
        self._line, there = socket.socketpair()
        if not os.fork():
            self._line.close()
            _as_parent(half, there.makefile("rwb", buffering=0))
        there.close()
        self._file = self._line.makefile("rwb", buffering=0)

    def start(self, request: Mapping[str, Any]) -> int:
        self._file.write(json.dumps(request).encode() + b"\n")
        answer = json.loads(self._file.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return int(answer["pid"])


def _as_parent(half: str, line: Any) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    module, with_ssl = HALVES[half]
    try:
        if not with_ssl:
            sys.modules["ssl"] = None  # type: ignore[assignment]
        package = importlib.import_module(module.partition(".")[0])
        names = [found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
        for name in (*LIBRARIES[half], *names):
            if not name.endswith("__main__"):
                importlib.import_module(name)
        entry = sys.modules[module].main
        gc.collect()
        gc.freeze()  # or the first collection of each child copies every page
    except BaseException:  # noqa: BLE001 -- said to the host, who asked for it
        line.readline()
        line.write(json.dumps({"error": traceback.format_exc()}).encode() + b"\n")
        os._exit(1)
    for text in iter(line.readline, b""):
        request = json.loads(text)
        started, said = os.pipe()
        middle = os.fork()  # ends at once, so that the agent becomes the new process's parent
        if not middle:
            pid = launch(lambda request=request: entry(request["argv"][1:]), request)
            os.write(said, str(pid).encode())
            os._exit(0)
        os.close(said)
        os.waitpid(middle, 0)
        line.write(json.dumps({"pid": int(os.read(started, 16))}).encode() + b"\n")
        os.close(started)
    os._exit(0)


def launch(body: Any, request: Mapping[str, Any]) -> int:
    """A new process, in a session of its own, that runs `body`; what it says goes to the file `log`."""
    # There when the host hears the pid.
    output = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    pid = os.fork()
    if pid:
        os.close(output)
        return pid
    code: Any = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        Path(request["cwd"]).mkdir(parents=True, exist_ok=True)
        os.chdir(request["cwd"])
        os.environ.update(request["env"])
        silence = os.open(os.devnull, os.O_RDONLY)
        for number, file in enumerate((silence, output, output)):
            os.dup2(file, number)
        os.closerange(3, 1024)
        sys.argv = list(request["argv"])
        code = body()
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            sys.stderr.write(code + "\n")
            code = 1
    except BaseException:  # noqa: BLE001 -- as the interpreter itself would
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0)


def reap(host: Host) -> None:
    """Tell of every process that ended: its exit code, or minus the signal."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        at_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        host.say({"event": "ended", "pid": pid, "code": os.waitstatus_to_exitcode(status), "at_ns": at_ns})


class Host:
    """The line to the host; ends this process when it is closed there."""

    def __init__(self, line: int) -> None:
        self.line = line
        self._rest = b""

    def say(self, what: Mapping[str, Any]) -> None:
        data = RECORD + json.dumps(what).encode() + b"\n"
        while data:
            data = data[os.write(self.line, data) :]

    def requests(self) -> list[Any]:
        data = os.read(self.line, 65_536)
        if not data:
            sys.exit()
        *texts, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(text.rpartition(RECORD)[2]) for text in texts if RECORD in text]


def channel() -> int:
    """The line to the host: the terminal that the kernel's command line names (`knoop.rig=`), else virtio's port."""
    words = Path("/proc/cmdline").read_text("ascii").split()
    named = [word.partition("=")[2] for word in words if word.startswith("knoop.rig=")]
    if not named:
        (port,) = PORTS.iterdir()
        return os.open(f"/dev/{port.name}", os.O_RDWR)
    import tty

    line = os.open(named[0], os.O_RDWR | os.O_NOCTTY)
    tty.setraw(line)
    return line


if __name__ == "__main__":
    main()
