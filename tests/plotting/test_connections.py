import math

import numpy as np
import pytest

from capsnp import plotting
from capsnp.errors import OptionError, ShapeError
from capsnp.plotting.connections import _digits, _flow


@pytest.fixture
def layer(rng):
    """Input capsules, prediction matrices and coefficients of 40 inputs and 5 outputs."""
    x, W = rng.normal(size=(40, 8)), rng.normal(size=(40, 5, 16, 8))
    return x, W, rng.dirichlet(np.ones(40), size=5).T


def weighted_sum(x, W, c, j):
    """z_j by nested loops, and the length of each input's part in it."""
    I, _, D, P = W.shape
    z, parts = np.zeros(D), np.zeros((I, D))
    for i in range(I):
        for d in range(D):
            for p in range(P):
                parts[i, d] += c[i, j] * W[i, j, d, p] * x[i, p]
            z[d] += parts[i, d]
    return z, np.linalg.norm(parts, axis=1)


def test_the_diagram_states_what_the_layer_computes(layer, assert_legible):
    texts = assert_legible(plotting.connection_diagram(*layer, j=2, k=3))
    z, parts = weighted_sum(*layer, 2)
    length = np.linalg.norm(z)
    strongest = np.argsort(-parts)[:3]
    assert f"‖z‖ = {length:.3g} (black)" in texts
    assert f"length {length**2 / (1 + length**2):.3f}\n= chance of being on" in texts
    for i in strongest:
        assert f"input {i}\n‖x‖ = {np.linalg.norm(layer[0][i]):#.2g}" in texts
        assert f"c = {layer[2][i, 2]:#.2g}" in texts
    others = layer[2][:, 2].sum() - layer[2][strongest, 2].sum()
    assert f"the other 37 inputs together, coefficients' sum {others:#.2g}" in texts


def test_the_parts_add_up_to_z_along_the_first_axis(layer):
    flow = _flow(*layer, 4, 6)
    z, _ = weighted_sum(*layer, 4)
    total = flow.terms.sum(axis=0) + flow.others.sum(axis=0)
    np.testing.assert_allclose(total, [np.linalg.norm(z), 0], atol=1e-12)


def test_arrows_keep_their_true_lengths(layer):
    x, W, c = layer
    flow = _flow(x, W, c, 1, 5)
    for n, i in enumerate(flow.inputs):
        assert np.linalg.norm(flow.predictions[n]) == pytest.approx(np.linalg.norm(W[i, 1] @ x[i]))
        assert np.linalg.norm(flow.directions[n]) == pytest.approx(1)


def test_inputs_in_a_plane_keep_their_angles(rng):
    """Two dimensions need no projection: angles between arrows are those between inputs."""
    x, W = rng.normal(size=(4, 2)), rng.normal(size=(4, 1, 3, 2))
    flow = _flow(x, W, np.ones((4, 1)), 0, 4)
    unit = x[flow.inputs] / np.linalg.norm(x[flow.inputs], axis=1, keepdims=True)
    np.testing.assert_allclose(flow.directions @ flow.directions.T, unit @ unit.T, atol=1e-12)


def test_by_default_the_longest_output_is_drawn(layer):
    lengths = [np.linalg.norm(weighted_sum(*layer, j)[0]) for j in range(5)]
    title = plotting.connection_diagram(*layer).get_suptitle()
    assert title == f"How output capsule {np.argmax(lengths)} comes about"


def test_link_widths_are_proportional_to_coefficients(layer):
    figure = plotting.connection_diagram(*layer, j=0, k=2)
    flow = _flow(*layer, 0, 2)
    patches = [p for p in figure.axes[0].patches if p.get_alpha() == 0.8]
    first, second = (patch.get_linewidth() for patch in patches[:2])
    assert math.isclose(first / second, flow.c[0] / flow.c[1], rel_tol=1e-9)


def test_numbers_have_two_digits():
    assert [_digits(v) for v in (0.2, 1.0, 95.2, 0.0064, 0.0, 99.7, 573.4)] == [
        "0.20", "1.0", "95", "0.0064", "0.0", "100", "573",
    ]  # fmt: skip


@pytest.mark.parametrize("change", [0.0, 1.0])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 1, 3, 1), (3, 2, 1, 5)])
def test_small_and_silent_layers_can_be_drawn(shape, change, assert_legible):
    I, J, _, P = shape
    x, c = np.full((I, P), change), np.full((I, J), 0.5)
    assert_legible(plotting.connection_diagram(x, np.ones(shape), c))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": np.zeros((40, 2, 8))}, ShapeError, r"x: expected shape \(I, P\), got"),
        ({"W": np.zeros((40, 5, 16, 4))}, ShapeError, r"W: .* with P = 8 to match x \(40, 8\)"),
        ({"c": np.zeros((40, 4))}, ShapeError, r"c: .* with J = 5 to match W \(40, 5, 16, 8\)"),
        ({"j": 5}, OptionError, "j: expected from 0 to 4, got 5"),
        ({"k": 0}, OptionError, "k: expected a whole number from 1, got 0"),
    ],
)
def test_what_does_not_fit(layer, change, error, message):
    x, W, c = layer
    with pytest.raises(error, match=message):
        plotting.connection_diagram(**{"x": x, "W": W, "c": c, **change})
