"""`knoop init` against real servers: from questions or flags to a node that answers its owner, or to nothing at all."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import stat
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from tests.integration.hostile import HEADER, PROCEED, STARTTLS, Hostile, Peer, mechanisms
from tests.integration.invites import invite
from tests.integration.running import BOUND_S, KNOOP, Ended, environment, knoop, running

from knoop import claims
from knoop.errors import LinkError, LoginRefused, Untrusted
from knoop.xmpp import compat, register
from knoop.xmpp import session as session_module
from knoop.xmpp.account import Account
from knoop_bench.ports import free_ports
from knoop_bench.prosody import Prosody
from knoop_bench.prosody_config import Options
from knoop_bench.witness import Witness
from knoop_hw.clock import SystemClock

pytestmark = pytest.mark.prosody

OWNER = "anna@localhost"
PASSWORD = "correct horse"
INVITES = ("register_ibr", "invites", "invites_register", "invites_adhoc")
CREDENTIAL = re.compile(rb"<auth|<response|<iq|<message|<presence")


@asynccontextmanager
async def server(folder: Path, authority, **settings: Any) -> AsyncIterator[Prosody]:
    options = Options(modules=INVITES, settings={"allow_registration": True, "allow_user_invites": True, **settings})
    accounts = {"anna": PASSWORD, "taken": PASSWORD, "greenhouse": PASSWORD}
    async with Prosody(folder / "prosody", accounts, authority=authority, options=options) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(tmp_path_factory, authority) -> AsyncIterator[Prosody]:
    """A server where whoever asks gets an account, with an invite or without."""
    async with server(tmp_path_factory.mktemp("open"), authority, registration_invite_only=False) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def invited(tmp_path_factory, authority) -> AsyncIterator[Prosody]:
    """A server that makes accounts for who is invited only."""
    async with server(tmp_path_factory.mktemp("invited"), authority) as started:
        yield started


def way(to: Prosody, *, starttls: bool = False) -> tuple[object, ...]:
    port = to.starttls_port if starttls else to.tls_port
    return ("--host", "127.0.0.1", "--port", port, "--ca-file", to.ca_file)


def flags(to: Prosody, *more: object, name: str = "attic", **options: Any) -> tuple[object, ...]:
    """A whole answer but the account."""
    return ("init", "--yes", "--name", name, "--owner", OWNER, "--publish", "off", *way(to, **options), *more)


def files(folder: Path) -> dict[str, int]:
    """What is there, with its mode; without the node's own state."""
    found = (path for path in folder.rglob("*") if folder / "state" not in (path, *path.parents))
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in found}


def person(to: Prosody, **more: Any) -> Witness:
    return Witness(OWNER, PASSWORD, port=to.tls_port, ca_file=to.ca_file, **more)


async def answers(to: Prosody, node: str) -> str:
    """What the node says to its owner's `status`, once it shows that it is there."""
    async with person(to, friends=[node]) as anna:
        await anna.wait(lambda seen: seen.kind == "presence" and seen.sender_bare == node and not seen.type)
        anna.say(node, "status")
        return (await anna.wait(lambda seen: seen.type == "chat" and seen.sender_bare == node and bool(seen.body))).body


# ── flags ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_missing_is_said_all_at_once(tmp_path):
    ended = await knoop("init", "--name", "attic", folder=tmp_path)
    ended.plainly(2, "--owner JID", "--jid JID (or --invite FILE)", "--password-file FILE", "--publish pep|off")
    assert "--name" not in ended.err.splitlines()[-1]
    assert files(tmp_path) == {}


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (("--jid", "attic@localhost", "--name", "Böiler"), "--name: name 'Böiler' must be a lower-case word"),
        (("--jid", OWNER), "--jid: anna@localhost is the owner; the node needs an account of its own"),
        (("--jid", "a b@localhost"), "--jid: 'a b@localhost' is not an XMPP address"),
        (("--jid", "attic@localhost", "--name", "status"), "--name: 'status' is a word people say to the node"),
        (("--jid", "attic@localhost", "--owner", "localhost"), "--owner: 'localhost' has no @"),
        (("--invite", "xmpp:example.org?register;preauth=t"), "--invite: other users can read arguments"),
        (("--invite", "-"), "--invite: this is the invite's web page"),
        (("--jid", "attic@localhost", "--host", "x"), "--host and --port go together"),
        (("--jid", "attic@localhost", "--label", "two\nlines"), "--label: a label is one line"),
    ],
)
async def test_a_wrong_flag_is_named(tmp_path, more, sentence):
    ended = await knoop("init", "--yes", "--name", "attic", "--owner", OWNER, "--publish", "off", "--register", *more,
                        folder=tmp_path, stdin="https://example.org/i#t\n")
    ended.plainly(2, sentence)
    assert files(tmp_path) == {}


async def test_an_invite_of_another_server_than_the_address(tmp_path):
    more = ("--owner", OWNER, "--publish", "off", "--invite", "-", "--jid", "a@localhost")
    ended = await knoop("init", "--yes", "--name", "attic", *more, folder=tmp_path,
                        stdin="xmpp:example.org?register;preauth=t\n")
    ended.plainly(2, "an account on example.org")
    assert files(tmp_path) == {}


@pytest.mark.parametrize("starttls", [False, True], ids=["direct-tls", "starttls"])
async def test_an_account_that_exists(opened, tmp_path, starttls):
    (tmp_path / "secret").write_text(f"{PASSWORD}\n", "utf-8")
    more = ("--jid", "greenhouse@localhost", "--password-file", "secret", "--json", "--directory", "new")
    ended = await knoop(*flags(opened, *more, name="greenhouse", starttls=starttls), folder=tmp_path)
    ended.plainly(0)
    told = json.loads(ended.out)
    assert (told["ok"], told["jid"], told["registered"]) == (True, "greenhouse@localhost", False)
    assert [Path(file).name for file in told["written"]] == ["greenhouse.password", "node.toml"]
    assert ("login", "ok") in {(finding["check"], finding["level"]) for finding in told["findings"]}
    assert PASSWORD not in ended.said
    new = files(tmp_path / "new")
    assert new == {"greenhouse.password": 0o600, "node.toml": 0o644}
    assert (tmp_path / "new/greenhouse.password").read_text("utf-8") == f"{PASSWORD}\n"
    (await knoop("check", "--config", "new/node.toml", folder=tmp_path)).plainly(0, "fine")


async def test_a_wrong_password_is_found_before_anything_is_written(opened, tmp_path):
    (tmp_path / "secret").write_text("wrong", "utf-8")
    more = ("--jid", "greenhouse@localhost", "--password-file", "secret")
    ended = await knoop(*flags(opened, *more), folder=tmp_path)
    ended.plainly(77, "wrong password for greenhouse@localhost; correct the file in --password-file")
    assert files(tmp_path).keys() == {"secret"}


async def test_a_made_account_answers_its_owner(opened, tmp_path):
    more = ("--jid", "attic@localhost", "--register", "--no-doctor")
    ended = await knoop(*flags(opened, *more), folder=tmp_path)
    ended.plainly(0, "Made the account attic@localhost.", "Next: knoop run\n", "Then write to attic@localhost")
    assert files(tmp_path) == {"attic.password": 0o600, "node.toml": 0o644}
    assert (tmp_path / "attic.password").read_text("utf-8").strip() not in ended.said
    async with running(tmp_path) as node:
        await node.online()
        assert "Attic" in await answers(opened, "attic@localhost")


async def test_a_node_for_nobody_yet_is_whose_telephone_sends_the_code(opened, tmp_path):
    arguments = ("init", "--yes", "--name", "shed", "--claim", "--publish", "off", *way(opened), "--register",
                 "--jid", "shed@localhost", "--no-doctor")
    ended = await knoop(*arguments, folder=tmp_path)
    ended.plainly(0, "Made the account shed@localhost.", "Next: knoop run\n", "shed@localhost has no owner yet.", "█")
    code = next(filter(None, map(claims.find, ended.out.splitlines())))
    async with running(tmp_path) as node:
        await node.online()
        async with person(opened) as anna:
            anna.say("shed@localhost", f"claim {code}")
            await anna.wait(lambda seen: (seen.body or "").startswith("Welcome: I am Shed."))
    (await knoop("check", folder=tmp_path)).plainly(0, "no owner is named here; unless somebody has claimed it")


async def test_a_dash_for_an_owner_means_nobody_yet(opened, tmp_path):
    async with terminal(tmp_path, *way(opened), "--name", "hut", "--publish", "off", "--lang", "en", "--jid",
                        "hut@localhost", "--register", "--no-doctor", "--simulated") as maker:
        await maker.reads("Your own address")
        maker.types("-")
        await maker.reads("hut@localhost has no owner yet.")
    assert "owner" not in re.sub("#.*", "", (tmp_path / "node.toml").read_text("utf-8"))


async def test_a_node_is_for_somebody_or_for_nobody_yet(opened, tmp_path):
    ended = await knoop(*flags(opened, "--claim", "--jid", "attic@localhost", "--register"), folder=tmp_path)
    ended.plainly(2, "--claim is for a node that nobody owns yet")
    assert files(tmp_path) == {}


async def test_an_existing_file_is_never_lost(opened, tmp_path):
    (tmp_path / "node.toml").write_text("mine", "utf-8")
    more = ("--jid", "cellar@localhost", "--register", "--no-doctor")
    refused = await knoop(*flags(opened, *more), folder=tmp_path)
    refused.plainly(1, "node.toml is there already; --force writes a new one and keeps this as node.toml.old")
    assert files(tmp_path) == {"node.toml": 0o644}
    (await knoop(*flags(opened, *more, "--force"), folder=tmp_path)).plainly(0, "Kept node.toml.old.")
    assert (tmp_path / "node.toml.old").read_text("utf-8") == "mine"
    former = (tmp_path / "attic.password").read_text("utf-8")
    more = ("--jid", "cellar2@localhost", "--register", "--no-doctor", "--force")
    (await knoop(*flags(opened, *more), folder=tmp_path)).plainly(0, "Kept attic.password.old.", "Kept node.toml.old2.")
    assert (tmp_path / "attic.password.old").read_text("utf-8") == former
    assert files(tmp_path)["attic.password.old"] == 0o600


# ── registration and invites ──────────────────────────────────────────────────────────────────────────────────────────


async def refused(to: Prosody, folder: Path, *sentences: str, code: int = 77, account: tuple[object, ...],
                  stdin: str = "") -> Ended:  # fmt: skip
    """`init` says why, and leaves nothing."""
    ended = await knoop(*flags(to, *account, "--no-doctor"), folder=folder, stdin=stdin)
    ended.plainly(code, *sentences)
    assert files(folder) == {}
    return ended


async def test_a_name_that_is_taken(opened, tmp_path):
    account = ("--jid", "taken@localhost", "--register")
    await refused(opened, tmp_path, "'taken' is taken on localhost; choose another name", account=account)


async def test_a_server_that_makes_no_accounts(prosody, tmp_path):
    account = ("--jid", "attic@localhost", "--register")
    await refused(prosody, tmp_path, "localhost makes no accounts for whoever asks; ask whoever runs it",
                  account=account)
    await refused(prosody, tmp_path, "localhost takes no invites", account=("--invite", "-"),
                  stdin="xmpp:localhost?register;preauth=t")


async def test_a_server_that_wants_an_invite_takes_it_once(invited, tmp_path):
    closed, first, second = (tmp_path / name for name in ("closed", "first", "second"))
    for folder in (closed, first, second):
        folder.mkdir()
    await refused(invited, closed, "(it says: Registration on this server is through invitation only)",
                  "ask whoever runs it for an invite", account=("--jid", "attic@localhost", "--register"))
    link = await invite(invited)
    (tmp_path / "invite").write_text(f"{link}\n", "utf-8")
    ended = await knoop(*flags(invited, "--invite", tmp_path / "invite", "--no-doctor", starttls=True), folder=first)
    ended.plainly(0, "Made the account attic@localhost.")
    assert invite_token(link) not in ended.said
    async with running(first) as node:
        await node.online()
    again = ("--invite", tmp_path / "invite", "--jid", "cellar@localhost")
    await refused(invited, second, "localhost does not take this invite", "ask for a new one", account=again)


async def test_a_persons_invite_makes_them_a_contact(invited, tmp_path):
    async with person(invited) as anna:
        made = await anna.iq(
            "set", "<command xmlns='http://jabber.org/protocol/commands' node='urn:xmpp:invite#invite'"
            " action='execute'/>", to=invited.host,
        )  # fmt: skip
        values = [value.text or "" for value in made.iter("{jabber:x:data}value")]
        (link,) = (value for value in values if value.startswith("xmpp:"))
        assert "?roster;" in link
        ended = await knoop(*flags(invited, "--invite", "-", "--no-doctor", name="shed"), folder=tmp_path, stdin=link)
        ended.plainly(0)
        roster = await anna.iq("get", "<query xmlns='jabber:iq:roster'/>")
        contacts = {item.get("jid"): item.get("subscription") for item in roster.iter("{jabber:iq:roster}item")}
        assert contacts["shed@localhost"] == "both"


def invite_token(link: str) -> str:
    return link.partition("preauth=")[2].partition(";")[0]


async def test_nobody_answers(opened, tmp_path):
    port = free_ports(1)[0]
    more = ("--jid", "attic@localhost", "--register")
    ended = await knoop(*flags(opened, *more, "--port", port), folder=tmp_path)
    ended.plainly(69, f"127.0.0.1:{port}: no XMPP server to talk to", "check the network, --host and --port")
    assert files(tmp_path) == {}


# ── a server, or somebody on the way to it, that attacks ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("direct", [True, False], ids=["direct-tls", "starttls"])
@pytest.mark.parametrize("account", ["register", "login"])
async def test_a_certificate_that_proves_nothing_gets_no_credential(authority, tmp_path, direct, account):
    async def script(peer: Peer) -> None:
        if not direct:
            await peer.secure()
        await peer.stream(OFFERS)

    (tmp_path / "secret").write_text(PASSWORD, "utf-8")
    more = ("--register",) if account == "register" else ("--password-file", "secret")
    async with Hostile(authority.issue("other-ca"), script, direct=direct) as hostile:
        ended = await knoop(
            "init", "--yes", "--name", "attic", "--owner", OWNER, "--publish", "off", "--jid", "attic@localhost", *more,
            "--host", "127.0.0.1", "--port", hostile.port, "--ca-file", authority.ca_file, folder=tmp_path,
        )
        ended.plainly(69, "is not signed by a CA this machine trusts: put the right CA certificate into --ca-file")
        assert hostile.handshakes == 0
        assert not CREDENTIAL.search(hostile.got)
    assert files(tmp_path).keys() == {"secret"}


OFFERS = mechanisms("SCRAM-SHA-1", "ANONYMOUS").replace(
    "</stream:features>", "<register xmlns='http://jabber.org/features/iq-register'/></stream:features>"
)
FORM = (
    "<iq type='result' from='localhost' id='{}'><query xmlns='jabber:iq:register'><username/><password/></query></iq>"
)


@asynccontextmanager
async def entrance(authority, script, *, direct: bool = True) -> AsyncIterator[tuple[Hostile, Account]]:
    async with Hostile(authority.issue(), script, direct=direct) as hostile:
        yield hostile, Account(
            jid=compat.jid("attic@localhost"), password="our secret", host="127.0.0.1", port=hostile.port,
            ca_file=authority.ca_file,
        )  # fmt: skip


async def asked(peer: Peer) -> str:
    return (await peer.hears(rb"<iq[^>]* id=[\"']([^\"']+)[\"'][^>]*>.*?(?:</iq>|/>)"))[1].decode()


async def test_a_server_without_tls_hears_nothing(authority):
    async def script(peer: Peer) -> None:
        await peer.stream(OFFERS)

    async with entrance(authority, script, direct=False) as (hostile, account):
        with pytest.raises(Untrusted, match="no TLS is offered"):
            await register.register(account, clock=SystemClock())
        assert not CREDENTIAL.search(hostile.got)


@pytest.mark.parametrize(
    "early",
    [
        "<message from='anna@localhost' type='chat'><body>lamp on</body></message>",
        "<iq type='set' from='localhost' id='{}'><query xmlns='jabber:iq:roster'/></iq>",
        "<iq type='result' from='localhost' id='guessed'/>",
        "<iq type='result' from='eve@localhost/x' id='{}'/>",
        "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>cj14</challenge>",
        "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>",
    ],
)
async def test_only_answers_to_our_requests_are_heard_before_a_login(authority, early):
    async def script(peer: Peer) -> None:
        await peer.stream(OFFERS)
        number = await asked(peer)
        await peer.say(early.format(number))
        await peer.say(FORM.format(number))

    async with entrance(authority, script) as (hostile, account):
        with pytest.raises(Untrusted, match="the stream was refused"):
            await register.register(account, clock=SystemClock())
        assert not re.search(rb"our secret|<auth|<response|<abort", hostile.got)


async def test_what_an_attacker_answers_before_tls_is_heard_by_nobody(authority, monkeypatch):
    monkeypatch.setattr(session_module, "LOGIN_TIMEOUT_S", 1.5)

    async def script(peer: Peer) -> None:
        await peer.hears(rb"<stream:stream[^>]*>")
        await peer.say(HEADER + STARTTLS + PROCEED + FORM.format("guessed"))

    async with entrance(authority, script, direct=False) as (hostile, account):
        with pytest.raises(LinkError):
            await register.register(account, clock=SystemClock())
        assert not CREDENTIAL.search(hostile.got)


async def test_a_server_that_hangs_up_instead_of_an_answer(authority):
    async def script(peer: Peer) -> None:
        await peer.stream(OFFERS)
        await asked(peer)
        raise EOFError

    async with entrance(authority, script) as (_, account):
        with pytest.raises(LinkError, match="no XMPP server to talk to"):
            await register.register(account, clock=SystemClock())


async def test_a_server_that_hangs_up_on_the_password_may_have_made_the_account(authority):
    async def script(peer: Peer) -> None:
        await peer.stream(OFFERS)
        await peer.say(FORM.format(await asked(peer)))
        await peer.hears(rb"our secret")
        raise EOFError

    async with entrance(authority, script) as (_, account):
        with pytest.raises(LinkError, match="if 'attic' is taken at the next try, choose another name"):
            await register.register(account, clock=SystemClock())


async def test_a_form_with_a_picture_to_read_is_not_sent(authority, tmp_path):
    async def script(peer: Peer) -> None:
        await peer.stream(OFFERS)
        await peer.say(CAPTCHA.format(await asked(peer)))

    async with entrance(authority, script) as (hostile, account):
        with pytest.raises(LoginRefused, match=r"localhost also wants “the text in the picture”, .*it says: Read it"):
            await register.register(account, clock=SystemClock())
        assert b"our secret" not in hostile.got


CAPTCHA = (
    "<iq type='result' id='{}'><query xmlns='jabber:iq:register'><instructions>Read it</instructions>"
    "<x xmlns='jabber:x:data' type='form'><field var='username'/><field var='password'/>"
    "<field var='ocr' label='the text in the picture'><required/></field></x></query></iq>"
)


# ── questions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


class Person:
    """Somebody at a terminal: reads what is asked, types answers."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self.folder, self.seen, self._read = folder, "", 0
        self._master, slave = os.openpty()
        self._changed = asyncio.Event()
        self._process = subprocess.Popen(
            # A terminal of its own, as a person has: Ctrl-C reaches it, and getpass finds it.
            ["setsid", "--ctty", *KNOOP, "init", *map(str, arguments)],
            cwd=folder, env={**environment(folder), "TERM": "dumb"}, stdin=slave, stdout=slave, stderr=slave,
        )  # fmt: skip
        os.close(slave)
        asyncio.get_running_loop().add_reader(self._master, self._more)

    def _more(self) -> None:
        try:
            data = os.read(self._master, 4096)
        except OSError:  # its last program ended
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._master)
        self.seen += data.decode("utf-8", "replace")
        self._changed.set()

    async def reads(self, text: str, within_s: float = BOUND_S) -> None:
        """Wait until this is asked or said, behind what was read before."""
        try:
            async with asyncio.timeout(within_s):
                while (found := self.seen.find(text, self._read)) < 0:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{text!r} is not in\n{self.seen[self._read:]}") from None
        self._read = found + len(text)

    def types(self, text: str, end: str = "\n") -> None:
        os.write(self._master, (text + end).encode())

    async def interrupts(self, key: str) -> None:
        """Press Ctrl-C or Ctrl-D until it is heard: what falls between CPython's prompt and its read is not."""
        for _ in range(10):
            self.types(key, end="")
            with suppress(AssertionError):
                await self.reads("Stopped; nothing was written.", within_s=1.0)
                return
        raise AssertionError(self.seen)

    async def ended(self) -> int:
        async with asyncio.timeout(BOUND_S):
            return await asyncio.to_thread(self._process.wait)

    def close(self) -> None:
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)


@asynccontextmanager
async def terminal(folder: Path, *arguments: object) -> AsyncIterator[Person]:
    somebody = Person(folder, *arguments)
    try:
        yield somebody
    finally:
        somebody.close()


async def test_a_few_questions_make_a_node_that_answers(opened, tmp_path):
    async with terminal(tmp_path, *way(opened)) as maker:
        for question, wrong, said, right in (
            ("Name", "Green House", "must be a lower-case word", "greenhouse"),
            ("Your own address", "", "a node without an owner obeys nobody", OWNER),
            ("[greenhouse@localhost]:", OWNER, "needs an account of its own", "greenhouse"),
            ("has no @", "@", "is not an XMPP address", ""),
        ):
            await maker.reads(question)
            maker.types(wrong)
            await maker.reads(said)
            maker.types(right)
        await maker.reads("Does the account greenhouse@localhost exist already? [y/n]")
        maker.types("y")
        await maker.reads("Password of greenhouse@localhost:")
        maker.types("a typo")
        await maker.reads("wrong password for greenhouse@localhost")
        await maker.reads("Password of greenhouse@localhost:")
        maker.types(PASSWORD)
        await maker.reads("Language")
        maker.types("en")
        await maker.reads("Whoever runs localhost can read")
        await maker.reads("Publish readings? [y/n]")
        maker.types("y")
        await maker.reads("Simulate them? [y/N]")
        maker.types("y")
        await maker.reads("Wrote node.toml and greenhouse.password (mode 600).")
        await maker.reads("as greenhouse@localhost/doctor, by SCRAM")
        await maker.reads("Next: knoop run")
        assert await maker.ended() == 0
        assert PASSWORD not in maker.seen
        assert "a typo" not in maker.seen
    assert files(tmp_path) == {"greenhouse.password": 0o600, "node.toml": 0o644}
    async with running(tmp_path) as node:
        await node.online()
        assert "Greenhouse" in await answers(opened, "greenhouse@localhost")


async def test_a_taken_name_is_asked_again(opened, tmp_path):
    async with terminal(tmp_path, *flags(opened, "--no-doctor", "--jid", "taken@localhost", name="porch")[2:]) as maker:
        await maker.reads("exist already?")
        maker.types("n")
        await maker.reads("Language")
        maker.types("nl")
        await maker.reads("Simulate them?")
        maker.types("")
        await maker.reads("'taken' is taken on localhost")
        await maker.reads("Another name for the account")
        maker.types("anna")
        await maker.reads("is the owner")
        maker.types("porch2")
        await maker.reads("Made the account porch2@localhost.")
        assert await maker.ended() == 0
    assert 'jid = "porch2@localhost"' in (tmp_path / "node.toml").read_text("utf-8")


async def test_an_invite_is_pasted_where_an_address_is_asked(invited, tmp_path):
    link = await invite(invited)
    arguments = flags(invited, "--no-doctor", "--simulated", "--lang", "en", name="barn")[2:]
    async with terminal(tmp_path, *arguments) as maker:
        await maker.reads("[barn@localhost]:")
        maker.types(link)
        await maker.reads("Made the account barn@localhost.")
        assert await maker.ended() == 0


async def test_three_wrong_passwords_are_enough(opened, tmp_path):
    arguments = flags(opened, "--jid", "greenhouse@localhost", name="greenhouse")[2:]
    async with terminal(tmp_path, *arguments) as maker:
        await maker.reads("exist already?")
        maker.types("y")
        for _ in range(3):
            await maker.reads("Password of greenhouse@localhost:")
            maker.types("guess")
        assert await maker.ended() == 77
    assert files(tmp_path) == {}


@pytest.mark.parametrize("question", ["Name", "[attic@localhost]:", "Password of", "Simulate them?"])
@pytest.mark.parametrize("how", ["\x03", "\x04"], ids=["ctrl-c", "ctrl-d"])
async def test_ctrl_c_leaves_nothing(opened, tmp_path, question, how):
    async with terminal(tmp_path, *way(opened), "--owner", OWNER, "--publish", "off", "--lang", "en",
                        "--directory", "new") as maker:
        talk = {
            "Name": "attic", "[attic@localhost]:": "greenhouse@localhost", "exist already?": "y",
            "Password of": PASSWORD, "Simulate them?": "y",
        }  # fmt: skip
        for asked_for, answer in talk.items():
            await maker.reads(asked_for)
            if asked_for == question:
                await maker.interrupts(how)
                break
            maker.types(answer)
        assert await maker.ended() == 128 + signal.SIGINT
    assert files(tmp_path) == {}


async def test_ctrl_c_while_the_account_is_made_leaves_no_file(authority, tmp_path):
    waiting = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.stream(OFFERS)
        await asked(peer)
        waiting.set()

    async with Hostile(authority.issue(), script, direct=True) as hostile:
        arguments = ("--name", "attic", "--owner", OWNER, "--publish", "off", "--jid", "attic@localhost", "--register",
                     "--simulated", "--lang", "en", "--host", "127.0.0.1", "--port", hostile.port,
                     "--ca-file", authority.ca_file, "--directory", "new")
        async with terminal(tmp_path, *arguments) as maker:
            async with asyncio.timeout(BOUND_S):
                await waiting.wait()
            assert files(tmp_path), "what is to be written lies ready, for the disk may be full"
            await maker.interrupts("\x03")
            assert "attic@localhost may have been made" in maker.seen
            assert await maker.ended() == 130
    assert files(tmp_path) == {}
