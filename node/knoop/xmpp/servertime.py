"""Our server's time (XEP-0202): the one clock beside our own that we can ask."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from xml.etree import ElementTree as ET

from knoop.errors import Refusal
from knoop.xmpp.session import IQ_TIMEOUT_S, Session
from knoop_hw.clock import Clock

TIME = "{urn:xmpp:time}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Apart:
    """By how much our wall clock is ahead of the server's, and how long the answer took, in seconds."""

    ahead_s: float
    rtt_s: float


async def apart(session: Session, *, clock: Clock, timeout_s: float = IQ_TIMEOUT_S) -> Apart:
    """Ask. Raises Refusal where the server does not tell its time, or LinkError.

    The answer counts from the middle of the way there and back; servers say whole seconds or better.
    """
    asked_ns = clock.boottime_ns()
    server = session.jid.domain
    answer = await session.iq("get", ET.Element(f"{TIME}time"), to=server, timeout_s=timeout_s)
    rtt_s = (clock.boottime_ns() - asked_ns) / 1e9
    try:
        theirs = datetime.fromisoformat(answer.findtext(f"{TIME}time/{TIME}utc", "").strip())
    except ValueError:
        theirs = None
    if theirs is None or theirs.tzinfo is None:
        raise Refusal("undefined-condition", f"{server} tells no time (XEP-0202)")
    return Apart(ahead_s=clock.time_ns() / 1e9 - rtt_s / 2 - theirs.timestamp(), rtt_s=rtt_s)
