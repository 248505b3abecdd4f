"""Programs that print values: what they say, and what becomes of those that fail, hang, shout or leave children."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from knoop_hw import config as hw_config
from knoop_hw import decode
from knoop_hw.clock import SystemClock
from knoop_hw.errors import DeviceError
from knoop_hw.protocols.values import Value
from knoop_hw.sensing import sense
from knoop_hw.sensors import command
from knoop_hw.sensors.command import MOST, Config
from knoop_hw.source import Stuck


def shell(script, **more):
    return Config(**{"name": "ups", "command": ("/bin/sh", "-c", script), **more})


@asynccontextmanager
async def running(given, clock=None):
    """The next tuples of samples, as `field: (value, quality)`."""
    async with command.open(given, clock=clock or SystemClock()) as runs:
        samples = runs.samples()

        async def following():
            return {sample.field: (sample.value, sample.quality) for sample in await samples.__anext__()}

        yield following
        await samples.aclose()


def soon(work):
    return asyncio.wait_for(work, 20)


async def why(given):
    """Why it gives nothing."""
    async with running(given) as following:
        with pytest.raises(DeviceError) as caught:
            await soon(following())
    return str(caught.value).removeprefix("sensor.ups: /bin/sh ")


async def gone(pid, *, ours=True):
    """Until there is no such process; one of ours not even as a zombie, the rest is for init to reap."""
    async with asyncio.timeout(20):
        while Path(f"/proc/{pid}").exists():
            with suppress(OSError):
                if not ours and ") Z " in Path(f"/proc/{pid}/stat").read_text():
                    return
            await asyncio.sleep(0.005)


async def written(file):
    async with asyncio.timeout(20):
        while not (file.exists() and file.read_text().endswith("\n")):
            await asyncio.sleep(0.005)
    return file.read_text()


# ── values ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("script", "options", "found"),
    [
        ("echo ' 21.5 '", {}, {"": (21.5, "ok")}),
        ("echo on", {"type": "boolean"}, {"": (True, "ok")}),
        ("printf 'a\\tb\\n\\n c\\033 d'", {"type": "text"}, {"": ("a b c d", "ok")}),
        ("echo 5; echo noise >&2", {}, {"": (5.0, "ok")}),
        (
            "echo 'battery.charge: 97'; echo 'ups.status: OL'; echo 'ups.load: -'",
            {"values": {
                "charge": Value(pattern=r"^battery\.charge: (.*)$"), "load": Value(pattern=r"^ups\.load: (.*)$"),
                "status": Value(pattern=r"^ups\.status: (.*)$", type="text"), "other": Value(json="x"),
            }},
            {"charge": (97.0, "ok"), "load": (None, "error"), "status": ("OL", "ok"), "other": (None, "missing")},
        ),
        ("echo '{\"a\": [1, 2]}'", {"values": {"a": Value(json="a[1]")}}, {"a": (2.0, "ok")}),
    ],
)  # fmt: skip
async def test_what_it_prints(script, options, found):
    async with running(shell(script, **options)) as following:
        assert await soon(following()) == found


async def test_it_runs_again_and_again_but_never_twice_at_once(tmp_path, clock):
    count = tmp_path / "count"
    count.write_text("0\n")
    script = f"read n < {count}; n=$((n+1)); echo $n > {count}; echo $n"
    async with running(shell(script, every_s=20.0), clock) as following:
        assert await soon(following()) == {"": (1.0, "ok")}
        taking = asyncio.create_task(following())
        await clock.advance(19)
        assert count.read_text() == "1\n"
        await clock.advance(1)
        assert await soon(taking) == {"": (2.0, "ok")}


async def test_it_gets_an_environment_of_its_own(monkeypatch):
    monkeypatch.setenv("SECRET", "told to nobody")
    given = Config(name="ups", command=("/usr/bin/env",), type="text")
    async with running(given) as following:
        [(said, _)] = (await soon(following())).values()
    assert set(said.split()) == {f"{key}={value}" for key, value in command.ENVIRONMENT.items()}
    script = "pwd; readlink /proc/self/fd/0; ls /proc/self/fd | wc -w; ps -o sid= -p $$ | tr -d ' ' | grep -x $$ >&2"
    async with running(shell(script, type="text")) as following:
        assert await soon(following()) == {"": ("/ /dev/null 4", "ok")}  # 0, 1, 2 and the one that ls has open


# ── what goes wrong ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("script", "options", "reason"),
    [
        ("exit 3", {}, "failed (exit code 3): it does not say why"),
        ("echo first >&2; printf 'no \\033[2J ups\\n\\n' >&2; exit 1", {}, r"failed (exit code 1): 'no \x1b[2J ups'"),
        ("echo 5; exit 1", {}, "failed (exit code 1): it does not say why"),
        ("kill -9 $$", {}, "failed (signal 9): it does not say why"),
        ("head -c 200000 /dev/zero | tr '\\0' x >&2; exit 2", {}, f"failed (exit code 2): '{'x' * 120}' …"),
        ("echo nothing", {}, "'nothing' is not a number"),
        ("true", {"type": "text"}, "the text is empty"),
        ("echo nothing", {"values": {"a": Value(json="a")}}, "prints 'nothing\\n': none of 'values' is in it"),
        ("echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", {"values": {"a": Value(pattern="(a+)+b")}},
         "prints 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\\n': too long for a pattern; let no + or *"),
    ],
)  # fmt: skip
async def test_it_fails(script, options, reason):
    assert (await why(shell(script, **options))).startswith(reason)


async def test_it_complains_without_end(tmp_path):
    pids = tmp_path / "pids"
    reason = await why(shell(f"echo $$ > {pids}; exec yes 'no ups' >&2"))
    assert reason == "complains in more than 1 MiB, and was ended: 'no ups'"
    await gone(pids.read_text().strip())


async def test_it_prints_without_end(tmp_path):
    pids = tmp_path / "pids"
    assert await why(shell(f"echo $$ > {pids}; exec yes")) == f"prints more than {MOST // 1024} KiB, and was ended"
    await gone(pids.read_text().strip())
    async with running(shell(f"head -c {MOST} /dev/zero | tr '\\0' 1", type="text")) as following:  # just not too much
        assert len((await soon(following()))[""][0]) == 256


@pytest.mark.parametrize("deaf", ["", "trap '' TERM;"])
async def test_it_does_not_end(tmp_path, clock, deaf):
    """Neither does what it started: all of it is asked to end, then ended, and nothing is left of it."""
    pids = tmp_path / "pids"
    given = shell(f"{deaf} sleep 1000 & echo $$ $! > {pids}; wait; sleep 1000", timeout_s=30.0)
    async with running(given, clock) as following:
        taking = asyncio.create_task(following())
        left = (await written(pids)).split()
        await clock.advance(29)
        assert all(Path(f"/proc/{pid}").exists() for pid in left)
        await clock.advance(1)
        if deaf:
            await clock.advance(command.END_S)
        with pytest.raises(DeviceError, match=r"/bin/sh had not ended after 30 s, and was made to$"):
            await soon(taking)
        await gone(left[0])
        await gone(left[1], ours=False)


async def test_a_program_that_has_become_root_is_not_run_again_while_it_runs(tmp_path, clock, monkeypatch):
    """Such as sudo: we may not kill it, and must not start another one every few seconds."""

    def refuse(*_):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    pids = tmp_path / "pids"
    async with running(shell(f"echo $$ > {pids}; exec sleep 1000"), clock) as following:
        taking = asyncio.create_task(following())
        pid = (await written(pids)).strip()
        with monkeypatch.context() as patched:
            patched.setattr(os, "kill", refuse)
            patched.setattr(os, "killpg", refuse)
            await clock.advance(10 + 2 * command.END_S)
            with pytest.raises(Stuck, match="cannot be ended") as raised:
                await soon(taking)
        assert not raised.value.returned.done()
        os.kill(int(pid), signal.SIGKILL)
        await soon(raised.value.returned)


async def test_it_leaves_a_child_that_holds_its_output(tmp_path, clock):
    pids = tmp_path / "pids"
    async with running(shell(f"sleep 1000 & echo $! > {pids}; echo 5"), clock) as following:
        taking = asyncio.create_task(following())
        left = (await written(pids)).strip()
        await clock.advance(10)
        with pytest.raises(DeviceError, match="had not ended after 10 s"):
            await soon(taking)
        await gone(left, ours=False)


async def test_who_stops_listening_ends_it(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "END_S", 0.05)
    pids = tmp_path / "pids"
    async with running(shell(f"trap '' TERM; echo $$ > {pids}; while :; do sleep 1000; done")) as following:
        taking = asyncio.create_task(following())
        left = (await written(pids)).strip()
        taking.cancel()
        with suppress(asyncio.CancelledError):
            await soon(taking)
        await gone(left)


async def test_who_stops_listening_at_once(tmp_path):
    """The asyncio of Python 3.11 waits for ever for a program whose start is cancelled."""
    for turns in range(8):
        pids = tmp_path / f"pids{turns}"
        async with running(shell(f"echo $$ > {pids}; sleep 1000; true")) as following:
            taking = asyncio.create_task(following())
            for _ in range(turns):
                await asyncio.sleep(0)
            taking.cancel()
            with suppress(asyncio.CancelledError):
                await soon(taking)
        if pids.exists() and (pid := pids.read_text().strip()):
            await gone(pid)


async def test_nothing_stays_open():
    async with running(shell("echo 5")) as following:
        await soon(following())
    before = len(list(Path("/proc/self/fd").iterdir()))
    for script in ("echo 5", "exit 1", "yes"):
        async with running(shell(script)) as following:
            with suppress(DeviceError):
                await soon(following())
    await asyncio.sleep(0)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_ctrl_c_ends_the_program_too(tmp_path):
    """It has no terminal: who is interrupted ends it."""
    pids = tmp_path / "pids"
    program = (
        "import sys\n"
        "sys.modules['ssl'] = None\n"  # the hardware half has none
        "import asyncio\n"
        "from knoop_hw.clock import SystemClock\n"
        "from knoop_hw.sensors import command\n"
        "async def main():\n"
        f"    given = command.Config(name='ups', command=('/bin/sh', '-c', 'echo $$ > {pids}; exec sleep 1000'))\n"
        "    async with command.open(given, clock=SystemClock()) as runs:\n"
        "        await anext(runs.samples())\n"
        "asyncio.run(main())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE)
    asyncio.run(written(pids))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    asyncio.run(gone(pids.read_text().strip()))


# ── there or not ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_program_that_is_not_there(tmp_path):
    given = Config(name="ups", command=("/usr/bin/upsk", "ups"))
    with pytest.raises(DeviceError, match=r"^sensor.ups: /usr/bin/upsk is no file; install it or correct 'command'$"):
        async with command.open(given, clock=SystemClock()):
            pass
    script = tmp_path / "script"
    script.write_text("echo 5\n")
    given = Config(name="ups", command=(str(script),))
    with pytest.raises(DeviceError, match=rf"{script} may not be run by \w+; try `chmod \+x {script}`"):
        async with command.open(given, clock=SystemClock()):
            pass
    script.chmod(0o755)
    async with running(given) as following:
        with pytest.raises(DeviceError, match=rf"{script} does not start: Exec format error"):
            await soon(following())


async def test_down_and_up_in_the_log(tmp_path, caplog, clock):
    """Through `sense`: one line each."""
    answer = tmp_path / "answer"
    text = f'[sensor.ups]\ndriver = "command"\ncommand = ["/bin/cat", "{answer}"]\nunit = "%"\nevery = 1\n'
    problems = []
    [sensor] = hw_config.load(decode.parse(text, "node.toml"), problems).sensors
    assert not problems
    arrived = asyncio.Queue()
    reading = sense(sensor, clock=clock, report=lambda *said: arrived.put_nowait(said[:3]))
    sensing = asyncio.create_task(reading)

    async def until(right):
        while arrived.empty() or arrived.get_nowait() != right:
            await asyncio.sleep(0.002)
            await clock.advance(0.1)

    await soon(until(("ups", None, "error")))
    answer.write_text("97\n")
    await soon(until(("ups", 97.0, "ok")))
    answer.unlink()
    await soon(until(("ups", None, "error")))
    sensing.cancel()
    with suppress(asyncio.CancelledError):
        await sensing
    failed = f"sensor.ups: /bin/cat failed (exit code 1): '/bin/cat: {answer}: No such file or directory'"
    assert [record.message.partition(";")[0] for record in caplog.records] == [failed, "sensor.ups: is back", failed]


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        ('command = "upsc ups"', 'command: expected a list of words such as ["/usr/bin/cat", "/proc/loadavg"]'),
        ("command = []", "command: expected a list of words such as"),
        ('command = ["/bin/x", 5]', "command: expected a list of words such as"),
        ('command = ["upsc", "ups"]', "command: 'upsc' has no full path; `command -v upsc` in a terminal prints it"),
        ('command = ["/bin/x"]\ntimeout = "1h"', 'timeout: expected from 100ms to 5min, not "1h"'),
        ('command = ["/bin/x"]\nunit = "C"', "unit: 'C' is not a unit Knoop knows"),
        ('command = ["/bin/x"]\ntype = "text"\nunit = "W"', "unit: a text has none"),
        ('command = ["/bin/x"]\nvalues = {a = {column = 1}}\nunit = "W"', "unit: each of 'values' has its own; "),
        ('command = ["/bin/x"]\nvalues = {"A" = {column = 1}}', "values: 'A' is no name"),
        ('command = ["/bin/x"]\nvalues = {a = {json = "."}}', "values.a.json: is no path at character 1"),
    ],
)
def test_refused_where_it_stands(written, complaint):
    problems = []
    hw_config.load(decode.parse(f'[sensor.ups]\ndriver = "command"\n{written}\n', "node.toml"), problems)
    file, line, said = str(problems[0]).split(":", 2)
    assert (file, line) == ("node.toml", str(3 + written.count("\n")))
    assert said.removeprefix(" sensor.ups.").startswith(complaint)
    assert os.linesep not in said
