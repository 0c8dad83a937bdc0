"""Beyond the paper: codes that settle, by mirror descent with squash as the mirror map."""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy.optimize

from capsnp.functional.settling import (
    settle,
    settling_gradient,
    settling_objective,
    settling_residual,
)
from capsnp.functional.winners import winners
from capsnp.verification.claims._by_hand import inner, slopes
from capsnp.verification.claims.potentials import LARGEST_SLOPE
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Check, Checks, claim

B, J, I, P, D = 3, 3, 4, 3, 2

ENOUGH = {"max_iter": 300, "momentum": 0.7}
"""Steps until only rounding is left: each takes √0.7 of the distance here."""

TERMS = 2.0 * I * P + J * D + 16.0
"""Roundings of Vh − VVᵀy − λz and of a squash."""


class Decoding(NamedTuple):
    """Features, decoding maps, coefficients, and V = eU of each example as a matrix."""

    h: np.ndarray
    U: np.ndarray
    e: np.ndarray
    V: np.ndarray
    """(..., B, J·D, I·P)."""
    strength: float

    @property
    def pull(self) -> np.ndarray:
        """Vh, (..., B, J·D)."""
        return np.squeeze(self.V @ self.h.reshape(B, I * P, 1), axis=-1)

    @property
    def gram(self) -> np.ndarray:
        """VVᵀ, (..., B, J·D, J·D)."""
        return self.V @ self.V.mT

    @property
    def step(self) -> np.ndarray:
        """That of plain mirror descent, (..., B, 1)."""
        largest = np.linalg.eigvalsh(self.gram)[..., -1:]
        return 1.0 / (LARGEST_SLOPE * largest + self.strength)


def decodings(lab: Lab, n: int = 2) -> Iterator[Decoding]:
    """Random problems, every second with coefficients of its own for each example."""
    for case in lab.cases(n):
        h, U = lab.normal(B, I, P), lab.normal(J, I, P, D, scale=0.7)
        shape = (J, I) if case % 2 == 0 else (B, J, I)
        e, strength = lab.uniform(*shape, low=0.3, high=1.5), (1.0, 0.5)[case % 2]
        yield Decoding(h, U, e, matrices(U, e), strength)


def matrices(U: np.ndarray, e: np.ndarray) -> np.ndarray:
    """V = eU of each example, one number after the other."""
    V = np.zeros((B, J * D, I * P), U.dtype)
    for b, j, i, p, d in itertools.product(*map(range, (B, J, I, P, D))):
        coefficient = e[b, j, i] if e.ndim == 3 else e[j, i]
        V[b, j * D + d, i * P + p] = coefficient * U[j, i, p, d]
    return V


def squashed(z: np.ndarray) -> np.ndarray:
    """Squash of capsules (..., J·D), as r/(1 + r²) times z."""
    capsules = z.reshape(*z.shape[:-1], -1, D)
    r = np.sqrt(np.sum(capsules**2, axis=-1, keepdims=True))
    return (capsules * r / (1 + r**2)).reshape(z.shape)


def potential(y: np.ndarray) -> np.ndarray:
    """Φ of capsules (..., D) by the length r that squash shortens to t = ‖y‖: arctan r − r/(1+r²).

    Legendre's transform t r − Φ*(r) of Φ*(r) = r − arctan r, at its maximum.
    """
    t = np.sqrt(np.sum(y * y, axis=-1))
    r = np.sqrt(t / (1 - t))
    return np.arctan(r) - r / (1 + r * r)


def objective(decoding: Decoding, y: np.ndarray) -> np.ndarray:
    """½‖h − Vᵀy‖² + λ Σ Φ of codes (..., B, J·D)."""
    missing = decoding.h.reshape(B, I * P) - np.squeeze(y[..., None, :] @ decoding.V, axis=-2)
    prior = np.sum(potential(y.reshape(*y.shape[:-1], J, D)), axis=-1)
    return np.sum(missing * missing, axis=-1) / 2 + decoding.strength * prior


def plain_descent(
    decoding: Decoding, start: np.ndarray, on: np.ndarray | float = 1.0
) -> np.ndarray:
    """Codes (..., B, J·D) after 1500 steps of mirror descent without momentum, from z = start."""
    z, step, gram = start * on, decoding.step, decoding.gram
    for _ in range(1500):
        model = np.squeeze(gram @ squashed(z)[..., None], axis=-1)
        z = z + step * (on * (decoding.pull - model) - decoding.strength * z)
    return squashed(z)


def rounding(decoding: Decoding, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """The size (B, J·D) of what is added up in Vh − VVᵀy − λz."""
    size = np.abs(decoding.V)
    rebuilt = np.abs(decoding.h).reshape(B, -1, 1) + size.mT @ np.abs(y).reshape(B, -1, 1)
    return np.squeeze(size @ rebuilt, axis=2) + decoding.strength * np.abs(z).reshape(B, -1)


def at_minimum(
    lab: Lab, decoding: Decoding, y: np.ndarray, z: np.ndarray, others: np.ndarray, rest: float = 0
) -> Check:
    """Codes y = squash(z) are as near to other minima as a gradient that is only rounded to 0 is.

    The objective is convex with modulus λ/L, L the largest slope of squash: codes are apart by at
    most L/λ times their gradients, `rest` of them that of the others.
    """
    apart = np.linalg.norm(y.reshape(B, -1) - others, axis=1)
    noise = np.linalg.norm(rounding(decoding, y, z), axis=1)
    bound = LARGEST_SLOPE / decoding.strength * (TERMS * lab.eps * noise + rest)
    return lab.below(np.max(apart / bound), 1.0, f"{TERMS:g} roundings of the gradient × L/λ")


# --- objective and residual -------------------------------------------------------------------


@claim(
    "settling",
    "settling",
    "settling_objective is ½ Σ_i ‖h_i − Σ_j e_ji U_ji y_j‖² + λ Σ_j Φ(‖y_j‖)",
    function=settling_objective,
    method="nested loops; Φ as the Legendre transform of Φ*",
)
def objective_by_loops(lab: Lab) -> Checks:
    for decoding in decodings(lab):
        y = lab.in_balls(B, J, D, longest=0.9)
        h, U, e, V, strength = decoding
        rebuilt = np.abs(h).reshape(B, -1) + np.squeeze(
            np.abs(y).reshape(B, 1, -1) @ np.abs(V), axis=1
        )
        yield lab.near(
            lab.run(settling_objective, h, U, e, y, strength=strength),
            objective(decoding, y.reshape(B, -1)),
            magnitude=np.sum(rebuilt**2, axis=1) + 3 * J * strength,
            terms=TERMS,
        )


@claim(
    "settling",
    "settling",
    "settling_residual and settle's own are ‖Vh − VVᵀ squash(z) − λz‖ over capsules that are on",
    function=settling_residual,
    method="nested loops; squash as r/(1 + r²) times z",
)
def residual_by_loops(lab: Lab) -> Checks:
    for decoding in decodings(lab):
        h, U, e, V, strength = decoding
        on = lab.bits(B, J)
        settled = lab.run(settle, h, U, e, strength=strength, on=on, max_iter=3)
        z = lab.normal(B, J, D)
        for code, actual in (
            (z, lab.run(settling_residual, h, U, e, z, strength=strength, on=on)),
            (settled.z, settled.residual),
        ):
            gate = np.repeat(on, D, axis=1)
            flat = gate * code.reshape(B, -1)
            y = squashed(flat)
            expected = []
            for b in range(B):
                missing = h[b].reshape(-1).copy()
                for row, column in np.ndindex(*V.shape[1:]):
                    missing[column] -= V[b, row, column] * y[b, row]
                force = [math.fsum(V[b, row] * missing) for row in range(J * D)]
                expected.append(np.linalg.norm(gate[b] * force - strength * flat[b]))
            size = np.linalg.norm(rounding(decoding, y, flat), axis=1)
            yield lab.near(actual, expected, magnitude=size, terms=TERMS)


# --- the settled code -------------------------------------------------------------------------


@claim(
    "settling",
    "settling",
    "The settled code minimises the objective",
    function=settle,
    method="BFGS of SciPy on codes y = u/√(1 + ‖u‖²), gradients by complex steps",
)
def settled_code_by_general_minimiser(lab: Lab) -> Checks:
    for decoding in decodings(lab):
        h, U, e, _, strength = decoding
        settled = lab.run(settle, h, U, e, strength=strength, **ENOUGH)

        def codes(u: np.ndarray) -> np.ndarray:
            capsules = u.reshape(B, J, D)
            square = np.sum(capsules * capsules, axis=-1, keepdims=True)
            return (capsules / np.sqrt(1 + square)).reshape(B, -1)

        def total(u: np.ndarray, decoding=decoding) -> complex:
            return np.sum(objective(decoding, codes(u)))

        def total_of_codes(y: np.ndarray, decoding=decoding) -> complex:
            return np.sum(objective(decoding, y))

        found = scipy.optimize.minimize(
            lambda u, total=total: total(u).real,
            lab.rng.normal(size=B * J * D),
            jac=lambda u, total=total: slopes(total, u),
            method="BFGS",
            options={"gtol": 1e-9},
        )
        others = codes(found.x)
        rest = float(np.linalg.norm(slopes(total_of_codes, others)))
        yield lab.below(rest, 1e-5, "BFGS came to a minimum")
        yield at_minimum(lab, decoding, settled.y, settled.z, others, rest)


@claim(
    "settling",
    "settling",
    "The settled code is unique: every start and every momentum leads to it",
    function=settle,
    method="plain mirror descent in loops from many random starts",
)
def settled_code_from_many_starts(lab: Lab) -> Checks:
    for decoding in decodings(lab):
        h, U, e, _, strength = decoding
        sizes = np.reshape([0.1, 1.0, 10.0, 100.0], (4, 1, 1))
        ends = plain_descent(decoding, sizes * lab.rng.normal(size=(4, B, J * D)))
        for momentum in (0.6, 0.75):
            options = ENOUGH | {"momentum": momentum}
            settled = lab.run(settle, h, U, e, strength=strength, **options)
            for end in ends:
                yield at_minimum(lab, decoding, settled.y, settled.z, end)


@claim(
    "settling",
    "settling",
    "At the end z = (Vh − VVᵀy)/λ and y = squash(z)",
    function=settle,
    method="nested loops for V",
)
def settled_code_solves_its_equation(lab: Lab) -> Checks:
    for decoding in decodings(lab):
        h, U, e, _, strength = decoding
        settled = lab.run(settle, h, U, e, strength=strength, **ENOUGH)
        y, z = settled.y.reshape(B, -1), settled.z.reshape(B, -1)
        yield lab.near(y, squashed(z), magnitude=1.0)
        force = decoding.pull - np.squeeze(decoding.gram @ y[:, :, None], axis=2)
        size = rounding(decoding, y, z) / strength
        yield lab.near(z, force / strength, magnitude=size, terms=TERMS)


@claim(
    "settling",
    "settling",
    "Every code is shorter than 1, however large the features",
    function=settle,
    method="lengths of what is returned, for features up to 10³⁰",
)
def settled_codes_are_short(lab: Lab) -> Checks:
    for decoding in decodings(lab, n=4):
        h = lab.round(decoding.h * 10.0 ** lab.rng.uniform(0, 30, (B, 1, 1)))
        settled = lab.run(settle, h, decoding.U, decoding.e, strength=0.01, max_iter=5)
        lengths = np.linalg.norm(settled.y, axis=-1)
        yield lab.true(lengths < 1, "below 1")
        yield lab.true(np.isfinite(settled.z), "finite before squash")


@claim(
    "settling",
    "settling",
    "A capsule held off is exactly 0, and the others settle as if it were not there",
    function=settle,
    method="plain mirror descent in loops without those capsules",
)
def capsules_held_off(lab: Lab) -> Checks:
    for decoding in decodings(lab):
        h, U, e, _, strength = decoding
        on = np.asarray([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
        settled = lab.run(settle, h, U, e, strength=strength, on=on, **ENOUGH)
        off = on == 0
        yield lab.true((settled.y[off] == 0) & (settled.z[off] == 0), "exactly 0")
        gate = np.repeat(on, D, axis=1)
        alone = plain_descent(decoding, lab.rng.normal(size=(B, J * D)), gate)
        yield at_minimum(lab, decoding, settled.y, settled.z, alone)


@claim(
    "settling",
    "settling",
    "Plain mirror descent never ascends",
    function=settle,
    method="the objective in loops after each step",
)
def plain_descent_never_ascends(lab: Lab) -> Checks:
    for decoding in decodings(lab):
        h, U, e, _, strength = decoding
        before = math.inf * np.ones(B)
        for n_steps in range(8):
            settled = lab.run(settle, h, U, e, strength=strength, max_iter=n_steps, momentum=0.0)
            y, z = settled.y.reshape(B, -1), settled.z
            after = objective(decoding, y)
            noise = TERMS * lab.eps * np.linalg.norm(rounding(decoding, y, z), axis=1)
            ascent = np.max((after - before) / noise, initial=0.0)
            yield lab.below(ascent, 1.0, "rounding of the codes")
            before = after


@claim(
    "settling",
    "settling",
    "Steps are 1/(Lm + λ) with λmax(VVᵀ) ≤ m ≤ 1.1 λmax(VVᵀ)",
    function=settle,
    method="eigenvalues by LAPACK, L = 3√3/8, and one step of settle from 0",
)
def step_by_eigenvalues(lab: Lab) -> Checks:
    for decoding in decodings(lab):
        h, U, e, _, strength = decoding
        z = lab.run(settle, h, U, e, strength=strength, max_iter=1).z.reshape(B, -1)
        pull = decoding.pull
        steps = np.sum(z * pull, axis=1) / np.sum(pull**2, axis=1)
        largest = (1 / steps - strength) / LARGEST_SLOPE
        share = largest / np.linalg.eigvalsh(decoding.gram)[:, -1]
        noise = TERMS * lab.eps
        yield lab.below(np.max(share), 1.1 + noise, "the margin of the power iteration")
        yield lab.below(np.max(1.0 / share), 1.0 + noise, "the power iteration")
        size = steps[:, None] * rounding(decoding, 0 * z, 0 * z)
        yield lab.near(z, steps[:, None] * pull, magnitude=size, terms=TERMS)


@claim(
    "settling",
    "settling",
    "settling_gradient is minus the gradient of the squared error for U, mean over the batch",
    function=settling_gradient,
    method="complex steps through nested loops",
)
def settling_gradient_by_complex_step(lab: Lab) -> Checks:
    for h, U, e, V, _ in decodings(lab):
        y = lab.in_balls(B, J, D)
        flat = y.reshape(B, 1, -1)

        def error(maps: np.ndarray, h=h, e=e, flat=flat) -> complex:
            missing = h.reshape(B, -1) - np.squeeze(flat @ matrices(maps, e), axis=1)
            return np.sum(missing * missing) / B

        rebuilt = np.abs(h).reshape(B, -1) + np.squeeze(np.abs(flat) @ np.abs(V), axis=1)
        magnitude = np.max(e) * np.max(np.abs(y)) * np.max(rebuilt)
        yield lab.near(
            lab.run(settling_gradient, h, U, e, y),
            -slopes(error, U),
            magnitude=2 * magnitude,
            terms=TERMS,
        )


@claim(
    "settling",
    "settling",
    "At settled codes settling_gradient is minus the gradient of twice the settled objective, "
    "although the codes move with U",
    function=settling_gradient,
    method="central differences of the objective at codes that settle anew",
)
def envelope_theorem(lab: Lab) -> Checks:
    for decoding in decodings(lab):
        h, U, e, _, strength = decoding
        direction = lab.rng.normal(size=U.shape)

        widths = np.asarray([2e-3, 1e-3])
        shifts = np.concatenate([widths, -widths])
        moved = decoding._replace(V=np.stack([matrices(U + s * direction, e) for s in shifts]))
        values = np.mean(objective(moved, plain_descent(moved, np.zeros((B, J * D)))), axis=1)
        wide, narrow = (values[:2] - values[2:]) / (2 * widths)
        y = lab.run(settle, h, U, e, strength=strength, **ENOUGH).y
        gradient = lab.run(settling_gradient, h, U, e, y)
        size = inner(np.abs(gradient), np.abs(direction))
        bound = abs(wide - narrow) + TERMS * lab.eps * size
        off = abs(-0.5 * inner(gradient, direction) - narrow)
        yield lab.below(off / bound, 1.0, "difference of two widths, and rounding")


@claim(
    "settling",
    "settling",
    "Coefficients that all examples share give what the same coefficients for each example give",
    function="settle, settling_residual, settling_objective, settling_gradient",
    method="both forms, which take different ways",
)
def shared_and_own_coefficients(lab: Lab) -> Checks:
    for decoding in decodings(lab):
        h, U, e, _, strength = decoding
        if e.ndim == 3:
            continue
        own = np.stack([e] * B)
        z = lab.normal(B, J, D)
        y = squashed(z.reshape(B, -1)).reshape(z.shape)
        rebuilt = float(np.max(rounding(decoding, y, z)))
        for function, code, options in (
            (settling_residual, z, {"strength": strength}),
            (settling_objective, y, {"strength": strength}),
            (settling_gradient, y, {}),
        ):
            first, second = (lab.run(function, h, U, c, code, **options) for c in (e, own))
            yield lab.near(second, first, magnitude=rebuilt * math.sqrt(J * D), terms=TERMS)
        ends = [lab.run(settle, h, U, c, strength=strength, **ENOUGH) for c in (e, own)]
        other = ends[1].y.reshape(B, -1)
        rest = TERMS * lab.eps * float(np.max(rounding(decoding, y, z))) * math.sqrt(J * D)
        yield at_minimum(lab, decoding, ends[0].y, ends[0].z, other, rest)


@claim(
    "settling",
    "settling",
    "winners turns on the k capsules of largest score, ties to the lower index",
    function=winners,
    method="sorting the indices, one example after the other",
)
def winners_by_sorting(lab: Lab) -> Checks:
    for _ in lab.cases(4):
        score = lab.rng.integers(0, 4, (B, 5)).astype(float)
        each = lab.rng.integers(0, 6, (B, 1))
        for k in (0, 2, 5, each):
            expected = np.zeros_like(score)
            for b, row in enumerate(score):
                count = int(each[b, 0]) if k is each else k
                order = sorted(range(5), key=(-row).tolist().__getitem__)
                expected[b, order[:count]] = 1.0
            yield lab.true(lab.run(winners, score, k) == expected, "the mask is exact")
