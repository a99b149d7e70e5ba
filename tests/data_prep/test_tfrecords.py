"""TFRecords and protocol buffers: hand-written bytes, and the definition of the checksum."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.tfrecords import bytes_value, crc32c, float_values, masked_crc32c, read_example, read_records
from tests.set_files import bytes_feature, example, field, float_feature, plain_crc32c, record
from vidpred.errors import DataError


def test_checksums_of_the_examples_in_the_standard() -> None:
    """RFC 3720, appendix B.4."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"") == 0


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=1500))
def test_checksum_equals_its_definition(data: bytes) -> None:
    assert crc32c(data) == plain_crc32c(data)


def test_checksum_of_long_data() -> None:
    data = np.random.default_rng(0).integers(0, 256, 40_000, dtype=np.uint8).tobytes()
    for length in (4095, 4096, 4097, 32_768, 40_000):
        assert crc32c(data[:length]) == plain_crc32c(data[:length])


def test_a_record_written_by_hand(tmp_path: Path) -> None:
    """Check the record of "hello": length 5, checksum rotated right by 15 plus 0xa282ead8 (as TensorFlow writes it)."""

    def masked(data: bytes) -> bytes:
        check = plain_crc32c(data)
        return struct.pack("<I", ((check >> 15 | check << 17 & 0xFFFFFFFF) + 0xA282EAD8) & 0xFFFFFFFF)

    length = b"\x05\0\0\0\0\0\0\0"
    path = tmp_path / "a.tfrecords"
    path.write_bytes(length + masked(length) + b"hello" + masked(b"hello"))
    assert list(read_records(path)) == [b"hello"]
    assert struct.pack("<I", masked_crc32c(b"hello")) == masked(b"hello")


def test_an_example_written_by_hand() -> None:
    message = bytes.fromhex(
        "0a1d"  # Example.features, 29 bytes
        "0a0b" "0a0161" "1206" "0a04" "0a026869"  # entry: key "a", value: BytesList of "hi"
        "0a0e" "0a0162" "1209" "1207" "0d0000803f" "1000"  # entry: key "b", FloatList of 1.0, an unknown field 2
    )  # fmt: skip
    found = read_example(message)
    assert list(found) == ["a", "b"]
    assert bytes_value(found["a"]) == b"hi"


@pytest.mark.slow
@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(st.text(max_size=8), st.binary(max_size=300), max_size=5),
    st.lists(st.floats(width=32, allow_nan=False), max_size=40),
    st.booleans(),
)
def test_examples_round_trip(texts: dict[str, bytes], numbers: list[float], packed: bool) -> None:
    features = {f"b{name}": bytes_feature(value) for name, value in texts.items()}
    found = read_example(example({**features, "floats": float_feature(numbers, packed)}))
    assert {name: bytes_value(found[f"b{name}"]) for name in texts} == texts
    assert float_values(found["floats"]).tolist() == [np.float32(number) for number in numbers]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_an_example_or_a_value_error(data: bytes) -> None:
    try:
        for feature in read_example(data).values():
            float_values(feature)
    except (ValueError, KeyError):
        pass


def test_errors_name_the_damaged_record(tmp_path: Path) -> None:
    whole = record(b"a" * 500) + record(b"b" * 500)
    flipped = bytearray(whole)
    flipped[700] ^= 1
    wrong_length = bytearray(whole)
    wrong_length[516] ^= 1
    cases = {
        "cut": (whole[:-100], "truncated in record 1"),
        "head": (whole[:520], "truncated in record 1"),
        "data": (bytes(flipped), r"record 1 is damaged \(checksum\)"),
        "length": (bytes(wrong_length), r"record 1 is damaged \(checksum\)"),
        "text": (b"<html>" * 50, "not a TFRecord file"),
        "empty": (b"", "empty file"),
    }
    for name, (content, words) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=words):
            list(read_records(tmp_path / name))
    with pytest.raises(DataError, match="No such file"):
        list(read_records(tmp_path / "absent"))


def test_messages_of_the_wrong_kind() -> None:
    with pytest.raises(ValueError, match="expected one bytes value, got 0"):
        bytes_value(memoryview(float_feature([1.0])))
    with pytest.raises(ValueError, match="exceeds the message"):
        read_example(field(1, b"abc")[:-1])
