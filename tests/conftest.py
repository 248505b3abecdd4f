"""What tests of both halves share."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling

from knoop_bench.certificates import Authority

# A run started in the background inherits SIGINT as ignored, one started by nohup SIGHUP, and so would every program
# that the tests start and stop. A handler of ours is not inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

# A property that is slow on a loaded machine is still true.
settings.register_profile("knoop", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("knoop")

WAIT = ("tests/integration/", "tests/faults/")  # for processes and servers; the others compute
SHARED = [  # what one file's tests have together, a server or a recording, is not made in several workers
    *(f"tests/integration/test_{name}.py" for name in ("people", "init", "doctor", "adhoc")),
    "tests/faults/test_power.py",
]
LONGEST = [*SHARED, "tests/integration/test_tour.py", "tests/faults/test_faults.py"]

LOGGERS = ("", "knoop", "knoop_hw", "knoop_bench", "asyncio")  # whose levels `logs.configure` sets


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """A command sets the log up for its whole process, and some tests call `cli.main` in theirs."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    levels = {logging.getLogger(name): logging.getLogger(name).level for name in LOGGERS}
    yield
    root.handlers[:] = handlers
    for logger, level in levels.items():
        logger.setLevel(level)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The CA that signs every server of this run."""
    return Authority(tmp_path_factory.mktemp("authority"))


# ── on several workers ────────────────────────────────────────────────────────────────────────────────────────────────
# Of the time of all tests two thirds are spent waiting, so `make test` has more workers than two cores could feed.


def unit(nodeid: str) -> str:
    """What one worker runs in one go: a file, but each test by itself where tests wait and share nothing."""
    file = nodeid.partition("::")[0]
    return nodeid if file.startswith(WAIT) and file not in SHARED else file


class Units(LoadFileScheduling):
    """`--dist loadfile` with `unit` in place of the file, in the order of collection."""

    def _split_scope(self, nodeid: str) -> str:
        return unit(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Units | None:
    if config.getvalue("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False
    return Units(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """For workers: what takes longest first, and then in turns what waits and what computes."""
    if not hasattr(config, "workerinput"):
        return
    units = dict.fromkeys(unit(item.nodeid) for item in items)
    waiting = [name for name in units if name.startswith(WAIT)]
    computing = [name for name in units if not name.startswith(WAIT)]
    rank = {name: at / len(some) for some in (waiting, computing) for at, name in enumerate(some)}
    files = ((name, name.partition("::")[0]) for name in waiting)
    rank |= {name: LONGEST.index(file) - len(LONGEST) for name, file in files if file in LONGEST}
    items.sort(key=lambda item: rank[unit(item.nodeid)])
