"""Checkpoints: arrays in a safetensors file that is either whole or not there.

The SHA-256 lies inside the file: the header's metadata holds it, and it is taken over all bytes of
the file with its own 64 digits read as zeros. So a single rename puts data and checksum in place
together (with a checksum in a second file, a kill between two renames would leave a good
checkpoint beside a wrong sum), every byte is covered, header included, and the file stays an
ordinary one that `safetensors.numpy.load_file` opens.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.numpy

from capsnp.errors import CheckpointError, DtypeError
from capsnp.training.files import one_line, write_atomic

_MARK = b'"capsnp":"sha256='  # JSON escapes quotes, so no array or info can imitate it
_BLANK = b"0" * 64


class Contents(NamedTuple):
    """What `read_checkpoint` returns.

    Attributes
    ----------
    arrays : dict of str to numpy.ndarray
    info : dict of str to str
    """

    arrays: dict[str, np.ndarray]
    info: dict[str, str]


def write_checkpoint(
    path: str | Path, arrays: Mapping[str, np.ndarray], *, info: Mapping[str, str] | None = None
) -> None:
    """Write arrays with their checksum; a kill at any moment leaves the old file or the new.

    Parameters
    ----------
    path : str or Path
        The file, whose folder exists.
    arrays : mapping of str to numpy.ndarray
        Boolean, integer or real floating, any shape; the same arrays give the same bytes.
    info : mapping of str to str, optional
        Text to keep with them.

    Raises
    ------
    DtypeError
        If an array is of another kind.
    RunError
        If the file cannot be written; what was there before is still there.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_checkpoint(f"{folder}/a.safetensors", {"W": np.ones(2)}, info={"step": "3"})
    ...     read_checkpoint(f"{folder}/a.safetensors")
    Contents(arrays={'W': array([1., 1.])}, info={'step': '3'})
    """
    for name, array in arrays.items():
        if array.dtype.kind not in "biuf":
            raise DtypeError(
                f"{name}: expected a boolean, integer or real floating array, got {array.dtype}"
            )
    # safetensors writes memory as it lies, and several metadata entries in no fixed order
    dense = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    note = json.dumps(dict(info or {}), sort_keys=True)
    data = safetensors.numpy.save(dense, {"capsnp": f"sha256={_BLANK.decode()} {note}"})
    start = data.index(_MARK) + len(_MARK)
    digest = _digest(data, start)
    write_atomic(path, b"".join((data[:start], digest, data[start + len(digest) :])))


def read_checkpoint(path: str | Path) -> Contents:
    """Read what `write_checkpoint` wrote, if every byte of it is still right.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Contents
        arrays, info.

    Raises
    ------
    CheckpointError
        If the file is cut short, has a changed byte or was not written by `write_checkpoint`.
    RunError
        If the file cannot be read at all.
    """
    with one_line(path, "cannot be read"):
        data = Path(path).read_bytes()
    found = data.find(_MARK)
    start = found + len(_MARK)
    if found < 0 or data[start : start + len(_BLANK)] != _digest(data, start):
        raise CheckpointError(f"{path}: expected a whole checkpoint, got one cut short or damaged")
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    _, note = header["__metadata__"]["capsnp"].split(" ", maxsplit=1)
    return Contents(safetensors.numpy.load(data), json.loads(note))


def _digest(data: bytes, start: int) -> bytes:
    """SHA-256 of the data, its 64 bytes from `start` read as zeros, as 64 hexadecimal digits."""
    view = memoryview(data)
    total = hashlib.sha256(view[:start])
    total.update(_BLANK)
    total.update(view[start + len(_BLANK) :])
    return total.hexdigest().encode()
