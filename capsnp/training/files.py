"""Files that are whole or not there, and system errors in one line."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from capsnp.errors import RunError


@contextlib.contextmanager
def one_line(path: str | Path, failure: str) -> Iterator[None]:
    """Turn the system's errors into a `RunError` that names the path and what failed.

    Examples
    --------
    >>> with one_line("run", "cannot be read"):
    ...     open("no such file")
    Traceback (most recent call last):
    capsnp.errors.RunError: run: cannot be read (No such file or directory)
    """
    try:
        yield
    except OSError as error:
        raise RunError(f"{path}: {failure} ({error.strerror or error})") from None


def write_atomic(path: str | Path, data: bytes) -> None:
    """Write a file whole or not at all: to a temporary name beside it, synced, then renamed.

    Parameters
    ----------
    path : str or Path
        The file, whose folder exists.
    data : bytes

    Raises
    ------
    RunError
        If the disk is full or the folder cannot be written; nothing is left behind, and what was
        there before is still there.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with one_line(path, "cannot be written"):
            _write(temporary, data, mode="wb")
            temporary.replace(path)
            _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def append(path: str | Path, data: bytes) -> None:
    """Add bytes to the end of a file, made if need be, and wait until they are on the disk.

    Raises
    ------
    RunError
        If it cannot be written; part of the bytes may be there.
    """
    with one_line(path, "cannot be written"):
        _write(Path(path), data, mode="ab")


def _write(path: Path, data: bytes, *, mode: Literal["wb", "ab"]) -> None:
    with path.open(mode) as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder cannot be opened, and a rename needs no sync
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
