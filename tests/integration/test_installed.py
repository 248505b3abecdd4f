"""The service's node, set up by root: whose its files are, where its password is, and what other commands leave of it.

Root has an /etc and a /var/lib of its own for it (mount namespaces), with the users and folders of the package.
"""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.integration.running import BOUND_S, KNOOP, Ended, knoop

pytestmark = [
    pytest.mark.prosody,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else"),
]

AGENT, BOARD, USER = 7701, 7702, 7703
MACHINE = f"""
mount -t tmpfs machine "$0"
for place in etc var/lib; do
    mkdir -p "$0/$place" "$0/behind/$place"
    mount -t overlay -o "lowerdir=/$place,upperdir=$0/$place,workdir=$0/behind/$place" machine "/$place"
done
for user in knoop:{AGENT} knoop-hw:{BOARD} anna:{USER}; do
    echo "${{user%:*}}:x:${{user#*:}}:${{user#*:}}::/:/usr/sbin/nologin" >> /etc/passwd
    echo "${{user%:*}}:x:${{user#*:}}:" >> /etc/group
done
mkdir -m 750 /etc/knoop
chgrp {AGENT} /etc/knoop
echo there
exec cat
"""

METER = """
[sensor.meter]
driver = "p1"
device = "/dev/ttyUSB0"
protocol = "luxembourg"
key_file = "meter.key"
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """One with the package and without a node. `folder` is what all of them see."""

    pid: int
    folder: Path

    def at(self, place: str) -> Path:
        """What there is at this absolute place."""
        return Path(f"/proc/{self.pid}/root{place}")

    def owned(self, place: str) -> tuple[int, int, int]:
        """Its user, its group and its mode."""
        found = self.at(place).stat()
        return found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)

    async def knoop(self, *arguments: object, user: int = 0) -> Ended:
        """Run a command there."""
        inside = ("nsenter", "-t", str(self.pid), "-m")
        become = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups") if user else ()
        return await knoop(*arguments, folder=self.folder, program=(*inside, *become, *KNOOP))


@asynccontextmanager
async def machine(folder: Path, name: str) -> AsyncIterator[Machine]:
    (folder / name).mkdir()
    process = await asyncio.create_subprocess_exec(
        "unshare", "-m", "/bin/sh", "-e", "-c", MACHINE, folder / name,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), BOUND_S) == b"there\n"
        yield Machine(process.pid, folder)
    finally:
        process.kill()
        await process.wait()


@pytest.fixture
def device(account, tmp_path):
    """The account of a node, with its password in a file."""
    tmp_path.chmod(0o755)
    made = account("greenhouse")
    (tmp_path / "secret").write_text(f"{made.password}\n", "utf-8")
    (tmp_path / "secret").chmod(0o600)
    return made


@pytest.fixture
def answers(prosody, device, tmp_path):
    """All that `knoop init` asks."""
    return ("--yes", "--claim", "--name", "greenhouse", "--publish", "off", "--jid", device.jid, "--password-file",
            tmp_path / "secret", "--host", "127.0.0.1", "--port", prosody.tls_port, "--ca-file", prosody.ca_file)


async def test_what_root_sets_up_is_the_services(device, answers, tmp_path):
    async with machine(tmp_path, "card") as card:
        refused = await card.knoop("init", "--yes", "--config", "/etc/knoop/node.toml", user=USER)
        refused.plainly(74, "root sets up: sudo knoop init")
        done = await card.knoop("init", *answers)
        done.plainly(0, "Wrote /etc/knoop/node.toml", "/etc/credstore.encrypted/xmpp.password",
                     "only root can read the password", "sudo systemctl enable --now knoop-hw knoop", "claim ",
                     "ok      login", "ok      state         /var/lib/knoop ")  # fmt: skip
        assert device.password not in done.said
        assert card.owned("/etc/knoop/node.toml") == (0, AGENT, 0o640)
        assert card.owned("/etc/knoop/ca.pem") == (0, AGENT, 0o640)
        assert card.owned("/etc/credstore.encrypted") == (0, 0, 0o700)
        assert card.owned("/etc/credstore.encrypted/xmpp.password") == (0, 0, 0o600)
        kept = [file for file in card.at("/etc/knoop").iterdir() if device.password in file.read_text("utf-8")]
        assert kept == [], "no password beside it"
        assert card.owned("/var/lib/knoop") == (AGENT, AGENT, 0o700)
        for name in ("state.db", "claim.txt", "claim.png"):
            assert card.owned(f"/var/lib/knoop/{name}") == (AGENT, AGENT, 0o600)
        again = await card.knoop("init", *answers)
        again.plainly(1, "/etc/knoop/node.toml is there already")
        forced = await card.knoop("init", *answers, "--force", "--no-doctor")
        forced.plainly(0, "Kept /etc/knoop/node.toml.old", "sudo systemctl restart knoop-hw knoop")


async def test_commands_beside_the_service(device, answers, tmp_path):
    async with machine(tmp_path, "card") as card:
        (await card.knoop("init", *answers, "--no-doctor")).plainly(0)
        (await card.knoop("check")).plainly(0, "/etc/knoop/node.toml: fine")
        (await card.knoop("check", user=USER)).plainly(78, "/etc/knoop/node.toml: not readable for this user; use sudo")
        as_agent = await card.knoop("check", user=AGENT)  # who may read the file may not read what only systemd gives
        as_agent.plainly(1, "only root may look; say it again with sudo: sudo knoop doctor")
        named = await card.knoop("claim")
        named.plainly(0, f"{device.jid} has no owner yet")
        assert card.owned("/var/lib/knoop/state.db") == (AGENT, AGENT, 0o600)
        closed = tmp_path / "tty"
        closed.touch(0o600)
        file = card.at("/etc/knoop/node.toml")
        file.write_text(f'{file.read_text("utf-8")}[sensor.meter]\ndriver = "p1"\ndevice = "{closed}"\n', "utf-8")
        looked = await card.knoop("doctor", "--offline")
        looked.plainly(1, "may not be opened by knoop-hw", "ok      password")


async def test_a_node_that_moves_and_goes_leaves_each_half_what_is_its_own(device, answers, tmp_path):
    async with machine(tmp_path, "old") as old:
        (await old.knoop("init", *answers, "--no-doctor")).plainly(0)
        file = old.at("/etc/knoop/node.toml")
        file.write_text(file.read_text("utf-8") + METER, "utf-8")
        old.at("/etc/knoop/meter.key").write_text("0" * 32, "utf-8")
        board = old.at("/var/lib/knoop-hw")
        board.mkdir(mode=0o700)
        (board / "counters.json").write_text('{"rain": 12}', "utf-8")
        packed = await old.knoop("export", tmp_path / "card.tar.gz")
        packed.plainly(1, "Not in it: the account's password", "readings.db: not there", "It holds all that the node")
        setup = old.at("/var/lib/knoop-setup")
        setup.mkdir(mode=0o700)
        (setup / "account.json").write_text('{"invite": "xmpp:…", "password": "to be"}', "utf-8")
        (setup / "card.json").write_text("{}", "utf-8")
        (await old.knoop("purge", "--yes")).plainly(0)
        assert len([*setup.iterdir()]) == 2, "part of the configuration"
        purged = await old.knoop("purge", "--yes", "--configuration")
        purged.plainly(0, "Gone: /etc/knoop/node.toml", "Gone: /etc/credstore.encrypted/xmpp.password",
                       "Gone: /var/lib/knoop-setup/account.json")
        assert not [*setup.iterdir()]
        assert not [*old.at("/etc/credstore.encrypted").iterdir()]
        assert old.owned("/var/lib/knoop/lock") == (AGENT, AGENT, 0o600), "else the service could not start any more"
    async with machine(tmp_path, "new") as new:
        came = await new.knoop("import", tmp_path / "card.tar.gz")
        came.plainly(1, "no password: store it as the credential 'xmpp.password'", "sudo systemctl enable --now")
        assert device.password not in packed.said + came.said
        assert new.owned("/etc/knoop/node.toml") == (0, AGENT, 0o640)
        assert new.owned("/etc/knoop/ca.pem") == (AGENT, AGENT, 0o600)
        assert new.owned("/etc/knoop/meter.key") == (BOARD, BOARD, 0o600), "the half with the devices reads it"
        assert new.owned("/var/lib/knoop") == (AGENT, AGENT, 0o700)
        assert new.owned("/var/lib/knoop/state.db") == (AGENT, AGENT, 0o600)
        assert new.owned("/var/lib/knoop/lock") == (AGENT, AGENT, 0o600)
        assert new.owned("/var/lib/knoop-hw") == (BOARD, BOARD, 0o700), "the other half's, which is another user"
        assert new.owned("/var/lib/knoop-hw/counters.json") == (BOARD, BOARD, 0o600)
        new.at("/etc/knoop/node.toml").write_text("# of a card that was set up before\n", "utf-8")
        new.at("/var/lib/knoop-hw/counters.json").unlink()
        (await new.knoop("import", tmp_path / "card.tar.gz", "--force")).plainly(1, "no password: store it")
        assert "greenhouse" in new.at("/etc/knoop/node.toml").read_text("utf-8")
        assert new.owned("/etc/knoop/node.toml") == (0, AGENT, 0o640)
        assert new.owned("/var/lib/knoop/state.db") == (AGENT, AGENT, 0o600)
        assert new.owned("/var/lib/knoop-hw/counters.json") == (BOARD, BOARD, 0o600)
