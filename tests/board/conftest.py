"""One emulated board for the whole run, and hardware halves on it."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.board.guest import Guest, Program, boot
from tests.board.qtest import Lines
from tests.board.seam import Seam
from tests.measured import pytest_terminal_summary, report

__all__ = ["pytest_terminal_summary", "report"]  # pytest finds them by their names here

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guest]:
    """A booted `-M virt` with this checkout's code."""
    board = boot(tmp_path_factory.mktemp("board"))
    yield board
    board.close()


@pytest.fixture
def lines(guest: Guest) -> Lines:
    """Its lines, from outside; all inputs low."""
    for line in range(Lines.COUNT):
        guest.lines.drive(line, False)
    return guest.lines


@dataclass
class Half:
    """A hardware half that is up, and the host in its agent's place."""

    guest: Guest
    folder: str
    program: Program
    seam: Seam

    def status(self, key: str) -> int:
        """A number of /proc/PID/status, such as VmRSS in kB."""
        lines = self.guest.read(f"/proc/{self.program.pid}/status").splitlines()
        return int(next(line for line in lines if line.startswith(f"{key}:")).split()[1])

    def stop(self) -> None:
        if self.program.code is None:
            self.program.signal(signal.SIGCONT)
            self.program.signal(signal.SIGTERM)
            code = self.program.wait()
            assert code == 0, self.program.log
        self.seam.close()
        assert "Traceback" not in self.program.log, self.program.log


@pytest.fixture
def hardware(guest: Guest) -> Iterator[Callable[[str], Half]]:
    """`half = hardware(tables)`: knoop-hw with these tables of node.toml, stopped after the test."""
    with ExitStack() as stack:

        def start(tables: str, *, folder: str = "", **more: Any) -> Half:
            folder = folder or f"/root/hw{next(_numbers)}"
            guest.write(f"{folder}/node.toml", tables)
            places = ("--config", "node.toml", "--socket", f"{folder}/board.sock", "--state", f"{folder}/state")
            program = guest.start("knoop-hw", *places, **{"half": "hw", "cwd": folder, "log": f"{folder}/log", **more})
            program.says("the board is open")
            half = Half(guest, folder, program, Seam(guest, f"{folder}/board.sock"))
            stack.callback(half.stop)
            return half

        yield start


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--times", type=int, default=13, help="how often each of four pairs of halves meets an event")




def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the board comes first; the Pi boots a machine of its own."""
    items.sort(key=lambda item: Path(item.path).name == "test_raspi3b.py")
