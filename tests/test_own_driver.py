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

import pytest
from tests.test_docs import ROOT, blocks

PAGE = (ROOT / "docs" / "own-driver.md").read_text("utf-8")
FRAME = bytes.fromhex("aa c0 8c 00 94 00 bc f9 d5 ab")
NOT_COPIED = (".*", "__pycache__", "build", "dist")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this one, with the page's files in it, and its line in the contract."""
    folder = tmp_path_factory.mktemp("own") / "knoop"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_COPIED))
    (folder / ".venv").symlink_to(sys.prefix)
    for block in (*blocks(PAGE, "python"), *blocks(PAGE, "toml")):
        first, _, rest = block.partition("\n")
        if first.startswith("# "):
            file = folder / first.removeprefix("# ")
            assert not file.exists(), f"{file} is there already"
            file.write_text(rest, "utf-8")
        else:
            contract = folder / "tests/hw/sensors/test_contract.py"
            text = contract.read_text("utf-8")
            assert "given = {\n" in text
            contract.write_text(text.replace("given = {\n", f"given = {{\n            {first}\n"), "utf-8")
    return folder


def commands() -> list[str]:
    """What the page says to type."""
    return [line for block in blocks(PAGE, "sh") for line in block.splitlines()]


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(str(folder / name) for name in ("node", "hw", "."))}


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
    try:
        assert running.stdout is not None
        shown = {running.stdout.readline().split()[1] for _ in range(2)}
    finally:
        running.send_signal(signal.SIGINT)
        running.communicate(timeout=10)
    assert shown == {"dust.pm2p5", "dust.pm10"}
