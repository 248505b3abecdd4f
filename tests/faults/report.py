"""What a run found, as JSON for machines and as Markdown for people."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from tests.faults.campaign import Outcome

_SHOWN = 50  # problems; the JSON has all


def write(outcome: Outcome, folder: Path, *, name: str = "report") -> Path:
    """Write a file of JSON and a page of that name; returns the page."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(
        json.dumps(asdict(outcome) | {"problems": outcome.problems}, indent=1, ensure_ascii=False) + "\n", "utf-8"
    )
    page = folder / f"{name}.md"
    page.write_text(markdown(outcome), "utf-8")
    return page


def markdown(outcome: Outcome) -> str:
    """A page with the figures, a table by fault, and what is wrong."""
    verdict, problems = outcome.verdict, outcome.problems
    lines = [f"# Faults: {outcome.date}, {outcome.server}, seed {outcome.seed}", ""]
    if outcome.interrupted:
        lines += ["**Interrupted**: what was on its way then counts as lost, and this proves nothing.", ""]
    if verdict is not None:
        share = outcome.repeats / max(1, outcome.pushed)
        typical, longest = in_s(verdict.latency_median_s), in_s(verdict.latency_longest_s)
        offline = sum(not hit.online for hit in outcome.hits)
        unwritten = max(verdict.kills, key=lambda kill: kill.unwritten, default=None)
        lines += table(("what", "figure"), [
            ("time", f"{outcome.took_s / 60:.1f} min"),
            ("faults", f"{len(outcome.hits)} of {outcome.planned} planned; {offline} of them while there was no link"),
            ("events and alarms said", verdict.fed),
            ("arrived", f"{verdict.arrived}, of which {verdict.by_history} by asking for history"),
            ("**lost**", f"**{len(verdict.lost)}**"),
            ("**never published**", f"**{len(verdict.unpublished)}**"),
            ("**out of order**", f"**{len(outcome.inversions)}**"),
            ("repeats", f"{outcome.repeats} of {outcome.pushed} pushed ({share:.2%})"),
            ("alarms the person received", f"{verdict.told} of {verdict.alarms}; {verdict.told_again} more than once"),
            ("kills of the hardware half", len(verdict.kills)),
            ("what they cost", "nothing" if unwritten is None or not verdict.unwritten else (
                f"{verdict.unwritten} readings not yet written to the socket, at most {unwritten.unwritten} a kill,"
                f" said at most {max(kill.oldest_s for kill in verdict.kills) * 1000:.0f} ms before it"
            )),
            ("from saying to arriving", f"median {typical}, longest {longest}"),
        ])  # fmt: skip
        lines += ["", "Recovery: from the end of a fault to the arrival of something said after it. Not counted where"
                  " the next fault came first.", ""]  # fmt: skip
        lines += table(
            ("fault", "times", "of these without a link", "recovered in (median)", "longest", "next came first",
             "repeats", "lost"),
            [(name, one.hits, one.offline, in_s(one.median_s), in_s(one.longest_s), one.overtaken, one.repeats,
              one.lost) for name, one in outcome.recoveries.items()],
        )  # fmt: skip
        lines += ["", f"The subscriber's own verdict on everything: {outcome.judged}.", ""]
    lines += [f"- {note}" for note in outcome.notes]
    heading = "## On its way or wrong" if outcome.interrupted else "## Wrong"
    wrong = ["", heading, "", *(f"- {problem}" for problem in problems[:_SHOWN])]
    lines += wrong if problems else ["Nothing was wrong."]
    if len(problems) > _SHOWN:
        lines.append(f"- … and {len(problems) - _SHOWN} more")
    return "\n".join(lines) + "\n"


def table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> list[str]:
    """The lines of a Markdown table."""
    head = [*head]
    return [_row(head), "|" + "---|" * len(head), *map(_row, rows)]


def _row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def in_s(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
