"""Text as TOML 1.0 wants it, for those parts of node.toml that are written by us. Pure."""

from __future__ import annotations

import json


def quoted(text: str) -> str:
    """As a basic string: JSON's escapes are TOML's, but for DEL, which TOML wants escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def comment(text: str) -> str:
    """For a comment, which ends with its line."""
    return "".join(char if char.isprintable() else "?" for char in text)
