"""One configuration from several files: who wins, and where every key stands."""

from __future__ import annotations

import pytest

from knoop_hw import config, include
from knoop_hw.errors import ConfigError
from knoop_hw.include import Moved


@pytest.fixture
def files(tmp_path):
    """`files(**{"node.toml": "…"})`: writes them; returns the path of node.toml."""

    def write(**texts):
        for name, text in texts.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text, "utf-8")
        return tmp_path / "node.toml"

    return write


def said(error, folder):
    return [str(problem).replace(f"{folder}/", "") for problem in error.problems]


def test_tables_are_merged_key_by_key_and_the_nearer_file_wins(files):
    path = files(**{
        "node.toml": 'include = ["a.toml", "b.toml"]\n[output.lamp]\nlabel = "mine"\n[output.own]\npin = "GPIO6"\n',
        "a.toml": '[output.lamp]\npin = "GPIO1"\nlabel = "of a"\nsafe = "keep"\ninterlock = ["x"]\n',
        "b.toml": '[output.lamp]\npin = "GPIO2"\nlabel = "of b"\ninterlock = ["y", "z"]\n',
    })
    document = include.load(path)
    assert document.data == {"output": {
        "lamp": {"pin": "GPIO2", "label": "mine", "safe": "keep", "interlock": ["y", "z"]}, "own": {"pin": "GPIO6"},
    }}  # fmt: skip
    assert [name.rpartition("/")[2] for name in document.read] == ["node.toml", "b.toml", "a.toml"]


def test_every_problem_names_the_file_and_line_that_hold_the_key(files, tmp_path):
    path = files(**{
        "node.toml": 'include = ["common/lines.toml"]\n\n[output.lamp]\nlabel = 3\n[input.door]\npull = "side"\n',
        "common/lines.toml": '# all\n[output.lamp]\npin = "GPIO27"\nlabel = ""\nsfe = 1\n[input.bell]\nkind = "x"\n',
    })
    problems = []
    config.load(include.load(path), problems)
    with pytest.raises(ConfigError) as caught:
        raise ConfigError(problems)
    assert said(caught.value, tmp_path) == [
        "common/lines.toml:5: output.lamp.sfe: unknown key; did you mean 'safe'?",
        "common/lines.toml:6: input.bell: 'pin' is missing",
        'common/lines.toml:7: input.bell.kind: "x" is not one of contact, motion, button, counter',
        "node.toml:4: output.lamp.label: expected text in quotes, not 3",
        "node.toml:5: input.door: 'pin' is missing",
        'node.toml:6: input.door.pull: "side" is not one of up, down, none',
    ]


def test_what_is_replaced_as_a_whole_hides_the_lines_of_what_it_replaces(files, tmp_path):
    path = files(**{
        "node.toml": 'include = ["a.toml"]\n[board]\nbuses = ["i2c"]\n',
        "a.toml": '[board]\nbuses = [\n"spi",\n"can"]\n',
    })
    document = include.load(path)
    assert document.data == {"board": {"buses": ["i2c"]}}
    assert document.where(("board", "buses", 1)) == (str(path), 3)


def test_paths_are_relative_to_the_file_they_stand_in(files, tmp_path):
    path = files(**{
        "node.toml": 'include = ["common/a.toml"]\n[board]\ndriver = "simulated"\n',
        "common/a.toml": '[board]\nscenario = "weather.toml"\n',
        "common/weather.toml": "seed = 7\n",
    })
    problems = []
    loaded = config.load(include.load(path), problems)
    assert not problems
    assert loaded.board.scenario == tmp_path / "common" / "weather.toml"
    assert loaded.world.scenario.seed == 7


def test_an_included_file_may_include_and_a_file_may_come_in_twice(files):
    path = files(**{
        "node.toml": 'include = ["a.toml", "b.toml"]\n',
        "a.toml": 'include = ["c.toml"]\n[node]\nname = "a"\n', "b.toml": 'include = ["c.toml"]\n',
        "c.toml": '[node]\nname = "c"\nlabel = "see"\n',
    })
    assert include.load(path).data == {"node": {"name": "c", "label": "see"}}  # b wins over a, with what it includes


def test_five_files_deep_and_no_deeper(files, tmp_path):
    texts = {f"{n}.toml": f'include = ["{n + 1}.toml"]\n' for n in range(1, 5)}
    path = files(**texts, **{"node.toml": 'include = ["1.toml"]\n', "5.toml": "[node]\nname = 'deep'\n"})
    assert include.load(path).data == {"node": {"name": "deep"}}
    files(**{"5.toml": 'include = ["6.toml"]\n', "6.toml": ""})
    with pytest.raises(ConfigError) as caught:
        include.load(path)
    assert said(caught.value, tmp_path) == [
        "5.toml:1: include[1]: more than 5 files below one another; name it further up"
    ]


def test_what_is_wrong_with_the_files_is_said_at_once(files, tmp_path):
    path = files(**{
        "node.toml": 'include = [\n"none.toml",\n"a.toml",\n"broken.toml"]\n',
        "a.toml": "[x]\n", "broken.toml": "\nx = \n",
    })
    with pytest.raises(ConfigError) as caught:
        include.load(path)
    none, broken = sorted(said(caught.value, tmp_path), reverse=True)
    assert none == "node.toml:2: include[1]: none.toml does not exist; correct the name, or leave it out"
    assert broken.startswith("broken.toml:2: not valid TOML")


def test_a_circle_names_the_chain(files, tmp_path):
    path = files(**{"node.toml": 'include = ["a.toml"]\n', "a.toml": 'x = 1\ninclude = ["./node.toml"]\n'})
    with pytest.raises(ConfigError) as caught:
        include.load(path)
    assert said(caught.value, tmp_path) == [
        "a.toml:2: include[1]: files that include each other: node.toml → a.toml → node.toml; leave one out"
    ]


@pytest.mark.parametrize("value", ['"a.toml"', "[3]", '[""]', "{}"])
def test_include_is_a_list_of_files(files, value):
    with pytest.raises(ConfigError, match=r'node\.toml:1: include: expected a list of files such as \["common.toml"\]'):
        include.load(files(**{"node.toml": f"include = {value}\n"}))


# Versions -------------------------------------------------------------------------------------------------------------


def renamed(data):
    """An imagined version 2: `max_on` of outputs is `at_most`."""
    moves = []
    outputs = {}
    for name, table in data.get("output", {}).items():
        outputs[name] = {("at_most" if key == "max_on" else key): value for key, value in table.items()}
        if "max_on" in table:
            moves.append(Moved(("output", name, "max_on"), ("output", name, "at_most")))
    return ({**data, "output": outputs} if outputs else dict(data)), tuple(moves)


def moved_away(data):
    """An imagined version 3: `output` is `out`."""
    made = {("out" if key == "output" else key): value for key, value in data.items()}
    return made, (Moved(("output",), ("out",)),) if "output" in data else ()


def test_an_older_file_is_brought_up_to_date_and_keeps_its_lines(files, tmp_path):
    text = 'version = 1\n[output.lamp]\npin = "GPIO1"\n\nmax_on = "5s"\n'
    document = include.load(files(**{"node.toml": text}), migrations=(renamed, moved_away))
    assert document.data == {"out": {"lamp": {"pin": "GPIO1", "at_most": "5s"}}}
    assert document.where(("out", "lamp", "at_most")) == (str(tmp_path / "node.toml"), 5)
    assert document.where(("out", "lamp", "pin")) == (str(tmp_path / "node.toml"), 3)
    assert [str(note).replace(f"{tmp_path}/", "") for note in document.notes] == [
        "node.toml:5: output.lamp.max_on: is output.lamp.at_most since version 2; write it so, and version = 3",
        "node.toml:2: output: is out since version 3; write it so, and version = 3",
    ]


def test_each_file_has_a_version_of_its_own(files):
    path = files(**{
        "node.toml": 'version = 2\ninclude = ["old.toml"]\n[output.lamp]\nat_most = "1s"\n',
        "old.toml": '[output.pump]\nmax_on = "2s"\n',
    })
    document = include.load(path, migrations=(renamed,))
    assert document.data == {"output": {"lamp": {"at_most": "1s"}, "pump": {"at_most": "2s"}}}
    assert [note.file.rpartition("/")[2] for note in document.notes] == ["old.toml"]


@pytest.mark.parametrize("text", ["", "version = 1\n"])
def test_a_file_of_today_is_taken_as_it_is(files, text):
    document = include.load(files(**{"node.toml": text + '[output.lamp]\nmax_on = "5s"\n'}))
    assert document.data == {"output": {"lamp": {"max_on": "5s"}}}
    assert document.notes == ()


def test_a_newer_file_is_refused_with_a_sentence(files, tmp_path):
    path = files(**{"node.toml": '\ninclude = ["new.toml"]\n', "new.toml": "\n\nversion = 2\n"})
    with pytest.raises(ConfigError) as caught:
        include.load(path)
    assert said(caught.value, tmp_path) == [
        "new.toml:3: written for a newer Knoop (configuration version 2; this one knows 1); install that Knoop"
    ]


@pytest.mark.parametrize("value", ["0", '"1"', "true", "1.0"])
def test_a_version_is_a_whole_number(files, value):
    with pytest.raises(ConfigError, match=r"node\.toml:1: version: expected a whole number from 1 to 1"):
        include.load(files(**{"node.toml": f"version = {value}\n"}))


def test_files_that_multiply_and_files_that_are_huge_are_refused(files, tmp_path):
    """Twenty times five levels are three million files to read; a reload would never end."""
    texts = {
        f"{level}.toml": "include = [" + ", ".join(f'"{"./" * number}{level + 1}.toml"' for number in range(20)) + "]\n"
        for level in range(1, 4)
    }
    path = files(**{"node.toml": 'include = ["1.toml"]\n', "4.toml": "", **texts})
    with pytest.raises(ConfigError) as caught:
        include.load(path)
    assert f"more than {include.MOST_FILES} files" in said(caught.value, tmp_path)[0]
    assert len(caught.value.problems) < 10
    path = files(**{"node.toml": 'include = ["big.toml"]\n', "big.toml": ""})
    with (tmp_path / "big.toml").open("r+b") as big:
        big.truncate(include.LARGEST + 1)
    with pytest.raises(ConfigError) as caught:
        include.load(path)
    assert said(caught.value, tmp_path) == [
        "node.toml:1: include[1]: big.toml is larger than any configuration (1 MiB); is it the right file?"
    ]
