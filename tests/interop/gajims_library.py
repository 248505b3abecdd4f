"""A client on nbxmpp, Gajim's library: what it makes of a node, one JSON object a line. Shares no code with Knoop.

Runs on Debian's own Python, where python3-nbxmpp is:  /usr/bin/python3 gajims_library.py <task.json
The task: {"jid", "password", "host", "port", "certificate": PEM file, "node": bare JID, "say": [texts]}.
"""

from __future__ import annotations

import json
import sys

import gi

gi.require_version("Soup", "3.0")
from gi.repository import Gio, GLib  # noqa: E402
from nbxmpp.client import Client  # noqa: E402
from nbxmpp.const import AdHocStatus, ConnectionProtocol, ConnectionType  # noqa: E402
from nbxmpp.errors import BaseError  # noqa: E402
from nbxmpp.modules.dataforms import SimpleDataForm, extend_form  # noqa: E402
from nbxmpp.namespaces import Namespace  # noqa: E402
from nbxmpp.protocol import JID, Message, Node, Presence  # noqa: E402
from nbxmpp.structs import StanzaHandler  # noqa: E402

PATIENCE_S = 20
FEATURES = (
    Namespace.COMMANDS, Namespace.DATA, Namespace.RECEIPTS, Namespace.CHATMARKERS, Namespace.CORRECT,
    Namespace.REACTIONS, Namespace.CHATSTATES, "urn:knoop:1:events+notify",
)


def saw(what: str, **more: object) -> None:
    print(json.dumps({"saw": what, **more}, ensure_ascii=False), flush=True)


class Gajim:
    """One login: finds the node by its presence, runs each of its commands, talks, and leaves."""

    def __init__(self, task: dict) -> None:
        self.task = task
        self.loop = GLib.MainLoop()
        self.to_say = list(task.get("say", ()))
        self.commands: list = []
        self.started = False
        self.waiting = ""
        jid = JID.from_string(task["jid"])
        self.client = client = Client(log_context="interop")
        client.set_domain(jid.domain)
        client.set_username(jid.localpart)
        client.set_password(task["password"])
        client.set_resource("gajim")
        client.set_accepted_certificates([Gio.TlsCertificate.new_from_file(task["certificate"])])
        address = f"{task['host']}:{task['port']}"
        client.set_custom_host(address, ConnectionProtocol.TCP, ConnectionType.DIRECT_TLS)
        client.subscribe("connected", self.online)
        for event in ("connection-failed", "disconnected"):
            client.subscribe(event, self.failed)
        client.register_handler(StanzaHandler(name="message", callback=self.message))
        client.register_handler(StanzaHandler(name="presence", callback=self.presence))

    def run(self) -> None:
        GLib.timeout_add_seconds(PATIENCE_S, self.stuck)
        self.client.connect()
        self.loop.run()

    def failed(self, *_args) -> None:
        error = self.client.get_error()
        if any(error) and self.waiting != "the end":
            saw("failure", why=str(error))
        self.loop.quit()

    def stuck(self) -> None:
        saw("failure", why=f"waited {PATIENCE_S} s for {self.waiting or 'the node to be online'}")
        self.loop.quit()

    def online(self, *_args) -> None:
        saw("login")
        self.client.get_module("EntityCaps").set_caps([], FEATURES, "https://gajim.example")
        presence, caps = Presence(), self.client.get_module("EntityCaps").caps
        presence.addChild(
            "c", namespace=Namespace.CAPS, attrs={"hash": caps.hash, "node": caps.node, "ver": caps.ver}
        )
        self.client.send_stanza(presence)
        self.client.send_stanza(Presence(self.task["node"], "subscribe"))

    def presence(self, _client, stanza, properties) -> None:
        sender = properties.jid
        if sender.bare != self.task["node"]:
            return
        if properties.type.is_subscribe:
            self.client.send_stanza(Presence(self.task["node"], "subscribed"))
        if properties.type.is_available and not self.started:
            self.started = True
            saw("presence", jid=str(sender), caps=properties.entity_caps is not None)
            self.full = sender
            self.client.get_module("Discovery").disco_info(sender, callback=self.described)

    def described(self, task) -> None:
        info = self.result(task)
        if info is not None:
            saw("disco", features=sorted(info.features), identity=[f"{i.category}/{i.type}" for i in info.identities])
        events = self.client.get_module("PubSub")
        events.request_items("urn:knoop:1:events", max_items=3, jid=self.task["node"], callback=self.fetched)

    def fetched(self, task) -> None:
        items = self.result(task) or []
        saw("items", payloads=[item.getChildren()[0].getName() for item in items])
        self.client.get_module("AdHoc").request_command_list(self.full, callback=self.listed)

    def listed(self, task) -> None:
        commands = self.result(task) or []
        saw("commands", nodes=[command.node for command in commands], names=[command.name for command in commands])
        self.commands = list(commands)
        self.next_command()

    def next_command(self) -> None:
        if not self.commands:
            self.next_word()
            return
        command = self.commands.pop(0)
        self.waiting = f"command {command.node}"
        self.client.get_module("AdHoc").execute_command(command, callback=self.stage)

    def stage(self, task) -> None:
        """One answer: completed, or a form that is sent back as it came, with its defaults."""
        command = self.result(task)
        if command is None:
            self.next_command()
            return
        form = extend_form(node=command.data) if command.data is not None else None
        fields = list(form.iter_fields()) if form is not None else []
        saw("command", node=command.node, status=command.status.value,
            notes=[note.text for note in command.notes or []],
            fields=[{"var": field.var, "type": field.type_, "required": bool(field.required)} for field in fields],
            actions=sorted(action.value for action in command.actions or ()),
            text=form.instructions if form is not None else "")
        if command.status is not AdHocStatus.EXECUTING:
            self.next_command()
            return
        for field in fields:
            if field.required and not field.getTag("value"):  # as a person would: the first choice, or a name
                option = field.getTag("option")
                chosen = option.getTag("value").getData() if option else "eve@localhost"
                field.addChild("value").setData(chosen)
        answer = SimpleDataForm(type_="submit", fields=[f for f in fields if f.var]) if form else None
        self.client.get_module("AdHoc").execute_command(
            command, action=command.default, dataform=answer.get_purged() if answer else None, callback=self.stage
        )

    def next_word(self) -> None:
        if not self.to_say:
            saw("end")
            self.waiting = "the end"
            self.client.disconnect()
            return
        text = self.to_say.pop(0)
        self.waiting = f"an answer to {text!r}"
        message = Message(to=self.task["node"], typ="chat", body=text)
        message.setID(f"interop-{len(self.to_say)}")
        message.addChild(node=Node("request", attrs={"xmlns": Namespace.RECEIPTS}))
        message.addChild(node=Node("markable", attrs={"xmlns": Namespace.CHATMARKERS}))
        self.client.send_stanza(message)

    def message(self, _client, stanza, properties) -> None:
        if properties.jid is None or properties.jid.bare != self.task["node"]:
            return
        if properties.is_receipt and properties.receipt.is_received:
            saw("receipt", of=properties.receipt.id)
        elif properties.is_marker:
            saw("marker", kind=properties.marker.type, of=properties.marker.id)
        elif properties.is_pubsub_event:
            saw("event", node=properties.pubsub_event.node)
        elif properties.body:
            corrects = properties.correction.id if properties.is_correction else ""
            saw("message", body=properties.body, corrects=corrects, id=properties.id)
            if self.waiting.startswith("an answer") and "-said-" in (properties.id or ""):  # not an event
                self.waiting = ""
                self.next_word()

    def result(self, task):
        try:
            return task.finish()
        except BaseError as error:
            saw("failure", why=f"{type(error).__name__}: {error}", waiting=self.waiting)
            return None


if __name__ == "__main__":
    Gajim(json.load(sys.stdin)).run()
