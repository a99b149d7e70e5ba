"""Checksums inside the packets of a codec, which FFmpeg's decoder verifies without reporting that they differ."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

AHEAD = 16  # packets that are read ahead to find out whether there are checksums
# Decoders that verify checksums if asked, and then fail: a bad image is missing instead of wrong.
VERIFYING = {"png": "crccheck+explode", "apng": "crccheck+explode"}
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
SIZE_BYTES, TRAILER = 3, 8  # of a slice of FFV1: its length; that, an error code and the checksum
SEEDS = (0, 0x7A8C4079)  # start values of its checksum, by version of the format


PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks of PNG and of its animations whose damage changes images.
PNG_CHUNKS = frozenset((b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"acTL", b"fcTL", b"fdAT"))


def wrong_png_checksum(content: bytes) -> str | None:
    """Return the name of the first chunk of a PNG image whose checksum is wrong; None: there is none.

    Args:
        content: A file, or chunks of one, as in a packet of an animation.
    """
    view, place = memoryview(content), len(PNG_SIGNATURE) if content.startswith(PNG_SIGNATURE) else 0
    while place + 12 <= len(content):
        end = place + 8 + int.from_bytes(view[place : place + 4], "big")
        name = bytes(view[place + 4 : place + 8])
        if end + 4 > len(content) or not name.isalpha():
            return None  # cut off, or no chunk
        if name in PNG_CHUNKS and zlib.crc32(view[place + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            return name.decode()
        place = end + 4
    return None


class SliceChecksums:
    """The checksums of FFV1's slices, in files whose first packets have them (format version 3, `-slicecrc 1`).

    Attributes:
        decided: Whether it is known if there are checksums, so that `differ` needs no following packets.
    """

    def __init__(self, settings: bytes | None) -> None:
        """Check the decoder's settings, which end with a checksum, too."""
        self._seed: int | None = None
        self._has_settings = bool(settings)
        self._unusable = bool(settings) and not any(_is_right(settings or b"", seed) for seed in SEEDS)
        self.decided = self._unusable

    def differ(self, packet: bytes, following: Sequence[bytes]) -> bool:
        """Return whether a checksum of a packet is wrong.

        Args:
            packet: The packet.
            following: The next packets, by which the first call finds out whether there are checksums.
        """
        if not packet or self._unusable:
            return bool(packet)
        if not self.decided:
            self.decided = True
            tried = ((seed, one) for seed in SEEDS for one in (packet, *following))
            self._seed = next((seed for seed, one in tried if slices_are_right(one, seed)), None)
            has_checksums = self._seed is not None or any(map(_have_checksums, (packet, *following)))
            # Such slices need settings; and where no checksum is right, everything is damaged.
            self._unusable = has_checksums and (self._seed is None or not self._has_settings)
        if self._unusable:
            return True
        return self._seed is not None and not slices_are_right(packet, self._seed)


def slices_are_right(packet: bytes, seed: int) -> bool:
    """Return whether the slices fill a packet of FFV1 and match their checksums, which begin at `seed`."""
    return all(one is not None and _is_right(one, seed) for one in _slices(packet, TRAILER))


def _have_checksums(packet: bytes) -> bool:
    """Return whether the lengths of slices fit a packet with checksums, but not one without."""
    return None not in _slices(packet, TRAILER) and None in _slices(packet, SIZE_BYTES)


def _slices(packet: bytes, trailer: int) -> list[bytes | None]:
    """Return the slices that fill a packet, from its end, each with its trailer; ending with None if they do not."""
    found: list[bytes | None] = []
    end = len(packet)
    while end > 0:
        start = end - trailer - int.from_bytes(packet[max(0, end - trailer) :][:SIZE_BYTES], "big")
        if start < 0:
            return [*found, None]
        found.append(packet[start:end])
        end = start
    return found or [None]


def _is_right(content: bytes, seed: int) -> bool:
    """Return whether the CRC-32 of content with its checksum is 0; its bits go from high to low, unlike zlib's."""
    begin = int(f"{seed:032b}"[::-1], 2) ^ 0xFFFFFFFF
    return zlib.crc32(content.translate(REVERSED), begin) == 0xFFFFFFFF
