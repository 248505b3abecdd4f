"""People and rooms are served the same on both servers."""

from __future__ import annotations

from tests.integration.running import BOARD
from tests.interop.conftest import asks, hears

from knoop_bench.seen import Seen

COLD = """
[sensor.air]
driver = "simulated"
label = "Air"
every = "500ms"

[alert.frost]
when = "air.temperature < 20"
"""


async def test_status_and_a_lamp(house, server):
    home = await house(server, {"anna": "owner"})
    anna = await home.visit("anna")
    await asks(anna, home.jid, "status", lambda text: text.startswith("🟢 greenhouse: all is well."))
    await asks(anna, home.jid, "set lamp on", "Lamp is on.")
    assert home.node.moves()[-1] is True
    await asks(anna, home.jid, "lamp off", "Lamp is off.")
    assert home.node.moves()[-1] is False


async def test_a_stranger_gets_silence(house, server):
    home = await house(server, {"anna": "owner", "mallory": ""})
    anna = await home.visit("anna")
    mallory = await home.visit("mallory", friends=[])
    before = len(home.node.moves())
    for text in ("lamp on", "status", "?"):
        mallory.say(home.jid, text)
    await mallory.ping()
    await asks(anna, home.jid, "about", lambda text: text.startswith("Knoop "))  # behind it
    await mallory.ping()
    assert [seen for seen in mallory.seen if seen.sender_bare == home.jid and seen.kind != "iq"] == []
    assert len(home.node.moves()) == before


async def test_an_alarm_reaches_room_and_person_and_is_acknowledged(house, server):
    room = server.room("fleet-alarm")
    more = f'[room."{room}"]\nclasses = ["alarm"]\n'
    home = await house(server, {"anna": "owner", "vera": "viewer"}, board=BOARD + COLD, more=more)
    anna, vera = await home.visit("anna"), await home.visit("vera")
    await home.node.says(f"in room {room}")
    await vera.join(room, "vera")
    await hears(anna, home.jid, lambda text: "frost" in text.lower())

    def in_room(words: str):
        return lambda seen: seen.type == "groupchat" and seen.sender_bare == room and words in seen.body.lower()

    def shown(how: str):
        def fits(seen: Seen) -> bool:
            return (
                seen.kind == "presence" and seen.sender_bare == room and seen.sender.endswith("/greenhouse")
                and seen.xml.findtext("{jabber:client}show", "") == how
            )
        return fits

    await vera.wait(shown("dnd"))
    after = vera.mark
    await asks(anna, home.jid, "ack frost", lambda text: "frost" in text.lower())
    await vera.wait(in_room("frost"), after=after)
    await vera.wait(shown(""), after=after)
