"""What a program asked the disk to do, recorded with strace, and what a power cut may leave of it.

The disk of a replay is as bad as POSIX lets it be: what was written and not synced since is there, or not, or torn at
512 bytes, in any order; a name that was made, renamed or removed counts only after a sync of its folder, or of the file
itself (as ext4, xfs, btrfs and f2fs have it), names among themselves in order.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Literal

SECTOR = 512
CALLS = "openat,pwrite64,write,ftruncate,fallocate,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat"
CALL = re.compile(r"^(\d+) +(\w+)\((.*)$")
RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)$")
DONE = re.compile(r"^(.*)\)\s+= (-?\d+|\?)(?:<[^>]*>)?(?: .*)?$")
HEX = re.compile(r"\\x([0-9a-f]{2})")
WORD = re.compile(r'"((?:\\x[0-9a-f]{2})*)"|(-?\w+)<((?:\\x[0-9a-f]{2})*)>|([^,\s]+)')

What = Literal["make", "write", "size", "sync", "rename", "remove", "say"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing asked for: of the file `name` (in the folder), at `at`, with `data`."""

    what: What
    name: str = ""
    at: int = 0
    data: bytes = b""


def record(command: Sequence[str], folder: Path, *, env: Mapping[str, str], timeout_s: float = 120.0) -> list[Step]:
    """Run the program to its end; what it did to files of `folder`, and said on its standard output, in order."""
    log = folder.with_name(f"{folder.name}.strace")
    strace = ["strace", "-f", "-y", "-xx", "-s", "1000000", "--seccomp-bpf", "-e", f"trace={CALLS}", "-o", str(log)]
    ended = subprocess.run(
        [*strace, *command],
        capture_output=True, check=False, timeout=timeout_s, env=dict(env),
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr.decode()
    return [step for call in _calls(log) for step in _step(folder, *call)]


def _calls(log: Path) -> Iterator[tuple[str, list[str], int]]:
    """Each call with its arguments and its result; a write counts when it begins, everything else when it ends."""
    begun: dict[str, str] = {}
    with log.open(encoding="ascii") as lines:
        for line in lines:
            if found := RESUMED.match(line.rstrip()):
                number, name, rest = found.groups()
                rest = begun.pop(number) + rest
            elif found := CALL.match(line.rstrip()):
                number, name, rest = found.groups()
                if rest.endswith("<unfinished ...>"):
                    begun[number] = rest.removesuffix("<unfinished ...>")
                    continue
            else:
                continue
            if done := DONE.match(rest):
                words = [_word(*word.groups()) for word in WORD.finditer(done[1])]
                yield name, words, -1 if done[2] == "?" else int(done[2])


def _word(text: str | None, _fd: str | None, path: str | None, plain: str | None) -> str:
    """Bytes as latin-1; a descriptor as the path that strace knows it by."""
    if plain is not None:
        return plain
    return HEX.sub(lambda byte: chr(int(byte[1], 16)), path if text is None else text)


def _step(folder: Path, call: str, words: list[str], result: int) -> Iterator[Step]:
    if call == "write" and "pipe:" in words[0]:
        yield Step("say", data=words[1].encode("latin-1"))
        return
    paths = [word for word in words if word.startswith(f"{folder}/") or word == str(folder)]
    if result < 0 or not paths or paths[0].endswith("-shm"):  # an index in memory: made anew after a power cut
        return
    name = Path(paths[0]).name if paths[0] != str(folder) else ""
    match call:
        case "openat" if "O_CREAT" in words[2]:
            yield Step("make", name)
        case "pwrite64":
            data = words[1].encode("latin-1")
            assert result == len(data)
            yield Step("write", name, int(words[3]), data)
        case "ftruncate":
            yield Step("size", name, int(words[1]))
        case "fsync" | "fdatasync":
            yield Step("sync", name)
        case "rename" | "renameat" | "renameat2":
            yield Step("rename", name, data=Path(paths[1]).name.encode())
        case "unlink" | "unlinkat":
            yield Step("remove", name)
        case "write" | "fallocate":
            raise AssertionError(f"{call} of {name}: the replay does not know that")


@dataclass(slots=True, eq=False)
class _File:
    safe: bytearray = field(default_factory=bytearray)
    since: list[Step] = field(default_factory=list)


class Disk:
    """The folder, step by step, with what is safe and what is not yet."""

    def __init__(self) -> None:
        self._safe: dict[str, _File] = {}
        self._now: dict[str, _File] = {}
        self._names: list[dict[str, _File]] = []  # what the folder held after each change since its last sync

    def go(self, step: Step) -> None:
        """The program asked for this."""
        now = self._now
        match step.what:
            case "make" if step.name not in now:
                self._renamed({**now, step.name: _File()})
            case "rename":
                self._renamed({**{n: f for n, f in now.items() if n != step.name}, step.data.decode(): now[step.name]})
            case "remove":
                self._renamed({n: f for n, f in now.items() if n != step.name})
            case "write" | "size":
                now[step.name].since.append(step)
            case "sync":
                if step.name:
                    for late in now[step.name].since:
                        _apply(now[step.name].safe, late)
                    now[step.name].since.clear()
                self._safe, self._names = dict(now), []

    def cut(self, into: Path, dice: Random) -> None:
        """Leave in `into` what the disk may hold when the power goes now."""
        into.mkdir()
        for name, file in dice.choice([self._safe, *self._names]).items():
            data = bytearray(file.safe)
            late = list(file.since)
            match dice.randrange(4):
                case 0:
                    late = []
                case 1:
                    late = late[: dice.randint(0, len(late))]
                case 2:
                    late = [step for step in late if dice.random() < 0.5]
                case 3:
                    dice.shuffle(late)
                    late = late[: dice.randint(0, len(late))]
            for step in late:
                for part in _torn(step, dice):
                    _apply(data, part)
            (into / name).write_bytes(data)
            (into / name).chmod(0o600)

    def _renamed(self, names: dict[str, _File]) -> None:
        self._now = names
        self._names.append(names)


def _torn(step: Step, dice: Random) -> Iterator[Step]:
    """The write as it was, or some of its sectors."""
    if step.what != "write" or dice.random() < 0.7:
        yield step
        return
    for at in range(step.at // SECTOR * SECTOR, step.at + len(step.data), SECTOR):
        low, high = max(at, step.at), min(at + SECTOR, step.at + len(step.data))
        if dice.random() < 0.5:
            yield Step("write", step.name, low, step.data[low - step.at : high - step.at])


def _apply(data: bytearray, step: Step) -> None:
    if step.what == "size":
        del data[step.at :]
        data.extend(bytes(step.at - len(data)))
    else:
        data.extend(bytes(max(0, step.at - len(data))))
        data[step.at : step.at + len(step.data)] = step.data
