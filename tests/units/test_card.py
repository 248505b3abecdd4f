"""The card's file under a real systemd: taken over before anything that goes by it starts, in the same boot."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.units import knoop
from tests.units.nspawn import Container

FILES = Path(__file__).parents[2] / "firmware" / "files"
UNITS = "usr/lib/systemd/system"
OURS = ("knoop-setup.service", "knoop-account.service", "knoop-claim.service", "knoop-claim.path")
CHANGED = "usr/lib/knoop-image/card-changed"
CARD = "/boot/firmware/knoop.toml"
ERRORS = "/boot/firmware/knoop-errors.txt"
SECRET = "correct horse battery"
WHOLE = f"""\
[node]
name = "greenhouse"

[account]
jid = "greenhouse@localhost"
password = "{SECRET}"

[xmpp]
host = "127.0.0.1"
port = 9

[wifi]
ssid = "Home"
password = "hunter2hunter2"

[board]
driver = "simulated"

[input.door]
pin = "GPIO17"
"""
COPY = "/usr/lib/knoop-copy"  # what is shown inside is not there any more after a soft reboot
# The network itself, which no container has: what it would start is asked what it would have found.
RADIO = """\
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/bin/grep -q psk= /etc/wpa_supplicant/wpa_supplicant-%i.conf
"""


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """As the image has it. (A soft reboot is a start of everything but the kernel.)"""
    made = knoop.container("trixie", tmp_path_factory.mktemp("card"))
    for unit in OURS:
        made.prepare(f"/{UNITS}/{unit}", (FILES / UNITS / unit).read_text("utf-8"))
    made.prepare(f"/{CHANGED}", (FILES / CHANGED).read_bytes(), mode=0o755)
    made.prepare(f"/{UNITS}/wpa_supplicant@.service", RADIO)
    made.prepare("/usr/share/knoop-image/unlisted", "")
    for name, module in (("knoop", "knoop.cli"), ("knoop-hw", "knoop_hw.cli")):
        program = knoop.PROGRAM.format(module=module).replace("/usr/lib/knoop/", f"{COPY}/")
        made.prepare(f"/usr/bin/{name}", program, mode=0o755)
    with made:
        made.run("cp", "-a", "/usr/lib/knoop", COPY)
        knoop.install(made)
        made.run("systemctl", "enable", "--quiet", *(unit for unit in OURS if unit != "knoop-claim.service"))
        yield made


def boot(debian: Container) -> None:
    """Start anew, and wait until everything is there."""

    def asked(*words: str) -> str:
        try:
            return debian.run("systemctl", *words, check=False, within_s=3).out.strip()
        except subprocess.TimeoutExpired:  # asked of one that was about to go
            return ""

    begun = int(asked("show", "--property=SoftRebootsCount", "--value"))
    asked("soft-reboot")
    debian.until(lambda: asked("show", "--property=SoftRebootsCount", "--value") == str(begun + 1), "it starts anew")
    debian.until(lambda: asked("is-system-running") in {"running", "degraded"}, lambda: asked("list-jobs"))


def test_a_card_is_a_node_in_the_same_start(debian):
    debian.write(CARD, WHOLE)
    boot(debian)
    assert debian.show("knoop-setup.service", "Result") == {"Result": "success"}, debian.journal("knoop-setup.service")
    assert debian.state("knoop-board.socket") == "active"
    debian.until(lambda: debian.state("knoop-hw.service") == "active", "the hardware half")
    debian.until(lambda: debian.state("knoop.service") == "active", "the network half")
    assert debian.show("wpa_supplicant@wlan0.service", "Result", "ActiveState") == {
        "Result": "success", "ActiveState": "active",
    }  # fmt: skip
    assert debian.run("hostname").out.strip() == "greenhouse"
    assert SECRET not in debian.read(CARD)
    assert debian.run("stat", "--format=%a %U:%G", "/etc/knoop/node.toml").out.strip() == "640 root:knoop"
    assert SECRET not in debian.journal()
    debian.until(lambda: "127.0.0.1" in debian.journal("knoop.service"), "it tries to log in")


def test_no_unit_waits_for_itself(debian):
    assert "ordering cycle" not in debian.journal().lower()


def test_its_claim_comes_onto_the_card(debian):
    debian.until(lambda: debian.exists("/boot/firmware/claim.png"), "claim.png")
    debian.run("rm", "/var/lib/knoop/claim.png")
    debian.until(lambda: not debian.exists("/boot/firmware/claim.png"), "claim.png goes")


def test_a_mistake_leaves_the_node_as_it_was(debian):
    before = debian.read("/etc/knoop/node.toml")
    debian.write(CARD, debian.read(CARD).replace("ssid =", "sid ="))
    boot(debian)
    assert debian.show("knoop-setup.service", "ExecMainStatus") == {"ExecMainStatus": "78"}
    assert "did you mean 'ssid'?" in debian.read(ERRORS)
    assert debian.read("/etc/knoop/node.toml") == before
    debian.until(lambda: debian.state("knoop.service") == "active", "the network half")
    debian.write(CARD, debian.read(CARD).replace("sid =", "ssid ="))
    boot(debian)
    assert not debian.exists(ERRORS)


def test_an_invite_waits_for_the_server_and_the_node_goes_on(debian):
    text = debian.read(CARD)
    former = text[text.index("jid ="):text.index("[xmpp]")]
    debian.write(CARD, text.replace(former, 'invite = "xmpp:localhost?register;preauth=t0k3n"\n\n'))
    boot(debian)
    debian.until(lambda: debian.show("knoop-account.service", "NRestarts")["NRestarts"] != "0", "it is tried again")
    assert debian.exists("/etc/knoop/node.toml.pending")
    assert "t0k3n" not in debian.read(CARD) + debian.journal()
    assert debian.state("knoop.service") == "active"
