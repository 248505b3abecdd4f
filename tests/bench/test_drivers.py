"""What `knoop bench --drivers` says. Figures are for comparing, never for a limit here."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from knoop.cli import main
from knoop_bench import drivers, stand_ins
from knoop_bench.drivers import Cost, Report
from knoop_bench.errors import StageFailed
from knoop_bench.stand_ins import STAND_INS
from knoop_hw import cli as hardware
from knoop_hw import source

RUN = Report(
    version="1", python="3", machine="m", base_mb=21.0,
    drivers=(
        Cost(driver="p1", about="a telegram", samples=9, values=8, cpu_us=1654.0, ratio=4.2, rest_ms=93.4,
             memory_mb=0.6, modules=11, libraries=("serial",)),
        Cost(driver="simulated", about="nothing", samples=99, values=2, cpu_us=398.0, ratio=1.0, modules=2),
    ),
)  # fmt: skip
FAILED = replace(RUN, drivers=(*RUN.drivers, Cost(driver="nmea", error="only 0 samples in 15 s")))


@pytest.mark.parametrize("name", sorted({*STAND_INS, *source.names()}))
def test_every_driver_has_something_to_read(name):
    """The only test that says so."""
    assert name in source.names()
    if name not in STAND_INS:
        entry = f'"{name}": StandIn(about="…", opened=_talking("{name}", [b"what it sends"], "")),'
        pytest.fail(f"add to STAND_INS in {stand_ins.__file__} what it can read (docs/own-driver.md, 5): {entry}")


async def test_a_driver_is_measured_in_a_process_without_a_network():
    found = await drivers._apart("lines", every_s=drivers.EVERY_S, first=1, seconds=0.2)
    assert found["samples"] > 0
    assert found["values"] == 3
    assert found["cpu_us"] > 0
    assert found["memory_kb"] > 1024
    assert {"serial", "knoop_hw.sensors.lines"} <= set(found["modules"])
    assert not set(found["modules"]) - set(hardware.NOT_HERE) & {"_ssl", "socketserver", "slixmpp", "knoop"}


async def test_one_that_fails_says_why_and_stops_no_other(monkeypatch):
    calls = []

    async def said(folder, tables, **asked):
        calls.append(tables)
        if 'driver = "system"' in tables:
            raise StageFailed("only 0 samples in 15 s")
        modules = ["os", *(["serial", "serial.tools", "knoop_hw.sensors.lines"] if "lines" in tables else [])]
        return {"samples": 10, "values": 1, "cpu_us": 2000.0 if "lines" in tables else 1000.0, "memory_kb": 21_504,
                "modules": modules}  # fmt: skip

    monkeypatch.setattr(drivers, "_said", said)
    heard = []
    report = await drivers.measure(quick=True, names=["lines", "nobody", "system", "simulated"], say=heard.append)
    by_name = {cost.driver: cost for cost in report.drivers}
    assert by_name["lines"].ratio == 2.0
    assert by_name["lines"].libraries == ("serial",)
    assert by_name["lines"].modules == 3
    assert by_name["simulated"].ratio == 1.0
    assert by_name["system"].error == "only 0 samples in 15 s"
    assert "STAND_INS" in by_name["nobody"].error
    assert heard[-1] == "4 of 4: simulated"
    assert len(calls) == 5  # two boards without a sensor, three with


def test_a_person_reads_the_cheapest_first_and_what_failed_last():
    lines = drivers.as_text(FAILED).splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["simulated", "p1", "nmea"]
    assert "failed: only 0 samples in 15 s" in lines[4]
    assert "serial, 11 modules; a telegram" in lines[3]
    assert max(map(len, lines)) <= 130


@pytest.mark.parametrize(("report", "code"), [(RUN, 0), (FAILED, 1)])
def test_json_is_one_object_and_the_exit_code_says_whether_all_were_measured(monkeypatch, capsys, report, code):
    monkeypatch.setattr(drivers, "run", lambda *, quick: report)
    assert main(["bench", "--drivers", "--json"]) == code
    assert json.loads(capsys.readouterr().out)["drivers"][0]["rest_ms"] == 93.4


@pytest.mark.parametrize("flag", [["--local"], ["--against", "before.json"]])
def test_it_asks_no_server(capsys, flag):
    with pytest.raises(SystemExit):
        main(["bench", "--drivers", *flag])
    assert "leave out --local and --against" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_told_to_end_it_leaves_nothing(tmp_path, number):
    code = (
        "import sys; from knoop.cli import main; from knoop_bench import drivers;"
        "say = lambda text: print(text, flush=True); drivers._say = say; sys.exit(main(['bench', '--drivers']))"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    async with asyncio.timeout(20):
        await process.stdout.readline()
        while not (children := _children(process.pid)):
            await asyncio.sleep(0.01)
        process.send_signal(number)
        assert await process.wait() == 130
    assert not list(tmp_path.iterdir())
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]
