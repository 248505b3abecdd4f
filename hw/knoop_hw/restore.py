"""What `initial = "restore"` remembers: the levels of a few outputs, in one small file.

It is written only when such an output changes, whole or not at all: a temporary file, fsync, rename.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path

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
            raw = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            log.warning("%s: cannot be read (%s); outputs start off", self._path, error)
            return {}
        levels = raw if isinstance(raw, dict) else {}
        return {name: level for name, level in levels.items() if isinstance(level, bool)}

    def remember(self, levels: Mapping[str, bool]) -> None:
        """Keep these levels until the next start; a full disk costs only the memory (logged)."""
        if self._path is None or not levels or levels == self._written:
            return
        beside = self._path.with_suffix(".new")
        try:
            with beside.open("w", encoding="utf-8") as file:
                json.dump(dict(levels), file)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except OSError as error:
            log.warning(
                "%s: cannot be written (%s); the levels of now will not be restored", self._path, error.strerror
            )
            return
        self._written = dict(levels)
