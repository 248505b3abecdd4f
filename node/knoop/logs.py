"""The log: one escaped line an event on stderr, where systemd or a person reads it."""

from __future__ import annotations

import logging
import sys
import unicodedata


def escape(text: str) -> str:
    """`text` with everything that could forge a line or steer a terminal shown as an escape."""
    return "".join(
        character if unicodedata.category(character) not in {"Cc", "Cf", "Zl", "Zp", "Cs", "Co"}
        else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


class OneLine(logging.Formatter):
    """`10:15:03 WARNING link: text`; a traceback is folded into the line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        return escape(super().format(record))


def configure(*, verbose: bool) -> None:
    """Log to stderr; `verbose` adds our own DEBUG lines, never slixmpp's (they hold passwords)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("knoop", "knoop_hw", "knoop_bench"):
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
