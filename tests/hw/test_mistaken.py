"""What is said of a line that is no TOML: each remedy where it fits, and nowhere else."""

from __future__ import annotations

import pytest

from knoop_hw import decode
from knoop_hw.errors import ConfigError
from knoop_hw.logs import printable
from knoop_hw.mistaken import meant

QUOTES, SINGLE = "; text values need quotes, times too", "; put patterns and paths with \\ in single quotes"
ONE_LINE = "; what is in { } must stand on one line, or be a [table] of its own"


@pytest.mark.parametrize(
    ("text", "line", "remedy"),
    [
        ("[node]\nname = greenhouse\n", 2, QUOTES),
        ("every = 10s\n", 1, QUOTES),
        ("device = /dev/ttyUSB0\n", 1, QUOTES),
        ("names = [door, bell]\n", 1, QUOTES),
        ('pattern = "T=(\\d+)"\n', 1, SINGLE),
        ('file = "C:\\Users"\n', 1, SINGLE),
        ("label = “Hal”\n", 1, "; “ is a printer's quote: write \" or '"),
        ("x = {\n at = 0 }\n", 1, ONE_LINE),
        ("x = { at = 0,\n bit = 1 }\n", 1, ONE_LINE),
        ("x = { at = 0, }\n", 1, "; leave out the last comma in { }"),
        ("confirm = True\n", 1, "; true and false are written small"),
    ],
)
def test_the_remedy_fits_the_line(text, line, remedy):
    with pytest.raises(ConfigError) as refused:
        decode.parse(text, "node.toml")
    assert str(refused.value).startswith(f"node.toml:{line}: not valid TOML: ")
    assert str(refused.value).endswith(remedy)


@pytest.mark.parametrize(
    "text", ["[xmpp\n", 'label = "it’s" "x"\n', "at = 08\n", 'label = "Hal\n', 'a = "x" # {\n[b\n', "a = \n"]
)
def test_where_none_fits_there_is_none(text):
    with pytest.raises(ConfigError) as refused:
        decode.parse(text, "node.toml")
    assert ";" not in str(refused.value)


def test_what_stands_twice_is_named():
    with pytest.raises(ConfigError, match=r"^f:3: not valid TOML: \[input.door\] stands twice, or has a value above; "):
        decode.parse('[input.door]\npin = "GPIO5"\n[input.door]\n', "f")
    with pytest.raises(ConfigError, match=r"^f:2: not valid TOML: a key stands twice"):
        decode.parse("a = 1\na = 2\nb = 3\n", "f")


@pytest.mark.parametrize(
    ("word", "choices", "said"),
    [
        ("intervall", ("every", "timeout"), "did you mean 'every'?"),
        ("port", ("device", "unit"), "did you mean 'device'?"),
        ("baud_rate", ("baudrate", "framing"), "did you mean 'baudrate'?"),
        ("parity", ("baudrate", "framing"), "did you mean 'framing'?"),
        ("address", ("at", "table"), "did you mean 'at'?"),
        ("address", ("device", "fields"), "did you mean 'device'?"),
        ("address", ("device", "registers", "unit"), "did you mean 'unit'?"),
        ("regex", ("pattern", "json"), "did you mean 'pattern'?"),
        ("key", ("key_file", "protocol"), "did you mean 'key_file'?"),
        ("slave", ("device", "every"), ""),
        ("prt", ("port", "host"), "did you mean 'port'?"),
    ],
)
def test_what_another_program_calls_it_is_offered_only_where_it_is(word, choices, said):
    assert meant(word, choices) == said


def test_a_remedy_that_is_copied_has_its_backslashes_once():
    assert printable('such as "B{value}\\n"\n', copied=True) == 'such as "B{value}\\n"\\n'
    assert printable("\\n") == "\\\\n"
