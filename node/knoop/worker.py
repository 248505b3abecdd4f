"""One thread that does what it is given in order, and that nobody has to wait for at the end.

concurrent.futures' threads are joined when the interpreter exits: a disk that hangs would hold a node that was told to
stop until systemd kills it. Nothing is lost by leaving: what such a disk has not confirmed counts as not kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Worker(Executor):
    """An executor of one daemon thread, which begins with the first call."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._shut = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Let the thread call it. Raises RuntimeError after `shutdown`."""
        future: Future[T] = Future()
        with self._lock:
            if self._shut:
                raise RuntimeError(f"{self._name}: takes nothing more")
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True, name=self._name)
                self._thread.start()
            self._calls.put((future, lambda: fn(*args, **kwargs)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take nothing more; what was given is still done, if the process lives so long."""
        with self._lock:
            self._shut = True
            while cancel_futures and not self._calls.empty():
                given = self._calls.get()
                if given is not None:
                    given[0].cancel()
            self._calls.put(None)
        if wait and self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while (given := self._calls.get()) is not None:
            future, call = given
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 -- raised where it is awaited
                future.set_exception(error)
            else:
                future.set_result(result)
            del future, call, given  # an idle thread keeps nothing alive
