"""Section 2.2: capsules, squash and routing by agreement."""

import cmath
import math
from collections.abc import Callable, Iterator, Sequence
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from capsnp.functional.energy import firing_probability
from capsnp.functional.routing import Agreement, Normalize, forward, predictions, reverse, route
from capsnp.functional.squash import (
    length,
    length_vjp,
    squash,
    squash_vjp,
    unsquash,
    unsquash_vjp,
)
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim

STEP = 1e-30
"""Of complex steps: its square is nothing beside any number here."""

DIGITS = Context(prec=60)

# --- predictions and their weighted sums ------------------------------------------------------

B, D, P = 2, 4, 6
LAYERS = ((5, 3), (3, 5))
"""Numbers I and J of input and output capsules: more of either."""


class Layer(NamedTuple):
    """Arrays for (3)."""

    x: np.ndarray
    """(B, I, P)."""
    W: np.ndarray
    """(I, J, D, P)."""
    c: np.ndarray
    """(I, J) shared, or (B, I, J) of each example."""

    @property
    def c_of(self) -> np.ndarray:
        """Of each example."""
        return np.broadcast_to(self.c, (B, *self.W.shape[:2]))


def layers(lab: Lab, n: int, *, whole: bool = False) -> Iterator[Layer]:
    """Layers of either shape with shared coefficients or each example's own.

    Numbers are Gaussian, or small and whole with coefficients in sixteenths.
    """
    for case in lab.cases(n):
        I, J = LAYERS[case % 2]
        shape_c = (I, J) if case // 2 % 2 else (B, I, J)
        if whole:
            x, W, c = (
                lab.rng.integers(-9, 10, shape).astype(float)
                for shape in ((B, I, P), (I, J, D, P), shape_c)
            )
            yield Layer(x, W, c / 16.0)
        else:
            c = lab.coefficients(*shape_c, axis=-2)
            yield Layer(lab.normal(B, I, P), lab.normal(I, J, D, P), c)


def weighted_sums(layer: Layer) -> np.ndarray:
    """Σ_i c_ij W_ij x_i in nested loops, (B, J, D), in the arithmetic of the arrays."""
    x, W, c = layer.x, layer.W, layer.c_of
    z = np.zeros((B, *W.shape[1:3]), x.dtype)
    for n, j, d in np.ndindex(z.shape):
        for i in range(W.shape[0]):
            for p in range(P):
                z[n, j, d] += c[n, i, j] * W[i, j, d, p] * x[n, i, p]
    return z


def weighted_reverse(y: np.ndarray, layer: Layer) -> np.ndarray:
    """Σ_j c_ij W_ijᵀ y_j in nested loops, (B, I, P)."""
    W, c = layer.W, layer.c_of
    x = np.zeros((B, W.shape[0], P))
    for n, i, p in np.ndindex(x.shape):
        for j in range(W.shape[1]):
            for d in range(D):
                x[n, i, p] += c[n, i, j] * W[i, j, d, p] * y[n, j, d]
    return x


def sizes(layer: Layer) -> Layer:
    """Absolute values, whose sums are what rounding errors are relative to."""
    return Layer(*map(np.abs, layer))


@claim(
    "§2.2",
    "2.2",
    "z_{j|i} = W_ij x_i",
    function=predictions,
    method="nested loops over examples, capsules and their dimensions",
)
def predictions_by_loops(lab: Lab) -> Checks:
    for x, W, _ in layers(lab, 4):
        expected, magnitude = np.zeros((2, B, *W.shape[:3]))
        for n, i, j, d in np.ndindex(expected.shape):
            for p in range(P):
                expected[n, i, j, d] += W[i, j, d, p] * x[n, i, p]
                magnitude[n, i, j, d] += abs(W[i, j, d, p] * x[n, i, p])
        yield lab.near(lab.run(predictions, x, W), expected, magnitude=magnitude, terms=2 * P)


@claim(
    "(3)",
    "2.2",
    "z_j = Σ_i c_ij W_ij x_i",
    function=forward,
    method="nested loops over examples, capsules and their dimensions",
)
def forward_by_loops(lab: Lab) -> Checks:
    for layer in layers(lab, 4):
        yield lab.near(
            lab.run(forward, *layer),
            weighted_sums(layer),
            magnitude=weighted_sums(sizes(layer)),
            terms=2 * max(map(max, LAYERS)) * P,
        )


@claim(
    "(3)",
    "2.2",
    "z_j = Σ_i c_ij W_ij x_i, to the last digit where no rounding is needed",
    function=forward,
    method="exact fractions of whole x and W and c in sixteenths",
)
def forward_in_fractions(lab: Lab) -> Checks:
    for layer in layers(lab, 4, whole=True):
        exact = Layer(*(np.vectorize(Fraction, otypes=[object])(array) for array in layer))
        off = np.max(np.abs(lab.run(forward, *layer) - weighted_sums(exact).astype(float)))
        yield lab.below(off, 0.0, "every sum is a number of sixteenths")


@claim(
    "(3)",
    "2.2",
    "The reverse pass Σ_j c_ij W_ijᵀ x_j, with the same c and W, is the adjoint of (3): "
    "⟨forward(x), y⟩ = ⟨x, reverse(y)⟩",
    function="reverse, forward",
    method="nested loops, and inner products summed without rounding",
)
def reverse_is_adjoint(lab: Lab) -> Checks:
    for layer in layers(lab, 4):
        y = lab.normal(B, layer.W.shape[1], D)
        back = lab.run(reverse, y, layer.W, layer.c)
        terms = 2.0 * max(map(max, LAYERS)) * P
        magnitude = weighted_reverse(np.abs(y), sizes(layer))
        yield lab.near(back, weighted_reverse(y, layer), magnitude=magnitude, terms=terms)
        there = lab.run(forward, *layer)
        yield lab.near(
            math.fsum((there * y).flat),
            math.fsum((layer.x * back).flat),
            magnitude=np.sum(np.abs(layer.x) * magnitude),
            terms=2 * terms,
        )


# --- routing by agreement ---------------------------------------------------------------------

I, J = LAYERS[0]
ROUNDINGS = 2.0 * (I + D + P)
"""Of one weighting, and of one agreement."""


class Routed(NamedTuple):
    """One example, routed by hand."""

    c: np.ndarray
    """(I, J)."""
    z: np.ndarray
    """(J, D)."""
    size: np.ndarray
    """Lengths of what z adds up, (J, 1)."""
    condition: float
    """How many times the roundings of a step the coefficients may be off, relative to them."""


def norm(vector: Sequence[float] | np.ndarray) -> float:
    return math.sqrt(math.fsum(number * number for number in vector))


def squash_formula(z: Sequence[complex] | np.ndarray) -> list[complex]:
    """(4) as printed, for a vector of real or complex numbers."""
    r = cmath.sqrt(sum(number * number for number in z))
    return [r**2 / (1 + r**2) * number / r for number in z]


def route_by_hand(
    x: np.ndarray,
    W: np.ndarray,
    *,
    iterations: int,
    agreement: Agreement,
    normalize: Normalize,
    squashed: bool,
) -> Routed:
    """Routing of one example x (I, P) as section 2.2 tells it, with an unshifted softmax.

    Predictions are compared with z_j, or with squash(z_j). Beside it goes a bound on how a
    rounding of each prediction and each sum grows: a relative error of z_j turns its cosines by as
    much, and inner products with squash(z_j), whose length changes at most twice as fast as that
    of z_j, by up to twice as much times both lengths; an error of the logits changes a softmax by
    up to twice as much.
    """
    u, size = np.zeros((I, J, D)), np.zeros((I, J))
    for i, j in np.ndindex(I, J):
        u[i, j] = [math.fsum(row * x[i]) for row in W[i, j]]
        size[i, j] = norm([math.fsum(abs(row * x[i])) for row in W[i, j]])
    logits, off = np.zeros((I, J)), 0.0
    c, z = weigh(u, logits, normalize)
    for _ in range(iterations - 1):
        each_off = np.zeros((I, J))
        for i, j in np.ndindex(I, J):
            if not np.any(u[i, j]):
                continue  # a zero prediction agrees with nothing
            target = np.array(squash_formula(z[j])).real if squashed else z[j]
            inner = math.fsum(u[i, j] * target)
            z_off = (1.0 + 2.0 * off) * math.fsum(c[:, j] * size[:, j]) / norm(z[j])
            if agreement == "cosine":
                logits[i, j] += inner / (norm(u[i, j]) * norm(target))
                each_off[i, j] = size[i, j] / norm(u[i, j]) + z_off
            else:
                logits[i, j] += inner
                each_off[i, j] = norm(target) * (size[i, j] + 2.0 * norm(u[i, j]) * z_off)
        off += np.max(each_off)
        c, z = weigh(u, logits, normalize)
    return Routed(c, z, np.sum(c * size, axis=0)[:, None], 1.0 + 2.0 * off)


def weigh(u: np.ndarray, logits: np.ndarray, normalize: Normalize) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (I, J), and predictions u (I, J, D) weighed by them (J, D)."""
    weights = [[math.exp(logit) for logit in row] for row in logits]
    c, z = np.zeros((I, J)), np.zeros((J, D))
    for i, j in np.ndindex(I, J):
        others = [row[j] for row in weights] if normalize == "inputs" else weights[i]
        c[i, j] = weights[i][j] / math.fsum(others)
    for j, d in np.ndindex(J, D):
        z[j, d] = math.fsum(c[:, j] * u[:, j, d])
    return c, z


def problem(lab: Lab) -> tuple[np.ndarray, np.ndarray]:
    """x (B, I, P) and W (I, J, D, P) whose predictions are about one long."""
    return lab.normal(B, I, P, scale=0.3), lab.normal(I, J, D, P, scale=0.7)


def routes(
    lab: Lab,
    iterations: int,
    agreement: Agreement,
    normalize: Normalize,
    *,
    squashed: bool,
    block_size: int | None = None,
    zeros: bool = False,
) -> Checks:
    """`route` against routing by hand, example by example.

    With `zeros`, a capsule on either side is zero.
    """
    options: dict[str, Any] = {
        "iterations": iterations,
        "agreement": agreement,
        "normalize": normalize,
    }
    x, W = problem(lab)
    if zeros:
        x[:, 0], W[:, 0] = 0.0, 0.0
    found = lab.run(route, x, W, block_size=block_size, **options)
    for c, z, example in zip(*found, x, strict=True):
        hand = route_by_hand(example, W, squashed=squashed, **options)
        for actual, expected, magnitude in ((c, hand.c, hand.c), (z, hand.z, hand.size)):
            yield lab.near(
                actual,
                expected,
                magnitude=magnitude,
                terms=ROUNDINGS,
                condition=hand.condition,
            )


BY_HAND = "scalar loops over one example at a time, softmax without a shift"


@claim(
    "§2.2",
    "2.2",
    "With one iteration all coefficients over inputs are 1/I, whatever the agreement",
    function=route,
    method=BY_HAND,
)
def route_once_over_inputs(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        yield from routes(lab, 1, "cosine", "inputs", squashed=False)
        yield from routes(lab, 1, "dot", "inputs", squashed=True)


@claim(
    "§2.2",
    "2.2",
    "With one iteration all coefficients over outputs are 1/J, whatever the agreement",
    function=route,
    method=BY_HAND,
)
def route_once_over_outputs(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        yield from routes(lab, 1, "cosine", "outputs", squashed=False)
        yield from routes(lab, 1, "dot", "outputs", squashed=True)


@claim(
    "§2.2",
    "2.2",
    "Routing by cosines with coefficients over inputs, the paper's, 2 and 3 iterations",
    function=route,
    method=BY_HAND,
)
def route_by_cosine_over_inputs(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        yield from routes(lab, 2, "cosine", "inputs", squashed=False)
        yield from routes(lab, 3, "cosine", "inputs", squashed=False)


@claim(
    "§2.2",
    "2.2",
    "Routing by cosines with coefficients over outputs, 2 and 3 iterations",
    function=route,
    method=BY_HAND,
)
def route_by_cosine_over_outputs(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        yield from routes(lab, 2, "cosine", "outputs", squashed=False)
        yield from routes(lab, 3, "cosine", "outputs", squashed=False)


@claim(
    "§2.2",
    "2.2",
    "Routing by inner products with squash(z_j) and coefficients over inputs, 2 and 3 iterations",
    function=route,
    method=BY_HAND,
)
def route_by_dot_over_inputs(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        yield from routes(lab, 2, "dot", "inputs", squashed=True)
        yield from routes(lab, 3, "dot", "inputs", squashed=True)


@claim(
    "§2.2",
    "2.2",
    "Routing by inner products with squash(z_j) and coefficients over outputs (Sabour et al. "
    "2017), 2 and 3 iterations",
    function=route,
    method=BY_HAND,
)
def route_by_dot_over_outputs(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        yield from routes(lab, 2, "dot", "outputs", squashed=True)
        yield from routes(lab, 3, "dot", "outputs", squashed=True)


@claim(
    "§2.2",
    "2.2",
    "For cosines squashing can be left to the end, outside the loop; for inner products it cannot",
    function=route,
    method="routing by hand with squash inside the loop, and without",
)
def squash_outside_the_loop(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        yield from routes(lab, 3, "cosine", "inputs", squashed=True)
        x, W = problem(lab)
        with_it, without = (
            route_by_hand(
                x[0], W, iterations=3, agreement="dot", normalize="inputs", squashed=squashed
            )
            for squashed in (True, False)
        )
        yield lab.true(np.max(np.abs(with_it.c - without.c)) > 0.01, "the inner products differ")


@claim(
    "§2.2",
    "2.2",
    "The cosine with a zero vector is 0: capsules that are zero are routed like any other",
    function=route,
    method=BY_HAND,
)
def route_zero_capsules(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        yield from routes(lab, 3, "cosine", "inputs", squashed=False, zeros=True)
        yield from routes(lab, 3, "cosine", "outputs", squashed=False, zeros=True)


@claim(
    "§2.2",
    "2.2",
    "Routing a few output capsules, or a few examples, at a time changes nothing",
    function=route,
    method=BY_HAND,
)
def route_in_blocks(lab: Lab) -> Checks:
    for _ in lab.cases(1):
        yield from routes(lab, 3, "dot", "inputs", squashed=True, block_size=1)
        yield from routes(lab, 3, "cosine", "outputs", squashed=False, block_size=1)


@claim(
    "§2.2",
    "2.2",
    "No example's routing depends on the other examples of its batch",
    function=route,
    method="the others replaced by others a thousand times longer",
)
def routing_of_each_example_alone(lab: Lab) -> Checks:
    for _ in lab.cases(2):
        x, W = problem(lab)
        among_others = x.copy()
        among_others[1:] = lab.normal(B - 1, I, P, scale=300.0)
        for agreement, normalize in (("cosine", "inputs"), ("dot", "outputs")):
            options: dict[str, Any] = {
                "iterations": 3,
                "agreement": agreement,
                "normalize": normalize,
            }
            hand = route_by_hand(x[0], W, squashed=agreement == "dot", **options)
            before, after = (lab.run(route, batch, W, **options) for batch in (x, among_others))
            for actual, expected, magnitude in zip(after, before, (hand.c, hand.size), strict=True):
                yield lab.near(
                    actual[0],
                    expected[0],
                    magnitude=magnitude,
                    terms=ROUNDINGS,
                    condition=hand.condition,
                )


@claim(
    "§2.2",
    "2.2",
    "Σ_i c_ij = 1 and c_ij ≥ 0, the formula: each output capsule weighs all inputs",
    function=route,
    method="sums over inputs",
)
def coefficients_sum_over_inputs(lab: Lab) -> Checks:
    for agreement in ("cosine", "dot"):
        for _ in lab.cases(1):
            for iterations in (1, 2, 3):
                c, _ = lab.run(
                    route,
                    *problem(lab),
                    iterations=iterations,
                    agreement=agreement,
                    normalize="inputs",
                )
                yield lab.true(c >= 0.0, "not negative")
                yield lab.near(np.sum(c, axis=1), np.ones((B, J)), terms=2 * I)


@claim(
    "§2.2",
    "2.2",
    "Each lower capsule makes a finite amount of predictions: Σ_j c_ij = 1, the words; printed "
    "is Σ_i c_ij = 1, with which it makes any amount up to J",
    function=route,
    method="sums over outputs",
    kind="corrected",
)
def coefficients_sum_over_outputs(lab: Lab) -> Checks:
    for agreement in ("cosine", "dot"):
        for _ in lab.cases(1):
            x, W = problem(lab)
            for iterations in (1, 2, 3):
                options = {"iterations": iterations, "agreement": agreement}
                c, _ = lab.run(route, x, W, normalize="outputs", **options)
                yield lab.true(c >= 0.0, "not negative")
                yield lab.near(np.sum(c, axis=2), np.ones((B, I)), terms=2 * J)
                as_printed, _ = lab.run(route, x, W, normalize="inputs", **options)
                yield lab.printed_fails(np.sum(as_printed, axis=2), np.ones((B, I)))


# --- squash -----------------------------------------------------------------------------------

VECTORS = 6


def sized_vectors(lab: Lab, decades: float) -> np.ndarray:
    """Gaussian vectors (VECTORS, D), shorter and longer by up to some powers of ten."""
    scale = 10.0 ** lab.rng.uniform(-decades, decades, (VECTORS, 1))
    return lab.round(scale * lab.rng.standard_normal((VECTORS, D)))


def lengths(vectors: np.ndarray) -> np.ndarray:
    """(..., 1)."""
    return np.sqrt(np.sum(vectors**2, axis=-1, keepdims=True))


@claim(
    "(4)",
    "2.2",
    "squash(z) has the direction of z and the length ‖z‖²/(1 + ‖z‖²)",
    function=squash,
    method="scalar arithmetic, one vector at a time",
)
def squash_by_scalars(lab: Lab) -> Checks:
    for _ in lab.cases(10):
        z = sized_vectors(lab, 3.0)
        expected = np.array([squash_formula(vector) for vector in z]).real
        yield lab.near(lab.run(squash, z), expected, magnitude=lengths(expected), terms=24)


@claim(
    "(4)",
    "2.2",
    "squash turns with its argument: squash(Rz) = R squash(z) for every rotation R",
    function=squash,
    method="random rotations of arguments and of results",
)
def squash_turns_with_its_argument(lab: Lab) -> Checks:
    for _ in lab.cases(10):
        z = sized_vectors(lab, 3.0)
        R, _ = np.linalg.qr(lab.rng.standard_normal((D, D)))
        turned = lab.run(squash, z) @ R.T
        actual = lab.run(squash, lab.round(z @ R.T))
        yield lab.near(actual, turned, magnitude=lengths(turned), terms=24 + 4 * D)


def jacobian(function: Callable[[np.ndarray], Sequence[complex]], at: np.ndarray) -> np.ndarray:
    """∂ function_k / ∂ at_d as [k, d], by one complex step for each d."""
    columns = []
    for d in range(len(at)):
        beside = at.astype(complex)
        beside[d] += 1j * STEP
        columns.append(np.imag(function(beside)) / STEP)
    return np.array(columns).T


def vjp_check(
    lab: Lab,
    vjp: Callable,
    formula: Callable[[np.ndarray], Sequence[complex]],
    at: np.ndarray,
    *,
    condition: float = 1.0,
) -> Checks:
    """A vector-Jacobian product against the formula's Jacobian; errors are relative to its norm."""
    g = lab.normal(*at.shape)
    expected, magnitude = np.zeros_like(at), np.zeros((len(at), 1))
    for n, vector in enumerate(at):
        derivative = jacobian(formula, vector)
        expected[n] = g[n] @ derivative
        magnitude[n] = np.linalg.norm(derivative, 2) * norm(g[n])
    actual = lab.run(vjp, at, g)
    yield lab.near(actual, expected, magnitude=magnitude, terms=40, condition=condition)


@claim(
    "(4)",
    "2.2",
    "The Jacobian of squash times a vector, and 0 at z = 0",
    function=squash_vjp,
    method="complex steps through (4), component by component",
)
def squash_jacobian_by_complex_step(lab: Lab) -> Checks:
    for _ in lab.cases(5):
        yield from vjp_check(lab, squash_vjp, squash_formula, sized_vectors(lab, 3.0))
        g = lab.normal(VECTORS, D)
        yield lab.true(lab.run(squash_vjp, np.zeros_like(g), g) == 0.0, "0 at z = 0")


@claim(
    "(4)",
    "2.2",
    "The gradient of g‖z‖ is g z/‖z‖, and 0 at z = 0",
    function=length_vjp,
    method="complex steps through √(Σ_d z_d²)",
)
def length_gradient_by_complex_step(lab: Lab) -> Checks:
    for _ in lab.cases(5):
        z, g = sized_vectors(lab, 3.0), lab.normal(VECTORS)
        expected = np.zeros_like(z)
        for n, vector in enumerate(z):
            expected[n] = g[n] * jacobian(lambda at: [cmath.sqrt(sum(at * at))], vector)[0]
        actual = lab.run(length_vjp, z, g)
        yield lab.near(actual, expected, magnitude=np.abs(g)[:, None], terms=24)
        at_zero = lab.run(length_vjp, np.zeros_like(z), g)
        yield lab.true(at_zero == 0.0, "0 at z = 0")


# --- the length as a probability --------------------------------------------------------------


@claim(
    "(5)",
    "2.2",
    "‖squash(z)‖ = ‖z‖²/(1 + ‖z‖²) is P(on) in [0, 1), from zero to the largest floats",
    function="squash, length, firing_probability",
    method="exact fractions of the numbers as they are stored",
)
def length_is_a_probability(lab: Lab) -> Checks:
    limits = np.finfo(lab.dtype)
    smallest, largest = (math.log10(float(end)) for end in (limits.tiny, limits.max))
    for _ in lab.cases(2):
        sizes = 10.0 ** np.linspace(smallest, largest - 1.0, 40)[:, None]
        z = lab.round(sizes * lab.uniform(40, D, low=-9.0, high=9.0))
        z[0], z[-1] = 0.0, float(limits.max)
        expected = np.zeros(len(z))
        for n, vector in enumerate(z):
            square = sum(Fraction(number) ** 2 for number in vector)
            expected[n] = float(square / (1 + square))
        capsule_length = lab.run(length, lab.run(squash, z))
        probability = lab.run(firing_probability, z)
        for actual in (capsule_length, probability):
            yield lab.near(actual, expected, magnitude=expected, terms=24)
            yield lab.true((actual >= 0.0) & (actual < 1.0), "in [0, 1)")


# --- unsquash ---------------------------------------------------------------------------------


@claim(
    "(6)",
    "2.2",
    "unsquash(x) has the direction of x and the length √(‖x‖/(1 − ‖x‖)), up to the unit sphere",
    function=unsquash,
    method="decimal arithmetic with 60 digits",
)
def unsquash_in_decimals(lab: Lab) -> Checks:
    for _ in lab.cases(5):
        gap = 10.0 ** lab.rng.uniform(math.log10(16 * lab.eps), -0.01, (VECTORS, 1))
        direction = lab.rng.standard_normal((VECTORS, D))
        x = lab.round((1.0 - gap) * direction / lengths(direction))
        expected = np.zeros_like(x)
        with localcontext(DIGITS):
            for n, vector in enumerate(x.tolist()):
                exact = [Decimal(number) for number in vector]
                t = sum((number**2 for number in exact), Decimal(0)).sqrt()
                expected[n] = [float((t / (1 - t)).sqrt() * number / t) for number in exact]
        yield lab.near(lab.run(unsquash, x), expected, magnitude=lengths(expected), terms=24)


@claim(
    "(6)",
    "2.2",
    "unsquash(squash(z)) = z; a relative error of squash(z) is magnified by 1/(2 − 2‖squash(z)‖) "
    "= (1 + ‖z‖²)/2",
    function="unsquash, squash",
    method="the identity on vectors of all lengths that squash does not shorten to below 1",
)
def unsquash_of_squash(lab: Lab) -> Checks:
    for _ in lab.cases(10):
        z = sized_vectors(lab, 2.0)
        magnified = 1.0 + (1.0 + lengths(z) ** 2) / 2.0
        actual = lab.run(unsquash, lab.run(squash, z))
        yield lab.near(actual, z, magnitude=lengths(z) * magnified, terms=24)


@claim(
    "(6)",
    "2.2",
    "squash(unsquash(x)) = x in the unit ball",
    function="squash, unsquash",
    method="the identity on vectors in the ball and next to its surface",
)
def squash_of_unsquash(lab: Lab) -> Checks:
    for _ in lab.cases(10):
        x = lab.in_balls(VECTORS, D)
        x[0] = lab.round(x[0] / norm(x[0]) * (1.0 - 16 * lab.eps))
        actual = lab.run(squash, lab.run(unsquash, x))
        yield lab.near(actual, x, magnitude=lengths(x), terms=32)


def unsquash_formula(x: Sequence[complex] | np.ndarray) -> list[complex]:
    """(6) as printed."""
    t = cmath.sqrt(sum(number * number for number in x))
    return [cmath.sqrt(t / (1 - t)) * number / t for number in x]


@claim(
    "(6)",
    "2.2",
    "The Jacobian of unsquash times a vector",
    function=unsquash_vjp,
    method="complex steps through (6), component by component",
)
def unsquash_jacobian_by_complex_step(lab: Lab) -> Checks:
    for _ in lab.cases(5):
        x = lab.in_balls(VECTORS, D, longest=0.9)
        yield from vjp_check(lab, unsquash_vjp, unsquash_formula, x, condition=1 / (1 - 0.9))
