"""The built image: no password, no key, no identity, no trace of the machine that made it."""

import re

from knoop_firmware import scan
from knoop_firmware.parts import extract, partitions


def test_the_image_is_clean(image):
    assert scan.image(image) == []


def test_what_config_txt_names_is_on_the_boot_partition(image, tmp_path):
    from knoop_firmware import boot

    boot.verify(extract(image, partitions(image)[0], tmp_path / "boot"))


def test_whatever_buses_are_named_their_overlays_and_command_line_are_there(image, tmp_path):
    from knoop.setup.buses import config_txt
    from knoop_firmware import boot

    folder = extract(image, partitions(image)[0], tmp_path / "boot")
    for given in (
        {"buses": ["w1:GPIO4:pullup", "i2c:400kHz", "spi", "uart"], "pulses": ["GPIO18", "GPIO13"]},
        {"buses": [], "pulses": ["GPIO12"], "lines": ["GPIO2", "GPIO14"]},
    ):
        text = config_txt(**given)
        named = [*boot.named_files(text), *re.findall(r"^cmdline=(.+)", text, re.MULTILINE)]
        assert [name for name in named if not (folder / name).exists()] == []
        quiet = (folder / "cmdline-uart.txt").read_text()
        assert "ttyS" not in quiet
        assert "ttyAMA" not in quiet
        assert (folder / "cmdline.txt").read_text().split()[-1] == quiet.split()[-1]
