"""Which chip has the header's lines, from descriptions of boards that nobody here has."""

from __future__ import annotations

import builtins

import pytest

from knoop_hw import chips
from knoop_hw.chips import Chip, Line, choose, here, line_of
from knoop_hw.errors import DeviceError


def chip(number, label, size=54):
    return Chip(path=f"/dev/gpiochip{number}", label=label, size=size)


SHUT = Chip(path="/dev/gpiochip0", closed="pi may not open /dev/gpiochip0; sudo usermod -aG gpio pi")
# As `gpiodetect` shows them, with the kernels of Raspberry Pi OS 12.
BOARDS = {
    "Zero 2 W": ([chip(0, "pinctrl-bcm2835"), chip(1, "raspberrypi-exp-gpio", 8)], "gpiochip0"),
    "4": ([chip(0, "pinctrl-bcm2711", 58), chip(1, "raspberrypi-exp-gpio", 8)], "gpiochip0"),
    "5, kernel 6.1": (
        [chip(0, "gpio-brcmstb@107d508500", 32), chip(1, "gpio-brcmstb@107d517c00", 17), chip(4, "pinctrl-rp1")],
        "gpiochip4",
    ),
    "5, kernel 6.6": ([chip(0, "pinctrl-rp1"), chip(10, "gpio-brcmstb@107d508500", 32)], "gpiochip0"),
    "4 with an expander on I²C": ([chip(0, "pcf8574", 8), chip(1, "pinctrl-bcm2711", 58)], "gpiochip1"),
    "another board": ([chip(0, "9030000.pl061", 8)], "gpiochip0"),
    "a Pi with another chip that is not for us": ([SHUT, chip(1, "pinctrl-bcm2835")], "gpiochip1"),
}


@pytest.mark.parametrize("board", BOARDS)
def test_the_headers_chip_is_found_by_itself(board):
    there, found = BOARDS[board]
    assert choose(there).name == found
    assert choose(there[::-1]).name == found


@pytest.mark.parametrize("wanted", ["/dev/gpiochip1", "gpiochip1", "ocelot"])
def test_a_chip_can_be_named_by_path_name_and_label(wanted):
    assert choose([chip(0, "pinctrl-bcm2835"), chip(1, "ocelot")], wanted).name == "gpiochip1"


def test_a_chip_can_be_named_by_a_link_to_it(tmp_path):
    """On a Raspberry Pi 5 /dev/gpiochip4 is one, so that older programs find the header."""
    (tmp_path / "gpiochip0").touch()
    (tmp_path / "gpiochip4").symlink_to("gpiochip0")
    assert choose([Chip(path=str(tmp_path / "gpiochip0"))], str(tmp_path / "gpiochip4")).name == "gpiochip0"


@pytest.mark.parametrize(
    ("there", "wanted", "said"),
    [
        ([], None, 'board: this machine has no GPIO chip (/dev/gpiochip*); run on one that has, or try without lines: '
                   '[board] driver = "simulated"'),
        ([SHUT], None, "board: pi may not open /dev/gpiochip0; sudo usermod -aG gpio pi"),
        ([SHUT], "gpiochip0", "board: pi may not open /dev/gpiochip0; sudo usermod -aG gpio pi"),
        ([chip(0, "one"), chip(1, "two")], None, "board: which of these has the lines? gpiochip0 (one), gpiochip1 "
                                                 '(two); name it: [board] chip = "gpiochip0"'),
        ([chip(0, "one")], "gpiochip7", "board: chip: 'gpiochip7' is not one chip of this machine; "
                                        "there is gpiochip0 (one)"),
        ([chip(0, "same"), chip(1, "same")], "same", "board: chip: 'same' is not one chip of this machine; "
                                                     "there is gpiochip0 (same), gpiochip1 (same)"),
        ([], "gpiochip0", "board: chip: 'gpiochip0' is not one chip of this machine; there is none"),
    ],
)  # fmt: skip
def test_what_cannot_be_chosen_says_what_to_do(there, wanted, said):
    with pytest.raises(DeviceError) as refused:
        choose(there, wanted)
    assert str(refused.value) == said


def test_a_line_is_that_of_the_name_else_of_the_number():
    plain = [Line(number=number) for number in range(8)]
    assert line_of("GPIO5", plain) == plain[5]
    assert line_of("GPIO8", plain) is None
    elsewhere = [*plain, Line(number=8, name="GPIO5")]
    assert line_of("GPIO5", elsewhere) == elsewhere[8]


def test_a_file_that_is_no_chip_does_not_open_and_says_so(tmp_path):
    (tmp_path / "gpiochip0").write_text("")
    (tmp_path / "gpiochip4").symlink_to("gpiochip0")
    [found] = here(tmp_path)
    assert found.closed == f"{tmp_path}/gpiochip0 does not open (Inappropriate ioctl for device)"


def test_without_the_library_it_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **more):
        if name == "gpiod":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DeviceError, match=r"^board: the Python package gpiod is not installed; `pip install gpiod`"):
        chips.here()
