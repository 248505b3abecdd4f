"""The name of a run: which start of a half its readings belong to."""

from __future__ import annotations

import secrets


def new_run() -> str:
    """8 random base32 characters: two starts never share a number for a reading."""
    return "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(8))
