"""The signs in a text that are not understood: punctuation, symbols, emoji and what cannot be seen. Pure.

Words are understood one by one elsewhere; here are all characters that are in no word. `<40`, `#lamp`, `"lamp on"`,
struck-out letters and ⏰ each change what a sentence means, so what is not known to be harmless is a doubt.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

# Emoji that are kind, or show the thing itself; not those which mean a time, a no, a doubt or a joke (⏰ 🙃 😉).
HARMLESS = "🙏👍👌👋🙂😊😀😃😄😁🤗😘☺❤💡🔥💧🌱"
_KIND = re.compile(f"[{HARMLESS}][\U0001f3fb-\U0001f3ff]?\ufe0f?|(?<!\\S):-?\\)(?!\\S)")
_SPACE = " \u00a0\u2009\u202f\t\r\n"  # ordinary and no-break; others are not typed by people
_UNDERSTOOD = (
    r"(?<=[^\W_])[._'’:](?=[^\W_])"  # in a word: relay.one, hall_lamp, what's
    r"|(?<=[^\W_])[-−–](?=[^\W_])"  # thirty-five
    r"|(?<![^\s=])[-−–](?=[0-9])"  # -5
    r"|(?<![^\s])['’](?=t\b)"  # 't
    r"|(?<=[^\W_%°])[.:](?=\s|$)|(?<=[%°])[.:](?=\s|$)"  # behind a word
    r"|(?<=[^\W_%°])[,;](?![0-9])|(?<=[%°])[,;](?![0-9])|(?<=\s)[,;](?=\s)|(?<=[0-9])[,;](?=[0-9])"
    r"|(?<=[^\W_%°])!+(?=\s|$)|(?<=[%°])!+(?=\s|$)|(?<=\s)!+\s*$"
    r"|(?<=[\w\s%]):?=(?=[\w\s−-])"  # lamp = on
    r"|(?<=[0-9])\s?%(?!\w)|(?<=[0-9])\s?°(?:[CcFf]\b|(?=\s|$|[.,!]))"
)


def doubtful(text: str, known: Iterable[str] = ()) -> str:
    """The first sign that is not understood, or nothing. `known` are names and units, which may hold their own.

    Accents must be those of a letter: what else is put over letters (NFC has no such letter) strikes them out.
    """
    plain = _KIND.sub(" ", unicodedata.normalize("NFC", text).casefold().replace("ʼ", "’"))
    patterns = [re.escape(name) for name in map(_comparable, known) if {*_strange(name)} - {*"%°"}]
    left = re.sub("|".join((*patterns, _UNDERSTOOD)), _letters, plain)
    return next(iter(_strange(left)), "")


def _comparable(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold().strip()


def _strange(text: str) -> list[str]:
    return [c for c in text if not c.isalnum() and c not in _SPACE]


def _letters(match: re.Match[str]) -> str:
    """What is understood, without its signs."""
    return "".join(c for c in match[0] if c.isalnum()) or " "
