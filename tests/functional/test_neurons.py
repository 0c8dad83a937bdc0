"""Expert neurons against loops, all of their states and the machines that they reduce to."""

import itertools
import math

import numpy as np
import pytest

from capsnp.errors import DomainError, DtypeError, OptionError, ShapeError
from capsnp.functional import (
    NeuronMixing,
    capsule_evidence,
    neuron_energy,
    neuron_free_energy,
    neuron_gradient,
    neuron_hidden_probability,
    neuron_machine,
    neuron_mix,
    neuron_visible_field,
    rbm_energy,
    rbm_free_energy,
    rbm_hidden_probability,
    rbm_visible_probability,
    route,
)
from capsnp.functional.harmonium import energy, free_energy

B, I, J, P, D = 5, 2, 2, 2, 2
V = np.asarray(list(itertools.product((0.0, 1.0), repeat=I * P))).reshape(-1, I, P)
H = np.asarray(list(itertools.product((0.0, 1.0), repeat=J * D))).reshape(-1, J, D)


@pytest.fixture
def layer(rng):
    """W, c (I, J), a, b."""
    W, c = rng.standard_normal((I, J, D, P)), rng.uniform(0.2, 2.0, (I, J))
    return W, c, rng.standard_normal((J, D)), rng.standard_normal((I, P))


def minus_energy(v, h, W, c, a, b, visible="bernoulli"):
    """−E of one example, one term after the other."""
    total = 0.0
    for i, j, d, p in np.ndindex(*W.shape):
        total += c[i, j] * h[j, d] * W[i, j, d, p] * v[i, p]
    for j, d in np.ndindex(*a.shape):
        total += a[j, d] * h[j, d]
    for i, p in np.ndindex(*b.shape):
        total += b[i, p] * v[i, p] if visible == "bernoulli" else -0.5 * (v[i, p] - b[i, p]) ** 2
    return total


def table(W, c, a, b, *, offset=0.0, visible_offset=0.0):
    """e^{−E} of every visible and hidden state, less their offsets, (2^IP, 2^JD)."""
    rows = [[minus_energy(v - visible_offset, h - offset, W, c, a, b) for h in H] for v in V]
    return np.exp(np.asarray(rows))


@pytest.mark.parametrize("visible", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("own", [False, True], ids=["shared c", "own c"])
def test_energy_by_loops(library, layer, rng, visible, own):
    W, c, a, b = layer
    v, h = rng.standard_normal((B, I, P)), rng.standard_normal((B, J, D))
    each = rng.uniform(0.2, 2.0, (B, I, J)) if own else np.broadcast_to(c, (B, I, J))
    want = [-minus_energy(v[n], h[n], W, each[n], a, b, visible) for n in range(B)]
    given = each if own else c
    got = neuron_energy(*map(library.from_host, (v, h, W, given, a, b)), visible=visible)
    np.testing.assert_allclose(library.to_host(got), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_free_energy_sums_the_hidden_states_out(library, layer, offset):
    want = -np.log(np.sum(table(*layer, offset=offset), axis=1))
    got = neuron_free_energy(*map(library.from_host, (V, *layer)), offset=offset)
    np.testing.assert_allclose(library.to_host(got), want, rtol=1e-12)


def test_gaussian_free_energy_sums_the_hidden_states_out(library, layer, rng):
    v = rng.standard_normal((B, I, P))
    want = [
        -math.log(sum(math.exp(minus_energy(one, h, *layer, "gaussian")) for h in H)) for one in v
    ]
    got = neuron_free_energy(*map(library.from_host, (v, *layer)), visible="gaussian")
    np.testing.assert_allclose(library.to_host(got), want, rtol=1e-12)


def test_conditionals_are_those_of_the_joint(library, layer):
    W, c, a, b = layer
    joint = table(*layer)
    hidden = np.tensordot(joint, H, axes=1) / np.sum(joint, axis=1)[:, None, None]
    visible = np.tensordot(joint.T, V, axes=1) / np.sum(joint, axis=0)[:, None, None]
    got = neuron_hidden_probability(*map(library.from_host, (V, W, c, a)))
    np.testing.assert_allclose(library.to_host(got), hidden, rtol=1e-12)
    field = library.to_host(neuron_visible_field(*map(library.from_host, (H, W, c, b))))
    np.testing.assert_allclose(1 / (1 + np.exp(-field)), visible, rtol=1e-12)


def test_gaussian_mean_given_the_hidden_neurons_by_quadrature(library, layer, rng):
    """One visible neuron at a time: e^{−E} of the others fixed, integrated over the real line."""
    W, c, _, b = layer
    h = rng.integers(0, 2, (1, J, D)).astype(float)
    field = library.to_host(neuron_visible_field(*map(library.from_host, (h, W, c, b))))[0]
    nodes, weights = np.polynomial.hermite_e.hermegauss(40)
    for i, p in np.ndindex(I, P):
        v = rng.standard_normal((I, P))
        density = []
        for x in nodes:
            v[i, p] = x + b[i, p]
            density.append(math.exp(minus_energy(v, h[0], *layer, "gaussian") + x * x / 2))
        shares = weights * np.asarray(density) / np.sum(weights * np.asarray(density))
        mean = shares @ (nodes + b[i, p])
        assert field[i, p] == pytest.approx(mean, rel=1e-9)
        assert shares @ (nodes + b[i, p] - mean) ** 2 == pytest.approx(1.0, rel=1e-7)


@pytest.mark.parametrize("visible", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_machine_has_the_energies_of_centred_neurons(library, layer, rng, visible, offset):
    """Up to a constant; term by term at v − μ and h − λ."""
    W, c, a, b = layer
    mu = rng.standard_normal((I, P)) if offset else np.zeros((I, P))
    v = rng.standard_normal((len(H), I, P))
    want = [
        -minus_energy(one - mu, h - offset, W, c, a, b, visible)
        for one, h in zip(v, H, strict=True)
    ]
    options = {"visible_offset": library.from_host(mu)} if offset else {}
    machine = neuron_machine(
        *map(library.from_host, layer), visible=visible, offset=offset, **options
    )
    flat = library.from_host(v.reshape(len(H), -1)), library.from_host(H.reshape(len(H), -1))
    apart = library.to_host(energy(machine, *flat)) - want
    np.testing.assert_allclose(apart, apart[0] if offset else 0.0, atol=1e-12)


def test_machine_has_the_probabilities_of_centred_bits(library, layer, rng):
    mu = rng.uniform(0.0, 1.0, (I, P))
    joint = table(*layer, offset=0.5, visible_offset=mu)
    want = np.log(np.sum(joint, axis=1) / np.sum(joint))
    arrays = map(library.from_host, layer)
    machine = neuron_machine(*arrays, offset=0.5, visible_offset=library.from_host(mu))
    free = library.to_host(free_energy(machine, library.from_host(V.reshape(len(V), -1))))
    np.testing.assert_allclose(-free - math.log(np.sum(np.exp(-free))), want, atol=1e-12)


def test_machine_of_coefficients_for_each_example_is_refused(layer):
    W, c, a, b = layer
    with pytest.raises(ShapeError, match=r"c: expected shape \(I, J\) with I = 2, J = 2"):
        neuron_machine(W, c[None], a, b)
    with pytest.raises(OptionError, match="offset: expected a number"):
        neuron_machine(W, c, a, b, offset=2.0)
    with pytest.raises(ShapeError, match="visible_offset: expected"):
        neuron_machine(W, c, a, b, visible_offset=a[0])


def test_evidence_is_the_log_of_a_capsules_own_states(library, rng):
    field = 3 * rng.standard_normal((B, J, D))
    got = library.to_host(capsule_evidence(library.from_host(field), offset=0.5))
    states = np.asarray(list(itertools.product((-0.5, 0.5), repeat=D)))
    for n, j in np.ndindex(B, J):
        want = math.log(sum(math.exp(field[n, j] @ state) for state in states))
        assert got[n, j] == pytest.approx(want, rel=1e-12)


def test_evidence_of_far_fields(library):
    field = library.from_host(np.asarray([[1e4, -1e4]]))
    with np.errstate(over="raise", invalid="raise"):
        assert library.to_host(capsule_evidence(field, offset=0.5)).tolist() == [1e4]


# --- what it reduces to -----------------------------------------------------------------------


def flat_weights(W):
    """(I·P, J·D), as a Boltzmann machine has them."""
    return W.transpose(0, 3, 1, 2).reshape(I * P, J * D)


def test_equal_coefficients_make_a_boltzmann_machine(library, layer):
    W, _, a, b = layer
    c = np.full((I, J), 0.7)
    w = 0.7 * flat_weights(W)
    v, h = np.repeat(V, len(H), axis=0), np.tile(H, (len(V), 1, 1))
    got = neuron_energy(*map(library.from_host, (v, h, W, c, a, b)))
    host = (v.reshape(-1, I * P), h.reshape(-1, J * D), w, b.ravel(), a.ravel())
    np.testing.assert_allclose(library.to_host(got), rbm_energy(*host), rtol=1e-11, atol=1e-12)
    got = neuron_free_energy(*map(library.from_host, (V, W, c, a, b)))
    want = rbm_free_energy(V.reshape(-1, I * P), w, b.ravel(), a.ravel())
    np.testing.assert_allclose(library.to_host(got), want, rtol=1e-12)
    got = library.to_host(neuron_hidden_probability(*map(library.from_host, (V, W, c, a))))
    want = rbm_hidden_probability(V.reshape(-1, I * P), w, a.ravel())
    np.testing.assert_allclose(got.reshape(-1, J * D), want, rtol=1e-12)
    field = library.to_host(neuron_visible_field(*map(library.from_host, (H, W, c, b))))
    want = rbm_visible_probability(H.reshape(-1, J * D), w, b.ravel())
    np.testing.assert_allclose(1 / (1 + np.exp(-field.reshape(-1, I * P))), want, rtol=1e-12)


def test_one_hot_coefficients_make_separate_boltzmann_machines(library, layer):
    """Each visible capsule speaks to one hidden capsule: p(v) is the product of J machines."""
    W, _, a, b = layer
    c = np.asarray([[0.0, 1.0], [1.0, 0.0]])  # capsule 0 to machine 1, capsule 1 to machine 0
    got = neuron_free_energy(*map(library.from_host, (V, W, c, a, b)))
    want = np.zeros(len(V))
    for i, j in ((0, 1), (1, 0)):
        want += rbm_free_energy(V[:, i], W[i, j].T, b[i], a[j])
    for j in range(J):  # nothing else: no machine sees a neuron that belongs to another
        assert np.count_nonzero(c[:, j]) == 1
    np.testing.assert_allclose(library.to_host(got), want, rtol=1e-12)


# --- mixing and the gradient ------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("own", [False, True], ids=["shared c", "own c"])
def test_mixing_of_means_by_loops(library, layer, rng, own):
    W, c, a, b = layer
    v, mu = rng.random((B, I, P)) - 0.4, np.full((I, P), 0.4)
    each = rng.uniform(0.2, 2.0, (B, I, J)) if own else np.broadcast_to(c, (B, I, J))
    got = neuron_mix(
        *map(library.from_host, (v, W, each if own else c, a, b)),
        steps=2,
        offset=0.5,
        visible_offset=library.from_host(mu),
    )
    for n in range(B):
        M = (each[n][:, :, None, None] * W).transpose(1, 2, 0, 3).reshape(J * D, I * P)
        h = first = sigmoid(M @ v[n].ravel() + a.ravel()) - 0.5
        for _ in range(2):
            back = sigmoid(M.T @ h + b.ravel()) - 0.4
            h = sigmoid(M @ back + a.ravel()) - 0.5
        for found, want in zip(got, (first, back, h), strict=True):
            np.testing.assert_allclose(library.to_host(found)[n].ravel(), want, rtol=1e-11)


def test_noise_draws_both_layers(library, layer, rng):
    """Neurons are on as often as they should be, and normal numbers are added to Gaussian ones."""
    W, c, a, b = layer
    n = 4000
    v = np.repeat(V[5:6], n, axis=0)
    up, down = rng.random((1, n, J, D)), rng.random((1, n, I, P))
    arrays = [*map(library.from_host, (v, W, c, a, b))]
    got = neuron_mix(
        *arrays, hidden_noise=library.from_host(up), visible_noise=library.from_host(down)
    )
    drawn = library.to_host(got.v_model)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    joint = table(*layer)
    given_v = joint[5] / joint[5].sum()
    given_h = np.tensordot((joint / joint.sum(axis=0)).T, V, axes=1)  # E[v | h], (2^JD, I, P)
    want = np.tensordot(given_v, given_h, axes=1)
    np.testing.assert_allclose(drawn.mean(axis=0), want, atol=5 * 0.5 / math.sqrt(n))
    normal = rng.standard_normal((1, n, I, P))
    kind = {"visible": "gaussian", "hidden_noise": library.from_host(up)}
    still = neuron_mix(*arrays, **kind).v_model
    moved = neuron_mix(*arrays, **kind, visible_noise=library.from_host(normal)).v_model
    found = library.to_host(moved) - library.to_host(still)
    np.testing.assert_allclose(found, normal[0], atol=1e-12)


def test_capsules_held_off_say_nothing(library, layer, rng):
    W, c, a, b = layer
    v, on = rng.random((B, I, P)), np.asarray([[1, 0]] * B)
    got = neuron_mix(*map(library.from_host, (v, W, c, a, b)), offset=0.5, on=library.from_host(on))
    alone = neuron_mix(*map(library.from_host, (v, W[:, :1], c[:, :1], a[:1], b)), offset=0.5)
    np.testing.assert_allclose(
        library.to_host(got.v_model), library.to_host(alone.v_model), rtol=1e-12
    )
    assert np.all(library.to_host(got.h)[:, 1] == 0)
    assert np.all(library.to_host(got.h_model)[:, 1] == 0)


def test_sums_that_routing_has_are_taken(library, layer, rng):
    W, _, a, b = layer
    v = rng.standard_normal((B, I, P))
    host = [*map(library.from_host, (v, W))]
    c, z = route(*host)
    biases = [*map(library.from_host, (a, b))]
    for one, other in zip(
        neuron_mix(*host, c, *biases, visible="gaussian", z=z),
        neuron_mix(*host, c, *biases, visible="gaussian"),
        strict=True,
    ):
        np.testing.assert_allclose(library.to_host(one), library.to_host(other), rtol=1e-9)


@pytest.mark.parametrize("own", [False, True], ids=["shared c", "own c"])
def test_gradient_by_loops(library, layer, rng, own):
    W, c, _, _ = layer
    each = rng.uniform(0.2, 2.0, (B, I, J)) if own else np.broadcast_to(c, (B, I, J))
    v, v_model = rng.standard_normal((2, B, I, P))
    h, h_model = rng.random((2, B, J, D))
    mixing = NeuronMixing(*map(library.from_host, (h, v_model, h_model)))
    got = neuron_gradient(
        library.from_host(v), mixing, *map(library.from_host, (W, each if own else c))
    )
    want = np.zeros(W.shape)
    for n, i, j, d, p in np.ndindex(B, *W.shape):
        pair = h[n, j, d] * v[n, i, p] - h_model[n, j, d] * v_model[n, i, p]
        want[i, j, d, p] += each[n, i, j] * pair / B
    np.testing.assert_allclose(library.to_host(got.W), want, rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(library.to_host(got.a), np.mean(h - h_model, axis=0), rtol=1e-11)
    np.testing.assert_allclose(library.to_host(got.b), np.mean(v - v_model, axis=0), rtol=1e-11)


@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_gradient_is_that_of_the_exact_log_likelihood(library, layer, offset):
    """The model term from all states with their shares; log p by enumeration, complex steps."""
    W, c, a, b = layer
    data = V[[3, 7, 7, 12]]
    rows = [3, 7, 7, 12]

    def log_likelihood(W, a, b):
        M = (c[:, :, None, None] * W).transpose(1, 2, 0, 3).reshape(J * D, I * P)
        v, h = V.reshape(len(V), -1) - offset, H.reshape(len(H), -1) - offset
        exponent = v @ M.T @ h.T + (v @ b.ravel())[:, None] + (h @ a.ravel())[None]
        sums = np.sum(np.exp(exponent), axis=1)
        return np.mean(np.log(sums[rows])) - np.log(np.sum(sums))

    joint = table(*layer, offset=offset, visible_offset=offset)
    shares = np.sum(joint, axis=1) / np.sum(joint)

    def gradient_from(v, share):
        """`neuron_gradient` of one visible state against an empty model term."""
        one = library.from_host((v - offset)[None])
        h = neuron_mix(one, *arrays, offset=offset).h
        nothing = NeuronMixing(h, one * 0.0, h * 0.0)
        found = neuron_gradient(one, nothing, *arrays[:2])
        return [share * library.to_host(part) for part in found]

    arrays = [*map(library.from_host, (W, c, a, b))]
    found = [0.0, 0.0, 0.0]
    for v in data:
        found = [f + g for f, g in zip(found, gradient_from(v, 1 / len(data)), strict=True)]
    for v, share in zip(V, shares, strict=True):
        found = [f - g for f, g in zip(found, gradient_from(v, share), strict=True)]
    for k, part in enumerate((W, a, b)):
        want = np.zeros(part.shape)
        for index in np.ndindex(part.shape):
            moved = [np.array(one, dtype=complex) for one in (W, a, b)]
            moved[k][index] += 1e-30j
            want[index] = log_likelihood(*moved).imag / 1e-30
        np.testing.assert_allclose(found[k], want, rtol=1e-9, atol=1e-12)


# --- bad input --------------------------------------------------------------------------------


def test_arguments_that_do_not_fit_are_named(layer):
    W, c, a, b = layer
    v, h = np.zeros((B, I, P)), np.zeros((B, J, D))
    with pytest.raises(ShapeError, match=r"v: expected shape \(B, I, P\) with P = 2 to match W"):
        neuron_hidden_probability(v[..., :1], W, c, a)
    with pytest.raises(ShapeError, match=r"h: expected shape \(B, J, D\) with J = 2"):
        neuron_visible_field(h[:, :1], W, c, b)
    with pytest.raises(ShapeError, match=r"h: expected shape \(B, J, D\) with B = 5"):
        neuron_energy(v, h[:2], W, c, a, b)
    with pytest.raises(ShapeError, match=r"a: expected shape \(J, D\)"):
        neuron_mix(v, W, c, a[0], b)
    with pytest.raises(ShapeError, match=r"b: expected shape \(I, P\)"):
        neuron_free_energy(v, W, c, a, b[:1])
    with pytest.raises(ShapeError, match=r"hidden_noise: expected shape \(steps, B, J, D\)"):
        neuron_mix(v, W, c, a, b, steps=2, hidden_noise=np.zeros((1, B, J, D)))
    with pytest.raises(ShapeError, match="v: expected at least one example"):
        neuron_gradient(v[:0], NeuronMixing(h[:0], v[:0], h[:0]), W, c)
    with pytest.raises(ShapeError, match="field: expected shape"):
        capsule_evidence(np.asarray(1.0))
    with pytest.raises(OptionError, match="visible: expected 'bernoulli' or 'gaussian', got 'ra"):
        neuron_energy(v, h, W, c, a, b, visible="radial")
    with pytest.raises(OptionError, match="offset: expected a number from 0 to 1, got 2"):
        neuron_free_energy(v, W, c, a, b, offset=2)
    with pytest.raises(DomainError, match="on: expected 0 or 1 everywhere"):
        neuron_mix(v, W, c, a, b, on=np.full((B, J), 2))
    with pytest.raises(DtypeError, match="b: expected float64 as v has, got float32"):
        neuron_free_energy(v, W, c, a, b.astype("float32"))
