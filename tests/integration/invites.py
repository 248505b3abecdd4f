"""An invite to a real Prosody."""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess

from knoop_bench.prosody import Prosody
from knoop_bench.server import PATH


async def invite(to: Prosody) -> str:
    """As who runs a server makes one."""
    program = shutil.which("prosodyctl", path=PATH)
    assert program
    process = await asyncio.create_subprocess_exec(
        program, "--config", to.folder / "prosody.cfg.lua", "mod_invites", "generate", to.host,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={"PATH": PATH, "HOME": str(to.folder)},
    )
    out, _ = await process.communicate()
    found = re.search(r"xmpp:\S+", out.decode())
    assert found, out
    return found[0]
