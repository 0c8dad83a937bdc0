"""Annealing against enumeration: every path of a tiny machine, and statistics over seeds."""

import itertools
import math

import numpy as np
import pytest

from capsnp.errors import DomainError, MemoryLimitError, OptionError, ShapeError
from capsnp.evaluation.likelihood import annealed_log_partition, exact_log_partition
from capsnp.evaluation.likelihood.annealing import anneal_down, anneal_up, place_temperatures
from capsnp.evaluation.likelihood.paths import LinearPath, Noise, Path, base_of, path_of
from capsnp.functional.harmonium import Harmonium, independent_log_partition
from capsnp.functional.units import Bernoulli, Categorical, Gaussian, Relu
from capsnp.models import _chains

KINDS = {
    "bernoulli": (Bernoulli(), Bernoulli()),
    "gaussian": (Gaussian(np.log([0.5, 1.0, 2.0, 1.0, 1.0, 1.5])), Bernoulli()),
    "categorical": (Categorical(3), Bernoulli()),
    "rectified": (Bernoulli(), Relu()),
    "gaussian hidden": (Bernoulli(), Gaussian()),
}


def machine_of(kinds, rng, n_hidden=4, scale=0.7):
    w = scale * rng.standard_normal((6, n_hidden))
    return Harmonium(w, rng.standard_normal(6), rng.standard_normal(n_hidden), *kinds)


class Script:
    """Noise that makes Bernoulli units just what is written, given their chances by hand."""

    def __init__(self, library, *steps):
        self._states = iter(
            library.from_host(np.where(states == 1, 0.999 * on, on + 0.001 * (1 - on)))
            for states, on in steps
        )

    def __call__(self, _, shape):
        noise = next(self._states)
        assert noise.shape == shape
        return noise


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def chance(states, on):
    """Probability of binary states (N, I), each on with its own."""
    return np.prod(np.where(states == 1, on, 1 - on), axis=1)


def test_all_paths_of_a_tiny_machine(library, rng):
    """E[w] = Z/Z_0 and E[1/w] = Z_0/Z, summed over every path, each by hand as likely as it is."""
    w, b, c, b0 = (rng.standard_normal(shape) for shape in ((2, 1), 2, 1, 2))
    betas = (0.0, 0.35, 1.0)
    v0, h1, v1, h2, v2 = np.split(
        np.asarray(list(itertools.product((0.0, 1.0), repeat=8))), [2, 3, 5, 6], axis=1
    )
    on_v = lambda h, beta: sigmoid(beta * (h @ w.T + b) + (1 - beta) * b0)  # noqa: E731
    on_h = lambda v, beta: sigmoid(beta * (v @ w + c))  # noqa: E731
    machine = Harmonium(*map(library.from_host, (w, b, c)))
    path = path_of(machine, base_of(machine, None)._replace(b=library.from_host(b0)))
    ratio = math.exp(exact_log_partition(machine).value) / (2 * np.prod(1 + np.exp(b0)))

    steps = (
        (v0, sigmoid(b0 + 0 * v0)),
        (h1, on_h(v0, 0.35)),
        (v1, on_v(h1, 0.35)),
        (h2, on_h(v1, 1.0)),
        (v2, on_v(h2, 1.0)),
    )
    up = anneal_up(path, np.asarray(betas), len(v0), Script(library, *steps))
    likely = np.prod([chance(*step) for step in steps], axis=0)
    assert math.fsum(likely) == pytest.approx(1, abs=1e-12)
    assert math.fsum(likely * np.exp(up.log_weights)) == pytest.approx(ratio, rel=1e-12)
    assert np.array_equal(library.to_host(up.states), v2)

    unnormalised = np.exp(v0 @ b) * (1 + np.exp((v0 @ w + c)[:, 0]))
    steps = (
        (h1, on_h(v0, 1.0)),
        (v1, on_v(h1, 1.0)),
        (h2, on_h(v1, 0.35)),
        (v2, on_v(h2, 0.35)),
    )
    start = library.from_host(v0)
    down = anneal_down(path, np.asarray(betas), start, Script(library, *steps))
    likely = unnormalised / math.exp(exact_log_partition(machine).value)
    likely *= np.prod([chance(*step) for step in steps], axis=0)
    assert math.fsum(likely) == pytest.approx(1, abs=1e-12)
    assert math.fsum(likely * np.exp(-down.log_weights)) == pytest.approx(1 / ratio, rel=1e-12)


@pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS)
def test_bracket_of_every_kind(kinds, rng):
    machine = machine_of(kinds, rng)
    exactly = exact_log_partition(machine).value
    found = annealed_log_partition(machine, temperatures=200, burn_in=50)
    assert abs(found.value - exactly) < 4 * found.stderr
    assert found.stderr < 0.05
    assert abs(found.neighbours - exactly) < 4 * found.neighbours_stderr
    assert found.lower - 4 * found.lower_stderr < exactly < found.upper + 4 * found.upper_stderr
    assert 50 < found.lower_ess <= 100


@pytest.mark.parametrize("n_hidden", [5, 20])
def test_bracket_within_a_twentieth_of_a_nat(rng, n_hidden):
    w = rng.standard_normal((30, n_hidden)) / 3
    machine = Harmonium(w, rng.standard_normal(30), rng.standard_normal(n_hidden))
    exactly = exact_log_partition(machine)
    found = annealed_log_partition(machine, temperatures=2000, n_chains=100, burn_in=100)
    for end in (found.lower, found.value, found.upper):
        assert abs(end - exactly.value) < 0.05
    assert found.width < 0.1


def test_ends_are_on_their_sides_in_expectation(rng):
    """Short runs of two chains, 150 of them, from exact samples: the lower ends lie below log Z by
    more than 3 standard errors of their mean, the upper ends above it, Bennett's nearer to it. Z by
    the lower ends and 1/Z by the upper ones are right on average."""
    machine = Harmonium(3 * rng.standard_normal((5, 4)), rng.standard_normal(5), np.zeros(4))
    exactly = exact_log_partition(machine).value
    states = np.asarray(list(itertools.product((0.0, 1.0), repeat=5)))
    weight = np.exp(states @ machine.b) * np.prod(
        1 + np.exp(states @ machine.w + machine.c), axis=1
    )
    found = []
    for seed in range(150):
        samples = states[rng.choice(32, 200, p=weight / weight.sum())]
        found.append(
            annealed_log_partition(
                machine, start=samples, base=base_of(machine, None), burn_in=0, n_chains=2,
                temperatures=[0.0, 0.3, 0.6, 1.0], random_state=seed,
            )
        )  # fmt: skip
    off = {
        end: np.asarray([getattr(each, end) for each in found]) - exactly
        for end in ("lower", "value", "upper")
    }
    error = {end: values.std(ddof=1) / np.sqrt(150) for end, values in off.items()}
    assert off["lower"].mean() < -3 * error["lower"]
    assert off["upper"].mean() > 3 * error["upper"]
    assert off["lower"].mean() < off["value"].mean() < off["upper"].mean()
    assert abs(off["value"].mean()) < min(-off["lower"].mean(), off["upper"].mean()) / 2
    for ratio in (np.exp(off["lower"]), np.exp(-off["upper"])):
        assert abs(ratio.mean() - 1) < 4 * ratio.std(ddof=1) / np.sqrt(150)


def test_a_mode_that_chains_up_miss_shows_from_data():
    """Two modes of equal weight, far apart; the base knows one. From the ends of the chains up
    the bracket is tight and wrong by log 2; from both modes log 2 lies between its ends."""
    w = np.concatenate([np.full((30, 1), 12.0), np.full((30, 1), -12.0)], axis=1)
    twofold = Harmonium(w, np.zeros(30), np.asarray([-180.0, 180.0]))
    exactly = exact_log_partition(twofold).value
    both = np.repeat(np.asarray([[0.0], [1.0]]), 30, axis=1)
    one_sided = base_of(twofold, None)._replace(b=np.full(30, 3.0))
    options = {"base": one_sided, "temperatures": 100, "n_chains": 50, "burn_in": 20}
    blind = annealed_log_partition(twofold, **options)
    seeing = annealed_log_partition(twofold, start=both, **options)
    assert exactly - blind.upper > 0.5
    assert blind.width < 0.3
    assert seeing.lower < exactly < seeing.upper + 2 * seeing.upper_stderr
    assert seeing.upper - seeing.lower > 0.4
    assert abs(seeing.neighbours - exactly) > 1  # chains of two modes are neighbours of nobody


@pytest.mark.parametrize("name", ["bernoulli", "categorical", "rectified"])
def test_linear_path_is_the_path(library, rng, name):
    host = machine_of(KINDS[name], rng)
    machine = host._replace(**{k: library.from_host(getattr(host, k)) for k in "wbc"})
    base = base_of(machine, None)._replace(b=library.from_host(rng.standard_normal(6)))
    general, linear = Path(machine, base), path_of(machine, base)
    assert isinstance(linear, LinearPath)
    v = general.start(8, Noise(machine, 0))
    for low, high in ((0.0, 0.4), (0.4, 0.5), (0.9, 1.0)):
        one, other = (library.to_host(path.log_ratio(v, low, high)) for path in (general, linear))
        np.testing.assert_allclose(one, other, atol=1e-12)
        one, other = (path.step(v, high, Noise(machine, 1)) for path in (general, linear))
        np.testing.assert_allclose(library.to_host(one), library.to_host(other))
        v = one


@pytest.mark.parametrize("name", ["bernoulli", "gaussian"])
def test_chains_in_blocks_on_threads(rng, name, monkeypatch):
    """Of 120 chains 60 go together: the same for any number of threads, and right."""
    monkeypatch.setattr(_chains, "_WORTH_THREADS", 0)
    machine = machine_of(KINDS[name], rng)
    runs = []
    for threads in ("1", "2"):
        monkeypatch.setenv("CAPSNP_NUM_THREADS", threads)
        runs.append(annealed_log_partition(machine, temperatures=120, n_chains=120, burn_in=20))
    assert (runs[0].lower, runs[0].upper) == (runs[1].lower, runs[1].upper)
    exactly = exact_log_partition(machine).value
    assert abs(runs[0].value - exactly) < 4 * runs[0].stderr
    assert runs[0].stderr < 0.05

    first, second = (own(machine.visible, (60, 6)) for own in Noise(machine, 0).split(2))
    assert np.all(first != second)


def test_gaussian_visible_weights_are_energies_between(rng):
    """log f_β/f_0 along Gaussian units, from energies summed over hidden states."""
    machine = machine_of(KINDS["gaussian"], rng, n_hidden=2)
    base = base_of(machine, rng.standard_normal((9, 6)))
    path = path_of(machine, base)
    v = rng.standard_normal((3, 6))
    log_z = [exact_log_partition(path.at(beta)).value for beta in (0.0, 0.5, 1.0)]
    total = path.log_ratio(v, 0.0, 0.5) + path.log_ratio(v, 0.5, 1.0)
    np.testing.assert_allclose(total, path.log_ratio(v, 0.0, 1.0), atol=1e-12)
    assert log_z[0] == pytest.approx(float(independent_log_partition(base)), abs=1e-12)
    found = annealed_log_partition(machine, base=base, temperatures=200)
    assert abs(found.value - log_z[2]) < 4 * found.stderr


def test_temperatures_go_where_the_weights_spread(rng):
    w = 2.0 * rng.standard_normal((30, 10))
    machine = Harmonium(w, rng.standard_normal(30), rng.standard_normal(10))
    path = path_of(machine, base_of(machine, None))
    betas = place_temperatures(path, 60, 200, Noise(machine, 0))
    assert betas[0] == 0.0
    assert betas[-1] == 1.0
    assert np.all(np.diff(betas) > 0)
    placed, even = (
        anneal_up(path, each, 400, Noise(machine, 1)).steps.std(axis=1)
        for each in (betas, np.linspace(0.0, 1.0, 60))
    )
    assert placed.std() / placed.mean() < 0.6 * even.std() / even.mean()


def test_one_seed_one_result(library, rng):
    host = machine_of(KINDS["bernoulli"], rng)
    machine = host._replace(**{k: library.from_host(getattr(host, k)) for k in "wbc"})
    runs = [
        annealed_log_partition(machine, temperatures=20, n_chains=8, burn_in=2, random_state=seed)
        for seed in (0, 0, 1)
    ]
    assert runs[0].lower == runs[1].lower != runs[2].lower
    on_host = annealed_log_partition(host, temperatures=20, n_chains=8, burn_in=2)
    assert runs[0].lower == pytest.approx(on_host.lower, abs=1e-9)
    assert runs[0].upper == pytest.approx(on_host.upper, abs=1e-9)


def test_float32_is_near(rng):
    machine = machine_of(KINDS["bernoulli"], rng)
    single = machine._replace(**{k: getattr(machine, k).astype(np.float32) for k in "wbc"})
    found = annealed_log_partition(single, temperatures=200)
    assert abs(found.value - exact_log_partition(machine).value) < 4 * found.stderr + 1e-3


def test_base_of_rows(rng):
    """Its means are those of the rows and one more row of no preference."""
    rows = (rng.random((50, 6)) < 0.3).astype(float)
    rows[:, 0] = 0.0
    base = base_of(machine_of(KINDS["bernoulli"], rng), rows)
    np.testing.assert_allclose(sigmoid(base.b), (rows.sum(axis=0) + 0.5) / 51)
    one_hot = np.concatenate([np.eye(3)[rng.integers(0, 3, 50)] for _ in range(2)], axis=1)
    base = base_of(machine_of(KINDS["categorical"], rng), one_hot)
    np.testing.assert_allclose(np.exp(base.b), (one_hot.sum(axis=0) + 1 / 3) / 51)
    real = rng.standard_normal((50, 6))
    base = base_of(machine_of(KINDS["gaussian"], rng), real)
    np.testing.assert_allclose(base.b, real.mean(axis=0))
    own = np.asarray([0.5, 1.0, 2.0, 1.0, 1.0, 1.5])
    variance = (50 * real.var(axis=0) + own) / 51
    np.testing.assert_allclose(np.exp(base.visible.log_variance), variance)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_chains": 1}, OptionError, "n_chains: expected a whole number from 2, got 1"),
        ({"temperatures": 1}, OptionError, "temperatures: expected a whole number from 2"),
        ({"temperatures": [0.0, 0.5, 0.5, 1.0]}, OptionError, "temperatures: expected a number of"),
        ({"temperatures": [0.1, 1.0]}, OptionError, "rise from 0 to 1"),
        ({"burn_in": -1}, OptionError, "burn_in: expected"),
        ({"random_state": -1}, OptionError, "random_state: expected"),
        ({"start": np.zeros((3, 5))}, ShapeError, "start: expected"),
        ({"start": np.full((3, 6), 2.0)}, DomainError, "start: expected numbers from 0 to 1"),
    ],
)
def test_refusals(rng, options, error, message):
    with pytest.raises(error, match=message):
        annealed_log_partition(machine_of(KINDS["bernoulli"], rng), **options)


def test_a_base_with_weights_is_refused(rng):
    machine = machine_of(KINDS["bernoulli"], rng)
    with pytest.raises(OptionError, match="base: expected a machine without weights"):
        annealed_log_partition(machine, base=machine)


def test_more_chains_than_memory_allows():
    machine = Harmonium(np.zeros((30, 30)), np.zeros(30), np.zeros(30))
    with pytest.raises(MemoryLimitError, match=r"^n_chains: expected chains that fit .*: lower n_"):
        annealed_log_partition(machine, n_chains=10**12)
