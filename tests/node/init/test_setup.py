"""Whatever was answered, the file is one that `knoop check` accepts, and says what was answered."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knoop import commands, config
from knoop.access import Role
from knoop.init import setup
from knoop.init.setup import Answers, Port
from knoop.jid import Jid
from knoop.xmpp import compat

PLAIN = Answers(
    name="greenhouse", label="Greenhouse", lang="en", jid="greenhouse@example.org",
    password_file="greenhouse.password", owners=("anna@example.org",), publish="off",
)  # fmt: skip
CABLE = "/dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0"

NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,30}", fullmatch=True)
TEXT = st.text(st.characters(codec="utf-8"))
ADDRESSES = st.sampled_from(
    ["anna@example.org", "ännä.o+x=1@example.org", "a\\b@example.org", "bram@münchen.example", "c#d@example.org"]
)
ANSWERS = st.builds(
    Answers, name=NAMES, label=TEXT, lang=st.sampled_from(["en", "nl"]), jid=ADDRESSES,
    password_file=st.just("") | NAMES.map(lambda name: f"{name}.password"),
    owners=st.lists(ADDRESSES, unique=True).map(tuple), publish=st.sampled_from(["pep", "off"]),
    fingerprint=st.sampled_from(["", "ab" * 32]), room=st.sampled_from(["", "fleet@rooms.example.org"]),
    lines=st.sampled_from(["usable", "forbidden", "simulated", "none"]),
    ports=st.lists(st.builds(Port, device=TEXT, perhaps_meter=st.booleans(), usable=st.booleans()), max_size=3).map(
        tuple
    ),
).filter(lambda answers: answers.jid not in answers.owners)  # `init` does not take that


@pytest.fixture(scope="module")
def load(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")

    def load(answers):
        file = folder / "node.toml"
        file.write_text(setup.node_toml(answers), "utf-8")
        return config.load(file, jid=compat.jid, words=commands.words())

    return load


@given(answers=ANSWERS)
def test_any_answers_make_a_file_that_is_accepted(load, answers):
    made = load(answers)
    assert (made.xmpp.password_file is None) is (answers.password_file == "")
    assert (made.node.name, made.node.label, made.node.lang) == (answers.name, answers.label, answers.lang)
    assert made.jid == compat.jid(answers.jid)
    assert {(person.jid, person.role) for person in made.people} == {
        (compat.jid(owner), Role.OWNER) for owner in answers.owners
    }
    assert made.publish.pubsub == answers.publish
    assert made.xmpp.fingerprint == answers.fingerprint
    assert [str(room) for room in made.rooms] == ([answers.room] if answers.room else [])
    assert bool(made.hw.outputs) == (answers.lines == "simulated")
    assert not any(sensor.driver == "p1" for sensor in made.hw.sensors), "found is not chosen"


@pytest.mark.parametrize(
    "label",
    [
        '"', "\\", '"\n[people]\n"eve@example.org" = "owner"\n#', "'''", '"""', "\x00\x1b[2J\x7f", "\u2028\u202e",
        "🌱", " ",
    ],
)  # fmt: skip
def test_a_label_stays_a_label(load, label):
    made = load(replace(PLAIN, label=label))
    assert made.node.label == label
    assert [person.jid for person in made.people] == [Jid("anna", "example.org")]


def test_a_port_with_a_line_break_in_its_name_stays_a_comment(load):
    made = load(replace(PLAIN, ports=(Port(device='x"\n[sensor.evil]\ndriver = "system"\n'),)))
    assert [sensor.name for sensor in made.hw.sensors] == ["machine"]


def test_the_way_to_the_server_is_kept(load, tmp_path):
    ca_file = tmp_path / "ca.pem"
    ca_file.touch()
    made = load(replace(PLAIN, host="192.0.2.10", port=5223, ca_file=str(ca_file)))
    assert (made.xmpp.host, made.xmpp.port, made.xmpp.ca_file) == ("192.0.2.10", 5223, ca_file)


def test_every_offer_is_right_once_its_mark_is_gone(load, tmp_path):
    """What begins with `#` and a key or a table: take the mark away, and it is accepted."""
    answers = replace(PLAIN, lines="usable", ports=(Port(device=CABLE, perhaps_meter=True), Port(device="/dev/x")))
    text = setup.node_toml(answers)
    offered = "\n".join(line.removeprefix("#") if not line.startswith("# ") else line for line in text.splitlines())
    file = tmp_path / "node.toml"
    file.write_text(offered, "utf-8")
    made = config.load(file, jid=compat.jid, words=commands.words())
    assert [line.name for line in (*made.hw.inputs, *made.hw.outputs)] == ["door", "lamp"]
    assert [(sensor.name, sensor.driver) for sensor in made.hw.sensors] == [
        ("machine", "system"), ("meter", "p1"), ("meter2", "p1"),
    ]  # fmt: skip
    assert [sensor.config.device for sensor in made.hw.sensors[1:]] == [Path(CABLE), Path("/dev/x")]
    assert [str(room) for room in made.rooms] == ["alarms@rooms.example.org"]
    assert Role.OPERATOR in {person.role for person in made.people}


def test_what_this_user_may_not_open_is_said_with_the_remedy():
    text = setup.node_toml(replace(PLAIN, lines="forbidden", ports=(Port(device=CABLE, usable=False),)))
    assert "adduser USER gpio" in text
    assert "adduser USER dialout" in text


def test_every_table_says_what_it_is_for():
    lines = setup.node_toml(replace(PLAIN, lines="simulated")).splitlines()
    tables = [(number, line) for number, line in enumerate(lines) if line.startswith("[")]
    bare = [line for number, line in tables if "#" not in "".join(lines[number - 1 : number + 3])]
    assert bare == ["[output.lamp]"]  # under [input.door], which explains


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("raspberrypi", "raspberrypi"), ("Greenhouse.local", "greenhouse"), ("2nd-floor", "nd-floor"),
        ("localhost", "localhost"), ("Böiler", "b-iler"), ("42", ""), ("", ""), ("-", ""), ("x--", "x"),
        ("a" * 40, "a" * 31),
    ],
)  # fmt: skip
def test_a_hosts_name_becomes_a_nodes_name(host, name):
    assert setup.node_name(host) == name
    if name:
        config.Node(name=name)


def test_what_a_server_sees_fits_into_eight_lines_of_a_terminal():
    lines = setup.server_sees("example.org")
    assert len(lines) <= 8
    assert all(len(line) < 80 for line in lines)
    assert "example.org" in lines[0]
