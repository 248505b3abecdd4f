"""A question is asked until there is an answer to it."""

import pytest

from knoop.init.ask import Terminal


def terminal(*answers):
    """A terminal whose person gives these answers, then ends the input; and what it wrote."""
    left, written = list(answers), []

    def read(prompt):
        written.append(prompt)
        if not left:
            raise EOFError
        return left.pop(0)

    return Terminal(read, read, written.append), written


def number(text):
    if not text.isdigit():
        raise ValueError(f"{text!r} is no number")
    return int(text)


def test_enter_takes_the_default():
    asked, written = terminal("")
    assert asked.ask("Port", "Where?", number, default="5222") == 5222
    assert written == ["", "Where?", "Port [5222]: "]


def test_what_is_wrong_is_said_and_asked_again():
    asked, written = terminal("x", "", " 7 ")
    assert asked.ask("Port", "Where?", number) == 7
    assert written[2:] == ["Port: ", "  'x' is no number", "Port: ", "  '' is no number", "Port: "]


@pytest.mark.parametrize(
    ("answers", "default", "meant"),
    [
        (["y"], None, True), (["NO"], None, False), (["", "perhaps", "n"], None, False), ([""], True, True),
        ([""], False, False), (["yes"], False, True), (["ja"], None, True), (["nee"], True, False),
    ],
)  # fmt: skip
def test_yes_and_no(answers, default, meant):
    asked, _ = terminal(*answers)
    assert asked.yes("Sure?", ("Because.",), default=default) is meant


def test_a_secret_is_not_empty():
    asked, written = terminal("", "  spaces are part of it ")
    assert asked.secret("Password") == "  spaces are part of it "
    assert len(written) == 3


@pytest.mark.parametrize("ask", [lambda t: t.ask("A", "b", str), lambda t: t.yes("A", ()), lambda t: t.secret("A")])
def test_the_end_of_input_is_ctrl_c(ask):
    asked, _ = terminal()
    with pytest.raises(KeyboardInterrupt):
        ask(asked)


def test_a_long_line_breaks_between_words_and_keeps_its_indent():
    asked, written = terminal("nonsense", "1")
    asked.ask("Number", "word " * 30, number)
    said = written[1].splitlines()
    assert len(said) == 2
    assert all(len(line) < 80 for line in said)
    asked.say("  " + "word " * 30)
    assert all(line.startswith("  word") for line in written[-1].splitlines())


def test_nothing_that_is_said_steers_the_terminal():
    asked, written = terminal("")
    asked.ask("Name", "from \x1b[2J a server", str, default="\x9b2J")
    assert not any(char in line for line in written for char in "\x1b\x9b")
