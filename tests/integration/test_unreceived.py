"""An alarm that a server accepted and nobody received, on a real server: lost with a client, or sent back."""

import secrets
from contextlib import AsyncExitStack

import pytest
from tests.integration.inprocess import node
from tests.integration.running import Way, until, write

from knoop_bench.proxy import Proxy
from knoop_bench.witness import Witness

pytestmark = pytest.mark.prosody

BOARD = """
[board]
driver = "simulated"
[input.door]
label = "Front door"
pin = "GPIO17"
[alert.open]
when = "door == on"
repeat = "0s"
escalate = ["{next}"]
escalate_after = "30min"
"""
BLOCK = "<block xmlns='urn:xmpp:blocking'><item jid='{}'/></block>"
RAISED = "Alert open: Front door is open."


@pytest.fixture
def quickly(monkeypatch):
    """Repeats after a second, not a minute, on a machine that knows what time it is."""
    monkeypatch.setattr("knoop.household.Household.synced", lambda _house: True)
    monkeypatch.setattr("knoop.agent.TICK_S", 0.1)
    monkeypatch.setattr("knoop.unreceived.PAUSES_S", (1.0, 600.0))


@pytest.mark.usefixtures("quickly")
async def test_an_alarm_outlives_its_clients_connection_and_goes_on_when_it_comes_back(tmp_path, prosody, caplog):
    await outlives(tmp_path, prosody, caplog)


async def outlives(folder, server, caplog):
    """Anna's client says what it received; Bram's does not; Cleo's account is gone; Dirk has blocked the node."""
    names = {name: f"{name}-{secrets.token_hex(3)}" for name in ("node", "anna", "bram", "dirk", "next")}
    jids = {name: server.add_account(user, secrets.token_urlsafe(12)) for name, user in names.items()}
    own, anna, gone = jids["node"], jids["anna"], f"cleo-{secrets.token_hex(3)}@{server.host}"
    people = {anna: '"owner"', jids["bram"]: '"viewer"', gone: '"viewer"', jids["dirk"]: '"viewer"',
              jids["next"]: '{ role = "viewer", notify = [] }'}
    password = server.password(names["node"])
    file = write(folder, Way.to(server), jid=own, password=password, people=people,
                 board=BOARD.format(next=jids["next"]))

    async def visit(name, *, port=server.tls_port, **more):
        client = Witness(jids[name], server.password(names[name]), port=port, ca_file=server.ca_file, **more)
        return await stack.enter_async_context(client)

    async def hears(person, text, *, after=0):
        return await person.wait(lambda seen: (seen.sender_bare, seen.body) == (own, text), 15.0, after=after)

    async with (
        AsyncExitStack() as stack, Proxy(server.tls_port) as wire, node(file, password=password) as home,
    ):  # fmt: skip
        notes = home.agent.house.alarms.unreceived

        async def settled(*, noted, identity):
            await until(lambda: ((anna, identity) in notes._notes) == noted, lambda: str(notes._notes))

        phone, other = await visit("anna", port=wire.port, receipts=True), await visit("bram")
        later = await visit("next")
        await (await visit("dirk")).iq("set", BLOCK.format(own))
        await until(lambda: home.agent.presence.up, lambda: "not online")

        home.reads("door", True)
        raised = await hears(phone, RAISED)
        await settled(noted=False, identity=raised.id)
        await later.wait(lambda seen: seen.body.startswith(f"{RAISED[:-1]} (since "), 15.0)
        for jid in (gone, jids["dirk"]):
            said = f"alarm to {jid} came back (service-unavailable)"
            await until(lambda said=said: said in caplog.text, lambda: caplog.text)
        home.reads("door", False)
        await hears(phone, "open is over.")

        wire.stall()
        after = other.mark
        home.reads("door", True)
        lost = await hears(other, RAISED, after=after)
        await settled(noted=True, identity=lost.id)
        await home.agent.presence.session.ping()  # the server has it, and has sent it on
        await wire.cut()
        wire.resume()
        await wire.restore()
        assert lost.id not in {seen.id for seen in phone.seen}
        phone = await visit("anna", port=wire.port, receipts=True)
        again = await hears(phone, RAISED)
        assert again.id == lost.id != raised.id
        assert again.xml.find("{urn:xmpp:delay}delay").get("from") is None, "kept by the server"
        await settled(noted=False, identity=lost.id)

        assert [seen.id for seen in other.seen if seen.body == RAISED] == [raised.id, lost.id], "once each"
        assert len([seen for seen in later.seen if seen.body.startswith(RAISED[:-1])]) == 2, "one a raising"
