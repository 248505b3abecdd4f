"""What the fuzzers build with: stanzas that mean something here, and pieces to put into them."""

from __future__ import annotations

NODE = "node@example.org/knoop"
ROOM = "garden@rooms.example.org"
NICK = "greenhouse"
ANNA, BRAM, CLEO, MALLORY = (
    "anna@example.org/phone", "bram@example.org/laptop", "cleo@example.org/tablet", "mallory@example.net/x",
)
JIDS = (
    ANNA, BRAM, CLEO, MALLORY, "anna@example.org", "anna@example.org/other", "anna@example.com/phone",
    "ANNA@EXAMPLE.ORG/phone", "аnna@example.org/phone", "anna@example.org\u3002evil/phone",
    "anna@example.org/\U0001f4f1",
    "example.org", NODE, "node@example.org", "", ROOM, f"{ROOM}/anna", f"{ROOM}/mallory", f"{ROOM}/{NICK}",
    f"{ROOM}/ghost", "@", "a@b@c", "x/" + "y" * 1100, "anna@example.org/\u0600",
)
# Outputs by all that they are called, as whole words; `gate` wants a one-time code that nobody can guess.
OUTPUTS = {
    "lamp": (("lamp",), ("hall", "light"), ("ganglamp",)), "pump": (("pump",), ("pomp",)),
    "heating": (("heating",), ("kachel",)), "gate": (("gate",),),
}  # fmt: skip
ORDERS = (
    "lamp on", "lamp off", "set lamp on", "turn on the hall light", "lamp on for 10s", "zet de ganglamp aan", "pump 40",
    "pump 40%", "set pump to 21,5", "pomp uit", "heating on", "doe de kachel even aan", "gate on", "set gate on",
)
PHRASES = (
    *ORDERS, "lamp", "lamp?", "is the lamp on?", "status", "help", "help set", "about", "who", "log", "log 5", "read",
    "history door", "history lamp 1 day", "watch lamp", "unwatch", "ack door_open", "ack", "silence door_open 1h",
    "silence off", "quiet 2h", "allow mallory@example.net viewer", "allow eve@example.org operator only lamp",
    "allow mallory@example.net owner", "revoke bram@example.org", "revoke anna@example.org", "roll", "2", "1", "yes",
    "ja", "the first", "lmap on", "light on", "on", "all on", "lamp and pump on", "don't lamp on", "niet lamp aan",
    "> lamp on", "\u201clamp on\u201d", "if frost lamp on", "never lamp on", f"{NICK}: lamp on", f"{NICK}, status",
    "all: status", f"@{NICK} heating off", "482160", "claim abcd-efgh-jkmn-pqrs", "invite bram viewer", "👍", "gezien",
    "lamp\u202eno", "lamp on\nlamp off", "lamp on\u2028", "pump 1e99", "pump -1", "pump \u0664\u0660", "pump nan",
)  # fmt: skip
CHAT = "<message from='{who}' to='" + NODE + "' type='{kind}' id='{id}'><body>{text}</body>{more}</message>"
DELAYED = "<delay xmlns='urn:xmpp:delay' stamp='2026-11-22T10:15:03Z'/>"
SNIPPETS = (
    DELAYED, "<x xmlns='jabber:x:delay' stamp='20261122T10:15:03'/>",
    "<replace xmlns='urn:xmpp:message-correct:0' id='m1'/>",
    "<encrypted xmlns='eu.siacs.conversations.axolotl'/>", "<reply xmlns='urn:xmpp:reply:0' id='m1' to='x'/>",
    "<reactions xmlns='urn:xmpp:reactions:0' id='m1'><reaction>👍</reaction></reactions>",
    "<request xmlns='urn:xmpp:receipts'/>", "<received xmlns='urn:xmpp:receipts' id='m1'/>",
    "<markable xmlns='urn:xmpp:chat-markers:0'/>", "<body>lamp on</body>", "<body xml:lang='nl'>lamp uit</body>",
    "<sent xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' "
    f"from='{ANNA}' type='chat'><body>lamp on</body></message></forwarded></sent>",
    "<result xmlns='urn:xmpp:mam:2' id='a'><forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client' "
    f"from='{ANNA}' type='chat'><body>lamp on</body></message></forwarded></result>",
    "<event xmlns='http://jabber.org/protocol/pubsub#event'>"
    "<items node='urn:knoop:1:readings'><item id='1'/></items></event>",
    "<x xmlns='http://jabber.org/protocol/muc#user'><item affiliation='owner' role='moderator' "
    f"jid='{ANNA}'/><status code='110'/></x>",
    "<x xmlns='http://jabber.org/protocol/muc#user'><status code='307'/></x>",
    "<x xmlns='http://jabber.org/protocol/muc#user'><status code='174'/></x>",
    "<error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>",
    "<query xmlns='http://jabber.org/protocol/disco#info'/>", "<query xmlns='jabber:iq:version'/>",
    "<query xmlns='http://jabber.org/protocol/disco#items' node='http://jabber.org/protocol/commands'/>",
    "<query xmlns='jabber:iq:roster'><item jid='mallory@example.net' subscription='both'/></query>",
    "<ping xmlns='urn:xmpp:ping'/>",
    "<command xmlns='http://jabber.org/protocol/commands' node='set' action='execute'/>",
    "<command xmlns='http://jabber.org/protocol/commands' node='status'/>",
    "<command xmlns='http://jabber.org/protocol/commands' node='allow' sessionid='s1'/>",
    "<history xmlns='urn:knoop:1:history' channel='door'/>",
    "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>mallory@example.net/x</jid></bind>",
    "<a xmlns='urn:x'><b><c><d/></c></b></a>", "<thread>1</thread>", "<subject>lamp on</subject>",
)  # fmt: skip
VALUES = (
    *JIDS, "chat", "normal", "groupchat", "headline", "error", "get", "set", "result", "subscribe", "subscribed",
    "unavailable", "unsubscribe", "probe", "m1", "s1", "s2", "output", "code", "who", "role",
    "execute", "next", "prev", "complete", "cancel", "submit",
    "form", "true", "1", "0", "on", "off", "lamp", "pump", "gate", "channel", "value", "for", "nl", "en", "\U0001f4a1",
    "set", "allow", "status", "ack", "read", "110", "301", "307", "332", "-1", "9" * 30, "a" * 2000,
    "%s{0}\\", "\u202e",
)  # fmt: skip


def chat(text: str, *, who: str = ANNA, kind: str = "chat", number: str = "m1", more: str = "") -> str:
    """A message with a body, its text escaped."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;")
    return CHAT.format(who=who, kind=kind, id=number, text=escaped, more=more)


def presence(nick: str, *, jid: str = "", kind: str = "", codes: tuple[str, ...] = (), role: str = "visitor") -> str:
    """An occupant's presence."""
    real = f" jid='{jid}'" if jid else ""
    given = f" type='{kind}'" if kind else ""
    statuses = "".join(f"<status code='{code}'/>" for code in codes)
    return (
        f"<presence from='{ROOM}/{nick}' to='{NODE}'{given}><x xmlns='http://jabber.org/protocol/muc#user'>"
        f"<item affiliation='member' role='{role}'{real}/>{statuses}</x></presence>"
    )


def command(verb: str, *, who: str = ANNA, session: str = "", fields: str = "", action: str = "execute") -> str:
    """A request of XEP-0050; `fields` are those of a submitted form."""
    given = f" sessionid='{session}'" if session else ""
    form = f"<x xmlns='jabber:x:data' type='submit'>{fields}</x>" if fields else ""
    return (
        f"<iq from='{who}' to='{NODE}' type='set' id='c{session}{action}'><command "
        f"xmlns='http://jabber.org/protocol/commands' node='{verb}' action='{action}'{given}>{form}</command></iq>"
    )


def field(var: str, value: str) -> str:
    """One field of a form."""
    return f"<field var='{var}'><value>{value}</value></field>"


def iq(child: str, *, who: str = ANNA, kind: str = "get") -> str:
    """A request."""
    return f"<iq from='{who}' to='{NODE}' type='{kind}' id='q1'>{child}</iq>"


JOINED = "".join((
    presence("anna", jid=ANNA, role="moderator"), presence("cleo", jid=CLEO), presence("mallory", jid=MALLORY),
    presence(NICK, codes=("100", "110")), f"<message from='{ROOM}' type='groupchat'><subject/></message>",
))  # fmt: skip
FEATURES = (
    "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
    "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1</mechanism>"
    "<mechanism>PLAIN</mechanism></mechanisms></stream:features>"
)
SEEDS: tuple[str, ...] = (
    *(chat(text) for text in PHRASES), *(chat("lamp on", more=more) for more in SNIPPETS),
    *(chat("lamp on", who=who) for who in JIDS),
    *(chat("lamp on", kind=kind) for kind in ("normal", "groupchat", "headline", "error")),
    *(chat(text, who=f"{ROOM}/{nick}", kind="groupchat") for nick in ("anna", "mallory", NICK, "")
      for text in (f"{NICK}: lamp on", f"{NICK}: status", "all: status", f"{NICK}: gate on")),
    *(iq(child, who=who, kind=kind)
      for child in SNIPPETS[-14:] for who in (ANNA, MALLORY, "") for kind in ("get", "set")),
    chat("light on") + chat("2", number="m2"), chat("lmap on") + chat("yes", number="m2"),
    command("set") + command("set", session="s1", fields=field("output", "lamp"), action="next")
    + command("set", session="s1", fields=field("value", "true"), action="complete"),
    command("set") + command("set", session="s1", fields=field("output", "pump"), action="next")
    + command("set", session="s1", fields=field("value", "40"), action="complete"),
    command("set") + command("set", who=MALLORY, session="s1", fields=field("output", "lamp")),
    command("set") + command("set", session="s1", fields=field("output", "gate"), action="next")
    + command("set", session="s1", fields=field("value", "true"), action="complete")
    + command("set", session="s1", fields=field("code", "482160"), action="complete"),
    command("allow")
    + command("allow", session="s1", fields=field("jid", "mallory@example.net") + field("role", "owner")),
    command("revoke") + command("revoke", session="s1", fields=field("jid", "bram@example.org")),
    command("invite") + command("invite", session="s1", fields=field("name", "eve") + field("role", "viewer")),
    command("history") + command("history", session="s1", fields=field("channels", "door") + field("for", "1h")),
    command("status"), command("set", action="cancel", session="s1"),
    presence("anna", kind="unavailable"), presence("mallory", jid=ANNA),
    presence(NICK, kind="unavailable", codes=("110", "307")), presence(NICK, kind="unavailable", codes=("332",)),
    f"<presence from='{MALLORY}' type='subscribe'/>", f"<presence from='{ANNA}' type='subscribe'/>",
    f"<message from='{ROOM}' type='groupchat'>"
    "<x xmlns='http://jabber.org/protocol/muc#user'><status code='173'/></x></message>",
    FEATURES, "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>cj1h</challenge>",
    FEATURES + "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>cj1h</success>" + chat("lamp on"),
    "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>", "</stream:stream>",
    "<!DOCTYPE a [<!ENTITY b 'c'>]>", "<!-- a -->", "<?a b?>", "<![CDATA[a]]>", "\0", "<a>" * 70, "&lol;",
    "<r xmlns='urn:xmpp:sm:3'/>", "<a xmlns='urn:xmpp:sm:3' h='7'/>", "<a xmlns='urn:xmpp:sm:3' h='x'/>",
)  # fmt: skip
TOKENS = (
    "<message", "<presence", "<iq", "<body>", "</body>", "xmlns='", " from='", " type='", " id='", "</message>",
    "</iq>", "/>", "'><", "&#x0;", "&#xFFFF;", "&lt;", "]]>", "\xa0", "\u202e",
)  # fmt: skip
