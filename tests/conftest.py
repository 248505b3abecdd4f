"""What tests of both halves share."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator

import pytest

from knoop_bench.certificates import Authority

# A run started in the background inherits SIGINT as ignored, one started by nohup SIGHUP, and so would every program
# that the tests start and stop. A handler of ours is not inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)

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
