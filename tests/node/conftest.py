"""What tests of the agent share."""

import pytest

from knoop import commands, config
from knoop.xmpp import compat


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """The disk of a machine that is busy with tests does not hang, however long it takes."""
    monkeypatch.setattr("knoop.state.ANSWER_S", 60.0)


@pytest.fixture
def load(tmp_path):
    """`load(text)`: what is read from a node.toml of this text."""

    def load(text):
        file = tmp_path / "node.toml"
        file.write_text(text, "utf-8")
        return config.load(file, jid=compat.jid, words=commands.words())

    return load
