"""`knoop doctor`: from this machine to what the server is, one finding a check, each with what to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any

from knoop import installed
from knoop.config import Config
from knoop.doctor import machine as here
from knoop.doctor import network, server
from knoop.doctor.finding import Finding, as_data, as_line, as_summary, as_text, not_looked_at, problem, sentence
from knoop.doctor.machine import Machine
from knoop.errors import LinkError, Refusal
from knoop.xmpp.account import Account, tls_context
from knoop.xmpp.session import Session
from knoop_hw import places
from knoop_hw.clock import Clock

__all__ = ["CHECKS", "Finding", "Machine", "as_data", "as_line", "as_summary", "as_text", "examine"]

ON_THIS_MACHINE = (
    "configuration", "password", "state", "disk", "clock", "devices", "lines", "temperature", "power",
)  # fmt: skip
ON_THE_WAY = ("dns", "tcp", "tls", "certificate", "login")
AT_THE_SERVER = ("time", "pep", "nodes", "rooms", "archive", "carbons", "offline", "upload", "nagle", "rate")
CHECKS = (*ON_THIS_MACHINE, *ON_THE_WAY, *AT_THE_SERVER)
RESOURCE = "doctor"


async def examine(
    config: Config, *, clock: Clock, on_finding: Callable[[Finding], None] | None = None,
    offline: bool = False, machine: Machine | None = None, resolver: Any = None,
) -> list[Finding]:  # fmt: skip
    """Every check in order; `on_finding` hears each as it comes. What a failure hides is said to be not looked at.

    `offline`: this machine only. `machine` and `resolver` (an
    `aiodns.DNSResolver`) are where to look instead. A login of its own is made beside the node's; the node does not
    notice. Raises ConfigError for a `ca_file` that is none.
    """
    told = _Told(on_finding or (lambda _finding: None))
    machine = machine or Machine(
        state=partial(places.state_of, config.file, "knoop"), user=installed.opener(config.file)
    )
    told.all(here.configuration(config))
    finding, secret = here.password(config)
    told(finding)
    told.all(here.state(machine))
    told.all(here.disk(machine, config))
    told.all(here.clock(machine))
    told.all(here.devices(machine, config))
    told.all(here.lines(machine, config))
    told.all(here.temperature(machine))
    told.all(here.power(machine))
    if not offline:
        await _outside(config, secret, told, clock=clock, resolver=resolver)
    return told.findings


async def _outside(config: Config, secret: str | None, told: _Told, *, clock: Clock, resolver: Any) -> None:
    account = replace(Account.of(config, secret or ""), jid=replace(config.jid, resource=RESOURCE))
    tls_context(account)
    try:
        found = await network.find(account, resolver)
    except LinkError as error:
        told(sentence("dns", error))
        told.hidden(ON_THE_WAY[1:] + AT_THE_SERVER)
        return
    told.all(network.dns(account, found))
    if told.hidden(ON_THE_WAY[1:] + AT_THE_SERVER):
        return
    findings, open_ = await network.tcp(found)
    told.all(findings)
    if told.hidden(ON_THE_WAY[2:] + AT_THE_SERVER):
        return
    seen = await network.shake_hands(account, open_)
    told.all(network.tls(account, seen))
    if seen.failed:
        told.hidden(ON_THE_WAY[3:] + AT_THE_SERVER)
        return
    told.all(network.certificate(account, seen, clock=clock))
    if told.hidden(("login", *AT_THE_SERVER)):
        return
    if secret is None:
        told.skip(("login", *AT_THE_SERVER), "there is no password")
        return
    async with AsyncExitStack() as stack:
        try:
            session = await _login(account, stack, clock)
            echo = await _login(replace(account, jid=replace(account.jid, resource=f"{RESOURCE}-echo")), stack, clock)
        except LinkError as error:
            told(sentence("login", error))
            told.hidden(AT_THE_SERVER)
            return
        told(Finding(check="login", level="ok", text=f"as {session.jid}, by SCRAM"))
        await _inside(config, session, echo, told, clock)


async def _login(account: Account, stack: AsyncExitStack, clock: Clock) -> Session:
    """A session that hears nothing, shows no presence and answers requests of our own account only."""
    own = str(account.jid.bare)
    session = await Session.open(
        account, clock=clock, context=tls_context(account), on_message=lambda _message, _late: None,
        on_presence=lambda _presence: None, admits=lambda sender: sender.partition("/")[0] in {"", own},
    )
    stack.push_async_callback(session.close)
    return session


async def _inside(config: Config, session: Session, echo: Session, told: _Told, clock: Clock) -> None:
    looks: dict[str, Callable[[], Awaitable[Iterable[Finding]]]] = {
        "time": partial(server.time, session, clock=clock),
        "pep": partial(server.pep, session, config),
        "nodes": partial(server.closed, session, config),
        "rooms": partial(server.rooms, session, config),
        "archive": partial(server.archive, session, config),
        "carbons": partial(server.carbons, session, config),
        "offline": partial(server.offline, session, config),
        "upload": partial(server.upload, session, config),
        "nagle": partial(server.nagle, session, echo, clock=clock),
        "rate": partial(server.rate, session, clock=clock),
    }
    assert tuple(looks) == AT_THE_SERVER
    for check, look in looks.items():
        if check == "nodes" and told.hidden((check,), by=("pep",)):
            continue
        try:
            told.all(await look())
        except Refusal as error:
            told(not_looked_at(check, str(error)))
        except LinkError as error:
            told(problem(check, f"the login ended meanwhile: {error}", "look again; see the log of the server"))
            told.skip(AT_THE_SERVER[AT_THE_SERVER.index(check) + 1 :], "the login ended")
            return


class _Told:
    """What was found so far, each told at once."""

    def __init__(self, on_finding: Callable[[Finding], None]) -> None:
        self.findings: list[Finding] = []
        self._on_finding = on_finding

    def __call__(self, finding: Finding) -> None:
        self.findings.append(finding)
        self._on_finding(finding)

    def all(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self(finding)

    def skip(self, checks: Iterable[str], because: str) -> None:
        for check in checks:
            self(not_looked_at(check, because))

    def wrong(self, checks: Collection[str]) -> str:
        """The first of these checks that found a problem, '' when none did."""
        return next((f.check for f in self.findings if f.level == "problem" and f.check in checks), "")

    def hidden(self, checks: Iterable[str], by: Collection[str] = ON_THE_WAY) -> bool:
        """Whether a problem on the way hides these checks, which is then said."""
        wrong = self.wrong(by)
        if wrong:
            self.skip(checks, f"'{wrong}' has to be right first")
        return bool(wrong)
