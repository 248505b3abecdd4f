"""`knoop doctor` on a real server: all is well, and then exactly one thing is not."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiodns
import pytest
import pytest_asyncio
from tests.integration.conftest import Account
from tests.integration.running import Way, knoop, running, until, write
from tests.node.xmpp.dns import SRV, A, Names, srv

from knoop import commands, config, doctor
from knoop.xmpp import compat, where
from knoop.xmpp.account import Account as Login
from knoop.xmpp.account import tls_context
from knoop.xmpp.session import Session
from knoop_bench.certificates import Authority
from knoop_bench.ports import LOOPBACK, free_ports
from knoop_bench.prosody import Prosody
from knoop_bench.prosody_config import MODULES, Options
from knoop_bench.proxy import Proxy
from knoop_hw.clock import SystemClock

pytestmark = pytest.mark.prosody

HEALTHY = {**dict.fromkeys(doctor.CHECKS, "ok"), "dns": "note"}  # the tests' server is not in DNS
HIDDEN = "not looked at: "
PUBSUB = "http://jabber.org/protocol/pubsub"
NODE = "urn:knoop:1:state"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def good(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> AsyncIterator[Prosody]:
    """A server with all that a node can wish for."""
    folder = tmp_path_factory.mktemp("doctor") / "prosody"
    async with Prosody(folder, {"greenhouse": "secret"}, authority=authority) as it:
        yield it


@pytest.fixture
def machine(tmp_path: Path) -> doctor.Machine:
    """A Raspberry Pi that is well."""
    root = tmp_path / "root"
    for file, text in {
        "sys/class/thermal/thermal_zone0/temp": "45300\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
        "run/systemd/timesync/synchronized": "",
        "proc/self/mounts": "/dev/mmcblk0p2 / ext4 rw,noatime 0 0\n",
    }.items():
        (root / file).parent.mkdir(parents=True)
        (root / file).write_text(text, "utf-8")
    state = tmp_path / "state"
    state.mkdir()
    return doctor.Machine(root=root, state=lambda: state)


@pytest.fixture
def look(tmp_path: Path, machine: doctor.Machine) -> Callable[..., Any]:
    """`await look(server, more="…")`: what the doctor finds for a node of this server, worst level by check."""

    async def examine(
        server: Prosody, *, change: Callable[[config.Config], config.Config] = lambda it: it, password: str = "secret",
        jid: str = "", more: str = "", clock: Any = None, resolver: Any = None,
        hears: Callable[[doctor.Finding], None] = lambda _: None,
    ) -> list[doctor.Finding]:
        file = write(tmp_path, Way.to(server), jid=jid or server.jid("greenhouse"), password=password, more=more)
        loaded = change(config.load(file, jid=compat.jid, words=commands.words()))
        heard: list[doctor.Finding] = []

        def hear(finding: doctor.Finding) -> None:
            heard.append(finding)
            hears(finding)

        found = await doctor.examine(
            loaded, clock=clock or SystemClock(), machine=machine, resolver=resolver,
            on_finding=hear,
        )
        assert heard == found
        assert "secret" not in doctor.as_text(found)
        return found

    return examine


def turned(found: list[doctor.Finding], healthy: Mapping[str, str] = HEALTHY) -> dict[str, str]:
    """The checks that are not as with a healthy node, without those that could not be made."""
    assert tuple(dict.fromkeys(finding.check for finding in found)) == doctor.CHECKS, "each check, in its order"
    worst = ("ok", "note", "problem")
    levels = dict.fromkeys(doctor.CHECKS, "ok")
    for finding in found:
        if finding.check == "dns" or not finding.text.startswith(HIDDEN):
            levels[finding.check] = max(levels[finding.check], finding.level, key=worst.index)
    assert all(finding.remedy for finding in found if finding.level == "problem")
    return {check: level for check, level in levels.items() if level != healthy[check]}


def hidden(found: list[doctor.Finding]) -> tuple[str, ...]:
    return tuple(f.check for f in found if f.text.startswith(HIDDEN) and f.check != "dns")


def said(found: list[doctor.Finding], check: str) -> str:
    return " | ".join(f"{f.text} → {f.remedy}" for f in found if f.check == check)


def xmpp(**changes: Any) -> Callable[[config.Config], config.Config]:
    return lambda it: replace(it, xmpp=replace(it.xmpp, **changes))


async def test_a_healthy_node(good, look):
    found = await look(good)
    assert turned(found) == {}
    assert hidden(found) == ()
    assert "as greenhouse@localhost/doctor" in said(found, "login")


# ── the way ───────────────────────────────────────────────────────────────────────────────────────────────────────────

AFTER = {check: doctor.CHECKS[doctor.CHECKS.index(check) + 1 :] for check in doctor.CHECKS}


async def test_nobody_listens(good, look):
    (port,) = free_ports(1)
    found = await look(good, change=xmpp(port=port))
    assert turned(found) == {"tcp": "problem"}
    assert hidden(found) == AFTER["tcp"]
    assert f"127.0.0.1:{port} (Connection refused)" in said(found, "tcp")


async def test_a_port_that_speaks_no_xmpp(good, look):
    server = await asyncio.start_server(lambda _, writer: writer.close(), LOOPBACK, 0)
    async with server:
        found = await look(good, change=xmpp(port=server.sockets[0].getsockname()[1]))
    assert turned(found) == {"tls": "problem"}
    assert hidden(found) == AFTER["tls"]
    assert "does not come to TLS" in said(found, "tls")


@pytest.mark.parametrize(
    ("variant", "check", "sentence"),
    [
        ("other-ca", "tls", "is not signed by a CA this machine trusts → put the right CA certificate into 'xmpp."),
        ("wrong-host", "tls", "is for another host name → correct 'xmpp.jid', or the certificate on the server"),
        ("expired", "certificate", "UTC → renew it on the server, and check this machine's clock"),
    ],
)
async def test_a_wrong_certificate(look, serve, variant, check, sentence):
    bad = await serve(certificate=variant, accounts={"greenhouse": "secret"})
    for port in (bad.tls_port, bad.starttls_port):
        found = await look(bad, change=xmpp(port=port))
        assert turned(found) == {check: "problem"}
        assert hidden(found) == AFTER["certificate"]
        assert sentence in said(found, check)


async def test_another_certificate_than_the_pinned_one(good, look):
    found = await look(good, change=xmpp(fingerprint="00" * 32))
    assert turned(found) == {"tls": "problem"}
    assert "not the one in 'xmpp.fingerprint'" in said(found, "tls")


async def test_starttls_is_found_where_direct_tls_is_not(good, look):
    found = await look(good, change=xmpp(port=good.starttls_port))
    assert turned(found) == {}
    assert "by STARTTLS" in said(found, "tls")


async def test_a_wrong_password(good, look):
    found = await look(good, password="wrong")
    assert turned(found) == {"login": "problem"}
    assert hidden(found) == AFTER["login"]
    assert "wrong password for greenhouse@localhost → correct the file" in said(found, "login")


async def test_a_password_that_others_can_read(good, look, tmp_path):
    def open_it(it: config.Config) -> config.Config:
        (tmp_path / "password").chmod(0o644)
        return it

    found = await look(good, change=open_it)
    assert turned(found) == {"password": "problem"}
    assert hidden(found) == AFTER["certificate"]
    assert "chmod 600" in said(found, "password")


# ── names ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

@asynccontextmanager
async def names(monkeypatch: pytest.MonkeyPatch, records: Mapping[tuple[str, int], bytes]) -> AsyncIterator[Any]:
    """A resolver that asks only this name server; logins use it, too."""
    loop = asyncio.get_running_loop()
    server = Names({asked: (data,) for asked, data in records.items()})
    transport, _ = await loop.create_datagram_endpoint(lambda: server, local_addr=(LOOPBACK, 0))
    port = transport.get_extra_info("sockname")[1]
    made = []

    def resolver(**_: Any) -> Any:
        made.append(aiodns.DNSResolver(nameservers=[LOOPBACK], udp_port=port, tcp_port=port, timeout=1.0, tries=1))
        return made[-1]

    monkeypatch.setattr(where, "default_resolver", resolver)
    try:
        yield resolver()
    finally:
        for one in made:
            await one.close()
        transport.close()


async def test_srv_records_and_their_absence(look, serve, monkeypatch):
    server = await serve(host="knoop.test", accounts={"greenhouse": "secret"})
    here = bytes([127, 0, 0, 1])
    direct = {
        ("_xmpps-client._tcp.knoop.test", SRV): srv(server.tls_port, "xmpp.knoop.test"), ("xmpp.knoop.test", A): here,
    }  # fmt: skip
    by_name = xmpp(host="", port=0)
    healthy = {**HEALTHY, "dns": "ok"}
    async with names(monkeypatch, direct) as resolver:
        found = await look(server, change=by_name, resolver=resolver)
        assert turned(found, healthy) == {}
        assert "xmpp.knoop.test by direct TLS" in said(found, "dns")
    async with names(monkeypatch, {}) as resolver:
        found = await look(server, change=by_name, resolver=resolver)
        assert turned(found, healthy) == {"dns": "problem"}
        assert hidden(found) == AFTER["dns"]
    (dead,) = free_ports(1)
    half = {**direct, ("_xmpp-client._tcp.knoop.test", SRV): srv(dead, "xmpp.knoop.test")}
    async with names(monkeypatch, half) as resolver:
        found = await look(server, change=by_name, resolver=resolver)
        assert turned(found, healthy) == {"tcp": "note"}
        assert f"but not 127.0.0.1:{dead}" in said(found, "tcp")


async def test_a_domain_that_says_that_it_has_no_server(look, good, monkeypatch):
    none = srv(0, ".", priority=0)  # RFC 2782
    async with names(monkeypatch, {("_xmpp-client._tcp.localhost", SRV): none}) as resolver:
        found = await look(good, change=xmpp(host="", port=0), resolver=resolver)
        assert turned(found, {**HEALTHY, "dns": "ok"}) == {"dns": "problem"}
        assert hidden(found) == AFTER["dns"]
        assert "localhost: its DNS says that it has no XMPP service" in said(found, "dns")


async def test_a_domain_without_srv_is_tried_at_its_address(monkeypatch):
    async with names(monkeypatch, {("knoop.test", A): bytes([127, 0, 0, 1])}) as resolver:
        account = Login(jid=compat.jid("greenhouse@knoop.test"), password="")
        found = await doctor.network.find(account, resolver)
        (finding,) = doctor.network.dns(account, found)
        assert (finding.level, [str(target) for target in found]) == ("note", ["127.0.0.1:5222"])
        assert "no SRV record" in finding.text


# ── the server ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("check", "level", "options"),
    [
        ("pep", "problem", {"modules_enabled": sorted({*MODULES} - {"pep", "bookmarks", "vcard4", "vcard_legacy"})}),
        ("archive", "note", {"modules_enabled": sorted({*MODULES} - {"mam"})}),
        ("carbons", "note", {"modules_enabled": sorted({*MODULES} - {"carbons"})}),
        ("offline", "note", {"modules_disabled": ["s2s", "offline"]}),
        ("upload", "note", {"disco_hidden": True}),
        ("nagle", "note", {"network_settings": {"nagle": True}}),
    ],
)
async def test_a_server_that_lacks_something(look, serve, check, level, options):
    server = await serve(accounts={"greenhouse": "secret"}, options=Options(settings=options))
    found = await look(server)
    assert turned(found) == {check: level}
    assert hidden(found) == (("nodes",) if check == "pep" else ())


async def test_a_server_that_limits_the_rate_as_debians_does(look, serve):
    server = await serve(accounts={"greenhouse": "secret"}, options=Options(rate_limit="10kb/s"))
    found = await look(server)
    assert turned(found) == {"rate": "note"}
    assert "most likely by a limit, as Debian's Prosody has" in said(found, "rate")


async def test_a_slow_line_is_no_limit(good):
    """The same 20 kB/s, but from the first byte on."""
    clock = SystemClock()
    links: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, per_s: float) -> None:
        while data := await reader.read(256):
            await asyncio.sleep(len(data) / per_s)
            writer.write(data)

    async def link(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(LOOPBACK, good.tls_port)
        try:
            await asyncio.gather(pump(reader, far_writer, 20_000), pump(far_reader, writer, 1e9))
        finally:
            for one in (writer, far_writer):
                one.transport.abort()

    async def end() -> None:
        server.close()
        for task in links:
            task.cancel()
        await asyncio.gather(*links, return_exceptions=True)

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        links.add(asyncio.create_task(link(reader, writer)))

    async with AsyncExitStack() as stack:
        server = await asyncio.start_server(accept, LOOPBACK, 0)
        stack.push_async_callback(end)
        port = server.sockets[0].getsockname()[1]
        login = Login(
            jid=compat.jid(f"{good.jid('greenhouse')}/slow"), password="secret", host=LOOPBACK, port=port,
            ca_file=good.ca_file,
        )  # fmt: skip
        session = await Session.open(
            login, clock=clock, context=tls_context(login), on_message=lambda *_: None, on_presence=lambda _: None,
            admits=lambda _: False,
        )  # fmt: skip
        stack.push_async_callback(session.close)
        (finding,) = await doctor.server.rate(session, clock=clock)
    assert finding.level == "note"
    assert "a slow line" in finding.text


async def test_a_clock_that_is_a_minute_ahead(good, look):
    class Ahead(SystemClock):
        def time_ns(self) -> int:
            return super().time_ns() + 60_000_000_000

    found = await look(good, clock=Ahead())
    assert turned(found) == {"time": "problem"}
    assert re.search(r"clock is 6[01] s ahead of the server's", said(found, "time"))


SERVICE = '[publish]\npubsub = "pubsub.localhost"\n'


async def test_a_service_that_lets_us_make_nodes(look, serve):
    server = await serve(accounts={"greenhouse": "secret"}, options=Options(pubsub_owners=("greenhouse",)))
    found = await look(server, more=SERVICE)
    assert turned(found) == {}
    assert "pubsub.localhost takes nodes" in said(found, "pep")


async def test_a_service_that_does_not(good, look):
    found = await look(good, more=SERVICE)
    assert turned(found) == {"pep": "problem"}
    assert hidden(found) == ("nodes",)
    assert "lets greenhouse@localhost make no nodes → name it in the component's 'admins'" in said(found, "pep")


async def test_pubsub_that_is_off_is_not_looked_at(good, look):
    found = await look(good, more='[publish]\npubsub = "off"\n')
    assert turned(found) == {}
    assert hidden(found) == ("pep", "nodes")


async def test_a_link_that_ends_in_the_middle(good, look):
    """What was seen stays, one check says what happened, the rest is said to be not looked at."""
    async with Proxy(good.tls_port) as wire:
        cuts: set[asyncio.Task[None]] = set()

        def cut(finding: doctor.Finding) -> None:
            if finding.check == "rooms":
                cuts.add(asyncio.create_task(wire.cut()))

        found = await look(good, change=xmpp(port=wire.port), hears=cut)
    ((check, level),) = turned(found).items()
    assert level == "problem"
    assert check in AFTER["rooms"]
    assert hidden(found) == AFTER[check]
    assert "the login ended meanwhile" in said(found, check)


def made(node: str, access: str) -> str:
    form = "http://jabber.org/protocol/pubsub#node_config"
    return (
        f"<pubsub xmlns='{PUBSUB}'><create node='{node}'/><configure><x xmlns='jabber:x:data' type='submit'>"
        f"<field var='FORM_TYPE' type='hidden'><value>{form}</value></field>"
        f"<field var='pubsub#access_model'><value>{access}</value></field></x></configure></pubsub>"
    )


def members(node: str, jid: str) -> str:
    return (
        f"<pubsub xmlns='{PUBSUB}#owner'><affiliations node='{node}'><affiliation jid='{jid}' affiliation='member'/>"
        "</affiliations></pubsub>"
    )


@pytest.mark.parametrize(
    ("access", "member", "expected"),
    [
        ("open", "anna@localhost", ("problem", f"{NODE} is 'open': others than your people can read it")),
        ("presence", "anna@localhost", ("problem", f"{NODE} is 'presence'")),
        ("whitelist", "eve@localhost", ("note", f"{NODE} can also be read by eve@localhost")),
        ("whitelist", "anna@localhost", ("", "1 there, readable by your people only")),
    ],
)
async def test_a_node_that_others_can_read(good, look, witness, access, member, expected):  # noqa: PLR0917
    level, sentence = expected
    name = f"attic-{access}-{member.partition('@')[0]}"
    jid = good.add_account(name, "secret")
    options = {"port": good.tls_port, "ca_file": good.ca_file}
    device = await witness(Account(jid, "secret"), **options)
    await device.iq("set", made(NODE, access))
    await device.iq("set", members(NODE, member))
    found = await look(good, jid=jid)
    assert turned(found) == ({"nodes": level} if level else {})
    assert sentence in said(found, "nodes")


@pytest.mark.parametrize(
    ("room", "expected"),
    [
        ("open@rooms.localhost", ("note", "is open: who finds it reads the node's alarms")),
        ("new@rooms.localhost", ("note", "does not exist yet")),
        ("attic@nowhere.localhost", ("problem", "does not answer")),
        ("anna@localhost", ("problem", "")),
    ],
)
async def test_rooms(good, look, witness, room, expected):
    level, sentence = expected
    good.add_account("anna", "secret")
    if room.startswith("open"):
        anna = await witness(Account(good.jid("anna"), "secret"), port=good.tls_port, ca_file=good.ca_file)
        await anna.join(room, "anna")
    found = await look(good, more=f'[room."{room}"]\n')
    assert turned(found) == {"rooms": level}
    assert sentence in said(found, "rooms")


# ── the command ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_running_node_does_not_notice(good, tmp_path, witness):
    jid = good.add_account("running", "secret")
    good.add_account("anna", "secret")
    write(tmp_path, Way.to(good), jid=jid)
    anna = await witness(Account(good.jid("anna"), "secret"), port=good.tls_port, ca_file=good.ca_file, friends=[jid])
    async with running(tmp_path) as node:
        await node.online()
        await anna.wait(lambda s: s.kind == "presence" and s.sender == f"{jid}/knoop" and not s.type, 10)
        ended = await knoop("doctor", "--config", "node.toml", folder=tmp_path)
        ended.plainly(0, "ok      login         as running@localhost/doctor, by SCRAM", "0 problems.")
        assert "ok      nodes         4 there, readable by your people only" in ended.out
        assert max(map(len, ended.out.splitlines())) <= 80 or str(tmp_path) in ended.out
        await until(lambda: node.log.count("connected as") == 1, lambda: node.log)
        assert "link down" not in node.log
        await anna.none(lambda s: s.kind == "presence" and "/doctor" in s.sender, 0.1)


async def test_json_exit_codes_and_offline(good, tmp_path):
    write(tmp_path, Way.to(good), jid=good.jid("greenhouse"), password="wrong")
    ended = await knoop("doctor", "--json", folder=tmp_path)
    ended.plainly(1)
    report = json.loads(ended.out)
    wrong = [finding["check"] for finding in report["findings"] if finding["level"] == "problem"]
    assert (report["ok"], wrong) == (False, ["login"])
    offline = await knoop("doctor", "--offline", folder=tmp_path)
    offline.plainly(0, "0 problems.")
    assert "login" not in offline.out
    (tmp_path / "node.toml").write_text("nonsense = 1\n", "utf-8")
    (await knoop("doctor", folder=tmp_path)).plainly(78, "unknown table")
