"""Print every reading of a Knoop node once: a subscriber to copy. Needs slixmpp 1.17 and nothing else.

It subscribes to events and readings (XEP-0060), knows repeats by run, channel and seq, and asks the node for history
after each login and where a seq is missing (docs/wire.md of Knoop). It begins with the last minute and keeps nothing
over its own end. Readings go to stdout, how the connection is to stderr; Ctrl-C ends it with a count.
"""

import argparse
import asyncio
import getpass
import json
import logging
import ssl
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from slixmpp import ClientXMPP
from slixmpp.exceptions import IqError, IqTimeout

HISTORY, READINGS = "{urn:knoop:1:history}", "{urn:knoop:1:readings}"
RSM, PUBSUB, EVENT = (f"{{http://jabber.org/protocol/{name}}}" for name in ("rsm", "pubsub", "pubsub#event"))
PAUSE_S, ANSWER_S, QUIET_S = 2.0, 20.0, 30.0  # before a login; for an answer; without news, before a ping


class Subscriber(ClientXMPP):
    """One account, over as many logins as it takes."""

    def __init__(self, options: argparse.Namespace, password: str, tls: ssl.SSLContext) -> None:
        super().__init__(options.jid, password, ssl_context=tls)
        self.options, self.work = options, None
        self.known: dict[tuple[str, str], tuple[int, set[int]]] = {}  # run and channel: the last seq, those missing
        self.latest, self.missed = datetime.now(UTC), asyncio.Event()
        self.full, self.there = "", asyncio.Event()  # the node's full JID, which its presence tells us
        self.arrived = self.repeats = self.asked = 0
        self.why, self.said = None, set[str]()
        self.auto_authorize = self.auto_subscribe = None  # nobody may see when we are online
        self.add_event_handler("session_start", self.begin)
        self.add_event_handler("disconnected", self.again)
        self.add_event_handler("reconnect_delay", self.again)  # which would grow to 5 minutes
        self.add_event_handler("connection_failed", self.failed)
        self.add_event_handler("failed_all_auth", lambda _: sys.exit("the server refused the login"))
        self.add_filter("in", self.take)

    def say(self, text: str) -> None:
        """Tell whoever looks how the connection is; the same thing again only when it was well in between."""
        if text not in self.said:
            print(text, file=sys.stderr, flush=True)
        self.said.add(text)

    def begin(self, _: Any) -> None:
        self.why = None
        self.send_presence()
        self.there.clear()
        self.send_presence_subscription(pto=self.options.node)
        self.work = asyncio.ensure_future(self.follow())

    def failed(self, why: Any) -> None:
        self.why = why

    def again(self, why: Any) -> None:
        if not self.work:
            why = why if isinstance(why, ssl.SSLError) else self.why or why  # STARTTLS without a trusted certificate
            self.say(f"no connection: {why or 'the server hung up'}; trying again")
        elif not self.work.done():
            self.say(f"the connection ended: {why or 'the server hung up'}; trying again")
            self.work.cancel()
        self.work = None
        self.loop.call_later(PAUSE_S, self.connect, self.options.host, self.options.port)

    async def follow(self) -> None:
        """Subscribe, ask for what came while we were away, and from then on for what is missing."""
        try:
            for node in ("urn:knoop:1:events", "urn:knoop:1:readings"):
                pubsub = ET.Element(f"{PUBSUB}pubsub")
                ET.SubElement(pubsub, f"{PUBSUB}subscribe", {"node": node, "jid": self.boundjid.bare})
                await self.ask("set", self.options.node, pubsub)
            await asyncio.wait_for(self.there.wait(), ANSWER_S)
            since = self.latest - timedelta(seconds=60)  # what was sent just before a cut may not have arrived
            await self.walk({"from": since.isoformat(timespec="milliseconds").replace("+00:00", "Z")})
            self.said.clear()
            self.say(f"following {self.options.node}")
            while True:
                for (run, channel), (_, missing) in [*self.known.items()]:
                    if asked := sorted(missing):
                        await self.walk({"run": run, "channel": channel, "from": f"{asked[0]}", "to": f"{asked[-1]}"})
                        missing.difference_update(asked)  # what is still missing, the node does not have any more
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.missed.wait(), QUIET_S)
                await self.ask("get", self.boundjid.domain, ET.Element("{urn:xmpp:ping}ping"))
                self.missed.clear()
        except (IqError, IqTimeout) as error:  # the node is not there, or does not let us in yet; or the link is dead
            who = error.iq["from"] if isinstance(error, IqError) else error.iq["to"]
            self.say(f"{who}: {error.condition}; trying again")
            self.abort()
        except TimeoutError:
            self.say(f"{self.options.node}: it is not online, or does not let us see it yet; trying again")
            self.abort()

    async def walk(self, where: dict[str, str]) -> None:
        """Show every page of one question to the node's history."""
        after, complete = "", False
        while not complete:
            request = ET.Element(f"{HISTORY}history", where)
            if after:
                ET.SubElement(ET.SubElement(request, f"{RSM}set"), f"{RSM}after").text = after
            try:
                answer = await self.ask("get", self.full, request)
            except IqError as error:
                if error.condition == "item-not-found":  # a channel that the node does not have any more
                    return
                if error.condition == "resource-constraint":  # we asked too often
                    await asyncio.sleep(1)
                    continue
                raise
            page = answer.find(f"{HISTORY}history")
            for element in page.iter(f"{READINGS}readings"):
                self.show(element, pushed=False)
            after, complete = page.findtext(f"{RSM}set/{RSM}last", after), page.get("complete") == "true"

    async def ask(self, kind: str, to: str, payload: ET.Element) -> Any:
        iq = self.make_iq(itype=kind, ito=to)
        iq.append(payload)
        return (await iq.send(timeout=ANSWER_S)).xml

    def take(self, stanza: Any) -> Any:
        """Believe items of the node, and where it is; everything else is for the library."""
        if stanza.name == "presence" and stanza["from"].bare == self.options.node and not stanza.xml.get("type"):
            self.full = stanza["from"].full
            self.there.set()
        event = stanza.xml.find(f"{EVENT}event")
        if event is not None and stanza["from"].bare == self.options.node:
            for element in event.iter(f"{READINGS}readings"):
                self.show(element, pushed=True)
            if event.find(f"{EVENT}delete") is not None:  # made anew, it has no subscribers
                self.abort()
        return stanza

    def show(self, element: ET.Element, *, pushed: bool) -> None:
        """Print what is new, and note which seq it left out."""
        run, start = element.get("run", ""), element.get("at")
        for child in element:
            channel, seq = child.get("channel", ""), int(child.get("seq", ""))
            highest, missing = self.known.get((run, channel), (0, set()))
            self.arrived += pushed
            self.asked += not pushed
            if seq <= highest and seq not in missing:
                self.repeats += pushed
                continue
            if pushed and highest:
                missing |= set(range(max(highest + 1, seq - 10_000), seq))
            missing.discard(seq)
            if missing:
                self.missed.set()
            self.known[run, channel] = max(seq, highest), missing
            at = start and datetime.fromisoformat(start) + timedelta(milliseconds=int(child.get("dt", "0")))
            self.latest = max(self.latest, at or self.latest)
            words = {"run": run, "channel": channel, "seq": seq, "at": at and at.isoformat(), "value": child.text,
                     "unit": child.get("unit", ""), "quality": child.get("quality", "ok"), "pushed": pushed}
            print(json.dumps(words) if self.options.json else line(words), flush=True)


def line(words: dict[str, Any]) -> str:
    """A reading for people. What has no value says why: that is not zero."""
    value = "no value" if words["value"] is None else f"{words['value']} {words['unit']}".rstrip()
    quality = "" if words["quality"] == "ok" else f" ({words['quality']})"
    return f"{words['at'] or '(no time yet)'}  {words['channel']} = {value}{quality}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("jid", help="who logs in: somebody who may read every channel")
    parser.add_argument("node", help="the node's bare JID")
    parser.add_argument("--password-file", type=Path, help="its first line is the password; asked for when not given")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--host", help="of the server, with --port; without both DNS says where it is")
    parser.add_argument("--port", type=int, help="direct TLS or STARTTLS: both are tried")
    parser.add_argument("--ca-file", type=Path, help="who signed its certificate, instead of whom this machine trusts")
    given = parser.parse_args()
    if bool(given.host) != bool(given.port):
        parser.error("--host and --port go together")
    try:
        secret = given.password_file.read_text("utf-8").partition("\n")[0] if given.password_file else getpass.getpass()
        tls = ssl.create_default_context(cafile=given.ca_file)
    except OSError as error:
        parser.error(str(error))
    logging.disable(logging.CRITICAL)  # the library's log may hold whole stanzas
    asyncio.set_event_loop(loop := asyncio.new_event_loop())
    subscriber = Subscriber(given, secret, tls)
    subscriber.connect(given.host, given.port)
    with suppress(KeyboardInterrupt):
        loop.run_forever()
    arrived, repeats = subscriber.arrived, subscriber.repeats
    print(f"{arrived} readings arrived, {repeats} of them repeats ({repeats / max(1, arrived):.2%}); "
          f"{subscriber.asked} came by asking for history", file=sys.stderr)
