"""Slips of the finger: which known word a mistyped one was meant to be. Pure."""

from __future__ import annotations

from collections.abc import Iterable

LONGEST = 40  # letters; what is longer is no word that people mistype


def closest(word: str, *known: Iterable[str]) -> str:
    """The word that this one is a slip of, from the first set that has one; itself where no slip is likely."""
    if not 3 <= len(word) <= LONGEST or any(c.isdigit() for c in word):
        return word
    most = 1 if len(word) <= 5 else 2
    for some in known:
        near = sorted((slips, other) for other in some if (slips := _slips(word, other, most)) <= most)
        if near:
            return near[0][1]
    return word


def _slips(word: str, other: str, most: int) -> int:
    """Letters left out, added, mistaken or swapped (Damerau-Levenshtein distance), counted as far as `most` + 1."""
    if abs(len(word) - len(other)) > most:
        return most + 1
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(word, 1):
        before, last, row = row, before, [i]
        for j, theirs in enumerate(other, 1):
            cost = min(before[j] + 1, row[-1] + 1, before[j - 1] + (letter != theirs))
            if last and j > 1 and letter == other[j - 2] and word[i - 2] == theirs:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
    return row[-1]
