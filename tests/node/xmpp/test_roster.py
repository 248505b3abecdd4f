"""Which entries of a roster are made, kept and removed."""

from xml.etree import ElementTree as ET

import pytest

from knoop.errors import Refusal
from knoop.jid import Jid
from knoop.xmpp import roster
from knoop.xmpp.account import Account
from knoop.xmpp.console import Console
from knoop.xmpp.inbound import CLIENT
from knoop.xmpp.roster import ROSTER
from knoop.xmpp.session import Session
from knoop_hw.clock import FakeClock

ANNA, GREENHOUSE = Jid("anna", "example.org"), Jid("greenhouse", "example.org")


class Server:
    """One account's roster on its server (RFC 6121 §2): what is set is kept, what is sent is noted.

    `refuses`: the addresses that it does not take.
    """

    def __init__(self, **entries):
        self.items = {f"{name}@example.org": value for name, value in entries.items()}  # (subscription, groups)
        self.names = {}
        self.sent = []
        self.refuses = frozenset()

    async def iq(self, kind, child):
        answer = ET.Element(f"{CLIENT}iq")
        if kind == "get":
            query = ET.SubElement(answer, f"{ROSTER}query")
            for jid, (subscription, groups) in self.items.items():
                name = {"name": self.names[jid]} if jid in self.names else {}
                item = ET.SubElement(query, f"{ROSTER}item", {"jid": jid, "subscription": subscription, **name})
                for group in groups:
                    ET.SubElement(item, f"{ROSTER}group").text = group
            return answer
        [item] = child
        if item.get("jid") in self.refuses:
            raise Refusal("bad-request", f"{item.get('jid')} is not taken")
        if item.get("subscription") == "remove":
            del self.items[item.get("jid")]
        else:
            before, _ = self.items.get(item.get("jid"), ("none", ()))
            self.names.pop(item.get("jid"), None)
            if item.get("name"):
                self.names[item.get("jid")] = item.get("name")
            self.items[item.get("jid")] = (before, tuple(group.text for group in item))
        return answer

    def send(self, stanza):
        self.sent.append((stanza.get("type"), stanza.get("to")))

    async def close(self):
        pass


async def test_a_node_removes_who_lost_every_right_and_nobody_whom_it_did_not_add():
    server = Server(anna=("both", ("Knoop",)), bram=("both", ("Knoop",)), friend=("both", ("Friends",)))
    await roster.follow(server, {ANNA})
    assert server.items == {
        "anna@example.org": ("both", ("Knoop",)), "friend@example.org": ("both", ("Friends",)),
    }
    assert server.sent == [("unsubscribed", "bram@example.org")]


async def test_whom_somebody_else_put_into_the_roster_is_marked_and_loses_presence_with_the_rights():
    """An entry without our group was never removed: who was in a roster before went on to see the node."""
    server = Server(anna=("both", ("Family",)))
    server.names["anna@example.org"] = "Mum"
    await roster.follow(server, {ANNA})
    assert server.items == {"anna@example.org": ("both", ("Family", "Knoop"))}
    assert server.names == {"anna@example.org": "Mum"}
    assert server.sent == []
    await roster.follow(server, set())
    assert server.items == {}
    assert server.sent == [("unsubscribed", "anna@example.org")]


async def test_an_address_that_the_server_does_not_take_keeps_nobody_in_and_nobody_out():
    server = Server(bram=("both", ("Knoop",)), carl=("both", ("Knoop",)))
    server.refuses = {"odd@example.org", "bram@example.org"}
    with pytest.raises(Refusal, match=r"bram@example\.org is not taken"):
        await roster.follow(server, [Jid("odd", "example.org"), ANNA])
    assert server.items == {"bram@example.org": ("both", ("Knoop",)), "anna@example.org": ("none", ("Knoop",))}
    assert ("unsubscribed", "bram@example.org") in server.sent
    assert ("subscribed", "anna@example.org") in server.sent


async def test_a_node_adds_whom_it_follows_to_its_group():
    server = Server()
    await roster.follow(server, {ANNA})
    assert server.items == {"anna@example.org": ("none", ("Knoop",))}
    assert server.sent == [("subscribe", "anna@example.org"), ("subscribed", "anna@example.org")]


async def test_a_chat_with_one_node_leaves_a_persons_other_nodes_alone(monkeypatch):
    """`knoop chat` pruned every entry in the group Knoop but the one it talked with."""
    server = Server(barn=("both", ("Knoop",)), bram=("both", ("Friends", "Knoop")))
    before = dict(server.items)

    async def log_in(*_, **__):
        return server

    monkeypatch.setattr(Session, "open", log_in)
    account = Account(jid=ANNA, password="secret")
    async with Console(account, GREENHOUSE, clock=FakeClock(), on_text=print):
        pass
    assert server.items == {**before, "greenhouse@example.org": ("none", ())}
    assert server.sent == [
        ("subscribe", "greenhouse@example.org"), ("subscribed", "greenhouse@example.org"), (None, None),
    ]


async def test_a_chat_leaves_the_groups_of_its_own_entry_as_the_person_made_them():
    server = Server(greenhouse=("to", ("Garden",)))
    await roster.ensure(server, GREENHOUSE)
    assert server.items == {"greenhouse@example.org": ("to", ("Garden",))}
    assert server.sent == [("subscribed", "greenhouse@example.org")]


def asks(name):
    return ET.Element(f"{CLIENT}presence", {"from": f"{name}@example.org/phone", "type": "subscribe"})


async def test_who_asks_to_see_a_node_is_approved_when_their_entry_has_its_group():
    """Approved before, they had an entry without it: taken out of node.toml before it got one they stayed for good."""
    server = Server()
    requests = roster.Requests(server)
    requests.stanza(asks("anna"), {ANNA})
    requests.stanza(asks("eve"), {ANNA})
    assert server.sent == []
    server.items["anna@example.org"] = ("both", ())  # the server heard of an approval: from a former session
    await requests.follow({ANNA})
    approved = [("subscribed", "anna@example.org"), ("subscribe", "anna@example.org")]
    assert server.items == {"anna@example.org": ("both", ("Knoop",))}
    assert server.sent == approved
    requests.stanza(asks("anna"), {ANNA})
    assert server.sent == approved * 2
    await requests.follow(set())
    requests.stanza(asks("anna"), {ANNA})
    assert server.items == {}
    assert server.sent == [*approved * 2, ("unsubscribed", "anna@example.org")], "allowed again, not yet entered"


async def test_who_lost_their_rights_before_they_were_entered_is_not_approved():
    server = Server()
    requests = roster.Requests(server)
    requests.stanza(asks("anna"), {ANNA})
    await requests.follow(set())
    await requests.follow({ANNA})
    assert server.sent == [("subscribe", "anna@example.org"), ("subscribed", "anna@example.org")], "once, by follow"


async def test_what_asks_for_nothing_is_answered_with_nothing():
    server = Server()
    requests = roster.Requests(server)
    await requests.follow({ANNA})
    server.sent.clear()
    requests.stanza(ET.Element(f"{CLIENT}presence", {"from": "anna@example.org/phone"}), {ANNA})
    assert server.sent == []
