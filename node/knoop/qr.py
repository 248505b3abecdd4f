"""A text as a QR code (ISO/IEC 18004): for a terminal, for a text file, and as a picture. Pure."""

from __future__ import annotations

from io import BytesIO, StringIO

SCALE = 8  # pixels a module: about 4 cm on a telephone's screen
_WHITE_ON_BLACK = "\x1b[0;97;40m"  # whatever the terminal's own colours are: some cameras read no negative


def drawn(text: str, *, coloured: bool = False) -> str:
    """Lines of half blocks, light ones full; `coloured` as a terminal shows them rightly whatever its colours are."""
    import segno  # noqa: PLC0415 -- only while a code is shown

    drawing = StringIO()
    segno.make(text, micro=False).terminal(drawing, compact=True)
    lines = drawing.getvalue().splitlines()
    return "\n".join(f"{_WHITE_ON_BLACK}{line}\x1b[0m" if coloured else line for line in lines)


def png(text: str) -> bytes:
    """A picture of it."""
    import segno  # noqa: PLC0415 -- as above

    picture = BytesIO()
    segno.make(text, micro=False).save(picture, kind="png", scale=SCALE)
    return picture.getvalue()
