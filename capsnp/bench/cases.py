"""A piece of work that several sides do, and the rows that come of it."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from capsnp.bench.machine import Floor
from capsnp.bench.timing import Times, interleave
from capsnp.errors import InvariantError

ROUNDINGS = 4096
"""Results may differ by so many units of the dtype's rounding, of their largest number."""


@dataclass(frozen=True)
class Contestant:
    """A side with its work prepared.

    Attributes
    ----------
    name : str
    call : callable
        Does the work, and returns when it is done.
    results : callable
        Arrays by name on the host, to be compared.
    form : str
        How the work is written, where there are several ways.
    """

    name: str
    call: Callable[[], object]
    results: Callable[[], dict[str, np.ndarray]]
    form: str = ""


def largest_difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Of two results, of the largest number.

    Examples
    --------
    >>> largest_difference(np.asarray([1.0, 2.5]), np.asarray([1.0, 2.0]))
    0.25
    """
    largest = float(np.max(np.abs(theirs)))
    return float(np.max(np.abs(ours - theirs))) / max(largest, 1e-300)


@dataclass(frozen=True)
class Case:
    """Work, what it must cost, and who does it: capsnp first.

    Attributes
    ----------
    work, name, sizes : str
    contestants : sequence of Contestant
    floor : Floor
    bound : float
        On the difference of two results.
    difference : callable
        Of our result and theirs.
    """

    work: str
    name: str
    sizes: str
    contestants: Sequence[Contestant]
    floor: Floor
    bound: float
    difference: Callable[[np.ndarray, np.ndarray], float] = largest_difference


@dataclass(frozen=True)
class Row:
    """Times of one piece of work by capsnp and by a partner, taken in turns.

    Attributes
    ----------
    work, case, sizes : str
    partner : str
        Empty where there is none.
    form : str
        How the partner's work is written.
    ours, theirs : Times
    floor : Floor
    difference : float or None
        Of two results, of their largest number (of the autoencoder's: see its bound).
    bound : float
        On it.
    """

    work: str
    case: str
    sizes: str
    partner: str
    form: str
    ours: Times
    theirs: Times | None
    floor: Floor
    difference: float | None
    bound: float

    @property
    def ratio(self) -> float | None:
        """How many times as long theirs takes."""
        return None if self.theirs is None else self.theirs.median / self.ours.median

    @property
    def floor_ratio(self) -> float:
        """How many times as long as the floor ours takes."""
        return self.ours.median / self.floor.seconds

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "work": self.work,
            "case": self.case,
            "sizes": self.sizes,
            "partner": self.partner,
            "form": self.form,
            "ours": self.ours.plain(),
            "theirs": None if self.theirs is None else self.theirs.plain(),
            "ratio": self.ratio,
            "floor": asdict(self.floor) | {"seconds": self.floor.seconds},
            "floor_ratio": self.floor_ratio,
            "difference": self.difference,
            "bound": self.bound,
        }


def measure(case: Case, *, rounds: int) -> list[Row]:
    """Compare the results of a case, then time its contestants in turns.

    Returns
    -------
    list of Row
        One for each partner, or one without where there is none.

    Raises
    ------
    InvariantError
        If results differ by more than the bound: then times mean nothing.
    """
    ours, *partners = case.contestants
    found = ours.results()
    differences = {p.name: _expect_same(case, p.name, found, p.results()) for p in partners}
    times = interleave({c.name: c.call for c in case.contestants}, rounds=rounds)
    row = functools.partial(Row, case.work, case.name, case.sizes)
    if not partners:
        return [row("", "", times[ours.name], None, case.floor, None, case.bound)]
    return [
        row(
            p.name,
            p.form,
            times[ours.name],
            times[p.name],
            case.floor,
            differences[p.name],
            case.bound,
        )
        for p in partners
    ]


def _expect_same(
    case: Case, partner: str, ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]
) -> float:
    """The largest difference of any result; an error above the bound."""
    worst = 0.0
    for name, array in ours.items():
        apart = case.difference(array, theirs[name])
        if not apart <= case.bound:  # also when it is no number
            raise InvariantError(
                f"{case.work}, {case.name}: {name} by capsnp and by {partner} differ by "
                f"{apart:.1e} of the largest number, above {case.bound:.1e}"
            )
        worst = max(worst, apart)
    return worst
