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


def test_a_user_that_is_not_there_may_nothing_and_the_remedy_says_so(tmp_path):
    file = tmp_path / "device"
    file.touch(0o666)
    assert not rights.may(file, "no-such-user")
    remedy = rights.remedy(file, "no-such-user")
    assert remedy == "there is no user 'no-such-user' on this machine; install Knoop's package again, which makes it"


def test_a_device_that_is_gone_meanwhile_may_not_be_opened(tmp_path):
    assert not rights.may(tmp_path / "gone", THEM)
    assert "it is gone" in rights.remedy(tmp_path / "gone", THEM)
