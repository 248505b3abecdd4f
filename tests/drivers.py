"""The generated parts of docs/drivers.md: what drivers there are, their keys, their fields and what they write.

Each driver has a section `## NAME` there. What its first TOML block says is decoded to list its fields. A driver
without a section gets one from `python -m tests.test_docs --write`; its example and its prose are written by hand.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from functools import cache
from importlib.metadata import packages_distributions
from inspect import getdoc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args, get_type_hints

from tests import keys
from tests.test_architecture import FOUND

from knoop_hw import config, decode, source
from knoop_hw.filters import Delta, Options
from knoop_hw.source import Field

PAGE = Path(__file__).parents[1] / "docs" / "drivers.md"
END = "<!-- drivers end here -->"
NOT_KEYS = {"name", "world", "kind"}  # given by the board, not by node.toml
# Where everything is that a machine can tell of itself (`system` looks): what decides is whether a file is there.
ALL_OF_IT = {
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n", "sys/class/thermal/thermal_zone0/temp": "48312\n",
    "proc/meminfo": "MemTotal: 2 kB\nMemAvailable: 1 kB\nSwapTotal: 2 kB\nSwapFree: 1 kB\n",
    "sys/class/hwmon/hwmon0/name": "rpi_volt\n", "sys/class/misc/vcio": "",
    "sys/block/mmcblk0/device/life_time": "0x01 0x01\n",
}  # fmt: skip


def tables(name: str) -> Iterator[tuple[str, type[Any], set[str]]]:
    """The tables of one driver: heading, dataclass, fields that are no keys."""
    driver = source.load(name)
    yield f'[sensor.NAME] with driver = "{name}"', driver.Config, NOT_KEYS - {"kind"}
    yield from ((f"[sensor.NAME.{key}]", kind, set()) for key, kind in inner(name) if (key, kind) not in shared())
    if write := getattr(driver, "Write", None):
        yield f'[output.NAME] in a device with driver = "{name}"', write, NOT_KEYS


@cache
def shared() -> Mapping[tuple[str, type[Any]], tuple[str, ...]]:
    """Tables in tables that several drivers have, with these drivers."""
    users: dict[tuple[str, type[Any]], tuple[str, ...]] = {}
    for name in source.names():
        for table in inner(name):
            users[table] = (*users.get(table, ()), name)
    return {table: names for table, names in users.items() if len(names) > 1}


def inner(name: str) -> Iterator[tuple[str, type[Any]]]:
    """Keys of the driver that hold a table for each name, and the dataclass of those tables."""
    kind = source.load(name).Config
    hints = get_type_hints(kind)
    for field in fields(kind):
        arguments = get_args(hints[field.name])
        if arguments and is_dataclass(arguments[-1]) and isinstance(arguments[-1], type):
            yield field.name, arguments[-1]


def all_tables() -> Iterator[tuple[str, type[Any], set[str]]]:
    """Of all drivers."""
    for name in source.names():
        yield from tables(name)
    yield from ((f"[sensor.NAME.{key}]", kind, set()) for key, kind in shared())


def overview(page: str) -> str:
    """A row for each driver; the last column is measured by people and kept."""
    kept = dict(re.findall(r"^\| \[`(\w+)`\]\(#\w+\) \| .* \| ([^|]*) \|$", page, re.MULTILINE))
    rows = ["| driver | for | library it brings | memory |", "|---|---|---|---|"]
    for name in source.names():
        brings = ", ".join(libraries(name)) or "–"
        rows.append(f"| [`{name}`](#{name}) | {first(name)} | {brings} | {kept.get(name, '–')} |")
    return "\n".join(rows)


def first(name: str) -> str:
    """The first line of the driver's docstring."""
    line = (getdoc(source.load(name)) or "").partition("\n")[0]
    return re.sub(r"; see docs/\S+", "", line).rstrip(".:")


def libraries(name: str) -> tuple[str, ...]:
    """What is imported from others once a sensor with this driver is opened, by itself or by what it uses."""
    seen: set[str] = set()
    waiting = [f"knoop_hw.sensors.{name}"]
    brought: set[str] = set()
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        targets = [item.target for item in FOUND[module].imports if item.kind != "type"]
        waiting += [target for target in targets if target in FOUND]
        brought |= {target.partition(".")[0] for target in targets if target not in FOUND}
    known = packages_distributions()
    return tuple(sorted(known[module][0] for module in brought - {*sys.stdlib_module_names, "knoop_hw"}))


def section(page: str, name: str) -> str:
    """What the page says below the driver's heading."""
    return page.partition(f"\n## `{name}`\n")[2].partition("\n## ")[0]


def example(page: str, name: str) -> str:
    """The first configuration of the driver's section."""
    blocks: list[str] = re.findall(r"^```toml\n(.*?)^```$", section(page, name), re.DOTALL | re.MULTILINE)
    return next((block for block in blocks if f'driver = "{name}"' in block), "")


def loaded(text: str) -> config.Config:
    """The hardware half's tables of a piece of node.toml; an AssertionError has all that is wrong with it."""
    problems: list[Any] = []
    made = config.load(decode.parse(text, "drivers.md"), problems)
    assert not problems, problems
    return made


def what(page: str, name: str) -> str:
    """The line below the heading."""
    return f"{first(name)}."


def details(page: str, name: str) -> str:
    """Keys, fields and outputs."""
    said = dict(keys.meanings(page))
    own, *rest = tables(name)
    lines = [*keys.table(*own, said)]
    for table in rest:
        if table[0].startswith("[sensor"):
            lines += keys.table(*table, said)
    lines += [f"`{key}`: {_link(f'[sensor.NAME.{key}]')}.\n" for (key, _), users in shared().items() if name in users]
    lines += field_table(page, name)
    for table in rest:
        if table[0].startswith("[output"):
            lines += keys.table(*table, said)
    return "\n".join(lines).rstrip()


def _link(heading: str) -> str:
    return f"[`{heading}`](#{re.sub(r'[^a-z0-9_ -]', '', heading.lower()).replace(' ', '-')})"


def shared_tables(page: str) -> str:
    """The tables in tables that several drivers have."""
    said = dict(keys.meanings(page))
    lines: list[str] = []
    for key, kind in shared():
        lines += keys.table(f"[sensor.NAME.{key}]", kind, set(), said)
    return "\n".join(lines).rstrip()


def field_table(page: str, name: str) -> Iterator[str]:
    """The fields: all that the driver knows, or those of its example."""
    known: Mapping[str, Field] | None = getattr(source.load(name), "FIELDS", None)
    given = tuple(known.values()) if known is not None else of_example(page, name)
    alike: dict[tuple[str, str], list[str]] = {}
    for field in given:
        alike.setdefault((_unit(field), held_back(field.defaults)), []).append(
            f"`{field.name}`" if field.name else "(the sensor's own name)"
        )
    defaults = any(field.defaults != Options() for field in given)
    yield "**Fields**" if known is not None or name == "system" else "**Fields of the configuration above**"
    yield from ("", f"| fields | unit |{' held back by itself |' if defaults else ''}", "|---|---|" + defaults * "---|")
    yield from (
        f"| {' '.join(names)} | {unit} |" + defaults * f" {by_itself} |" for (unit, by_itself), names in alike.items()
    )
    yield ""


def of_example(page: str, name: str) -> tuple[Field, ...]:
    """What the section's configuration gives; on a machine where there is all of it."""
    text = example(page, name)
    if not text:
        return ()
    sensor = next(sensor for sensor in loaded(text).sensors if sensor.driver == name)
    with TemporaryDirectory() as folder:
        made = sensor.config
        if name == "system":
            for file, content in ALL_OF_IT.items():
                (Path(folder) / file).parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / file).write_text(content, "utf-8")
            made = replace(made, root=Path(folder))
        return source.load(name).fields(made)


def _unit(field: Field) -> str:
    return field.unit or {"number": "–", "text": "text", "boolean": "true or false"}[field.type]


def held_back(options: Options) -> str:
    """The defaults of a field as node.toml would say them."""
    said = []
    for option in fields(Options):
        value = getattr(options, option.name)
        if value is None or value in ("", ()):
            continue
        key = option.name.removesuffix("_s")
        if isinstance(value, Delta):
            text = f'"{value.amount:g} %"' if value.relative else f"{value.amount:g}"
        else:
            text = f'"{keys.time(value)}"' if option.name.endswith("_s") else f"{value}"
        said.append(f"`{key} = {text}`")
    return " ".join(said) or "–"


def with_all_sections(page: str) -> str:
    """The page with an empty section for each driver that has none yet."""
    for name in source.names():
        if f"\n## `{name}`\n" not in page:
            begins, ends = marks(name)
            page = page.replace(END, f"## `{name}`\n\n{begins}\n\n{ends}\n\n{END}")
    return page


def marks(name: str) -> tuple[str, str]:
    """The empty generated parts of a section."""
    by = "(by `.venv/bin/python -m tests.test_docs --write`)"
    return tuple(  # type: ignore[return-value]
        f"<!-- generated: {part} {name} {by} -->\n<!-- end: {part} {name} -->" for part in ("what", "details")
    )
