"""`knoop init` makes an account on ejabberd: its form, its picture to read, its pace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.integration.running import Ended, knoop

from knoop_bench.ejabberd import Ejabberd

OPEN: dict[str, Any] = {"ip_access": "all", "access": "all"}


def server(folder: Path, *, settings: dict[str, Any] | None = None, **more: Any) -> Ejabberd:
    settings = {"registration_timeout": "infinity"} if settings is None else settings
    return Ejabberd(folder / "server", settings=settings, modules={"mod_register": {**OPEN, **more}})


async def made(to: Ejabberd, folder: Path, name: str, *, port: int = 0) -> Ended:
    return await knoop(
        "init", "--yes", "--name", name, "--jid", f"{name}@localhost", "--register", "--owner", "anna@localhost",
        "--publish", "off", "--no-doctor", "--host", "127.0.0.1", "--port", port or to.tls_port,
        "--ca-file", to.ca_file, "--directory", folder / name, folder=folder,
    )


async def test_an_account_is_made_both_ways_and_a_taken_name_refused(tmp_path):
    async with server(tmp_path) as to:
        (await made(to, tmp_path, "attic")).plainly(0, "Made the account attic@localhost.")
        (await made(to, tmp_path, "cellar", port=to.starttls_port)).plainly(0, "Made the account cellar@localhost.")
        (tmp_path / "attic").rename(tmp_path / "former")
        (await made(to, tmp_path, "attic")).plainly(77, "'attic' is taken on localhost; choose another name")
        login = await knoop(
            "init", "--json", "--name", "attic", "--jid", "attic@localhost", "--password-file", "former/attic.password",
            "--owner", "anna@localhost", "--publish", "off", "--no-doctor", "--host", "127.0.0.1",
            "--port", to.tls_port, "--ca-file", to.ca_file, folder=tmp_path,
        )  # fmt: skip
        login.plainly(0, '"ok": true')


async def test_a_picture_to_read_is_left_to_people(tmp_path):
    program = tmp_path / "captcha.sh"
    program.write_text("#!/bin/sh\nprintf '\\211PNG\\r\\n\\032\\n'\n", "ascii")
    program.chmod(0o755)
    captcha = {"captcha_cmd": str(program), "captcha_url": "https://localhost/captcha"}
    async with server(tmp_path, settings=captcha, captcha_protected=True) as to:
        ended = await made(to, tmp_path, "attic")
        ended.plainly(77, "localhost also wants “Enter the text you see”", "make the account in another way",
                      "a client that supports x:data and CAPTCHA")
    assert not (tmp_path / "attic").exists()


async def test_an_account_too_soon_after_another(tmp_path):
    async with server(tmp_path, settings={}) as to:
        (await made(to, tmp_path, "attic")).plainly(0)
        (await made(to, tmp_path, "cellar")).plainly(77, "not allowed to register accounts so quickly", "in an hour")


async def test_a_server_without_registration(tmp_path):
    ways = {
        ("--register",): "localhost makes no accounts for whoever asks",
        ("--invite", "-"): "localhost takes no invites",
    }
    async with Ejabberd(tmp_path / "server") as to:
        for way, sentence in ways.items():
            ended = await knoop(
                "init", "--yes", "--name", "attic", "--jid", "attic@localhost", *way, "--owner", "anna@localhost",
                "--publish", "off", "--host", "127.0.0.1", "--port", to.tls_port, "--ca-file", to.ca_file,
                folder=tmp_path, stdin="xmpp:localhost?register;preauth=t",
            )  # fmt: skip
            ended.plainly(77, sentence)
    assert not (tmp_path / "node.toml").exists()
