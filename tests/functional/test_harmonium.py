"""Bipartite machines of every pair of kinds against sums and integrals over all of their states."""

import itertools
import math

import numpy as np
import pytest

from capsnp.errors import OptionError, ShapeError
from capsnp.functional import harmonium, rbm_energy, rbm_free_energy
from capsnp.functional.harmonium import Harmonium
from capsnp.functional.units import Bernoulli, Categorical, Gaussian, Relu

I, J = 4, 3
LOG_VARIANCE = np.asarray([-0.6, 0.2, 0.0, 0.5])
VISIBLE = {
    "bernoulli": Bernoulli(),
    "categorical": Categorical(2),
    "gaussian": Gaussian(LOG_VARIANCE),
}
HIDDEN = {"bernoulli": Bernoulli(), "gaussian": Gaussian(), "relu": Relu()}
PAIRS = list(itertools.product(VISIBLE, HIDDEN))
STATES = {
    "bernoulli": np.asarray(list(itertools.product((0.0, 1.0), repeat=J))),
    "visible": np.asarray(list(itertools.product((0.0, 1.0), repeat=I))),
    "categorical": np.asarray([[1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1.0]]),
}


def grid(low, high, n):
    """Nodes (n³, 3) and weights of Gauss and Legendre in a box."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    nodes, weights = low + (high - low) * (nodes + 1) / 2, weights * (high - low) / 2
    points = np.asarray(list(itertools.product(nodes, repeat=J)))
    return points, np.asarray([math.prod(w) for w in itertools.product(weights, repeat=J)])


def hidden_states(kind):
    """Points that stand for all hidden states, and what each counts."""
    if kind == "bernoulli":
        return STATES["bernoulli"], np.ones(2**J)
    return grid(-8.0, 8.0, 36) if kind == "gaussian" else grid(0.0, 8.0, 26)


def energies_by_loops(pair, w, b, c, v, h):
    """E(v, h) for arrays (S, I) and (S, J), term by term."""
    total = np.zeros(len(v))
    variance = np.exp(LOG_VARIANCE) if pair[0] == "gaussian" else np.ones(I)
    for i in range(I):
        if pair[0] == "gaussian":
            total += (v[:, i] - b[i]) ** 2 / (2 * variance[i])
        else:
            total -= b[i] * v[:, i]
        for j in range(J):
            total -= v[:, i] / variance[i] * w[i, j] * h[:, j]
    for j in range(J):
        if pair[1] == "gaussian":
            total += (h[:, j] - c[j]) ** 2 / 2
        elif pair[1] == "relu":
            total += h[:, j] ** 2 / 2 - c[j] * h[:, j]
        else:
            total -= c[j] * h[:, j]
    return total


@pytest.fixture
def parameters(rng):
    """w (I, J), b (I,), c (J,)."""
    return 0.4 * rng.standard_normal((I, J)), rng.standard_normal(I), 0.5 * rng.standard_normal(J)


def machine_of(library, pair, parameters):
    """The machine of a pair of kinds in a library."""
    visible = VISIBLE[pair[0]]
    if pair[0] == "gaussian":
        visible = Gaussian(library.from_host(LOG_VARIANCE))
    return Harmonium(*map(library.from_host, parameters), visible, HIDDEN[pair[1]])


def some_visible(kind, rng):
    if kind == "gaussian":
        return rng.standard_normal((4, I))
    return STATES["categorical"] if kind == "categorical" else STATES["visible"][3:13:3]


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_energy_by_loops(library, pair, parameters, rng):
    v, h = some_visible(pair[0], rng), np.abs(rng.standard_normal((4, J)))
    machine = machine_of(library, pair, parameters)
    got = library.to_host(harmonium.energy(machine, *map(library.from_host, (v, h))))
    expected = energies_by_loops(pair, *parameters, v, h)
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_free_energy_sums_the_hidden_states_out(library, pair, parameters, rng):
    h, counts = hidden_states(pair[1])
    machine = machine_of(library, pair, parameters)
    v = some_visible(pair[0], rng)
    free = library.to_host(harmonium.free_energy(machine, library.from_host(v)))
    mean = library.to_host(harmonium.hidden_mean(machine, library.from_host(v)))
    for n, state in enumerate(v):
        states = np.repeat(state[None], len(h), axis=0)
        weights = counts * np.exp(-energies_by_loops(pair, *parameters, states, h))
        assert free[n] == pytest.approx(-math.log(weights.sum()), abs=1e-9)
        np.testing.assert_allclose(mean[n], weights @ h / weights.sum(), atol=1e-9)


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_visible_side_is_that_of_the_machine_turned(library, pair, parameters, rng):
    """Both ways of summing joint states give Z, and the mean of v given h is the enumerated one."""
    machine = machine_of(library, pair, parameters)
    turned = harmonium.turned(machine)
    h = np.abs(rng.standard_normal((3, J)))
    free = library.to_host(harmonium.free_energy(turned, library.from_host(h)))
    mean = library.to_host(harmonium.visible_mean(machine, library.from_host(h)))
    if pair[0] == "gaussian":
        nodes, weights = np.polynomial.hermite.hermgauss(2)  # exact for what is quadratic in v
        scale = np.sqrt(2) * np.exp(LOG_VARIANCE / 2)
    for n, state in enumerate(h):
        if pair[0] == "gaussian":
            field = parameters[1] + parameters[0] @ state
            v = np.asarray(list(itertools.product(nodes, repeat=I))) * scale + field
            density = np.prod(list(itertools.product(weights, repeat=I)), axis=1)
            density *= np.prod(scale) * np.exp(np.sum(((v - field) / scale) ** 2, axis=1))
        else:
            v = STATES["categorical" if pair[0] == "categorical" else "visible"]
            density = np.ones(len(v))
        states = np.repeat(state[None], len(v), axis=0)
        density = density * np.exp(-energies_by_loops(pair, *parameters, v, states))
        assert free[n] == pytest.approx(-math.log(density.sum()), rel=1e-11)
        np.testing.assert_allclose(mean[n], density @ v / density.sum(), rtol=1e-10, atol=1e-12)


def test_bernoulli_units_make_the_paper_s_machine(library, parameters):
    machine = machine_of(library, ("bernoulli", "bernoulli"), parameters)
    v, h = map(library.from_host, (STATES["visible"][:8], STATES["bernoulli"]))
    arrays = machine[:3]
    for got, expected in (
        (harmonium.energy(machine, v, h), rbm_energy(v, h, *arrays)),
        (harmonium.free_energy(machine, v), rbm_free_energy(v, *arrays)),
    ):
        np.testing.assert_allclose(library.to_host(got), library.to_host(expected), rtol=1e-13)


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_gibbs_step_draws_both_conditionals(library, pair, parameters, rng):
    machine = machine_of(library, pair, parameters)
    v = some_visible(pair[0], rng)
    noise = []
    for units, shape in ((machine.hidden, (4, J)), (machine.visible, (4, I))):
        draw = rng.standard_normal if units.noise == "normal" else rng.random
        noise.append(library.from_host(draw(units.noise_shape(shape))))
    step = harmonium.gibbs_step(machine, library.from_host(v), *noise)
    h = machine.hidden.draw(harmonium.hidden_field(machine, library.from_host(v)), noise[0])
    np.testing.assert_array_equal(library.to_host(step.h), library.to_host(h))
    expected = machine.visible.draw(harmonium.visible_field(machine, h), noise[1])
    np.testing.assert_array_equal(library.to_host(step.v), library.to_host(expected))


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_statistics_are_minus_the_energy_s_slopes(library, pair, parameters, rng):
    """Differences of two batches, so that what the parameters alone add drops out."""
    batches = [
        (some_visible(pair[0], rng)[rows], np.abs(rng.standard_normal((len(rows), J))))
        for rows in ([0, 1, 2, 3], [2, 2, 1])
    ]
    parts = [*parameters, LOG_VARIANCE] if pair[0] == "gaussian" else [*parameters]

    def difference(*at):
        """Of the mean energies, the model's minus the data's."""
        visible = Gaussian(library.from_host(at[3])) if len(at) == 4 else VISIBLE[pair[0]]
        machine = Harmonium(*map(library.from_host, at[:3]), visible, HIDDEN[pair[1]])
        data, model = (
            float(library.xp.mean(harmonium.energy(machine, *map(library.from_host, batch))))
            for batch in batches
        )
        return model - data

    machine = machine_of(library, pair, parameters)
    data, model = (
        harmonium.statistics(machine, *map(library.from_host, batch)) for batch in batches
    )
    states = [library.from_host(array) for batch in batches for array in batch]
    gradient = harmonium.cd_gradient(machine, *states)
    assert (gradient.log_variance is None) == (len(parts) == 3)
    for place, part in enumerate(parts):
        expected = np.zeros(part.shape)
        for index in np.ndindex(part.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [array.copy() for array in parts]
                moved[place][index] += step
                ends.append(difference(*moved))
            expected[index] = (ends[0] - ends[1]) / 2e-5
        got = library.to_host(data[place]) - library.to_host(model[place])
        np.testing.assert_allclose(got, expected, atol=2e-9)
        np.testing.assert_allclose(library.to_host(gradient[place]), expected, atol=2e-9)


def test_centred_gradient_by_loops(library, parameters, rng):
    v, h, v_model, h_model = (rng.random(shape) for shape in ((5, I), (5, J), (7, I), (7, J)))
    mu, lam = rng.random(I), rng.random(J)
    machine = machine_of(library, ("bernoulli", "bernoulli"), parameters)
    got = harmonium.cd_gradient(
        machine,
        *map(library.from_host, (v, h, v_model, h_model)),
        offsets=(library.from_host(mu), library.from_host(lam)),
    )
    dw, db, dc = np.zeros((I, J)), v.mean(0) - v_model.mean(0), h.mean(0) - h_model.mean(0)
    for i, j in np.ndindex(I, J):
        dw[i, j] += np.mean([(v[n, i] - mu[i]) * (h[n, j] - lam[j]) for n in range(5)])
        dw[i, j] -= np.mean([(v_model[n, i] - mu[i]) * (h_model[n, j] - lam[j]) for n in range(7)])
    for i, j in np.ndindex(I, J):
        db[i] -= dw[i, j] * lam[j]
        dc[j] -= dw[i, j] * mu[i]
    for actual, expected in zip(got[:3], (dw, db, dc), strict=True):
        np.testing.assert_allclose(library.to_host(actual), expected, atol=1e-14)


def test_centred_gradient_does_not_know_what_a_unit_calls_zero(parameters, rng):
    """Flip visible units: the same distribution, and its steps are the flipped ones."""
    w, b, c = parameters
    v, h, v_model, h_model = (rng.random(shape) for shape in ((5, I), (5, J), (7, I), (7, J)))
    offsets = v.mean(0), h.mean(0)
    plain = harmonium.cd_gradient(Harmonium(w, b, c), v, h, v_model, h_model, offsets=offsets)
    flipped = harmonium.cd_gradient(
        Harmonium(-w, -b, c + w.sum(0)),
        1 - v,
        h,
        1 - v_model,
        h_model,
        offsets=(1 - offsets[0], offsets[1]),
    )
    np.testing.assert_allclose(flipped.w, -plain.w, atol=1e-14)
    np.testing.assert_allclose(flipped.b, -plain.b, atol=1e-14)
    np.testing.assert_allclose(flipped.c, plain.c + plain.w.sum(0), atol=1e-14)


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_tempered_energies_lie_on_the_line_between(library, pair, parameters, rng):
    machine = machine_of(library, pair, parameters)
    base = harmonium.independent(machine, library.from_host(rng.standard_normal(I)))
    if pair[0] == "gaussian":
        base = base._replace(visible=Gaussian(library.from_host(rng.standard_normal(I))))
    v, h = some_visible(pair[0], rng), np.abs(rng.standard_normal((4, J)))
    v, h = library.from_host(v), library.from_host(h)
    ends = [library.to_host(harmonium.energy(m, v, h)) for m in (base, machine)]
    for beta in (0.0, 0.3, 1.0):
        between = harmonium.tempered(machine, beta, base)
        assert between.visible.name == pair[0]
        got = library.to_host(harmonium.energy(between, v, h))
        off = got - (1 - beta) * ends[0] - beta * ends[1]
        np.testing.assert_allclose(off, off[0], atol=1e-12)
        if beta in (0.0, 1.0) or "gaussian" not in pair:
            np.testing.assert_allclose(off, 0.0, atol=1e-12)


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_independent_log_partition(library, pair, parameters):
    """log Z of a machine without weights, by its free energy at one state and p(v) of SciPy."""
    machine = machine_of(library, pair, parameters)
    machine = machine._replace(w=0.0 * machine.w)
    log_z = float(harmonium.independent_log_partition(machine))
    h, counts = hidden_states(pair[1])
    c = parameters[2]
    v = np.repeat(np.zeros((1, I)), len(h), axis=0)
    hidden = counts * np.exp(-energies_by_loops(pair, 0 * parameters[0], 0 * v[0], c, v, h))
    if pair[0] == "gaussian":
        visible = 0.5 * np.sum(np.log(2 * np.pi) + LOG_VARIANCE)
    else:
        states = STATES["categorical" if pair[0] == "categorical" else "visible"]
        visible = math.log(sum(math.exp(s @ parameters[1]) for s in states))
    assert log_z == pytest.approx(visible + math.log(hidden.sum()), abs=1e-9)


def test_float32_stays(library, parameters, rng):
    for pair in PAIRS:
        machine = machine_of(library, pair, parameters)
        w, b, c = (library.from_host(a, dtype="float32") for a in parameters)
        visible = machine.visible
        if pair[0] == "gaussian":
            visible = Gaussian(library.from_host(LOG_VARIANCE, dtype="float32"))
        machine = Harmonium(w, b, c, visible, machine.hidden)
        v = library.from_host(some_visible(pair[0], rng), dtype="float32")
        noise = [
            library.from_host(rng.random(units.noise_shape((4, n))), dtype="float32")
            for units, n in ((machine.hidden, J), (machine.visible, I))
        ]
        between = harmonium.tempered(machine, 0.3)
        step = harmonium.gibbs_step(between, v, *noise)
        gradient = harmonium.cd_gradient(machine, v, step.h, step.v, step.h)
        free = harmonium.free_energy(machine, v)
        for array in (*step, *(g for g in gradient if g is not None), free):
            assert library.to_host(array).dtype == np.float32


def test_wrong_arguments_are_named(library, parameters):
    machine = machine_of(library, ("bernoulli", "bernoulli"), parameters)
    v, h = map(library.from_host, (STATES["visible"], STATES["bernoulli"]))
    with pytest.raises(ShapeError, match=r"^v: .* with I = 4 to match w \(4, 3\), got \(8, 3\)$"):
        harmonium.free_energy(machine, h)
    with pytest.raises(ShapeError, match=r"^h: .* with J = 3 to match w \(4, 3\), got \(16, 4\)$"):
        harmonium.visible_mean(machine, v)
    with pytest.raises(ShapeError, match=r"^c: expected shape \(J,\) with J = 3 to match w"):
        harmonium.free_energy(machine._replace(c=machine.b), v)
    with pytest.raises(ShapeError, match=r"^h_model: expected shape \(N, J\) with N = 16"):
        harmonium.cd_gradient(machine, v[:8, :], h, v, h)
    with pytest.raises(ShapeError, match=r"^v: expected at least one example, got \(0, 4\)$"):
        harmonium.statistics(machine, v[:0, :], h[:0, :])
    offsets = (machine.b, machine.b)
    with pytest.raises(ShapeError, match=r"^offsets\[1\]: expected shape \(J,\) with J = 3"):
        harmonium.cd_gradient(machine, v[:8, :], h, v[:8, :], h, offsets=offsets)
    with pytest.raises(OptionError, match=r"^beta: expected a number from 0 to 1, got 1.5$"):
        harmonium.tempered(machine, 1.5)
    with pytest.raises(
        OptionError, match=r"^base.hidden: expected units like Bernoulli\(\), got R"
    ):
        harmonium.tempered(machine, 0.5, machine._replace(hidden=Relu()))
    small = machine._replace(w=machine.w[:, :2], c=machine.c[:2])
    with pytest.raises(
        ShapeError, match=r"^base.w: .* with J = 3 as the machine has, got \(4, 2\)$"
    ):
        harmonium.tempered(machine, 0.5, small)
