"""Verbs as ad-hoc commands (XEP-0050): listed for whom they are open, filled in as a form, answered with what happened.

    request ▶ person? ▶ right? ▶ form ▶ … ▶ fresh? ▶ execution ▶ note or result

A verb's node is its word. Unknown and not allowed are both `item-not-found`; a stranger does not get this far: see
`stream`. slixmpp's own plugin is not used: it checks neither rights nor whose session it is, and forgets no session.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal
from xml.etree import ElementTree as ET

from knoop.command import N_, Command, House, Reply, Request, Sentence, refuse
from knoop.errors import LinkError
from knoop.forms import Desk, Form, spoken
from knoop.jid import Jid
from knoop.text import Voice, languages
from knoop.together import first
from knoop.xmpp import compat, dataforms, openforms
from knoop.xmpp.inbound import DELAY
from knoop.xmpp.openforms import OpenForm, OpenForms
from knoop.xmpp.outbound import failure, result

if TYPE_CHECKING:
    from knoop.access import Person
    from knoop.execution import Execution

COMMANDS = "http://jabber.org/protocol/commands"
FEATURES = (COMMANDS, "jabber:x:data", "http://jabber.org/protocol/xdata-validate")
COMMAND = f"{{{COMMANDS}}}"
INFO, ITEMS = (f"{{http://jabber.org/protocol/disco#{what}}}" for what in ("info", "items"))
LANG = "{http://www.w3.org/XML/1998/namespace}lang"
OURS = "urn:knoop:"  # nodes that are no commands: our entity capabilities

ANSWER_WITHIN_S = 10.0  # before a client gives up (about 20 s) and a person does; what takes longer is told in the chat
AT_WORK = 50  # verbs at once, beyond which only those are heard who have rights of their own, not just their domain's
REMEMBERED = 100  # answers to what changed something, in case the same stanza comes again
REMEMBERED_S = 600.0
ACTIONS = frozenset({"execute", "next", "prev", "complete", "cancel"})

LATE = N_("That arrived late, so I did nothing. Please do it again.")
BUSY = N_("I am still busy with what you asked before, so I did nothing. Please do it again later.")
SLOW = N_("This takes a while; I send you the answer as a message.")
ANSWER = N_("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    """One command of somebody with the right to it."""

    iq: ET.Element
    element: ET.Element
    desk: Desk
    session_id: str
    late: bool

    @property
    def sender(self) -> Jid:
        return self.desk.request.sender

    @property
    def verb(self) -> Command:
        return self.desk.command

    @property
    def key(self) -> bytes:
        """What tells a repeat of this stanza from another one with its id: who, and all that it says."""
        who = f"{self.sender} {self.iq.get('id')} "
        return hashlib.blake2b(who.encode("utf-8", "replace") + ET.tostring(self.element), digest_size=16).digest()


class AdHoc:
    """Answers requests about commands. `send` writes a stanza, `say` a chat message, both on the current session."""

    def __init__(
        self, house: House, *, execution: Execution, voice: Callable[[str], Voice],
        send: Callable[[ET.Element], None], say: Callable[[Jid, str], None],
    ) -> None:  # fmt: skip
        self._house = house
        self._execution = execution
        self._voice = voice
        self._send = send
        self._say = say
        self.opened = OpenForms()
        self._working: dict[Jid, asyncio.Task[None]] = {}
        self._answers: OrderedDict[bytes, tuple[int, ET.Element | None]] = OrderedDict()

    def follow(self, former: AdHoc) -> None:
        """Go on where another one ended: what acted there does not act again. Open forms were that one's."""
        self._answers = former._answers

    def take(self, iq: ET.Element, late: bool) -> bool:
        """Whether this IQ get or set was about commands; then it is answered, at once or soon. Never waits."""
        query = next((child for child in iq if child.tag in {f"{INFO}query", f"{ITEMS}query"}), None)
        node = "" if query is None else query.get("node", "")
        command = iq.find(f"{COMMAND}command")
        if command is None and (not node or node.startswith(OURS)):
            return False
        try:
            sender = compat.jid(iq.get("from", ""))
        except ValueError:
            return False
        person = self._house.access.person(sender)
        try:
            if person is not None and self._execution.too_often(sender):
                self._refuse(iq, "resource-constraint")
            elif command is not None:
                self._obey(iq, command, sender, person, late=late)
            elif query is not None:
                self._discover(iq, query.tag, node, person)
        except Exception as error:  # noqa: BLE001 -- `incident` logs it whole
            self._execution.incident(sender, "form", error, via="form")
            self._refuse(iq, "internal-server-error")
        return True

    async def close(self) -> None:
        """Stop answering; what was being done is finished by its verb or cancelled."""
        tasks = [*self._working.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # Discovery --------------------------------------------------------------------------------------------------------

    def _discover(self, iq: ET.Element, tag: str, node: str, person: Person | None) -> None:
        listed = [c for c in self._execution.verbs.values() if person is not None and person.role >= c.role]
        command = next((c for c in listed if c.verb == node), None)
        if person is None or iq.get("type") != "get" or (command is None and node != COMMANDS):
            self._refuse(iq, "item-not-found")
            return
        voice = self._voice(_lang(iq, person))
        query = ET.Element(tag, {"node": node})
        if tag == f"{INFO}query":
            kind = "command-node" if command else "command-list"
            name = _name(command, voice) if command else self._house.label or self._house.name
            ET.SubElement(query, f"{INFO}identity", {"category": "automation", "type": kind, "name": name})
            for feature in FEATURES:
                ET.SubElement(query, f"{INFO}feature", {"var": feature})
        elif command is None:
            for item in listed:
                about = {"jid": iq.get("to", ""), "node": item.verb, "name": _name(item, voice)}
                ET.SubElement(query, f"{ITEMS}item", about)
        self._write(result(iq, query))

    # One command ------------------------------------------------------------------------------------------------------

    def _obey(self, iq: ET.Element, command: ET.Element, sender: Jid, person: Person | None, *, late: bool) -> None:
        verb = self._execution.verbs.get(command.get("node", ""))
        if verb is None or person is None or person.role < verb.role:
            if verb is not None and person is not None:
                self._execution.note(sender, verb.verb, "refused: not allowed", via="form")
            self._refuse(iq, "item-not-found")
            return
        action, session_id = command.get("action", "execute"), command.get("sessionid", "")
        if iq.get("type") != "set" or sum(child.tag not in DELAY for child in iq) > 1:
            self._refuse(iq, "bad-request")
            return
        if action not in ACTIONS:
            self._refuse(iq, "bad-request", "malformed-action")
            return
        lang = _lang(iq, person)
        request = Request(
            sender=sender, verb=verb.verb, lang=lang or "en", via="form", heard_ns=self._house.clock.boottime_ns(),
            stanza=iq.get("id", ""),
        )
        call = _Call(
            iq=iq, element=command, session_id=session_id or openforms.new_id(),
            late=late or any(iq.find(tag) is not None for tag in DELAY),
            desk=Desk(command=verb, request=request, house=self._house, voice=self._voice(lang)),
        )
        if self._repeats(call):
            return
        if session_id:
            self._go_on(call, action)
        elif action == "execute":
            self._proceed(call, call.desk.form())
        else:
            self._refuse(iq, "bad-request", "bad-sessionid")

    def _go_on(self, call: _Call, action: str) -> None:
        """Something about an open form; whose it is counts, and that it is theirs, on this very device."""
        opened = self.opened.find(call.session_id)
        if opened is not None and opened.sender != call.sender:
            whose = f"{opened.verb}: the form of {opened.sender}"
            self._execution.note(call.sender, whose, "refused: not theirs", via="form")
        if opened is None or opened.sender != call.sender or opened.verb != call.verb.verb:
            self._refuse(call.iq, "bad-request", "bad-sessionid")
        elif opened.until_ns <= self._house.clock.boottime_ns():
            self.opened.close(call.session_id)
            self._refuse(call.iq, "not-allowed", "session-expired")
        elif action == "cancel":
            self._cancel(call)
        elif action == "prev" and opened.form.stage == "second":
            self._proceed(call, call.desk.form())
        elif action == "prev" or (action == "next" and opened.form.stage != "first"):
            self._refuse(call.iq, "bad-request", "bad-action")  # who wants another page does not want it done
        else:  # `execute`, or nothing at all (Movim, Pidgin), is whatever comes next
            self._submit(call, opened.form)

    def _submit(self, call: _Call, form: Form) -> None:
        filled = call.element.findall(f"{dataforms.DATA}x")
        if len(filled) == 1 and filled[0].get("type") == "cancel":
            self._cancel(call)
            return
        try:
            [x] = filled
            values = dataforms.submitted(x)
        except ValueError:
            self._refuse(call.iq, "bad-request", "bad-payload")
            return
        outcome = call.desk.submitted(values, output=form.output, stage=form.stage)
        again = call.desk.form(form.output)
        if isinstance(outcome, Reply) and isinstance(again, Form):  # what is wrong stands above the form
            self._show(call, again.filled(values), notice=_lines(outcome, call.desk.voice))
        else:
            self._proceed(call, outcome)

    def _proceed(self, call: _Call, outcome: Form | Request | Reply) -> None:
        """Show the next form, say why there is none, or do what is asked."""
        person = call.sender.bare
        if isinstance(outcome, Form):
            self._show(call, outcome)
        elif isinstance(outcome, Reply):
            self._complete(call, outcome)
        elif call.late and call.verb.writes:
            self._execution.note(call.sender, spoken(outcome), "ignored: delayed", via="form")
            self._complete(call, refuse(LATE))
        elif person in self._working or (
            len(self._working) >= AT_WORK and not self._house.access.individual(call.sender)
        ):
            self._complete(call, refuse(BUSY))
        else:
            self.opened.close(call.session_id)
            if call.verb.writes:
                self._remember(call, None)
            self._working[person] = asyncio.create_task(self._act(call, outcome))

    async def _act(self, call: _Call, request: Request) -> None:
        """Run one verb and answer within bounds, however long it takes."""
        run = asyncio.ensure_future(self._execution.run(request, words=spoken(request)))
        try:
            await first(run, self._house.clock.sleep(ANSWER_WITHIN_S))
            if not run.done():
                self._complete(call, Reply((Sentence(SLOW),)))
                text = call.desk.voice.render(await run)
                with suppress(LinkError):  # nobody is there to be answered
                    if self._house.access.person(call.sender) is not None:  # rights may have gone meanwhile
                        self._say(call.sender, text)
            elif self._house.access.person(call.sender) is not None:
                self._complete(call, run.result())
            else:
                self._refuse(call.iq, "item-not-found")
        except Exception as error:  # noqa: BLE001 -- `incident` logs it whole
            self._execution.incident(call.sender, spoken(request), error, via="form")
            self._refuse(call.iq, "internal-server-error")
        finally:
            if not run.done():
                run.cancel()
                await asyncio.wait({run})  # until it has told the audit log that it was cut off
            del self._working[call.sender.bare]

    # Answers ----------------------------------------------------------------------------------------------------------

    def _show(self, call: _Call, form: Form, *, notice: Sequence[str] = ()) -> None:
        opened = OpenForm(sender=call.sender, verb=call.verb.verb, form=form)
        individual = self._house.access.individual(call.sender)
        now_ns = self._house.clock.boottime_ns()
        if not self.opened.put(call.session_id, opened, now_ns, individual=individual):
            self._refuse(call.iq, "resource-constraint")
            return
        answer = _command(call, "executing")
        names = {"first": ("next",), "second": ("prev", "complete")}.get(form.stage, ("complete",))
        # Gajim refuses an empty list, Converse shows these buttons only, and `execute` is what a client may leave out.
        actions = ET.SubElement(answer, f"{COMMAND}actions", {"execute": names[-1]})
        actions.extend(ET.Element(f"{COMMAND}{name}") for name in names)
        answer.append(dataforms.element(form, notice=notice))
        self._write(result(call.iq, answer))

    def _complete(self, call: _Call, reply: Reply) -> None:
        """A result or one note, never both: Movim shows the note only, Pidgin the form only. Or a code to be typed."""
        if reply.asks_code:
            self._show(call, call.desk.coding(), notice=_lines(reply, call.desk.voice))
            return
        self.opened.close(call.session_id)
        voice, answer = call.desk.voice, _command(call, "completed")
        lines = _lines(reply, voice)
        if reply.ok and len(lines) > 1:
            answer.append(dataforms.result(_name(call.verb, voice), voice.sentence(Sentence(ANSWER)), lines))
        else:
            note = ET.SubElement(answer, f"{COMMAND}note", {"type": "info" if reply.ok else "error"})
            note.text = "\n".join(lines)
        whole = result(call.iq, answer)
        if call.key in self._answers:
            self._remember(call, whole)
        self._write(whole)

    def _cancel(self, call: _Call) -> None:
        self.opened.close(call.session_id)
        self._write(result(call.iq, _command(call, "canceled")))

    def _refuse(self, iq: ET.Element, condition: str, specific: str = "") -> None:
        self._write(failure(iq, condition, f"{COMMAND}{specific}" if specific else ""))

    def _repeats(self, call: _Call) -> bool:
        """Whether this very stanza has acted already; then it is answered as it was, or will be."""
        at_ns, answer = self._answers.get(call.key, (0, None))
        if not at_ns or self._house.clock.boottime_ns() - at_ns > REMEMBERED_S * 1e9:
            return False
        if answer is not None:
            self._write(answer)
        return True

    def _remember(self, call: _Call, answer: ET.Element | None) -> None:
        self._answers[call.key] = (self._house.clock.boottime_ns(), answer)
        if len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)

    def _write(self, stanza: ET.Element) -> None:
        with suppress(LinkError):  # nobody is there to be answered
            self._send(stanza)


def _command(call: _Call, status: Literal["executing", "completed", "canceled"]) -> ET.Element:
    """Gajim takes no answer without these three."""
    attributes = {"node": call.verb.verb, "sessionid": call.session_id, "status": status}
    return ET.Element(f"{COMMAND}command", attributes)


def _lines(reply: Reply, voice: Voice) -> list[str]:
    return [voice.sentence(line) for line in reply.lines]


def _name(command: Command, voice: Voice) -> str:
    """What a verb is called in a menu."""
    summary = voice.sentence(Sentence(command.summary))
    return summary[:1].upper() + summary[1:]


def _lang(iq: ET.Element, person: Person) -> str:
    """The language that the client asks for where we speak it, else the person's; '' for the node's own."""
    # English is nobody's wish: Prosody and many clients say so where nothing was said.
    asked = iq.get(LANG, "").replace("_", "-").partition("-")[0].lower()
    return asked if asked in languages() - {"en"} else person.lang
