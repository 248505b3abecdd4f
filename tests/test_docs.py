"""The documentation says what is: its figures are made from the code, its links lead somewhere, its examples run.

`.venv/bin/python -m tests.test_docs --write` makes the generated parts anew. In docs/configuration.md and
docs/drivers.md the column “meaning” is written by people and kept.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from itertools import combinations, pairwise, product
from pathlib import Path
from typing import Any

import pytest
from tests import drivers, flashing, hardware, keys, pictures, wiring
from tests.hw import law
from tests.test_architecture import FOUND, TIERS, tier

from knoop import cli, commands
from knoop import config as node_config
from knoop.kept import Storage
from knoop.network import Network
from knoop.setup import tables as card
from knoop.xmpp import compat
from knoop_hw import bus, decode, filters, source, tables
from knoop_hw.remote_tables import Remote

ROOT = Path(__file__).parents[1]
OWN = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
PAGES = sorted({
    *(ROOT / name for name in OWN), *(ROOT / "docs").rglob("*.md"), ROOT / "firmware" / "README.md",
    ROOT / "systemd" / "README.md", *(ROOT / "tests").rglob("*.md"),
})  # fmt: skip
ARCHITECTURE = ROOT / "docs" / "architecture.md"
CONFIGURATION = ROOT / "docs" / "configuration.md"
OUTPUTS = ROOT / "docs" / "outputs.md"
COMMAND = ".venv/bin/python -m tests.test_docs --write"
Described = Callable[[], Iterator[tuple[str, type[Any], set[str]]]]  # heading, dataclass, fields without a key
NOT_THERE_YET = "not there yet"  # a line or paragraph that says so may name what is planned


# ── generated parts ───────────────────────────────────────────────────────────────────────────────────────────────────


def module_table(_page: str) -> str:
    """Every module of a node with its docstring's first line; sizes rounded up, so that they change seldom."""
    rows = ["| module | what it is | lines, at most |", "|---|---|---|"]
    for height, step in reversed(list(enumerate(TIERS))):
        rows.append(f"| **{step.name}** | *{step.does}* | |")
        for name, module in sorted(FOUND.items()):
            if tier(name) == height and name.partition(".")[2]:
                first = (ast.get_docstring(module.tree) or "").splitlines()[0].rstrip(":")
                rows.append(f"| `{name}` | {first} | {-(-module.lines // 50) * 50} |")
    return "\n".join(rows)


def tier_figure(_page: str) -> str:
    """The tiers and what they import, from the imports themselves."""
    edges: set[tuple[int, int]] = set()
    for name, module in FOUND.items():
        for item in module.imports:
            here, there = tier(name), tier(item.target)
            if item.kind != "type" and here is not None and there is not None and here > there:
                edges.add((here, there))
    lines = ["```mermaid", "flowchart TD"]
    halves = (("knoop", "node/knoop: people, network, store"), ("knoop_hw", "hw/knoop_hw: lines, buses, ports"))
    for package, title in halves:
        lines.append(f'  subgraph {package} ["{title}"]')
        for height, step in reversed(list(enumerate(TIERS))):
            if step.modules[0].partition(".")[0] == package:
                lines.append(f'    t{height}["{step.name}<br/>{_short(step.modules, package)}"]')
        lines.append("  end")
    shown = [edge for edge in sorted(edges, reverse=True) if not _implied(edges, *edge)]
    lines += [f"  t{here} --> t{there}" for here, there in shown]
    return "\n".join([*lines, "```"])


def _short(modules: tuple[str, ...], package: str) -> str:
    names = [m.removeprefix(f"{package}.").replace(".*", "/") for m in modules]
    return " ".join(n for n in names if n != package and n + "/" not in names and n != "__main__")


def _implied(edges: set[tuple[int, int]], here: int, there: int) -> bool:
    """Whether another way leads there: what is only a short cut would hide the shape."""
    return any(a == here and b != there and (b, there) in edges for a, b in edges)


def config_tables() -> Iterator[tuple[str, type[Any], set[str]]]:
    """Every table of node.toml but the drivers': its name, its dataclass, and the fields that no key sets here."""
    shared = {field.name for field in fields(filters.Options)}
    yield "[node]", node_config.Node, set()
    yield "[xmpp]", node_config.Xmpp, set()
    yield '[people."JID"]', node_config.PersonTable, set()
    yield '[room."JID"]', node_config.Room, set()
    yield "[alert.NAME]", node_config.AlertTable, set()
    yield "[network]", Network, shared
    yield "[publish]", node_config.Publish, set()
    yield "[storage]", Storage, set()
    yield "[board]", tables.BoardTable, set()
    yield "any channel", filters.Options, set()
    yield "[input.NAME]", tables.Input, {"name", *shared}
    yield "[input.NAME.rate]", tables.Rate, {field for field in shared if field != "min_interval_s"}
    yield "[output.NAME]", tables.Output, {"name", *shared}
    yield "[output.NAME] in a device", Remote, {"name", "to", *shared}
    yield "[sensor.NAME]", tables.SensorHead, shared


def card_tables() -> Iterator[tuple[str, type[Any], set[str]]]:
    """The same for those that only the card's knoop.toml has."""
    for name, kind in card.TABLES.items():
        yield f"[{name}]", kind, set()
        if kind is card.Wifi:
            yield "[[wifi.network]]", card.Network, set()


def config_reference(page: str, described: Described = config_tables) -> str:
    """One table for each table of node.toml but the drivers'; the last column is taken over from the page as it is."""
    said = dict(keys.meanings(page))
    return "\n".join(line for heading, *rest in described() for line in keys.table(heading, *rest, said)).rstrip()


GENERATED: Mapping[tuple[Path, str], Callable[[str], str]] = {
    (ARCHITECTURE, "tiers"): tier_figure,
    (ARCHITECTURE, "modules"): module_table,
    (CONFIGURATION, "tables"): config_reference,
    (CONFIGURATION, "card"): partial(config_reference, described=card_tables),
    (OUTPUTS, "law"): law.markdown,
    (drivers.PAGE, "drivers"): drivers.overview,
    (drivers.PAGE, "shared"): drivers.shared_tables,
    **{
        (drivers.PAGE, f"{part} {name}"): partial(make, name=name)
        for name in source.names() for part, make in (("what", drivers.what), ("details", drivers.details))
    },
    **{
        (hardware.PAGE, f"{part} {name}"): partial(make, name=name)
        for name in hardware.THINGS for part, make in (("probe", hardware.probed), ("chat", hardware.chatted))
    },
}  # fmt: skip


def drawn() -> dict[Path, str]:
    """Every picture: its file, and what should be in it."""
    return pictures.drawn() | wiring.drawn() | flashing.drawn()


def part(page: str, name: str) -> re.Match[str]:
    """The generated part of a page, between its markers."""
    found = re.search(rf"(<!-- generated: {name} .*?-->\n).*?(<!-- end: {name} -->)", page, re.DOTALL)
    assert found, f"the page lacks the markers of the part “{name}”"
    return found


def renewed(page: str, name: str, make: Callable[[str], str]) -> str:
    found = part(page, name)
    return f"{page[: found.end(1)]}\n{make(page)}\n\n{page[found.start(2) :]}"


@pytest.mark.parametrize(("file", "name"), GENERATED, ids=lambda value: getattr(value, "stem", value))
def test_generated_parts_are_of_this_code(file, name):
    page = file.read_text("utf-8")
    assert renewed(page, name, GENERATED[file, name]) == page, f"run `{COMMAND}`"


@pytest.mark.parametrize("file", drawn(), ids=lambda file: file.stem)
def test_pictures_are_of_this_code(file):
    assert file.read_text("utf-8") == drawn()[file], f"run `{COMMAND}`"


def test_every_picture_stands_on_its_page_beside_what_it_shows():
    page = (ROOT / "docs" / "filters.md").read_text("utf-8")
    for name, picture in pictures.PICTURES.items():
        before, _, _ = page.partition(f"![{picture.says}](img/filter-{name}.svg)")
        assert before != page, f"filters.md lacks ![{picture.says}](img/filter-{name}.svg)"
        section = before.rpartition("\n## ")[2]
        assert all(f"`{option}`" in section for option in picture.options.splitlines()), name
    assert {file.name for file in pictures.FOLDER.glob("filter-*.svg")} == {file.name for file in pictures.drawn()}


def test_what_a_maker_sees_is_on_the_page_and_works():
    page = (ROOT / "docs" / "flash.md").read_text("utf-8")
    for name, picture in flashing.PICTURES.items():
        assert f"![{picture.says}](img/flash-{name}.svg)" in page, name
    assert {file.name for file in flashing.FOLDER.glob("flash-*.svg")} == {file.name for file in flashing.drawn()}
    assert 'label = "Door"' in flashing.accepted(), "the file in the picture is taken over as it stands"


def test_the_machines_page_names_its_fields():
    """docs/machine.md says where each comes from, docs/drivers.md that there are such."""
    page = (ROOT / "docs" / "machine.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page.partition("\n| field |")[2], re.MULTILINE)
    told = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    given = drivers.of_example(drivers.PAGE.read_text("utf-8"), "system")
    assert sorted(told) == sorted(field.name for field in given)
    assert all(any(f"`{field.name}` {field.unit}" in row for row in rows) for field in given if field.unit)


def test_every_wiring_is_drawn_said_and_of_pins_that_are_what_they_are_called():
    """Each GPIO, voltage and ground on docs/hardware.md with the place of the header behind it."""
    page = hardware.PAGE.read_text("utf-8")
    for name, drawing in wiring.DRAWINGS.items():
        assert f"![{drawing.says}](img/wiring-{name}.svg)" in page, name
    said = re.findall(r"(GPIO\d+|[35](?:\.3)? V|ground) \(pin (\d+)\)", page)
    assert len(said) > 20
    assert [(what, place) for what, place in said if wiring.named(int(place)) != what] == []
    for drawing in wiring.DRAWINGS.values():  # “GPIO17, pin 11”, in what a picture says to who does not see it
        for what, place in re.findall(r"(GPIO\d+|[35](?:\.3)? V|ground), pin (\d+)", drawing.says):
            assert wiring.named(int(place)) == what, drawing.says


def test_the_buses_for_the_image_take_the_lines_that_the_wires_go_to():
    """What docs/hardware.md has knoop.toml say, and the lines of the same thing's drawing."""
    said = re.findall(r"`(\[\".*?\])`", hardware.PAGE.read_text("utf-8"))
    lists = [[*map(bus.named, ast.literal_eval(text))] for text in said]
    assert len(lists) == 5
    for there in lists:
        assert not [*bus.clashes(there)]
    taken = [{line for one in there for line in one.lines} for there in lists]
    things = {"thermometer": (0, 4), "air": (1, 2, 4), "gps": (3, 4), "arduino": (3, 4)}
    for thing, places in things.items():
        wired = set(re.findall(r"GPIO\d+", wiring.DRAWINGS[thing].says))
        assert wired
        assert all(wired <= taken[place] for place in places), thing


@pytest.mark.parametrize("name", wiring.DRAWINGS)
def test_no_two_wires_of_a_drawing_meet(name):
    """Nor come nearer than 4 px: they are 2.5 wide."""
    for one, other in combinations(wiring.routes(wiring.DRAWINGS[name]), 2):
        for (a, b), (c, d) in product(pairwise(one), pairwise(other)):  # all are level or upright
            apart = [max(min(a[axis], b[axis]) - max(c[axis], d[axis]), min(c[axis], d[axis]) - max(a[axis], b[axis]))
                     for axis in (0, 1)]  # fmt: skip
            assert max(apart) >= 4, (a, b, c, d)


@pytest.mark.parametrize("file", [CONFIGURATION, drivers.PAGE], ids=lambda file: file.stem)
def test_every_key_has_a_meaning(file):
    said = keys.meanings(file.read_text("utf-8"))
    assert not [place for place, meaning in said if not meaning], f"write the last column in docs/{file.name}"


@pytest.mark.parametrize(
    ("file", "described"),
    [(CONFIGURATION, lambda: (*config_tables(), *card_tables())), (drivers.PAGE, drivers.all_tables)],
    ids=["configuration", "drivers"],
)  # fmt: skip
def test_the_reference_names_every_key(file, described):
    """Whatever the tables of both halves accept, and nothing else."""
    there = {place for place, _ in keys.meanings(file.read_text("utf-8"))}
    accepted = {
        (heading.lower(), key)
        for heading, kind, hidden in described() for key, name in decode.keys(kind).items() if name not in hidden
    }  # fmt: skip
    assert there == accepted


@pytest.mark.parametrize("name", source.names())
def test_every_driver_has_a_configuration_and_tells_its_fields(name):
    """Which is decoded as all are, and as a sensor with this driver has fields."""
    page = drivers.PAGE.read_text("utf-8")
    assert drivers.of_example(page, name), f"## `{name}` in docs/drivers.md lacks a configuration"


# ── pages ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def prose(page: str) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page, flags=re.DOTALL | re.MULTILINE)


def blocks(page: str, language: str) -> list[str]:
    """The code blocks of one language; '' for those without one."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


def anchors(page: str) -> set[str]:
    """What a heading is called in a link."""
    heads = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_links_lead_somewhere(file):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(file.read_text("utf-8"))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (file.parent / path).resolve() if path else file
        assert there.exists(), f"{file.name}: {target}"
        assert ROOT in (there, *there.parents), f"{file.name}: {target} leads out of the repository"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there.read_text("utf-8")), f"{file.name}: {target}"


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_make_targets_exist(file):
    targets = set(re.findall(r"^([\w.-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for paragraph in re.split(r"\n\s*\n", file.read_text("utf-8")):
        named = set(re.findall(r"(?:`|^|\$ )make ([\w.-]+)", paragraph, re.MULTILINE))
        assert named <= targets or NOT_THERE_YET in paragraph, f"{file.name}: make {named - targets}"


def test_readme_names_every_verb_with_its_role():
    readme = (ROOT / "README.md").read_text("utf-8")
    talking = (ROOT / "docs" / "talking.md").read_text("utf-8")
    for role in ("viewer", "operator", "owner"):
        row = next(line for line in readme.splitlines() if line.startswith(f"| {role} |"))
        verbs = {verb for verb, command in commands.table().items() if str(command.role) == role}
        assert set(re.findall(r"`(\w+)`", row)) == verbs
    assert all(f"| `{verb}` |" in talking for verb in commands.table())


@pytest.mark.parametrize("file", PAGES, ids=lambda file: str(file.relative_to(ROOT)))
def test_commands_are_accepted(file):
    """`knoop …` in a code block or between backticks is something that the command line understands."""
    page = file.read_text("utf-8")
    said = [line for block in (*blocks(page, ""), *blocks(page, "sh")) for line in block.splitlines()]
    said = [line.strip().removeprefix("$ ") for line in said]
    for paragraph in re.split(r"\n\s*\n", prose(page)):
        if NOT_THERE_YET not in paragraph:
            said += re.findall(r"`(knoop [^`]*)`", paragraph)
    for whole in said:
        line = re.sub(r"\s+#.*|\s*[;>|].*", "", whole)
        if not line.startswith(("knoop ", ".venv/bin/knoop ")):
            continue
        words = shlex.split(line)[1:]
        if len(words) == 1 and not words[0].startswith("-"):  # only its name is meant
            words.append("--help")
        try:
            cli.parser().parse_args(words)
        except SystemExit as ended:
            assert ended.code == 0, f"{file.name}: {line}"


def test_reasons_for_skipping_are_listed():
    """.ci/run takes a skipped test for a failed one unless README.md gives its reason, word for word."""
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    unlisted = []
    for file in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"pytest.skip", "pytest.mark.skipif"}:
                words = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == "reason")]
                texts = [word.value for word in words if isinstance(word, ast.Constant)]
                reason = next((text for text in texts if isinstance(text, str)), "(not one text)")
                unlisted += [f"{file.name}:{node.lineno}: {reason}"] if reason not in readme else []
    assert not unlisted


def test_every_dependency_has_one_line():
    """What pyproject.toml and Makefile name, in one first column of docs/dependencies.md and no other."""
    page = (ROOT / "docs" / "dependencies.md").read_text("utf-8")
    cells = re.findall(r"^\| (.*?) \|", page, re.MULTILINE)
    rows = [set(re.findall(r"[a-z][\w+-]+", cell.lower())) for cell in cells]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    named = {re.split(r"[^\w-]", one)[0].lower() for one in wanted}
    rules = (ROOT / "Makefile").read_text("utf-8").replace("\\\n", " ")
    for line in re.findall(r"(?:_PACKAGES := |bench/debian-packages )([^;}]*?)$", rules, re.MULTILINE):
        named |= {word for word in line.split() if re.fullmatch(r"[a-z][\w+-]+", word)}
    counted = {name: sum(name in row for row in rows) for name in sorted(named)}
    assert len(counted) > 40
    assert not {name: count for name, count in counted.items() if count != 1}


def test_decisions_are_numbered():
    files = sorted((ROOT / "docs" / "adr").glob("*.md"))
    assert [file.name[:4] for file in files] == [f"{number:04}" for number in range(1, len(files) + 1)]
    for file in files:
        text = file.read_text("utf-8")
        assert text.startswith(f"# {int(file.name[:4])}. "), file.name
        assert re.search(r"^Date: \d{4}-\d\d-\d\d\. Status: \w+", text, re.MULTILINE), file.name
        assert f"](adr/{file.name})" in ARCHITECTURE.read_text("utf-8"), file.name


def test_code_names_only_pages_that_there_are():
    files = [file for folder in ("node", "hw", "bench", "tests") for file in (ROOT / folder).rglob("*.py")]
    named = {name for file in files for name in re.findall(r"[\w./-]+\.md\b", file.read_text("utf-8"))}
    assert "docs/servers.md" in named
    assert not [name for name in named if not ((ROOT / name).exists() or (ROOT / "docs" / name).exists())]


def test_every_page_is_reachable():
    """From README.md, by links."""
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        file = waiting.pop()
        if file in seen or file.suffix != ".md" or not file.is_file():
            continue
        seen.add(file)
        links = re.findall(r"\]\(([^)\s#:]+)", prose(file.read_text("utf-8")))
        waiting += [(file.parent / link).resolve() for link in links]
        waiting += [inner for link in links for inner in (file.parent / link).resolve().glob("*.md")]
    pages = {file for file in PAGES if ROOT / "tests" not in file.parents}
    assert not [str(file.relative_to(ROOT)) for file in pages - seen]


# ── configurations ────────────────────────────────────────────────────────────────────────────────────────────────────

REST = {
    "node": '[node]\nname = "greenhouse"\n',
    "xmpp": '[xmpp]\njid = "greenhouse@example.org"\n',
}


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.toml")), ids=lambda file: file.stem)
def test_examples_load(file):
    loaded = node_config.load(file, jid=compat.jid)
    assert loaded.xmpp.ca_file is None
    assert loaded.people
    assert loaded.hw.channels()


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.toml")), ids=lambda file: file.stem)
def test_what_an_example_leaves_as_a_comment_is_valid(file, tmp_path):
    """Commented keys are offers: with all of them taken the file must load, too."""
    text = re.sub(r"^#(\[|\w+ = )", r"\1", file.read_text("utf-8"), flags=re.MULTILINE)
    whole = tmp_path / file.name
    whole.write_text(text, "utf-8")
    node_config.load(whole, jid=compat.jid)


@pytest.mark.parametrize("file", [f for f in PAGES if blocks(f.read_text("utf-8"), "toml")], ids=lambda file: file.stem)
def test_toml_in_pages_loads(file, tmp_path):
    """Blocks that begin with a file's name are that file; others are pieces of a node.toml."""
    pieces = []
    for block in blocks(file.read_text("utf-8"), "toml"):
        name = re.match(r"# (\w+\.toml)\n", block)
        if name and name[1] != "node.toml":
            (tmp_path / name[1]).write_text(block, "utf-8")
        else:
            pieces.append(block)
    for piece in pieces:
        missing = (text for table, text in REST.items() if f"[{table}]" not in piece)
        config = tmp_path / "node.toml"
        config.write_text("\n".join([piece, *missing]), "utf-8")
        node_config.load(config, jid=compat.jid)


# ── CONTRIBUTING.md and SECURITY.md ───────────────────────────────────────────────────────────────────────────────────

LINES = 10


def snippets() -> dict[str, str]:
    """Path → source of the files that CONTRIBUTING.md adds."""
    found = {}
    for block in blocks((ROOT / "CONTRIBUTING.md").read_text("utf-8"), "python"):
        first, _, rest = block.partition("\n")
        found[first.removeprefix("# ")] = rest
    return found


def house(folder: Path) -> Path:
    """A copy of the packages with the files of CONTRIBUTING.md in it."""
    for name in ("hw", "node", "tests/node/house.py"):
        whole = folder / name
        whole.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, whole, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, whole)
    shutil.copy(ROOT / "pyproject.toml", folder)
    for path, text in snippets().items():
        assert not (folder / path).exists(), f"{path} is there already"
        (folder / path).write_text(text, "utf-8")
    return folder


def run(code: str, folder: Path) -> str:
    """What Python prints that has only this copy of the packages."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(folder / name) for name in ("node", "hw", "."))}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_promised_files_are_as_short_as_promised():
    assert {path.split("/")[-2] for path in snippets()} == {"sensors", "commands"}
    for path, text in snippets().items():
        body = text.partition('"""\n')[2]
        code = [line for line in body.splitlines() if line.strip() and not line.startswith(("import ", "from "))]
        assert 0 < len(code) <= LINES, path


def test_the_promised_sensor_is_sampled_by_a_board(tmp_path):
    said = run("""
import asyncio
from pathlib import Path
from knoop_hw import config, decode
from knoop_hw.board import Board
from knoop_hw.clock import SystemClock
async def main():
    problems = []
    document = decode.parse('[sensor.processes]\\ndriver = "processes"\\nevery = "100ms"', "node.toml")
    loaded = config.load(document, problems)
    assert not problems, problems
    async with Board(loaded, clock=SystemClock()) as board, asyncio.timeout(10):
        while "processes" not in board.latest:
            await asyncio.sleep(0.01)
        print(board.latest["processes"].quality, board.latest["processes"].value > 0)
asyncio.run(main())
""", house(tmp_path))
    assert said.split() == ["ok", "True"]


def test_a_driver_without_a_line_in_the_contract_is_told_which_one(tmp_path):
    """That with such a line a driver passes: tests/test_own_driver.py."""
    folder = house(tmp_path)
    for name in ("tests/hw", "tests/data"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    contract = folder / "tests/hw/sensors/test_contract.py"
    code = f"import pytest; print(int(pytest.main(['-q', '-p', 'no:cacheprovider', '-k', 'processes', '{contract}'])))"
    said = run(code, folder)
    assert re.search(r"add to `given` in \S+test_contract.py a configuration that works here: \S", said), said


def test_the_promised_verb_answers(tmp_path):
    said = run("""
import asyncio, tempfile
from pathlib import Path
from tests.node.house import CLEO, STRANGER, greenhouse
async def main():
    with tempfile.TemporaryDirectory() as folder:
        async with greenhouse(Path(folder)) as house:
            print(await house.ask(CLEO, "uptime"))
            print(repr(await house.ask(STRANGER, "uptime")))
asyncio.run(main())
""", house(tmp_path))
    assert said.splitlines() == ["Up for 3 d 4 h.", "''"]


def test_the_promised_files_pass_the_linter(tmp_path):
    folder = house(tmp_path)
    ruff = Path(sys.executable).with_name("ruff")
    check = [ruff, "check", "--no-cache", *snippets()]
    done = subprocess.run(check, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_what_security_promises_is_tested():
    """Each threat names tests, and all that the page names exist."""
    page = (ROOT / "SECURITY.md").read_text("utf-8")
    proof = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| threat |")]
    assert len(rows) > 50
    assert [row for row in rows if not proof.search(row)] == []
    for file, name in proof.findall(page):
        assert re.search(rf"def {name}\b", (ROOT / file).read_text("utf-8")), f"{file}::{name}"


def main() -> None:
    """Write the generated parts."""
    arguments = argparse.ArgumentParser(description=inspect.getdoc(sys.modules[__name__]))
    arguments.add_argument("--write", action="store_true", required=True)
    arguments.parse_args()
    drivers.PAGE.write_text(drivers.with_all_sections(drivers.PAGE.read_text("utf-8")), "utf-8")
    for (file, name), make in GENERATED.items():
        page = file.read_text("utf-8")
        file.write_text(renewed(page, name, make), "utf-8")
        print(file.relative_to(ROOT), name)
    for file, picture in drawn().items():
        file.write_text(picture, "utf-8")
        print(file.relative_to(ROOT))


if __name__ == "__main__":
    main()
