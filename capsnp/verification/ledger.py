"""The ledger: claims of the papers, each with the function that computes it and what checks it.

A claim is added by decorating a generator of checks with `claim`, in the file of its topic:

.. code-block:: python

    @claim(
        "(4)", "2.2", "squash(z) has the direction of z and the length ‖z‖²/(1 + ‖z‖²)",
        function=squash, method="scalar arithmetic, one vector at a time",
    )
    def squash_by_scalars(lab):
        for _ in lab.cases(20):
            z = lab.normal((5, 8))
            yield lab.near(lab.run(squash, z), ...)
"""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Kind = Literal["theorem", "corrected", "heuristic"]
"""What is claimed: that an equation holds; that it fails as printed and holds corrected; a
measurement."""


class Check(NamedTuple):
    """One comparison.

    Attributes
    ----------
    residual : float
        How far the two sides are apart.
    tolerance : float
        How far they may be apart; NaN residuals never hold.
    source : str
        Where the tolerance comes from.
    printed : float or None
        In place of both, how far the text as printed is off, which has to be above `tolerance`.
    """

    residual: float
    tolerance: float
    source: str
    printed: float | None = None

    @property
    def holds(self) -> bool:
        if self.printed is not None:
            return self.printed > self.tolerance
        return self.residual <= self.tolerance


Checks = Iterator[Check]


@dataclass(frozen=True)
class Claim:
    """A row of the ledger.

    Attributes
    ----------
    name : str
        Of the function that checks it.
    equation : str
        The paper's number, "Algorithm 1", "§2.1" ... for what has no number.
    section : str
        Of Hauser (2019), or the topic for what is beyond the paper.
    statement : str
        In words and symbols.
    function : str
        What computes it in capsnp.
    method : str
        The other way to the same number.
    kind : {"theorem", "corrected", "heuristic"}
    check : callable
        From a `Lab` to checks.
    """

    name: str
    equation: str
    section: str
    statement: str
    function: str
    method: str
    kind: Kind
    check: Callable[[Any], Checks]


_CLAIMS: dict[str, Claim] = {}


def claim(
    equation: str,
    section: str,
    statement: str,
    *,
    function: Callable | str,
    method: str,
    kind: Kind = "theorem",
) -> Callable[[Callable[[Any], Checks]], Callable[[Any], Checks]]:
    """Enter a claim into the ledger, with the generator that it decorates as its check.

    Parameters
    ----------
    equation, section, statement, method, kind
        As in `Claim`.
    function : callable or str
        What computes it in capsnp; several by a text.

    Returns
    -------
    callable
        Gives the decorated function back.
    """

    def enter(check: Callable[[Any], Checks]) -> Callable[[Any], Checks]:
        if not inspect.isgeneratorfunction(check):
            raise TypeError(f"{check.__name__}: expected a generator of checks")
        if check.__name__ in _CLAIMS:
            raise ValueError(f"{check.__name__}: there is a claim of this name")
        computes = function if isinstance(function, str) else function.__name__
        _CLAIMS[check.__name__] = Claim(
            check.__name__, equation, section, statement, computes, method, kind, check
        )
        return check

    return enter


def ledger() -> tuple[Claim, ...]:
    """All claims, in the paper's order.

    Examples
    --------
    >>> [claim.name for claim in ledger() if claim.equation == "(4)"][0]
    'squash_by_scalars'
    """
    import capsnp.verification.claims  # noqa: F401  entering them

    return tuple(_CLAIMS.values())
