"""The restricted Boltzmann machine against loops and all of its states."""

import itertools

import numpy as np
import pytest

from capsnp.errors import DtypeError, ShapeError
from capsnp.functional import (
    rbm_cd_gradient,
    rbm_energy,
    rbm_free_energy,
    rbm_hidden_probability,
    rbm_visible_probability,
)

I, J = 4, 3
V = np.asarray(list(itertools.product((0.0, 1.0), repeat=I)))
H = np.asarray(list(itertools.product((0.0, 1.0), repeat=J)))


@pytest.fixture
def weights(rng):
    """w (I, J), b (I,), c (J,)."""
    return rng.standard_normal((I, J)), rng.standard_normal(I), rng.standard_normal(J)


def energies_by_loops(w, b, c):
    """(1) of every visible and every hidden state."""
    table = np.zeros((len(V), len(H)))
    for (n, v), (m, h) in itertools.product(enumerate(V), enumerate(H)):
        for i in range(I):
            table[n, m] -= b[i] * v[i]
            for j in range(J):
                table[n, m] -= w[i, j] * v[i] * h[j]
        for j in range(J):
            table[n, m] -= c[j] * h[j]
    return table


def test_energy_of_every_state(library, weights):
    v = np.repeat(V[:, None, :], len(H), axis=1)
    h = np.repeat(H[None, :, :], len(V), axis=0)
    got = rbm_energy(*map(library.from_host, (v, h, *weights)))
    np.testing.assert_allclose(library.to_host(got), energies_by_loops(*weights), atol=1e-13)


def test_conditionals_are_those_of_the_joint(library, weights):
    w, b, c = weights
    joint = np.exp(-energies_by_loops(*weights))
    hidden = joint @ H / np.sum(joint, axis=1, keepdims=True)
    visible = joint.T @ V / np.sum(joint.T, axis=1, keepdims=True)
    got = rbm_hidden_probability(*map(library.from_host, (V, w, c)))
    np.testing.assert_allclose(library.to_host(got), hidden, rtol=1e-13)
    got = rbm_visible_probability(*map(library.from_host, (H, w, b)))
    np.testing.assert_allclose(library.to_host(got), visible, rtol=1e-13)


def test_free_energy_sums_the_hidden_states_out(library, weights):
    expected = -np.log(np.sum(np.exp(-energies_by_loops(*weights)), axis=1))
    got = rbm_free_energy(*map(library.from_host, (V, *weights)))
    np.testing.assert_allclose(library.to_host(got), expected, rtol=1e-12)


def test_free_energy_of_far_activations(library):
    v, w, b = np.ones((1, 1)), np.asarray([[1e4, -1e4]]), np.zeros(1)
    with np.errstate(over="raise", invalid="raise"):
        got = rbm_free_energy(*map(library.from_host, (v, w, b, np.zeros(2))))
    assert library.to_host(got).tolist() == [-1e4]


def test_any_leading_axes(library, weights):
    """No axis, and two of other lengths than I and J; each example on its own gives the same."""
    w, b, c = weights
    v, h = V[:10].reshape(2, 5, I), np.tile(H, (2, 1))[:10].reshape(2, 5, J)
    for function, host in (
        (rbm_energy, (v, h, w, b, c)),
        (rbm_free_energy, (v, w, b, c)),
        (rbm_hidden_probability, (v, w, c)),
        (rbm_visible_probability, (h, w, b)),
    ):
        n_batched = 2 if function is rbm_energy else 1
        whole = library.to_host(function(*map(library.from_host, host)))
        assert whole.shape[:2] == (2, 5)
        for index in np.ndindex(2, 5):
            alone = [array[index] for array in host[:n_batched]]
            got = function(*map(library.from_host, (*alone, *host[n_batched:])))
            np.testing.assert_allclose(library.to_host(got), whole[index], rtol=1e-13)


def test_gradient_by_loops(library, rng):
    v_data, h_data = rng.random((5, I)), rng.random((5, J))
    v_model, h_model = rng.random((7, I)), rng.random((7, J))
    got = rbm_cd_gradient(*map(library.from_host, (v_data, h_data, v_model, h_model)))
    for i in range(I):
        for j in range(J):
            data = sum(v_data[n, i] * h_data[n, j] for n in range(5)) / 5
            model = sum(v_model[n, i] * h_model[n, j] for n in range(7)) / 7
            assert library.to_host(got.data.w)[i, j] == pytest.approx(data, rel=1e-13)
            assert library.to_host(got.w)[i, j] == pytest.approx(data - model, rel=1e-11)
    for name, data, model in (("b", v_data, v_model), ("c", h_data, h_model)):
        gradient, of_data = getattr(got, name), getattr(got.data, name)
        np.testing.assert_allclose(library.to_host(of_data), data.mean(0), rtol=1e-13)
        np.testing.assert_allclose(
            library.to_host(gradient), data.mean(0) - model.mean(0), rtol=1e-11
        )


def test_gradient_is_that_of_the_exact_log_likelihood(library, weights, rng):
    """(2) with its model term from all states, against central differences of log p."""
    data = V[rng.integers(0, len(V), 6)]

    def log_likelihood(w, b, c):
        sums = np.sum(np.exp(-energies_by_loops(w, b, c)), axis=1)
        index = data @ 2.0 ** np.arange(I)[::-1]
        return np.mean(np.log(sums[index.astype(int)] / np.sum(sums)))

    w, b, c = weights
    joint = np.exp(-energies_by_loops(*weights))
    shares = np.sum(joint, axis=1) / np.sum(joint)
    root = np.sqrt(shares * len(V))[:, None]  # so that the mean of products is weighted by shares
    h_data, h_model = rbm_hidden_probability(data, w, c), rbm_hidden_probability(V, w, c)
    got = rbm_cd_gradient(*map(library.from_host, (data, h_data, root * V, root * h_model)))
    step = 1e-5
    expected = np.zeros_like(w)
    for index in np.ndindex(*w.shape):
        change = np.zeros_like(w)
        change[index] = step
        rise = log_likelihood(w + change, b, c) - log_likelihood(w - change, b, c)
        expected[index] = rise / (2 * step)
    np.testing.assert_allclose(library.to_host(got.w), expected, atol=1e-8)


def test_float32_stays(library, weights):
    v, h, w, b, c = (library.from_host(a, dtype="float32") for a in (V, H, *weights))
    results = [
        rbm_energy(v[:8, :], h, w, b, c),
        rbm_hidden_probability(v, w, c),
        rbm_visible_probability(h, w, b),
        rbm_free_energy(v, w, b, c),
        *rbm_cd_gradient(v[:8, :], h, v[8:, :], h)[:3],
    ]
    for result in results:
        assert library.to_host(result).dtype == np.float32


def test_wrong_arguments_are_named(library, weights):
    v, h, w, b, c = map(library.from_host, (V, H, *weights))
    with pytest.raises(ShapeError, match=r"^v: .* with I = 4 to match w \(4, 3\), got \(8, 3\)$"):
        rbm_hidden_probability(h, w, c)
    with pytest.raises(ShapeError, match=r"^h: .* with J = 3 to match w \(4, 3\), got \(16, 4\)$"):
        rbm_visible_probability(v, w, b)
    with pytest.raises(ShapeError, match=r"^c: expected shape \(J,\) with J = 3 to match w"):
        rbm_free_energy(v, w, b, b)
    with pytest.raises(ShapeError, match=r"^b: expected shape \(I,\) with I = 4 to match w"):
        rbm_visible_probability(h, w, c)
    with pytest.raises(ShapeError, match=r"^w: expected shape \(I, J\), got \(3,\)$"):
        rbm_hidden_probability(v, c, c)
    with pytest.raises(ShapeError, match=r"^h: expected leading axes \(16,\) as v \(16, 4\) has"):
        rbm_energy(v, h, w, b, c)
    with pytest.raises(ShapeError, match=r"^h_model: expected shape \(N, J\) with N = 16"):
        rbm_cd_gradient(v[:8, :], h, v, h)
    with pytest.raises(ShapeError, match=r"^v_data: expected at least one example, got \(0, 4\)$"):
        rbm_cd_gradient(v[:0, :], h[:0, :], v, h)
    with pytest.raises(DtypeError, match=r"^h: expected float32 or float64, got int64$"):
        rbm_visible_probability(library.from_host(H, dtype="int64"), w, b)
