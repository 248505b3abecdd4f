"""`knoop chat` without a terminal: lines come from a pipe or a file, and Ctrl-C ends it at once."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from knoop import terminal

WAITING = """
import asyncio, sys
from knoop import cli, terminal

async def wait():
    source = open(sys.stdin.fileno(), encoding="utf-8", closefd=False)
    while line := await terminal._line(source):
        print("heard", line.strip(), flush=True)
    return 0

cli.chat = lambda _arguments: cli._run_loop(wait())
sys.exit(cli.main(["chat", "node@example.org", "--as", "anna@example.org"]))
"""


@contextmanager
def waiting(stdin):
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_ctrl_c_ends_a_chat_that_waits_on_a_pipe():
    """A read in the loop's executor kept the program until the next line came."""
    with waiting(subprocess.PIPE) as process:
        process.stdin.write(b"one\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"heard one\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(2) == 130
        assert process.stderr.read() == b""


@pytest.mark.parametrize("text", [b"", b"one\ntwo", b"one\ntwo\n"])
def test_a_file_is_read_to_its_end(tmp_path, text):
    file = tmp_path / "lines"
    file.write_bytes(text)
    with file.open("rb") as stdin, waiting(stdin) as process:
        out, err = process.communicate(timeout=10)
    assert out.split(b"\n")[:-1] == [b"heard " + line for line in text.split(b"\n") if line]
    assert (process.returncode, err) == (0, b"")


def test_nothing_to_read_is_the_end():
    with waiting(subprocess.DEVNULL) as process:
        assert process.wait(10) == 0


async def test_a_line_is_heard_when_it_is_whole():
    ours, theirs = os.pipe()
    with os.fdopen(ours, encoding="utf-8") as source:
        line = terminal._line(source)
        os.write(theirs, b"half a ")
        os.write(theirs, b"line\n")
        assert await asyncio.wait_for(line, 20) == "half a line\n"
        os.close(theirs)
        assert await asyncio.wait_for(terminal._line(source), 5) == ""
