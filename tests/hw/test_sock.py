"""`board.sock`: an agent of any behaviour must never block or grow the half with the outputs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.hw.ends import Sending, ends
from tests.hw.test_board import HOUSE, WEATHER

from knoop_hw.board import Board
from knoop_hw.clock import SystemClock
from knoop_hw.errors import DeviceError
from knoop_hw.life import lock
from knoop_hw.link import LinkClosed, NotTheProtocol
from knoop_hw.messages import MAX_LINE, Beat, Done, Hello, Readings, Set, Stored, encode
from knoop_hw.model import Reading
from knoop_hw.sock import CHUNK, Listener, SocketLink, connect

BOUND_S = 5.0
MIB = 2**20


def readings(upto, count=100):
    items = (Reading(channel="air.temperature", seq=n, value=21.5, boottime_ns=n) for n in range(1, count + 1))
    return Readings(upto=upto, items=tuple(items))


@pytest.fixture
async def raw():
    """A link, and the bare socket at its other end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    theirs.settimeout(BOUND_S)
    with theirs:
        link = SocketLink(ours, peer="the agent")
        yield link, theirs
        await link.close()


# ── one link ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_lines_arrive_whole_however_they_are_cut(raw):
    link, peer = raw
    sent = [Beat(), Stored(upto=3), readings(7)]
    data = b"".join(map(encode, sent))
    for step in (1, 7, len(data)):

        async def send(step=step):
            for start in range(0, len(data), step):
                await asyncio.get_running_loop().sock_sendall(peer, data[start : start + step])

        peer.setblocking(False)
        sending = asyncio.create_task(send())
        async with asyncio.timeout(BOUND_S):
            assert [await link.receive() for _ in sent] == sent
            await sending
    await link.close()


async def test_the_longest_line_passes_and_a_longer_one_does_not(raw):
    link, peer = raw
    line = encode(Beat())[:-2] + b" " * (MAX_LINE - len(encode(Beat()))) + b"}\n"
    assert len(line) == MAX_LINE
    loop = asyncio.get_running_loop()
    peer.setblocking(False)
    await loop.sock_sendall(peer, line)
    async with asyncio.timeout(BOUND_S):
        assert await link.receive() == Beat()
        await loop.sock_sendall(peer, b" " + line)
        with pytest.raises(NotTheProtocol, match=r"exceeds the limit|more than 65536 bytes"):
            await link.receive()


@pytest.mark.parametrize(
    ("line", "names"),
    [
        (b"hallo\n", "not JSON"), (b"\n", "not JSON"), (b'{"m":"dance"}\n', "not a message of the Board protocol"),
        (b'{"m":"stored","upto":"x"}\n', "stored.upto"), (b"\xff\xfe\n", "not JSON"),
        (encode(Hello(v=2, version="9", run="r", boot="b", digest="d", channels=())), "version 2"),
    ],
)
async def test_nonsense_is_named_and_ends_the_link(raw, line, names):
    link, peer = raw
    peer.sendall(line + encode(Beat()))
    async with asyncio.timeout(BOUND_S):
        with pytest.raises(NotTheProtocol, match=f"^the agent sent what is not the Board protocol .*{names}"):
            await link.receive()
        with pytest.raises(LinkClosed):
            await link.receive()
    assert peer.recv(10) == b""


async def test_half_a_line_at_the_end_is_no_message(raw):
    link, peer = raw
    peer.sendall(encode(Beat()) + encode(Stored(upto=5))[:-3])
    peer.close()
    async with asyncio.timeout(BOUND_S):
        assert await link.receive() == Beat()
        with pytest.raises(LinkClosed, match="the agent hung up"):
            await link.receive()


async def test_a_hundred_megabytes_without_a_newline_cost_a_line(raw):
    link, peer = raw
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def flood():
        with contextlib.suppress(OSError):
            for _ in range(100):
                peer.sendall(b"x" * MIB)

    flooding = asyncio.create_task(asyncio.to_thread(flood))
    async with asyncio.timeout(BOUND_S):
        with pytest.raises(NotTheProtocol, match="a line of more than 65536 bytes"):
            await link.receive()
        await flooding
    assert len(link._left) == 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024


async def test_a_flood_of_good_lines_leaves_the_loop_its_turns(raw):
    """What is at hand is read without waiting, and a peer may never stop: everybody else has a turn in between."""
    link, peer = raw
    line = encode(Beat())
    peer.setblocking(False)
    count = peer.send(line * (8 * CHUNK // len(line))) // len(line)
    assert count * len(line) > 4 * CHUNK

    async def take():
        for _ in range(count):
            await link.receive()

    taking, turns, longest = asyncio.create_task(take()), 0, 0
    while not taking.done():
        await asyncio.sleep(0)
        turns += 1
        longest = max(longest, len(link._left))
    assert turns > count * len(line) // CHUNK
    assert longest < 2 * CHUNK


async def test_an_end_that_cannot_write_still_reads_what_was_written_to_it():
    """The hardware half was killed while the agent was slow: its last readings wait in the socket."""
    agent, board = ends("socket")
    batches = [readings(upto) for upto in range(1, 9)]
    for batch in batches:
        await board.send(batch)
    await agent.send(Beat())  # unread at the other end: its death is a reset, not a plain end
    await board.close()
    with pytest.raises(LinkClosed):
        for _ in range(2):
            await agent.send(Beat())
    async with asyncio.timeout(BOUND_S):
        assert [await agent.receive() for _ in batches] == batches
        with pytest.raises(LinkClosed):
            await agent.receive()
    await agent.close()


async def test_a_sender_waits_for_a_peer_that_does_not_read_and_a_close_wakes_it(raw):
    link, peer = raw
    sending = Sending(link, readings)
    assert await sending.stuck() < 1000
    second = asyncio.create_task(link.send(Beat()))
    await asyncio.sleep(0)
    await link.close()
    async with asyncio.timeout(BOUND_S):
        for task in (sending.task, second):
            with pytest.raises(LinkClosed):
                await task
    peer.setblocking(False)


async def test_a_send_that_is_given_up_half_way_leaves_no_half_line_before_another(raw):
    link, peer = raw
    async with asyncio.timeout(BOUND_S):
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await link.send(readings(1))
                continue
            break
        with pytest.raises(LinkClosed):
            await link.send(Beat())
    peer.settimeout(BOUND_S)
    data = b""
    while more := peer.recv(MIB):  # it ends, so that the other half hangs up and both begin anew
        data += more
    whole = data.rpartition(b"\n")[0]
    assert {len(line) for line in whole.split(b"\n")} == {len(encode(readings(1))) - 1}
    peer.sendall(encode(Stored(upto=1)))
    assert await link.receive() == Stored(upto=1)


async def test_no_descriptor_is_left_behind():
    def count():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = count()
    for _ in range(20):
        agent, board = ends("socket")
        receiving = [asyncio.create_task(end.receive()) for end in (agent, board)]
        await asyncio.sleep(0)
        await agent.close()
        await asyncio.gather(*receiving, return_exceptions=True)
        await board.close()
        await board.close()
    assert count() == before


# ── where agents come in ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def served(tmp_path, configured):
    """A board on the machine's clock that listens at `board.sock`."""
    clock, path = SystemClock(), tmp_path / "run" / "board.sock"
    listener = Listener(path)
    async with Board(configured(HOUSE, WEATHER), clock=clock) as board:
        accepting = asyncio.create_task(listener.accept(board.serve, clock=clock))
        yield board, path
        accepting.cancel()
        await asyncio.gather(accepting, return_exceptions=True)
    listener.close()
    assert not path.exists()


async def connected(path):
    """A connection, as soon as the queue of those who wait has room."""
    while True:
        try:
            return connect(path, peer="the hardware half")
        except BlockingIOError:
            await asyncio.sleep(0)


async def obeys(path):
    """A new agent is heard: it gets a hello, sets, and hears the level."""
    async with asyncio.timeout(BOUND_S):
        link = await connected(path)
        assert isinstance(await link.receive(), Hello)
        asked_ns = SystemClock().boottime_ns()
        await link.send(Set(id=1, channel="lamp", value=True, by="anna@example.org", asked_ns=asked_ns))
        while not isinstance(answer := await link.receive(), Done):
            pass
    assert answer.reading.value is True
    return link


async def test_a_new_agent_replaces_the_old_also_one_that_does_not_read(served):
    board, path = served
    deaf = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    deaf.connect(str(path))
    deaf.setblocking(False)
    wish = encode(Set(id=1, channel="nothing", value=True, by="anna@example.org", asked_ns=0))
    with contextlib.suppress(BlockingIOError):
        while True:  # every answer waits in the socket, until it is full and nothing is read any more
            deaf.send(wish)
            await asyncio.sleep(0)
    board.outputs.set("lamp", True)  # nobody else waits for that one
    link = await obeys(path)
    another = await obeys(path)
    with pytest.raises(LinkClosed):
        while True:
            await link.receive()
    for end in (link, another):
        await end.close()
    deaf.close()


HOSTILE = """
import socket, sys
path, what = sys.argv[1:]
wish = b'{"m":"set","id":1,"channel":"nothing","value":true,"by":"x","asked_ns":0}\\n'
data = {"garbage": b"x" * 65536, "wishes": wish * 500, "knocking": b""}[what]
while True:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        try:
            peer.connect(path)
            while data:
                peer.sendall(data)  # and it reads nothing
        except OSError:
            pass
"""


@pytest.mark.parametrize("what", ["garbage", "wishes", "knocking"])
async def test_outputs_keep_their_times_whatever_an_agent_does(served, what, caplog):
    board, path = served
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", HOSTILE, str(path), what)
    try:
        async with asyncio.timeout(BOUND_S * 2):
            while board._talk.link is None:
                await asyncio.sleep(0.01)
            board.outputs.set("lamp", True, for_s=0.5)
            board.outputs.set("heater", True)
            while board.simulated.level("lamp") or board.simulated.level("heater"):
                await asyncio.sleep(0.01)  # the lease is over, and nobody beats for the dead man
    finally:
        process.kill()
        await process.wait()
    lamp, heater = (board.latest[name].boottime_ns for name in ("lamp", "heater"))
    assert lamp < heater
    assert len(board._pipes.kept) <= 10_000
    assert caplog.text.count("is not the Board protocol") == (what == "garbage")
    await (await obeys(path)).close()


async def test_garbage_is_logged_in_one_line_and_the_next_agent_is_served(served, caplog):
    _board, path = served
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"x" * (2 * MAX_LINE), encode(Beat())[:4], b""):
        caplog.clear()
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(data)
        if len(data) < 5:
            writer.close()
        with contextlib.suppress(OSError):
            async with asyncio.timeout(BOUND_S):
                while await reader.read(MIB):
                    pass
        writer.close()
        await (await obeys(path)).close()
        said = [record.message for record in caplog.records if record.levelname == "ERROR"]
        assert len(said) == (1 if len(data) > 5 else 0)
        assert all("the agent sent what is not the Board protocol" in line for line in said)


async def test_a_storm_of_connections_leaves_one_agent(served):
    board, path = served
    many = [await connected(path) for _ in range(200)]
    link = await obeys(path)
    async with asyncio.timeout(BOUND_S):
        for end in many:
            with contextlib.suppress(LinkClosed):
                while True:
                    await end.receive()
    assert board._talk.link is not None
    await link.close()
    for end in many:
        await end.close()


async def test_the_socket_is_for_its_group_only(served):
    _board, path = served
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


HOLD = """
import sys
from pathlib import Path
from knoop_hw.sock import Listener
held = Listener(Path(sys.argv[1]))
print("there", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def another(tmp_path):
    """Another process that listens at `board.sock`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "board.sock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout.readline() == b"there\n"
        yield process
        process.kill()


def test_a_live_one_is_refused_and_a_dead_ones_socket_is_removed(tmp_path, another):
    path = tmp_path / "board.sock"
    with pytest.raises(DeviceError, match=r"board\.sock is another knoop-hw's, which is running; stop it, or give"):
        Listener(path)
    assert path.exists()
    another.kill()
    another.wait()
    assert path.exists()
    listener = Listener(path)
    listener.close()
    listener.close()
    assert not path.exists()


def test_what_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "board.sock"
    path.write_text("precious")
    with pytest.raises(DeviceError, match="exists and is no socket; remove it, or choose another --socket"):
        Listener(path)
    assert path.read_text() == "precious"


def test_a_lock_wants_no_room_on_the_disk(tmp_path):
    """A full disk, or one that became read-only, must not keep the outputs from being opened and guarded."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        Listener(tmp_path / "board.sock").close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with lock(tmp_path / "lock", taken=""):
        pass
    (tmp_path / "lock").chmod(0o400)
    with lock(tmp_path / "lock", taken=""):
        pass


def test_a_lock_that_leads_elsewhere_is_not_followed(tmp_path):
    """The agent's user may write into this folder, too: what it puts there must not empty a file of ours."""
    (tmp_path / "precious").write_text("levels")
    (tmp_path / "board.sock.lock").symlink_to("precious")
    with pytest.raises(DeviceError, match="or choose another --socket"):
        Listener(tmp_path / "board.sock")
    assert (tmp_path / "precious").read_text() == "levels"


def test_a_folder_that_is_not_there_or_not_ours_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "board.sock", tmp_path / ("x" * 120) / "board.sock"):
        with pytest.raises(DeviceError, match=r"or choose another --socket"):
            Listener(path)


def test_a_passed_socket_is_systemds_and_stays(tmp_path):
    path = tmp_path / "board.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as theirs:
        theirs.bind(str(path))
        theirs.listen()
        Listener(path, passed=os.dup(theirs.fileno())).close()
        assert path.exists()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wrong:
        passed = os.dup(wrong.fileno())
        with pytest.raises(DeviceError, match="no Unix stream"):
            Listener(path, passed=passed)
