"""The image's device-tree overlays: made from firmware/overlays, and put onto a device tree as the firmware does it.

    python -m knoop_firmware.overlays build/overlays                       # make them all
    python -m knoop_firmware.overlays tree.dtb knoop-buses.txt out.dtb     # what a board has with these lines

Needs Debian's device-tree-compiler. Source: the Devicetree specification 0.4; Raspberry Pi's documentation, "Device
Trees, overlays, and parameters" (`__overrides__`): a parameter `gpiopin = <&node>, "gpios:4"` is the number at byte 4.
"""

from __future__ import annotations

import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from knoop_hw.bus import CHIPS

SOURCES = Path(__file__).parents[1] / "overlays"


def build(out: Path) -> list[Path]:
    """Every overlay as `out/knoop-….dtbo`. Raises RuntimeError with what dtc says; a warning is an error."""
    out.mkdir(parents=True, exist_ok=True)
    made = []
    sources = {source.stem: source.read_text("utf-8") for source in SOURCES.glob("*.dts")}
    template = (SOURCES / "chip.template").read_text("utf-8")
    for chip, (compatible, address) in CHIPS.items():
        filled = template.replace("CHIP", chip).replace("COMPATIBLE", compatible).replace("ADDRESS", f"{address:02x}")
        sources[f"knoop-{chip}"] = filled
    for name, source in sorted(sources.items()):
        target = out / f"{name}.dtbo"
        said = _run("dtc", "-I", "dts", "-O", "dtb", "-o", str(target), "-", stdin=source)
        if said.strip():
            raise RuntimeError(f"{name}: {said}")
        made.append(target)
    return made


def merge(tree: Path, config_txt: str, folder: Path, out: Path) -> None:
    """`tree` with every `dtoverlay=` of `config_txt` put onto it in turn, from `folder`: what a board starts with.

    Raises RuntimeError where an overlay, a parameter of it or a label of the tree is missing.
    """
    with tempfile.TemporaryDirectory() as work:
        chosen = [
            _with(folder / f"{name}.dtbo", parameters, Path(work) / f"{index}.dtbo")
            for index, (name, parameters) in enumerate(wanted(config_txt))
        ]
        if chosen:
            _run("fdtoverlay", "-i", str(tree), "-o", str(out), *map(str, chosen))
        else:
            out.write_bytes(tree.read_bytes())


def wanted(config_txt: str) -> Iterator[tuple[str, Mapping[str, int]]]:
    """The overlays that its lines name, each with its parameters."""
    for line in config_txt.splitlines():
        key, _, value = line.partition("=")
        if key == "dtoverlay":
            name, *said = value.split(",")
            yield name, {key: int(number, 0) for key, _, number in (one.partition("=") for one in said)}


def _with(overlay: Path, parameters: Mapping[str, int], out: Path) -> Path:
    out.write_bytes(overlay.read_bytes())
    for name, value in parameters.items():
        raw = bytes.fromhex("".join(f"{int(one, 16):02x}" for one in
                                    _run("fdtget", "-t", "bx", str(out), "/__overrides__", name).split()))
        while raw:
            handle, text = struct.unpack_from(">I", raw)[0], raw[4:raw.index(0, 4)].decode()
            raw = raw[5 + len(text):]
            property_, _, at = text.partition(":")
            node = by_handle(out, handle)
            cells = _run("fdtget", "-t", "x", str(out), node, property_).split()
            cells[int(at) // 4] = f"{value:x}"
            _run("fdtput", "-t", "x", str(out), node, property_, *cells)
    return out


def by_handle(tree: Path, handle: int, node: str = "/") -> str:
    """The path of the node that the tree calls by this number; "" where there is none."""
    for child in _run("fdtget", "-l", str(tree), node).split():
        path = f"{node.rstrip('/')}/{child}"
        try:
            if int(_run("fdtget", "-t", "u", str(tree), path, "phandle")) == handle:
                return path
        except RuntimeError:
            pass  # it has no number: nothing refers to it
        if found := by_handle(tree, handle, path):
            return found
    return ""


def _run(*command: str, stdin: str | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout + done.stderr


def main(arguments: Sequence[str]) -> int:
    if len(arguments) == 1:
        for made in build(Path(arguments[0])):
            print(made)
        return 0
    if len(arguments) == 3:
        tree, lines, out = map(Path, arguments)
        with tempfile.TemporaryDirectory() as folder:
            build(Path(folder))
            merge(tree, lines.read_text("utf-8"), Path(folder), out)
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
