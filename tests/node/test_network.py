"""The agent's own channel: what the kernel's files say of the Wi-Fi, and a node that tells it like any other."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest
from tests.integration.inprocess import node
from tests.node.test_config import problems

from knoop import commands
from knoop.command import Request
from knoop.network import Network, signal
from knoop.wifi import PATIENCE_S, Wifi
from knoop.xmpp import compat
from knoop_hw.clock import FakeClock

# wext-proc.c, wireless_dev_seq_show and wireless_seq_printf_stats: the head, and a line for each interface.
HEAD = (
    "Inter-| sta-|   Quality        |   Discarded packets               | Missed | WE\n"
    " face | tus | link level noise |  nwid  crypt   frag  retry   misc | beacon | 22\n"
)
LINE = "%6s: %04x  %3d%c  %3d%c  %3d%c  %6d %6d %6d %6d %6d   %6d\n"


def wifi(name, level, *, new="."):
    return LINE % (name, 0, 54, new, level, new, -256, new, 0, 0, 0, 0, 12, 0)


# A connected one as a Raspberry Pi 4 shows it, one that is not (`nullstats`), and one of a driver that counts from 0.
WLAN0, WLAN1 = wifi("wlan0", -56), wifi("wlp1s0u1", -71, new=" ")
IDLE, OLD = LINE % ("wlan0", 0, 0, " ", 0, " ", 0, " ", 0, 0, 0, 0, 0, 0), wifi("wlan0", 184)

# fib_trie.c, fib_route_seq_show, and net/ipv6/route.c, rt6_info_route; both files as a machine here shows them.
ROUTES = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
ROUTE = (
    "{0}\t00000000\t010200C0\t{1:04X}\t0\t0\t{2}\t00000000\t0\t0\t0\n"
    "{0}\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
)
ANY = "0" * 32 + " 00 "
NOWHERE6 = f"{ANY}{ANY}{'0' * 32} ffffffff 00000001 00000000 00200200       lo\n"
ROUTE6 = ANY + ANY + "fd000000000000000000000000000001 {1:08x} 00000003 00000000 00000003 {0:>8}\n"


def to(name, metric=0, flags=0x3):
    return ROUTE.format(name, flags, metric)


class TestSignal:
    @pytest.mark.parametrize(
        ("wireless", "routes", "level"),
        [
            (WLAN0, to("wlan0", 600), -56), (WLAN0, to("eth0") + to("wlan0", 600), -56),
            (WLAN0 + WLAN1, to("wlp1s0u1", 600) + to("wlan0", 700), -71), (WLAN1 + WLAN0, to("wlan0"), -56),
            (WLAN0, to("eth0"), -56), (WLAN0, "", -56),  # the only one, also when the way out is a cable
            (WLAN0 + WLAN1, to("eth0"), None), (WLAN0 + WLAN1, to("wlan0", flags=0x201), None),
            ("", to("eth0"), None), (IDLE, to("wlan0"), None), (OLD, to("wlan0"), None),
            (wifi("wlan0", -256), to("wlan0"), None), ("wlan0: 0000\n\n:\n", to("wlan0"), None),
        ],
    )  # fmt: skip
    def test_of_the_way_out_or_of_the_only_one(self, wireless, routes, level):
        assert signal(HEAD + wireless, ROUTES + routes) == level

    def test_a_network_of_ipv6_only(self):
        routes6 = NOWHERE6 + ROUTE6.format("wlan0", 1024) + ROUTE6.format("wlp1s0u1", 512)
        assert signal(HEAD + WLAN0 + WLAN1, ROUTES, routes6) == -71

    def test_a_kernel_that_has_no_such_file(self):
        assert signal("", "", "") is None

    def test_lines_that_make_no_sense(self):
        assert signal(HEAD + WLAN0 + WLAN1, "\n" + to("wlan0").replace("\t0003", "\tx"), "0 1 2\n") is None


@pytest.fixture
def root(tmp_path):
    """A machine whose only Wi-Fi hears its access point at -56 dBm."""
    net = tmp_path / "proc/self/net"
    net.mkdir(parents=True)
    (net / "route").write_text(ROUTES + to("wlan0", 600))
    hears(tmp_path, -56)
    return tmp_path


def hears(root, level):
    (root / "proc/self/net/wireless").write_text(HEAD + (wifi("wlan0", level) if level else IDLE))


class Told:
    """What the agent would put into its router."""

    def __init__(self, table):
        self.clock, self.records = FakeClock(), []
        self._new = asyncio.Event()
        self.wifi = Wifi(table, run="aaaaaaaa", clock=self.clock, now_ns=self.clock.time_ns, put=self._put)

    def _put(self, record):
        self.records.append(record)
        self._new.set()

    async def after(self, seconds, root, level):
        """The next record, when so much time went by and the signal is another one."""
        hears(root, level)
        self._new.clear()
        await self.clock.advance(seconds)
        await asyncio.wait_for(self._new.wait(), 5)
        return self.records[-1]


async def test_it_is_told_when_it_changed_and_when_nothing_came_for_long(root):
    told = Told(Network(root=root))
    running = asyncio.create_task(told.wifi.run())
    begun = await told.after(0, root, -56)
    assert (begun.identity, begun.value, begun.unit, begun.quality) == ("aaaaaaaa-network.signal-1", -56, "dBm", "ok")
    assert (begun.cls, begun.type, begun.at_ns) == ("telemetry", "number", told.clock.time_ns())
    gone = await told.after(60, root, None)
    assert (gone.seq, gone.value, gone.quality) == (2, None, "missing")
    assert (await told.after(60, root, -58)).seq == 3
    hears(root, -60)  # 2 dB are nothing
    for _ in range(15):
        await told.clock.advance(60)
        async with asyncio.timeout(20):
            while threading.active_count() > 1 and any(t.name == "knoop-wifi" for t in threading.enumerate()):
                await asyncio.sleep(0.001)
        await told.clock.advance(0)
    assert [(r.seq, r.value) for r in told.records[3:]] == [(4, -60)]
    running.cancel()


async def test_a_chip_that_hangs_is_an_error_and_asked_no_second_time(root):
    wireless = root / "proc/self/net/wireless"
    wireless.unlink()
    os.mkfifo(wireless)
    told = Told(Network(root=root))
    running = asyncio.create_task(told.wifi.run())
    await told.clock.advance(PATIENCE_S)
    assert [(r.value, r.quality) for r in told.records] == [(None, "error")]
    await told.clock.advance(600)
    assert sum(thread.name == "knoop-wifi" for thread in threading.enumerate()) == 1
    told._new.clear()
    await asyncio.to_thread(wireless.write_text, HEAD + WLAN0)
    await asyncio.wait_for(told._new.wait(), 5)
    assert told.records[-1].value == -56
    running.cancel()


NODE = """
[node]
name = "attic"
[xmpp]
jid = "attic@example.org"
host = "127.0.0.1"
port = 9
[people]
"anna@example.org" = "owner"
"bram@example.org" = { role = "viewer", only = ["network"] }
[board]
driver = "simulated"
[network]
every = "1s"
aliases = ["wifi"]
root = "."
[alert.weak]
when = "network.signal < -75"
"""


async def test_a_node_tells_it_like_any_other_channel(root, load, monkeypatch):
    monkeypatch.setattr("knoop_hw.clock.SystemClock.synced", lambda _self: True)  # nobody vouches for it offline
    load(NODE)
    hears(root, -80)
    async with node(root / "node.toml", password="of nobody") as running:
        house, router = running.agent.house, running.agent.router
        async with asyncio.timeout(10):
            while "alert.weak" not in house.latest:
                await asyncio.sleep(0.01)
        assert house.latest["alert.weak"].value == "raised"
        assert (house.latest["network.signal"].value, house.latest["network.signal"].run) == (-80, house.run)
        await router.flush()
        assert "network.signal" in {record.channel for record in await house.store.pending("pubsub")}
        anna = compat.jid("anna@example.org")
        for verb, says in (("read", "-80 dBm"), ("history", "-80"), ("status", "weak")):
            channels = () if verb == "status" else ("network.signal",)
            reply = await commands.table()[verb].run(Request(sender=anna, verb=verb, channels=channels), house)
            assert says in house.voice("").render(reply).replace("\N{MINUS SIGN}", "-")
        assert [c.name for c in house.all_channels] == [
            "network.signal", "node.storage", "node.dropped", "node.refused", "node.failed", "alert.weak",
            "alert.storage",
        ]
        bram = house.access.person(compat.jid("bram@example.org"))
        assert bram is not None
        assert bram.reads("network.signal")


class TestTable:
    def test_without_it_there_is_no_such_channel(self, load):
        without = NODE.partition("[network]")[0].replace('["network"]', "[]")
        assert load(without).network is None
        assert "there is no channel network.signal" in problems(load, without + NODE[NODE.index("[alert") :])[0]

    def test_a_bare_table_is_enough(self, load):
        table = load(NODE.partition("[network]")[0] + "[network]\n").network
        assert (table.every_s, table.options.delta.amount, table.options.heartbeat_s) == (60, 3, 900)

    def test_what_is_said_wins(self, load):
        keys = 'delta = 0\nmin_interval = "1h"\nlabel = "Signal"\ndigits = 1'
        said = load(NODE.replace('every = "1s"', keys)).network
        assert (said.options.delta.amount, said.options.min_interval_s, said.options.heartbeat_s) == (0, 3600, None)
        assert (said.channel.label, said.channel.digits) == ("Signal", 1)

    def test_what_is_wrong(self, load):
        wrong = NODE.replace('every = "1s"', 'evry = "1s"').replace('["wifi"]', '["status"]')
        wrong = wrong.replace('"simulated"\n', '"simulated"\n[input.network]\npin = "GPIO5"\n')
        told = problems(load, wrong)
        assert any("network.evry: unknown key; did you mean 'every'?" in one for one in told)
        assert any("input.network: 'network' is what the agent's own channels begin with" in one for one in told)
        told = problems(load, NODE.replace('["wifi"]', '["status"]'))
        assert any("network.aliases: " in one for one in told)
