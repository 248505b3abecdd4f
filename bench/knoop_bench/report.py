"""`knoop bench`: where to measure, and how to say it."""

from __future__ import annotations

import json
import secrets
import tempfile
from dataclasses import asdict
from pathlib import Path

from knoop.config import Config
from knoop.xmpp import compat
from knoop.xmpp.account import Account
from knoop_bench.measure import Figures, measure
from knoop_hw.errors import ConfigError, Problem

WORSE = 1.5  # a ratio that noise on a shared board does not reach in CPU time; wall-clock rates are not judged

# figure, what it says to a person, whether `--against` judges it (CPU and memory only: less is better)
LINES: tuple[tuple[str, str, bool], ...] = (
    ("stanzas_per_s", "stanzas/s, one at a time, each answered", False),
    ("stanzas_in_flight_per_s", "stanzas/s, 16 in flight", False),
    ("cpu_us_per_stanza", "µs of CPU per stanza (16 in flight)", True),
    ("readings_per_s", "readings/s through store and server, in batches of 10", False),
    ("cpu_us_per_reading", "µs of CPU per reading on that path", True),
    ("ping_ms_p50", "ms to the server and back, median", False),
    ("ping_ms_p99", "ms to the server and back, 99th percentile", False),
    ("rss_mb", "MB resident, connected and idle", True),
    ("pss_mb", "MB of our own share of that (PSS)", True),
    ("login_ms", "ms from TCP to a bound session", False),
    ("hw_rss_mb", "MB resident of knoop-hw with ten lines open", True),
    ("hw_pss_mb", "MB of its own share of that (PSS)", True),
    ("both_pss_mb", "MB of both halves (PSS), with this bench in the agent's place", True),
    ("socket_ms_p50", "ms that the socket adds to a wish and its answer, median", False),
    ("socket_ms_p99", "ms that the socket adds, 99th percentile", False),
)


async def own_server(config: Config, password: str, *, quick: bool) -> Figures:
    """Measure with the node's own account on its owner's server. Raises LinkError."""
    return await measure(Account.of(config, password), quick=quick)


async def local(*, quick: bool) -> Figures:
    """Measure against a private Prosody on loopback. Raises ServerFailed, LinkError."""
    from knoop_bench.prosody import Prosody  # noqa: PLC0415 -- only this needs a server of its own

    password = secrets.token_urlsafe(16)
    with tempfile.TemporaryDirectory(prefix="knoop-bench-") as folder:
        async with Prosody(Path(folder) / "prosody", {"bench": password}) as server:
            return await measure(
                Account(
                    jid=compat.jid(server.jid("bench")), password=password, host="127.0.0.1",
                    port=server.tls_port, ca_file=server.ca_file,
                ),
                quick=quick,
            )


def as_json(figures: Figures) -> str:
    """One JSON object: what `--against` reads."""
    return json.dumps(asdict(figures), ensure_ascii=False)


def as_text(figures: Figures, against: Figures | None = None) -> str:
    """A line a figure; with an earlier run its ratio, where more than 1.00 is more."""
    lines = [f"knoop {figures.version}, Python {figures.python}, {figures.machine}"]
    for name, text, _ in LINES:
        value = getattr(figures, name)
        ratio = f"  ({value / getattr(against, name):.2f}×)" if against and getattr(against, name) else ""
        lines.append(f"{value:>10,.{2 if abs(value) < 1 else 1}f}  {text}{ratio}")
    return "\n".join(lines)


def worse(figures: Figures, against: Figures) -> bool:
    """Whether CPU or memory grew beyond WORSE times the earlier run."""
    return any(
        judged and getattr(against, name) and getattr(figures, name) > WORSE * getattr(against, name)
        for name, _, judged in LINES  # what an earlier version did not measure is 0 there, and no limit
    )


def read(path: Path) -> Figures:
    """An earlier `--json` report. Raises ConfigError that names the file and the remedy."""
    try:
        return Figures(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        problem = Problem(str(path), 0, "", f"is not a report of 'knoop bench --json': {error}")
        raise ConfigError([problem]) from None
