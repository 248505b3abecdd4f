"""One configuration from several files and of an older version: `include = ["common.toml"]`, `version = 1`.

Included files give way to the file that names them, earlier ones to later ones, key by key; every key keeps the file
and the line where it stands. A file of an older version is brought up to date in memory, each file by its own version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from knoop_hw import decode
from knoop_hw.decode import Document, dotted
from knoop_hw.errors import ConfigError, Problem
from knoop_hw.locate import Place

DEEPEST = 5  # included files below one another: more is a mistake, not a plan
MOST_FILES = 100  # in all: the same one counts again, since twenty times on each of five levels never ends
LARGEST = 2**20  # bytes of an included file; the longest node.toml seen has 20 kB
KEYS = ("include", "version")  # top-level keys that are no tables


@dataclass(frozen=True, slots=True)
class Moved:
    """A key or table that a newer version has in another place."""

    old: Place
    new: Place


Migration = Callable[[Mapping[str, Any]], tuple[dict[str, Any], tuple[Moved, ...]]]
"""From the data of one version to those of the next, and what is called otherwise there. Pure; leaves its argument."""

MIGRATIONS: tuple[Migration, ...] = ()
"""The first one leads from version 1 to 2; a file without `version` is of version 1."""


def load(path: Path, *, migrations: tuple[Migration, ...] = MIGRATIONS) -> Document:
    """Read a configuration with all that it includes. Raises ConfigError with what is wrong with the files."""
    return _load(path, (), migrations, count(1))


def _load(path: Path, chain: tuple[Path, ...], migrations: tuple[Migration, ...], number: Iterator[int]) -> Document:
    document = _up_to_date(decode.load(path), migrations)
    problems: list[Problem] = []
    below: Document | None = None
    chain = (*chain, path)
    for index, name in _names(document, problems):
        file, place = path.parent / Path(name).expanduser(), ("include", index)
        if file.resolve() in {known.resolve() for known in chain}:
            circle = " → ".join(known.name for known in (*chain, file))
            problems.append(document.problem(place, f"files that include each other: {circle}; leave one out"))
        elif not file.is_file():
            problems.append(document.problem(place, f"{file} does not exist; correct the name, or leave it out"))
        elif len(chain) > DEEPEST:
            problems.append(document.problem(place, f"more than {DEEPEST} files below one another; name it further up"))
        elif file.stat().st_size > LARGEST:
            text = f"{file} is larger than any configuration ({LARGEST // 2**20} MiB); is it the right file?"
            problems.append(document.problem(place, text))
        elif next(number) > MOST_FILES:
            raise ConfigError([document.problem(place, f"more than {MOST_FILES} files in all; name each of them once")])
        else:
            try:
                included = _load(file, chain, migrations, number)
            except ConfigError as error:
                problems += error.problems
            else:
                below = included if below is None else _over(included, below)
    if problems:
        raise ConfigError(problems)
    own = {key: value for key, value in document.data.items() if key not in KEYS}
    document = replace(document, data=own, read=(str(path),))
    return document if below is None else _over(document, below)


def _names(document: Document, problems: list[Problem]) -> list[tuple[int, str]]:
    names = document.data.get("include", [])
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        text = 'expected a list of files such as ["common.toml"], before the first table'
        problems.append(document.problem(("include",), text))
        return []
    return list(enumerate(names))


def _over(above: Document, below: Document) -> Document:
    """Both as one; `above` wins, and names the file."""
    hidden: set[Place] = set()
    data = _merged(above.data, below.data, (), hidden)
    seen = {
        place: line for place, line in below.lines.items()
        if not any(place[:end] in hidden for end in range(1, len(place) + 1))
    }  # fmt: skip
    files = {place: below.files.get(place, below.file) for place in seen}
    files |= {place: above.files.get(place, above.file) for place in above.lines}
    return Document(
        data=data, file=above.file, lines={**seen, **above.lines}, files=files,
        read=(*above.read, *(file for file in below.read if file not in above.read)),
        notes=(*above.notes, *below.notes),
    )  # fmt: skip


def _merged(above: Mapping[str, Any], below: Mapping[str, Any], place: Place, hidden: set[Place]) -> dict[str, Any]:
    """The tables of both; what `above` has instead is noted as `hidden`."""
    merged = {**below, **above}
    for key in above.keys() & below.keys():
        if isinstance(above[key], Mapping) and isinstance(below[key], Mapping):
            merged[key] = _merged(above[key], below[key], (*place, key), hidden)
        else:
            hidden.add((*place, key))
    return merged


def _up_to_date(document: Document, migrations: tuple[Migration, ...]) -> Document:
    """The document as the newest version has it. Raises ConfigError for one of a newer Knoop."""
    known = len(migrations) + 1
    version = document.data.get("version", 1)
    file, line = document.where(("version",))
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ConfigError([Problem(file, line, "version", f"expected a whole number from 1 to {known}")])
    if version > known:
        both = f"configuration version {version}; this one knows {known}"
        text = f"written for a newer Knoop ({both}); install that Knoop"
        raise ConfigError([Problem(file, line, "", text)])
    for number, migrate in enumerate(migrations[version - 1 :], start=version + 1):
        data, moves = migrate(document.data)
        lines = dict(document.lines)
        notes = list(document.notes)
        for moved in moves:
            text = f"is {dotted(moved.new)} since version {number}; write it so, and version = {known}"
            within = {place: at for place, at in document.lines.items() if place[: len(moved.old)] == moved.old}
            notes.append(Problem(file, min(within.values(), default=0), dotted(moved.old), text))
            lines |= {(*moved.new, *place[len(moved.old) :]): at for place, at in within.items()}
        document = replace(document, data=data, lines=lines, notes=tuple(notes))
    return document
