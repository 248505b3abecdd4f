"""From the bytes of a P1 port to telegrams that arrived whole; whatever stands between them is skipped.

Source: DSMR P1 Companion Standard 5.0.2 (Netbeheer Nederland), §5.2.12 (CRC) and §6.2 (telegram); for Luxembourg
E-Meter P1 Specification 1.1.3 (Luxmetering), §3.2.5 (channel security), a general-global-cipher APDU of DLMS/COSEM
(IEC 62056-5-3).
"""

from __future__ import annotations

import re
from collections.abc import Callable

LONGEST = 8192  # bytes of a telegram; the longest seen, with 13 months of peak demand and three M-Bus meters, has 2 KiB

_HEADER = re.compile(rb"/[A-Za-z]{3}[ -~]{1,96}\r\n")
_WHOLE = re.compile(rb"[\r\n -~]*")  # a telegram is printable ASCII: a byte that the port marked as spoiled is not


def intact(telegram: bytes, crc: int) -> bool:
    """Whether `crc` is the CRC-16/ARC of `telegram`, by one division of both as a polynomial over GF(2).

    The generator x16+x15+x2+1 is (x+1)(x15+x+1), sent lowest bit first: here (x+1)(x15+x14+1). Over GF(2) the n-th
    power of the latter is x15n+x14n+1 for every n that is a power of two, so that 14n bits at a time are folded away
    with the integers of Python: a tenth of the time that it takes byte by byte.
    """
    bits = int.from_bytes(telegram + crc.to_bytes(2, "little"), "little")
    if bits.bit_count() % 2:  # x + 1 divides what has an even number of terms
        return False
    for power in range(bits.bit_length().bit_length() - 4, -1, -1):
        n = 1 << power
        mask = (1 << 14 * n) - 1
        while bits.bit_length() > 15 * n:
            low = bits & mask
            bits = bits >> 14 * n ^ low ^ low << n
    return bits == 0


class Frames:
    """Cuts a stream of bytes into telegrams that are in the clear.

    Spoiled bytes cost the telegram they are in and no other: every `/` may begin a telegram, and the last one
    in front of an end that fits it is taken. `spoiled` counts the ends that fitted none.
    """

    def __init__(self, *, crc: bool = True) -> None:
        self._crc = crc
        # Some meters leave out the CRC's leading zeros.
        self._end = re.compile(rb"!([0-9A-Fa-f]{1,4})\r" if crc else rb"!()[\r\n]")
        self._tail = 6 if crc else 2  # bytes from the exclamation mark that must be there to judge it
        self._buffer = bytearray()
        self._searched = 0
        self.spoiled = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The telegrams that `data` completes, from `/` to `!`."""
        self._buffer += data
        telegrams: list[bytes] = []
        while (mark := self._buffer.find(b"!", self._searched)) >= 0:
            end = self._end.match(self._buffer, mark)
            if end is None and len(self._buffer) < mark + self._tail:
                self._searched = mark
                return telegrams
            telegram = None if end is None else self._telegram(mark, end[1])
            if telegram is not None:
                telegrams.append(telegram)
            elif b"/" in self._buffer[:mark]:
                self.spoiled += 1
            del self._buffer[: mark + 1]
            self._searched = 0
        self._searched = len(self._buffer)
        if self._searched > LONGEST:
            del self._buffer[: -LONGEST // 2]
            self._searched = len(self._buffer)
            self.spoiled += 1
        return telegrams

    def _telegram(self, mark: int, crc: bytes) -> bytes | None:
        start = mark
        while (start := self._buffer.rfind(b"/", 0, start)) >= 0:
            if _HEADER.match(self._buffer, start, mark) is None:
                continue
            if _WHOLE.fullmatch(self._buffer, start, mark) is None:
                return None  # nor is one that begins before
            telegram = bytes(self._buffer[start : mark + 1])
            if not self._crc or intact(telegram, int(crc, 16)):
                return telegram
        return None


_SEAL = re.compile(rb"\xdb\x08(?=.{8}\x82(..)\x30)", re.DOTALL)
_AHEAD = 13  # bytes before the security control byte, with which it begins to look like a frame
_BARE = 17  # security control byte, frame counter and tag: what the length counts besides the telegram
TAG = 12  # bytes


class SealedFrames:
    """Cuts a stream of bytes into encrypted telegrams, and opens them.

    `unseal` gets nonce and ciphertext with tag, and gives None where the tag does not fit. A frame is
    DB 08, system title (8 bytes), 82, length (2), 30, frame counter (4), ciphertext, tag (12); nonce is the title and
    the counter. Nothing else marks a frame's end, so whatever looks like a beginning is tried when its end is there:
    a spoiled length holds nobody up. `spoiled` counts what did not open.
    """

    def __init__(self, unseal: Callable[[bytes, bytes], bytes | None]) -> None:
        self._unseal = unseal
        self._buffer = bytearray()
        self._searched = 0
        self._begun: list[tuple[int, int]] = []  # (end, start) of what may be a frame
        self.spoiled = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The telegrams that `data` completes, in the clear, from `/` to the end."""
        self._buffer += data
        for found in _SEAL.finditer(self._buffer, self._searched):
            length = int.from_bytes(found[1], "big")
            if _BARE < length <= LONGEST:
                self._begun.append((found.start() + _AHEAD + length, found.start()))
        self._searched = max(len(self._buffer) - _AHEAD, 0)
        telegrams: list[bytes] = []
        done = 0
        for end, start in sorted(self._begun):
            if end > len(self._buffer) or start < done:
                continue
            telegram = self._opened(start, end)
            if telegram is None:
                self.spoiled += 1
            else:
                telegrams.append(telegram)
                done = end
        self._forget(done)
        return telegrams

    def _opened(self, start: int, end: int) -> bytes | None:
        frame = bytes(self._buffer[start:end])
        return self._unseal(frame[2:10] + frame[_AHEAD + 1 : _AHEAD + 5], frame[_AHEAD + 5 :])

    def _forget(self, done: int) -> None:
        self._begun = [(end, start) for end, start in self._begun if end > len(self._buffer) and start >= done]
        kept = min((start for _, start in self._begun), default=max(self._searched, done))
        del self._buffer[:kept]
        self._begun = [(end - kept, start - kept) for end, start in self._begun]
        self._searched = max(self._searched - kept, 0)
