"""What a person may still hear when it is sent, and that an alarm is noted before."""

from knoop.publishers import Voice, open_sink
from knoop.record import Record


class Session:
    """What was written, and that a ping came behind it."""

    def __init__(self):
        self.done = []

    def send(self, stanza):
        wish = stanza.find("{urn:xmpp:receipts}request") is not None
        self.done.append(stanza.get("id") + (" receipt" if wish else ""))

    async def ping(self):
        self.done.append("ping")
        return 0.0


def event(seq, channel, cls="event"):
    return Record(
        run="aaaaaaaa", channel=channel, seq=seq, cls=cls, type="boolean", value=True, boot="b", boottime_ns=1,
        at_ns=None,
    )


async def test_what_waited_is_not_told_to_somebody_whose_rights_were_narrowed_meanwhile():
    session = Session()
    voice = Voice(
        sentence=lambda record, _lang: record.channel, personal=lambda _who, record, _lang: record.channel,
        may_hear=lambda _who, record: record.channel == "door",
    )
    async with open_sink("chat:bram@example.org", session=session, voice=voice, settings="") as chat:
        await chat.send([event(1, "door"), event(1, "lamp"), event(2, "door")])
    assert session.done == ["aaaaaaaa-door-1", "aaaaaaaa-door-2", "ping"]


async def test_an_alarm_is_noted_before_it_is_sent_and_safe_before_it_counts_as_sent():
    session = Session()

    async def kept():
        session.done.append("kept")

    voice = Voice(
        sentence=lambda record, _lang: record.channel, personal=lambda _who, record, _lang: f"{record.channel}!",
        may_hear=lambda _who, record: record.channel != "secret", kept=kept,
        note=lambda *told: session.done.append((told[0], told[1].identity, told[2])),
    )
    async with open_sink("chat:bram@example.org", session=session, voice=voice, settings="") as chat:
        await chat.send([event(1, "smoke", "alarm"), event(1, "door"), event(1, "secret", "alarm")])
        await chat.send([event(2, "door")])
    assert session.done == [
        ("bram@example.org", "aaaaaaaa-smoke-1", "smoke!"), "aaaaaaaa-smoke-1 receipt", "aaaaaaaa-door-1", "ping",
        "kept", "aaaaaaaa-door-2", "ping",
    ]
