"""What makes the Debians leaves nothing behind: no process, no half of a root; whatever fails, whoever is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.units import packages, roots

BOUND_S = 60.0
SLOW = """\
#!/bin/sh
echo $$ >> "$STARTED"
exec sleep 1000
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An empty cache, a mirror that does not answer, and no Python packages to be had."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/mmdebstrap").write_text(SLOW)
    (tmp_path / "bin/mmdebstrap").chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "XDG_CACHE_HOME": str(tmp_path / "cache"),
            "STARTED": str(tmp_path / "started"), "PIP_NO_INDEX": "1"}


def started(tmp_path: Path) -> list[int]:
    file = tmp_path / "started"
    return [int(pid) for pid in file.read_text().split()] if file.exists() else []


def until(true: Callable[[], object], what: str) -> None:
    end = time.monotonic() + BOUND_S
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        Path(f"/proc/{pid}/exe").readlink()
    except OSError:
        return False  # or nobody has asked yet how it ended
    return True


def test_when_one_fails_the_others_are_ended_and_it_says_which(environment, tmp_path):
    done = subprocess.run([sys.executable, "-m", "tests.units.roots"], cwd=packages.ROOT, env=environment,
                          capture_output=True, text=True, check=False, timeout=BOUND_S)  # fmt: skip
    assert done.returncode == 1
    assert "failed, for " in done.stderr
    assert "Traceback" not in done.stderr
    assert started(tmp_path)
    assert not any(map(alive, started(tmp_path)))
    assert [path.name for path in (tmp_path / "cache/knoop").iterdir() if path.suffix != ".lock"] == []


def test_who_is_killed_takes_what_runs_along_and_the_next_one_clears_up(environment, tmp_path, monkeypatch):
    making = subprocess.Popen([sys.executable, "-c", "from tests.units import roots; roots.root('trixie')"],
                              cwd=packages.ROOT, env=environment)  # fmt: skip
    until(lambda: started(tmp_path), "mmdebstrap was not started")
    (pid,) = started(tmp_path)
    making.kill()
    making.wait()
    until(lambda: not alive(pid), "mmdebstrap goes on")
    (left,) = (tmp_path / "cache/knoop").glob("units-trixie-unfinished-*")

    monkeypatch.setenv("XDG_CACHE_HOME", environment["XDG_CACHE_HOME"])
    made = roots._cached("units-trixie", "", Path.mkdir)
    assert made.is_dir()
    assert not left.exists()
