"""What this process holds in memory, and how much more it may take."""

import ctypes
import os
import sys
from pathlib import Path
from typing import NamedTuple

from capsnp.errors import MemoryLimitError

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]

_PROC = Path("/proc")
_GROUPS = Path("/sys/fs/cgroup")
_SMALL = 2**26  # bytes that are not worth a look
_NO_LIMIT = 2**62  # control groups of the first version write a number about this large


class Limit(NamedTuple):
    """A limit of this process's memory.

    Attributes
    ----------
    room : int
        Bytes that may still be taken.
    reason : str
        What the limit is, to be read.
    mapped : bool
        Whether pages of memory-mapped files count, too.
    """

    room: int
    reason: str
    mapped: bool


def resident() -> int:
    """Bytes of memory that this process holds; those of mapped files, which it can give back, not.

    0 where the system does not tell.
    """
    status = _status()
    return status.get("RssAnon", 0) + status.get("RssShmem", 0)


def limits() -> list[Limit]:
    """The limits that this system tells of: of addresses, of data, of control groups, free memory.

    Returns
    -------
    list of Limit
        Empty where the system tells none.
    """
    found = _of_process(_status())
    found += [
        Limit(room, "the memory limit of the control group", False) for room in _control_groups()
    ]
    free = _table(_PROC / "meminfo").get("MemAvailable")
    return found if free is None else [*found, Limit(free, "the memory that is free", False)]


def expect_fitting(name: str, value: int, needed: float, *, what: str) -> None:
    """Raise unless so many more bytes can be had; where the system tells no limit, never.

    Parameters
    ----------
    name : str
        Of the option to lower.
    value : int
        What it is.
    needed : float
        Bytes.
    what : str
        What needs them, such as "chains".

    Raises
    ------
    MemoryLimitError

    Examples
    --------
    >>> expect_fitting("n", 10**12, 1e20, what="chains")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    capsnp.errors.MemoryLimitError: n: expected chains that fit into memory, got 1000000000000, \
which need 100000000.0 TB where ... can be had within ...: lower n
    """
    if needed < _SMALL:
        return
    least = min(limits(), default=None)
    if least is not None and needed > least.room:
        raise MemoryLimitError(
            f"{name}: expected {what} that fit into memory, got {value}, which need "
            f"{readable_bytes(needed)} where {readable_bytes(least.room)} can be had within "
            f"{least.reason}: lower {name}"
        )


def readable_bytes(n: float) -> str:
    """A size in the unit that suits it.

    Examples
    --------
    >>> readable_bytes(1_105_920_000)
    '1.1 GB'
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if n < 1000 or unit == "TB":
            return f"{n:.0f} {unit}" if unit in ("B", "kB", "MB") else f"{n:.1f} {unit}"
        n /= 1000
    raise AssertionError


def _of_process(status: dict[str, int]) -> list[Limit]:
    if resource is None:
        return []
    found = []
    for kind, taken, reason, mapped in (
        (resource.RLIMIT_AS, "VmSize", "the limit on addresses (ulimit -v)", True),
        (resource.RLIMIT_DATA, "VmData", "the limit on data (ulimit -d)", False),
    ):
        limit = resource.getrlimit(kind)[0]
        if limit != resource.RLIM_INFINITY and taken in status:
            found.append(Limit(max(0, limit - status[taken]), reason, mapped))
    return found


def give_back() -> None:
    """Give memory that is free inside the process back to the system, where the C library can.

    Large arrays that come and go on several threads leave their room behind: without this, one
    stage's work would count as long as the next one's lasts.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's alone
        if trim is not None:
            trim(0)


def _status() -> dict[str, int]:
    return _table(_PROC / "self/status")


def _table(path: Path) -> dict[str, int]:
    """Bytes by name of a table of the kernel in kB; empty if it is not there."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return {}
    words = (line.split() for line in lines)
    return {w[0].rstrip(":"): 1024 * int(w[1]) for w in words if len(w) == 3 and w[2] == "kB"}


def _control_groups() -> list[int]:
    """Bytes that each control group of this process may still take; of both versions."""
    names = {
        "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        "": ("memory.max", "memory.current", "inactive_file"),
    }
    try:
        lines = (_PROC / "self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds not in names:
            continue
        root = _GROUPS / kinds
        for folder in (root, *(root / p for p in _upwards(path))):
            room = _room(folder, *names[kinds])
            if room is not None:
                found.append(room)
    return found


def _upwards(path: str) -> list[str]:
    """A group's path and those of the groups that hold it, without a slash in front.

    Examples
    --------
    >>> _upwards("/a/b")
    ['a/b', 'a']
    """
    parts = [part for part in path.split(os.sep) if part]
    return [os.sep.join(parts[:n]) for n in range(len(parts), 0, -1)]


def _room(folder: Path, limit: str, usage: str, cached: str) -> int | None:
    """What a control group may still take: files' pages that it can drop count as free."""
    try:
        most, taken = (folder / limit).read_text().strip(), int((folder / usage).read_text())
        lines = (folder / "memory.stat").read_text().splitlines()
    except (OSError, ValueError):
        return None
    if most == "max" or int(most) > _NO_LIMIT:
        return None
    droppable = next((int(line.split()[1]) for line in lines if line.split()[0] == cached), 0)
    return max(0, int(most) - taken + droppable)
