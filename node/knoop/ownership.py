"""Whose this node is: where it is nobody's, the machine shows how to become its owner; who lost it gets it back there.

A code is in the log, in `claim.txt` and `claim.png` beside the databases (mode 600), and in `knoop claim`. Without any
message or terminal, a file on the card's boot partition names a new owner: who can write there has the machine.
"""

from __future__ import annotations

import asyncio
import codecs
import fcntl
import logging
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from knoop import claims, qr
from knoop.access import Access, Person, Role
from knoop.claimfiles import BY_CARD, HANDED_ON, PICTURE, TEXT
from knoop.claiming import Claims
from knoop.claims import Offer
from knoop.command import N_, Sentence
from knoop.jid import Jid

if TYPE_CHECKING:
    from knoop.household import Household

log = logging.getLogger(__name__)

# Debian 12 on; before that; and what `knoop setup` handed on from a card that only root may read.
BOOT = tuple(Path("/", folder, BY_CARD) for folder in ("boot/firmware", "boot", HANDED_ON))
LOOK_S = 5.0  # how soon the files are gone when the node is claimed
LONGEST = 2000  # bytes of a file that holds an address
BY_FILE = N_("{jid} is an owner of {node} now: {file} on its card says so. Is that not right? Say: revoke {jid}")
OWNERS = Offer(role=str(Role.OWNER))


def owned(access: Access) -> bool:
    """Whether anybody is an owner."""
    return any(person.role is Role.OWNER for person in access.everyone())


async def keep(house: Household, announce: Callable[[Sentence], None]) -> None:
    """Show how to claim this node for as long as nobody owns it; takes the boot partition's file first."""
    before: bool | None = None
    folder, failed = house.state.database.path.parent, ""
    taken = False
    while True:
        try:
            if not taken:
                await _by_file(house, announce)
                taken = True
            if not house.state.unreadable and before is not (now := owned(house.access)):
                await (_hide(house, folder) if now else _show(house, folder))
                before = now
        except OSError as error:  # a StoreError is one, too
            if str(error) != failed:
                log.error("whose this node is cannot be kept: %s; trying again", error)
            failed = str(error)
        await house.clock.sleep(LOOK_S)


async def current(offers: Claims, folder: Path, node: Jid) -> str:
    """The code that makes somebody the owner: that of `claim.txt` if it counts, else a new one, which is then there.

    Raises StoreError or OSError.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:  # one at a time: a node that starts and a `knoop claim` beside it show the same
        await asyncio.to_thread(fcntl.flock, handle, fcntl.LOCK_EX)
        code = await asyncio.to_thread(_read, folder / TEXT)
        if not code or await offers.find(code) != OWNERS:
            code = await offers.make(OWNERS)
        await asyncio.to_thread(_write, folder, node, code)
    finally:
        os.close(handle)
    return code


async def _show(house: Household, folder: Path) -> None:
    node = house.config.jid.bare
    code = await current(house.claims, folder, node)
    log.warning(
        "%s has no owner yet. Whoever sends “%s %s” to %s becomes it: %s (as a picture: %s, or `knoop claim`)",
        house.name, claims.WORD, code, node, claims.link(node, code), folder / TEXT,
    )


async def _hide(house: Household, folder: Path) -> None:
    """End the code that was shown, however somebody became the owner."""
    if OWNERS in await house.claims.offers():
        await house.claims.withdraw(OWNERS)

    def work() -> None:
        for name in (TEXT, PICTURE):
            (folder / name).unlink(missing_ok=True)

    await asyncio.to_thread(work)


async def _by_file(house: Household, announce: Callable[[Sentence], None]) -> None:
    """Take each file once: its digest is kept, so that one that stays there gives nobody back what was taken."""
    for file in (house.config.node.claim_file,) if house.config.node.claim_file else BOOT:
        try:
            if (content := await asyncio.to_thread(_content, file)) is None:
                continue
            jid = _named(content, house)
        except OSError as error:
            log.error("%s cannot be read: %s", file, error.strerror)
            continue
        except ValueError as error:
            log.error("%s names nobody: %s", file, error)
            continue
        given = house.access.with_grants([Person(jid=jid, role=Role.OWNER)]).person(jid)
        if given is None or given.role is not Role.OWNER:
            log.error("%s: node.toml says what %s may here; make them an owner there", file, jid)
        elif await house.claims.take_file(blake2b(content, digest_size=32).hexdigest(), str(jid)):
            log.warning("%s is an owner here now, by %s; delete that file", jid, file)
            node = house.label or house.name
            announce(Sentence(BY_FILE, {"jid": str(jid), "node": node, "file": file.name}))
            await house.rights_changed()
            await house.state.audit(
                at_ns=house.clock.time_ns(), who=str(jid), action=str(file), result="done: owner", via=claims.CONSOLE,
                encrypted=False,
            )
        else:
            log.info("%s was taken before; to have it taken again, change a remark in it", file)


def _content(file: Path) -> bytes | None:
    """What an ordinary file holds, as far as LONGEST and a byte; None where there is none. Raises OSError."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would be waited for
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError:
        if not os.access(file.parent, os.X_OK):  # nobody knows what is there, and nobody is asked to mend it
            return None
        raise
    try:
        return os.read(handle, LONGEST + 1) if stat.S_ISREG(os.fstat(handle).st_mode) else None
    finally:
        os.close(handle)


def _named(content: bytes, house: Household) -> Jid:
    """The bare address in what an editor wrote; some of Windows begin with the mark of UTF-16. Raises ValueError."""
    if len(content) > LONGEST:
        raise ValueError(f"it has more than {LONGEST} bytes; an address is enough")
    encoding = "utf-16" if content[:2] in {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE} else "utf-8"
    if (jid := claims.named_in(content.decode(encoding), house.jid)) == house.config.jid.bare:
        raise ValueError(f"{jid} is this node itself; write the address of who is to own it")
    return jid


def _read(file: Path) -> str:
    content = b""
    with suppress(OSError):  # another one takes its place
        content = _content(file) or b""
    return next(filter(None, map(claims.find, content.decode("utf-8", "replace").splitlines())), "")


def _write(folder: Path, node: Jid, code: str) -> None:
    link = claims.link(node, code)
    text = f"""\
{node} has no owner yet. Send it this line from your chat app, and you are its owner:

{claims.WORD} {code}

The same as a link, and as a picture for a telephone's camera:

{link}

{qr.drawn(link)}
"""
    for name, content in ((TEXT, text.encode()), (PICTURE, qr.png(link))):
        made = folder / f".{name}"
        made.unlink(missing_ok=True)
        with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:  # noqa: PTH123 -- its mode
            opened.write(content)
        made.replace(folder / name)
