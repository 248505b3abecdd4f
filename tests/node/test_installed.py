"""Whose the service's files are, also where it is only half installed."""

import os

import pytest

from knoop import installed
from knoop.errors import StoreError


def test_a_user_that_is_not_there_is_said(tmp_path, monkeypatch):
    """A key for the hardware half, on a machine that has the group and lost the user."""
    key = tmp_path / "meter.key"
    key.touch(0o600)
    monkeypatch.setattr(installed, "group", os.getgid)
    monkeypatch.setattr(installed, "may", lambda: True)
    with pytest.raises(StoreError, match=r"meter\.key: there is no user 'no-such-user' to give it to; install Knoop's"):
        installed.give(key, called=key.name, user="no-such-user")
