import gzip
import math
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capsnp.datasets import read_idx
from capsnp.errors import DataError

from .conftest import idx_bytes

IMAGES = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4) * 10
GOOD = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4]) + IMAGES.tobytes()


def write(folder: Path, content: bytes, *, packed: bool, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_reads_what_was_written_whatever_its_name(tmp_path, packed, name):
    path = write(tmp_path, GOOD, packed=packed, name=name)
    for shape in [(2, 3, 4), (None, 3, 4), (None, None, None)]:
        found = read_idx(path, shape=shape)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, IMAGES)


def test_reads_more_than_one_chunk(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 700, 800), dtype=np.uint8)
    content = struct.pack(">4B3I", 0, 0, 8, 3, 3, 700, 800) + images.tobytes()
    for packed in (False, True):
        path = write(tmp_path, content, packed=packed)
        np.testing.assert_array_equal(read_idx(path, shape=(None, 700, 800)), images)


def test_a_byte_too_many_after_a_whole_chunk_is_refused(tmp_path):
    content = struct.pack(">4B2I", 0, 0, 8, 2, 1024, 1024) + bytes(1024 * 1024)
    for packed in (False, True):
        assert read_idx(write(tmp_path, content, packed=packed), shape=(1024, 1024)).sum() == 0
        with pytest.raises(DataError, match="holds more than 1048576"):
            read_idx(write(tmp_path, content + b"x", packed=packed), shape=(1024, 1024))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("position", "value", "message"),
    [
        (0, 1, "starts with 00 00, found 01 00"),
        (1, 0xFF, "starts with 00 00, found 00 ff"),
        (2, 0x0D, r"unsigned bytes \(type 08\), found type 0d"),
        (3, 1, "expected 3 axes, found 1"),
        (3, 4, "expected 3 axes, found 4"),
        (4, 1, r"expected 201326\d+ bytes|cut short at 24"),
        (7, 1, r"expected 12 bytes after the header .* it holds more than 12"),
        (7, 3, r"expected 36 bytes after the header .* it is cut short at 24"),
        (7, 0, r"expected shape \(any, 3, 4\), found \(0, 3, 4\)"),
        (11, 2, r"expected shape \(any, 3, 4\), found \(2, 2, 4\)"),
        (15, 5, r"expected shape \(any, 3, 4\), found \(2, 3, 5\)"),
        (12, 255, r"expected shape \(any, 3, 4\), found \(2, 3, 4278190084\)"),
    ],
)
def test_every_field_of_the_header_is_checked(tmp_path, packed, position, value, message):
    changed = bytearray(GOOD)
    changed[position] = value
    path = write(tmp_path, bytes(changed), packed=packed)
    before = path.read_bytes()
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path, shape=(None, 3, 4))
    assert str(caught.value).startswith(f"{path}: expected ")
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_of_any_other_length_is_refused(tmp_path, packed):
    for length in range(len(GOOD)):
        path = write(tmp_path, GOOD[:length], packed=packed)
        with pytest.raises(DataError, match=r"cut short|an empty file|starts with"):
            read_idx(path, shape=(2, 3, 4))
    for extra in (b"\0", b"x" * 1000):
        path = write(tmp_path, GOOD + extra, packed=packed)
        with pytest.raises(DataError, match="holds more than 24"):
            read_idx(path, shape=(2, 3, 4))


def test_an_archive_cut_anywhere_is_refused(tmp_path):
    whole = gzip.compress(GOOD, mtime=0)
    for length in range(len(whole)):
        path = tmp_path / "cut.gz"
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=str(path)):
            read_idx(path, shape=(2, 3, 4))


def test_a_flipped_bit_in_an_archive_never_gives_other_pixels(tmp_path):
    whole = gzip.compress(GOOD, mtime=0)
    refused = 0
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 16
        path = tmp_path / "flipped.gz"
        path.write_bytes(changed)
        try:
            found = read_idx(path, shape=(2, 3, 4))
        except DataError:
            refused += 1
        else:
            np.testing.assert_array_equal(found, IMAGES)
    # Free are the flags, the time, the system and what they announce: ten bytes at most.
    assert refused >= len(whole) - 10


def test_bytes_after_the_archive_are_refused(tmp_path):
    path = tmp_path / "more.gz"
    path.write_bytes(gzip.compress(GOOD) + b"more")
    with pytest.raises(DataError, match="cannot be read: Not a gzipped file"):
        read_idx(path, shape=(2, 3, 4))


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_idx(tmp_path / "none", shape=(None,))
    with pytest.raises(DataError, match="an IDX file, but it cannot be read"):
        read_idx(tmp_path, shape=(None,))


def test_a_header_that_claims_terabytes_takes_no_memory(tmp_path):
    claim = bytes([0, 0, 8, 3]) + b"\xff" * 12 + bytes(100)
    for packed in (False, True):
        path = write(tmp_path, claim, packed=packed)
        with pytest.raises(DataError, match="cut short at 100"):
            read_idx(path, shape=(None, None, None))


def oracle(content: bytes) -> np.ndarray | None:
    """What an uncompressed IDX file of bytes with three free axes holds, or None."""
    if len(content) < 16 or content[:4] != bytes([0, 0, 8, 3]):
        return None
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in (4, 8, 12))
    if 0 in shape or len(content) - 16 != shape[0] * shape[1] * shape[2]:
        return None
    return np.array(list(content[16:]), dtype=np.uint8).reshape(shape)


near_headers = st.builds(
    lambda magic, axes, rest: bytes(magic) + b"".join(n.to_bytes(4, "big") for n in axes) + rest,
    st.tuples(st.sampled_from([0, 1]), st.just(0), st.sampled_from([8, 9]), st.integers(0, 4)),
    st.lists(st.sampled_from([0, 1, 2, 3, 2**32 - 1]), max_size=4),
    st.binary(max_size=30),
)
good_files = st.tuples(*[st.integers(1, 3)] * 3).flatmap(
    lambda shape: st.binary(min_size=math.prod(shape), max_size=math.prod(shape)).map(
        lambda data: idx_bytes(np.frombuffer(data, np.uint8).reshape(shape))
    )
)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(content=st.one_of(st.binary(max_size=60), near_headers, good_files), packed=st.booleans())
def test_any_bytes_give_the_right_array_or_a_data_error(tmp_path, content, packed):
    path = write(tmp_path, content, packed=packed)
    expected = oracle(content)
    if expected is None:
        with pytest.raises(DataError):
            read_idx(path, shape=(None, None, None))
    else:
        np.testing.assert_array_equal(read_idx(path, shape=(None, None, None)), expected)


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_damaged_archive_gives_a_data_error_or_the_same_array(tmp_path, data):
    whole = bytearray(gzip.compress(GOOD, mtime=0))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(whole) - 1))
        whole[position] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.gz"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        found = read_idx(path, shape=(2, 3, 4))
    except DataError:
        return
    np.testing.assert_array_equal(found, IMAGES)
