"""Wall times of things that are compared, taken in turns in one process."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

LEAST_SECONDS = 0.02
"""A turn lasts at least this long: shorter work is repeated within it."""

SETTLING_SECONDS = 0.15
"""Calls that are not timed come before those of a turn for at least this long: the threads of
another's BLAS go on looking for work, on a core, for about a tenth of a second."""


@dataclass(frozen=True)
class Times:
    """Seconds that one piece of work took, one number per turn.

    Attributes
    ----------
    seconds : tuple of float

    Examples
    --------
    >>> times = Times((0.4, 0.1, 0.2, 0.3, 0.5))
    >>> times.median, times.quartiles
    (0.3, (0.2, 0.4))
    """

    seconds: tuple[float, ...]

    @cached_property
    def median(self) -> float:
        """Half of the turns took longer."""
        return float(np.median(self.seconds))

    @cached_property
    def quartiles(self) -> tuple[float, float]:
        """A quarter of the turns took less than the first, a quarter more than the second."""
        low, high = np.quantile(self.seconds, (0.25, 0.75))
        return float(low), float(high)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "median": self.median,
            "quartiles": list(self.quartiles),
            "seconds": list(self.seconds),
        }


def interleave(calls: Mapping[str, Callable[[], object]], *, rounds: int) -> dict[str, Times]:
    """Time each of several calls once a round, in turns, so that they share what the machine does.

    Each turn begins with calls that are not timed: it finds the caches and threads as it would
    leave them itself. The order changes from round to round.

    Parameters
    ----------
    calls : mapping of str to callable
        Each returns when its work is done, also on a device.
    rounds : int

    Returns
    -------
    dict of str to Times
    """
    loops = {name: _loops(call) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for k in range(rounds):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            _settle(calls[name])
            seconds[name].append(_time(calls[name], loops[name]))
    return {name: Times(tuple(found)) for name, found in seconds.items()}


def best(call: Callable[[], object], *, times: int = 5) -> float:
    """The shortest of several times, for speeds that bound others from above."""
    call()
    loops = _loops(call)
    return min(_time(call, loops) for _ in range(times))


def _loops(call: Callable[[], object]) -> int:
    """Calls in a turn, after one to warm up."""
    call()
    return max(1, round(LEAST_SECONDS / max(_time(call, 1), 1e-9)))


def _settle(call: Callable[[], object]) -> None:
    ready = time.perf_counter() + SETTLING_SECONDS
    call()
    while time.perf_counter() < ready:
        call()


def _time(call: Callable[[], object], loops: int) -> float:
    started = time.perf_counter()
    for _ in range(loops):
        call()
    return (time.perf_counter() - started) / loops


@contextlib.contextmanager
def equal_threads(n: int, torch: Any = None) -> Iterator[None]:
    """Give BLAS, the blocks of capsnp and PyTorch the same number of threads inside.

    Parameters
    ----------
    n : int
    torch : module, optional
        PyTorch, where it takes part.
    """
    asked = os.environ.get("CAPSNP_NUM_THREADS")
    before = None if torch is None else torch.get_num_threads()
    os.environ["CAPSNP_NUM_THREADS"] = str(n)
    if torch is not None:
        torch.set_num_threads(n)
    try:
        with threadpool_limits(limits=n, user_api="blas"):
            yield
    finally:
        if torch is not None:
            torch.set_num_threads(before)
        if asked is None:
            os.environ.pop("CAPSNP_NUM_THREADS", None)
        else:
            os.environ["CAPSNP_NUM_THREADS"] = asked
