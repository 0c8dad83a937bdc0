"""The likelihood of a deep belief network from below, by draws of recognition."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from capsnp.backend import Array
from capsnp.functional.belief import DirectedLayer, log_weight, up_field
from capsnp.functional.harmonium import Harmonium
from capsnp.models._chains import Noise


class BeliefBound(NamedTuple):
    """Lower bounds of a mean log-likelihood, in nats per row.

    Attributes
    ----------
    value : float
        The variational bound, by draws of recognition, with the upper end of log Z.
    stderr : float
        Of the draws.
    tighter : float
        With the logarithm of the mean weight of a row's draws: no lower than `value`, a bound in
        expectation, and equal to the log-likelihood as the draws become many.
    partition : capsnp.evaluation.likelihood.LogPartition
        Of the top machine.
    """

    value: float
    stderr: float
    tighter: float
    partition: Any


def log_weights(
    layers: Sequence[DirectedLayer], top: Harmonium, v: Array, n_draws: int, noise: Noise
) -> np.ndarray:
    """`log_weight` of draws at states of the visible units (B, I): (n_draws, B), in float64."""
    found = []
    for _ in range(n_draws):
        states = [v]
        for layer in layers:
            x = up_field(layer, states[-1])
            states.append(layer.hidden.draw(x, noise.for_states(layer.hidden, tuple(x.shape))))
        weight = noise.backend.to_host(log_weight(layers, top, states))
        found.append(weight.astype("float64"))
    return np.stack(found)


def bound_of(rows: np.ndarray, partition: Any, log_scale: float) -> BeliefBound:
    """Bounds by log weights (n_draws, N).

    Parameters
    ----------
    rows : numpy.ndarray, shape (n_draws, N)
    partition : LogPartition
    log_scale : float
        Logarithm of the volume that standardizing takes from the visible units.
    """
    log_z = max(partition.lower, partition.upper) + log_scale
    each = np.mean(rows, axis=1)  # (n_draws,) means over rows
    stderr = float(np.std(each, ddof=1)) / len(rows) ** 0.5
    peak = np.max(rows, axis=0)
    tighter = np.mean(peak + np.log(np.mean(np.exp(rows - peak), axis=0)))
    return BeliefBound(float(np.mean(each)) - log_z, stderr, float(tighter) - log_z, partition)
