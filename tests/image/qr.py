"""What a telephone's camera makes of a QR code, by zbar: from a picture, or from the half blocks on a console."""

from __future__ import annotations

import re
import subprocess
from itertools import groupby
from pathlib import Path

MODULE = 8  # pixels
LEAST = 12  # lines of half blocks: the smallest code has 21 modules and a border
_DRAWN = re.compile(r"[ █▀▄]{20,}")


def read(picture: Path) -> str:
    """The text of the one code in a picture."""
    done = subprocess.run(
        ["zbarimg", "--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", str(picture)], capture_output=True, text=True,
        check=False,
    )
    assert done.returncode == 0, f"zbarimg finds no code in {picture}: {done.stderr}"
    return done.stdout.strip()


def on_console(said: str, folder: Path) -> str:
    """The text of the code that was drawn last."""
    found = [block for block in _drawings(said) if len(block) >= LEAST]
    assert found, f"no QR code on the console:\n{said[-4000:]}"
    picture = folder / "console.pgm"
    _paint(found[-1], picture)
    return read(picture)


def whole(said: str) -> bool:
    """Whether a code was drawn down to its lower border, which is half a line."""
    return any(set(lines[-1]) == {"▀"} for lines in _drawings(said) if len(lines) >= LEAST)


def _drawings(said: str) -> list[list[str]]:
    """Runs of lines that consist of blocks."""
    lines = said.splitlines()
    return [list(some) for drawn, some in groupby(lines, lambda line: bool(_DRAWN.fullmatch(line))) if drawn]


def _paint(lines: list[str], picture: Path) -> None:
    """As light on a dark screen: a full block is light, half ones are half."""
    width = max(map(len, lines))
    rows = []
    for line in lines:
        text = line.ljust(width)
        rows.append([letter in "█▀" for letter in text])
        rows.append([letter in "█▄" for letter in text])
    pixels = b"".join(bytes(255 * light for light in row for _ in range(MODULE)) * MODULE for row in rows)
    picture.write_bytes(f"P5 {width * MODULE} {len(rows) * MODULE} 255\n".encode() + pixels)
