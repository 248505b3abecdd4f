"""A card on which Raspberry Pi Imager left its customisation, and who gets into its machine then, from outside.

`knoop.toml` has only what Imager does not ask for: an invite, the owner, and a bus, which takes a restart before the
account is made. The tests follow one another.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from tests.image.bootloader import onewire_line
from tests.image.card import Card
from tests.image.lan import ADDRESSES, GUEST, Lan
from tests.image.machine import Board
from tests.image.people import OWNER, Person, fresh, knoop_toml, person
from tests.integration.invites import invite
from tests.node.setup.test_imager import KEY, NETWORK, PSK, SSID, USER

from knoop.setup import plan, wifi
from knoop_bench.witness import Witness

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME, HASH = "garden-shed", "$y$j9T$salt$hashhashhash"
META = "instance-id: rpi-imager-1790000000000\n"
# What Imager adds to the kernel's command line beside `user-data`.
WORDS = " cfg80211.ieee80211_regdom=NL ds=nocloud;i=rpi-imager-1790000000000"
WPA = f"/{plan.WPA}"
SSH_S = 120.0
BUSES = '[board]\nbuses = ["w1:GPIO17"]\n'
LINE = 17
NEEDED = {"68", "546", "5353"}  # UDP: DHCP's two and mDNS


@dataclass(slots=True, kw_only=True)
class Home:
    """The card, its computer with a cable to this machine, an owner with a key, and what the invite was."""

    card: Card
    board: Board
    lan: Lan
    folder: Path
    token: str
    owner: Person

    async def ssh(self, *command: str, key: str = "owner") -> subprocess.CompletedProcess[str]:
        """Log in as root and run this there. What is refused is not tried again: sshd soon ignores who fails."""
        return await self.lan.run("ssh", *self._options(key), f"root@{GUEST}", *command, within_s=SSH_S)

    async def scp(self, source: str, target: str) -> None:
        """Copy a file; one over there begins with a colon."""
        there = [f"root@{GUEST}{name}" if name.startswith(":") else name for name in (source, target)]
        done = await self.lan.run("scp", *self._options("owner"), *there, within_s=SSH_S)
        assert done.returncode == 0, done.stderr

    def _options(self, key: str) -> list[str]:
        options = [
            "BatchMode=yes", "IdentitiesOnly=yes", "IdentityAgent=none", "StrictHostKeyChecking=accept-new",
            f"UserKnownHostsFile={self.folder / 'known'}", f"IdentityFile={self.folder / key}",
        ]  # fmt: skip
        return ["-F", "none", *(word for option in options for word in ("-o", option))]


def new_key(folder: Path, name: str) -> str:
    """A key's public half; it lies in the folder under this name."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)], check=True)
    return (folder / f"{name}.pub").read_text("utf-8").strip()


def customise(card: Card, key: str) -> None:
    """Do to a card what Imager does when it was told of a Wi-Fi, a name, a time zone, a user and an ssh key."""
    for name, text in {
        "user-data": USER.replace("greenhouse", NAME).replace(KEY, key), "network-config": NETWORK, "meta-data": META,
        "cmdline.txt": card.text("cmdline.txt").rstrip("\n") + WORDS + "\n",
    }.items():  # fmt: skip
        card.write(name, text)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def home(flash, server, tmp_path_factory) -> AsyncIterator[Home]:
    card, folder, user, link = flash(), tmp_path_factory.mktemp("imager"), fresh(), await invite(server)
    own = {"jid": server.jid(user), "invite": link}
    customise(card, new_key(folder, "owner"))
    new_key(folder, "stranger")
    card.write("knoop.toml", knoop_toml(server, own, name="", people={server.jid(OWNER): "owner"}, more=BUSES))
    assert onewire_line(card, folder / "before") is None
    async with AsyncExitStack() as stack:
        lan = stack.enter_context(Lan())
        board = stack.enter_context(Board(card, folder / "board", lan=lan))
        owner = await stack.enter_async_context(person(server, board, own["jid"]))
        token = link.partition("preauth=")[2].partition(";")[0]
        assert token
        yield Home(card=card, board=board, lan=lan, folder=folder, token=token, owner=owner)
    card.remove()


async def test_the_invite_becomes_an_account_and_the_node_is_there(home, report):
    await home.owner.sees()
    report("from power-on to online, with an invite", f"{time.monotonic() - home.board.began_s:.0f} s")
    assert "Greenhouse" in await home.owner.asks("status")


async def test_the_bus_is_in_the_device_tree_after_one_restart(home):
    assert home.board.starts == 2
    assert onewire_line(home.card, home.folder / "after") == LINE


async def test_the_secrets_leave_the_card(home):
    """The Wi-Fi's key is in the machine; of the password of Imager's user nothing is anywhere."""
    secrets = [secret.encode() for secret in (PSK, HASH, home.token)]

    def gone() -> bool:
        there = home.card.fat()
        return not any(secret in there for secret in secrets)

    await home.board.until(gone, "the secrets leave the FAT partition")
    assert NAME in home.card.text("user-data")
    assert home.card.holds(HASH.encode()) == []


async def test_whoever_has_the_key_finds_what_imager_was_told(home):
    await home.board.says("Started ssh.service")
    asked = f"hostname; timedatectl show --property Timezone --value; stat --format '%a %U' {WPA}; cat {WPA}"
    done = await home.ssh(asked)
    assert done.returncode == 0, done.stderr
    name, zone, mode, *conf = done.stdout.splitlines()
    assert (name, zone, mode) == (NAME, "Europe/Amsterdam", "600 root")
    assert wifi.keys_in("\n".join([*conf, ""])) == {SSID: PSK}
    assert {"country=NL", "\tscan_ssid=1"} <= set(conf)


async def test_its_name_is_known_in_the_house(home):
    assert await home.lan.finds(f"{NAME}.local")


async def test_inside_nothing_else_listens_either(home):
    done = await home.ssh("ss --no-header --listening --numeric --tcp --udp")
    assert done.returncode == 0, done.stderr
    sockets = [line.split() for line in done.stdout.splitlines()]
    ports = {(words[0], words[4].rpartition(":")[2]) for words in sockets}
    assert {port for kind, port in ports if kind == "tcp"} == {"22"}
    assert "5353" in {port for kind, port in ports if kind == "udp"} <= NEEDED


async def test_nobody_else_gets_in_and_no_password_is_asked_for(home):
    done = await home.ssh("true", key="stranger")
    assert done.returncode == 255
    assert "Permission denied (publickey)." in done.stderr


@pytest.mark.parametrize("address", ADDRESSES)
async def test_of_all_ports_that_one_is_open(home, address, report):
    began_s = time.monotonic()
    assert await home.lan.open_ports(address) == {22}
    report(f"all TCP ports of {address}", f"{time.monotonic() - began_s:.0f} s")


async def test_a_radio_that_comes_late_is_joined_and_was_not_waited_for(home):
    """There was none at the start, as on boards whose radio lacks its firmware: those have a cable."""
    device = "sys-subsystem-net-devices-wlan0.device"
    await home.board.says(f"Timed out waiting for device {device}")
    done = await home.ssh(
        f"systemctl show --property JobRunningTimeoutUSec --value {device}; "
        "modprobe dummy numdummies=0; ip link add wlan0 type dummy"
    )
    assert (done.returncode, done.stdout) == (0, "5s\n"), done.stderr
    await home.board.says("Started wpa_supplicant@wlan0.service", within_s=SSH_S)


async def test_the_password_that_came_of_the_invite_can_be_had_for_another_card(home, server):
    done = await home.ssh("systemd-creds decrypt /etc/credstore.encrypted/xmpp.password -")
    assert done.returncode == 0, done.stderr
    async with Witness(home.owner.node, done.stdout.strip(), port=server.tls_port, ca_file=server.ca_file):
        pass  # it is let in


async def test_what_a_node_keeps_goes_out_and_in_again(home):
    """As docs/flash.md has it; here it comes back to the same card."""
    after, file, copy = home.owner.client.mark, "/var/tmp/old.tar.gz", str(home.folder / "greenhouse.tar.gz")
    out = await home.ssh(f"knoop export {file}")
    assert (out.returncode, out.stdout.count("Not in it: ")) == (1, 1), out.stdout + out.stderr
    assert "Not in it: the account's password" in out.stdout
    await home.scp(f":{file}", copy)
    done = await home.ssh(f"rm {file}")
    assert done.returncode == 0, done.stderr
    await home.scp(copy, f":{file}")
    done = await home.ssh(
        f"systemctl stop knoop knoop-hw; knoop import --force {file}; rm {file}; systemctl start knoop-hw knoop"
    )
    assert (done.returncode, ", as it was " in done.stdout) == (0, True), done.stdout + done.stderr
    await home.board.until(lambda: any(map(home.owner.present, home.owner.client.seen[after:])), "online again")
    assert "Greenhouse" in await home.owner.asks("status")
