"""What `initial = "restore"` remembers: the levels of a few outputs, in one small file.

It is written only when such an output changes, whole or not at all.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from knoop_hw import whole

log = logging.getLogger(__name__)

FILE = "outputs.json"


class Memory:
    """Remembers levels in `folder`; without one it remembers nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / FILE
        self._written: dict[str, bool] | None = None

    def recall(self) -> dict[str, bool]:
        """Output → whether it was on. Empty when there is no file, or none that can be read (logged)."""
        if self._path is None:
            return {}
        try:
            return _read(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            log.warning("%s: cannot be read (%s); outputs start off", self._path, error)
            return {}

    def remember(self, levels: Mapping[str, bool]) -> None:
        """Keep these levels until the next start; a full disk costs only the memory (logged)."""
        if self._path is None or not levels or levels == self._written:
            return
        try:
            whole.write(self._path, json.dumps(dict(levels)))
        except OSError as error:
            log.warning(
                "%s: cannot be written (%s); the levels of now will not be restored", self._path, error.strerror
            )
            return
        self._written = dict(levels)


def _read(text: str) -> dict[str, bool]:
    """What `remember` wrote. Raises ValueError for anything else."""
    try:
        raw = json.loads(text)
    except RecursionError:
        raw = None
    if not isinstance(raw, dict) or not all(isinstance(level, bool) for level in raw.values()):
        raise ValueError("not a table of levels")
    return raw
