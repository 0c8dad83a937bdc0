"""The IDX format of MNIST: a header of big-endian numbers, then the bytes.

=====  ==========================================================
bytes  meaning
=====  ==========================================================
0, 1   0
2      type of the elements: 8 for unsigned bytes
3      number n of axes
4 n    length of each axis, 32 bits unsigned
rest   the elements, last axis fastest
=====  ==========================================================
"""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from capsnp.datasets.dataset import reading
from capsnp.errors import DataError

_UNSIGNED_BYTES = 8
_CHUNK = 1 << 20


def header(shape: tuple[int, ...]) -> bytes:
    """The header of an IDX file of unsigned bytes.

    Examples
    --------
    >>> header((60000,)).hex(" ")
    '00 00 08 01 00 00 ea 60'
    """
    return struct.pack(f">HBB{len(shape)}I", 0, _UNSIGNED_BYTES, len(shape), *shape)


def read_idx(path: str | Path, *, shape: tuple[int | None, ...]) -> np.ndarray:
    """Read an IDX file of unsigned bytes, compressed by gzip or not.

    Parameters
    ----------
    path : str or Path
        Whether it is compressed is read from its first bytes, not from its name.
    shape : tuple of int or None
        The shape that the header has to give; None for a length that is free, but not 0.

    Returns
    -------
    numpy.ndarray of uint8
        As many axes as `shape`.

    Raises
    ------
    DataError
        If the file is missing, any field of the header is another than expected, or the file is
        shorter or longer than its header says by as little as a byte.

    References
    ----------
    LeCun, Cortes and Burges, The MNIST database of handwritten digits.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "labels"
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(path, shape=(None,))
    array([7, 2, 1], dtype=uint8)
    """
    path = Path(path)
    with reading(path, "an IDX file", EOFError, zlib.error), path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not compressed:
            return _parse(file, path, shape)
        with gzip.GzipFile(fileobj=file) as stream:
            return _parse(cast("BinaryIO", stream), path, shape)


def _parse(stream: BinaryIO, path: Path, shape: tuple[int | None, ...]) -> np.ndarray:
    found = _parse_header(stream, path, shape)
    size = math.prod(found)
    content = bytearray()
    # One byte more than expected: it tells a longer file, and makes gzip check its sums.
    while len(content) <= size and (chunk := stream.read(min(_CHUNK, size + 1 - len(content)))):
        content += chunk
    if len(content) != size:
        difference = "it is cut short at" if len(content) < size else "it holds more than"
        raise DataError(
            f"{path}: expected {size} bytes after the header of shape {found}, "
            f"but {difference} {min(size, len(content))}"
        )
    return np.frombuffer(content, dtype=np.uint8).reshape(found)


def _parse_header(stream: BinaryIO, path: Path, shape: tuple[int | None, ...]) -> tuple[int, ...]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise DataError(
            f"{path}: expected an IDX file, which starts with 00 00, "
            f"found {magic[:2].hex(' ') or 'an empty file'}"
        )
    if magic[2] != _UNSIGNED_BYTES:
        raise DataError(f"{path}: expected unsigned bytes (type 08), found type {magic[2]:02x}")
    if magic[3] != len(shape):
        raise DataError(f"{path}: expected {len(shape)} axes, found {magic[3]}")
    lengths = stream.read(4 * len(shape))
    if len(lengths) < 4 * len(shape):
        raise DataError(
            f"{path}: expected a header of {4 + 4 * len(shape)} bytes, "
            f"but it is cut short at {4 + len(lengths)}"
        )
    found = struct.unpack(f">{len(shape)}I", lengths)
    if any(n == 0 if want is None else n != want for n, want in zip(found, shape, strict=True)):
        expected = ", ".join("any" if want is None else str(want) for want in shape)
        raise DataError(f"{path}: expected shape ({expected}), found {found} in its header")
    return found
