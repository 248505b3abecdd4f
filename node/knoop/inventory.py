"""What a node has on this machine: its configuration, its secrets, and what both halves remember."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

from knoop import readings_tables, state_tables
from knoop.config import Config

DATABASES = {"state.db": state_tables.MIGRATIONS, "readings.db": readings_tables.MIGRATIONS}
BOARD = ("counters.json", "outputs.json")  # what a board goes on with on another card
# All that either half ever writes into its folder, `lock` apart, which holds nothing.
WRITTEN = re.compile(
    r"(state|readings)\.db(\.v\d+|\.corrupt-\d+)?(-wal|-shm|-journal)?"
    r"|(counters|outputs|open)\.(json|new|damaged)|\.?claim\.(txt|png)|starts\.json|\.starts\.json\.new|\..+\.import"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The files of a configuration that lie in its folder, by their names there, `main` first.

    `elsewhere` are those that it names outside, or that are no ordinary file.
    """

    folder: Path
    main: str
    files: tuple[str, ...]
    elsewhere: tuple[Path, ...]


def configuration(config: Config) -> Configuration:
    """Every file that `config` was read from or names."""
    main = Path(os.path.abspath(config.file))  # noqa: PTH100 -- without following links, as the configuration names it
    inside, outside = [main.name], []
    for named in (*map(Path, config.files), *_paths(config.xmpp), *_paths(config.hw)):
        file = Path(os.path.abspath(named))  # noqa: PTH100 -- as above
        if not file.is_file():
            continue  # a device, or a mount
        if not file.is_relative_to(main.parent):
            outside.append(file)
        elif (name := str(file.relative_to(main.parent))) not in inside:
            inside.append(name)
    return Configuration(folder=main.parent, main=main.name, files=tuple(inside), elsewhere=tuple(outside))


def of_the_board(config: Config) -> list[Path]:
    """Files of the configuration's folder that the hardware half reads: the key of a meter, a scenario."""
    has = configuration(config)
    named = {Path(os.path.abspath(path)) for path in _paths(config.hw)}  # noqa: PTH100 -- as there
    return [file for name in has.files[1:] if (file := has.folder / name) in named]


def board(state: Path) -> Path:
    """Where the hardware half remembers things, beside the agent's folder."""
    return state.with_name(f"{state.name}-hw")


def folders(state: Path) -> tuple[Path, ...]:
    """Where the halves of a node remember things: the agent's folder and, where there is one, the board's beside it."""
    return (state, board(state)) if board(state).is_dir() else (state,)


def remembered(state: Path) -> list[Path]:
    """Every file with something in it that a half has written there."""
    return sorted(
        file for folder in folders(state) if folder.is_dir() for file in folder.iterdir()
        if WRITTEN.fullmatch(file.name) and not file.is_dir()
    )  # fmt: skip


def former(files: Iterable[Path]) -> list[Path]:
    """What stands beside these files of a configuration: kept by `knoop init --force` or by a setup from the card, left
    by an import, an init or a setup that met a power cut.
    """
    beside = r"{0}\.(old\d*|previous|pending)|\.\.?{0}\.(import|card|(.+\.)?new|[a-z0-9_]{{8}})"
    return sorted(
        place for file in files for place in file.parent.iterdir()
        if re.fullmatch(beside.format(re.escape(file.name)), place.name)
    )  # fmt: skip


def others(state: Path) -> list[Path]:
    """What else lies there, put by somebody else."""
    return sorted(
        file for folder in folders(state) if folder.is_dir() for file in folder.iterdir()
        if file.name != "lock" and (file.is_dir() or not WRITTEN.fullmatch(file.name))
    )  # fmt: skip


def _paths(value: object) -> Iterator[Path]:
    """Every path that is somewhere in a configuration's tables."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _paths(item)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _paths(getattr(value, field.name))
