"""The decoder: what a user wrote, what it becomes, and which line a mistake stands on."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop_hw import decode
from knoop_hw.decode import Between, Seconds, Size
from knoop_hw.errors import ConfigError, Problem
from knoop_hw.locate import lines_of


@dataclass(frozen=True, kw_only=True)
class Person:
    SHORTHAND: ClassVar[str] = "role"
    role: Literal["owner", "viewer"]
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Everything:
    yes: bool = False
    count: int = 0
    share: Annotated[float, Between(0, 100)] = 0.0
    text: str = ""
    pull: Literal["up", "down"] = "up"
    file: Path | None = None
    names: tuple[str, ...] = ()
    people: dict[str, Person] = field(default_factory=dict)
    person: Person | None = None
    debounce_s: Seconds = 0.0
    heartbeat_s: Seconds | None = None
    max: Size = 0
    cls: str = "event"
    for_: str = ""
    value: bool | float = False


@dataclass(frozen=True)
class Step:
    at_s: Seconds


@dataclass(frozen=True)
class Steps:
    step: tuple[Step, ...]


def read(text: str, kind: type[Any] = Everything) -> tuple[Any, list[str]]:
    problems: list[Problem] = []
    document = decode.parse(text, "etc/node.toml")
    made = decode.into(kind, document.data, document=document, path=(), problems=problems)
    return made, [str(problem) for problem in sorted(problems)]


@pytest.mark.parametrize("text", ["0s", "20ms", "100ms", "1s", "90s", "1min", "2h", "1d"])
def test_a_time_is_said_as_it_is_written(text):
    assert decode.time_of(decode.seconds_of(text)) == text


def test_every_kind_of_value():
    made, problems = read(
        """
        yes = true
        count = 3
        share = 50
        text = "hé"
        pull = "down"
        file = "card.txt"
        names = ["a", "b"]
        debounce = "50ms"
        heartbeat = 90
        max = "64MB"
        class = "alarm"
        for = "ever"
        value = 2.5
        person.role = "owner"
        people."anna@example.org" = "viewer"
        people."bob@example.org" = { role = "owner", name = "Bob" }
        """
    )
    assert problems == []
    assert made == Everything(
        yes=True, count=3, share=50.0, text="hé", pull="down", file=Path("etc/card.txt"), names=("a", "b"),
        debounce_s=0.05, heartbeat_s=90.0, max=64_000_000, cls="alarm", for_="ever", value=2.5,
        person=Person(role="owner"),
        people={"anna@example.org": Person(role="viewer"), "bob@example.org": Person(role="owner", name="Bob")},
    )  # fmt: skip
    assert isinstance(made.share, float)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("50ms", 0.05), ("10s", 10), ("5min", 300), ("2h", 7200), ("1d", 86400), ("1.5 h", 5400), (7, 7.0), (0, 0.0)],
)
def test_times(text, seconds):
    shown = f'"{text}"' if isinstance(text, str) else text
    assert read(f"debounce = {shown}")[0].debounce_s == seconds


@pytest.mark.parametrize(
    "text", ['"10"', '"s"', '"-1s"', "-1", "true", "inf", "1e308", '"5 minutes"', '"٣s"', "[]", '"1s 2s"']
)
def test_what_is_no_time(text):
    made, [problem] = read(f"debounce = {text}")
    assert made is None
    assert problem.startswith('etc/node.toml:1: debounce: expected a time such as "50ms"')


@pytest.mark.parametrize("text", ["inf", "nan", "-1e301", "1" + "0" * 400])
def test_what_is_no_number(text):
    """A whole number beyond all floats ended `knoop check` with a traceback."""
    _, [problem] = read(f"share = {text}")
    assert problem.startswith("etc/node.toml:1: share: expected a number, not ")


def test_all_problems_at_once_each_with_its_line():
    made, problems = read(
        """
yes = 1
count = true
count2 = 1
share = 101
pull = "upp"
names = "a"
[people]
"anna@example.org" = "onwer"
"bob@example.org" = { nmae = "Bob" }
"""
    )
    assert made is None
    assert problems == [
        "etc/node.toml:2: yes: expected true or false, not 1",
        "etc/node.toml:3: count: expected a whole number, not true",
        "etc/node.toml:4: count2: unknown key; did you mean 'count'?",
        "etc/node.toml:5: share: expected from 0 to 100, not 101",
        "etc/node.toml:6: pull: \"upp\" is not one of up, down; did you mean 'up'?",
        'etc/node.toml:7: names: expected a list in [ ], not "a"',
        'etc/node.toml:9: people."anna@example.org".role: "onwer" is not one of owner, viewer; did you mean \'owner\'?',
        "etc/node.toml:10: people.\"bob@example.org\": 'role' is missing",
        "etc/node.toml:10: people.\"bob@example.org\".nmae: unknown key; did you mean 'name'?",
    ]


def test_an_unknown_key_far_from_all_others_lists_them():
    _, [problem] = read('role = "owner"\nqqq = 1', Person)
    assert problem == "etc/node.toml:2: qqq: unknown key; expected one of role, name"


def test_what_post_init_refuses_is_located_at_the_key_it_names():
    @dataclass(frozen=True)
    class Pair:
        low: int
        high: int

        def __post_init__(self) -> None:
            if self.low > self.high:
                raise ValueError("low: is above high")
            if self.low == self.high:
                raise ValueError("they are equal")

    assert read("high = 1\nlow = 2", Pair)[1] == ["etc/node.toml:2: low: is above high"]
    assert read("high = 2\nlow = 2", Pair)[1] == ["etc/node.toml: they are equal"]


def test_given_values_are_not_keys():
    problems: list[Problem] = []
    document = decode.parse('name = "x"\nrole = "owner"', "f")
    made = decode.into(Person, document.data, document=document, path=(), problems=problems, given={"name": "n"})
    assert made == Person(name="n", role="owner"), "an unknown key does not hide the rest"
    assert [str(p) for p in problems] == ["f:1: name: unknown key; expected one of role"]


def test_a_value_that_is_no_table():
    problems: list[Problem] = []
    document = decode.parse("input = 3", "f")
    assert decode.into(Everything, 3, document=document, path=("input",), problems=problems) is None
    assert str(problems[0]) == "f:1: input: expected a table, not 3"


def test_list_elements_count_from_one_for_people():
    text = '[[step]]\nat = "1s"\n\n[[step]]\nat = "soon"\n'
    _, [problem] = read(text, Steps)
    assert problem.startswith("etc/node.toml:5: step[2].at: expected a time")


class TestLoad:
    def test_absent(self, tmp_path):
        with pytest.raises(ConfigError, match="there is no such file; --config names another"):
            decode.load(tmp_path / "node.toml")

    def test_directory(self, tmp_path):
        with pytest.raises(ConfigError, match="this is a directory"):
            decode.load(tmp_path)

    def test_not_utf8(self, tmp_path):
        file = tmp_path / "node.toml"
        file.write_bytes(b"[node]\nname = 'caf\xe9'\n")
        with pytest.raises(ConfigError, match=r"node.toml:2: byte 0xe9 is not UTF-8; save the file as UTF-8"):
            decode.load(file)

    @pytest.mark.parametrize(
        ("text", "line"),
        [("a = 1\nb = up\n", 2), ("a = 1\na = 2\n", 2), ("[x\n", 1), ("a = '", 1), ("\n\na = [1,\n", 3)],
    )
    def test_syntax(self, text, line):
        with pytest.raises(ConfigError) as caught:
            decode.parse(text, "node.toml")
        [problem] = caught.value.problems
        assert problem.line == line
        assert "not valid TOML" in problem.text


class TestLines:
    def test_headers_dots_quotes_lists_and_inline_tables(self):
        lines = lines_of(
            '''# a comment with [brackets] = "and" 'quotes'
[node]
name = "a # b" # c
a.b."c.d" = 1.5
text = """
[not.a.header]
key = 1
"""
inline = { x = 1, y = { z = "," } }
list = [
  1, # one
  { q = 2 },
]
date = 1979-05-27 07:32:00

[[step]]
at = 1
[step.sub]
k = 1
[[step]]
at = 2
[people."anna@example.org"]
role = 'o"wner'
'''
        )
        assert lines["node",] == 2
        assert lines["node", "name"] == 3
        assert lines["node", "a", "b", "c.d"] == 4
        assert ("not", "a", "header") not in lines
        assert lines["node", "inline", "y", "z"] == 9
        assert lines["node", "list", 1, "q"] == 12
        assert lines["node", "date"] == 14
        assert lines["step", 0, "at"] == 17
        assert lines["step", 0, "sub", "k"] == 19
        assert lines["step", 1, "at"] == 21
        assert lines["people", "anna@example.org", "role"] == 23

    @given(
        st.lists(
            st.tuples(
                st.from_regex(r"[a-z]{1,6}", fullmatch=True),
                st.sampled_from(
                    ["1", "1.5", "-2", "true", '"x"', "'[y]'", '"""a\n= b"""', "[1, [2]]", "{ a = 1 }", "[\n]"]
                ),
            ),
            unique_by=lambda pair: pair[0],
        )
    )
    def test_every_key_is_found_on_its_line(self, pairs):
        text = "".join(f"# {key}\n{key} = {value} # x\n" for key, value in pairs)
        tomllib.loads(text)
        lines = lines_of(text)
        rows = text.split("\n")
        for key, _ in pairs:
            assert rows[lines[key,] - 1].startswith(f"{key} = ")
