"""One file on the card: taken over whole or not at all, its secrets wiped, whole again after a power cut anywhere."""

import argparse
import asyncio
import contextlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from knoop import cli, credential, files, ownership, places
from knoop.errors import StoreError
from knoop.setup import account, claimed, command, moved, wifi
from knoop.setup.card import read as read_card
from knoop.setup.machine import ERRORS, LARGEST, Machine
from knoop.xmpp import register
from knoop_bench.certificates import Authority
from knoop_hw import places as common
from knoop_hw.clock import SystemClock
from knoop_hw.errors import ConfigError

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0x7hPq8CkXwH6dTqW3pQ0yV9bYt1mN5sRfGzLuKcEo anna@example.org"
NODE = """\
# Anna's own remark

[node]
name = "green_house"

[people]
"anna@example.org" = "owner"      # and another one
"""
WHOLE = f"""\
{NODE}
[wifi]
ssid = "Home sweet home"
password = "hunter2hunter2"       # the router's sticker says so
country = "NL"

[[wifi.network]]
ssid = "Café"
password = "{'0a' * 32}"
hidden = true

[time]
zone = "Europe/Amsterdam"
servers = ["ntp.example.org", "192.0.2.1"]

[account]
jid = "greenhouse@example.org"
password = "correct horse battery"

[ssh]
key = '''
{KEY}
'''

[board]
buses = ["i2c", "w1:GPIO4"]

[room."fleet@rooms.example.org"]
password = "open sesame, please"
"""
SECRETS = ("hunter2hunter2", "0a" * 32, "correct horse battery", "open sesame, please")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _handle: None)  # no power goes here but by a test: `Power` counts the calls
    made = Machine(boot=tmp_path / "boot", root=tmp_path / "root")
    made.boot.mkdir()
    zones = made.root / "usr/share/zoneinfo"
    for zone in ("Europe/Amsterdam", "Europe/Brussels", "Etc/UTC"):
        (zones / zone).parent.mkdir(parents=True, exist_ok=True)
        (zones / zone).write_bytes(b"TZif2")
    (made.root / "dev").mkdir()
    for name in ("tty0", "ttyS0"):
        (made.root / "dev" / name).touch()
    (made.root / "sys/class/tty/console").mkdir(parents=True)
    (made.root / "sys/class/tty/console/active").write_text("tty0 ttyS0\n", "utf-8")
    return made


def write(machine, text, name="knoop.toml"):
    (machine.boot / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def card(machine, name="knoop.toml"):
    return (machine.boot / name).read_text("utf-8")


def edit(machine, old, new):
    """As somebody with an editor does."""
    text = card(machine)
    assert old in text
    write(machine, text.replace(old, new))


def start(machine):
    """What each start of the machine does; returns the exit code."""
    return command.taken(machine)


def password(machine):
    return credential.read(places.PASSWORD_CREDENTIAL, root=machine.root)


def errors(machine):
    file = machine.boot / ERRORS
    return file.read_bytes().decode() if file.exists() else ""


def wpa(machine):
    return (machine.root / "etc/wpa_supplicant/wpa_supplicant-wlan0.conf").read_text("utf-8")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def snapshot(machine):
    """Every file of the machine and of the card, with mode and content."""
    found = {}
    for path in sorted([*machine.root.rglob("*"), *machine.boot.rglob("*")]):
        name = str(path.relative_to(machine.boot.parent))
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_file() and "/dev/" not in name:
            found[name] = (mode(path), path.read_bytes())
    return found


def test_the_whole_file_becomes_the_machines(machine):
    write(machine, WHOLE)
    assert start(machine) == 0
    root = machine.root
    node = machine.node.read_text("utf-8")
    assert mode(machine.node) == 0o640
    data = tomllib.loads(node)
    assert data.keys() == {"node", "people", "board", "room", "xmpp"}
    assert data["xmpp"] == {"jid": "greenhouse@example.org"}
    assert data["room"]["fleet@rooms.example.org"]["password"] == "open sesame, please"
    assert password(machine) == "correct horse battery"
    assert tomllib.loads(node)["people"] == {"anna@example.org": "owner"}
    assert (root / "etc/hostname").read_text("utf-8") == "green-house\n"
    assert str((root / "etc/localtime").readlink()) == "/usr/share/zoneinfo/Europe/Amsterdam"
    assert "NTP=ntp.example.org 192.0.2.1" in (root / "etc/systemd/timesyncd.conf.d/knoop.conf").read_text("utf-8")
    keys = root / "etc/ssh/knoop_authorized_keys"
    assert (keys.read_text("utf-8"), mode(keys)) == (f"{KEY}\n", 0o600)
    assert "dtoverlay=knoop-w1,gpiopin=4" in card(machine, "knoop-buses.txt")
    assert mode(root / "etc/wpa_supplicant/wpa_supplicant-wlan0.conf") == 0o600
    home, cafe = wifi.keys_in(wpa(machine)).items()
    assert home == (b"Home sweet home", wifi.key(b"Home sweet home", "hunter2hunter2"))
    assert cafe == ("Café".encode(), "0a" * 32)
    assert "country=NL" in wpa(machine)
    assert not errors(machine)


def test_the_nodes_file_has_the_owners_words_on_the_same_lines(machine):
    write(machine, WHOLE)
    start(machine)
    before, after = WHOLE.splitlines(), machine.node.read_text("utf-8").splitlines()
    assert after[: NODE.count("\n")] == NODE.splitlines()
    for line in ("[board]", 'buses = ["i2c", "w1:GPIO4"]', '[room."fleet@rooms.example.org"]'):
        assert after.index(line) == before.index(line)


def test_secrets_are_written_over_where_they_stood_and_nothing_else_is(machine):
    write(machine, WHOLE)
    inode = (machine.boot / "knoop.toml").stat().st_ino
    start(machine)
    text = card(machine)
    assert not [secret for secret in SECRETS if secret in text]
    assert (len(text.encode()), (machine.boot / "knoop.toml").stat().st_ino) == (len(WHOLE.encode()), inode)
    assert 'password = "(moved)       "       # the router\'s sticker says so' in text
    assert 'password = "(moved into the node)"' in text
    differ = [(old, new) for old, new in zip(WHOLE.splitlines(), text.splitlines(), strict=True) if old != new]
    assert len(differ) == len(SECRETS)
    assert all(old.startswith("password = ") for old, _ in differ)


def test_no_secret_stays_anywhere_but_where_it_belongs(machine):
    write(machine, WHOLE)
    start(machine)
    for path in machine.boot.parent.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            there = [secret for secret in SECRETS if secret.encode() in content]
            allowed = {
                "node.toml": ["open sesame, please"], "xmpp.password": ["correct horse battery"],
                "wpa_supplicant-wlan0.conf": ["0a" * 32],
            }.get(path.name, [])  # fmt: skip
            assert there == allowed, path


def test_a_card_that_did_not_change_is_not_read_again(machine, monkeypatch):
    write(machine, WHOLE)
    start(machine)
    before = snapshot(machine)
    monkeypatch.setattr(files, "put", None)  # nothing is written, so that nothing wears
    assert start(machine) == 0
    assert snapshot(machine) == before


def test_a_start_with_a_card_that_did_not_change_loads_next_to_nothing(machine):
    write(machine, WHOLE)
    start(machine)
    code = "import sys; from knoop.cli import main; main(sys.argv[1:]); print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code, "setup", "--boot", machine.boot, "--root", machine.root],
                           capture_output=True, text=True, check=True)  # fmt: skip
    assert not {"slixmpp", "yaml", "knoop.config", "knoop.setup.plan"} & {*ended.stdout.split()}
    assert "knoop.setup.command" in ended.stdout


def test_what_was_moved_is_as_it_is_when_something_else_is_changed(machine):
    write(machine, WHOLE)
    start(machine)
    keys = wpa(machine)
    edit(machine, '"green_house"', '"attic"')
    assert start(machine) == 0, errors(machine)
    assert (password(machine), wpa(machine)) == ("correct horse battery", keys)
    data = tomllib.loads(machine.node.read_text("utf-8"))
    assert data["node"]["name"] == "attic"
    assert data["room"]["fleet@rooms.example.org"]["password"] == "open sesame, please"
    assert tomllib.loads(machine.previous.read_text("utf-8"))["node"]["name"] == "green_house"
    assert mode(machine.previous) == 0o640


def test_a_new_wifi_key_is_the_same_file(machine):
    write(machine, WHOLE)
    start(machine)
    edit(machine, '"(moved)       "', '"another key, longer than that"')
    assert start(machine) == 0
    name = b"Home sweet home"
    assert wifi.keys_in(wpa(machine))[name] == wifi.key(name, "another key, longer than that")
    assert "another key" not in card(machine)
    assert password(machine) == "correct horse battery"


def test_a_new_password_of_the_account_is_the_same_file(machine):
    write(machine, WHOLE)
    start(machine)
    edit(machine, 'jid = "greenhouse@example.org"\npassword = "(moved into the node)"',
         'jid = "attic@example.org"\npassword = "s"')
    assert start(machine) == 0
    assert password(machine) == "s"
    assert 'password = "_"' in card(machine)
    assert start(machine) == 0
    edit(machine, "# Anna's", "# Our")
    assert start(machine) == 0
    assert password(machine) == "s"


@pytest.mark.parametrize(("old", "new", "line", "said"), [
    ('name = "green_house"', 'nme = "green_house"', 4, "node.nme: unknown key; did you mean 'name'?"),
    ('country = "NL"', 'contry = "NL"', 12, "wifi.contry: unknown key; did you mean 'country'?"),
    ('"hunter2hunter2"', '"short"', 11, "8 to 63 characters"),
    ('"Europe/Amsterdam"', '"Europe/Amsterdm"', 20, "did you mean 'Europe/Amsterdam'?"),
    ('jid = "greenhouse@example.org"', 'jid = "green house@example.org"', 24, "account.jid: "),
    ('"ntp.example.org"', '"ntp example org"', 21, "neither a name nor an address"),
    (KEY, "ssh-ed25519 nonsense", 28, "no public key"),
    (KEY, "-----BEGIN OPENSSH PRIVATE KEY-----", 28, "private key"),
    ('"w1:GPIO4"', '"w1:GPIO99"', 33, "board.buses"),
    ("[people]", "[peple]", 6, "did you mean 'people'?"),
    ('name = "green_house"', "name = green_house", 4, ""),
    ('zone = "Europe/Amsterdam"', 'zone = "Europe/Amsterdam', 20, ""),
])  # fmt: skip
def test_a_mistake_is_told_by_its_line_and_everything_stays_as_it_was(machine, old, new, line, said):
    write(machine, WHOLE)
    start(machine)
    before = snapshot(machine)
    write(machine, WHOLE.replace(old, new))
    assert start(machine) == 78
    told = errors(machine)
    assert f"knoop.toml:{line}: " in told
    assert said in told
    assert "goes on as it was before" in told
    after = snapshot(machine)
    assert {name for name in before | after if before.get(name) != after.get(name)} == {
        f"boot/{ERRORS}", "boot/knoop.toml",
    }  # fmt: skip
    write(machine, WHOLE)
    assert start(machine) == 0
    assert not errors(machine)


def test_mistakes_of_all_tables_are_told_at_once_in_words_for_any_editor(machine):
    write(machine, WHOLE.replace('country = "NL"', 'country = "nl"').replace("green_house", "Green House"))
    assert start(machine) == 78
    told = errors(machine)
    assert "There is no node yet." in told
    assert "knoop.toml:3: node: name" in told
    assert "knoop.toml:12: wifi.country: two capital letters" in told
    assert "\n" not in told.replace("\r\n", "")
    assert not machine.node.exists()
    assert not list(machine.node.parent.glob(".*"))
    for console in ("tty0", "ttyS0"):
        assert "knoop.toml:12: wifi.country" in (machine.root / "dev" / console).read_text("utf-8")


@pytest.mark.parametrize("spoiled", ["hunter2hunter2", "12345678", "'hunter2hunter2", 'hunter2"hunter2'])
def test_a_secret_without_its_quotes_is_not_shown(machine, capsys, spoiled):
    write(machine, WHOLE.replace('"hunter2hunter2"', spoiled))
    assert start(machine) == 78
    for said in (errors(machine), capsys.readouterr().out, (machine.root / "dev/tty0").read_text("utf-8")):
        assert "knoop.toml:11: " in said
        assert "hunter2" not in said
        assert "1234" not in said


def test_what_an_editor_of_windows_makes_of_it_is_taken(machine):
    write(machine, b"\xef\xbb\xbf" + WHOLE.replace("\n", "\r\n").encode())
    assert start(machine) == 0, errors(machine)
    text = (machine.boot / "knoop.toml").read_bytes()
    assert text.startswith(b"\xef\xbb\xbf# Anna's own remark\r\n")
    assert not [secret for secret in SECRETS if secret.encode() in text]
    assert (password(machine), len(text)) == ("correct horse battery", 3 + len(WHOLE.replace("\n", "\r\n").encode()))
    assert start(machine) == 0


@pytest.mark.parametrize("text", [
    """account = { jid = "a@example.org", password = "s3cret \\" \\\\ \\u00e9" }\n""",
    """account.jid = "a@example.org"\naccount.password = 's3cret " \\ é'\n""",
    """[account]   # mine\n"password" = "s3cret \\" \\\\ é"\n  'jid' = 'a@example.org'   # its address\n""",
])  # fmt: skip
def test_however_a_secret_is_written_it_is_wiped(machine, text):
    write(machine, f'{text}[node]\nname = "attic"\n')
    assert start(machine) == 0, errors(machine)
    assert password(machine) == 's3cret " \\ é'
    assert "s3cret" not in card(machine)
    assert len(card(machine).encode()) == len(f'{text}[node]\nname = "attic"\n'.encode())
    node = tomllib.loads(machine.node.read_text("utf-8"))
    assert node == {"node": {"name": "attic"}, "xmpp": {"jid": "a@example.org"}}
    edit(machine, '"attic"', '"loft"')
    assert start(machine) == 0, errors(machine)
    assert password(machine) == 's3cret " \\ é'


def test_networks_in_one_line_are_wiped_as_well(machine):
    write(machine, """[wifi]
network = [ { ssid = "A", password = "password-of-a" }, { password = 'password-of-b', ssid = "B" }, { ssid = "C" } ]
""")
    assert start(machine) == 0
    assert [*wifi.keys_in(wpa(machine))] == [b"A", b"B"]
    assert "password-of" not in card(machine)
    assert wpa(machine).count("key_mgmt=NONE") == 1
    edit(machine, '{ ssid = "C" }', '{ ssid = "D" }')
    before = wifi.keys_in(wpa(machine))
    assert start(machine) == 0
    assert wifi.keys_in(wpa(machine)) == before


def test_what_a_server_or_a_file_says_cannot_steer_a_screen(machine, capsys):
    machine.show("it says \x1b[2J\x07 so")
    machine.say("it says \x1b[2J\x07 so")
    for said in ((machine.root / "dev/tty0").read_text("utf-8"), capsys.readouterr().out):
        assert "so" in said
        assert "\x1b" not in said


def test_another_encoding_is_told(machine):
    write(machine, WHOLE.replace("Café", "Caf\xe9").encode("latin-1"))
    assert start(machine) == 78
    assert "knoop.toml:15: byte 0xe9 is not UTF-8" in errors(machine)


def test_an_example_that_nobody_filled_in_is_no_mistake_but_told(machine):
    write(machine, "# everything is an example\n#[node]\n")
    assert start(machine) == 0
    assert "names no node yet" in errors(machine)
    assert not machine.node.exists()


def test_without_a_card_everything_stays(machine):
    write(machine, WHOLE)
    start(machine)
    (machine.boot / "knoop.toml").unlink()
    before = snapshot(machine)
    assert start(machine) == 0
    assert snapshot(machine) == before


def test_a_new_card_without_the_file_says_so_to_whoever_holds_it(machine):
    write(machine, WHOLE, "knoop.toml.txt")
    assert start(machine) == 0
    assert "There is no file knoop.toml on this card" in errors(machine)
    (machine.boot / "knoop.toml.txt").rename(machine.boot / "knoop.toml")
    assert start(machine) == 0
    assert not errors(machine)


def test_a_card_that_cannot_be_swept_is_told_and_the_buses_are_switched_on(machine, monkeypatch):
    called = []

    def fails(_machine):
        raise OSError(5, "Input/output error")

    write(machine, WHOLE)
    with monkeypatch.context() as patched:
        patched.setattr(Machine, "call", lambda _self, *words: called.append(words[-1]))
        patched.setattr(Machine, "sweep", fails)
        for _ in range(2):  # where the card did not change as well
            assert start(machine) == 0
            assert f"written over: {machine.boot}: Input/output error." in errors(machine)
    assert called.count("reboot") == 1
    assert start(machine) == 0
    assert not errors(machine)


def test_what_the_file_no_longer_names_the_machine_no_longer_has(machine):
    write(machine, WHOLE)
    start(machine)
    text = card(machine)
    write(machine, text[: text.index("[wifi]")] + text[text.index("[account]") : text.index("[ssh]")])
    assert start(machine) == 0, errors(machine)
    there = {str(path.relative_to(machine.root / "etc")) for path in (machine.root / "etc").rglob("*")}
    gone = ("wlan0.conf", "authorized_keys", "timesyncd.conf.d/knoop.conf")
    assert not {name for name in there if name.endswith(gone)}
    assert str((machine.root / "etc/localtime").readlink()).endswith("Etc/UTC")


@pytest.mark.parametrize(("text", "line", "said"), [
    ('[account]\njid = "a@example.org"\n', 8, "the node does not know the password of a@example.org"),
    ('[xmpp]\njid = "a@example.org"\n', 9, "there is no password for a@example.org"),
    ('[account]\njid = "a@example.org"\npassword = "(moved into the node)"\n', 10, "write it here"),
    ('[account]\ninvite = "(moved into the node)  "\n', 9, "write an invite here again"),
    ('[account]\ninvite = "https://example.org/invite"\n', 9, "begins with xmpp:"),
    ('[account]\npassword = "x"\n', 8, "'jid' is missing"),
    ('[account]\njid = "a@example.org"\npassword = """x\ny"""\n', 10, "one line"),
    ('[account]\njid = "a@example.org"\npassword = "x"\n[xmpp]\njid = "a@example.org"\n', 12, "as well"),
    ('[account]\njid = "a@example.org"\npassword = "x"\n[wifi]\nssid = "X"\npassword = "(moved)"\n', 13, "know"),
])  # fmt: skip
def test_what_the_node_cannot_know_is_asked_for(machine, text, line, said):
    write(machine, f"{NODE}{text}")
    assert start(machine) == 78
    assert f"knoop.toml:{line}: " in errors(machine)
    assert said in errors(machine)


def test_the_account_goes_into_the_table_that_is_there(machine):
    text = f'{NODE}[account]\njid = "a@example.org"\npassword = "x"\n\n[xmpp]\nhost = "xmpp.example.org"\nport = 5222\n'
    write(machine, text)
    assert start(machine) == 0
    assert tomllib.loads(machine.node.read_text("utf-8"))["xmpp"] == {
        "jid": "a@example.org", "host": "xmpp.example.org", "port": 5222,
    }  # fmt: skip
    write(machine, text.replace("port = 5222", "prot = 5222"))
    assert start(machine) == 78
    assert "knoop.toml:14: xmpp.prot: unknown key; did you mean 'port'?" in errors(machine)


@pytest.mark.parametrize("account", ["", '[account]\njid = "a@example.org"\npassword = "x"\n'])
def test_a_password_in_a_file_is_refused_and_the_node_keeps_the_one_it_has(machine, account):
    """A credential goes before it, so it had no effect; and without that, a file that is not there ends the node."""
    write(machine, f'{NODE}[account]\njid = "a@example.org"\npassword = "of the former"\n')
    assert start(machine) == 0
    write(machine, f'{NODE}[xmpp]\npassword_file = "/etc/knoop/gone"\n{account}')
    assert start(machine) == 78
    assert "knoop.toml:9: xmpp.password_file: here the password stands in [account]" in errors(machine)
    assert password(machine) == "of the former"
    assert "password_file" not in machine.node.read_text("utf-8")


@pytest.mark.parametrize("name", ["knoop.toml", "user-data"])
def test_a_file_that_is_too_long_is_told(machine, name):
    """It passed for one that is not there: the node had nothing to say to whoever had put it there."""
    write(machine, NODE)
    write(machine, NODE.encode() + b"#" * LARGEST, name)
    before = snapshot(machine)
    assert start(machine) == 74
    said = errors(machine)
    assert f"{machine.boot / name}: it is no file of at most 1 MiB" in said
    assert before.items() <= snapshot(machine).items()


def test_a_buses_file_is_news_once(machine, monkeypatch):
    called = []
    monkeypatch.setattr(Machine, "call", lambda _self, *words: called.append(words[-1]))
    write(machine, WHOLE)
    start(machine)
    assert called.count("reboot") == 1
    edit(machine, "# Anna's", "# Our")
    start(machine)
    assert called.count("reboot") == 1
    edit(machine, '"w1:GPIO4"', '"w1:GPIO17"')
    start(machine)
    assert called.count("reboot") == 2


async def test_a_claims_picture_is_on_the_card_while_nobody_owns_the_node(machine):
    state = machine.root / "var/lib/knoop"
    state.mkdir(parents=True)
    (state / "claim.png").write_bytes(b"PNG")
    (state / "claim.txt").write_text("claim k3dh-9wza\n", "utf-8")
    seen = []

    class Looks:
        """Time that passes while somebody claims the node."""

        async def sleep(self, _for_s):
            seen.append((machine.boot / "claim.png").read_bytes())
            if len(seen) == 2:
                (state / "claim.png").write_bytes(b"PNG2")
            elif len(seen) == 4:
                (state / "claim.png").unlink()

    await claimed.keep(machine, clock=Looks())
    assert seen == [b"PNG", b"PNG", b"PNG2", b"PNG2"]
    assert (machine.root / "dev/ttyS0").read_text("utf-8").count("claim k3dh-9wza") == 1  # the second over the first
    assert not (machine.boot / "claim.png").exists()
    shown = argparse.Namespace(boot=machine.boot, root=machine.root, account=False, claim=True)
    assert await asyncio.to_thread(command.setup, shown) == 0


def test_a_picture_that_a_power_cut_left_goes_at_the_next_start(machine):
    (machine.boot / "claim.png").write_bytes(b"PNG")
    start(machine)
    assert not (machine.boot / "claim.png").exists()


def test_a_picture_that_cannot_go_keeps_no_card_from_being_taken_over(machine):
    (machine.boot / "claim.png").mkdir()
    write(machine, WHOLE)
    assert start(machine) == 0
    assert machine.node.exists()


# ── power cuts ────────────────────────────────────────────────────────────────────────────────────────────────────────


class PowerCut(BaseException):
    """The machine is off: nothing is written any more."""


class Power:
    """Goes off before the `at`-th thing that changes a disk; a write that is then under way is half done."""

    STEPS = ((os, "fsync"), (os, "pwrite"), (os, "fchmod"), (Path, "replace"), (Path, "unlink"), (Path, "symlink_to"),
             (Path, "mkdir"))  # fmt: skip

    def __init__(self, monkeypatch, at):
        self.left, self.off = at, False
        for owner, name in self.STEPS:
            monkeypatch.setattr(owner, name, self.step(getattr(owner, name), name))

    def step(self, real, name):
        def guarded(*arguments, **options):
            if self.off or self.left == 0:
                first, self.off = not self.off, True
                if first and name == "pwrite":
                    handle, content, offset = arguments
                    real(handle, content[: len(content) // 2], offset)
                raise PowerCut
            self.left -= 1
            return real(*arguments, **options)

        return guarded


def final(machine, text, before=None):
    """What it comes to without a cut."""
    if before:
        write(machine, before)
        assert start(machine) == 0
    write(machine, text)
    assert start(machine) == 0
    return snapshot(machine)


@pytest.mark.parametrize("before", [None, WHOLE.replace("green_house", "attic").replace("hunter2", "hunter3")],
                         ids=["first", "changed"])  # fmt: skip
def test_a_power_cut_at_any_moment_leaves_what_the_next_start_goes_on_from(machine, monkeypatch, before):
    whole = final(machine, WHOLE, before)
    for at in range(200):
        for folder in (machine.root / "etc", machine.root / "var", machine.boot):
            shutil.rmtree(folder, ignore_errors=True)
        machine.boot.mkdir()
        if before:
            write(machine, before)
            start(machine)
        write(machine, WHOLE)
        with monkeypatch.context() as patched:
            power = Power(patched, at)
            try:
                start(machine)
            except PowerCut:
                pass
        if machine.node.exists():  # never half of it
            tomllib.loads(machine.node.read_text("utf-8"))
        assert start(machine) == 0, (at, errors(machine))
        left = {name: it for name, it in snapshot(machine).items() if not Path(name).name.endswith(".new")}
        assert left == whole, at
        assert start(machine) == 0
        if not power.off:
            break
    assert 20 < at < 199


def test_a_card_that_was_changed_after_a_cut_is_read_as_it_is(machine, monkeypatch):
    """A wipe that was cut is gone on with only where nothing else was written since."""
    write(machine, WHOLE)
    real, handles = os.pwrite, []

    def cut(handle, content, offset):
        handles.append(handle)
        real(handle, content[: len(content) // 2], offset)
        raise PowerCut

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", cut)
        with pytest.raises(PowerCut):
            start(machine)
    assert handles
    write(machine, WHOLE.replace("correct horse battery", "nobody guesses this1").replace("Anna's", "Bram's"))
    assert start(machine) == 0
    assert password(machine) == "nobody guesses this1"
    assert "nobody" not in card(machine)


def test_a_mark_is_as_long_as_what_it_replaces_and_known_again():
    for length in range(1, 80):
        mark = moved.mark(length)
        assert len(mark) == length
        assert moved.was(mark.decode())
    for secret in ("hunter2hunter2", "(moved in)", "________", ""):
        assert not moved.was(secret)


# ── what else lies on the card ────────────────────────────────────────────────────────────────────────────────────────


def test_a_ca_on_the_card_goes_along(machine):
    text = f'{NODE}[account]\njid = "a@example.org"\npassword = "x"\n[xmpp]\nca_file = "home.pem"\n'
    write(machine, text)
    assert start(machine) == 78
    assert "knoop.toml:12: xmpp.ca_file" in errors(machine)
    made = Authority(machine.root).ca_file.read_bytes()
    write(machine, made, "home.pem")
    assert start(machine) == 0, errors(machine)
    assert machine.node.with_name("home.pem").read_bytes() == made
    write(machine, text.replace("home.pem", "../home.pem"))
    assert start(machine) == 78


@pytest.mark.parametrize("name", ["home.cer", "Home CA.PEM"])
def test_a_ca_is_found_whatever_a_computer_calls_it(machine, name):
    text = f'{NODE}[account]\njid = "a@example.org"\npassword = "x"\n[xmpp]\nca_file = "{name}"\n'
    write(machine, text)
    assert start(machine) == 78
    said = f"knoop.toml:12: xmpp.ca_file: {name} does not lie beside knoop.toml: copy the CA's certificate there, as "
    assert errors(machine).count("xmpp.ca_file") == errors(machine).count(said) == 1
    write(machine, b"none", name)
    assert start(machine) == 78
    assert not machine.node.with_name(name).exists(), "refused, it is not there the next time either"
    write(machine, Authority(machine.root).ca_file.read_bytes(), name)
    assert start(machine) == 0, errors(machine)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\n", b"\x30\x82\x01\x0a", b"<html>"])
def test_a_ca_that_is_none_is_told_and_the_node_goes_on_with_the_one_it_has(machine, content):
    text = f'{NODE}[account]\njid = "a@example.org"\npassword = "x"\n[xmpp]\nca_file = "home.crt"\n'
    write(machine, text)
    write(machine, content, "home.crt")
    assert start(machine) == 78
    assert "knoop.toml:12: xmpp.ca_file: is no CA certificate that can be read" in errors(machine)
    made = Authority(machine.root).ca_file.read_bytes()
    write(machine, made, "home.crt")
    assert start(machine) == 0, errors(machine)
    write(machine, content, "home.crt")
    assert start(machine) == 78
    assert machine.node.with_name("home.crt").read_bytes() == made


def test_a_file_that_names_an_owner_is_handed_on_to_whom_may_not_read_the_card(machine):
    asked = machine.root / "run/knoop-setup/knoop-claim.txt"
    assert ownership.BOOT[-1] == Path("/", asked.relative_to(machine.root))
    write(machine, "anna@example.org\n", "knoop-claim.txt")
    start(machine)
    assert asked.read_text("utf-8") == "anna@example.org\n"
    (machine.boot / "knoop-claim.txt").unlink()
    start(machine)
    assert not asked.exists()


def test_what_has_a_configuration_is_started_and_what_has_none_is_stopped(machine, monkeypatch):
    called = []
    monkeypatch.setattr(Machine, "call", lambda _self, *words: called.append(words[-2:]))
    wants = machine.root / "etc/systemd/system/multi-user.target.wants"
    write(machine, WHOLE)
    start(machine)
    assert {path.name: str(path.readlink()) for path in wants.iterdir()} == {
        "ssh.service": "/usr/lib/systemd/system/ssh.service",
        "wpa_supplicant@wlan0.service": "/usr/lib/systemd/system/wpa_supplicant@.service",
    }
    assert {("start", "ssh.service"), ("start", "wpa_supplicant@wlan0.service")} <= {*called}
    text = card(machine)
    write(machine, text[: text.index("[ssh]")])
    start(machine)
    assert ("stop", "ssh.service") in called
    assert [path.name for path in wants.iterdir()] == ["wpa_supplicant@wlan0.service"]


def test_a_disk_that_refuses_is_told_and_the_card_keeps_its_secrets(machine, monkeypatch):
    write(machine, WHOLE)

    def full(*_arguments):  # as a disk says it: without a name
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fchmod", full)
        assert start(machine) == 74
    assert f"taken over: {machine.root / 'etc/knoop/'}/.node.toml.card: No space left on device" in errors(machine)
    assert card(machine) == WHOLE
    assert start(machine) == 0
    assert not errors(machine)


def test_only_root_sets_up_this_machine(monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.main(["setup"]) == 74
    assert "only root" in capsys.readouterr().err


def test_another_system_is_left_alone(monkeypatch, capsys, tmp_path):
    """Raspberry Pi OS has Imager's files in the same place."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(common, "IMAGE", tmp_path / "none")
    assert cli.main(["setup", "--boot", str(tmp_path)]) == 74
    assert "not Knoop's own image" in capsys.readouterr().err


def test_a_wifis_key_is_that_of_the_standard():
    """IEEE 802.11-2020, annex J.4.2."""
    said = "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"
    assert wifi.key(b"IEEE", "password") == said
    assert wifi.key(b"IEEE", said.upper()) == said


def test_the_example_on_the_card_names_nothing_and_all_that_it_offers_is_right(machine):
    example = (Path(__file__).parents[3] / "firmware/files/boot/knoop.toml").read_text("utf-8")
    assert tomllib.loads(example) == {}
    offers = re.sub(r"^#(?=[\[\"\w])", "", example, flags=re.MULTILINE).replace("ssh-ed25519 AAAA... anna@laptop", KEY)
    write(machine, offers)
    assert start(machine) == 0, errors(machine)
    assert tomllib.loads(offers).keys() >= {"wifi", "node", "account", "people", "board", "time", "ssh"}
    invited = re.sub(r'^(jid|password) = "(greenhouse@|the acc).*\n', "", offers, flags=re.MULTILINE)
    invited = invited.replace("# invite = ", "invite = ")
    write(machine, invited)
    assert start(machine) == 0, errors(machine)
    assert machine.pending.exists()


@pytest.mark.parametrize("page", ["flash.md", "configuration.md"])
def test_what_pages_show_of_the_cards_file_is_right(machine, page):
    text = (Path(__file__).parents[3] / "docs" / page).read_text("utf-8")
    shown = re.findall(r"^```toml\n(# knoop\.toml\n.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert shown
    for one in shown:
        read = read_card(one.encode())
        assert not read.problems
        if "[node]" in one:
            write(machine, one)
            assert start(machine) == 0, errors(machine)


@pytest.mark.parametrize("text", [
    'account = "correct horse battery"\n', 'wifi = ["correct horse battery"]\n',
    '[account]\njid = "a@example.org"\npassword = [\n  "correct horse battery"\n]\n',
    '[room]\nfleet = "correct horse battery"\n', 'wifi.network = [ "correct horse battery" ]\n',
    f'[people]\npassword = "correct horse battery {"0a" * 20}"\n',
])  # fmt: skip
def test_a_secret_in_the_wrong_place_is_not_shown(machine, capsys, text):
    write(machine, f'{text}[node]\nname = "attic"\n')
    assert start(machine) == 78
    for said in (errors(machine), capsys.readouterr().out, (machine.root / "dev/tty0").read_text("utf-8")):
        assert "horse" not in said
    assert re.search(r"knoop\.toml:\d+: .*(expected|not one of)", errors(machine))


@pytest.mark.parametrize(("there", "kept"), [
    ('xmpp = { host = "h.example.org", port = 5222 }\n', {"host": "h.example.org", "port": 5222}),
    ('xmpp.host = "h.example.org"\nxmpp.port = 5222\n', {"host": "h.example.org", "port": 5222}),
    ("xmpp = {}\n", {}),
])  # fmt: skip
@pytest.mark.parametrize("node", ['node = { lang = "nl" }\n', 'node.lang = "nl"\n'])
def test_the_address_and_the_name_go_into_tables_however_they_are_written(machine, there, kept, node):
    write(machine, '[system]\nhostname = "greenhouse"\n', "rpi-preseed.toml")
    account = 'account = { jid = "a@example.org", password = "x" }\n'
    write(machine, f"{there}{account}{node}# the end\n")
    assert start(machine) == 0, errors(machine)
    made = tomllib.loads(machine.node.read_text("utf-8"))
    assert made == {"xmpp": {"jid": "a@example.org", **kept}, "node": {"name": "greenhouse", "lang": "nl"}}
    write(machine, f"{there}{account}{node}nme = 1\n")
    assert start(machine) == 78
    line = f"{there}{account}{node}".count("\n") + 1
    assert f"knoop.toml:{line}: " in errors(machine)


def test_what_is_no_table_is_told(machine):
    write(machine, '[system]\nhostname = "greenhouse"\n', "rpi-preseed.toml")
    write(machine, 'node = 5\nxmpp = "x"\n[account]\njid = "a@example.org"\npassword = "x"\n')
    assert start(machine) == 78
    assert "knoop.toml:1: node: expected a table" in errors(machine)
    assert "knoop.toml:2: xmpp: expected a table" in errors(machine)


def test_without_an_account_or_a_name_that_is_what_is_told(machine):
    write(machine, NODE)
    assert start(machine) == 78
    assert "account: is missing: the node's own account" in errors(machine)
    assert "xmpp" not in errors(machine)
    write(machine, '[account]\ninvite = "xmpp:example.org?register;preauth=t0k3n"\n')
    assert start(machine) == 78
    assert "knoop.toml: node: 'name' is missing" in errors(machine)
    assert "account.jid" not in errors(machine)


def test_a_card_that_only_says_how_to_reach_it_is_no_mistake_where_there_is_a_node(machine):
    write(machine, WHOLE)
    start(machine)
    node = machine.node.read_text("utf-8")
    write(machine, '[wifi]\nssid = "Home sweet home"\npassword = "another one"\n')
    assert start(machine) == 0
    assert not errors(machine)
    assert machine.node.read_text("utf-8") == node


def a_console(machine):
    """One that somebody stopped: as full as it can be."""
    ours, theirs = os.openpty()
    (machine.root / "dev/tty0").unlink()
    (machine.root / "dev/tty0").symlink_to(os.ttyname(theirs))
    os.set_blocking(theirs, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(theirs, b"x" * 1000)
    os.set_blocking(theirs, True)
    return ours, theirs


def test_a_console_that_takes_nothing_holds_up_no_start(machine, monkeypatch):
    monkeypatch.setattr("knoop.setup.machine.SHOWN_S", 0.01)
    stopped = a_console(machine)
    try:
        write(machine, "[nde]\n")
        assert start(machine) == 78
    finally:
        for handle in stopped:
            os.close(handle)
    assert "did you mean 'node'?" in errors(machine)
    assert "did you mean 'node'?" in (machine.root / "dev/ttyS0").read_text("utf-8")


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "folder", "huge"])
async def test_a_half_that_was_taken_over_has_root_read_nothing_else(machine, kind):
    state, secret = machine.root / "var/lib/knoop", machine.root / "secret"
    state.mkdir(parents=True)
    secret.write_bytes(b"secret")
    (state / "claim.txt").symlink_to(secret)
    for name in ("claim.png", "claim.txt"):
        file = state / name
        file.unlink(missing_ok=True)
        if kind == "link":
            file.symlink_to(secret)
        elif kind == "hard link":
            file.hardlink_to(secret)
        elif kind == "pipe":
            os.mkfifo(file)
        elif kind == "folder":
            file.mkdir()
        else:
            with file.open("wb") as sparse:
                sparse.truncate(2**40)
    await claimed.keep(machine, clock=SystemClock())
    start(machine)
    assert not (machine.boot / "claim.png").exists()
    assert "secret" not in (machine.root / "dev/tty0").read_text("utf-8")


async def test_a_claim_is_on_the_screen_where_the_card_takes_nothing(machine):
    state = machine.root / "var/lib/knoop"
    state.mkdir(parents=True)
    (state / "claim.png").write_bytes(b"PNG")
    (state / "claim.txt").write_text("claim k3dh-9wza\n", "utf-8")
    (machine.boot / "claim.png").mkdir()

    class Looks:
        async def sleep(self, _for_s):
            (state / "claim.png").unlink()
            (machine.boot / "claim.png").rmdir()

    await claimed.keep(machine, clock=Looks())
    assert "claim k3dh-9wza" in (machine.root / "dev/tty0").read_text("utf-8")


def test_a_program_that_hangs_or_is_not_there_ends_nothing(monkeypatch, capsys):
    monkeypatch.setattr("knoop.setup.machine.PATIENCE_S", 0.01)
    assert not Machine().call("/bin/sleep", "60")
    assert not Machine().call("/nowhere/systemctl")
    assert capsys.readouterr().out.count("/") >= 2


@pytest.mark.parametrize("said", [
    "[1]", "{}", '{"spans": [["a", 1]], "rest": ""}', '{"spans": 1}', "{", "[" * 100_000,
    '{"spans": [[9, 1]], "rest": ""}', '{"spans": [[0, 1000000000000000]], "rest": ""}', '{"spans": [[-5, 2]]}',
])  # fmt: skip
def test_a_damaged_word_about_a_wipe_keeps_no_card_from_being_read(machine, said):
    machine.put(machine.state / "wiping-knoop.toml", said, mode=0o600)
    write(machine, WHOLE)
    assert start(machine) == 0
    assert password(machine) == "correct horse battery"


def test_a_certificate_that_was_renewed_is_news(machine):
    write(machine, f'{NODE}[account]\njid = "a@example.org"\npassword = "x"\n[xmpp]\nca_file = "home.pem"\n')
    write(machine, Authority(machine.root).ca_file.read_bytes(), "home.pem")
    assert start(machine) == 0
    another = Authority(machine.root).ca_file.read_bytes()
    write(machine, another, "home.pem")
    assert start(machine) == 0
    assert machine.node.with_name("home.pem").read_bytes() == another


def test_a_mistake_of_ours_is_told_on_the_card_too(machine, monkeypatch):
    write(machine, WHOLE)
    monkeypatch.setattr(wifi, "key", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        start(machine)
    assert "a mistake of Knoop's" in errors(machine)
    assert card(machine) == WHOLE


INVITED = f'{NODE}[account]\ninvite = "xmpp:example.org?register;preauth=t0k3n"\n'


@pytest.mark.parametrize("said", [
    "", "{", "[1]", "{}", '{"invite": "xmpp:example.org?register;preauth=t0k3n"}', '{"password": "secret"}',
    '{"invite": 1, "password": "secret"}', '{"invite": "xmpp:example.org?register;preauth=t", "password": ["s"]}',
    '{"invite": "xmpp:example.org?register;preauth=t", "password": ""}', '{"invite": "nonsense", "password": "s"}',
    '{"invite": "xmpp:example.org?register;preauth=t", "password": "\\ud800"}',
])  # fmt: skip
def test_an_invite_that_is_gone_or_damaged_is_asked_for_again_and_the_same_one_will_do(machine, said):
    write(machine, INVITED)
    assert start(machine) == 0
    record = machine.state / account.RECORD
    record.write_text(said, "utf-8")
    with pytest.raises(StoreError, match=r"account\.json: is gone or damaged; write an invite into knoop\.toml again"):
        account.make(machine)
    assert "the invite that was kept is gone" in errors(machine)
    write(machine, INVITED)
    assert start(machine) == 0
    kept = json.loads(record.read_text("utf-8"))
    assert kept["invite"] == "xmpp:example.org?register;preauth=t0k3n"
    assert len(kept["password"]) > 20
    assert not errors(machine)


@pytest.mark.parametrize("spoiled", ["xmpp = 5\n", "[xmpp]\njid = 5\n", "xmpp = [ 1 ]\n", "\0\0\0", "", "xmpp = "])
@pytest.mark.parametrize("of", ["node", "pending"])
def test_a_configuration_that_somebody_spoiled_keeps_no_card_from_being_taken_over(machine, spoiled, of):
    write(machine, INVITED if of == "pending" else WHOLE)
    assert start(machine) == 0
    getattr(machine, of).write_text(spoiled, "utf-8")
    edit(machine, "# Anna's", "# Our")
    assert start(machine) == 78
    assert "the node does not know" in errors(machine)
    write(machine, WHOLE)
    assert start(machine) == 0
    assert password(machine) == "correct horse battery"


def test_a_wifis_file_that_somebody_spoiled_is_asked_for_what_it_has(machine):
    write(machine, WHOLE)
    assert start(machine) == 0
    conf = machine.root / "etc/wpa_supplicant/wpa_supplicant-wlan0.conf"
    conf.write_text(wpa(machine).replace(f"ssid={b'Home sweet home'.hex()}", "ssid=abc"), "utf-8")
    edit(machine, "# Anna's", "# Our")
    assert start(machine) == 78
    assert "the node does not know the password of “Home sweet home”" in errors(machine)


def test_what_is_there_as_it_should_be_but_for_everybody_to_read_is_narrowed(machine):
    write(machine, WHOLE)
    assert start(machine) == 0
    conf = machine.root / "etc/wpa_supplicant/wpa_supplicant-wlan0.conf"
    conf.chmod(0o644)
    machine.node.chmod(0o644)
    edit(machine, "# Anna's", "# Our")
    edit(machine, "# Our", "# Anna's")
    write(machine, card(machine) + "# and no more\n")
    assert start(machine) == 0
    assert (mode(conf), mode(machine.node)) == (0o600, 0o640)


def test_another_machines_folder_wants_another_machines_card(machine, capsys):
    """Else this machine's own card would be taken over into a folder, and its secrets written over."""
    with pytest.raises(SystemExit, match=r"^2$"):
        cli.main(["setup", "--root", str(machine.root)])
    assert "--boot" in capsys.readouterr().err


def test_an_account_that_cannot_be_kept_is_told_on_the_card(machine, monkeypatch):
    write(machine, INVITED)
    assert start(machine) == 0

    async def made(*_arguments, **_options):
        pass

    def full(*_arguments, **_options):
        raise OSError(28, "No space left on device", "/etc/credstore/xmpp.password")

    monkeypatch.setattr(register, "register", made)
    with monkeypatch.context() as patched:
        patched.setattr(credential, "store", full)
        with pytest.raises(OSError, match="No space left"):
            account.make(machine)
    assert "/etc/credstore/xmpp.password: No space left on device" in errors(machine)
    assert account.make(machine) == 0
    assert not errors(machine)
    assert tomllib.loads(machine.node.read_text("utf-8"))["xmpp"] == {"jid": "green_house@example.org"}


def test_a_configuration_that_waits_and_is_no_good_any_more_is_told_on_the_card(machine):
    write(machine, INVITED)
    assert start(machine) == 0
    machine.pending.write_text("[node]\nnme = 1\n", "utf-8")
    with pytest.raises(ConfigError):
        account.make(machine)
    assert "node.nme: unknown key" in errors(machine)
