"""`knoop purge`: what a node has kept goes, from this machine and from its server, or all that is of one person.

The node must be off: what it has in memory it would write again.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from knoop import commands, config, credential, installed, inventory, places, traces
from knoop.config import Config
from knoop.errors import LinkError, LoginRefused, NodeError, Refusal, Usage
from knoop.files import sync
from knoop.jid import Jid
from knoop.whereabouts import NODE as PLACE
from knoop.xmpp import compat, leaving, nodes
from knoop.xmpp.account import Account, tls_context
from knoop.xmpp.session import Session
from knoop_hw import places as common
from knoop_hw.clock import SystemClock
from knoop_hw.errors import ConfigError
from knoop_hw.life import lock
from knoop_hw.logs import printable

EX_FAILED = 1
JOURNAL = "systemd's journal is not Knoop's to delete, nor are exports, or what people's own devices have."


def purge(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit code: 1 where something is still there. Raises Usage, NodeError or OSError."""
    if arguments.person and (arguments.account or arguments.configuration):
        raise Usage("--person is about one person, --account and --configuration about the whole node")
    arguments.server |= arguments.account
    loaded = _load(arguments, needed=arguments.server or arguments.configuration)
    found = common.state_of(loaded.file, "knoop") if loaded else common.state_directory("knoop")
    state = arguments.state or found
    with ExitStack() as stack:
        for folder in inventory.folders(state):
            if folder.is_dir():
                taken = f"{folder} is in use by a node that runs; stop it first"
                stack.enter_context(lock(folder / "lock", taken=taken))
        if arguments.person:
            return _person(arguments, loaded, state)
        return _node(arguments, loaded, state)


def _node(arguments: argparse.Namespace, loaded: Config | None, state: Path) -> int:
    files = inventory.remembered(state)
    has = inventory.configuration(loaded) if loaded and arguments.configuration else None
    named = [has.folder / name for name in (*has.files[1:], has.main)] if has else []
    named = [*inventory.former(named), *named]
    if has and installed.is_of(has.folder):
        named += installed.of_the_setup()
    doomed = [*map(str, (*files, *named))]
    if has and installed.is_of(has.folder):
        doomed.append(f"the credential {places.PASSWORD_CREDENTIAL}")
    if loaded and arguments.server:
        doomed.append(f"at {loaded.jid.domain}: nodes, roster and block list of {loaded.jid.bare}")
    if loaded and arguments.account:
        doomed.append(f"the account {loaded.jid.bare} itself")
    _agreed(arguments, doomed)
    done = asyncio.run(_server(loaded, account=arguments.account)) if arguments.server else []
    led = [f"{file.resolve()}: a link led there, and it stays" for file in (*files, *named) if file.is_symlink()]
    for file in (*files, *named):
        file.unlink()
        done.append(str(file))
    for folder in {file.parent for file in (*files, *named)}:
        sync(folder)
    if has and installed.is_of(has.folder):
        done += map(str, credential.remove(places.PASSWORD_CREDENTIAL))
    left = led + [f"{file}: is not Knoop's, and stays" for file in inventory.others(state)]
    if has:
        left += [f"{file}: outside of {has.folder}, and stays" for file in has.elsewhere]
    return _report(arguments, done, left, fine=True)


def _person(arguments: argparse.Namespace, loaded: Config | None, state: Path) -> int:
    try:
        person = compat.jid(arguments.person).bare
    except ValueError as error:
        raise Usage(str(error)) from None
    known = next((one for one in loaded.people if one.jid == person), None) if loaded else None
    databases = [file for file in inventory.remembered(state) if file.name in inventory.DATABASES]
    copies = [file for file in inventory.remembered(state) if ".db.v" in file.name or ".corrupt-" in file.name]
    doomed = [f"{file}: what names {person}" for file in databases]
    doomed += [f"{file}: an old copy, all of it" for file in copies]
    if arguments.server:
        doomed.append(f"at the server: {person} in roster, block list and among the readers")
    _agreed(arguments, doomed)
    done = asyncio.run(_server(loaded, person=person)) if arguments.server else []
    for file in databases:
        version = len(inventory.DATABASES[file.name])
        rows = traces.erase(file, person, title=known.name if known else "", version=version)
        done.append(f"{file}: {rows} rows")
    for file in copies:
        file.unlink()
        done.append(str(file))
    written = [Path(file) for file in loaded.files] if loaded else []
    written += inventory.former(written)
    there = traces.found([*inventory.remembered(state), *written], str(person))
    partly = [file for file in there if file in databases and traces.within_others(file, person)]
    left = [f"{file}: {person} is part of other addresses in it, which stay" for file in partly]
    there = [file for file in there if file not in partly]
    left += [f"{file}: still names {person}" + (": take that out by hand" if file in written else "") for file in there]
    return _report(arguments, done, left, fine=not there)


async def _server(loaded: Config | None, *, person: Jid | None = None, account: bool = False) -> list[str]:
    """Do it at the server; returns what is gone. Raises LinkError, Refusal or ConfigError."""
    assert loaded is not None, "it says where the server is"
    session = await _login(loaded)
    try:
        there = [(node, "") for node in (*nodes.NODES, PLACE)]
        if service := loaded.publish.service:
            there += [(nodes.placed(node, service, session.jid), service) for node in nodes.NODES]
        if person is not None:
            return [f"{person} in {what}" for what in await leaving.forget_person(session, person, there)]
        gone = await leaving.take_off(session, there)
        if account:
            await _cancel(session, loaded)
            gone.append(f"the account {loaded.jid.bare}")
        return [f"{what} at {loaded.jid.domain}" for what in gone]
    finally:
        await session.close()


async def _cancel(session: Session, loaded: Config) -> None:
    """Delete the account. Raises NodeError or LinkError; what is here is there still, then."""
    try:
        await leaving.cancel(session)
    except Refusal as error:
        text = f"{loaded.jid.domain} lets no account delete itself ({error.condition}): ask who runs it. Nodes and "
        raise NodeError(text + "roster are gone; nothing was deleted here: leave --account out for that") from None
    except LinkError as lost:
        try:
            await (await _login(loaded)).close()
        except LoginRefused:
            return
        raise lost from None


async def _login(loaded: Config) -> Session:
    """A login as the node, which nobody sees: it sends no presence. Raises LinkError or ConfigError."""
    login = replace(Account.of(loaded, places.password(loaded)), jid=loaded.jid.bare)
    return await Session.open(
        login, clock=SystemClock(), context=tls_context(login), on_message=lambda _stanza, _late: None,
        on_presence=lambda _stanza: None, admits=lambda _sender: False,
    )  # fmt: skip


def _load(arguments: argparse.Namespace, *, needed: bool) -> Config | None:
    """The configuration; a node whose file is gone or wrong can be purged as well, where nothing in it is needed."""
    try:
        return config.load(common.search(arguments.config), jid=compat.jid, words=commands.words())
    except ConfigError:
        if needed or arguments.config:
            raise
        return None


def _agreed(arguments: argparse.Namespace, doomed: Sequence[str]) -> None:
    """Raises Usage where there is nobody to ask, NodeError for a no."""
    if arguments.yes:
        return
    if arguments.json or not sys.stdin.isatty():
        raise Usage("nobody is there to be asked: --yes says that it may go")
    from knoop.init.ask import Terminal  # noqa: PLC0415 -- only where somebody is asked

    there = "" if arguments.server else ", but not what the server keeps (--server)"
    what = (f"This goes for ever{there}:", *(f"  {one}" for one in doomed))
    if not Terminal().yes("Delete it?", what, default=False):
        raise NodeError("nothing was deleted")


def _report(arguments: argparse.Namespace, done: list[str], left: list[str], *, fine: bool) -> int:
    if arguments.json:
        print(json.dumps({"ok": fine, "gone": done, "left": left}, ensure_ascii=False))  # noqa: T201 -- its output
    else:
        lines = [*(f"Gone: {one}" for one in done or ["nothing was there"]), *(f"Left: {one}" for one in left), JOURNAL]
        print("\n".join(map(printable, lines)))  # noqa: T201 -- as above
    return 0 if fine else EX_FAILED
