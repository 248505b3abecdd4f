"""One target under atheris: `python -m tests.fuzz.child NAME COUNT_FILE [libFuzzer's arguments]`. For `run`."""

from __future__ import annotations

import mmap
import struct
import sys
from contextlib import ExitStack
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["knoop", "knoop_hw"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Fuzz until libFuzzer ends the process."""
    name, counter, *arguments = sys.argv[1:]
    target = TARGETS[name]
    file = Path(counter)
    file.write_bytes(file.read_bytes() if file.exists() else struct.pack("<Q", 0))
    stack = ExitStack()
    one = target.open(stack)
    with file.open("r+b") as opened:
        count = mmap.mmap(opened.fileno(), 8)
        (done,) = struct.unpack("<Q", count[:])

        def test(data: bytes) -> None:
            nonlocal done
            one(data)
            done += 1
            count[:] = struct.pack("<Q", done)

        def mutator(data: bytes, most: int, seed: int) -> bytes:
            return target.mutate(data, most, seed, atheris.Mutate)

        more = {"custom_mutator": mutator} if target.mutate else {}
        atheris.Setup([sys.argv[0], f"-max_len={target.longest}", *arguments], test, **more)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
