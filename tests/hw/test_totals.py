"""Totals on a disk: whole or not at all, and what happens when the disk does not want to."""

from __future__ import annotations

import os

import pytest

from knoop_hw.totals import Totals


def finished(totals):
    """The last write without waiting is done."""
    totals._thread.join(10)
    assert not totals._thread.is_alive()


def test_what_was_kept_is_recalled(tmp_path):
    totals = Totals(tmp_path)
    assert totals.recall() == {}
    totals.keep({"water": 7})
    assert totals.keep_soon({"water": 8, "gas": 1})
    finished(totals)
    assert Totals(tmp_path).recall() == {"water": 8, "gas": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["counters.json"]


def test_without_a_folder_nothing_is_kept():
    totals = Totals(None)
    totals.keep({"water": 7})
    assert totals.recall() == {}


@pytest.mark.parametrize("content", [b"", b"{", b'{"water": -3}', b'{"water": 1e9}', b"\xff\xfe", b"\0" * 4096])
def test_a_damaged_file_is_set_aside_with_one_line(tmp_path, caplog, content):
    (tmp_path / "counters.json").write_bytes(content)
    totals = Totals(tmp_path)
    assert totals.recall() == {}
    assert (tmp_path / "counters.damaged").read_bytes() == content
    [record] = caplog.records
    assert "counters begin at 0" in record.message
    totals.keep({"water": 1})
    assert Totals(tmp_path).recall() == {"water": 1}


def test_a_write_that_fails_leaves_the_last_one_and_is_said_once(tmp_path, caplog):
    totals = Totals(tmp_path)
    totals.keep({"water": 7})
    (tmp_path / "counters.new").mkdir()  # where the next one is written
    totals.keep({"water": 8})
    totals.keep({"water": 9})
    assert Totals(tmp_path).recall() == {"water": 7}
    (tmp_path / "counters.new").rmdir()
    totals.keep({"water": 10})
    assert Totals(tmp_path).recall() == {"water": 10}
    assert [record.message.partition(": ")[2] for record in caplog.records] == [
        "cannot be written (Is a directory); a restart would count from before", "can be written again",
    ]  # fmt: skip


def test_it_is_settled_when_the_disk_has_it(tmp_path):
    totals = Totals(tmp_path)
    assert totals.settled
    os.mkfifo(tmp_path / "counters.new")
    totals.keep_soon({"water": 1})
    assert not totals.settled
    os.close(os.open(tmp_path / "counters.new", os.O_RDONLY))
    finished(totals)
    assert not totals.settled, "a pipe is no disk: that write failed"
    (tmp_path / "counters.new").unlink()
    totals.keep({"water": 1})
    assert totals.settled


def test_a_slow_disk_gets_one_write_at_a_time_and_never_an_older_one_last(tmp_path):
    """A named pipe is a disk that waits: opening it for writing waits for a reader."""
    os.mkfifo(tmp_path / "counters.new")
    totals = Totals(tmp_path)
    assert totals.keep_soon({"water": 1})
    assert not totals.keep_soon({"water": 2})
    reader = os.open(tmp_path / "counters.new", os.O_RDONLY)
    finished(totals)
    os.close(reader)
    (tmp_path / "counters.new").unlink()
    totals.keep({"water": 3})
    totals._write('{"water": 2}\n', 1)  # what a thread does that had to wait for the lock
    assert Totals(tmp_path).recall() == {"water": 3}
