"""The log: one escaped line an event on stderr, where systemd or a person reads it."""

from __future__ import annotations

import logging
import sys

_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str, limit: int | None = None, *, copied: bool = False) -> str:
    r"""`text` on one line that says only what it shows, at most `limit` characters and then an ellipsis.

    Whatever is not printable becomes an escape: newlines, C1 controls such as U+009B (a terminal's CSI), bidi
    controls that reorder what a reader sees, lone surrogates. A backslash is doubled, so that no escape can
    be forged; not in what a person copies from (`copied`): a remedy with two would be wrong.
    """
    cut = text if limit is None else text[: limit + 1]
    escapes = {**_ESCAPES, "\\": "\\"} if copied else _ESCAPES
    shown = "".join(escapes.get(char) or (char if char.isprintable() else ascii(char)[1:-1]) for char in cut)
    return shown if limit is None or len(shown) <= limit else f"{shown[:limit]}…"


class OneLine(logging.Formatter):
    """`10:15:03 WARNING link: text`; a traceback is folded into the line."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def configure(*, verbose: bool) -> None:
    """Log to stderr; `verbose` adds our own DEBUG lines, never slixmpp's (they hold passwords)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("knoop", "knoop_hw", "knoop_bench"):
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.INFO)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
