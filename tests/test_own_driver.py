"""docs/own-driver.md is followed to the letter: in a copy of the checkout, its files written, its commands run."""

from __future__ import annotations

import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import tty
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

import pytest
from tests.test_docs import ROOT, blocks

PAGE = (ROOT / "docs" / "own-driver.md").read_text("utf-8")
FRAME = bytes.fromhex("aa c0 8c 00 94 00 bc f9 d5 ab")
GIVEN = ("tests/hw/sensors/test_contract.py", "given = {\n")
STAND_IN = ("bench/knoop_bench/stand_ins.py", "STAND_INS: Mapping[str, StandIn] = {\n")
NOT_COPIED = (".*", "__pycache__", "build", "dist")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this one, with the page's files in it, and its lines in the tables."""
    return with_the_pages(ROOT, tmp_path_factory.mktemp("own") / "knoop")


def with_the_pages(root: Path, folder: Path) -> Path:
    """`folder`, which is then `root` with what the page adds, as it is there (whatever somebody did of it before)."""
    own = {Path(first.removeprefix("# ")).name for first in firsts() if first.startswith("# ")}
    shutil.copytree(root, folder, ignore=shutil.ignore_patterns(*NOT_COPIED, *own))
    (folder / ".venv").symlink_to(sys.prefix)
    for block in (*blocks(PAGE, "python"), *blocks(PAGE, "toml")):
        first, _, rest = block.partition("\n")
        if first.startswith("# "):
            file = folder / first.removeprefix("# ")
            assert not file.exists(), f"{file} is there already"
            file.write_text(rest, "utf-8")
        else:
            add(block, folder, *(STAND_IN if "StandIn(" in first else GIVEN))
    return folder


def firsts() -> list[str]:
    """The first line of each block that is a file, or a line of one."""
    return [block.partition("\n")[0] for block in (*blocks(PAGE, "python"), *blocks(PAGE, "toml"))]


def add(entry: str, folder: Path, file: str, head: str) -> None:
    """Write this entry below that head."""
    text = (folder / file).read_text("utf-8")
    assert text.count(head) == 1
    (folder / file).write_text(text.replace(head, head + indent(entry, "    ")), "utf-8")


def test_somebody_who_did_it_before_is_not_told_that_it_is_there(checkout, tmp_path):
    file = "hw/knoop_hw/sensors/sds011.py"
    (mine := checkout / file).write_text(f"{mine.read_text('utf-8')}# and more\n", "utf-8")
    assert "# and more" not in (with_the_pages(checkout, tmp_path / "again") / file).read_text("utf-8")


def commands() -> list[str]:
    """What the page says to type."""
    return [line for block in blocks(PAGE, "sh") for line in block.splitlines()]


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(str(folder / name) for name in ("node", "hw", "bench", "."))}


@pytest.mark.parametrize("command", [line for line in commands() if "--watch" not in line])
def test_what_the_page_says_to_type_works(checkout, command):
    done = subprocess.run(
        shlex.split(command), cwd=checkout, env=environment(checkout), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if "pytest" in command:
        passed = re.search(r"(\d+) passed", done.stdout)
        assert passed, done.stdout
        assert int(passed[1]) > 1
        assert "skipped" not in done.stdout
    if "--write" in command:
        section = (checkout / "docs/drivers.md").read_text("utf-8").partition("\n## `sds011`\n")[2]
        assert "| `timeout` | time |" in section


@pytest.fixture
def talking() -> Iterator[str]:
    """The name of a port on which a sensor sends its frames."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    over = threading.Event()

    def talk() -> None:
        while not over.wait(0.05):
            os.write(master, FRAME)

    talker = threading.Thread(target=talk)
    talker.start()
    yield os.ttyname(slave)
    over.set()
    talker.join()
    os.close(slave)
    os.close(master)


def test_its_values_are_shown_live(checkout, talking):
    """The page's configuration with another `device`: there is no such cable here."""
    (command,) = (line for line in commands() if "--watch" in line)
    file = checkout / "dust.toml"
    file.write_text(re.sub(r'device = ".*"', f'device = "{talking}"', file.read_text("utf-8")), "utf-8")
    running = subprocess.Popen(
        shlex.split(command), cwd=checkout, env=environment(checkout), stdout=subprocess.PIPE, text=True
    )
    bound = threading.Timer(60, running.kill)
    bound.start()
    try:
        assert running.stdout is not None
        shown = {running.stdout.readline().split()[1] for _ in range(2)}
    finally:
        bound.cancel()
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=10)
    assert shown == {"dust.pm2p5", "dust.pm10"}
