"""What was found: a log Z with its bracket, a likelihood with its origin, a difference of two."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from capsnp.errors import IncomparableError
from capsnp.evaluation.likelihood.data import DataRecord

Method = Literal["exact", "annealing"]
Start = Literal["given", "chains"]
Measure = Literal["counting", "volume", "uniform on balls"]

FEWEST_CHAINS = 5.0
"""Effective ones that an end rests on. Of brackets from data with fewer, a third did not hold the
truth, by up to 11 nats; of those with more, none (``docs/likelihood.md``)."""


@dataclass(frozen=True)
class LogPartition:
    """Logarithm of a partition function, exact or in a bracket.

    Attributes
    ----------
    value : float
        The estimate: exact, or Bennett's from the weights of both directions.
    lower, upper : float
        From annealing up and from annealing down: below and above log Z in expectation, the
        second if the chains down start at samples of the model. `value` if it is exact.
    stderr : float
        Standard error of `value`, 0 if it is exact.
    method : {"exact", "annealing"}
    n_temperatures, n_chains : int
        0 if it is exact.
    seconds : float
    lower_stderr, upper_stderr : float
        Bootstrap over the chains.
    lower_ess, upper_ess : float
        Effective sample sizes of the chains' weights. Near 1, one chain makes the end, and its
        standard error is too small.
    neighbours, neighbours_stderr : float
        The sum of Bennett's estimates between neighbouring temperatures. Where it leaves the
        bracket, chains lag behind the temperature or miss a mode. NaN if log Z is exact.
    start : {"given", "chains"}
        Where chains down began: at states that were given, or where the chains up had ended.
    """

    value: float
    lower: float
    upper: float
    stderr: float
    method: Method
    n_temperatures: int = 0
    n_chains: int = 0
    seconds: float = 0.0
    lower_stderr: float = 0.0
    upper_stderr: float = 0.0
    lower_ess: float = np.inf
    upper_ess: float = np.inf
    neighbours: float = np.nan
    neighbours_stderr: float = np.nan
    start: Start = "given"

    @property
    def problems(self) -> tuple[str, ...]:
        """Why both ends may lie on one side of log Z, however near they are to each other."""
        if self.method == "exact":
            return ()
        found = []
        if self.start == "chains":
            found.append("chains down began where chains up ended and miss what those missed")
        fewest = min(self.lower_ess, self.upper_ess)
        if fewest < FEWEST_CHAINS:
            found.append(f"an end rests on {fewest:.1f} effective chains of {self.n_chains}")
        return tuple(found)

    @property
    def width(self) -> float:
        """Distance of the ends, in either order, and a standard error of each."""
        return abs(self.upper - self.lower) + self.lower_stderr + self.upper_stderr


@dataclass(frozen=True)
class Likelihood:
    """Mean log-likelihood of rows, and all that it takes to compare it.

    Attributes
    ----------
    value : float
        Nats per row.
    lower, upper : float
        With the upper and the lower end of log Z.
    stderr : float
        Of `value`, from log Z alone.
    partition : LogPartition
    data : DataRecord
        Of the rows.
    measure : {"counting", "volume", "uniform on balls"}
        What the probability is relative to: states are counted, or the density is per volume, or
        relative to the uniform distribution on products of unit balls.
    wide : bool
        The bracket is wider than the tolerance. See `problems`, too.
    rows : numpy.ndarray, shape (N,)
        Of each row, with `partition.value`.
    units : str
    """

    value: float
    lower: float
    upper: float
    stderr: float
    partition: LogPartition
    data: DataRecord
    measure: Measure
    wide: bool
    rows: np.ndarray = field(repr=False, compare=False)
    units: str = "nats per row"

    @property
    def problems(self) -> tuple[str, ...]:
        """Of the partition function."""
        return self.partition.problems

    def __str__(self) -> str:
        text = f"{self.value:.2f} {self.units}"
        if self.partition.method == "exact":
            return f"{text}, exact"
        down, up = self.partition.upper_ess, self.partition.lower_ess  # ends of log Z are turned
        text += (
            f", from {self.lower:.2f} to {self.upper:.2f} (ends of {down:.1f} and {up:.1f} chains)"
        )
        return "; ".join([text, *["wide"] * self.wide, *self.problems])


class Difference(NamedTuple):
    """How much likelier one model makes the same rows.

    Attributes
    ----------
    value : float
        Nats per row.
    lower, upper : float
        From the ends of both brackets.
    stderr : float
        Over the rows, paired: how far other rows of the same kind would be off.
    """

    value: float
    lower: float
    upper: float
    stderr: float


def compare(a: Likelihood, b: Likelihood) -> Difference:
    """The likelihood a less the likelihood b, if both are of the same thing.

    Parameters
    ----------
    a, b : Likelihood

    Returns
    -------
    Difference

    Raises
    ------
    IncomparableError
        If they differ in binarisation, data, measure or units; the message says in what.
    """
    for what, of_a, of_b in (
        ("binarisation", *(_rule(each.data) for each in (a, b))),
        ("shape of the data", a.data.shape, b.data.shape),
        ("dtype of the data", a.data.dtype, b.data.dtype),
        ("data's SHA-256", a.data.sha256[:12], b.data.sha256[:12]),
        ("measure", a.measure, b.measure),
        ("units", a.units, b.units),
    ):
        if of_a != of_b:
            raise IncomparableError(
                f"compare: expected likelihoods of the same rows under the same rule, "
                f"got another {what}: {of_a} and {of_b}"
            )
    apart = a.rows - b.rows
    stderr = float(np.std(apart, ddof=1) / np.sqrt(len(apart))) if len(apart) > 1 else np.nan
    return Difference(a.value - b.value, a.lower - b.upper, a.upper - b.lower, stderr)


def _rule(data: DataRecord) -> str:
    return data.rule if data.seed is None else f"{data.rule} with seed {data.seed}"
