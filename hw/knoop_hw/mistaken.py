"""What people write by mistake, and what they meant: TOML that is none, and words that other programs have. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_STRING = re.compile(r""""(?:\\.|[^"\\])*"|'[^']*'|\#.*""")
_CURLY = re.compile("[“”„‟‘’‚‛«»]")
_BARE = re.compile(r"=\s*\[?\s*(?=[^\s\[{\"'])(?=.*[A-Za-z:%/])")
_TWICE = re.compile(r"\((.*)\) twice")

# What a key or a word is called elsewhere → ours, and what is said where that is more than its name. The first that
# can stand there is offered: `address` is a register's `at`, and the chip's `device`.
_NO_TCP = "there is no Modbus TCP, as the half with the devices has no network; name a serial port in 'device'"
_BY_PROTOCOL = "a meter's speed and framing follow from its 'protocol'"
_EVERY = (("every", ""),)
_UNIT = (("unit", ""),)
_FRAMING = (("framing", ""), ("protocol", _BY_PROTOCOL))
_SPEED = (("baudrate", ""), ("protocol", _BY_PROTOCOL))
_ELSEWHERE: Mapping[str, tuple[tuple[str, str], ...]] = {
    "slave": _UNIT, "slave_id": _UNIT, "unit_id": _UNIT,
    "host": (("registers", _NO_TCP),), "ip": (("registers", _NO_TCP),),
    "interval": _EVERY, "intervall": _EVERY, "poll_interval": _EVERY, "scan_interval": _EVERY,
    "update_interval": _EVERY,
    "port": (("device", ""),), "baud": _SPEED, "baud_rate": _SPEED, "baudrate": _SPEED,
    "parity": _FRAMING, "stopbits": _FRAMING, "bytesize": _FRAMING, "framing": _FRAMING,
    "address": (("at", ""), ("register", ""), ("registers", "did you mean 'unit'?"), ("device", "")),
    "regex": (("pattern", ""),), "regexp": (("pattern", ""),), "key": (("key_file", ""),),
    "float": (("float32", ""), ("number", "")), "double": (("float64", ""), ("number", "")),
    "int": (("int16", ""), ("number", "")), "string": (("text", ""),), "str": (("text", ""),),
    "number": (("pwm", "a number lives in a device, which 'sensor' names; on a pin \"pwm\" has a level"),),
}  # fmt: skip


def meant(word: str, choices: Iterable[str]) -> str:
    """What somebody who wrote `word` will have meant, as a sentence; "" where nothing is near."""
    choices = list(choices)
    for ours, said in _ELSEWHERE.get(word.lower(), ()):
        if ours in choices and ours != word:
            return said or f"did you mean '{ours}'?"
    import difflib  # noqa: PLC0415 -- 0.4 MB, for who makes a mistake

    near = difflib.get_close_matches(word, choices, n=1)
    return f"did you mean '{near[0]}'?" if near else ""


def suggest(word: str, choices: Iterable[str]) -> str:
    """The end of an "unknown …" sentence: what was meant, or all choices."""
    choices = list(choices)
    return meant(word, choices) or f"expected one of {', '.join(choices)}"


def syntax(what: str, line: str) -> str:
    """What is wrong with a line that is no TOML, of which tomllib says `what`, and what to do."""
    rest = _STRING.sub('""', line)
    if twice := _TWICE.search(what):
        table = ".".join(re.findall(r"'([^']*)'", twice[1]))
        return f"not valid TOML: [{table}] stands twice, or has a value above; put its keys together into one"
    if "overwrite" in what:
        return "not valid TOML: a key stands twice, or is a value and a table; keep one"
    return f"not valid TOML: {what[:1].lower()}{what[1:]}{_advice(what, rest)}"


def _advice(what: str, rest: str) -> str:
    """`rest` is the line without what is in quotes, and without its comment."""
    if curly := _CURLY.search(rest):
        return f"; {curly[0]} is a printer's quote: write \" or '"
    if "'\\'" in what or "hex value" in what:
        return "; put patterns and paths with \\ in single quotes"
    if rest.count("{") > rest.count("}"):
        return "; what is in { } must stand on one line, or be a [table] of its own"
    if re.search(r",\s*}", rest):
        return "; leave out the last comma in { }"
    if re.search(r"=\s*(True|False)\b", rest):
        return "; true and false are written small"
    return "; text values need quotes, times too" if _BARE.search(rest) else ""
