"""A curve in one line of text: eight heights of block, for history in a chat. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

BLOCKS = "▁▂▃▄▅▆▇█"
GAP = "·"  # nothing is known of that time; a space would vanish in some chat clients
WIDTH = 24  # an hour each of a day, and it fits the narrowest phone


def buckets(
    points: Sequence[tuple[int, float | None]], *, since_ns: int, until_ns: int, width: int = WIDTH
) -> list[float | None]:
    """The mean over time of each of `width` equal parts of the span; a value lasts until the next one.

    `points` are (UTC nanoseconds, value) in order of time, the value None where there was none; a part of which
    nothing is known is None.
    """
    span_ns = max(until_ns - since_ns, 1)
    edges = [since_ns + span_ns * part // width for part in range(width + 1)]
    means: list[float | None] = []
    index = 0
    value: float | None = None
    for start, end in pairwise(edges):
        total = known_ns = 0.0
        at = start
        while index < len(points) and points[index][0] < end:
            when = max(points[index][0], at)
            if value is not None:
                total, known_ns = total + value * (when - at), known_ns + (when - at)
            at, value = when, points[index][1]
            index += 1
        if value is not None:
            total, known_ns = total + value * (end - at), known_ns + (end - at)
        means.append(total / known_ns if known_ns else value)
    return means


def sparkline(values: Sequence[float | None]) -> str:
    """One character a value, the least lowest, the most highest; all alike are in the middle."""
    known = [value for value in values if value is not None]
    if not known:
        return GAP * len(values)
    least, most = min(known), max(known)
    step = (most - least) / (len(BLOCKS) - 1)
    return "".join(
        GAP if value is None else BLOCKS[round((value - least) / step) if step else len(BLOCKS) // 2 - 1]
        for value in values
    )
