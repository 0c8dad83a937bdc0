"""The likelihood of rows: exact where it can be, else in a bracket, else refused."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from capsnp.backend import backend_of
from capsnp.errors import WideBracketError
from capsnp.evaluation.likelihood.annealing import annealed_log_partition
from capsnp.evaluation.likelihood.exact import MOST_STATES, can_enumerate, exact_log_partition
from capsnp.evaluation.likelihood.machines import (
    dtype_of,
    measure_of,
    minus_free_energies,
    model_of,
    rows_of,
)
from capsnp.evaluation.likelihood.results import Likelihood, LogPartition
from capsnp.functional._checks import expect_option, expect_range


def log_likelihood(
    model: Any,
    X: Any,
    *,
    tolerance: float = 1.0,
    allow_wide: bool = False,
    partition: LogPartition | None = None,
    n_most: int = MOST_STATES,
    start: Literal["data", "chains"] = "data",
    temperatures: int | Sequence[float] = 1000,
    n_chains: int = 100,
    burn_in: int = 100,
    random_state: int = 0,
    verbose: bool = False,
) -> Likelihood:
    r"""Mean log-likelihood of rows, in nats, with what it takes to compare it.

    .. math:: \frac{1}{N} \sum_n \log p(v_n) = -\frac{1}{N} \sum_n F(v_n) - \log Z

    Parameters
    ----------
    model : Harmonium, ExactCapsules, or fitted estimator with a ``machine_``
    X : Binarized, or array of shape (N, I)
        What `binarize` returned, or rows that are states of the model already; (N, I, P) for
        capsules.
    tolerance : float
        How wide the bracket may be, standard errors of its ends included, in nats.
    allow_wide : bool
        Return what would be refused, marked by `Likelihood.wide` and `Likelihood.problems`.
    partition : LogPartition, optional
        The model's, found before.
    n_most : int
        List so many states of one layer for log Z, and anneal beyond.
    start : {"data", "chains"}
        Where chains that anneal down begin: at rows of X or at ends of the chains up, whose
        bracket may be narrow and wrong and needs `allow_wide`. See `annealed_log_partition` for
        this and all that follows.
    temperatures, n_chains, burn_in, random_state, verbose

    Returns
    -------
    Likelihood

    Raises
    ------
    WideBracketError
        If the bracket is wider than the tolerance, or its partition function has `problems`; the
        message has both ends.
    DomainError
        If a row is no state of the model: numbers between 0 and 1 for binary units, say.
    OptionError, ShapeError, DtypeError, NotFittedError
        If the arguments do not fit.

    Examples
    --------
    >>> from capsnp.functional.harmonium import Harmonium
    >>> machine = Harmonium(np.zeros((4, 2)), np.zeros(4), np.zeros(2))
    >>> print(log_likelihood(machine, np.asarray([[0.0, 1.0, 1.0, 0.0]])))  # −4 log 2
    -2.77 nats per row, exact
    """
    model = model_of(model)
    expect_range("tolerance", tolerance, 0)
    expect_option("start", start, ("data", "chains"))
    rows, record = rows_of(model, X)
    if partition is None:
        partition = log_partition(
            model,
            start=rows if start == "data" else None,
            n_most=n_most,
            temperatures=temperatures,
            n_chains=n_chains,
            burn_in=burn_in,
            random_state=random_state,
            verbose=verbose,
        )
    scores = minus_free_energies(model, rows)
    mean = float(np.mean(scores))
    low, high = sorted((partition.lower, partition.upper))
    wide = partition.width > tolerance
    if not allow_wide and (wide or partition.problems):
        between = f"{partition.width:.2g} nats between and in the ends' errors"
        raise WideBracketError(
            f"log_likelihood: expected a bracket within {tolerance:g} nats, got "
            f"{mean - high:.2f} to {mean - low:.2f} with {between}"
            f"{''.join(f', where {problem}' for problem in partition.problems)}: "
            f"{_advice(partition)}, or say allow_wide=True"
        )
    return Likelihood(
        mean - partition.value,
        mean - high,
        mean - low,
        partition.stderr,
        partition,
        record,
        measure_of(model),
        wide,
        scores - partition.value,
    )


def _advice(partition: LogPartition) -> str:
    now = f"temperatures (now {partition.n_temperatures}) or n_chains (now {partition.n_chains})"
    return f"start at data, raise {now}" if partition.start == "chains" else f"raise {now}"


def log_partition(
    model: Any, *, start: Any = None, n_most: int = MOST_STATES, verbose: bool = False, **annealing
) -> LogPartition:
    """log Z: exact if a layer has at most `n_most` states, else annealed.

    Parameters
    ----------
    model : Harmonium, ExactCapsules, or fitted estimator with a ``machine_``
    start : array, shape (N, I), optional
        Rows that the chains down start from; without them the bracket has `problems`.
    n_most : int
    verbose : bool
    **annealing
        Of `annealed_log_partition`.

    Returns
    -------
    LogPartition

    Examples
    --------
    >>> from capsnp.functional.harmonium import Harmonium
    >>> machine = Harmonium(np.zeros((40, 30)), np.zeros(40), np.zeros(30))
    >>> log_partition(machine).method
    'annealing'
    """
    model = model_of(model)
    if can_enumerate(model, n_most):
        return exact_log_partition(model, n_most=n_most, verbose=verbose)
    if start is not None:
        start = backend_of(model.w).asarray(start, dtype=dtype_of(model))
    return annealed_log_partition(model, start=start, verbose=verbose, **annealing)
