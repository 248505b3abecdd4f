"""The verbs: one file each, holding a `COMMAND`. The folder is the table; there is nothing to register."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType, ModuleType

from knoop import claims
from knoop.command import Command

# No channel is called so: `all` is planned as a verb, and what stands before a code is one to strangers.
KEPT = frozenset({"all", claims.WORD})


@cache
def table() -> Mapping[str, Command]:
    """Every verb, by its word, sorted. Raises ValueError for a file that declares none, or a taken one."""
    names = sorted(module.name for module in iter_modules(__path__))
    return collect(import_module(f"{__name__}.{name}") for name in names)


@cache
def words() -> frozenset[str]:
    """Every word that is a verb now, or is kept for one: no channel may be called so."""
    return KEPT.union(*((command.verb, *command.aliases) for command in table().values()))


def collect(modules: Iterable[ModuleType]) -> Mapping[str, Command]:
    """The verbs of these modules; see `table`."""
    found: dict[str, Command] = {}
    words: dict[str, str] = {}
    for module in modules:
        command = getattr(module, "COMMAND", None)
        if not isinstance(command, Command):
            raise ValueError(f"{module.__name__} has no COMMAND")  # noqa: TRY004 -- the file is wrong, not a type
        for word in (command.verb, *command.aliases):
            if word in words:
                raise ValueError(f"{module.__name__}: the word {word!r} is already taken by {words[word]}")
            words[word] = module.__name__
        found[command.verb] = command
    return MappingProxyType(found)
