"""How quickly a server takes and gives: the limit of its rate, and whether Nagle's algorithm holds answers back."""

from __future__ import annotations

import asyncio
import socket
import statistics
from contextlib import suppress
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from knoop.errors import Refusal
from knoop.jid import Jid
from knoop.together import together
from knoop.xmpp.session import Session
from knoop_hw.clock import Clock

PING = "{urn:xmpp:ping}ping"
SIZE, MARKUP = 1000, 110  # bytes of text in a request, and about what stands around it
COUNT = 36  # 4 s at the 10 kB/s of Debian's Prosody
AT_ONCE = 8  # at 10 kB/s a ping of the session waits 1 s behind them, far from being given up
BOUND_S = 6.0
BURST = 2000  # bytes that Prosody reads at once (measured: not 4000), so that its limit counts them afterwards
REST_S = 1.5
QUICK_PER_S = 50_000  # a reading every 7 ms needs less; below it is worth asking why
TRIALS = 7
WRITTEN_S = 0.02  # slixmpp writes what was sent within a few turns of the loop


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Bytes a second that the server took on and on; `burst_per_s` of a few after a rest, None where that was quick."""

    per_s: float
    burst_per_s: float | None


async def pace(session: Session, *, clock: Clock) -> Pace:
    """Send at most 45 kB of pings and see when they are answered; takes about 9 s where that is slow.

    A limit lets the first few kilobytes after a rest through and is steady afterwards (measured: Prosody 0.12 with
    mod_limits reads, acts, and then pauses for what it read); a slow line is as slow from the first byte on. Where the
    distance alone explains what was measured, that is no limit.
    """
    away_s = statistics.median([await _answer_s(session, 0, clock=clock) for _ in range(3)])
    per_s = await _flow(session, clock=clock)
    if per_s >= min(QUICK_PER_S, AT_ONCE * (SIZE + MARKUP) / away_s / 2):
        return Pace(per_s=per_s, burst_per_s=None)
    await clock.sleep(REST_S)
    away_s = min(away_s, await _answer_s(session, 0, clock=clock))
    burst_s = await _answer_s(session, BURST, clock=clock) - away_s
    return Pace(per_s=per_s, burst_per_s=BURST / max(burst_s, 1e-3))


async def _answer_s(session: Session, size: int, *, clock: Clock) -> float:
    request = ET.Element(PING)
    request.text = "x" * size
    started_ns = clock.boottime_ns()
    with suppress(Refusal):  # an error is an answer
        await session.iq("get", request, to=session.jid.domain)
    return (clock.boottime_ns() - started_ns) / 1e9


async def _flow(session: Session, *, clock: Clock) -> float:
    """Bytes a second over the second half of the answers, which a burst that was let through no longer brightens.

    Nothing is begun after BOUND_S.
    """
    window = asyncio.Semaphore(AT_ONCE)
    end_ns = clock.boottime_ns() + int(BOUND_S * 1e9)
    answered: list[int] = []

    async def one() -> None:
        async with window:
            if clock.boottime_ns() < end_ns:
                await _answer_s(session, SIZE, clock=clock)
                answered.append(clock.boottime_ns())

    await together(*(one() for _ in range(COUNT)))
    half = len(answered) // 2
    lasted_s = (answered[-1] - answered[half]) / 1e9
    return (len(answered) - 1 - half) * (SIZE + MARKUP) / max(lasted_s, 1e-6)


async def held_back_s(session: Session, echo: Jid, *, clock: Clock) -> float | None:
    """How much later an answer comes when it follows another small piece; None where that cannot be seen.

    Nagle's algorithm (RFC 896) at the server keeps a second small segment until the first is acknowledged, and a
    client's kernel waits 40 ms with that unless it has something to send. So: one segment of ours holds a request
    for an acknowledgement of XEP-0198, answered at once and wanting no answer, and a ping to `echo`, another login of
    ours, whose pong follows. With Nagle it comes 40 ms later than alone, whatever the distance.
    """
    if "stream_management" not in session._stream.features:  # noqa: SLF001 -- one measurement, below what a Session is
        return None
    alone = [await _pong_s(session, echo, behind=False, clock=clock) for _ in range(TRIALS)]
    behind = [await _pong_s(session, echo, behind=True, clock=clock) for _ in range(TRIALS)]
    return min(behind) - min(alone)  # the quickest: neither a jittery line nor a limit's pauses count


async def _pong_s(session: Session, echo: Jid, *, behind: bool, clock: Clock) -> float:
    stream = session._stream  # noqa: SLF001 -- as above
    assert stream.transport is not None
    line = stream.transport.get_extra_info("socket")
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)  # tcp(7): holds for 200 ms at most
    answer = asyncio.ensure_future(session.iq("get", ET.Element(PING), to=str(echo)))
    try:
        if behind:
            stream.send_raw("<r xmlns='urn:xmpp:sm:3'/>")
        await clock.sleep(WRITTEN_S)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        started_ns = clock.boottime_ns()
        await answer
    finally:
        answer.cancel()
    return (clock.boottime_ns() - started_ns) / 1e9
