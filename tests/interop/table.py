"""What was seen by which client on which server, for the table at the end of `make interop`."""

from __future__ import annotations

from collections.abc import Callable, Iterable


class Table:
    """`record.of("Profanity")("chat", ok=True)`; what is not `True` fails the test and stands in the table as it is."""

    def __init__(self, rows: list[tuple[str, str, str, str]], software: str = "") -> None:
        self._rows = rows
        self._software = software

    def of(self, client: str, *, software: str = "") -> Callable[..., None]:
        def note(feature: str, ok: bool | str) -> None:
            self._rows.append((client, feature, software or self._software, "yes" if ok is True else str(ok or "NO")))
            assert ok, f"{client}: {feature}"

        return note


def rendered(rows: Iterable[tuple[str, str, str, str]]) -> list[str]:
    """The rows as a table in Markdown, a column a server."""
    rows = list(rows)
    servers = sorted({row[2] for row in rows})
    lines = [
        "| client | feature | " + " | ".join(servers) + " |",
        "|---|---|" + "---|" * len(servers),
    ]
    for client, feature in dict.fromkeys((row[0], row[1]) for row in rows):
        cells = [next((r[3] for r in rows if r[:3] == (client, feature, server)), "–") for server in servers]
        lines.append(f"| {client} | {feature} | " + " | ".join(cells) + " |")
    return lines
