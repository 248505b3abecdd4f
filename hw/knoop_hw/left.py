"""What this half has open, written down while it lives: should it be killed, `--safe` goes over these lines.

The file that a person edits may say something else by then, or nothing that can be read.
"""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path

from knoop_hw import config
from knoop_hw.decode import Document
from knoop_hw.tables import Config

log = logging.getLogger(__name__)

FILE = "open.json"


class Left:
    """Notes in `folder`, for this boot: a restart of the machine leaves no line as it was."""

    def __init__(self, folder: Path, *, boot_id: str) -> None:
        self._path, self._boot_id = folder / FILE, boot_id

    def note(self, config: Config) -> None:
        """What is open from now on. Where that cannot be written, `--safe` goes by the configuration (logged).

        It need not outlive the machine, so nothing waits for the disk.
        """
        noted = {"boot": self._boot_id, "file": _whole(config.file), "tables": config.written}
        beside = self._path.with_suffix(".new")
        try:
            beside.write_text(json.dumps(noted, default=str), encoding="utf-8")
            beside.replace(self._path)
        except OSError as error:
            with suppress(OSError):
                self._path.unlink()  # what it says was open before, and may not be now
            log.warning(
                "%s: cannot be written (%s); after a kill --safe goes by the configuration", self._path, error.strerror
            )

    def recall(self, file: Path) -> Config | None:
        """What was open last, if that was in this boot and came from this file; None: nobody knows."""
        try:
            noted = json.loads(self._path.read_text(encoding="utf-8"))
            if (noted["boot"], noted["file"]) != (self._boot_id, _whole(file)):
                return None
            return config.load(Document(data=noted["tables"], file=str(file), lines={}), [])
        except (OSError, ValueError, LookupError, TypeError, RecursionError):
            return None


def _whole(file: str | Path) -> str:
    return str(Path(file).resolve())
