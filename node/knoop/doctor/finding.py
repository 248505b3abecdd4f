"""What the doctor found: one sentence a check and what to do about it, for people and for scripts."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from knoop_hw.logs import printable

Level = Literal["ok", "note", "problem"]

WIDTH = 80
MARGIN = 22  # "PROBLEM " and the longest name of a check, "configuration "


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What `check` saw. A problem keeps the node from its work, or lets others read; a note is worth knowing."""

    check: str
    level: Level
    text: str
    remedy: str = ""


def ok(check: str, text: str) -> Finding:
    """All is well."""
    return Finding(check=check, level="ok", text=text)


def note(check: str, text: str, remedy: str = "") -> Finding:
    """Worth knowing."""
    return Finding(check=check, level="note", text=text, remedy=remedy)


def problem(check: str, text: str, remedy: str) -> Finding:
    """To be mended; there is always something to do."""
    return Finding(check=check, level="problem", text=text, remedy=remedy)


def not_looked_at(check: str, because: str) -> Finding:
    """A check that could not be made is said to be so."""
    return note(check, f"not looked at: {because}")


def sentence(check: str, said: object) -> Finding:
    """The problem in one of our errors' sentences, which end with what to do behind `; ` or `: `."""
    text, found, remedy = str(said).rpartition("; ")
    if not found:
        text, found, remedy = str(said).rpartition(": ")
    return problem(check, text, remedy) if found else problem(check, str(said), "see the log of the server")


def as_line(finding: Finding) -> str:
    """The level, the check and the sentence in columns; the remedy below, behind an arrow."""
    level = "PROBLEM" if finding.level == "problem" else finding.level
    said = _wrapped(finding.text, first=f"{level:<8}{finding.check:<14}")
    if not finding.remedy:
        return said
    return said + "\n" + _wrapped(finding.remedy, first=" " * MARGIN + "→ ", more=2)


def as_summary(findings: Sequence[Finding]) -> str:
    """How many of what, and the problems once more: what there is to do."""
    count = Counter(finding.level for finding in findings)
    lines = [f"{count['ok']} ok, {_many(count['note'], 'note')}, {_many(count['problem'], 'problem')}."]
    wrong = [finding for finding in findings if finding.level == "problem"]
    for number, finding in enumerate(wrong, 1):
        lines.append(_wrapped(f"{finding.check}: {finding.text}", first=f"{number:>2}. ", more=0))
        lines.append(_wrapped(finding.remedy, first="    → ", more=0))
    return "\n".join(lines)


def as_text(findings: Sequence[Finding]) -> str:
    """Every finding, then the summary."""
    return "\n".join([*map(as_line, findings), "", as_summary(findings)])


def as_data(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(finding) for finding in findings]


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _wrapped(text: str, *, first: str, more: int = 0) -> str:
    rest = " " * (MARGIN + more if len(first) >= MARGIN else len(first))
    return textwrap.fill(
        printable(text), WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
