"""Cut work into blocks that fit the cache; a thread pool on NumPy, in order elsewhere.

NumPy's element-wise loops use one core and release the interpreter, so blocks on a pool of
threads use them all. BLAS is held to one thread inside the pool: its own pool would compete.
"""

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

import joblib
from threadpoolctl import ThreadpoolController

from capsnp.errors import OptionError

Block = TypeVar("Block")
Result = TypeVar("Result")

_NAME = "capsnp-block"


def n_threads() -> int:
    """Threads to use: ``CAPSNP_NUM_THREADS``, else the cores that this process may use.

    Its affinity and the limit of its control group (a container's, say) are respected.
    """
    asked = os.environ.get("CAPSNP_NUM_THREADS", "")
    if not asked:
        return _cores(os.getpid(), os.environ.get("LOKY_MAX_CPU_COUNT"))
    if not asked.isdecimal() or int(asked) < 1:
        raise OptionError(f"CAPSNP_NUM_THREADS: expected a whole number from 1, got {asked!r}")
    return int(asked)


@cache
def _cores(process: int, limit: str | None) -> int:  # noqa: ARG001  it reads files: once is enough
    return joblib.cpu_count()


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:  # noqa: ARG001  a fork needs its own
    return ThreadPoolExecutor(threads, thread_name_prefix=_NAME)


class _Turn:
    """One caller at a time: two would take their limits of BLAS from each other, and the cores."""

    def __init__(self) -> None:
        self.begin()
        if hasattr(os, "register_at_fork"):  # a thread that the child has not may hold it
            os.register_at_fork(after_in_child=self.begin)

    def begin(self) -> None:
        """Nobody has it."""
        self.lock = threading.Lock()


_turn = _Turn()


@cache
def _blas() -> Any:
    return ThreadpoolController()


def slices(n: int, size: int) -> list[slice]:
    """[0, n) cut into slices of at most `size`.

    Examples
    --------
    >>> slices(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    if size < 1:
        raise OptionError(f"size: expected at least 1, got {size}")
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def map_blocks(
    function: Callable[[Block], Result], blocks: Iterable[Block], *, parallel: bool
) -> list[Result]:
    """The function of each block, in the blocks' order.

    Parameters
    ----------
    function : callable
        May call `map_blocks` itself: inside a block the work goes on in order.
    blocks : iterable
    parallel : bool
        Use the thread pool: for NumPy arrays.

    Returns
    -------
    list
        The same for any number of threads.
    """
    blocks = list(blocks)
    inside = threading.current_thread().name.startswith(_NAME)
    threads = min(n_threads(), len(blocks)) if parallel and not inside and len(blocks) > 1 else 1
    if threads == 1:
        return [function(block) for block in blocks]
    with _turn.lock, _blas().limit(limits=1, user_api="blas"):
        return list(_pool(os.getpid(), threads).map(function, blocks))
