"""Who may open a device, judged for a user that one is not."""

import os
import pwd

import pytest

from knoop_hw import rights

THEM = pwd.getpwuid(os.getuid()).pw_name


@pytest.mark.parametrize(("mode", "may"), [(0o600, True), (0o400, False), (0o066, False), (0o660, True)])
def test_the_owners_bits_count_for_the_owner(tmp_path, mode, may):
    file = tmp_path / "device"
    file.touch()
    file.chmod(mode)
    assert rights.may(file, THEM) is may


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
@pytest.mark.parametrize(("group", "mode", "may"), [
    (65534, 0o660, True), (65534, 0o606, False), (0, 0o660, False), (0, 0o606, True),
])  # fmt: skip
def test_a_groups_bits_count_for_its_members_and_the_last_for_everybody_else(tmp_path, group, mode, may):
    file = tmp_path / "device"
    file.touch()
    os.chown(file, 0, group)
    file.chmod(mode)
    assert rights.may(file, "nobody") is may
    assert rights.us("nobody") in rights.remedy(file, "nobody") or mode & 0o060 != 0o060 or group == 0
