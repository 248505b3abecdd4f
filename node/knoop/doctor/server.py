"""What the server is to a node, asked by a login beside the node's own: no presence, no item, nothing that stays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from knoop.access import EVERYBODY
from knoop.config import Config, Room
from knoop.doctor.finding import Finding, not_looked_at, note, ok, problem
from knoop.errors import Refusal
from knoop.jid import Jid
from knoop.wall import AGREE_S
from knoop.xmpp import nodes, servertime, tempo
from knoop.xmpp.session import Session
from knoop_hw.clock import Clock

INFO = "{http://jabber.org/protocol/disco#info}"
ITEMS = "{http://jabber.org/protocol/disco#items}"
UPLOAD = "urn:xmpp:http:upload:0"
TRIAL = nodes.Node(name="urn:knoop:1:doctor", max_items="1", send_last="never")
NAGLE_S = 0.025  # the kernel's delay is 40 ms (Linux, TCP_DELACK_MIN); without Nagle it is about 0
LIMIT_RATIO = 3  # a burst this much quicker than the steady flow is a limit, not a slow line
PER_READING = 330  # bytes that one published reading costs (Debian's limit let 31 to 34 a second through)


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What somebody says of itself (XEP-0030)."""

    identities: frozenset[tuple[str, str]]
    features: frozenset[str]
    fields: Mapping[str, str]


async def about(session: Session, to: str) -> About:
    """Ask. Raises Refusal or LinkError."""
    answer = await session.iq("get", ET.Element(f"{INFO}query"), to=to)
    return About(
        identities=frozenset((i.get("category", ""), i.get("type", "")) for i in answer.iter(f"{INFO}identity")),
        features=frozenset(feature.get("var", "") for feature in answer.iter(f"{INFO}feature")),
        fields=_fields(answer),
    )


def _fields(answer: ET.Element) -> dict[str, str]:
    return {
        field.get("var", ""): field.findtext(f"{nodes.FORM}value", "") for field in answer.iter(f"{nodes.FORM}field")
    }


async def time(session: Session, *, clock: Clock) -> list[Finding]:
    """Whether this machine and the server agree what time it is (XEP-0202)."""
    try:
        apart = await servertime.apart(session, clock=clock)
    except Refusal:
        return [not_looked_at("time", "the server does not tell its time")]
    if abs(apart.ahead_s) > AGREE_S:
        ahead = "ahead of" if apart.ahead_s > 0 else "behind"
        return [problem("time", f"this machine's clock is {abs(apart.ahead_s):.0f} s {ahead} the server's",
                        "sudo timedatectl set-ntp true; if ours is right, tell who runs the server")]  # fmt: skip
    return [ok("time", f"within {AGREE_S:.0f} s of the server's")]


OFF = '[publish] pubsub is "off"'


async def pep(session: Session, config: Config) -> list[Finding]:
    """Pub-sub is there and keeps a node closed: tried with one that is deleted again."""
    if config.publish.pubsub == "off":
        return [not_looked_at("pep", OFF)]
    where = config.publish.service
    name, wanted = (where, ("pubsub", "service")) if where else ("the account", ("pubsub", "pep"))
    off = 'set [publish] pubsub = "off", and people still read by chat'
    trial = nodes.placed(TRIAL, where, session.jid)
    try:
        if wanted not in (await about(session, where or str(session.jid.bare))).identities:
            text = f"{name} offers no pub-sub, so nothing can be published"
            return [problem("pep", text, f"let the server offer it (Prosody: mod_pep in modules_enabled); or {off}")]
        await nodes.configure(session, trial, (), service=where)
        try:
            access = (await _options(session, trial.name, where)).get("pubsub#access_model", "")
        finally:
            await nodes.delete(session, trial.name, service=where)
    except Refusal as error:
        why, told, remedy = str(error).partition(": ")
        if where and told:
            return [problem("pep", why, f"{remedy}; or {off}")]
        text = f"{name} lets us make no node that only some can read ({error.condition})"
        return [problem("pep", text, f"let the server allow access_model=whitelist to this account; or {off}")]
    if access != "whitelist":
        text = f"{name} makes a node '{access}' that was to be 'whitelist': others can read it"
        return [problem("pep", text, f"use a server that can close nodes; or {off}")]
    return [ok("pep", f"{name} takes nodes, and closes them to everybody who is not named")]


async def _options(session: Session, node: str, where: str) -> dict[str, str]:
    ask = ET.Element(f"{nodes.OWNER}pubsub")
    ET.SubElement(ask, f"{nodes.OWNER}configure", {"node": node})
    return _fields(await session.iq("get", ask, to=where))


async def closed(session: Session, config: Config) -> list[Finding]:
    """The node's own nodes: who can read them now."""
    if config.publish.pubsub == "off":
        return [not_looked_at("nodes", OFF)]
    where = config.publish.service
    readers = {str(p.jid) for p in config.people if not p.only and p.jid.local != EVERYBODY}
    found, made = [], 0
    for node in (nodes.placed(node, where, session.jid) for node in nodes.NODES):
        try:
            model = (await _options(session, node.name, where)).get("pubsub#access_model", "")
            members = await nodes.readers(session, node.name, service=where) - {str(session.jid.bare)}
        except Refusal as error:
            if error.condition != "item-not-found":
                text = f"{node.name} is not ours to look at ({error.condition})"
                found.append(problem("nodes", text, "delete it, or make this account its owner"))
            continue
        made += 1
        if model != "whitelist":
            text = f"{node.name} is '{model}': others than your people can read it"
            found.append(problem("nodes", text, "start the node again: it closes its nodes at every login"))
        if others := sorted(members - readers):
            text = f"{node.name} can also be read by {', '.join(others)}"
            remedy = "say `who` to the node: who is not there goes when the node starts again, who is there by `revoke`"
            found.append(note("nodes", text, remedy))
        if missing := sorted(readers - members):
            text = f"{node.name} cannot be read by {', '.join(missing)} yet"
            found.append(note("nodes", text, "start the node again, which names them at every login"))
    if found:
        return found
    return [ok("nodes", f"{made} there, readable by your people only" if made else "none yet; the node makes them")]


async def nagle(session: Session, echo: Session, *, clock: Clock) -> list[Finding]:
    """Whether the server holds small answers back."""
    try:
        held_s = await tempo.held_back_s(session, echo.jid, clock=clock)
    except Refusal as error:
        return [not_looked_at("nagle", f"the server passes no ping between two logins ({error.condition})")]
    if held_s is None:
        return [not_looked_at("nagle", "it can be seen only at a server with stream management (XEP-0198)")]
    if held_s >= NAGLE_S:
        text = f"an answer that follows another comes {held_s * 1e3:.0f} ms late: the server uses Nagle's algorithm"
        return [note("nagle", text, "on Prosody: network_settings = { nagle = false }")]
    return [ok("nagle", "answers are not held back")]


async def rate(session: Session, *, clock: Clock) -> list[Finding]:
    """How much the server takes from one login."""
    pace = await tempo.pace(session, clock=clock)
    said = f"about {pace.per_s / 1e3:.0f} kB/s"
    if pace.burst_per_s is None:
        return [ok("rate", f"the server takes {min(pace.per_s, 1e6) / 1e3:.0f} kB/s and more from this account")]
    if pace.burst_per_s >= LIMIT_RATIO * pace.per_s:
        debian = ", as Debian's Prosody has" if 8_000 <= pace.per_s <= 13_000 else ""
        text = f"the server takes {said} from this account, most likely by a limit{debian}: "
        text += f"about {pace.per_s / PER_READING:.0f} readings a second when each is sent alone"
        remedy = 'where that is too little: limits = { c2s = { rate = "100kb/s" } } on Prosody, or this account in its '
        return [note("rate", text, remedy + "unlimited_jids; on ejabberd a 'shaper' of its own")]
    text = f"{said} reach the server, from the first byte on: a slow line"
    return [note("rate", text, "nothing, if you know it; readings wait on disk meanwhile")]


async def archive(session: Session, _config: Config) -> list[Finding]:
    """XEP-0313 on our account stands for its being on for the others of this server."""
    if "urn:xmpp:mam:2" in (await about(session, str(session.jid.bare))).features:
        return [ok("archive", "messages are kept: every device of a person gets them later, too")]
    return [note("archive", "messages are not kept: a device that was off does not get what another one got",
                 "Prosody: mod_mam; ejabberd: mod_mam")]  # fmt: skip


async def carbons(session: Session, _config: Config) -> list[Finding]:
    """XEP-0280: what a person says on one device is seen on the others."""
    if "urn:xmpp:carbons:2" in (await about(session, session.jid.domain)).features:
        return [ok("carbons", "a person's devices see each other's conversations")]
    return [note("carbons", "a person's second device does not see what the first one and the node said",
                 "Prosody: mod_carbons; ejabberd: mod_carboncopy")]  # fmt: skip


async def offline(session: Session, _config: Config) -> list[Finding]:
    """XEP-0160: whether a message to somebody who is away waits."""
    if "msgoffline" in (await about(session, session.jid.domain)).features:
        return [ok("offline", "an alarm for somebody who is away waits at the server")]
    text = "the server does not say that it keeps messages for people who are away: an alarm may never reach them"
    return [note("offline", text, "Prosody: mod_offline; ejabberd: mod_offline")]


async def upload(session: Session, _config: Config) -> list[Finding]:
    """XEP-0363: a component of the server that takes files."""
    items = await session.iq("get", ET.Element(f"{ITEMS}query"), to=session.jid.domain)
    named = [item.get("jid", "") for item in items.iter(f"{ITEMS}item")][:20]
    for jid in (session.jid.domain, *named):
        try:
            found = await about(session, jid)
        except Refusal:
            continue
        if UPLOAD in found.features:
            size = found.fields.get("max-file-size", "")
            bound = f" up to {int(size) // 2**20} MiB" if size.isdecimal() else ""
            return [ok("upload", f"{jid} takes files{bound}")]
    return [note("upload", "the server takes no files; no picture or file could be sent by the node",
                 "Prosody: Component mod_http_file_share; ejabberd: mod_http_upload")]  # fmt: skip


async def rooms(session: Session, config: Config) -> list[Finding]:
    """The rooms of the configuration, looked at from outside."""
    if not config.rooms:
        return [ok("rooms", "none in the configuration")]
    return [await _room(session, jid, room) for jid, room in config.rooms.items()]


async def _room(session: Session, jid: Jid, room: Room) -> Finding:
    try:
        features = (await about(session, str(jid))).features
    except Refusal as error:
        if error.condition == "item-not-found":
            return note("rooms", f"{jid} does not exist yet; the node makes it, as its service makes new rooms",
                        "make it yourself, members-only and not anonymous, and invite the node")  # fmt: skip
        return problem("rooms", f"{jid} does not answer ({error.condition})", 'correct the address in [room."…"]')
    if "http://jabber.org/protocol/muc" not in features:
        return problem("rooms", f"{jid} is no room", 'correct the address in [room."…"]')
    if "muc_passwordprotected" in features and not room.password:
        return problem("rooms", f"{jid} wants a password", f"set 'password' in [room.\"{jid}\"]")
    if "muc_membersonly" not in features:
        return note("rooms", f"{jid} is open: who finds it reads the node's alarms", "make it members-only")
    if "muc_nonanonymous" not in features:
        return note("rooms", f"{jid} hides who is in it", "let it show everybody the real addresses")
    return ok("rooms", f"{jid} is for members only, and shows who they are")
