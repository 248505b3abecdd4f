"""The pictures of docs/filters.md: what goes into a channel's filter and what comes out, by the filter itself.

`python -m tests.test_docs --write` draws them anew.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from knoop_hw.decode import Document, into
from knoop_hw.filters import Filter, Options
from knoop_hw.model import Quality, Value

FOLDER = Path(__file__).parents[1] / "docs" / "img"
S = 1_000_000_000
WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 44, 34  # around the plot

Signal = tuple[float | None, ...]  # one sample a second; None: the sensor failed


@dataclass(frozen=True, slots=True)
class Picture:
    """`options` as node.toml has them, over the samples of `signal`, one every `every_s` seconds."""

    options: str
    signal: Signal
    says: str
    every_s: float = 1
    unit: str = "°C"


def _wave(count: int, *, middle: float = 21, high: float = 1, wobble: float = 0.12) -> Signal:
    """A slow wave with the wobble that sensors have; the same every time."""
    return tuple(
        round(middle + high * math.sin(i / count * 2 * math.pi) + wobble * math.sin(i * 2.4) * math.cos(i * 1.1), 3)
        for i in range(count)
    )


def _with(signal: Signal, changed: Mapping[int, float | None]) -> Signal:
    return tuple(changed.get(index, value) for index, value in enumerate(signal))


PICTURES: Mapping[str, Picture] = {
    "none": Picture("", _wave(60), "Without options every sample of a number is a reading."),
    "calibration": Picture(
        "offset = -0.8\nmultiply = 1.02", _wave(60), "Every sample is moved and stretched: (raw + offset) × multiply."
    ),
    "valid": Picture(
        "valid = [0, 50]", _with(_wave(60, high=8, wobble=0.5), {14: 85.0, 30: 85.0, 31: 85.0, 47: -12.0}),
        "What cannot be is no reading but an error, until the next sample that can be.",
    ),
    "median": Picture(
        "median = 3", _with((*_wave(60)[:30], *_wave(60, middle=23.5)[30:]), {9: 24.6, 25: 18.2, 42: 20.1}),
        "Single spikes vanish; a step stays a step, one sample later.",
    ),
    "clamp": Picture(
        "clamp = [0, 100]", tuple(round(60 + 55 * math.sin(i / 60 * 2 * math.pi), 1) for i in range(60)),
        "What lies outside is the nearer end.", unit="%",
    ),
    "delta": Picture("delta = 0.5", _wave(60), "A reading for each change of half a degree since the last reading."),
    "delta-relative": Picture(
        'delta = "20 %"', tuple(round(150 * 1.06 ** (i if i < 30 else 60 - i), 1) for i in range(60)),
        "Small values are told finely and large ones coarsely.", unit="W",
    ),
    "min-interval": Picture(
        'min_interval = "10s"', _wave(60), "At most one reading in ten seconds; the newest one waits and follows."
    ),
    "heartbeat": Picture(
        'delta = 0.5\nheartbeat = "15s"', _with(_wave(60, high=0.1), dict.fromkeys(range(38, 60), 22.2)),
        "Nothing changes by half a degree for a long time: the channel says all the same that it lives.",
    ),
    "stale": Picture(
        'delta = 0.5\nstale = "20s"', (*_wave(20), *(20.9,) * 30, *_wave(14, middle=21.5)),
        "The very same sample for 20 seconds is a warning, at once; the first that differs is no warning any more.",
    ),
    "together": Picture(
        'valid = [10, 25]\nmedian = 3\ndelta = 0.3\nmin_interval = "5s"\nheartbeat = "15s"',
        _with(_wave(60), {9: 23.6, 20: 26.0, 33: None, 34: None, 44: 18.5}),
        "Many together: sixty samples, and what is worth knowing of them.",
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Dot:
    """A reading, at the second in which it passed."""

    at_s: float
    value: Value
    quality: Quality


def options(picture: Picture) -> Options:
    """The options of a picture, decoded as those of node.toml are."""
    problems: list[Any] = []
    document = Document(data=tomllib.loads(picture.options), file="", lines={})
    made = into(Options, document.data, document=document, path=(), problems=problems)
    assert made is not None, problems
    return made


def run(picture: Picture) -> list[Dot]:
    """What the filter lets pass, when it does."""
    filter_ = Filter(options(picture))
    dots: list[Dot] = []

    def add(passed: tuple[Value, Quality, int] | None, at_ns: int) -> None:
        if passed is not None:
            dots.append(Dot(at_ns / S, passed[0], passed[1]))

    def elapse(until_ns: int) -> None:
        while (due_ns := filter_.due_ns) is not None and due_ns < until_ns:
            add(filter_.elapse(due_ns), due_ns)

    for index, value in enumerate(picture.signal):
        at_ns = int(index * picture.every_s * S)
        elapse(at_ns)
        add(filter_.feed(value, "error" if value is None else "ok", at_ns), at_ns)
    elapse(int((len(picture.signal) - 1) * picture.every_s * S) + 1)
    return dots


# Colours that differ in lightness as well as in hue, each for a light and for a dark page; shapes differ, too.
STYLE = """
text{font:13px system-ui,sans-serif;fill:#24292f}.small{font-size:12px;fill:#57606a}.page{fill:#fff}
path,polyline{fill:none}.grid{stroke:#d8dee4}.axis,.in{stroke:#8c959f}.out{stroke-width:2}
.samples{stroke:#8c959f;stroke-width:4}.readings{stroke-width:8}.samples,.readings{stroke-linecap:round}
.out,.readings{stroke:#0550ae}.warning{fill:#bc4c00}.error{stroke:#cf222e;stroke-width:2.5}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9ea7b0}.page{fill:#0d1117}.grid{stroke:#30363d}
.axis,.in{stroke:#6e7681}.samples{stroke:#8b949e}.out,.readings{stroke:#58a6ff}.warning{fill:#f0883e}
.error{stroke:#ff7b72}}
""".strip()


class Plot:
    """Seconds and values to places in the picture."""

    def __init__(self, last_s: float, values: list[float]) -> None:
        low, high = min(values), max(values)
        space = (high - low or 1) * 0.08
        self.low, self.high, self.last_s = low - space, high + space, last_s

    def x(self, at_s: float) -> float:
        """From the left."""
        return round(LEFT + at_s / self.last_s * (WIDTH - LEFT - RIGHT), 1)

    def y(self, value: float) -> float:
        """From the top."""
        return round(TOP + (self.high - value) / (self.high - self.low) * (HEIGHT - TOP - BOTTOM), 1)

    def ticks(self) -> list[float]:
        """Four or five round values of the axis."""
        rough = (self.high - self.low) / 4
        ten = 10 ** math.floor(math.log10(rough))
        step = next(ten * times for times in (1, 2, 2.5, 5, 10) if ten * times >= rough)
        first = math.ceil(self.low / step)
        return [step * n for n in range(first, math.floor(self.high / step) + 1)]


def svg(picture: Picture) -> str:
    """The picture: samples small and grey, readings large, and what holds from one to the next."""
    dots = run(picture)
    last_s = (len(picture.signal) - 1) * picture.every_s
    numbers = [value for value in picture.signal if value is not None]
    plot = Plot(last_s, [*numbers, *(dot.value for dot in dots if isinstance(dot.value, float | int))])
    samples = _samples(plot, picture)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{picture.says}</title><style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="6"/>',
        *_axes(plot, picture),
        f'<polyline class="in" points="{_points(samples)}"/>',
        f'<path class="samples" d="{_round(samples)}"/>',
        f'<path class="out" d="{_held(plot, dots)}"/>',
        f'<path class="readings" d="{_round(_readings(plot, dots))}"/>',
        *(_mark(plot, dot) for dot in dots if dot.quality != "ok"),
        *_legend(picture, dots),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


Point = tuple[float, float]


def _samples(plot: Plot, picture: Picture) -> list[Point]:
    there = ((i * picture.every_s, value) for i, value in enumerate(picture.signal) if value is not None)
    return [(plot.x(at), plot.y(value)) for at, value in there]


def _readings(plot: Plot, dots: list[Dot]) -> list[Point]:
    good = ((dot.at_s, dot.value) for dot in dots if dot.quality == "ok")
    return [(plot.x(at), plot.y(value)) for at, value in good if isinstance(value, float | int)]


def _points(points: list[Point]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _round(points: list[Point]) -> str:
    """A dot each: lines of no length with round ends."""
    return "".join(f"M{x:g} {y:g}h0" for x, y in points)


def _axes(plot: Plot, picture: Picture) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = [
        f'<path class="grid" d="M{LEFT} {plot.y(tick)}H{right}"/>'
        f'<text class="small" x="{LEFT - 8}" y="{plot.y(tick) + 4:g}" text-anchor="end">{tick:g}</text>'
        for tick in plot.ticks()
    ]
    parts += [
        f'<text class="small" x="{plot.x(at)}" y="{bottom + 20}" text-anchor="middle">{at} s</text>'
        for at in range(0, int(plot.last_s) + 1, 10)
    ]
    unit = f'<text class="small" x="{LEFT - 8}" y="24" text-anchor="end">{picture.unit}</text>'
    return [*parts, unit, f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{right}"/>']


def _held(plot: Plot, dots: list[Dot]) -> str:
    """The value that holds from each reading to the next; none where there is none."""
    path = ""
    for dot, after in zip(dots, [*dots[1:], Dot(plot.last_s, None, "ok")], strict=True):
        if isinstance(dot.value, float | int):
            path += f"M{plot.x(dot.at_s)} {plot.y(dot.value)}H{plot.x(after.at_s)}"
    return path


def _mark(plot: Plot, dot: Dot) -> str:
    x = plot.x(dot.at_s)
    if not isinstance(dot.value, float | int):
        y = HEIGHT - BOTTOM - 8
        return f'<path class="error" d="M{x - 5:g} {y - 5}l10 10m0 -10l-10 10"/>'
    return f'<path class="warning" d="M{x:g} {plot.y(dot.value) - 7:g}l7 12h-14z"/>'


def _legend(picture: Picture, dots: list[Dot]) -> list[str]:
    readings = sum(dot.quality == "ok" for dot in dots)
    entries = [
        ('<path class="samples" d="M{x} 20h0"/>', f"in: {len(picture.signal)} samples"),
        ('<path class="readings" d="M{x} 20h0"/>', f"out: {readings} readings"),
    ]
    if warnings := sum(dot.quality == "warning" for dot in dots):
        entries.append(('<path class="warning" d="M{x} 13l7 12h-14z"/>', f"{warnings} with the quality warning"))
    if errors := sum(dot.quality == "error" for dot in dots):
        cross = '<path class="error" d="M{x} 20m-5 -5l10 10m0 -10l-10 10"/>'
        entries.append((cross, f"{errors} with the quality error"))
    parts, x = [], LEFT + 8
    for mark, text in entries:
        parts.append(mark.format(x=x) + f'<text x="{x + 12}" y="25">{text}</text>')
        x += 40 + 7 * len(text)
    return parts


def drawn() -> dict[Path, str]:
    """Every picture by its file."""
    return {FOLDER / f"filter-{name}.svg": svg(picture) for name, picture in PICTURES.items()}
