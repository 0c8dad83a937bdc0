"""What is scored: the machine of a model, in a dtype, and rows that fit it."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from capsnp.backend import Array, backend_of, namespace
from capsnp.blocks import slices
from capsnp.errors import DomainError, DtypeError, NotFittedError
from capsnp.evaluation.likelihood.data import Binarized, DataRecord, record_of
from capsnp.evaluation.likelihood.results import Measure
from capsnp.functional.harmonium import Harmonium, free_energy
from capsnp.functional.units import DiscreteUnits, Gaussian, Units
from capsnp.models._base import BLOCK, expect_rows


@runtime_checkable
class Capsules(Protocol):
    """Capsules that know their log Z, as `capsnp.verification.ExactCapsules` do."""

    @property
    def balls(self) -> tuple[int, int]: ...
    def log_partition(self) -> float: ...
    def log_likelihood(self, x: np.ndarray) -> np.ndarray: ...


Model = Harmonium | Capsules


def model_of(model: Any) -> Model:
    """The machine of a fitted estimator (its `machine_`); machines and exact capsules as they are.

    Parameters
    ----------
    model : Harmonium, ExactCapsules or estimator

    Returns
    -------
    Harmonium or ExactCapsules

    Raises
    ------
    NotFittedError
        If the estimator is not fitted.
    DtypeError
        If it is something else.
    """
    if isinstance(model, Harmonium | Capsules):
        return model
    found = getattr(model, "machine_", None)
    if isinstance(found, Harmonium):
        return found
    name = type(model).__name__
    if hasattr(model, "fit") and not hasattr(model, "n_features_in_"):
        raise NotFittedError(f"{name} has no machine_ yet: call fit first")
    hint = ": take its machine(c)" if hasattr(model, "machine") else ""
    raise DtypeError(
        f"model: expected a Harmonium, ExactCapsules or a fitted RBM, got {name}{hint}"
    )


def as_dtype(machine: Harmonium, dtype: str) -> Harmonium:
    """The machine in "float32" or "float64"."""
    xp = namespace(w=machine.w)

    def cast(array: Array) -> Array:
        return xp.astype(array, getattr(xp, dtype), copy=False)

    def cast_units(units: Units) -> Units:
        if isinstance(units, Gaussian) and units.log_variance is not None:
            return Gaussian(cast(units.log_variance))
        return units

    return Harmonium(
        cast(machine.w),
        cast(machine.b),
        cast(machine.c),
        cast_units(machine.visible),
        cast_units(machine.hidden),
    )


def dtype_of(machine: Harmonium) -> str:
    """Its name."""
    return str(machine.w.dtype).rsplit(".", 1)[-1]


def measure_of(model: Model) -> Measure:
    """What probabilities of its rows are relative to."""
    if isinstance(model, Capsules):
        return "uniform on balls"
    return "counting" if isinstance(model.visible, DiscreteUnits) else "volume"


def rows_of(model: Model, X: Any) -> tuple[np.ndarray, DataRecord]:
    """Rows on the host and their record, after a look at whether they are states of the model.

    Parameters
    ----------
    model : Harmonium or ExactCapsules
    X : Binarized, or array of shape (N, I) or (N, I, P)

    Returns
    -------
    rows : numpy.ndarray
    record : DataRecord

    Raises
    ------
    ShapeError, DtypeError, DomainError
        If they are not.
    """
    record = X.record if isinstance(X, Binarized) else None
    X = X.rows if isinstance(X, Binarized) else X
    rows = X if isinstance(X, np.ndarray) or not hasattr(X, "shape") else backend_of(X).to_host(X)
    if isinstance(model, Capsules):
        expect_rows("X", rows, (None, *model.balls), "(N, I, P)")
    else:
        expect_rows("X", rows, (None, model.w.shape[0]), "(N, I)")
        model.visible.expect_states("X", rows)
        if isinstance(model.visible, DiscreteUnits) and not np.all((rows == 0) | (rows == 1)):
            raise DomainError(
                f"X: expected 0 or 1 everywhere for {model.visible.name} units, got numbers "
                f"between, which have no probability: binarize(X) makes them binary"
            )
    return rows, record or record_of(rows)


def minus_free_energies(model: Model, rows: np.ndarray) -> np.ndarray:
    """log p + log Z of rows (N, ...), in float64: (N,)."""
    if isinstance(model, Capsules):
        return model.log_likelihood(rows) + model.log_partition()
    backend = backend_of(model.w)
    with backend.holding("float64"):
        machine = as_dtype(model, "float64")
        found = [
            backend.to_host(-free_energy(machine, backend.asarray(rows[block], dtype="float64")))
            for block in slices(len(rows), 4 * BLOCK)
        ]
    return np.concatenate(found)
