"""Work of the event loop's own that is ended when it takes too long: a regular expression can take years.

A thread is no way out: `re` holds the interpreter's lock while it searches. It does look for signals, though.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
LIMIT_S = 0.05  # a pattern that fits takes some µs, on a slow board 100 µs; the guards of outputs wait meanwhile


class _Pulled(BaseException):
    """No `except Exception` of the work may swallow it."""


class _Leash:
    out = False


def leashed(work: Callable[[], T], *, limit_s: float = LIMIT_S) -> T:
    """What `work` returns or raises; TimeoutError when that takes more than `limit_s` of processor time.

    In the main thread only, where a half's event loop runs, and not within another one. It costs 3 µs.
    """
    if signal.getsignal(signal.SIGVTALRM) is not _pull:
        signal.signal(signal.SIGVTALRM, _pull)
    try:
        _Leash.out = True
        signal.setitimer(signal.ITIMER_VIRTUAL, limit_s)
        return work()
    except _Pulled:
        raise TimeoutError(f"more than {limit_s:g} s of processor time") from None
    finally:
        _Leash.out = False  # first: a signal that comes now is late
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)


def _pull(_number: int, _frame: object) -> None:
    if _Leash.out:
        raise _Pulled
