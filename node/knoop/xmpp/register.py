"""Making an account before there is a login: an invite's token (XEP-0445) and in-band registration (XEP-0077).

The connection is a session's own, with the same proof of the server: nothing is said before TLS stands and its
certificate is checked. Then, instead of a login, come our requests; of what arrives, only their answers are handled.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any, ClassVar
from xml.etree import ElementTree as ET

from slixmpp.stanza import Iq

from knoop.errors import LinkError, RegistrationRefused
from knoop.xmpp.account import Account, tls_context
from knoop.xmpp.guard import SASL
from knoop.xmpp.session import IQ_TIMEOUT_S, Session
from knoop.xmpp.stream import Stream
from knoop_hw.clock import Clock

CLIENT = "{jabber:client}"
IBR = "{jabber:iq:register}"
FORM = "{jabber:x:data}"
OFFER = "{http://jabber.org/features/iq-register}register"
TOKEN_OFFER = "{urn:xmpp:ibr-token:0}register"  # noqa: S105 -- a feature's name
PREAUTH = "{urn:xmpp:pars:0}preauth"
ERROR = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
SAID_MAX = 200  # characters of what a server says that a person is shown


def new_password() -> str:
    """A password that nobody guesses or types: 192 bits."""
    return secrets.token_urlsafe(24)


async def register(account: Account, *, token: str = "", clock: Clock) -> None:
    """Make `account` on its server. Raises RegistrationRefused, Untrusted or Unreachable, each with what to do."""
    entrance = await Entrance.open(
        account, clock=clock, context=tls_context(account), on_message=lambda _message, _late: None,
        on_presence=lambda _presence: None, admits=lambda _sender: False,
    )
    try:
        await entrance.register(token)
    finally:
        await entrance.close()


class _Stream(Stream):
    """Stops where TLS is proven and the server says what it offers; never logs in."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.offers: asyncio.Future[ET.Element] = asyncio.get_running_loop().create_future()
        self.asked: dict[str, asyncio.Future[ET.Element]] = {}

    async def _handle_stream_features(self, features: Any) -> bool | None:
        """COMPAT(slixmpp 1.17): the one place that decides on a login. Check its name when it is upgraded."""
        if not self.encrypted:
            return await super()._handle_stream_features(features)
        if not self.offers.done():
            self.offers.set_result(features.xml)
        return True

    def _may_handle(self, xml: ET.Element) -> bool:
        if not self.encrypted:
            return super()._may_handle(xml)
        return self._answers(xml) or (super()._may_handle(xml) and not xml.tag.startswith(f"{{{SASL}}}"))

    def _answers(self, xml: ET.Element) -> bool:
        """Whether this answers a request of ours. Before a login there is nobody else than the server."""
        ours = xml.tag == f"{CLIENT}iq" and xml.get("type") in {"result", "error"} and xml.get("id") in self.asked
        return ours and xml.get("from", self.boundjid.host) in {self.boundjid.host, self.boundjid.bare}

    def _admit(self, stanza: Any) -> Any:
        if not isinstance(stanza, Iq):
            return super()._admit(stanza)
        waiting = self.asked.pop(stanza.xml.get("id", ""), None)
        if waiting and not waiting.done():
            waiting.set_result(stanza.xml)
        return None


class Entrance(Session):
    """A connection to a proven server, without a login."""

    STREAM: ClassVar[type[Stream]] = _Stream
    _stream: _Stream

    def __init__(self, account: Account, **parts: Any) -> None:
        super().__init__(account, **parts)
        self._stream.offers.add_done_callback(self._offered)

    def _offered(self, _offers: asyncio.Future[ET.Element]) -> None:
        if not self._started.done():
            self._started.set_result(None)

    async def _begin(self) -> None:
        """Nothing is pinged before a login."""

    async def register(self, token: str) -> None:
        """Ask for the account. Raises RegistrationRefused or LinkError."""
        where, name = self.account.jid.domain, self.account.jid.local
        offers = self._stream.offers.result()
        if token and offers.find(TOKEN_OFFER) is None:
            raise RegistrationRefused("", f"{where} takes no invites; ask whoever runs it for an account")
        if not token and offers.find(OFFER) is None:
            text = f"{where} makes no accounts for whoever asks; ask whoever runs it for an account or an invite"
            raise RegistrationRefused("", text)
        if token:
            answer = await self._ask("set", ET.Element(PREAUTH, {"token": token}))
            if answer.get("type") == "error":
                text = f"{where} does not take this invite{_said(answer)}: it is used, too old or withdrawn; ask for a"
                raise RegistrationRefused(_condition(answer), f"{text} new one")
        answer = await self._ask("get", ET.Element(f"{IBR}query"))
        if answer.get("type") == "error":
            raise _refused(answer, where, name)
        filled = fill(answer.find(f"{IBR}query"), {"username": name, "password": self.account.password}, where)
        try:
            answer = await self._ask("set", filled)
        except LinkError as error:
            text = f"{error}; perhaps the account was made: if '{name}' is taken at the next try, choose another name"
            raise LinkError(text) from None
        if answer.get("type") == "error":
            raise _refused(answer, where, name)

    async def _ask(self, kind: str, child: ET.Element) -> ET.Element:
        """The server's answer, which may be an error. Raises LinkError."""
        if self._lost.done():
            raise self._lost.exception() or LinkError("the link ended")
        number = self.new_id()
        answer: asyncio.Future[ET.Element] = asyncio.get_running_loop().create_future()
        request = ET.Element(f"{CLIENT}iq", {"type": kind, "id": number, "to": self.account.jid.domain})
        request.append(child)
        self._stream.asked[number] = answer
        # Not by slixmpp's queue: it keeps all but a login's own requests until a session has begun.
        self._stream.send_raw(str(self._stream.Iq(xml=request)))
        try:
            async with asyncio.timeout(IQ_TIMEOUT_S):
                return await self.or_lost(answer)
        except TimeoutError:
            raise LinkError(f"{self.account.where}: no answer within {IQ_TIMEOUT_S:g} s; try again") from None


def fill(query: ET.Element | None, known: Mapping[str, str], where: str) -> ET.Element:
    """The answer to a registration form, by XEP-0004 where the server offers that. Pure.

    Raises RegistrationRefused, naming what else the server wants to know.
    """
    query = ET.Element(f"{IBR}query") if query is None else query
    form = next((x for x in query.findall(f"{FORM}x") if x.get("type", "form") == "form"), None)
    answer = ET.Element(f"{IBR}query")
    if form is not None and {field.get("var") for field in form.findall(f"{FORM}field")} >= {*known}:
        wanted = _fill_form(form, known, answer)
    else:
        wanted = _fill_fields(query, known, answer)
    if wanted:
        told = next((text for text in (_told(query, form), *map(_url, query)) if text), "")
        text = f"{where} also wants {', '.join(wanted)}, which a node cannot give; make the account in another way"
        raise RegistrationRefused("not-acceptable", f"{text}, and come back with its password{told}")
    return answer


def _fill_form(form: ET.Element, known: Mapping[str, str], answer: ET.Element) -> list[str]:
    """Fill in what we know and what is filled in already; returns what is required beyond that."""
    wanted = []
    submit = ET.SubElement(answer, f"{FORM}x", {"type": "submit"})
    for field in form.findall(f"{FORM}field"):
        name, values = field.get("var", ""), [value.text or "" for value in field.findall(f"{FORM}value")]
        if name in known:
            values = [known[name]]
        elif field.find(f"{FORM}required") is not None and not any(values):
            wanted.append(f"“{_shown(field.get('label') or name)}”")
        if name and values:
            filled = ET.SubElement(submit, f"{FORM}field", {"var": name})
            for value in values:
                ET.SubElement(filled, f"{FORM}value").text = value
    return wanted


def _fill_fields(query: ET.Element, known: Mapping[str, str], answer: ET.Element) -> list[str]:
    """The same for plain elements: each one that is there is wanted (XEP-0077 §3.1)."""
    wanted = []
    for name, value in known.items():
        ET.SubElement(answer, f"{IBR}{name}").text = value
    for child in query:
        name = child.tag.removeprefix(IBR)
        if not child.tag.startswith(IBR) or name in {"instructions", "registered", *known}:
            continue
        if child.text:
            ET.SubElement(answer, child.tag).text = child.text  # <key/>: a ticket to hand back
        else:
            wanted.append(f"“{_shown(name)}”")
    fields = {child.tag for child in query}
    return wanted if fields >= {f"{IBR}{name}" for name in known} else wanted or ["a registration on its web page"]


def _told(query: ET.Element, form: ET.Element | None) -> str:
    text = query.findtext(f"{IBR}instructions") or (form.findtext(f"{FORM}instructions") if form is not None else "")
    return f" (it says: {_shown(text)})" if text else ""


def _url(element: ET.Element) -> str:
    url = element.findtext("{jabber:x:oob}url")
    return f" (it names {_shown(url)})" if url else ""


def _refused(answer: ET.Element, where: str, name: str) -> RegistrationRefused:
    """An error answer in words, with what to do."""
    condition, said = _condition(answer), _said(answer)
    if condition == "conflict":
        text = f"'{name}' is taken on {where}; choose another name, or give the password if the account is yours"
    elif condition in {"resource-constraint", "policy-violation"}:
        text = f"{where} makes no account now{said}; try again in an hour"
    elif condition == "jid-malformed":
        text = f"{where} does not take the name '{name}'{said}; choose another"
    elif condition == "not-acceptable":
        text = f"{where} makes no account '{name}'{said}; choose another name, or ask whoever runs it for an invite"
    else:
        text = f"{where} makes no account{said or f' ({condition})'}; ask whoever runs it for an account or an invite"
    return RegistrationRefused(condition, text)


def _condition(answer: ET.Element) -> str:
    names = (child.tag for child in answer.findall(f"{CLIENT}error/*"))
    return next((tag.removeprefix(ERROR) for tag in names if tag.startswith(ERROR) and tag != f"{ERROR}text"), "")


def _said(answer: ET.Element) -> str:
    text = answer.findtext(f"{CLIENT}error/{ERROR}text")
    return f" (it says: {_shown(text)})" if text else ""


def _shown(text: str) -> str:
    """What a stranger wrote, cut; the command line escapes the rest."""
    text = " ".join(text.split())
    return text if len(text) <= SAID_MAX else f"{text[:SAID_MAX]}…"
