"""What a training is asked at intervals, about the same rows each time."""

from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj, is_numpy_array

from capsnp.evaluation._measures import Measures, Rows, idle, measures, rows_of
from capsnp.evaluation.likelihood.exact import can_enumerate
from capsnp.evaluation.likelihood.machines import minus_free_energies
from capsnp.evaluation.likelihood.results import LogPartition
from capsnp.evaluation.likelihood.scoring import log_partition
from capsnp.functional._checks import expect_count
from capsnp.functional.units import DiscreteUnits, Gaussian
from capsnp.models._rbm_training import RBMTraining
from capsnp.training.loop import Observer, Training

LOOKS = 50
"""Of a training whose passes are more than that."""

LISTED = 2**18
"""States of one layer that are listed at each look: a tenth of a second."""


class Monitor(Observer):
    """Looks at intervals at rows of training and, beside them, at rows that are kept from it.

    Of an `RBM`: the pseudo-likelihood (of 100 rows), or Hyvärinen's score of Gaussian units; the
    squared error of each feature after one pass up and down by means; the free energy; the
    log-likelihood where log Z can be listed or a bracket is due. Of `ExpertCapsules` and
    `ExpertNeurons`, whose log Z is not known: the error of one mixing relative to the variance of
    the inputs, and the free energy. Of all: how many units are dead (on in less than 1 % of rows)
    or saturated (in more than 99 %), and the *free-energy gap*, held-out rows less training rows.
    log Z drops out of the gap; where it grows, the model learns its rows by heart.

    Other trainings are let pass.

    Parameters
    ----------
    held_out : array or sparse matrix, shape (N, ...), optional
        Rows like those of `fit` that are not trained on.
    every : int, optional
        Steps between two looks; by default a pass over the data, or a fiftieth of all steps if
        that is more. The last step is always looked at.
    n_rows : int
        So many rows of each kind, drawn once.
    bracket_every : int, optional
        Steps between brackets of a log Z that cannot be listed: each takes 1,000 temperatures up
        and as many down, with 100 chains, from seconds to minutes.
    random_state : int
        Of the choice of rows and of the brackets.
    log : callable, optional
        Takes ``(stage, step, **values)``, such as `RunFolder.log`.

    Attributes
    ----------
    history : list of dict
        Of each look: ``stage``, ``step`` and numbers by name; `plotting.training_curves` draws it.

    Raises
    ------
    OptionError
        If a number is out of its range.
    DomainError, ShapeError, ValueError
        When the training begins, if the held-out rows are not like its own.

    References
    ----------
    Hinton (2012), *A practical guide to training restricted Boltzmann machines*, sections 5, 6.

    Examples
    --------
    >>> from capsnp import RBM
    >>> X = (np.random.default_rng(0).random((200, 6)) < 0.3).astype("float32")
    >>> monitor = Monitor(X[150:])
    >>> model = RBM(3, n_iter=4, batch_size=50).fit(X[:150], observers=[monitor])
    >>> [look["step"] for look in monitor.history]
    [3, 6, 9, 12]
    >>> -6.0 < monitor.history[-1]["held-out log-likelihood"] < -2.0
    True
    """

    def __init__(
        self,
        held_out: Any = None,
        *,
        every: int | None = None,
        n_rows: int = 500,
        bracket_every: int | None = None,
        random_state: int = 0,
        log: Callable[..., None] | None = None,
    ) -> None:
        for name, value in (("every", every), ("bracket_every", bracket_every)):
            if value is not None:
                expect_count(name, value)
        expect_count("n_rows", n_rows)
        expect_count("random_state", random_state, minimum=0)
        self.held_out = held_out
        self.every = every
        self.n_rows = n_rows
        self.bracket_every = bracket_every
        self.random_state = random_state
        self.log = log
        self.history: list[dict[str, Any]] = []

    def begin(self, training: Training) -> None:
        """Choose the rows and check them."""
        self._sets: dict[str, Rows] = {}
        for prefix, name, X in (
            ("", "X", getattr(training, "X", None)),
            ("held-out ", "held_out", self.held_out),
        ):
            rows = None if X is None else rows_of(training, name, self._some(X))
            if rows is not None:
                self._sets[prefix] = rows
        self._interval = self.every or self._default(training)

    def _some(self, X: Any) -> Any:
        n = X.shape[0]
        if n <= self.n_rows:
            return X[:]
        rng = np.random.default_rng([self.random_state, n])
        rows = np.sort(rng.permutation(n)[: self.n_rows])
        if is_array_api_obj(X) and not is_numpy_array(X):
            xp = array_namespace(X)
            return xp.take(X, xp.asarray(rows, device=device(X)), axis=0)
        return X[rows]

    @staticmethod
    def _default(training: Any) -> int:
        n, batch_size = training.X.shape[0], training.model.batch_size
        return max(1, n // batch_size, -(-training.n_steps // LOOKS))

    def after_step(self, training: Training) -> None:
        """Look if it is time."""
        step, last = training.step, training.step == training.n_steps
        bracket = self.bracket_every is not None and (step % self.bracket_every == 0 or last)
        if self._sets and (step % self._interval == 0 or last or bracket):
            self.look(training, bracket=bracket)

    def look(self, training: Training, *, bracket: bool = False) -> Measures:
        """Look now.

        Parameters
        ----------
        training : Training
            That was begun.
        bracket : bool
            Also at a log Z that has to be bracketed.

        Returns
        -------
        dict of str to float
        """
        found: Measures = {}
        for prefix, rows in self._sets.items():
            found |= {prefix + name: value for name, value in measures(training, rows).items()}
        if {"free energy", "held-out free energy"} <= found.keys():
            found["free-energy gap"] = found["held-out free energy"] - found["free energy"]
        found |= idle(training, self._sets[""])
        if isinstance(training, RBMTraining):
            found |= self._likelihoods(training, bracket=bracket)
        self.history.append({"stage": training.name, "step": training.step} | found)
        if self.log is not None:
            self.log(training.name, training.step, **found)
        return found

    def _likelihoods(self, training: RBMTraining, *, bracket: bool) -> Measures:
        """Log-likelihoods of both kinds of rows, with ends where log Z is bracketed."""
        machine, to_host = training.machine, training.model._backend.to_host
        sets = {prefix: np.asarray(to_host(rows)) for prefix, rows in self._sets.items()}
        if isinstance(machine.visible, DiscreteUnits):
            sets = {p: v for p, v in sets.items() if np.all((v == 0) | (v == 1))}
        listed = can_enumerate(machine, LISTED)
        if not sets or not (listed or bracket):
            return {}
        start = next(iter(sets.values()))
        log_z = log_partition(machine, start=start, n_most=LISTED, random_state=self.random_state)
        scale = getattr(training.model, "scale_", None)
        volume = 0.0
        if isinstance(machine.visible, Gaussian) and scale is not None:
            volume = float(np.sum(np.log(np.asarray(to_host(scale), dtype=np.float64))))
        found: Measures = {}
        for prefix, v in sets.items():
            mean = float(np.mean(minus_free_energies(machine, v))) - volume
            found |= _ends(f"{prefix}log-likelihood", mean, log_z)
        return found


def _ends(name: str, mean: float, log_z: LogPartition) -> Measures:
    found = {name: mean - log_z.value}
    if log_z.method != "exact":
        low, high = sorted((log_z.lower, log_z.upper))
        found |= {f"{name}, lower": mean - high, f"{name}, upper": mean - low}
    return found
