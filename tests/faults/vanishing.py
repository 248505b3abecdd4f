"""`unshare -rn python -m tests.faults.vanishing FOLDER`: a server, a node, and then the address between them is gone.

Prints after how many seconds the node noticed, and after how many it was back when the address was.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from tests.integration.running import TICKING, Way, running, write

from knoop_bench.certificates import Authority
from knoop_bench.prosody import Prosody

ADDRESS = ("127.0.0.1/8", "dev", "lo")


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


async def main(folder: Path) -> None:
    ip("link", "set", "lo", "up")
    (folder / "ca").mkdir()
    (folder / "node").mkdir()
    accounts = {"greenhouse": "secret"}
    async with Prosody(folder / "server", accounts, authority=Authority(folder / "ca")) as server:
        write(folder / "node", Way.to(server), jid="greenhouse@localhost", scenario=TICKING)
        async with running(folder / "node") as node:
            await node.online()
            await asyncio.sleep(3)  # six edges of the door: it happens while something is published
            loop = asyncio.get_running_loop()
            began_s = loop.time()
            ip("addr", "del", *ADDRESS)
            await node.says("link down: ", within_s=60)
            found_s, began_s = loop.time() - began_s, loop.time()
            ip("addr", "add", *ADDRESS)
            await node.says("connected as", times=2, within_s=60)
            print(f"{found_s:.1f} {loop.time() - began_s:.1f}", node.log.split("link down: ")[1].splitlines()[0])


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
