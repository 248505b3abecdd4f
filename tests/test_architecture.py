"""The house keeps its shape: who may import what. Each broken rule says which one it is and why it exists.

`TIERS` is docs/architecture.md in code: its table and its figure are made from it by tests/test_docs.py.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = {"knoop_hw": "hw", "knoop": "node", "knoop_bench": "bench"}
LONGEST = 350

Kind = Literal["top", "late", "type"]  # at module level, inside a function, or only for the type checker


@dataclass(frozen=True, slots=True)
class Tier:
    """Modules of one height; `folder.*` is every module of a folder, without the folder itself."""

    name: str
    does: str
    modules: tuple[str, ...]


def _tier(name: str, does: str, package: str, modules: str) -> Tier:
    return Tier(name, does, tuple(f"{package}.{m}" if m != "-" else package for m in modules.split()))


# From the bottom up. A module may import its own tier and those below.
TIERS = (
    _tier("words of the seam", "what travels, time, TOML to dataclasses, errors", "knoop_hw",
          "- model clock units errors locate mistaken decode include messages logs notify runs places life toml_text"),
    _tier("deciding (hardware)", "tables, filters, guards: values in, values out", "knoop_hw",
          "bus config tables pins filters guards kept scenario source sensors gestures counting cap kernel_edges "
          "debounce remote_tables protocols protocols.* kernel.overlays"),
    _tier("touching", "lines, ports, drivers, a simulated board", "knoop_hw",
          "timer lines meanings inputs whole totals outputs restore left pwm chips preflight "
          "pinfactory gpiod_pins lgpio_pins serialport simulated trouble sensing rights kernel kernel.* "
          "found proposed rtu leash probe jumper selftest link sock pipes talk device remote sensors.*"),
    _tier("board", "all that is open, and the protocol", "knoop_hw", "board"),
    _tier("the hardware half", "a board as a process of its own", "knoop_hw", "serve cli __main__"),
    _tier("words", "addresses, records, errors", "knoop",
          "- jid confusable record errors health words slips bench beside together gate progress ending budgets pace "
          "claimfiles"),
    _tier("deciding", "rights, alerts, sentences, payloads, the configuration", "knoop",
          "access alerts claims codes glance qr command commands commands.* condition config kept disk forms gaps "
          "geoloc invitation "
          "init.setup setup setup.buses setup.moved setup.tables setup.card setup.wifi setup.imager setup.told "
          "parse parse.* network payload plight reminders room room.addressed room.gathering room.pace rules "
          "sparkline text toml_schema unreceived wall watches"),
    _tier("keeping", "SQLite in a thread, reading to sinks, the agent's end of the seam", "knoop",
          "worker refusals files database readings_tables readings_sql retention store held waiting outbox "
          "state_tables state confirming resource "
          "claiming router board wifi status_file storage starts"),
    _tier("xmpp", "bytes, login, stanzas: the only place that knows the library", "knoop", "xmpp xmpp.*"),
    _tier("ways out", "one publisher a file, one delivery a sink", "knoop", "publishers publishers.* delivery"),
    _tier("a node", "what verbs see, what a message becomes, what lives as long as a login", "knoop",
          "alarms household execution knocks strangers ownership conversation presence vigil vitals room.inroom "
          "room.talk telling timekeeping watching "
          "whereabouts"),
    _tier("agent", "the wiring, and the way from one configuration to the next", "knoop",
          "agent halves safe serve"),
    _tier("command line", "arguments, exit codes, the terminal, where things are", "knoop",
          "archive inventory moving purging traces credential installed "
          "setup.machine setup.plan setup.account setup.carrying setup.claimed setup.command "
          "cli __main__ check claim audit flags probe live terminal places init init.interview init.ask init.drafts "
          "doctor doctor.*"),
)  # fmt: skip

WHY = {
    "tiers": "import downward only: a part can then be read, tested and replaced without what stands on it",
    "cycles": "modules that need each other are one module in two files",
    "halves": "the half with the devices has no network code, so that no stanza can reach a pin except by the protocol",
    "seam": "people's half and devices' half are two processes in production: only the Board protocol's words, clock, "
            "errors, log and supervisor are shared; config decodes both halves' tables, and halves joins them",
    "libraries": "a library lives in one place, is imported where it is used, and costs nothing where it is not; a new "
                 "one also gets its line in docs/dependencies.md",
    "lazy": "importing it loads a library that only some nodes need: import it inside the function that uses it",
    "bench": "a node must not load its own measuring instruments: only knoop.cli starts them, when asked",
    "observers": "what watches a node shares no code with it, or both would be wrong together",
    "pure": "deciding code has no side effects, so it is tested without a loop, a disk or a clock",
    "time": "time comes in through knoop_hw.clock.Clock, so that tests can hold it still and one clock is right",
    "chance": "randomness comes in at the composition roots, so that a run can be repeated; guessable ids are a hole",
    "environment": "only composition roots read the environment, so that a node is what its configuration says",
    "size": f"more than {LONGEST} lines are more than one idea; split it, or give the reason in LONG",
}  # fmt: skip

SEAM: Mapping[str, frozenset[str]] = {
    "": frozenset({
        "knoop_hw", *(f"knoop_hw.{m}" for m in ("model", "clock", "errors", "messages", "link", "logs", "notify")),
    }),
    "knoop.rules": frozenset({"knoop_hw.decode", "knoop_hw.tables"}),
    "knoop.config": frozenset({"knoop_hw.config", "knoop_hw.decode", "knoop_hw.include", "knoop_hw.tables"}),
    "knoop.agent": frozenset({"knoop_hw.runs"}),
    "knoop.network": frozenset({"knoop_hw.decode", "knoop_hw.filters"}),  # a channel of the agent's is one like others
    "knoop.wifi": frozenset({"knoop_hw.filters", "knoop_hw.life"}),
    "knoop.halves": frozenset({"knoop_hw.board", "knoop_hw.sock"}),  # in one process, or in two
    "knoop.cli": frozenset({"knoop_hw.places"}),
    "knoop.audit": frozenset({"knoop_hw.places"}),
    "knoop.kept": frozenset({"knoop_hw.decode"}),
    "knoop.moving": frozenset({"knoop_hw.life", "knoop_hw.places"}),
    "knoop.purging": frozenset({"knoop_hw.life", "knoop_hw.places"}),
    "knoop.claim": frozenset({"knoop_hw.places"}),
    "knoop.toml_schema": frozenset({f"knoop_hw.{m}" for m in (
        "decode", "filters", "include", "remote_tables", "source", "tables"
    )}),
    "knoop.serve": frozenset({"knoop_hw.life"}),
    "knoop.starts": frozenset({"knoop_hw.life"}),  # a disk that hangs is nobody's to wait for
    "knoop.safe": frozenset({"knoop_hw.life", "knoop_hw.runs"}),
    "knoop.xmpp.where": frozenset({"knoop_hw.life"}),  # a look-up that hangs is nobody's to wait for
    "knoop.probe": frozenset({f"knoop_hw.{m}" for m in (
        "chips", "cli", "found", "jumper", "pins", "places", "preflight", "probe", "selftest", "tables"
    )}),  # another command of the machine's, which needs no agent
    "knoop.live": frozenset({f"knoop_hw.{m}" for m in ("board", "decode", "pins", "tables")}),
    "knoop.doctor": frozenset({"knoop_hw.places"}),
    "knoop.doctor.machine": frozenset({"knoop_hw.places", "knoop_hw.rights", "knoop_hw.kernel.thermal"}),
    "knoop.installed": frozenset({"knoop_hw.places"}),
    "knoop.init": frozenset({"knoop_hw.found", "knoop_hw.places"}),  # what to propose; it opens nothing
    "knoop.init.setup": frozenset({"knoop_hw.toml_text"}),
    "knoop.setup.command": frozenset({"knoop_hw.places"}),
    "knoop.setup.buses": frozenset({"knoop_hw.bus"}),
    "knoop.setup.card": frozenset({f"knoop_hw.{m}" for m in ("decode", "locate", "toml_text")}),
    "knoop.setup.tables": frozenset({"knoop_hw.decode"}),
    "knoop.setup.plan": frozenset({"knoop_hw.decode"}),
}

# Library → the modules that may import it, and how early. Drivers may import any library, late: no entry needed.
LIBRARIES: Mapping[str, Mapping[str, Kind]] = {
    "slixmpp": {"knoop.xmpp": "top", "knoop_bench.witness": "top"},  # the witness is a client of its own
    "gpiozero": {
        "knoop_hw.lines": "late", "knoop_hw.gpiod_pins": "top", "knoop_hw.lgpio_pins": "late",
        "knoop_hw.simulated": "top",
    },
    "gpiod": {"knoop_hw.chips": "late"},
    "lgpio": {"knoop_hw.lgpio_pins": "late"},
    "serial": {"knoop_hw.serialport": "late"},
    "pymodbus": {"knoop_hw.rtu": "late"},  # its framer and messages only, never its clients
    "prompt_toolkit": {"knoop.terminal": "late"},
    "segno": {"knoop.qr": "late"},
    "yaml": {"knoop.setup.imager": "late"},
    "uvloop": {"knoop.cli": "late"},
    "cryptography": {"knoop_bench.certificates": "top", "knoop.doctor.network": "late"},
    "lxml": {"knoop_bench.schema": "top"},
}
LAZY = {
    "knoop_hw.simulated": "gpiozero",
    "knoop_hw.gpiod_pins": "gpiozero",
    "knoop_hw.sensors.*": "the drivers' libraries",
    "knoop.terminal": "what only a person at a terminal needs",
}
MEASURES_THE_NODE = tuple(f"knoop_bench.{m}" for m in (
    "measure", "halves", "report", "demo", "schema", "drivers", "one_driver", "wear",
))

PURE = (
    "knoop_hw.model", "knoop_hw.units", "knoop_hw.errors", "knoop_hw.locate", "knoop_hw.mistaken", "knoop_hw.decode",
    "knoop_hw.include", "knoop_hw.messages",
    "knoop_hw.remote_tables", "knoop_hw.protocols", "knoop_hw.protocols.*",
    "knoop_hw.probe", "knoop_hw.proposed", "knoop_hw.toml_text",
    "knoop_hw.bus",
    "knoop_hw.config", "knoop_hw.tables", "knoop_hw.pins", "knoop_hw.filters", "knoop_hw.guards", "knoop_hw.kept",
    "knoop_hw.gestures", "knoop_hw.counting", "knoop_hw.kernel.overlays", "knoop_hw.cap",
    "knoop_hw.kernel_edges", "knoop_hw.debounce",
    "knoop.progress", "knoop.ending", "knoop.glance", "knoop.plight",
    "knoop.jid", "knoop.record", "knoop.pace", "knoop.held", "knoop.waiting",
    "knoop.errors", "knoop.health", "knoop.words", "knoop.slips",
    "knoop.parse.*", "knoop.access", "knoop.alerts",
    "knoop.condition", "knoop.geoloc", "knoop.network", "knoop.reminders", "knoop.rules",
    "knoop.command", "knoop.commands", "knoop.commands.*", "knoop.forms", "knoop.parse", "knoop.payload", "knoop.text",
    "knoop.toml_schema", "knoop.disk", "knoop.kept",
    "knoop.room.addressed", "knoop.room.gathering", "knoop.room.pace", "knoop.xmpp.announce",
    "knoop.wall", "knoop.unreceived", "knoop.watches", "knoop.invitation", "knoop.init.setup", "knoop.setup.buses",
    "knoop.setup.moved", "knoop.setup.tables", "knoop.setup.card", "knoop.setup.wifi", "knoop.setup.imager",
    "knoop.setup.told",
    "knoop.xmpp.failures", "knoop.xmpp.fresh", "knoop.xmpp.guard", "knoop.xmpp.inbound", "knoop.xmpp.lastsaid",
    "knoop.xmpp.dataforms", "knoop.xmpp.outbound", "knoop.sparkline", "knoop_bench.seen", "knoop_bench.ledger",
    "knoop.confusable", "knoop.budgets", "knoop.gaps", "knoop.claims", "knoop.codes", "knoop.qr",
    "knoop.claimfiles",
)  # fmt: skip
EFFECTS = frozenset({
    "asyncio", "concurrent", "http", "logging", "multiprocessing", "os", "random", "secrets", "select", "shutil",
    "signal", "socket", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time", "urllib", "uuid",
})  # fmt: skip

# Who may roll dice: composition roots, and where the unguessable or the uneven is the point.
CHANCE = {
    "knoop.agent": "the composition root: many nodes must not say and try the same thing at once",
    "knoop_hw.runs": "the id of a run: two starts must not have one",
    "knoop.xmpp.compat": "RFC 5802 §5.1: the nonce of a login must be unguessable",
    "knoop.claiming": "who guessed a code would be an owner",
    "knoop.confirming": "a code that can be guessed confirms nothing",
    "knoop.xmpp.register": "the password of an account that it makes",
    "knoop.xmpp.openforms": "who guessed the id of a form could go on with it",
    "knoop.xmpp.link": "jitter between reconnects; tests hand in their own",
    "knoop.xmpp.where": "RFC 2782: servers of one priority are taken by chance; tests hand in their own",
    "knoop.xmpp.ways": "hands the same on",
}
ENVIRONMENT = {
    "knoop.places": "finding the password is what it is for",
    "knoop_hw.places": "finding the configuration, the state and the socket is what it is for",
    "knoop_hw.notify": "NOTIFY_SOCKET is how systemd says where to speak",
    "knoop_hw.lgpio_pins": "a workaround: lgpio takes its folder from LG_WD only; put back at once",
}
SEEDED = ("knoop_hw.scenario", "knoop_hw.simulated")  # `random.Random(seed)` only: the same weather every time

LONG: Mapping[str, str] = {
    "knoop_bench.tour": "one conversation from its first to its last observation, in the order it is promised in",
}

# Where the code breaks a rule today, and what would mend it. A debt that is paid must leave this table.
DEBTS: Mapping[tuple[str, str], str] = {}


@dataclass(frozen=True, slots=True)
class Import:
    """One name that a module imports."""

    module: str
    line: int
    target: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Module:
    """A parsed file."""

    name: str
    file: Path
    tree: ast.Module
    lines: int
    imports: tuple[Import, ...]


@dataclass(frozen=True, slots=True, order=True)
class Broken:
    """One place where a rule does not hold."""

    module: str
    line: int
    what: str
    rule: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.what}\n    rule “{self.rule}”: {WHY[self.rule]}"


def modules(root: Path) -> dict[str, Module]:
    """Every module of the three packages below `root`."""
    files = {
        ".".join(file.relative_to(root / home).with_suffix("").parts).removesuffix(".__init__"): file
        for package, home in PACKAGES.items()
        for file in sorted((root / home / package).rglob("*.py"))
    }
    return {name: _module(name, file, frozenset(files)) for name, file in files.items()}


def _module(name: str, file: Path, known: frozenset[str]) -> Module:
    text = file.read_text("utf-8")
    tree = ast.parse(text)
    return Module(name, file, tree, len(text.splitlines()), tuple(_imports(name, file, tree, known)))


def _imports(name: str, file: Path, tree: ast.Module, known: frozenset[str]) -> Iterator[Import]:
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node, kind in _nodes(tree, "top"):
        if isinstance(node, ast.Import):
            yield from (Import(name, node.lineno, alias.name, kind) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield Import(name, node.lineno, inner if inner in known else base, kind)


def _nodes(node: ast.AST, kind: Kind) -> Iterator[tuple[ast.AST, Kind]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            continue  # no statement is inside, and nine of ten nodes are
        inner = kind
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = "late" if kind == "top" else kind
        elif isinstance(child, ast.If) and ast.unparse(child.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            inner = "type"
        yield child, inner
        yield from _nodes(child, inner)


def matches(module: str, patterns: tuple[str, ...] | Mapping[str, object] | frozenset[str]) -> bool:
    """Whether a module is named, or lies in a folder named with `.*`."""
    return module in patterns or f"{module.rpartition('.')[0]}.*" in patterns


def tier(module: str) -> int | None:
    """The height of a module, from 0; None for one that has none."""
    return next((height for height, t in enumerate(TIERS) if matches(module, t.modules)), None)


def broken(found: Mapping[str, Module]) -> set[Broken]:
    """Every place where a rule does not hold, debts included."""
    return {place for module in found.values() for place in _broken(module)} | {*_cycles(found)}


@cache
def _broken(module: Module) -> frozenset[Broken]:
    """What is wrong with one module by itself; most modules are the same in every house that is looked at."""
    rules = (_tiers, _halves, _libraries, _bench, _pure, _asking, _size)
    return frozenset(place for rule in rules for place in rule(module))


def _loads(module: str) -> str:
    return LAZY.get(module) or LAZY[f"{module.rpartition('.')[0]}.*"]


def _ours(target: str) -> str:
    package = target.partition(".")[0]
    return package if package in PACKAGES else ""


def _tiers(module: Module) -> Iterator[Broken]:
    mine = tier(module.name)
    if _ours(module.name) == "knoop_bench":
        return
    if mine is None:
        yield Broken(module.name, 1, "has no tier; add it to TIERS", "tiers")
        return
    for item in module.imports:
        theirs = tier(item.target) if _ours(item.target) else None
        if item.kind != "type" and theirs is not None and theirs > mine:
            what = f"imports {item.target} of the higher tier “{TIERS[theirs].name}”"
            yield Broken(module.name, item.line, what, "tiers")
        if item.kind == "top" and matches(item.target, LAZY):
            what = f"imports {item.target} at module level, and with it {_loads(item.target)}"
            yield Broken(module.name, item.line, what, "lazy")


def _halves(module: Module) -> Iterator[Broken]:
    """Also for types: a type that is named is a dependency that is meant."""
    for item in module.imports:
        mine, theirs = _ours(module.name), _ours(item.target)
        if mine == "knoop_hw" and theirs in {"knoop", "knoop_bench"}:
            yield Broken(module.name, item.line, f"imports {item.target}", "halves")
        if mine == "knoop" and theirs == "knoop_hw":
            allowed = SEAM[""] | SEAM.get(module.name, frozenset())
            if item.target not in allowed:
                yield Broken(module.name, item.line, f"imports {item.target}", "seam")


def _libraries(module: Module) -> Iterator[Broken]:
    for item in module.imports:
        library = item.target.partition(".")[0]
        if library in sys.stdlib_module_names or library in PACKAGES:
            continue
        homes = LIBRARIES.get(library, {})
        home = next((h for h in homes if module.name == h or module.name.startswith(f"{h}.")), None)
        if module.name.startswith("knoop_hw.sensors."):
            earliest: Kind | None = "late"
        else:
            earliest = homes[home] if home else None
        if earliest is None:
            where = ", ".join(homes) or "no module yet"
            yield Broken(module.name, item.line, f"imports {library}, which belongs into {where}", "libraries")
        elif earliest == "late" and item.kind == "top":
            yield Broken(module.name, item.line, f"imports {library} at module level, not where it opens", "libraries")


def _bench(module: Module) -> Iterator[Broken]:
    for item in module.imports:
        mine, theirs = _ours(module.name), _ours(item.target)
        if mine == "knoop" and theirs == "knoop_bench" and (module.name != "knoop.cli" or item.kind != "late"):
            yield Broken(module.name, item.line, f"imports {item.target}", "bench")
        if mine == "knoop_bench" and theirs in {"knoop", "knoop_hw"} and module.name not in MEASURES_THE_NODE:
            yield Broken(module.name, item.line, f"imports {item.target}", "observers")


def _pure(module: Module) -> Iterator[Broken]:
    if not matches(module.name, PURE):
        return
    for item in module.imports:
        if item.kind != "type" and item.target.partition(".")[0] in EFFECTS:
            yield Broken(module.name, item.line, f"imports {item.target}", "pure")


def _asking(module: Module) -> Iterator[Broken]:
    """Time, chance and the environment."""
    if _ours(module.name) == "knoop_bench":
        return
    for item in module.imports:
        root = item.target.partition(".")[0]
        if root == "time" and module.name != "knoop_hw.clock":
            yield Broken(module.name, item.line, "imports time", "time")
        if root in {"random", "secrets", "uuid"} and module.name not in {*CHANCE, *SEEDED}:
            yield Broken(module.name, item.line, f"imports {root}", "chance")
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            text = f"{node.value.id}.{node.attr}"
            if text in {"os.environ", "os.getenv", "os.environb"} and module.name not in ENVIRONMENT:
                yield Broken(module.name, node.lineno, f"reads {text}", "environment")
            if module.name != "knoop_hw.clock" and text in {
                "asyncio.sleep", "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "os.times",
            }:  # fmt: skip
                yield Broken(module.name, node.lineno, f"calls {text}", "time")
            if module.name in SEEDED and text.startswith("random.") and text != "random.Random":
                yield Broken(module.name, node.lineno, f"calls {text}", "chance")
        call = module.name in SEEDED and isinstance(node, ast.Call) and not node.args
        if call and ast.unparse(node.func) == "random.Random":
            yield Broken(module.name, node.lineno, "a random.Random without a seed", "chance")


def _size(module: Module) -> Iterator[Broken]:
    if module.lines > LONGEST and module.name not in LONG:
        yield Broken(module.name, module.lines, f"has {module.lines} lines", "size")


def _cycles(found: Mapping[str, Module]) -> Iterator[Broken]:
    needs = {
        name: sorted({i.target for i in module.imports if i.kind == "top" and i.target in found} - {name})
        for name, module in found.items()
    }
    done: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> Iterator[Broken]:
        if name in path:
            yield Broken(name, 1, f"imports itself by way of {' → '.join([*path[path.index(name):], name])}", "cycles")
        elif name not in done:
            path.append(name)
            for other in needs[name]:
                yield from visit(other)
            path.pop()
            done.add(name)

    for name in needs:
        yield from visit(name)


# ── the code ──────────────────────────────────────────────────────────────────────────────────────────────────────────

FOUND = modules(ROOT)
BROKEN = broken(FOUND)


def test_every_rule_holds():
    wrong = sorted(place for place in BROKEN if (place.rule, place.module) not in DEBTS)
    assert not wrong, "\n\n" + "\n".join(map(str, wrong))


def test_a_debt_that_is_paid_leaves_the_table():
    owed = {(place.rule, place.module) for place in BROKEN}
    assert not DEBTS.keys() - owed, "these rules hold now: take them out of DEBTS"


def test_what_the_rules_name_exists():
    named = {m for t in TIERS for m in t.modules} | {*PURE, *CHANCE, *ENVIRONMENT, *SEEDED, *LAZY, *LONG}
    named |= {*SEAM, *MEASURES_THE_NODE, *(m for _, m in DEBTS), *(h for homes in LIBRARIES.values() for h in homes)}
    missing = {name for name in named if name and name.removesuffix(".*") not in FOUND}
    imported = {item.target.partition(".")[0] for module in FOUND.values() for item in module.imports}
    missing |= LIBRARIES.keys() - imported
    assert not missing, "a rule about nothing protects nothing"


def test_every_module_begins_with_what_it_is():
    assert not [name for name, module in FOUND.items() if not ast.get_docstring(module.tree)]


def test_what_calls_itself_pure_is_held_to_it():
    first = {name: (ast.get_docstring(module.tree) or "").partition("\n")[0] for name, module in FOUND.items()}
    said = {name for name, line in first.items() if re.search(r"\bpure\b", line.lower())}
    assert len(said) > 20
    assert not {name for name in said if not matches(name, PURE)}


# ── the checker itself ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("module", "source", "rule"),
    [
        ("hw/knoop_hw/model.py", "from knoop_hw import board", "tiers"),
        ("hw/knoop_hw/model.py", "def f():\n    import knoop_hw.board", "tiers"),
        ("hw/knoop_hw/novelty.py", "", "tiers"),
        ("node/knoop/payload.py", "from knoop.agent import serve", "tiers"),
        ("node/knoop/command.py", "from knoop.text import Voice", "cycles"),
        ("hw/knoop_hw/lines.py", "from knoop.jid import Jid", "halves"),
        ("hw/knoop_hw/lines.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import knoop", "halves"),
        ("hw/knoop_hw/lines.py", "import slixmpp", "libraries"),
        ("node/knoop/router.py", "from knoop_hw.lines import InputLine", "seam"),
        ("node/knoop/router.py", "def f():\n    from knoop_hw import serialport", "seam"),
        ("node/knoop/text.py", "import gpiozero", "libraries"),
        ("node/knoop/agent.py", "import serial", "libraries"),
        ("node/knoop/presence.py", "from slixmpp import JID", "libraries"),
        ("node/knoop/xmpp/stream.py", "import aiohttp", "libraries"),
        ("node/knoop/agent.py", "def f():\n    import requests", "libraries"),
        ("hw/knoop_hw/sensors/p1.py", "import smbus2", "libraries"),
        ("hw/knoop_hw/serialport.py", "import serial", "libraries"),
        ("hw/knoop_hw/board.py", "from knoop_hw.simulated import Simulated", "lazy"),
        ("node/knoop/cli.py", "import knoop_bench", "bench"),
        ("node/knoop/agent.py", "def f():\n    from knoop_bench import report", "bench"),
        ("bench/knoop_bench/witness.py", "from knoop.payload import parse_readings", "observers"),
        ("node/knoop/commands/read.py", "import asyncio", "pure"),
        ("node/knoop/access.py", "import sqlite3", "pure"),
        ("hw/knoop_hw/guards.py", "import time", "pure"),
        ("node/knoop/router.py", "import time", "time"),
        ("node/knoop/router.py", "import asyncio\nasync def f(): await asyncio.sleep(1)", "time"),
        ("node/knoop/text.py", "from datetime import datetime\nNOW = datetime.now()", "time"),
        ("node/knoop/presence.py", "import secrets", "chance"),
        ("hw/knoop_hw/scenario.py", "import random\nDICE = random.Random()", "chance"),
        ("hw/knoop_hw/scenario.py", "import random\nX = random.random()", "chance"),
        ("node/knoop/store.py", "import os\nHOME = os.environ['HOME']", "environment"),
        ("node/knoop/store.py", "\n" * LONGEST + "X = 1", "size"),
    ],
)
def test_a_bad_import_is_found(tmp_path, module, source, rule):
    news = broken(_spoiled(tmp_path, module, source)).difference(BROKEN)
    assert rule in {place.rule for place in news}
    assert WHY[rule] in "\n".join(map(str, news))


def test_a_whole_tree_is_searched(tmp_path):
    for file, source in (("hw/knoop_hw/clock.py", ""), ("node/knoop/sub/deep.py", "from gpiozero import LED")):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text(source, "utf-8")
    found = modules(tmp_path)
    assert set(found) == {"knoop_hw.clock", "knoop.sub.deep"}
    assert {(p.module, p.rule) for p in broken(found)} == {("knoop.sub.deep", "libraries"), ("knoop.sub.deep", "tiers")}


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("hw/knoop_hw/sensors/novelty.py", "async def open(config, *, clock):\n    import smbus2"),
        ("node/knoop/commands/novelty.py", "from knoop.command import Command"),
        ("node/knoop/publishers/novelty.py", "from knoop.xmpp.session import Session"),
        ("node/knoop/xmpp/novelty.py", "from slixmpp import JID"),
        ("node/knoop/jid.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from knoop.store import Store"),
    ],
)
def test_what_may_be_added_freely_may(tmp_path, module, source):
    """A driver, a verb, a publisher, a part of xmpp/ and a type need no entry anywhere."""
    assert not broken(_spoiled(tmp_path, module, source)).difference(BROKEN)


def _spoiled(folder: Path, module: str, source: str) -> dict[str, Module]:
    """The house with a line more in one file, or with a file more."""
    name = ".".join(Path(module).with_suffix("").parts[1:])
    former = FOUND[name].file.read_text("utf-8") if name in FOUND else ""
    file = folder / "spoiled.py"
    file.write_text(f"{former}\n{source}\n", "utf-8")
    return {**FOUND, name: _module(name, file, frozenset({*FOUND, name}))}
