"""What goes wrong around a node: one clear sentence with the remedy, the right exit code, no traceback, nothing lost.

The program is the real one, in a process of its own, against a real server (or one that only counts what it is told).
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import re
import signal
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import serial
from tests.integration.hostile import Hostile, Peer, mechanisms
from tests.integration.running import (
    BOARD,
    KNOOP,
    TICKING,
    Running,
    Way,
    chat,
    environment,
    knoop,
    running,
    until,
    write,
)

from knoop_bench.certificates import Authority
from knoop_bench.errors import Refused
from knoop_bench.meter import Meter
from knoop_bench.ports import free_ports
from knoop_bench.prosody import Prosody
from knoop_bench.prosody_config import Options
from knoop_bench.witness import EVENTS, READINGS, STATE, Witness

pytestmark = pytest.mark.prosody

P1 = Path(__file__).parents[1] / "data" / "p1"
METER = """
[sensor.meter]
driver = "p1"
device = "{device}"
fields = ["power", "energy_t1"]
every = "0s"
min_interval = "0s"
"""


@pytest.fixture
def node_of(prosody: Prosody, account, tmp_path) -> Callable[..., Running]:
    """A node with accounts of its own on the common server: `node, its_account, its_owner = node_of()`."""

    def make(**more):
        device, owner = account("greenhouse"), account("anna")
        people = {owner.jid: '"owner"'}
        write(tmp_path, Way.to(prosody), jid=device.jid, password=device.password, people=people, **more)
        return Running(tmp_path), device, owner

    return make


@asynccontextmanager
async def started(node: Running, *, seen_by: Witness | None = None) -> AsyncIterator[Running]:
    """The node runs and is logged in; `seen_by` sees it present: what is said now is not kept for later."""
    after = seen_by.mark if seen_by else 0
    node.start()
    try:
        await node.online()
        if seen_by:
            await seen_by.wait(lambda seen: seen.kind == "presence" and seen.sender.endswith("/knoop"), after=after)
        yield node
    finally:
        await node.stop()


async def asks(person: Witness, node: str, text: str, answer: str, within_s: float = 10.0) -> str:
    """Say it and wait for an answer that begins so; returns the answer."""
    after = person.mark
    person.say(node, text)
    seen = await person.wait(
        lambda seen: seen.sender_bare == node and seen.type == "chat" and seen.body.startswith(answer), within_s,
        after=after,
    )
    return seen.body


# The server -----------------------------------------------------------------------------------------------------------


async def test_a_wrong_password_ends_everything_with_77(prosody, account, tmp_path):
    device = account("greenhouse")
    config = write(tmp_path, Way.to(prosody), jid=device.jid, password="wrong")
    talk = chat(Way.to(prosody), "somebody@localhost", device.jid, tmp_path, "wrong")
    ended = await asyncio.gather(*(
        knoop(*arguments, folder=tmp_path)
        for arguments in (("run", "--config", config), ("bench", "--quick", "--config", config), talk)
    ))
    for one in ended:
        one.plainly(77, f"wrong password for {device.jid}; correct the file in ")
        assert "wrong password for" not in one.out
        assert one.err.count("wrong password for") == 1
    assert ["--password-file" in one.err for one in ended] == [False, False, True]  # a chat has no node.toml


def by_flag(sentence: str) -> str:
    """What `knoop chat`, which has flags and no node.toml, makes of it."""
    flags = {"'xmpp.ca_file'": "--ca-file", "'xmpp.jid'": "--as", "'xmpp.host'": "--host"}
    for key, flag in flags.items():
        sentence = sentence.replace(key, flag)
    return sentence


@pytest.mark.parametrize(
    ("certificate", "sentence"),
    [
        ("other-ca", "is not signed by a CA this machine trusts: put the right CA certificate into 'xmpp.ca_file'"),
        ("expired", "has expired: renew it on the server, and check this machine's clock"),
        ("wrong-host", "is for another host name: correct 'xmpp.jid', or the certificate on the server"),
    ],
)
@pytest.mark.parametrize("direct", [True, False], ids=["direct-tls", "starttls"])
async def test_a_certificate_that_proves_nothing_gets_no_byte_of_the_login(
    authority: Authority, tmp_path, certificate, sentence, direct
):
    async def script(peer: Peer) -> None:
        if not direct:
            await peer.secure()
        await peer.stream(mechanisms("SCRAM-SHA-1", "PLAIN"))

    async with Hostile(authority.issue(certificate), script, direct=direct) as server:
        way = Way(server.port, authority.ca_file)
        config = write(tmp_path, way, jid="greenhouse@localhost")
        talk = chat(way, "greenhouse@localhost", "anna@localhost", tmp_path)
        async with running(tmp_path) as node:
            measured, talked = await asyncio.gather(
                knoop("bench", "--quick", "--config", config, folder=tmp_path), knoop(*talk, folder=tmp_path)
            )
            measured.plainly(69, f"127.0.0.1:{server.port}: the certificate {sentence}")
            talked.plainly(69, f"127.0.0.1:{server.port}: the certificate {by_flag(sentence)}")
            knocks = server.knocks
            await until(lambda: server.knocks >= max(knocks + 1, 4), lambda: node.log)  # it keeps trying …
            assert node.log.count(sentence) == 1  # … and says so once
            assert "trying again for as long as it takes" in node.log
            assert await node.stop() == 0
        assert "Traceback" not in node.log
        assert server.handshakes == 0
        assert not re.search(rb"<auth|<response|<iq|<message|<presence", server.got)


@pytest.mark.parametrize("starttls", [False, True], ids=["direct-tls", "starttls"])
async def test_a_server_that_offers_only_plain_is_refused_with_77(serve, tmp_path, starttls):
    scram = ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256-PLUS", "DIGEST-MD5", "OAUTHBEARER"]
    server = await serve(
        accounts={"greenhouse": "secret"}, options=Options(settings={"disable_sasl_mechanisms": scram})
    )
    write(tmp_path, Way.to(server, starttls=starttls), jid=server.jid("greenhouse"))
    ended = await knoop("run", "--config", "node.toml", folder=tmp_path)
    ended.plainly(77, "the server offers no SCRAM login over TLS; nothing weaker is used")


async def test_a_pinned_fingerprint_replaces_the_ca_and_nothing_else_passes(authority, tmp_path):
    """The pin is compared before the first byte of the stream is sent, on both ways in."""
    certificate = authority.issue("other-ca")
    der = ssl.PEM_cert_to_DER_cert(certificate.file.read_text("ascii"))
    pin = hashlib.sha256(der).hexdigest()
    for direct, wrong in itertools.product((True, False), (True, False)):

        async def script(peer: Peer, direct: bool = direct) -> None:
            if not direct:
                await peer.secure()
            await peer.stream(mechanisms("SCRAM-SHA-1"))

        folder = tmp_path / f"{direct}-{wrong}"
        folder.mkdir()
        async with Hostile(certificate, script, direct=direct) as server:
            config = write(folder, Way(server.port, authority.ca_file), jid="greenhouse@localhost")
            line = f'fingerprint = "{"0" * 64 if wrong else pin}"\n\n[people]'
            config.write_text(config.read_text("utf-8").replace("[people]", line), "utf-8")
            async with running(folder) as node:
                if wrong:
                    await node.says("the certificate is not the one in 'xmpp.fingerprint'")
                    assert b"<auth" not in server.got
                else:
                    await until(lambda server=server: b"<auth" in server.got, lambda node=node: node.log)
            assert "Traceback" not in node.log


async def test_a_host_that_nobody_knows_is_named(authority, tmp_path):
    config = write(tmp_path, Way(5223, authority.ca_file), jid="greenhouse@localhost")
    config.write_text(config.read_text("utf-8").replace("127.0.0.1", "nowhere.invalid"), "utf-8")
    ended = await knoop("bench", "--quick", "--config", config, folder=tmp_path)
    ended.plainly(69, "no address is known for nowhere.invalid")


async def test_an_absent_server_is_waited_for_by_run_and_69_for_the_others(authority, tmp_path):
    way = Way(free_ports(1)[0], authority.ca_file)
    config = write(tmp_path, way, jid="greenhouse@localhost")
    sentence = f"127.0.0.1:{way.port}: no XMPP server to talk to (Connection refused); check the network, 'xmpp.host'"
    talk = chat(way, "greenhouse@localhost", "anna@localhost", tmp_path)
    async with running(tmp_path) as node:
        for one, wanted in zip(
            await asyncio.gather(
                knoop("bench", "--quick", "--config", config, folder=tmp_path), knoop(*talk, folder=tmp_path)
            ),
            (sentence, by_flag(sentence)),
            strict=True,
        ):
            one.plainly(69, wanted)
            assert one.err.count("\n") == 1
        await node.says(sentence)
        assert node.code is None
        assert await node.stop() == 0
    assert "Traceback" not in node.log


async def test_a_server_that_comes_later_is_found_without_a_restart(serve, authority, tmp_path):
    server = await serve(accounts={"greenhouse": "secret"})
    await server.stop()
    write(tmp_path, Way.to(server), jid=server.jid("greenhouse"))
    async with running(tmp_path) as node:
        await node.says("no XMPP server to talk to")
        await server.start()
        await node.online()
        assert node.log.count("no XMPP server to talk to") == 1


# The configuration ----------------------------------------------------------------------------------------------------


async def both(folder: Path, config: Path, *sentences: str) -> None:
    """`check` and `run` say the same and end with 78."""
    for one in await asyncio.gather(
        knoop("check", "--config", config, folder=folder), knoop("run", "--config", config, folder=folder)
    ):
        one.plainly(78, *sentences)
        assert one.out == ""


async def test_every_mistake_is_said_at_once_with_its_line(authority, tmp_path):
    board = BOARD.replace("GPIO27", "GPIO17") + '[input.bell]\npin = "GPIO22"\npul = "up"\n'
    people = {"anna@localhost": '"owner"', "bram": '"boss"'}
    config = write(tmp_path, Way(5223, authority.ca_file), jid="greenhouse@localhost", board=board, people=people,
                   more='[alert.frost]\nwhen = "attic < 2"\n[stranger]\n')
    lines = config.read_text("utf-8").splitlines()

    def at(text: str, nth: int = 0) -> str:
        numbers = [number for number, line in enumerate(lines, 1) if line.startswith(text)]
        return f"knoop: {config}:{numbers[nth]}: "

    sentences = (
        at("pul = ") + "input.bell.pul: unknown key; did you mean 'pull'?",
        at("pin = ") + "input.door.pin: GPIO17 is already taken by output.lamp",
        at('"bram"') + 'people.bram.role: "boss" is not one of viewer, operator, owner',
        at("when = ") + "alert.frost.when: ",
        at("[stranger]") + "stranger: unknown table",
    )
    await both(tmp_path, config, *sentences)

    judged = await knoop("check", "--json", "--config", config, folder=tmp_path)
    report = json.loads(judged.out)
    assert (judged.code, report["ok"], report["exit"]) == (78, False, 78)
    assert len(report["problems"]) == len(sentences)
    assert all(re.match(rf"{re.escape(str(config))}:\d+: ", problem) for problem in report["problems"])


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ('[node]\nname = "greenhouse"\n[xmpp\n', 3, "not valid TOML"),
        ("[node]\nname = greenhouse\n", 2, "text values need quotes"),
        ("[node]\nname = 'kas\xff'\n", 2, "byte 0xff is not UTF-8; save the file as UTF-8"),
    ],
)
async def test_a_file_that_is_no_toml(tmp_path, text, line, sentence):
    config = tmp_path / "node.toml"
    config.write_bytes(text.encode("latin-1"))
    await both(tmp_path, config, f"{config}:{line}: ", sentence)


async def test_a_missing_file_says_how_to_make_one(tmp_path):
    await both(tmp_path, tmp_path / "nowhere.toml", f"{tmp_path / 'nowhere.toml'}: there is no such file")
    found = await knoop("check", folder=tmp_path)
    found.plainly(78, "--config")


async def test_a_password_file_that_is_missing_empty_or_open_to_others(authority, tmp_path):
    config = write(tmp_path, Way(5223, authority.ca_file), jid="greenhouse@localhost")
    secret = tmp_path / "password"
    for prepare, sentence in (
        (lambda: secret.chmod(0o644), f"{secret} can be read by others (mode 644); run: chmod 600 {secret}"),
        (lambda: (secret.chmod(0o600), secret.write_text("\n")), f"{secret} is empty; put the account's password"),
        (secret.unlink, f"{secret} does not exist; put the account's password into it, mode 600"),
    ):
        prepare()
        ended, checked = await asyncio.gather(
            knoop("run", "--config", config, folder=tmp_path), knoop("check", "--config", config, folder=tmp_path)
        )
        ended.plainly(78, f"{config}: xmpp.password_file: {sentence}")
        checked.plainly(1, sentence)
    assert "secret" not in ended.said


async def test_a_ca_file_that_is_none_is_78(authority, tmp_path):
    other = tmp_path / "notes.pem"
    other.write_text("no certificate")
    config = write(tmp_path, Way(5223, other), jid="greenhouse@localhost")
    talk = chat(Way(5223, other), "greenhouse@localhost", "anna@localhost", tmp_path)
    missing = chat(Way(5223, tmp_path / "none.pem"), "greenhouse@localhost", "anna@localhost", tmp_path)
    for arguments, name in ((("run", "--config", config), other), (talk, other), (missing, tmp_path / "none.pem")):
        (await knoop(*arguments, folder=tmp_path)).plainly(78, f"{name}: is no CA certificate that can be read; name a")


# Devices --------------------------------------------------------------------------------------------------------------


def numbers(witness: Witness, channel: str) -> list[float]:
    """The values of a channel that came over PEP, in order; a reading without a value has none."""
    return [
        float(child.text)
        for item in witness.items
        if item.node == READINGS and item.payload is not None
        for child in item.payload
        if child.get("channel") == channel and child.text
    ]


async def quality(person: Witness, node: str, channel: str) -> str | None:
    """What the state node says of a channel now; None before there is one."""
    try:
        items = await person.pep_items(node, STATE)
    except Refused:
        return None
    for item in items:
        for child in item.payload if item.payload is not None else ():
            if child.get("channel") == channel:
                return child.get("quality")
    return None


@pytest.mark.parametrize("what", ["missing", "in use", "no serial port"])
async def test_a_port_that_does_not_open_costs_its_channels_only(node_of, witness, tmp_path, what):
    master, slave = os.openpty()
    device = Path(os.ttyname(slave))
    held = None
    if what == "missing":
        device = tmp_path / "ttyUSB7"
        sentence = f"sensor.meter: {device} does not exist; plug it in or correct 'device'"
    elif what == "in use":
        held = serial.Serial(str(device), exclusive=True)
        sentence = f"sensor.meter: {device} is in use by another program; `fuser -v {device}` names it"
    else:
        device = tmp_path / "notes.txt"
        device.write_text("not a port")
        sentence = f"sensor.meter: {device} "
    node, account, owner = node_of(board=BOARD + METER.format(device=device))
    try:
        anna = await witness(owner, friends=[account.jid])
        async with started(node, seen_by=anna):
            await asks(anna, account.jid, "lamp on", "Lamp is on.")
            assert node.moves() == [True]
            await asks(anna, account.jid, "meter.power", "Meter power has no value now (missing).")
            async with asyncio.timeout(20):
                while await quality(anna, account.jid, "meter.power") != "missing":
                    await anna.ping()
            assert node.log.count(sentence) == 1
        assert "Traceback" not in node.log
    finally:
        if held:
            held.close()
        os.close(master)
        os.close(slave)


async def test_check_finds_a_missing_device(authority, tmp_path):
    config = write(tmp_path, Way(5223, authority.ca_file), jid="greenhouse@localhost",
                   board=BOARD + METER.format(device="/dev/ttyUSB77"))
    ended = await knoop("check", "--config", config, folder=tmp_path)
    ended.plainly(1, "sensor.meter.device: /dev/ttyUSB77 does not exist; plug it in or correct the path")
    judged = await knoop("check", "--json", "--config", config, folder=tmp_path)
    assert json.loads(judged.out)["findings"]


async def test_spoiled_telegrams_never_become_readings_and_the_next_good_one_does(node_of, witness):
    """A wrong CRC and bytes that are no text at all: the values before and after are right, none is invented."""
    good, other = (P1 / "dsmr50.txt").read_bytes(), (P1 / "fluvius-1.7.1.txt").read_bytes()

    def energy(telegram: bytes) -> float:
        found = re.search(rb"1-0:1\.8\.1\(0*([0-9.]+)\*kWh\)", telegram)
        assert found
        return float(found[1])

    spoiled = re.sub(rb"(1-0:1\.8\.1\()[0-9.]+", rb"\g<1>999999.999", good)
    utf8 = good.replace(b"1-0:1.8.1(", b"\xff\xfe\xc3(1-0:1.8.1(\x80")
    assert energy(good) != energy(other)
    async with Meter([P1 / "dsmr50.txt"], every_s=3600) as meter:
        node, account, owner = node_of(board=BOARD + METER.format(device=meter.device))
        anna = await witness(owner, friends=[account.jid])
        async with started(node, seen_by=anna):

            async def until_read(value: float) -> None:
                async with asyncio.timeout(10):
                    while value not in numbers(anna, "meter.energy_t1"):
                        await anna.ping()
                        await asyncio.sleep(0.05)

            await anna.wait(lambda seen: any(item.node == STATE for item in seen.items))
            await meter.send(good)
            await until_read(energy(good))
            for bad in (spoiled, utf8, b"\xff\xfe\x00" * 200, spoiled):
                await meter.send(bad)
            await meter.send(other)
            await until_read(energy(other))
            assert set(numbers(anna, "meter.energy_t1")) == {energy(good), energy(other)}
            assert node.log.count("a telegram with a wrong CRC was dropped") == 1
        assert "Traceback" not in node.log


# The machine ----------------------------------------------------------------------------------------------------------


async def test_a_full_disk_costs_history_and_nothing_else(prosody, account, witness, tmp_path):
    """The state folder is a file system of its own, filled while the node runs, then freed."""
    state = tmp_path / "state" / "knoop"
    state.mkdir(parents=True)
    try:
        subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", state], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine lets nobody make a private mount: no small disk to fill")
    device, owner = account("greenhouse"), account("anna")
    write(tmp_path, Way.to(prosody), jid=device.jid, password=device.password, people={owner.jid: '"owner"'},
          scenario=TICKING)
    small = ("unshare", "-rm", "sh", "-c", 'mount -t tmpfs -o size=1m none "$0" && exec "$@"', str(state))
    anna = await witness(owner, friends=[device.jid])
    async with started(Running(tmp_path, before=small), seen_by=anna) as node:
        filler = Path(f"/proc/{node.pid}/root{state}/filler")
        with suppress(OSError), filler.open("wb") as file:
            while True:
                file.write(b"x" * 512)
                file.flush()
        await node.says("the disk is full; free some space on the file system of")
        await asks(anna, device.jid, "lamp on", "Lamp is on.")
        assert node.moves() == [True]
        after = anna.mark
        for _ in range(3):  # events still go out, from memory
            seen = await anna.wait(lambda seen: seen.body.startswith("Front door is "), 10, after=after)
            after = seen.number + 1
        assert node.log.count("readings are not safe on disk") == 1
        filler.unlink()
        await node.says("readings are safe on disk again")
        await asks(anna, device.jid, "lamp off", "Lamp is off.")
        await asks(anna, device.jid, "log", "")
        assert await node.stop() == 0
    assert "Traceback" not in node.log
    events = [
        int(child.get("seq", "0")) for item in anna.items if item.node == EVENTS and item.payload is not None
        for child in item.payload if child.get("channel") == "door"
    ]
    assert events == sorted(set(events))
    assert events == list(range(events[0], events[0] + len(events)))


@pytest.mark.parametrize("signalled", [signal.SIGTERM, signal.SIGINT])
async def test_run_ends_in_order_when_told(node_of, signalled):
    node, _, _ = node_of()
    async with started(node):
        assert await node.stop(signalled) == (0 if signalled is signal.SIGTERM else 130)
    assert "Traceback" not in node.log


@pytest.mark.parametrize("signalled", [signal.SIGTERM, signal.SIGINT])
async def test_run_ends_in_order_while_it_looks_for_its_server(authority, tmp_path, signalled):
    write(tmp_path, Way(free_ports(1)[0], authority.ca_file), jid="greenhouse@localhost")
    async with running(tmp_path) as node:
        await node.says("no XMPP server to talk to")
        assert await node.stop(signalled) == (0 if signalled is signal.SIGTERM else 130)
    assert "Traceback" not in node.log


async def test_a_second_node_on_the_same_state_is_refused_with_74(authority, tmp_path):
    config = write(tmp_path, Way(free_ports(1)[0], authority.ca_file), jid="greenhouse@localhost")
    async with running(tmp_path) as node:
        await node.says("is up")
        second = await knoop("run", "--config", config, folder=tmp_path)
        text = f"{tmp_path}/state/knoop is in use by another knoop; stop it, or give this one another folder"
        text = f"{text} (XDG_STATE_HOME)"
        second.plainly(74, text)
        assert node.code is None


async def test_a_state_folder_that_cannot_be_made_is_74(authority, tmp_path):
    config = write(tmp_path, Way(5223, authority.ca_file), jid="greenhouse@localhost")
    (tmp_path / "state").write_text("a file, not a folder")
    (await knoop("run", "--config", config, folder=tmp_path)).plainly(74, f"{tmp_path}/state")


async def test_a_file_in_the_way_is_74(authority, tmp_path):
    config = write(tmp_path, Way(5223, authority.ca_file), jid="greenhouse@localhost")
    for name in ("lock", "readings.db", "state.db"):
        (tmp_path / "state" / "knoop" / name).mkdir(parents=True)
        ended = await knoop("run", "--config", config, folder=tmp_path)
        ended.plainly(74, f"{tmp_path}/state/knoop/{name}: Is a directory; ")
        (tmp_path / "state" / "knoop" / name).rmdir()


async def test_a_corrupt_history_is_set_aside_and_the_node_runs(node_of, witness, tmp_path):
    node, account, owner = node_of()
    state = tmp_path / "state" / "knoop"
    state.mkdir(parents=True)
    (state / "readings.db").write_bytes(b"this is no database" * 500)
    anna = await witness(owner, friends=[account.jid])
    async with started(node, seen_by=anna):
        await asks(anna, account.jid, "lamp on", "Lamp is on.")
        await asks(anna, account.jid, "history lamp", "Lamp, last 1 d:")
        assert f"kept as {state / 'readings.db.corrupt-1'}" in node.log
    assert (state / "readings.db.corrupt-1").read_bytes().startswith(b"this is no database")
    assert "Traceback" not in node.log


# Chat -----------------------------------------------------------------------------------------------------------------


async def test_a_message_of_a_megabyte_is_survived(serve, tmp_path):
    """Prosody itself ends a client's stream at 256 KiB; a server that lets more through must not stop a node.

    The message is left out. Were the stream ended for it, the server would keep it and give it to the node again at
    every login, for ever: one message of any stranger would have switched the node off.
    """
    accounts = {"greenhouse": "secret", "anna": "secret", "mallory": "secret"}
    server = await serve(accounts=accounts, options=Options(settings={"c2s_stanza_size_limit": 4 * 1024 * 1024}))
    node_jid, anna_jid = server.jid("greenhouse"), server.jid("anna")
    write(tmp_path, Way.to(server), jid=node_jid, people={anna_jid: '"owner"'})
    way = {"port": server.tls_port, "ca_file": server.ca_file}
    async with (
        Witness(anna_jid, "secret", friends=[node_jid], **way) as anna,
        Witness(server.jid("mallory"), "secret", **way) as mallory,
        started(Running(tmp_path), seen_by=anna) as node,
    ):
        await asks(anna, node_jid, "lamp on", "Lamp is on.")
        mallory.say(node_jid, "lamp off " + "x" * 1024 * 1024)
        anna.say(node_jid, "lamp off " + "x" * 1024 * 1024)
        await asks(anna, node_jid, "y" * 100_000, "That is too long for me:")
        await asks(anna, node_jid, "lamp?", "Lamp is on.")
        assert node.moves() == [True]
        assert node.log.count("connected as") == 1
        assert node.log.count("a stanza exceeds 262144 bytes") == 2
        await node.stop(signal.SIGKILL)  # what was left out was acknowledged: it is not given to the next session
        before = anna.mark
        node.start()
        await node.online(times=2)
        # What is said before the server has its presence would be kept for it, and come stamped as late.
        back = f"{node_jid}/knoop"
        await anna.wait(lambda s: s.kind == "presence" and s.sender == back and not s.type, after=before)
        await asks(anna, node_jid, "about", "Knoop ")
        assert node.log.count("a stanza exceeds 262144 bytes") == 2


async def test_a_stranger_cannot_keep_the_node_away_with_what_a_usual_server_lets_through(node_of, account, witness):
    """250 kB of apostrophes are 1.5 MB when Prosody writes them; 18,000 levels are 126 kB."""
    node, device, owner = node_of()
    anna, mallory = await witness(owner, friends=[device.jid]), await witness(account("mallory"))
    async with started(node, seen_by=anna):
        for kind, body in (("chat", "'" * 250_000), ("headline", "<a>" * 18_000 + "</a>" * 18_000)):
            mallory.send_raw(f"<message to='{device.jid}/knoop' type='{kind}'><body>{body}</body></message>")
        await mallory.ping()
        await asks(anna, device.jid, "lamp on", "Lamp is on.")
        assert node.log.count("left out, from mallory") == 2
        assert node.log.count("connected as") == 1


@pytest.mark.parametrize("kind", ["get", "set"])
async def test_a_deep_request_of_a_stranger_does_not_end_the_stream(node_of, account, witness, kind):
    """1,100 levels are 8 kB: few enough bytes for one slice, too many levels for whoever copies them recursively."""
    node, device, owner = node_of()
    anna, mallory = await witness(owner, friends=[device.jid]), await witness(account("mallory"))
    async with started(node, seen_by=anna):
        for sender in (mallory, anna):
            for levels in (100, 550, 1100, 5000):
                sender.send_raw(
                    f"<iq to='{device.jid}/knoop' type='{kind}' id='deep{levels}'><q xmlns='u:x'>"
                    + "<a>" * levels + "</a>" * levels + "</q></iq>"
                )
            await sender.ping()
        await asks(anna, device.jid, "lamp on", "Lamp is on.")
        assert node.log.count("connected as") == 1
        assert node.log.count("nests deeper than 64") == 8
        assert "Traceback" not in node.log
        assert "Fatal error" not in node.log


# The command line -----------------------------------------------------------------------------------------------------


async def test_chat_without_a_terminal_reads_lines_and_prints_answers(node_of, prosody, tmp_path):
    node, account, owner = node_of()
    async with started(node):
        talk = chat(Way.to(prosody), account.jid, owner.jid, tmp_path, owner.password)
        ended = await knoop(*talk, folder=tmp_path, stdin="lamp on\n\nlamp?\n")
        ended.plainly(0)
        assert ended.out.splitlines() == ["> lamp on", "Lamp is on.", "> lamp?", "Lamp is on."]
        assert ended.err == ""
        assert node.moves() == [True]


async def test_ctrl_c_ends_a_chat_that_waits_on_a_pipe(node_of, prosody, tmp_path):
    """It read in the loop's executor, which kept it until the next line came."""
    node, account, owner = node_of()
    async with started(node):
        talk = chat(Way.to(prosody), account.jid, owner.jid, tmp_path, owner.password)
        process = await asyncio.create_subprocess_exec(
            *KNOOP, *map(str, talk), cwd=tmp_path, env=environment(tmp_path),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(20):
                process.stdin.write(b"lamp?\n")
                assert [await process.stdout.readline() for _ in range(2)] == [b"> lamp?\n", b"Lamp is off.\n"]
                process.send_signal(signal.SIGINT)
            async with asyncio.timeout(20):
                assert await process.wait() == 130
            assert await process.stderr.read() == b""
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def test_chat_with_nobody_there_says_so(prosody, account, tmp_path):
    owner = account("anna")
    talk = chat(Way.to(prosody), "nobody@localhost", owner.jid, tmp_path, owner.password)
    ended = await knoop(*talk, folder=tmp_path, stdin="lamp on\n")
    assert "(nobody@localhost cannot be reached)" in ended.out
    assert "Traceback" not in ended.said


async def test_chat_without_its_password_file_is_78(tmp_path):
    ended = await knoop(
        "chat", "greenhouse@localhost", "--as", "anna@localhost", "--password-file", tmp_path / "none", folder=tmp_path
    )
    ended.plainly(78, f"{tmp_path / 'none'}: cannot be read")


async def test_chat_without_terminal_and_password_file_is_a_usage_error(tmp_path):
    ended = await knoop("chat", "greenhouse@localhost", "--as", "anna@localhost", folder=tmp_path)
    ended.plainly(2, "give --password-file")


async def test_help_names_every_command_and_examples(tmp_path):
    ended = await knoop("--help", folder=tmp_path)
    ended.plainly(0, "check", "run", "chat", "bench", "examples:", "knoop chat attic@example.org")
    for command in ("init", "check", "schema", "run", "doctor", "chat", "bench"):
        (await knoop(command, "--help", folder=tmp_path)).plainly(0, "example:", "--config", "--json")


@pytest.mark.parametrize(
    "arguments",
    [(), ("fly",), ("run", "--colour"), ("chat",), ("chat", "greenhouse@localhost"),
     ("chat", "not an address", "--as", "anna@localhost"),
     ("chat", "greenhouse@localhost", "--as", "anna@localhost", "--host", "127.0.0.1")],
    ids=" ".join,
)
async def test_usage_errors_are_2(tmp_path, arguments):
    (await knoop(*arguments, folder=tmp_path)).plainly(2, "usage: knoop")


async def test_a_reader_that_has_enough_is_no_error_of_ours(authority, tmp_path):
    """`knoop check | true`: no traceback, and it ends with 1."""
    write(tmp_path, Way(5223, authority.ca_file), jid="greenhouse@localhost")
    reader, writer = os.pipe()
    os.close(reader)
    process = await asyncio.create_subprocess_exec(
        *KNOOP, "check", cwd=tmp_path, env=environment(tmp_path), stdout=writer, stderr=subprocess.PIPE,
    )
    os.close(writer)
    async with asyncio.timeout(15):
        _, err = await process.communicate()
    assert process.returncode == 1
    assert err == b""
