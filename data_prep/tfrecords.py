"""Reading TFRecord files and the tf.train.Example messages in them without TensorFlow.

A record consists of the length (uint64, little-endian), the masked CRC32C of the length, the data, and the masked
CRC32C of the data. An Example is a protocol buffer: Example{1: Features{1: map<string, Feature>}},
Feature{1: BytesList | 2: FloatList | 3: Int64List}, each with its values in field 1.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from vidpred.errors import DataError, printable
from vidpred.files import open_regular

POLYNOMIAL = 0x82F63B78  # Castagnoli, reflected
LANE = 128  # minimum bytes per lane of the vectorized checksum


def read_records(path: Path) -> Iterator[bytes]:
    """Yield the data of every record.

    Raises:
        DataError: The file cannot be read, or a record is truncated or damaged.
    """
    try:
        with open_regular(path) as file:
            number = 0
            while head := file.read(12):
                if len(head) < 12:
                    raise DataError(f"truncated in record {number} [{printable(path)}]")
                length, check = struct.unpack("<QI", head)
                if masked_crc32c(head[:8]) != check:
                    kind = f"record {number} is damaged (checksum)" if number else "not a TFRecord file"
                    raise DataError(f"{kind} [{printable(path)}]")
                rest = file.read(length + 4)
                if len(rest) < length + 4:
                    raise DataError(f"truncated in record {number} [{printable(path)}]")
                if masked_crc32c(rest[:-4]) != struct.unpack("<I", rest[-4:])[0]:
                    raise DataError(f"record {number} is damaged (checksum) [{printable(path)}]")
                yield rest[:-4]
                number += 1
            if not number:
                raise DataError(f"empty file (0 bytes) [{printable(path)}]")
    except OSError as error:
        raise DataError(f"cannot read the file: {error.strerror} [{printable(path)}]") from None


def masked_crc32c(data: bytes) -> int:
    """Compute the masked checksum that TFRecords store: rotated right by 15 bits, plus a constant."""
    check = crc32c(data)
    return ((check >> 15 | check << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _table() -> np.ndarray:
    values = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        values = np.where(values & 1, values >> 1 ^ np.uint32(POLYNOMIAL), values >> 1)
    return values


TABLE = _table()


def crc32c(data: bytes) -> int:
    """Compute the CRC-32C (RFC 3720, appendix B.4), with the data divided into many lanes that run in parallel.

    A CRC is linear: the checksum of A followed by B is that of A advanced by len(B) zero bytes, xor that of B. Leading
    zero bytes have no effect once the initial value is part of the data.
    """
    values = np.frombuffer(b"\0" * max(0, 4 - len(data)) + data, np.uint8).copy()
    if len(data) < 4:
        return _short_crc32c(data)
    values[:4] ^= 0xFF
    lanes = 1 << max(0, len(values) // LANE).bit_length() >> 1 or 1
    length = -(-len(values) // lanes)
    padded = np.zeros(lanes * length, np.uint8)
    padded[-len(values) :] = values
    checks = np.zeros(lanes, np.uint32)
    for column in np.ascontiguousarray(padded.reshape(lanes, length).T):
        checks = TABLE[(checks ^ column) & 0xFF] ^ checks >> np.uint32(8)
    while len(checks) > 1:
        checks = _advance(checks[0::2], length) ^ checks[1::2]
        length *= 2
    return int(checks[0]) ^ 0xFFFFFFFF


def _short_crc32c(data: bytes) -> int:
    check = 0xFFFFFFFF
    for byte in data:
        check = int(TABLE[(check ^ byte) & 0xFF]) ^ check >> 8
    return check ^ 0xFFFFFFFF


def _advance(checks: np.ndarray, zeros: int) -> np.ndarray:
    """Advance checksums (without initial and final inversion) by a number of zero bytes."""
    tables = _advance_tables(zeros)
    advanced: np.ndarray = tables[0][checks & 0xFF]
    for byte in (1, 2, 3):
        advanced = advanced ^ tables[byte][checks >> np.uint32(8 * byte) & 0xFF]
    return advanced


@lru_cache(maxsize=256)
def _advance_tables(zeros: int) -> np.ndarray:
    """Return `(4, 256)`, the contribution of each value of each byte of a checksum after a number of zero bytes."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    if zeros == 1:
        bits = TABLE[bits & 0xFF] ^ bits >> np.uint32(8)
    else:
        bits = _advance(_advance(bits, zeros // 2), zeros - zeros // 2)
    numbers = np.arange(256, dtype=np.uint32)
    tables = np.zeros((4, 256), np.uint32)
    for bit in range(32):
        byte, place = divmod(bit, 8)
        tables[byte] ^= np.where(numbers >> np.uint32(place) & 1, bits[bit], np.uint32(0))
    return tables


Feature = memoryview


def read_example(data: bytes) -> dict[str, Feature]:
    """Return the undecoded features of an Example by name.

    Raises:
        ValueError: The data is not an Example.
    """
    found: dict[str, Feature] = {}
    for number, features in _fields(memoryview(data)):
        if number == 1:
            for _, entry in _fields(_message(features)):
                parts = dict(_fields(_message(entry)))
                found[bytes(_message(parts[1])).decode()] = _message(parts.get(2, memoryview(b"")))
    return found


def bytes_value(feature: Feature) -> bytes:
    """Return the single value of a bytes feature.

    Raises:
        ValueError: The feature does not have exactly one value.
    """
    values = _values(feature, 1)
    if len(values) != 1:
        raise ValueError(f"expected one bytes value, got {len(values)}")
    return values[0]


def float_values(feature: Feature) -> np.ndarray:
    """Return the values of a float feature, packed or not, as float32.

    Raises:
        ValueError: The feature is malformed.
    """
    content = b"".join(_values(feature, 2))
    if len(content) % 4:
        raise ValueError("malformed floats")
    return np.frombuffer(content, "<f4").astype(np.float32)


def _values(feature: Feature, kind: int) -> list[bytes]:
    lists = [_message(values) for number, values in _fields(feature) if number == kind]
    return [bytes(_message(value)) for values in lists for _, value in _fields(values)]


def _message(value: memoryview | int) -> memoryview:
    if isinstance(value, int):
        raise ValueError("expected a message, got a number")
    return value


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Yield (number, value) of every field of a message; the value is an integer for varints, else bytes."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == 0:
            number, place = _varint(data, place)
            yield tag >> 3, number
            continue
        if kind == 2:
            size, place = _varint(data, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"unsupported wire type {kind}")
        if place + size > len(data):
            raise ValueError("a field exceeds the message")
        yield tag >> 3, data[place : place + size]
        place += size


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(data) or shift > 63:
            raise ValueError("a number exceeds the message")
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
