"""The agent's tables: every mistake at once, each with its place and a remedy."""

import pytest

from knoop import places
from knoop.access import Role
from knoop.alerts import Absence
from knoop.condition import Condition
from knoop.jid import Jid
from knoop_hw import places as common
from knoop_hw.errors import ConfigError

GOOD = """
[node]
name = "greenhouse"

[xmpp]
jid = "greenhouse@example.org"

[people]
"anna@example.org" = "owner"
"bram@example.org" = { role = "viewer", only = ["air"], notify = [], lang = "nl" }

[room."fleet@rooms.example.org"]

[board]
driver = "simulated"

[input.door]
pin = "GPIO17"

[sensor.air]
driver = "system"

[alert.open]
when = "door == on"
for = "5min"
"""


def problems(load, text):
    with pytest.raises(ConfigError) as caught:
        load(text)
    return [str(problem).partition("node.toml:")[2] for problem in caught.value.problems]


def test_a_good_file_becomes_people_rules_and_rooms(load):
    made = load(GOOD)
    assert made.jid == Jid("greenhouse", "example.org")
    anna, bram = made.people
    assert (anna.role, anna.told) == (Role.OWNER, {"alarm", "event"})
    assert (bram.role, bram.told, bram.only, bram.lang) == (Role.VIEWER, set(), ("air",), "nl")
    assert [rule.name for rule in made.rules] == ["open", "door_missing", "air_missing", "storage"]
    assert {rule.when.channel: rule.for_s for rule in made.rules[1:3]} == {"door": 300, "air.load": 300}
    assert made.rules[0].when == Condition.parse("door == on")
    assert made.rules[0].for_s == 300
    assert made.rooms[Jid("fleet", "rooms.example.org")].classes == ("alarm",)


def test_who_looks_like_somebody_else_is_noted_with_the_place(load):
    made = load(GOOD.replace('"bram@example.org"', '"аnna@example.org" = "viewer"\n"bram@examp1e.org"'))
    assert [str(note).partition("node.toml:")[2] for note in made.notes] == [
        '10: people."аnna@example.org": looks like anna@example.org but is another address, with rights of its own; if '
        "you mean that one, correct it (“а” is CYRILLIC SMALL LETTER A)",
        '11: people."bram@examp1e.org": its domain looks like example.org but is another one; if you mean that one, '
        "correct it",
    ]
    assert load(GOOD).notes == ()


def test_alarms_wait_for_people_as_the_file_says(load):
    more = """
repeat = "0s"
escalate = ["ANNA@example.org"]
escalate_after = "10min"

[alert.air_missing]
severity = "critical"
for = "1h"
"""
    quiet = 'lang = "nl", quiet = ["22:00-07:00", "13:00 - 13:30"]'
    made = load(GOOD.replace('lang = "nl"', quiet) + more)
    assert made.people[1].quiet == ((1320, 420), (780, 810))
    opened, missing, other, _ = made.rules
    assert (opened.repeat_s, opened.escalate, opened.escalate_after_s) == (0, ("anna@example.org",), 600)
    assert (missing.name, missing.severity, missing.for_s) == ("air_missing", "critical", 3600)
    assert isinstance(missing.when, Absence)
    assert other.name == "door_missing"


def test_devices_may_be_missing_in_peace(load):
    never = GOOD.replace('name = "greenhouse"', 'name = "greenhouse"\nmissing = "0s"')
    assert [rule.name for rule in load(never).rules] == ["open", "storage"]
    assert "say with 'for' how long" in problems(load, f"{never}[alert.air_missing]\n")[0]
    assert len(load(f'{never}[alert.air_missing]\nfor = "1h"\n').rules) == 3


@pytest.mark.parametrize(
    ("values", "keys", "names"),
    [
        ("", "", {"relay_missing"}),
        ("", 'initial = "keep"\n', set()),  # without a reading of its own nobody knows how it is
        ("[sensor.box.values]\nx = { column = 1 }\n", "", {"box_missing"}),
    ],
)
def test_of_a_device_that_is_only_written_to_its_outputs_are_missing(load, values, keys, names):
    box = '[sensor.box]\ndriver = "lines"\ndevice = "/dev/ttyACM0"\n' + values
    relay = f'[output.relay]\nsensor = "box"\nwrite = "R{{value}}"\n{keys}'
    there = {rule.name for rule in load(GOOD + box + relay).rules}
    assert there - {"open", "door_missing", "air_missing", "storage"} == names


def test_a_missing_device_is_called_what_people_call_it(load):
    labelled = GOOD.replace("[sensor.air]", '[sensor.air]\nlabel = "Living room"')
    labels = {rule.name: getattr(rule.when, "label", None) for rule in load(labelled).rules}
    assert labels == {"open": None, "door_missing": "", "air_missing": "Living room", "storage": None}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('name = "greenhouse"', 'nam = "greenhouse"', "did you mean 'name'?"),
        ('name = "greenhouse"', 'name = "My House"', "must be a lower-case word"),
        ('jid = "greenhouse@example.org"', 'jid = "green house"', "is not an XMPP address"),
        ('jid = "greenhouse@example.org"', 'jid = "a@example.org"\nport = 5223', "'host' and 'port' go together"),
        ('jid = "greenhouse@example.org"', 'jid = "a@example.org"\nca_file = "no.pem"', "no.pem does not exist"),
        ('jid = "greenhouse@example.org"', 'jid = "a@example.org"\nfingerprint = "ab"', "64 digits"),
        ('"anna@example.org" = "owner"', '"anna@example.org" = "boss"', "owner"),
        ('"anna@example.org" = "owner"', '"anna@example.org" = "viewer"', "nobody is an owner"),
        ('"anna@example.org" = "owner"', '"greenhouse@example.org" = "owner"', "that is this node's own account"),
        ('"anna@example.org" = "owner"', '"anna@example.org/phone" = "owner"', "a bare address is meant"),
        ('"anna@example.org" = "owner"', '"anna@example.org" = "owner"\n"ANNA@example.org" = "viewer"', "same address"),
        ('only = ["air"]', 'only = ["aid"]', "there is no channel 'aid'; did you mean 'air'?"),
        ('when = "door == on"', 'when = "door"', "CHANNEL OP LITERAL"),
        ('when = "door == on"', 'when = "gate == on"', "there is no channel gate"),
        ('when = "door == on"', 'when = "door < 3"', "door is a boolean"),
        ("[alert.open]", "[alert.Open]", "lower-case word"),
        ('when = "door == on"', "", "missing key 'when'"),
        ('when = "door == on"', 'when = "door == on"\nescalate = ["zoe@example.org"]', "zoe@example.org is nobody in"),
        ('when = "door == on"', 'when = "door == on"\nescalate = ["bram@example.org"]', "may not read door"),
        ('when = "door == on"', 'when = "door == on"\nescalate = ["a b"]', "is not an XMPP address"),
        ('when = "door == on"', 'when = "door == on"\nrepeat = "100ms"', 'at least "1s", or "0s" for never'),
        ("[alert.open]", '[alert.air_missing]\nwhen = "door == on"\n[alert.open]', "the alert for a missing air"),
        ("[alert.open]", '[alert.air_missing]\nclear = "door == on"\n[alert.open]', "leave 'clear' out"),
        ("[alert.open]", "[alert.attic_missing]\n[alert.open]", "there is no device 'attic'"),
        ('lang = "nl"', 'quiet = ["22:00"]', "write it like"),
        ('lang = "nl"', 'quiet = ["24:00-07:00"]', "is no part of a day"),
        ('lang = "nl"', 'quiet = ["07:00-07:00"]', "is no part of a day"),
        ("[input.door]", "[input.zet]", "'zet' is a word people say"),
        ("[input.door]", "[input.roll]", "'roll' is a word people say"),
        ('name = "greenhouse"', 'name = "roll"', "node.name: 'roll' is a word people say to nodes"),
        ('role = "viewer"', 'role = "viewer", encryption = "required"', "planned, but not there yet"),
        ('[room."fleet@rooms.example.org"]', '[room."f@rooms.example.net"]\ncommands = true', "could invent who is"),
        ('[room."fleet@rooms.example.org"]', '[room."f@badexample.org"]\ncommands = true', "could invent who is"),
        ('jid = "greenhouse@example.org"', 'jid = "a@example.org"\nmuc_service = "a@b.example.net"', "domain is meant"),
        ('jid = "greenhouse@example.org"', 'jid = "a@example.org"\nmuc_service = "a b"', "is not an XMPP address"),
        ("[board]", "[publish]\nmicroblog = true\n[board]", "not there yet"),
        ("[board]", "[bord]", "unknown table; did you mean 'board'?"),
        ("[board]", '[publish]\npubsub = "pepp"\n[board]', "'pepp' is neither 'pep' nor 'off' nor a service's address"),
        ("[board]", '[publish]\npubsub = ""\n[board]', "is neither 'pep' nor 'off'"),
        ("[board]", '[publish]\ngeolocation = "gps"\n[board]', "geolocation: 'gps' is no sensor with the"),
        ("[board]", '[publish]\npubsub = "off"\ngeolocation = "gps"\n[board]', "publishes nothing; leave one"),
        ("[board]", '[publish]\npubsub = "a b.example.org"\n[board]', "is not an XMPP address"),
        ("[board]", '[publish]\npubsub = "p.example.org/x"\n[board]', "bare address is meant: p.example.org"),
    ],
)
def test_one_mistake_is_one_located_sentence(load, old, new, expected):
    assert GOOD.count(old) == 1
    found = problems(load, GOOD.replace(old, new))
    matching = [problem for problem in found if expected in problem]
    assert matching, found
    line = int(matching[0].partition(":")[0])
    assert 1 <= line <= GOOD.count("\n") + 1


def test_a_service_is_an_address_and_prepared(load):
    assert (load(GOOD).publish.pubsub, load(GOOD).publish.service) == ("pep", "")
    assert load(GOOD.replace("[board]", '[publish]\npubsub = "off"\n[board]')).publish.service == ""
    assert load(GOOD.replace("[board]", '[publish]\npubsub = "PubSub.Example.org"\n[board]')).publish.service == (
        "pubsub.example.org"
    )


def test_all_mistakes_of_both_halves_come_at_once(load):
    text = GOOD.replace('pin = "GPIO17"', 'pin = "GPIO17"\npul = "up"').replace('name = "greenhouse"', 'name = "X"')
    found = problems(load, text.replace('"owner"', '"boss"'))
    assert len(found) >= 3
    assert any("did you mean 'pull'?" in problem for problem in found)
    assert found == sorted(found, key=lambda problem: int(problem.partition(":")[0]))


def test_the_password_comes_from_a_private_file_or_a_credential(load, tmp_path, monkeypatch):
    made = load(GOOD.replace("[people]", 'password_file = "secret"\n\n[people]'))
    with pytest.raises(ConfigError, match="does not exist; put the account's password into it"):
        places.password(made)
    secret = tmp_path / "secret"
    secret.write_text("correct horse\n")
    secret.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        places.password(made)
    secret.chmod(0o600)
    assert places.password(made) == "correct horse"
    secret.write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        places.password(made)
    (tmp_path / "xmpp.password").write_text("from systemd")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert places.password(made) == "from systemd"
    (tmp_path / "xmpp.password").write_text("\n")  # what knoop.service passes where nothing is encrypted
    (tmp_path / "xmpp.password.plain").write_text("in plain\n")
    assert places.password(made) == "in plain"
    (tmp_path / "xmpp.password.plain").write_text("\n")
    secret.write_text("correct horse\n")
    assert places.password(made) == "correct horse"


def test_without_any_password_the_remedy_is_named(load, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError, match="name a file in 'password_file'"):
        places.password(load(GOOD))


def test_where_the_configuration_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    with pytest.raises(ConfigError, match="name one with --config FILE"):
        common.search(None)
    (tmp_path / "xdg" / "knoop").mkdir(parents=True)
    (tmp_path / "xdg" / "knoop" / "node.toml").touch()
    assert common.search(None) == tmp_path / "xdg" / "knoop" / "node.toml"
    (tmp_path / "node.toml").touch()
    assert str(common.search(None)) == "node.toml"


def test_state_lives_where_systemd_or_xdg_says(tmp_path, monkeypatch):
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = common.state_directory("knoop")
    assert folder == tmp_path / "state" / "knoop"
    assert folder.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "var"))
    assert common.state_directory("knoop") == tmp_path / "var"


@pytest.mark.parametrize(
    ("door", "lamp", "expected"),
    [
        ('"zet"', '"licht"', "11: input.door.aliases: 'zet' is a word people say to the node; choose another"),
        ('"aan"', '"licht"', "11: input.door.aliases: 'aan' is a word people say to the node; choose another"),
        ('"2"', '"licht"', "11: input.door.aliases: '2' has no word in it; choose another"),
        ('"💡"', '"licht"', "11: input.door.aliases: '💡' has no word in it; choose another"),
        ('"De Lámp"', '"licht"', "11: input.door.aliases: 'De Lámp' is also what lamp is called ('lamp'); each alias"),
        ('"hall LIGHT"', '"licht"', "'hall LIGHT' is also what lamp is called ('Hall light'); each alias names one"),
        ('"licht"', '"Licht"', "14: output.lamp.aliases: 'Licht' is also what door is called ('licht'); each alias"),
    ],
)
def test_an_alias_names_one_channel_and_is_no_word_of_a_sentence(load, door, lamp, expected):
    tables = f"""[node]
name = "greenhouse"
[xmpp]
jid = "greenhouse@example.org"
[people]
"anna@example.org" = "owner"
[board]
driver = "simulated"
[input.door]
pin = "GPIO17"
aliases = [{door}]
[output.lamp]
pin = "GPIO27"
aliases = [{lamp}]
label = "Hall light"
"""
    assert any(expected in problem for problem in problems(load, tables))
    fine = tables.replace(f"[{door}]", '["voordeur"]').replace(f"[{lamp}]", '["licht in de gang"]')
    assert load(fine).hw.outputs[0].channel().aliases == ("licht in de gang",)


@pytest.mark.parametrize(
    ("room", "service"),
    [
        ("fleet@rooms.example.org", ""),
        ("fleet@a.rooms.example.org", ""),
        ("fleet@example.org", ""),
        ("fleet@ROOMS.example.net", "rooms.example.net"),
    ],
)
def test_commands_are_taken_in_rooms_of_a_service_that_is_trusted(load, room, service):
    text = GOOD.replace("fleet@rooms.example.org", room).replace(f'"{room}"]', f'"{room}"]\ncommands = true')
    if service:
        account = 'jid = "greenhouse@example.org"'
        text = text.replace(account, f'{account}\nmuc_service = "{service}"')
    (table,) = load(text).rooms.values()
    assert table.commands
