"""Section 2.1: a whole Gibbs step of a restricted Boltzmann machine leaves p(v) as it is."""

import math
from collections.abc import Callable

import numpy as np

from capsnp.functional.rbm import rbm_hidden_probability, rbm_visible_probability
from capsnp.verification.claims._by_hand import all_states
from capsnp.verification.claims.boltzmann import of_states
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim
from capsnp.verification.stationarity import check_stationarity

V, H = all_states(3), all_states(2)
"""All visible and all hidden states of a small machine."""


@claim(
    "§2.1",
    "2.1",
    "a whole Gibbs step, h given v and v given that h, leaves p(v) as it is; with the biases "
    "turned, as printed, it does not",
    function="rbm_hidden_probability, rbm_visible_probability",
    method="transition matrix by enumeration, p by sums over all states",
)
def gibbs_step_keeps_visible_states(lab: Lab) -> Checks:
    for _ in lab.cases(4):
        w, b, c = lab.normal(3, 2), lab.normal(3), lab.normal(2)
        found, broken = (
            check_stationarity(gibbs_step(lab, w, *biases), log_p_of(w, b, c), V)
            for biases in ((b, c), (-b, -c))
        )
        # probabilities magnify a relative change of w, b and c by at most the largest energy
        largest = 1.0 + float(np.sum(np.abs(w)) + np.sum(np.abs(b)) + np.sum(np.abs(c)))
        terms = 4.0 * (3 + 2) * largest
        yield lab.below(found.distance, terms * lab.eps, f"{terms:.3g} roundings")
        yield lab.true(broken.distance > 1e-3, "with the biases turned p changes")


def log_p_of(w: np.ndarray, b: np.ndarray, c: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """From visible states (N, 3) to log p(v) + log Z, the hidden states added up one by one."""

    def log_p(states: np.ndarray) -> np.ndarray:
        sums = [math.fsum(math.exp(v @ w @ h + v @ b + h @ c) for h in H) for v in states]
        return np.log(sums)

    return log_p


def gibbs_step(lab: Lab, w: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Probabilities of going from one visible state to another, by way of every hidden one."""
    on_h, on_v = lab.run(rbm_hidden_probability, V, w, c), lab.run(rbm_visible_probability, H, w, b)
    return of_states(on_h, H) @ of_states(on_v, V)
