"""The agent's tables: every mistake at once, each with its place and a remedy."""

import pytest

from knoop import commands, config, places
from knoop.access import Role
from knoop.alerts import Condition
from knoop.jid import Jid
from knoop.xmpp import compat
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


@pytest.fixture
def load(tmp_path):
    def load(text):
        file = tmp_path / "node.toml"
        file.write_text(text, "utf-8")
        return config.load(file, jid=compat.jid, words=commands.words())

    return load


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
    assert made.rules[0].when == Condition.parse("door == on")
    assert made.rules[0].for_s == 300
    assert made.rooms[Jid("fleet", "rooms.example.org")].classes == ("alarm",)


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
        ('"anna@example.org" = "owner"', '"anna@example.org/phone" = "owner"', "a bare address is meant"),
        ('"anna@example.org" = "owner"', '"anna@example.org" = "owner"\n"ANNA@example.org" = "viewer"', "same address"),
        ('only = ["air"]', 'only = ["aid"]', "there is no channel 'aid'; did you mean 'air'?"),
        ('when = "door == on"', 'when = "door"', "CHANNEL OP LITERAL"),
        ('when = "door == on"', 'when = "gate == on"', "there is no channel gate"),
        ('when = "door == on"', 'when = "door < 3"', "door is a boolean"),
        ("[alert.open]", "[alert.Open]", "lower-case word"),
        ("[input.door]", "[input.zet]", "'zet' is a word people say"),
        ("[input.door]", "[input.roll]", "'roll' is a word people say"),
        ('role = "viewer"', 'role = "viewer", encryption = "required"', "planned, but not there yet"),
        ('[room."fleet@rooms.example.org"]', '[room."fleet@rooms.example.org"]\ncommands = true', "not there yet"),
        ("[board]", "[publish]\nmicroblog = true\n[board]", "not there yet"),
        ("[board]", "[bord]", "unknown table; did you mean 'board'?"),
    ],
)
def test_one_mistake_is_one_located_sentence(load, old, new, expected):
    assert GOOD.count(old) == 1
    found = problems(load, GOOD.replace(old, new))
    matching = [problem for problem in found if expected in problem]
    assert matching, found
    line = int(matching[0].partition(":")[0])
    assert 1 <= line <= GOOD.count("\n") + 1


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


def test_without_any_password_the_remedy_is_named(load, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError, match="name a file in 'password_file'"):
        places.password(load(GOOD))


def test_where_the_configuration_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    with pytest.raises(ConfigError, match="name one with --config FILE"):
        places.search(None)
    (tmp_path / "xdg" / "knoop").mkdir(parents=True)
    (tmp_path / "xdg" / "knoop" / "node.toml").touch()
    assert places.search(None) == tmp_path / "xdg" / "knoop" / "node.toml"
    (tmp_path / "node.toml").touch()
    assert str(places.search(None)) == "node.toml"


def test_state_lives_where_systemd_or_xdg_says(tmp_path, monkeypatch):
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = places.state_directory()
    assert folder == tmp_path / "state" / "knoop"
    assert folder.stat().st_mode & 0o777 == 0o700
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "var"))
    assert places.state_directory() == tmp_path / "var"
