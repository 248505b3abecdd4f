"""The questions of `knoop init`, each with its flag and its reason: from answers to a plan of what will be made."""

from __future__ import annotations

import argparse
import asyncio
import locale
import platform
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

from knoop import config, credential, invitation
from knoop.commands import words
from knoop.errors import LoginRefused, Usage
from knoop.init import setup
from knoop.init.ask import Terminal
from knoop.init.drafts import Draft
from knoop.invitation import Invite
from knoop.jid import Jid
from knoop.places import PASSWORD_CREDENTIAL
from knoop.xmpp import compat, register
from knoop.xmpp.account import Account, tls_context
from knoop.xmpp.session import Session
from knoop_hw.clock import SystemClock
from knoop_hw.errors import ConfigError, Problem

T = TypeVar("T")
CA_FILE = "ca.pem"  # beside a service's configuration
TRIES = 3  # for a password typed by hand, as login(1) has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be made. `token` is an invite's; `register` whether the account is still to be made.

    `group`: whose the service's configuration is; None where this is no service. Then the password stands beside it.
    """

    answers: setup.Answers
    account: Account
    register: bool
    token: str = field(repr=False)
    given: Path | None  # where the password came from
    group: int | None = None

    def files(self, target: Path) -> dict[Path, Draft]:
        """What is written, the password first: who finds `node.toml` finds the rest."""
        text = setup.node_toml(self.answers)
        if self.group is not None:
            secret, sealed = credential.prepared(PASSWORD_CREDENTIAL, self.account.password)
            return {
                secret: Draft(text=sealed, mode=0o600, private=True), **self._authority(target),
                target: Draft(text=text, mode=0o640, group=self.group),
            }  # fmt: skip
        secret = target.with_name(self.answers.password_file)
        same = self.given is not None and secret.exists() and self.given.samefile(secret)
        return {
            secret: Draft(text=f"{self.account.password}\n", mode=0o600, keep=not same),
            target: Draft(text=text, mode=0o644),
        }

    def _authority(self, target: Path) -> dict[Path, Draft]:
        """A copy of who signed the server's certificate: a service sees nobody's home."""
        if self.account.ca_file is None:
            return {}
        text = self.account.ca_file.read_text("utf-8")
        return {target.with_name(self.answers.ca_file): Draft(text=text, mode=0o640, group=self.group)}


class Interview:
    """Every answer: from its flag, else from the person, else it is missing."""

    def __init__(
        self, arguments: argparse.Namespace, terminal: Terminal | None, *, lines: setup.Lines,
        ports: tuple[setup.Port, ...], group: int | None = None,
    ) -> None:
        """`group`: as a plan has it."""
        self._flags, self._terminal, self._found, self._ports = arguments, terminal, lines, ports
        self._group = group
        self._missing: list[str] = []

    def plan(self) -> Plan:
        """Ask it all. Raises Usage naming every flag that is missing."""
        flags = self._flags
        link = self._checked("--invite", flags.invite, _invited) if flags.invite else None
        label = self._checked("--label", flags.label, _label) if flags.label else ""
        room = str(self._checked("--room", flags.room, with_name)) if flags.room else ""
        where = self._where()
        if self._terminal:
            self._terminal.say("A few questions. Enter takes what is in brackets; Ctrl-C leaves no trace.")
        name = self._one("--name NAME", flags.name, _name, "Name", "What is this node called? One lower-case word.",
                         default=setup.node_name(platform.node()))
        owners = self._owners(link)
        jid, link = self._address(name, owners, link)
        make = bool(link) or self._registers(jid)
        password = self._password(jid, where, make=make)
        lang = self._language()
        publish = self._publish(jid)
        lines = self._lines()
        if self._missing:
            raise Usage("nobody can be asked here, so these are needed too: " + " ".join(self._missing))
        assert name
        assert owners is not None
        assert jid
        assert publish
        answers = setup.Answers(
            name=name, label=label or name.capitalize(), lang=lang, jid=str(jid),
            password_file="" if self._group is not None else f"{name}.password",
            owners=tuple(map(str, owners)), publish=publish,
            host=where.host, port=where.port, ca_file=self._ca_file(where), fingerprint=where.fingerprint,
            room=room, lines=lines, ports=self._ports,
        )  # fmt: skip
        account = replace(where, jid=jid, password=password)
        if flags.password_file and not make:
            asyncio.run(login(account))
        token = link.token if link else ""
        return Plan(answers=answers, account=account, register=make, token=token, given=flags.password_file,
                    group=self._group)

    def _ca_file(self, where: Account) -> str:
        return CA_FILE if where.ca_file and self._group is not None else str(where.ca_file or "")

    def _where(self) -> Account:
        """The server's place as the flags have it, for nobody yet."""
        flags = self._flags
        ca_file = flags.ca_file.absolute() if flags.ca_file else None
        if not f"{flags.host}{ca_file}".isprintable():
            raise Usage("--host and --ca-file are printable text")
        try:
            config.Xmpp(jid="", host=flags.host, port=flags.port, fingerprint=flags.fingerprint)
        except ValueError as error:
            raise Usage(re.sub(r"'(\w+)'", r"--\1", str(error))) from None
        account = Account(jid=Jid("", ""), password="", host=flags.host, port=flags.port, ca_file=ca_file,
                          fingerprint=flags.fingerprint)
        tls_context(account)  # a wrong file is better said before the questions
        return account

    def _owners(self, link: Invite | None) -> tuple[Jid, ...] | None:
        if self._flags.claim:
            if self._flags.owner:
                raise Usage("--claim is for a node that nobody owns yet: leave out --owner, or --claim")
            return ()
        if self._flags.owner:
            return tuple(self._checked("--owner", owner, with_name) for owner in self._flags.owner)
        return self._one(
            "--owner JID (or --claim)", None, _named,
            "Your own address", "Whom does it obey? The owner may do everything; nobody else gets an answer. Say "
            "- (a dash) to decide later: it then shows a code, and whoever sends it that becomes its owner.",
            default=link.inviter if link else "",
        )

    def _address(
        self, name: str | None, owners: tuple[Jid, ...] | None, link: Invite | None
    ) -> tuple[Jid | None, Invite | None]:
        """The node's account, and the invite that makes it."""

        def check(text: str) -> tuple[Jid, Invite | None]:
            given = invitation.parse(text) if invitation.looks_like_one(text) else None
            if not given and self._terminal and not re.search("[@.]", text):
                raise ValueError(f"{text!r} has no @; an address is like name@example.org")
            if given and link:
                raise ValueError("one invite is enough: here an address is meant")
            jid = compat.jid(given.account if given else text)
            jid = replace(jid, local=jid.local or name or "", resource="")
            if jid in (owners or ()):
                raise ValueError(f"{jid} is the owner; the node needs an account of its own")
            if link and jid.domain != compat.jid(link.domain).domain:
                raise ValueError(f"the invite is for an account on {link.domain}")
            return jid, given or link

        if link and not self._flags.jid:
            return self._checked("--invite", link.account, check) if name else (None, link)
        answer = self._one(
            "--jid JID (or --invite FILE)", self._flags.jid, check, "The node's address",
            "It needs an account of its own, not yours. Give an address, or paste an invite (xmpp:…).",
            default=f"{name}@{owners[0].domain}" if owners else "",
        )
        return answer or (None, None)

    def _registers(self, jid: Jid | None) -> bool:
        if self._flags.register or self._flags.password_file:
            return bool(self._flags.register)
        if self._terminal:
            why = ("An account that does not exist yet is made now, where the server allows that.",)
            return not self._terminal.yes(f"Does the account {jid} exist already?", why)
        self._missing.append("--password-file FILE (or --register, which makes the account)")
        return False

    def _password(self, jid: Jid | None, where: Account, *, make: bool) -> str:
        if self._flags.password_file:
            return _read(self._flags.password_file)
        if make or self._terminal is None:
            return register.new_password()
        return self._typed(jid, where, self._terminal)

    def _typed(self, jid: Jid | None, where: Account, terminal: Terminal) -> str:
        """A password that was tried. Raises LoginRefused after TRIES."""
        assert jid is not None
        whose = "the service" if self._group is not None else "you"
        terminal.say("", f"It is kept in a file that only {whose} can read. It is not shown as you type.")
        for left in reversed(range(TRIES)):
            password = terminal.secret(f"Password of {jid}")
            try:
                asyncio.run(login(replace(where, jid=jid, password=password)))
            except LoginRefused as refused:
                if not left:
                    raise
                terminal.say(f"  {str(refused).partition(';')[0]}")
            else:
                return password
        raise AssertionError

    def _language(self) -> Literal["en", "nl"]:
        if self._flags.lang:
            return self._flags.lang  # type: ignore[no-any-return]  # argparse checked it
        here = (locale.getlocale()[0] or "").startswith("nl")
        if not self._terminal:
            return "nl" if here else "en"
        why = "Which language does it speak? en or nl; each person can have another."
        return self._terminal.ask("Language", why, _language, default="nl" if here else "en")

    def _publish(self, jid: Jid | None) -> Literal["pep", "off"] | None:
        if self._flags.publish:
            return self._flags.publish  # type: ignore[no-any-return]  # argparse checked it
        if self._terminal:
            assert jid is not None
            return "pep" if self._terminal.yes("Publish readings?", setup.server_sees(jid.domain)) else "off"
        self._missing.append("--publish pep|off")
        return None

    def _lines(self) -> setup.Lines:
        simulated = self._flags.simulated
        if self._terminal and not simulated and self._found == "none":
            why = ("There are no GPIO lines here. A made-up door, lamp and air sensor can stand in, to try it out.",)
            simulated = self._terminal.yes("Simulate them?", why, default=False)
        return "simulated" if simulated else self._found

    def _one(
        self, flag: str, given: str | None, check: Callable[[str], T], question: str, why: str, *, default: str = ""
    ) -> T | None:
        if given is not None:
            return self._checked(flag.partition(" ")[0], given, check)
        if self._terminal:
            return self._terminal.ask(question, why, check, default=default)
        self._missing.append(flag)
        return None

    def _checked(self, flag: str, given: str, check: Callable[[str], T]) -> T:
        try:
            return check(given)
        except ValueError as error:
            raise Usage(f"{flag}: {error}") from None


async def login(account: Account) -> None:
    """Log in and out. Raises LinkError."""
    session = await Session.open(
        account, clock=SystemClock(), context=tls_context(account), on_message=lambda _message, _late: None,
        on_presence=lambda _presence: None, admits=lambda _sender: False,
    )
    await session.close()


def _invited(file: str) -> Invite:
    """The invite in this file, `-` for standard input: whoever reads it may use it, and all can read arguments."""
    if invitation.looks_like_one(file):
        raise ValueError("other users can read arguments, and whoever has an invite can use it; put it into a file")
    return invitation.parse(sys.stdin.readline() if file == "-" else _read(Path(file)))


def _name(text: str) -> str:
    config.Node(name=text)
    if text in words():
        raise ValueError(f"{text!r} is a word people say to the node; choose another name")
    return text


def _label(text: str) -> str:
    if not text.isprintable():
        raise ValueError("a label is one line of text")
    return text


def with_name(text: str) -> Jid:
    jid = compat.jid(text).bare
    if not jid.local:
        raise ValueError(f"{text!r} has no @; an address is like name@example.org")
    return jid


def _named(text: str) -> tuple[Jid, ...]:
    if text.strip() == "-":
        return ()
    if not (owners := tuple(map(with_name, text.replace(",", " ").split()))):
        raise ValueError("a node without an owner obeys nobody; give an address like name@example.org")
    return owners


def _language(text: str) -> Literal["en", "nl"]:
    for known in ("en", "nl"):
        if text.lower() == known:
            return known
    raise ValueError(f"{text!r} is not one of en, nl")


def _read(file: Path) -> str:
    """What a file with one secret holds. Raises ConfigError."""
    try:
        secret = file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([Problem(str(file), 0, "", f"cannot be read: {error}")]) from None
    if not secret or "\n" in secret:
        raise ConfigError([Problem(str(file), 0, "", "is not one line; put what is secret there, and nothing else")])
    return secret
