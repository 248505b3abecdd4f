"""The drawings of docs/hardware.md: which terminal goes to which place of the 40-pin header, or of an adapter.

What a place of the header is (GPIO17, 3.3 V, ground) is looked up, never typed. `python -m tests.test_docs --write`
draws them anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from knoop_hw.pins import BOARD

FOLDER = Path(__file__).parents[1] / "docs" / "img"
# raspberrypi.com, “GPIO and the 40-pin header”, as for knoop_hw.pins.
POWER: Mapping[int, str] = {
    1: "3.3 V", 17: "3.3 V", 2: "5 V", 4: "5 V", **dict.fromkeys((6, 9, 14, 20, 25, 30, 34, 39), "ground"),
}  # fmt: skip
STYLE = """
text{font:13px system-ui,sans-serif;fill:#24292f}.small{font-size:12px;fill:#57606a}.page{fill:#fff}
.board{fill:#f6f8fa;stroke:#8c959f}.free{fill:#d8dee4}polyline{fill:none;stroke-width:2.5}
.v5{stroke:#cf222e}.v3{stroke:#bc4c00}.gnd{stroke:#57606a}.sig{stroke:#0550ae}
circle.v5{fill:#cf222e}circle.v3{fill:#bc4c00}circle.gnd{fill:#57606a}circle.sig{fill:#0550ae}
.part{fill:#fff;stroke:#24292f;stroke-width:1.5}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9ea7b0}.page{fill:#0d1117}
.board{fill:#161b22;stroke:#6e7681}.free{fill:#30363d}.v5{stroke:#ff7b72}.v3{stroke:#f0883e}.gnd{stroke:#9ea7b0}
.sig{stroke:#58a6ff}circle.v5{fill:#ff7b72}circle.v3{fill:#f0883e}circle.gnd{fill:#9ea7b0}circle.sig{fill:#58a6ff}
.part{fill:#0d1117;stroke:#e6edf3}}
""".strip()
WIDTH, TOP, ROW, GAP = 640, 34, 13, 40
LOW, STEP = TOP + GAP // 2, 14  # y of the first terminal; between two upright wires
PINS, BOX, WIRES = 60, 470, 110  # x of the header's odd places, of the device, and of the first upright wire


@dataclass(frozen=True, slots=True)
class Wire:
    """From a place (a number of the header, or a name at the adapter) to a terminal of the device."""

    place: int | str
    terminal: str
    through: str = ""  # a part in the wire

    @property
    def said(self) -> str:
        """What stands at the wire."""
        return f"{named(self.place)} (pin {self.place})" if isinstance(self.place, int) else self.place

    @property
    def colour(self) -> str:
        """By what it carries."""
        said = self.said.lower()
        if said.startswith(("3.3 v", "5 v")):
            return "v3" if said.startswith("3") else "v5"
        return "gnd" if said.startswith(("ground", "gnd")) else "sig"


@dataclass(frozen=True, slots=True)
class Drawing:
    """A device at the header (`left` is empty) or at an adapter. `across`: a part between two neighbouring wires."""

    device: str
    wires: tuple[Wire, ...]
    says: str
    left: str = ""
    across: tuple[int, str] | None = None  # between this wire and the next


DRAWINGS: Mapping[str, Drawing] = {
    "door": Drawing(
        "Reed contact", (Wire(9, "one end"), Wire(11, "the other end")),
        "A reed contact between ground, pin 9, and GPIO17, pin 11.",
    ),
    "pir": Drawing(
        "HC-SR501", (Wire(4, "VCC"), Wire(13, "OUT"), Wire(14, "GND")),
        "An HC-SR501: VCC at 5 V, pin 4; OUT at GPIO27, pin 13; GND at pin 14.",
    ),
    "relay": Drawing(
        "Relay board, jumper off", (Wire(2, "JD-VCC"), Wire(6, "GND"), Wire(17, "VCC"), Wire(29, "IN1")),
        "A relay board, jumper off: JD-VCC at 5 V, pin 2; GND at pin 6; VCC at 3.3 V, pin 17; IN1 at GPIO5, pin 29.",
    ),
    "thermometer": Drawing(
        "DS18B20", (Wire(1, "VDD, red"), Wire(7, "DQ, yellow"), Wire(9, "GND, black")),
        "A DS18B20: VDD at 3.3 V, pin 1; DQ at GPIO4, pin 7; GND at pin 9; 4.7 kΩ between VDD and DQ.",
        across=(0, "4.7 kΩ"),
    ),
    "air": Drawing(
        "BME280 board", (Wire(1, "VIN"), Wire(3, "SDA"), Wire(5, "SCL"), Wire(9, "GND")),
        "A BME280 board: VIN at 3.3 V, pin 1; SDA at GPIO2, pin 3; SCL at GPIO3, pin 5; GND at pin 9.",
    ),
    "rain": Drawing(
        "Rain gauge", (Wire(14, "one wire"), Wire(16, "the other")),
        "A rain gauge's reed contact between ground, pin 14, and GPIO23, pin 16.",
    ),
    "meter": Drawing(
        "P1 port, RJ12",
        (Wire("5 V", "2  request"), Wire("RXD, inverted", "5  data"), Wire("GND", "3  ground of the data")),
        "A P1 cable: 5 V to pin 2, the request; the inverted receiver to pin 5, 1 to 10 kΩ up to 5 V; ground to pin 3.",
        left="USB cable for P1", across=(0, "1 to 10 kΩ"),
    ),
    "gps": Drawing(
        "NEO-6M board", (Wire(1, "VCC"), Wire(6, "GND"), Wire(10, "TX")),
        "A NEO-6M board: VCC at 3.3 V, pin 1; GND at pin 6; its TX at GPIO15, pin 10, the Pi's RXD.",
    ),
    "rs485": Drawing(
        "SDM120", (Wire("A, D+", "A+"), Wire("B, D−", "B−"), Wire("GND, if there is one", "G")),
        "A USB adapter for RS-485: A to A, B to B; 120 Ω between A and B at the end of a long line.",
        left="USB adapter", across=(0, "120 Ω"),
    ),
    "arduino": Drawing(
        "Arduino, 5 V", (Wire(6, "GND"), Wire(10, "TX", "1 kΩ")),
        "A 5 V Arduino without USB: GND at pin 6; TX through 1 kΩ to GPIO15, pin 10, and from there 2 kΩ to ground.",
        across=(0, "2 kΩ"),
    ),
}  # fmt: skip


def named(place: int) -> str:
    """What a place of the header is."""
    return f"GPIO{BOARD[place]}" if place in BOARD else POWER[place]


def drawn() -> dict[Path, str]:
    """Each file and what should be in it."""
    return {FOLDER / f"wiring-{name}.svg": svg(drawing) for name, drawing in DRAWINGS.items()}


def svg(drawing: Drawing) -> str:
    """One drawing."""
    header = not drawing.left
    height = max(TOP + _rows(drawing) * ROW + 28 if header else 0, LOW + GAP * len(drawing.wires) + 6)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        f' role="img"><title>{drawing.says}</title><style>{STYLE}</style>',
        f'<rect class="page" width="{WIDTH}" height="{height}"/>',
        *(_header(drawing) if header else _box(10, 150, drawing.left, len(drawing.wires))),
        *_box(BOX, WIDTH - 10, drawing.device, len(drawing.wires)),
    ]
    for wire, points in zip(drawing.wires, routes(drawing), strict=True):
        lines += _wire(wire, points, header=header)
    if drawing.across is not None:
        at, part = drawing.across
        lines += _across(LOW + GAP * at, part, header=header)
    return "\n".join([*lines, "</svg>", ""])


def routes(drawing: Drawing) -> list[list[tuple[int, int]]]:
    """The corners of each wire, in order. No two wires meet: of those that lead down the last one bends first."""
    ends = [LOW + GAP * index for index in range(len(drawing.wires))]
    if drawing.left:
        return [[(150, end), (BOX, end)] for end in ends]
    begun = [_out(wire.place, drawing) for wire in drawing.wires]
    down = [index for index, end in enumerate(ends) if end >= begun[index][-1][1]]
    up = [index for index in range(len(begun)) if index not in down]
    bends = {index: WIRES + STEP * turn for turn, index in enumerate([*reversed(down), *up])}
    return [
        [*points, (bends[index], points[-1][1]), (bends[index], end), (BOX, end)]
        for index, (points, end) in enumerate(zip(begun, ends, strict=True))
    ]


def _out(place: int | str, drawing: Drawing) -> list[tuple[int, int]]:
    """From a place of the header to where its wire passes the neighbour in the same row: above one that has a wire."""
    assert isinstance(place, int)
    x, y = _place(place)
    if place % 2 == 0:
        return [(x, y)]
    above = any(wire.place == place + 1 for wire in drawing.wires)
    return [(x, y), (x, y + (-1 if above else 1) * (ROW // 2 + 1))]


def _rows(drawing: Drawing) -> int:
    """How many rows of the header are shown: those below the last wire are alike."""
    return min(20, max((wire.place + 1) // 2 for wire in drawing.wires if isinstance(wire.place, int)) + 4)


def _place(number: int) -> tuple[int, int]:
    return PINS + (0 if number % 2 else ROW + 3), TOP + ROW // 2 + (number - 1) // 2 * ROW


def _header(drawing: Drawing) -> Iterator[str]:
    used, rows = {wire.place: wire.colour for wire in drawing.wires}, _rows(drawing)
    left, right, top, bottom = PINS - 12, PINS + ROW + 15, TOP - 4, TOP + rows * ROW + 4
    yield f'<text x="{PINS + 8}" y="13" text-anchor="middle">40-pin header</text>'
    torn = "" if rows == 20 else "".join(
        f" L{right - (right - left) * step // 4},{bottom + (0 if step % 2 else 6)}" for step in range(5)
    )  # fmt: skip
    yield f'<path class="board" d="M{left},{top} H{right} V{bottom}{torn} L{left},{bottom} Z"/>'
    if torn:
        yield f'<text class="small" x="{PINS + 8}" y="{bottom + 19}" text-anchor="middle">… to 40</text>'
    for number in (1, 2):
        yield f'<text class="small" x="{_place(number)[0]}" y="{top - 4}" text-anchor="middle">{number}</text>'
    for number in range(1, 2 * rows + 1):
        x, y = _place(number)
        yield f'<circle class="{used.get(number, "free")}" cx="{x}" cy="{y}" r="{5 if number in used else 4}"/>'
    last = 2 * rows - 1
    yield f'<text class="small" x="{left - 5}" y="{_place(last)[1] + 4}" text-anchor="end">{last}</text>'


def _box(left: int, right: int, title: str, terminals: int) -> Iterator[str]:
    yield f'<text x="{(left + right) // 2}" y="20" text-anchor="middle">{title}</text>'
    yield f'<rect class="board" x="{left}" y="{TOP - 4}" width="{right - left}" height="{GAP * terminals + 8}" rx="3"/>'


def _wire(wire: Wire, points: list[tuple[int, int]], *, header: bool) -> Iterator[str]:
    y = points[-1][1]
    corners = " ".join(f"{x},{at}" for x, at in points)
    yield f'<polyline class="{wire.colour}" points="{corners}"/>'
    yield f'<text x="{BOX + 10}" y="{y + 4}">{wire.terminal}</text>'
    yield f'<text class="small" x="{BOX - 176 if header else 160}" y="{y - 5}">{wire.said.strip()}</text>'
    if wire.through:
        yield f'<rect class="part" x="{BOX - 62}" y="{y - 8}" width="48" height="16" rx="2"/>'
        yield f'<text class="small" x="{BOX - 38}" y="{y + 4}" text-anchor="middle">{wire.through}</text>'


def _across(y: int, part: str, *, header: bool) -> Iterator[str]:
    x, through = BOX - 190, GAP - 24
    beside = f'x="{x - 12}" text-anchor="end"' if header else f'x="{x + 12}"'  # where no wire has its name
    yield f'<polyline class="gnd" points="{x},{y} {x},{y + GAP}"/>'
    yield f'<rect class="part" x="{x - 7}" y="{y + 12}" width="14" height="{through}" rx="2"/>'
    yield f'<text class="small" {beside} y="{y + GAP // 2 + 4}">{part}</text>'
