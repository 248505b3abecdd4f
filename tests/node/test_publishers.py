"""What a person may still hear when it is sent."""

from knoop.publishers import Voice, open_sink
from knoop.record import Record


class Session:
    """What was written, and that a ping came behind it."""

    def __init__(self):
        self.done = []

    def send(self, stanza):
        self.done.append(stanza.get("id"))

    async def ping(self):
        self.done.append("ping")
        return 0.0


def event(seq, channel):
    return Record(
        run="aaaaaaaa", channel=channel, seq=seq, cls="event", type="boolean", value=True, boot="b", boottime_ns=1,
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
