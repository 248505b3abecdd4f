"""The keys of a table of node.toml as pages show them: made from its dataclass, but for the last column.

That one, “meaning”, is written by people in the page, and kept.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from knoop_hw.decode import Between, Scalar, key_of

Meanings = Mapping[tuple[str, str], str]  # (heading in lower case, key) → what people wrote


def table(heading: str, kind: type[Any], hidden: set[str], said: Meanings) -> Iterator[str]:
    """The lines of one table, below its heading."""
    yield from (f"### `{heading}`" if heading.startswith("[") else f"### {heading.capitalize()}", "")
    yield from ("| key | value | default | meaning |", "|---|---|---|---|")
    hints = get_type_hints(kind, include_extras=True)
    for field in fields(kind):
        if field.name not in hidden:
            key, hint = key_of(field, hints[field.name]), hints[field.name]
            meaning = said.get((heading.lower(), key), "")
            yield f"| `{key}` | {expected(hint)} | {default(field)} | {meaning} |"
    yield ""


def meanings(page: str) -> Iterator[tuple[tuple[str, str], str]]:
    """What the last columns of a page say, below headings of the third level."""
    heading = ""
    for line in page.splitlines():
        if line.startswith("#"):
            heading = line[4:].strip("`").lower() if line.startswith("### ") else ""
        elif heading and (row := re.fullmatch(r"\| `(\w+)` \| .*? \| .*? \| (.*?) ?\|", line)):
            yield (heading, row[1]), row[2].strip()


def expected(hint: Any) -> str:
    """What a key takes, in words."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        scalar = next((item for item in args[1:] if isinstance(item, Scalar)), None)
        between = next((item for item in args[1:] if isinstance(item, Between)), None)
        said = re.sub(r"^an? | such as .*| \(.*", "", scalar.expected) if scalar else expected(args[0])
        return f"{said}, {between.said(time if said == 'time' else str)}" if between else said
    if origin in {Union, UnionType}:
        return " or ".join(expected(item) for item in args if item is not NoneType)
    if origin is Literal:
        return " ".join(f"`{item}`" if item else "``" for item in args if item)
    if origin is tuple:
        return f"list of {expected(args[0])}"
    if origin is dict:
        return f"a table, for each name: {expected(args[1])}"
    if is_dataclass(hint):
        shorthand = getattr(hint, "SHORTHAND", "")
        return f"`{shorthand}`, or a table" if shorthand else "a table"
    return {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}[hint]


def default(field: Any) -> str:
    """What holds without it."""
    if field.default is MISSING and field.default_factory is MISSING:
        return "*required*"
    value = field.default_factory() if field.default is MISSING else field.default
    if value is None or value in ("", (), {}):
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(json.dumps(item) for item in value)}]`"
    if isinstance(value, str | Path):
        return f'`"{value}"`'
    if field.name.endswith("_s"):
        return f'`"{time(value)}"`'
    return f'`"{value // 2**20}MiB"`' if isinstance(value, int) and value >= 2**20 else f"`{value:g}`"


def time(seconds: float) -> str:
    """As node.toml has it."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds * 1000:g}ms" if seconds else "0s"
