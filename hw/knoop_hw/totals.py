"""What counters have counted, ever: one small file, written whole or not at all.

A disk may take its time: while the board works, a thread waits for it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from threading import Lock, Thread

from knoop_hw import counting, whole

log = logging.getLogger(__name__)

FILE = "counters.json"


class Totals:
    """Keeps totals in `folder`; without one they begin at 0 with each start."""

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / FILE
        self._lock = Lock()
        self._asked = self._done = 0  # a slow write must not come after a newer one
        self._thread: Thread | None = None
        self._failing = False

    def recall(self) -> dict[str, int]:
        """Counter → pulses ever. A file that says nothing sensible is set aside (logged); then they begin at 0."""
        if self._path is None:
            return {}
        try:
            return counting.read(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            aside = self._path.with_suffix(".damaged")
            try:
                self._path.replace(aside)
            except OSError as stays:
                aside = self._path
                log.error("%s: cannot be set aside (%s)", self._path, stays.strerror)
            log.error("%s: cannot be read (%s); it is %s now, and counters begin at 0", self._path, error, aside.name)
            return {}

    def keep(self, totals: Mapping[str, int]) -> None:
        """Write them now. A full disk costs only this: it is logged once, and the next time tries again."""
        self._asked += 1
        self._write(counting.written(totals), self._asked)

    def keep_soon(self, totals: Mapping[str, int]) -> bool:
        """Write them without waiting for the disk; false when it is still busy with the last ones."""
        if self._busy:
            return False
        self._asked += 1
        # A daemon: a disk that hangs must not keep the process.
        self._thread = Thread(
            target=self._write, args=(counting.written(totals), self._asked), name="knoop-totals", daemon=True
        )
        self._thread.start()
        return True

    @property
    def settled(self) -> bool:
        """Whether everything that was to be written is."""
        return not self._busy and not self._failing

    @property
    def _busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _write(self, text: str, number: int) -> None:
        if self._path is None:
            return
        with self._lock:
            if number < self._done:
                return
            try:
                whole.write(self._path, text)
            except OSError as error:
                if not self._failing:
                    log.error("%s: cannot be written (%s); a restart would count from before", self._path,
                              error.strerror)  # fmt: skip
                self._failing = True
                return
            if self._failing:
                log.warning("%s: can be written again", self._path)
            self._done, self._failing = number, False
