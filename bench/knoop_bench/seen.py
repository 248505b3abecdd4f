"""What an observer saw: stanzas as they came, and the few questions tests ask of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from xml.etree import ElementTree as ET

CLIENT = "jabber:client"
PUBSUB = "http://jabber.org/protocol/pubsub"
PUBSUB_EVENT = "http://jabber.org/protocol/pubsub#event"
MUC_USER = "http://jabber.org/protocol/muc#user"
DELAY = "urn:xmpp:delay"


@dataclass(frozen=True, slots=True)
class Item:
    """One pub-sub item. `payload` is its first child, None for an item that came without one."""

    node: str
    id: str
    publisher: str
    payload: ET.Element | None


@dataclass(frozen=True, slots=True)
class Seen:
    """One stanza, untouched, in the order of arrival; `at_s` is the event loop's monotonic time."""

    number: int
    at_s: float
    xml: ET.Element

    @property
    def kind(self) -> str:
        """`message`, `presence` or `iq`."""
        return self.xml.tag.rpartition("}")[2]

    @property
    def type(self) -> str:
        """The stanza's type, with the default of RFC 6121 for a message (`normal`)."""
        return self.xml.get("type", "normal" if self.kind == "message" else "")

    @property
    def id(self) -> str:
        """The stanza's id, empty when it has none."""
        return self.xml.get("id", "")

    @property
    def sender(self) -> str:
        """The full JID in `from`, as text."""
        return self.xml.get("from", "")

    @property
    def sender_bare(self) -> str:
        """The bare JID in `from`, as text."""
        return self.sender.partition("/")[0]

    @property
    def body(self) -> str:
        """The text for people, empty when there is none."""
        return self.xml.findtext(f"{{{CLIENT}}}body", "")

    @property
    def delayed(self) -> bool:
        """Whether the stanza carries an XEP-0203 stamp."""
        return self.xml.find(f"{{{DELAY}}}delay") is not None

    @property
    def items(self) -> tuple[Item, ...]:
        """The items of a pub-sub event, in order; none for any other stanza."""
        published = self.xml.find(f"{{{PUBSUB_EVENT}}}event/{{{PUBSUB_EVENT}}}items")
        return () if published is None else items_in(published)

    @property
    def statuses(self) -> frozenset[str]:
        """The status codes of a room's presence or message (XEP-0045 §15.6)."""
        codes = self.xml.iterfind(f"{{{MUC_USER}}}x/{{{MUC_USER}}}status")
        return frozenset(code.get("code", "") for code in codes)

    def __str__(self) -> str:
        """One line for a person who asks what came instead."""
        nodes = ", ".join(f"{item.node}#{item.id}" for item in self.items)
        sender = self.sender or "the server"
        return " ".join(filter(None, (f"{self.kind} {self.type} from {sender}", self.body, nodes)))


def items_in(items: ET.Element) -> tuple[Item, ...]:
    """The items under an `<items node=…/>` element, of an event or of a result."""
    namespace = items.tag.rpartition("}")[0] + "}"
    return tuple(
        Item(items.get("node", ""), item.get("id", ""), item.get("publisher", ""), next(iter(item), None))
        for item in items.iterfind(f"{namespace}item")
    )
