"""An output that lives in a device, through everything: a chat, the agent, the hardware half, a port, and back."""

from __future__ import annotations

import pytest
from tests.hw.test_remote_process import TABLES, Arduino
from tests.integration.running import AGENT, HARDWARE, Running, Way
from tests.integration.two import HEAD, Halves

pytestmark = pytest.mark.prosody


async def test_what_is_said_moves_the_device_and_the_answer_is_what_it_shows(prosody, account, witness, tmp_path):
    device, anna, bram = account("greenhouse"), account("anna"), account("bram")
    arduino = Arduino(tmp_path / "arduino")
    people = {anna.jid: '"owner"', bram.jid: '{ role = "operator", only = ["dimmer"] }'}
    board = HEAD + TABLES.format(device=tmp_path / "arduino", more='safe = "off"')
    config = {"jid": device.jid, "password": device.password, "people": people, "board": board}
    owner, other = await witness(anna, friends=[device.jid]), await witness(bram, friends=[device.jid])
    hw, agent = Running(tmp_path, command=HARDWARE), Running(tmp_path, command=AGENT)
    both = Halves(hw=hw, agent=agent, owner=owner, jid=device.jid, way=Way.to(prosody), config=config)
    both.write()
    try:
        await both.start()
        await hw.says("the board is open")
        arduino.wait("P1")
        await both.asks("pump off", "Pump is off.")
        await both.asks("dimmer 256", "Dimmer takes at most 255.")
        await both.asks("dimmer 40", "Dimmer is 40 (estimate).")
        arduino.wait("P1", "P0", "D040")
        theirs = Halves(hw=hw, agent=agent, owner=other, jid=device.jid, way=both.way, config=config)
        await theirs.asks("pump on", "I do not understand")  # nobody tells who may not that there is one
        await theirs.asks("dimmer 7", "Dimmer is 7")
        arduino.wait("P1", "P0", "D040", "D007")
        await agent.stop()
        agent.start()
        await both.online(times=2)
        await both.asks("pump?", "Pump is off.")
        arduino.pull()
        await hw.says("was unplugged")
        await both.asks("pump on", "Pump stays as it is: its device is away. Try again when it is back.")
        assert arduino.heard == ["P1", "P0", "D040", "D007"]
    finally:
        arduino.pull()
        await agent.stop()
        await hw.stop()
