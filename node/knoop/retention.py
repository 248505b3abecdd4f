# ruff: noqa: S608 -- what is put together here are constants and numbers of rows
"""What readings.db has kept for long enough: by `[storage] retain`, or by a span of a device's or channel's own.

Used only in the database's thread, within its transactions. What still waits for a sink stays, and so does what has no
time: nobody knows how old it is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from knoop.readings_sql import OF_SERIES, SCAN_ROWS, WAITS, Readings


def own_series(readings: Readings, own_ns: Mapping[str, int]) -> dict[int, int]:
    """The series of these channels and devices, each with its time; a channel's goes before its device's."""
    found = {}
    for series, channel in readings.db.execute("SELECT id, channel FROM series"):
        old_ns = own_ns.get(channel, own_ns.get(channel.partition(".")[0]))
        if old_ns is not None:
            found[series] = old_ns
    return found


def prune(
    readings: Readings, before_ns: int, *, besides: Collection[int], after: int, limit: int
) -> tuple[int, int | None]:
    """Delete at most `limit` old readings, the oldest first, but of no series of `besides`.

    Looks at one portion above the row `after`, up to the first reading that is younger. Returns how many went, and
    where to go on; None when that is all.
    """
    if not (ahead := readings.ahead(max(after, readings.busy))):
        return 0, None
    first, last = ahead
    younger = readings.rows(
        "SELECT id FROM reading WHERE id BETWEEN ? AND ? AND at_ns >= ? ORDER BY id LIMIT 1", first, last, before_ns
    )
    if younger:
        last = younger[0] - 1
    rows = readings.rows(
        f"SELECT r.id FROM reading r {OF_SERIES} WHERE r.id BETWEEN ? AND ? AND r.at_ns < ? "
        f"AND r.series NOT IN ({', '.join(map(str, besides))}) AND NOT {WAITS} ORDER BY r.id LIMIT ?",
        first, last, before_ns, limit,
    )  # fmt: skip
    readings.delete(rows)
    if len(rows) == limit:
        return limit, rows[-1]
    return len(rows), None if younger else last


def prune_series(
    readings: Readings, series: int, before_ns: int, *, after: int, limit: int
) -> tuple[int, int | None]:
    """Delete about `limit` old readings of one series with a seq above `after`, the oldest first.

    As `prune`: one portion, up to the first that is younger; returns how many went, and the seq to go on at.
    """
    old, seq, younger = [], after, False
    placed = "SELECT p.seq, r.id, r.at_ns FROM place p CROSS JOIN reading r ON r.id = p.reading"
    portion = readings.db.execute(
        f"{placed} WHERE p.series = ? AND p.seq > ? ORDER BY p.seq LIMIT ?", (series, after, SCAN_ROWS)
    )
    looked = 0
    for looked, (seq, row, at_ns) in enumerate(portion, start=1):  # noqa: B007 -- how far it came
        younger = at_ns is not None and at_ns >= before_ns
        if younger:
            break
        if at_ns is not None:
            old.append(row)
        if len(old) == limit:
            break
    more = not younger and (len(old) == limit or looked == SCAN_ROWS)
    if not more and not younger:
        unplaced = "SELECT id FROM reading WHERE id > ? AND series = ? AND at_ns < ?"  # never more than PLACE_ROWS
        old += readings.rows(unplaced, readings.placed, series, before_ns)
    delivered = f"SELECT r.id FROM reading r {OF_SERIES} WHERE r.id = ? AND NOT {WAITS}"
    return readings.delete([row for one in old for row in readings.rows(delivered, one)]), seq if more else None
