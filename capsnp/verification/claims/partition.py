"""Beyond the paper: log Z of bipartite machines, listed and annealed.

Problems are machines of a few Bernoulli units, whose parameters a fraction holds exactly or whose
paths are few enough to be followed one by one.
"""

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from capsnp.backend import Array
from capsnp.evaluation.likelihood import bennett, effective_sample_size, exact_log_partition
from capsnp.evaluation.likelihood.annealing import anneal_down, anneal_up
from capsnp.evaluation.likelihood.paths import path_of
from capsnp.functional import neuron_machine
from capsnp.functional.harmonium import Harmonium, free_energy, independent
from capsnp.functional.units import Units
from capsnp.verification.claims import neurons
from capsnp.verification.claims._by_hand import all_states
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim

I, J = 3, 2
BETAS = (0.0, 0.4, 1.0)


def machines(lab: Lab, n: int) -> Iterator[tuple[np.ndarray, ...]]:
    """w (I, J), b (I,), c (J,) and the biases (I,) of a base."""
    for _ in lab.cases(n):
        yield lab.normal(I, J), lab.normal(I), lab.normal(J), lab.normal(I)


class Written:
    """Noise that makes Bernoulli units what is written, as close to their chances as this tells."""

    def __init__(self, lab: Lab, *noise: np.ndarray) -> None:
        self._noise = iter([lab.backend.asarray(each, dtype=lab.dtype) for each in noise])

    def __call__(self, units: Units, shape: tuple[int, ...]) -> Array:  # noqa: ARG002
        return next(self._noise)


def just(states: np.ndarray, fields: np.ndarray) -> np.ndarray:
    """Noise with which units in fields (N, K) are just on or just off: a thousandth from it."""
    on = 1.0 / (1.0 + np.exp(-fields))
    return np.where(states == 1.0, 0.999 * on, on + 0.001 * (1.0 - on))


def sum_over_states(w: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    """log Σ e^{−E}: energies exact, one term after the other."""
    w, b, c = (np.vectorize(Fraction, otypes=[object])(part) for part in (w, b, c))
    terms = []
    for v in itertools.product((0, 1), repeat=len(b)):
        for h in itertools.product((0, 1), repeat=len(c)):
            pairs = ((i, j) for i in range(len(b)) for j in range(len(c)) if v[i] and h[j])
            score = sum((w[pair] for pair in pairs), Fraction(0))
            score += sum(b_i for b_i, on in zip(b, v, strict=True) if on)
            score += sum(c_j for c_j, on in zip(c, h, strict=True) if on)
            terms.append(math.exp(score))
    return math.log(math.fsum(terms))


def chance(states: np.ndarray, fields: np.ndarray) -> np.ndarray:
    """Probability of binary states (N, K) in fields (N, K)."""
    on = 1.0 / (1.0 + np.exp(-fields))
    return np.prod(np.where(states == 1.0, on, 1.0 - on), axis=-1)


@claim(
    "log Z",
    "likelihood",
    "log Z = log Σ_h e^{−F(h)}, by blocks of states of the smaller layer",
    function=exact_log_partition,
    method="energies of all pairs of states as fractions, one term after the other",
)
def log_z_by_fractions(lab: Lab) -> Checks:
    for shape in ((3, 4), (5, 2), (2, 2)):
        for _ in lab.cases(2):
            w, b, c = lab.normal(*shape), lab.normal(shape[0]), lab.normal(shape[1])
            machine = Harmonium(*(lab.backend.asarray(x, dtype=lab.dtype) for x in (w, b, c)))
            found = exact_log_partition(machine).value
            largest = 1.0 + sum(float(np.sum(np.abs(part))) for part in (w, b, c))
            yield lab.near(found, sum_over_states(w, b, c), magnitude=largest, terms=32)


@claim(
    "log Z",
    "likelihood",
    "neurons with frozen c, centred or not, are a bipartite machine with weights c_ij W_ij and "
    "have its log Z",
    function=neuron_machine,
    method="energies of the neurons in nested loops, all pairs of states listed",
)
def neurons_are_a_machine_by_states(lab: Lab) -> Checks:
    for layer in neurons.layers(lab, 3):
        for offset in (0.0, 0.5):
            mu = lab.uniform(*layer.b.shape) if offset else np.zeros(layer.b.shape)

            def free_energies(v: Array, *parts: Array, offset: float = offset) -> Array:
                *parameters, mu = parts
                return free_energy(neuron_machine(*parameters, offset=offset, visible_offset=mu), v)

            free = lab.run(free_energies, neurons.V, *layer, mu)
            here = [lab.backend.asarray(x, dtype=lab.dtype) for x in (*layer, mu)]
            machine = neuron_machine(*here[:4], offset=offset, visible_offset=here[4])
            found = -free - exact_log_partition(machine).value
            table = [
                [neurons.minus_energy(v - mu.ravel(), h - offset, layer).real for h in neurons.H]
                for v in neurons.V
            ]
            sums = np.sum(np.exp(table), axis=1)
            expected = np.log(sums / math.fsum(sums))
            yield lab.near(found, expected, magnitude=2.0 * layer.largest, terms=neurons.ROUNDINGS)


def _path(lab: Lab, *parameters: np.ndarray) -> Any:
    w, b, c, b0 = (lab.backend.asarray(x, dtype=lab.dtype) for x in parameters)
    machine = Harmonium(w, b, c)
    return path_of(machine, independent(machine, b0))


def _all_paths() -> list[np.ndarray]:
    """v, h, v of every path with one step, (N, I), (N, J), (N, I)."""
    paths = np.concatenate(
        [
            np.repeat(all_states(I), 2 ** (I + J), axis=0),
            np.tile(all_states(I + J), (2**I, 1)),
        ],
        axis=1,
    )
    return np.split(paths, [I, I + J], axis=1)


@claim(
    "AIS",
    "likelihood",
    "chains up have E[w] = Z / Z_0, for any temperatures",
    function=anneal_up,
    method="every path followed, and its probability by hand",
)
def weights_of_all_paths_up(lab: Lab) -> Checks:
    v0, h, v1 = _all_paths()
    betas, beta = np.asarray(BETAS), BETAS[1]
    for w, b, c, b0 in machines(lab, 3):
        steps = (
            (v0, b0 + 0.0 * v0),
            (h, beta * (v0 @ w + c)),
            (v1, beta * (h @ w.T + b) + (1.0 - beta) * b0),
        )
        last = (np.zeros_like(h), np.zeros_like(v0))  # no weight depends on the last step
        noise = Written(lab, *(just(*step) for step in steps), *last)
        up = anneal_up(_path(lab, w, b, c, b0), betas, len(v0), noise)
        likely = np.prod([chance(*step) for step in steps], axis=0)
        ratio = math.exp(sum_over_states(w, b, c)) / (2.0**J * np.prod(1.0 + np.exp(b0)))
        mean = math.fsum(likely * np.exp(up.log_weights))
        largest = 1.0 + sum(float(np.sum(np.abs(part))) for part in (w, b, c, b0))
        yield lab.near(mean, ratio, terms=32, condition=largest)


@claim(
    "reverse AIS",
    "likelihood",
    "chains down from samples of the machine have E[1/w] = Z_0 / Z",
    function=anneal_down,
    method="every path followed, and its probability by hand",
)
def weights_of_all_paths_down(lab: Lab) -> Checks:
    start, h, v = _all_paths()
    betas = np.asarray([0.0, 1.0])
    for w, b, c, b0 in machines(lab, 3):
        there = lab.backend.asarray(start, dtype=lab.dtype)
        steps = (h, start @ w + c), (v, h @ w.T + b)
        noise = Written(lab, *(just(*step) for step in steps))
        down = anneal_down(_path(lab, w, b, c, b0), betas, there, noise)
        log_z = sum_over_states(w, b, c)
        score = start @ b + np.sum(np.log1p(np.exp(start @ w + c)), axis=1)
        likely = np.exp(score - log_z) * np.prod([chance(*step) for step in steps], axis=0)
        ratio = math.exp(-log_z) * 2.0**J * np.prod(1.0 + np.exp(b0))
        mean = math.fsum(likely * np.exp(-down.log_weights))
        largest = 1.0 + sum(float(np.sum(np.abs(part))) for part in (w, b, c, b0))
        yield lab.near(mean, ratio, terms=32, condition=largest)


@claim(
    "Bennett",
    "likelihood",
    "with as many samples as probability says, Bennett's ratio is Z_B / Z_A",
    function=bennett,
    method="two distributions over a hundred balls, each state as often as it is likely",
)
def bennett_of_counts(lab: Lab) -> Checks:
    for _ in lab.cases(5):
        a = 1 + lab.rng.multinomial(94, [0.1, 0.3, 0.2, 0.25, 0.1, 0.05])
        b = 1 + lab.rng.multinomial(94, [0.3, 0.1, 0.2, 0.05, 0.1, 0.25])
        shift = float(lab.normal())
        log_ratio = np.log(b / a) + shift  # f_A = a/100, f_B = e^shift b/100
        found = bennett(np.repeat(log_ratio, a), np.repeat(log_ratio, b))
        yield lab.below(abs(found.value - shift), 1e-10, "of the root's search")


@claim(
    "ESS",
    "likelihood",
    "ESS = (Σ w)² / Σ w²",
    function=effective_sample_size,
    method="fractions",
)
def effective_sample_size_by_fractions(lab: Lab) -> Checks:
    for _ in lab.cases(5):
        counts = [int(n) for n in lab.rng.integers(1, 50, 8)]
        expected = Fraction(sum(counts) ** 2, sum(n * n for n in counts))
        found = effective_sample_size(np.log(counts) + float(lab.normal(scale=100.0)))
        yield lab.below(abs(found / float(expected) - 1.0), 1e-12, "of logarithms of some hundred")
