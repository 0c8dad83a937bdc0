"""What can be asked of a layer in training about some rows: a dictionary of host numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse

from capsnp.backend import Array
from capsnp.evaluation.codes import relative_error
from capsnp.functional import firing_probability, harmonium, mix, neuron_mix, sigmoid
from capsnp.functional.pseudolikelihood import hyvarinen_score, pseudo_log_likelihood
from capsnp.functional.units import Gaussian
from capsnp.models._base import Estimator
from capsnp.models._capsule_training import CapsuleTraining, RoutedTraining
from capsnp.models._neuron_training import NeuronTraining
from capsnp.models._rbm_training import SATURATED, RBMTraining
from capsnp.training.loop import Training

PREDICTED = 100
"""Rows of which each unit is predicted from the others: I times the work of a free energy."""

Rows = Any
Measures = dict[str, float]


def rows_of(training: Training, name: str, X: Rows) -> Rows | None:
    """Rows as `measures` takes them, checked; None where there is nothing to ask of the model."""
    if isinstance(training, RBMTraining):
        model = training.model
        X = model._checked(X, reset=False, name=name)
        units = model._units
        dense = X.toarray() if scipy.sparse.issparse(X) else X
        units.expect_states(name, dense)
        v = model._array(dense)
        return (v - model.mean_) / model.scale_ if isinstance(units, Gaussian) else v
    if isinstance(training, RoutedTraining):
        training.model.inputs(X)  # raises unless they are such
        return X
    return None


def measures(training: Training, rows: Rows) -> Measures:
    """Of the model as it stands, about rows that `rows_of` took."""
    if isinstance(training, RBMTraining):
        return _of_machine(training, rows)
    return _of_capsules(training, rows) if isinstance(training, RoutedTraining) else {}


def idle(training: Training, rows: Rows) -> Measures:
    """Share of the hidden units, or capsules, that say nothing: hardly ever or nearly always on."""
    if isinstance(training, RBMTraining) and training.model.hidden == "bernoulli":
        model = training.model
        return _idle("units", model, harmonium.hidden_mean(training.machine, rows))
    if isinstance(training, RoutedTraining):
        model = training.model
        xp, (_, z) = model._backend.xp, model._route(model.inputs(rows))
        if isinstance(training, NeuronTraining):
            p_on = sigmoid(z + model.a_)
            return _idle("neurons", model, xp.reshape(p_on, (z.shape[0], -1)))
        return _idle("capsules", model, firing_probability(z))
    return {}


def _idle(what: str, model: Estimator, p_on: Array) -> Measures:
    """By the mean over rows of P(on), (N, J)."""
    mean = np.sum(model._backend.to_host(p_on), axis=0, dtype=np.float64) / p_on.shape[0]
    return {
        f"dead {what}": _mean(mean < SATURATED),
        f"saturated {what}": _mean(mean > 1.0 - SATURATED),
    }


def _of_machine(training: RBMTraining, v: Array) -> Measures:
    machine, to_host = training.machine, training.model._backend.to_host
    rebuilt = harmonium.visible_mean(machine, harmonium.hidden_mean(machine, v))
    gaussian = isinstance(machine.visible, Gaussian)
    score: Callable = hyvarinen_score if gaussian else pseudo_log_likelihood
    return {
        "pseudo-likelihood": _mean(to_host(score(machine, v[: min(PREDICTED, v.shape[0]), :]))),
        "rebuilding error": _mean(to_host((v - rebuilt) ** 2)),
        "free energy": _mean(to_host(harmonium.free_energy(machine, v))),
    }


def _of_capsules(training: RoutedTraining, X: Rows) -> Measures:
    model = training.model
    x = model.inputs(X)
    c, z = model._route(x)
    on = None if model.n_winners is None else model._winners(z)
    if isinstance(training, CapsuleTraining):
        rebuilt = mix(x, model.W_, c, on=on).x_in
    else:
        rebuilt = neuron_mix(x, model.W_, c, model.a_, model.b_, **model._kind, on=on, z=z).v_model
    to_host = model._backend.to_host
    return {
        "rebuilding error": relative_error(to_host(x), to_host(rebuilt)),
        "free energy": -_mean(model.score_samples(X)),
    }


def _mean(values: np.ndarray) -> float:
    return float(np.mean(values, dtype=np.float64))
