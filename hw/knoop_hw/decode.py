"""TOML → frozen dataclasses: every problem at once, each with the line it stands on.

Both halves decode their tables with it. The dataclass is the schema: its annotations say what a key may hold,
its defaults what may be absent, its `__post_init__` (ValueError) what else must be true. A dataclass with
`FORM: ClassVar[str]` shows how its table is written: `{ at = 0 }`.

Key of a field: its name; without the trailing underscore; `class` for `cls`; a scalar with a unit drops its
suffix (`debounce_s: Seconds` is `debounce`). A dataclass with `SHORTHAND: ClassVar[str]` also takes a bare
value for that field.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cache, partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from knoop_hw import mistaken
from knoop_hw.errors import ConfigError, Problem
from knoop_hw.locate import Place, lines_of

T = TypeVar("T")
suggest = mistaken.suggest  # for those whose schemas name what there is


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value with its own notation, for use in `Annotated`.

    `parse` takes what TOML gave and returns the value, or raises ValueError; `expected` finishes the sentence
    "expected …". `suffix` is the unit in the field's name that the key leaves out. `schema` says the same to an
    editor, in JSON Schema.
    """

    expected: str
    parse: Callable[[Any], Any]
    suffix: str = ""
    schema: Mapping[str, Any] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Between:
    """The inclusive range of a number, for use in `Annotated`; without `high` it is open."""

    low: float
    high: float | None = None

    def said(self, of: Callable[[float], str] = "{:g}".format) -> str:
        """The end of "expected …"; `of` writes a number."""
        return f"at least {of(self.low)}" if self.high is None else f"from {of(self.low)} to {of(self.high)}"


def _quantity(units: Mapping[str, float]) -> Callable[[Any], float]:
    shape = re.compile(rf"([0-9]+(?:\.[0-9]+)?) ?({'|'.join(units)})")

    def parse(raw: Any) -> float:
        if isinstance(raw, str) and (match := shape.fullmatch(raw.strip())):
            raw = float(match[1]) * units[match[2]]
        if isinstance(raw, int | float) and not isinstance(raw, bool) and 0 <= raw < 1e18:  # a number as ns, too
            return float(raw)
        raise ValueError(raw)

    return parse


def _shape(units: Iterable[str]) -> dict[str, Any]:
    text = {"type": "string", "pattern": rf"^\s*[0-9]+(\.[0-9]+)? ?({'|'.join(units)})\s*$"}
    return {"anyOf": [text, {"type": "number", "minimum": 0}]}


_TIMES = {"ms": 0.001, "s": 1, "min": 60, "h": 3600, "d": 86400}
_SIZES = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
seconds_of = _quantity(_TIMES)


def time_of(seconds: float) -> str:
    """A time as node.toml has it: `20ms`, `1min`."""
    whole = (unit for unit, size in reversed(_TIMES.items()) if seconds >= size and seconds % size == 0)
    unit = next(whole, "ms" if seconds else "s")
    return f"{seconds / _TIMES[unit]:g}{unit}"


_bytes = _quantity(_SIZES)

SECONDS = Scalar('a time such as "50ms", "10s", "5min", "2h" or "1d"', seconds_of, "_s", _shape(_TIMES))
Seconds = Annotated[float, SECONDS]
_SIZE = 'a size such as "64MB" or a number of bytes'
Size = Annotated[int, Scalar(_SIZE, lambda raw: int(_bytes(raw)), schema=_shape(_SIZES))]


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed configuration that knows where its keys stand.

    `include` adds: `files`, the file of a place where it is another; `read`, all files; `notes` on an older version.
    """

    data: Mapping[str, Any]
    file: str
    lines: Mapping[Place, int]
    files: Mapping[Place, str] = field(default_factory=dict)
    read: tuple[str, ...] = ()
    notes: tuple[Problem, ...] = ()

    def where(self, path: Place) -> tuple[str, int]:
        """File and line of this key or, failing that, of the nearest table around it; line 0 when there is none."""
        for end in range(len(path), 0, -1):
            place = tuple(path[:end])
            if (line := self.lines.get(place)) is not None:
                return self.files.get(place, self.file), line
        return self.file, 0

    def problem(self, path: Place, text: str) -> Problem:
        """A located problem."""
        file, line = self.where(path)
        return Problem(file=file, line=line, path=dotted(path), text=text)


def dotted(path: Place) -> str:
    """A place as people write it:

    `input.door.pin`, `people."anna@example.org"`, `step[2].at` (the second step).
    """
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part + 1}]"
        else:
            text += ("." if text else "") + (part if re.fullmatch(r"[\w-]+", part) else f'"{part}"')
    return text


def load(path: Path) -> Document:
    """Read and parse one file. Raises ConfigError that says where it cannot be read and what to do."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        text = "there is no such file; --config names another"
    except IsADirectoryError:
        text = "this is a directory; name the file in it"
    except PermissionError:
        text = "not readable for this user; use sudo if it is the service's, or give its group read access (`ls -l`)"
    except OSError as error:
        text = f"cannot be read: {error.strerror}"
    else:
        try:
            return parse(raw.decode("utf-8"), str(path))
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            text = f"byte 0x{raw[error.start]:02x} is not UTF-8; save the file as UTF-8"
            raise ConfigError([Problem(file=str(path), line=line, path="", text=text)]) from None
    raise ConfigError([Problem(file=str(path), line=0, path="", text=text)])


def parse(text: str, file: str) -> Document:
    """Parse TOML. Raises ConfigError with the line of the first syntax error."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what, _, where = str(error).rpartition(" (at ")
        found = re.match(r"line (\d+)", where)
        line = int(found[1]) if found else text.count("\n") + (not text.endswith("\n"))
        advice = mistaken.syntax(what, text.split("\n")[line - 1])
        raise ConfigError([Problem(file=file, line=line, path="", text=advice)]) from None
    except RecursionError:
        raise ConfigError([Problem(file=file, line=0, path="", text="nested too deeply")]) from None
    return Document(data=data, file=file, lines=lines_of(text))


def into(
    kind: type[T], raw: object, *, document: Document, path: Place, problems: list[Problem],
    given: Mapping[str, object] | None = None,
) -> T | None:  # fmt: skip
    """`raw`, found at `path`, as a `kind`; None when a value in it is missing or wrong.

    Appends every problem to `problems` and never raises for what a user wrote. An unknown key is a problem, too, but
    does not hide the rest, so that a pin taken twice is found in the same run. `given` are values of fields that the
    file cannot set.
    """
    made = _Decoder(document, problems).table(kind, raw, path, given or {})
    return None if made is _WRONG else made


def key_of(field: Field[Any], annotation: object) -> str:
    """The key that sets this field."""
    name = "class" if field.name == "cls" else field.name.rstrip("_")
    suffix = next((item.suffix for item in _scalars(annotation)), "")
    return name.removesuffix(suffix) if suffix else name


def keys(kind: type[Any]) -> dict[str, str]:
    """The keys of a dataclass: key → field name."""
    hints = _hints(kind)
    return {key_of(field, hints[field.name]): field.name for field in fields(kind) if field.init}


# Cached: it is half of what reading a configuration costs. (mypy takes a class for something that cannot be hashed.)
_hints: Callable[[type[Any]], dict[str, Any]] = cache(partial(get_type_hints, include_extras=True))  # type: ignore[assignment]


def _scalars(annotation: object) -> list[Scalar]:
    if get_origin(annotation) is Annotated:
        return [item for item in get_args(annotation)[1:] if isinstance(item, Scalar)]
    if get_origin(annotation) in {Union, UnionType}:
        return [scalar for item in get_args(annotation) for scalar in _scalars(item)]
    return []


class _Wrong:
    """What a value becomes when it is not usable; the problem has been noted."""


_WRONG: Any = _Wrong()
_PLAIN: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text in quotes",
}


def _show(raw: object) -> str:
    """What the user wrote, short and as TOML has it."""
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, Mapping):
        return "a table"
    text = f'"{raw}"' if isinstance(raw, str) else str(raw)
    return text if len(text) <= 40 else f"{text[:37]}..."


class _Decoder:
    def __init__(self, document: Document, problems: list[Problem]) -> None:
        self._document, self._problems = document, problems

    def wrong(self, path: Place, text: str) -> Any:
        self._problems.append(self._document.problem(path, text))
        return _WRONG

    def table(self, kind: type[Any], raw: object, path: Place, given: Mapping[str, object]) -> Any:
        if not isinstance(raw, Mapping):
            shorthand: str | None = getattr(kind, "SHORTHAND", None)
            if shorthand is None:
                such = f" such as {kind.FORM}" if hasattr(kind, "FORM") else ""
                return self.wrong(path, f"expected a table{such}, not {_show(raw)}")
            raw = {shorthand: raw}
        hints, names = _hints(kind), {key: name for key, name in keys(kind).items() if name not in given}
        values = dict(given)
        missing = False
        for key, item in raw.items():
            if key not in names:
                self.wrong((*path, key), f"unknown key; {suggest(key, names)}")
            else:
                values[names[key]] = self.value(hints[names[key]], item, (*path, key))
        required = {f.name for f in fields(kind) if f.init and f.default is MISSING and f.default_factory is MISSING}
        for key, name in names.items():
            if name in required - values.keys():
                self.wrong(path, f"'{key}' is missing")
                missing = True
        if missing or any(value is _WRONG for value in values.values()):
            return _WRONG
        try:
            return kind(**values)
        except ValueError as error:
            key, colon, text = str(error).partition(": ")
            return self.wrong((*path, key), text) if colon and key in names else self.wrong(path, str(error))

    def value(self, annotation: Any, raw: object, path: Place) -> Any:
        origin, args = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            return self.annotated(args[0], args[1:], raw, path)
        if origin in {Union, UnionType}:
            return self.union([item for item in args if item is not NoneType], raw, path)
        if origin is Literal:
            return (
                raw
                if raw in args and isinstance(raw, str)
                else self.wrong(path, f"{_show(raw)} is not one of {', '.join(map(str, args))}{_near(raw, args)}")
            )
        if origin is tuple:
            if not isinstance(raw, list):
                return self.wrong(path, f"expected a list in [ ], not {_show(raw)}")
            return self.whole(tuple, [self.value(args[0], item, (*path, i)) for i, item in enumerate(raw)])
        if origin is dict:
            if not isinstance(raw, Mapping):
                return self.wrong(path, f"expected a table, not {_show(raw)}")
            made = {key: self.value(args[1], item, (*path, key)) for key, item in raw.items()}
            return _WRONG if any(item is _WRONG for item in made.values()) else made
        if is_dataclass(annotation) and isinstance(annotation, type):
            return self.table(annotation, raw, path, {})
        return self.plain(annotation, raw, path)

    @staticmethod
    def whole(make: Callable[[list[Any]], Any], items: list[Any]) -> Any:
        return _WRONG if any(item is _WRONG for item in items) else make(items)

    def plain(self, kind: Any, raw: object, path: Place) -> Any:
        if kind is Any:
            return raw
        if kind is Path:
            if not isinstance(raw, str) or not raw:
                return self.wrong(path, f"expected a path in quotes, not {_show(raw)}")
            return Path(self._document.where(path)[0]).parent / Path(raw).expanduser()
        fits = isinstance(raw, (int, float) if kind is float else kind) and (kind is bool or not isinstance(raw, bool))
        if not fits or (isinstance(raw, int | float) and not abs(raw) < 1e300):  # nan is not, and floats end at 1e308
            return self.wrong(path, f"expected {_PLAIN[kind]}, not {_show(raw)}")
        return kind(raw)

    def annotated(self, kind: Any, extras: tuple[Any, ...], raw: object, path: Place) -> Any:
        scalar = next((item for item in extras if isinstance(item, Scalar)), None)
        if scalar is None:
            made = self.value(kind, raw, path)
        else:
            try:
                made = scalar.parse(raw)
            except (ValueError, TypeError, OverflowError):
                return self.wrong(path, f"expected {scalar.expected}, not {_show(raw)}")
        limits = next((item for item in extras if isinstance(item, Between)), None)
        if limits is None or made is _WRONG:
            return made
        if made < limits.low or (limits.high is not None and made > limits.high):
            expected = limits.said(time_of) if scalar is SECONDS else limits.said()
            return self.wrong(path, f"expected {expected}, not {_show(raw)}")
        return made

    def union(self, kinds: list[Any], raw: object, path: Place) -> Any:
        """The first kind that fits, bool before numbers. With one kind its own problem, else what would fit."""
        if len(kinds) == 1:
            return self.value(kinds[0], raw, path)
        for kind in kinds:
            attempt = _Decoder(self._document, [])
            if (made := attempt.value(kind, raw, path)) is not _WRONG:
                return made
        expected = " or ".join(_PLAIN.get(kind, "a table") for kind in kinds)
        return self.wrong(path, f"expected {expected}, not {_show(raw)}")


def _near(raw: object, choices: Iterable[Any]) -> str:
    near = mistaken.meant(str(raw), map(str, choices))
    return f"; {near}" if near else ""
