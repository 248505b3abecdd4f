"""The pictures of docs/flash.md: what a maker sees, each of it said by the program itself.

`python -m tests.test_docs --write` draws them anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.node.house import ANNA, GreenHouse

from knoop import claimfiles, ownership
from knoop.alerts import Alerts
from knoop.jid import Jid
from knoop.setup import command
from knoop.setup.machine import ERRORS, Machine
from knoop.state import State
from knoop.store import Store
from knoop_hw.model import Channel

FOLDER = Path(__file__).parents[1] / "docs" / "img"
CODE = "k3dh-9wza-7mpb-t2xf"  # as on docs/setup.md
NODE = Jid("greenhouse", "example.org")
CARD = """\
[wifi]
ssid = "Our home"
password = "the password of the Wi-Fi"
country = "NL"

[account]
jid = "greenhouse@example.org"
password = "the password of the node's account"

[node]
name = "greenhouse"
label = "Greenhouse"

[people]
"anna@example.org" = "owner"

[input.door]
label = "Door"
pin = "GPIO17"

[publish]
pubsub = "off"
"""
MISTAKEN: Mapping[str, str] = {'label = "Door"': 'lable = "Door"', '"GPIO17"': '"GPIO99"'}
CHANNELS = (
    Channel(name="door", kind="contact", type="boolean", cls="event", label="Door"),
    Channel(name="air.temperature", kind="sensor", type="number", unit="°C", digits=1),
)
ADVANCE, LINE, LEFT, TOP = 7.8, 18, 16, 52  # of a monospaced letter of 13 px, in pixels
STYLE = """
text{font:13px ui-monospace,Menlo,Consolas,monospace;fill:#24292f;white-space:pre}.page{fill:#fff}
.frame{fill:#f6f8fa;stroke:#8c959f}.bar{fill:#d8dee4}
.name{font:13px system-ui,sans-serif}.said{font:14px system-ui,sans-serif}
.screen{fill:#0d1117}.light{fill:#e6edf3}.us{fill:#ddf4ff}.node{fill:#fff;stroke:#d8dee4}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.page{fill:#0d1117}.frame{fill:#161b22;stroke:#6e7681}
.bar{fill:#30363d}.us{fill:#12314f}.node{fill:#0d1117;stroke:#6e7681}}
""".strip()


@dataclass(frozen=True, slots=True)
class Picture:
    """A window with its name. `says` is for who does not see it."""

    title: str
    says: str


PICTURES: Mapping[str, Picture] = {
    "card": Picture(
        "knoop.toml, on the card", "knoop.toml on the card: a Wi-Fi, an account, a name, an owner and a contact."
    ),
    "errors": Picture(
        "knoop-errors.txt, on the card", "The file knoop-errors.txt: each mistake with its line, and what to do."
    ),
    "claim": Picture(
        "on the screen (HDMI), or a serial console", "A screen with a code and its QR code: a node without an owner."
    ),
    "chat": Picture("greenhouse@example.org, in any chat app", "A chat with the node: status, and its answer."),
}  # fmt: skip


@cache
def errors() -> str:
    """What a setup leaves on a card whose file has mistakes."""
    text = CARD
    for right, wrong in MISTAKEN.items():
        assert right in text, right
        text = text.replace(right, wrong)
    with TemporaryDirectory() as folder:
        machine = _machine(Path(folder), text)
        assert command.taken(machine) == command.EX_CONFIG
        return (machine.boot / ERRORS).read_text("utf-8").replace("\r\n", "\n")


def accepted() -> str:
    """The node.toml that a setup makes of the card in the picture."""
    with TemporaryDirectory() as folder:
        machine = _machine(Path(folder), CARD)
        assert command.taken(machine) == 0, (machine.boot / ERRORS).read_text("utf-8")
        return machine.node.read_text("utf-8")


def _machine(folder: Path, text: str) -> Machine:
    boot, root = folder / "boot", folder / "root"
    boot.mkdir()
    root.mkdir()
    (boot / "knoop.toml").write_text(text, "utf-8")
    return Machine(boot=boot, root=root)


@cache
def claim() -> str:
    """What stands on the screen of a node that nobody owns."""
    with TemporaryDirectory() as folder:
        ownership._write(Path(folder), NODE, CODE)  # with a code that is the same every time
        return (Path(folder) / claimfiles.TEXT).read_text("utf-8")


@cache
def chat() -> tuple[tuple[bool, str], ...]:
    """Who speaks (True: the owner), and what."""
    return tuple(asyncio.run(_conversation()))


async def _conversation() -> list[tuple[bool, str]]:
    with TemporaryDirectory() as folder:
        async with Store.open(Path(folder) / "readings.db") as store, State.open(Path(folder) / "state.db") as state:
            house = GreenHouse(store, state, channels={one.name: one for one in CHANNELS}, alerts=Alerts(()))
            await house.report("door", False)
            await house.report("air.temperature", 21.4)
            said = []
            for text in ("status", "door?"):
                await house.clock.advance(20)
                said += [(True, text), (False, await house.ask(ANNA, text))]
            return said


def drawn() -> dict[Path, str]:
    """Every picture by its file."""
    made = {
        "card": _page(CARD.splitlines()), "errors": _page(_folded(errors())), "claim": _screen(claim().splitlines()),
        "chat": _chat(),
    }  # fmt: skip
    return {FOLDER / f"flash-{name}.svg": _window(PICTURES[name], *made[name]) for name in PICTURES}


def _folded(text: str, most: int = 92) -> Iterator[str]:
    """As an editor that breaks lines shows it."""
    for line in text.rstrip("\n").splitlines():
        rest = line
        while len(rest) > most:
            at = rest.rfind(" ", 0, most) + 1 or most
            yield rest[:at].rstrip()
            rest = rest[at:]
        yield rest


def _line(text: str, row: int, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    width = f' textLength="{len(text) * ADVANCE:g}"' if text.isascii() else ""
    return f'<text x="{LEFT}" y="{TOP + row * LINE}"{named}{width}>{escape(text)}</text>' if text else ""


def _page(lines: Iterator[str] | list[str]) -> tuple[float, float, list[str]]:
    lines = [*lines]
    width = max(map(len, lines)) * ADVANCE + 2 * LEFT
    return width, TOP + len(lines) * LINE, [_line(text, row) for row, text in enumerate(lines)]


def _screen(lines: list[str]) -> tuple[float, float, list[str]]:
    """A console: light on dark whatever the page is, its half blocks as squares that meet."""
    width = max(map(len, lines)) * ADVANCE + 2 * LEFT
    height = TOP + len(lines) * LINE
    parts = [f'<path class="screen" d="M1 32H{width - 1:g}V{height - 1:g}H1z"/>']
    for row, text in enumerate(lines):
        if not set(text) & set("█▀▄"):
            parts.append(_line(text, row, "light"))
            continue
        top, half = TOP + row * LINE - 13, LINE // 2
        path = "".join(
            f"M{LEFT + at * half} {top + (half if mark == '▄' else 0)}h{half}v{LINE if mark == '█' else half}h-{half}z"
            for at, mark in enumerate(text) if mark in "█▀▄"
        )
        parts.append(f'<path class="light" shape-rendering="crispEdges" d="{path}"/>')
    return width, height, parts


def _chat() -> tuple[float, float, list[str]]:
    width, y, parts = 520.0, 44.0, []
    for ours, text in chat():
        lines = text.splitlines()
        wide = max(map(len, lines)) * 7.6 + 24
        high = 20 * len(lines) + 14
        x = width - wide - LEFT if ours else LEFT
        kind = "us" if ours else "node"
        parts.append(f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{wide:g}" height="{high}" rx="10"/>')
        parts += [f'<text class="said" x="{x + 12:g}" y="{y + 22 + 20 * row:g}">{escape(line)}</text>'
                  for row, line in enumerate(lines)]  # fmt: skip
        y += high + 10
    return width, y + 6, parts


def _window(picture: Picture, width: float, height: float, parts: list[str]) -> str:
    width, height = round(width), round(height)
    return "\n".join((
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' role="img">',
        f"<title>{escape(picture.says)}</title>", f"<style>{STYLE}</style>",
        f'<path class="page" d="M0 0H{width}V{height}H0z"/>',
        f'<path class="frame" d="M.5 .5H{width - 0.5}V{height - 0.5}H.5z"/>',
        f'<path class="bar" d="M1 1H{width - 1}V31H1z"/>',
        f'<text class="name" x="{LEFT}" y="21">{escape(picture.title)}</text>', *filter(None, parts), "</svg>\n",
    ))  # fmt: skip
