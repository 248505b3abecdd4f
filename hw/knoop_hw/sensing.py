"""One sensor kept alive: opened, read, and when it fails, opened again; nothing else notices.

One log line when it goes and one when it is back.
"""

from __future__ import annotations

import logging

from knoop_hw import source
from knoop_hw.clock import Clock
from knoop_hw.errors import DeviceError
from knoop_hw.model import Quality, Report
from knoop_hw.tables import Sensor

log = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 10.0


async def sense(sensor: Sensor, *, clock: Clock, report: Report) -> None:
    """Report the samples of `sensor` until cancelled.

    While it cannot be opened its channels are `missing`, when reading fails `error`; it is tried again after
    pauses that double from 1 s to 10 s.
    """
    driver = source.load(sensor.driver)
    channels = {item.field.name: item.channel for item in sensor.fields}
    pause_s = FIRST_PAUSE_S
    down = False
    while True:
        quality: Quality = "missing"
        reason = "it ended"
        try:
            async with driver.open(sensor.config, clock=clock) as opened:
                quality = "error"
                async for samples in opened.samples():
                    if down:
                        log.warning("sensor.%s: is back", sensor.name)
                    down, pause_s = False, FIRST_PAUSE_S
                    for sample in samples:
                        report(channels[sample.field].name, sample.value, sample.quality, sample.boottime_ns)
        except DeviceError as error:
            reason = str(error).removeprefix(f"sensor.{sensor.name}: ")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        except Exception:  # a mistake in one driver must not take the board with it
            if not down:
                log.exception("sensor.%s: its driver '%s' has a bug", sensor.name, sensor.driver)
            reason = "its driver failed"
        if not down:
            log.warning("sensor.%s: %s; it is tried again", sensor.name, reason)
        down = True
        for channel in channels.values():
            report(channel.name, None, quality, clock.boottime_ns())
        await clock.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
