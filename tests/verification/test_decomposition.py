"""The decomposition of gradients against automatic and finite derivatives, and exact models."""

import math

import numpy as np
import pytest

from capsnp.errors import OptionError, ShapeError
from capsnp.functional import cd_gradient, free_energy, route
from capsnp.verification import (
    Balls,
    ExactCapsules,
    GradientDecomposition,
    decompose_gradient,
    decompose_training,
)
from capsnp.verification.decomposition import PAIRS
from capsnp.verification.routed import routed_score, routed_score_gradient, sobol_points

I, J, D, P = 3, 2, 2, 2
FEW = {"n_nodes": 64, "n_estimates": 3}
ONE = {"n_nodes": 64, "n_estimates": 1}


@pytest.fixture
def x(rng):
    return Balls(I, P).uniform(5, rng)


@pytest.fixture
def W(rng):
    return 2.0 * rng.normal(size=(I, J, D, P))


def test_routed_model_is_the_derivative_of_log_z(x, W):
    """With the same points, by finite differences of the mean of exp f."""
    found, h = decompose_gradient(x, W, **FEW), 1e-5
    score = np.mean(routed_score(x, W))
    for k in range(FEW["n_estimates"]):
        points = sobol_points(W, FEW["n_nodes"], 0, k + 1)

        def log_z(V, points=points):
            c = route(points, V).c
            return np.log(np.mean(np.exp(-free_energy(points, V, c))))

        assert found.log_likelihood[k] == pytest.approx(score - log_z(W), rel=1e-10)
        for place in [(0, 0, 0, 0), (1, 1, 0, 1), (2, 0, 1, 1)]:
            shift = np.zeros_like(W)
            shift[place] = h
            expected = (log_z(W + shift) - log_z(W - shift)) / (2 * h)
            assert found.model_routed[k][place] == pytest.approx(expected, rel=1e-5, abs=1e-8)


def test_frozen_gradient_is_that_of_exact_models(x, W):
    found = decompose_gradient(x, W, **FEW)
    c = route(x, W).c
    models = [ExactCapsules(W, one) for one in c]
    data = np.mean([m.data_term(x[b : b + 1]) for b, m in enumerate(models)], axis=0)
    np.testing.assert_allclose(found.data_frozen, data, rtol=1e-10, atol=1e-14)
    gradient = np.mean([m.gradient(x[b : b + 1]) for b, m in enumerate(models)], axis=0)
    np.testing.assert_allclose(found.gradient("frozen"), gradient, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("steps", [1, 3])
def test_mixing_is_algorithm_1(x, W, steps):
    found = decompose_gradient(x, W, mixing_steps=steps, **FEW)
    expected = cd_gradient(x, W, route(x, W).c, steps=steps)
    np.testing.assert_allclose(found.gradient("mixing"), expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("normalize", ["inputs", "outputs"])
def test_with_uniform_coefficients_nothing_is_dropped(x, W, normalize):
    found = decompose_gradient(x, W, iterations=1, normalize=normalize)
    np.testing.assert_allclose(found.data_routed, found.data_frozen, rtol=1e-10, atol=1e-14)
    parts = found.model_routed
    error = parts.std(axis=0) / math.sqrt(len(parts) - 1)
    assert np.all(np.abs(parts.mean(axis=0) - found.model_frozen) < 6 * error + 1e-6)
    exact = ExactCapsules(W, np.full((I, J), 1 / (I if normalize == "inputs" else J)))
    error = found.log_likelihood.std() / math.sqrt(len(parts) - 1)
    log_p = np.mean(exact.log_likelihood(x))
    assert abs(np.mean(found.log_likelihood) - log_p) < 6 * error + 1e-6


def test_routing_options_are_passed_on(x, W):
    found = decompose_gradient(x, W, iterations=2, agreement="dot", normalize="outputs", **FEW)
    routing = {"iterations": 2, "agreement": "dot", "normalize": "outputs"}
    c = route(x, W, **routing).c
    np.testing.assert_allclose(found.gradient("mixing"), cd_gradient(x, W, c), atol=1e-13)
    expected = np.mean(routed_score_gradient(x, W, **routing), axis=0)
    np.testing.assert_allclose(found.data_routed, expected, rtol=1e-12)


# --- comparisons ----------------------------------------------------------------------------------


def by_hand():
    """Two capsules of dimension 1, one input: gradients (1, 2), (2, 0) and (3, 4)."""

    def weights(*numbers):
        return np.reshape(np.asarray(numbers, dtype=float), (1, 2, 1, 1))

    zero = weights(0, 0)
    return GradientDecomposition(
        data_routed=weights(1, 2),
        data_frozen=weights(3, 4),
        model_routed=np.stack([weights(1, 0), zero, weights(-1, 0)]),
        model_frozen=weights(1, 4),
        model_mixing=zero,
        log_likelihood=np.zeros(3),
    )


def test_cosines_and_ratios_by_hand():
    found = by_hand()
    assert found.cosine("frozen", "routed")[0] == pytest.approx(1 / math.sqrt(5))
    assert found.cosine("mixing", "frozen") == (pytest.approx(0.6), 0.0)
    assert found.cosine("mixing", "routed")[0] == pytest.approx(11 / (5 * math.sqrt(5)))
    assert found.norm_ratio("mixing", "frozen") == (pytest.approx(2.5), 0.0)
    assert found.norm_ratio("mixing", "frozen", capsule=0)[0] == pytest.approx(1.5)
    assert found.cosine("frozen", "routed", capsule=0)[0] == pytest.approx(1.0)


def test_error_is_the_jackknife_by_hand():
    ratio, error = by_hand().norm_ratio("routed", "frozen", capsule=0)
    left_out = np.asarray([1.5, 1.0, 0.5]) / 2  # means of the other two models: −1/2, 0, 1/2
    assert ratio == pytest.approx(0.5)
    assert error == pytest.approx(math.sqrt(2 / 3 * np.sum((left_out - left_out.mean()) ** 2)))


def test_errors_cover_other_points(x, W):
    runs = [decompose_gradient(x, W, n_nodes=256, random_state=seed) for seed in range(12)]
    values = [run.cosine("frozen", "routed") for run in runs]
    spread = np.std([value for value, _ in values])
    error = np.mean([error for _, error in values])
    assert 0.4 < spread / error < 2.5


def test_table_has_every_capsule_and_pair(x, W):
    found = decompose_gradient(x, W, **FEW)
    table = found.table(title="A title")
    assert list(table.rows) == ["all", "capsule 0", "capsule 1"]
    for first, second in PAIRS:
        for capsule, row in zip((None, 0, 1), table.rows.values(), strict=True):
            value, error = found.cosine(first, second, capsule=capsule)
            assert row[f"cosine {first} {second}"] == value
            assert row[f"cosine error {first} {second}"] == error
            ratio, error = found.norm_ratio(first, second, capsule=capsule)
            assert row[f"ratio {first} {second}"] == ratio
            assert row[f"ratio error {first} {second}"] == error
    assert "‖mixing‖/‖frozen‖" in table.markdown()
    data = np.sum(found.data_frozen * found.data_routed)
    data /= np.linalg.norm(found.data_frozen) * np.linalg.norm(found.data_routed)
    ratio = np.linalg.norm(found.model_mixing) / np.linalg.norm(found.model_frozen)
    assert f"data, frozen and routed {data:.3f} and " in table.notes[1]
    assert table.notes[1].endswith(f" and {ratio:.3f}.")
    assert table.title == "A title"


# --- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["routed", "frozen", "mixing"])
def test_training_follows_its_gradient(x, W, by):
    found = decompose_training(
        x, W, by=by, at=(2, 0, 1), learning_rate=0.3, training_nodes=64, random_state=5, **ONE
    )
    assert list(found) == [0, 1, 2]
    V = W
    for step in range(3):
        here = decompose_gradient(x, V, random_state=5, **ONE)
        for name in ("routed", "frozen", "mixing"):
            np.testing.assert_allclose(
                found[step].gradient(name), here.gradient(name), rtol=1e-9, atol=1e-12
            )
        change = here.gradient(by)
        if by == "routed":  # by points of its own
            points = sobol_points(V, 64, 5, 0)
            weight = np.exp(routed_score(points, V))
            model = np.average(routed_score_gradient(points, V), axis=0, weights=weight)
            change = here.data_routed - model
        V = V + 0.3 * change


def test_training_by_the_routed_gradient_raises_the_likelihood(rng, W):
    angle = rng.uniform(0, 2 * np.pi, 30)
    x = 0.8 * np.stack([np.stack([np.cos(angle), np.sin(angle)], axis=1)] * I, axis=1)
    found = decompose_training(x, 0.1 * W, by="routed", at=(0, 40), learning_rate=1.0)
    assert np.min(found[40].log_likelihood) > np.max(found[0].log_likelihood) + 0.1


def test_training_passes_options_and_progress_on(x, W):
    seen = []

    def track(steps, what):
        seen.append((what, len(steps)))
        return steps

    found = decompose_training(
        x, W, by="mixing", at=(1,), mixing_steps=2, agreement="dot", track=track, **FEW
    )
    assert seen == [("training by mixing", 2)]
    V = W + cd_gradient(x, W, route(x, W, agreement="dot").c, steps=2)
    expected = cd_gradient(x, V, route(x, V, agreement="dot").c, steps=2)
    np.testing.assert_allclose(found[1].gradient("mixing"), expected, rtol=1e-9, atol=1e-12)


def test_bad_options(x, W):
    with pytest.raises(OptionError, match="by: expected"):
        decompose_training(x, W, by="other")
    with pytest.raises(OptionError, match="at: expected steps from 0"):
        decompose_training(x, W, by="mixing", at=(-1, 5))
    with pytest.raises(OptionError, match="n_nodes: expected a power of 2, got 100"):
        decompose_gradient(x, W, n_nodes=100)
    with pytest.raises(OptionError, match="n_estimates"):
        decompose_gradient(x, W, n_estimates=0)
    with pytest.raises(ShapeError, match="W: expected shape"):
        decompose_gradient(x, W[:2])
    with pytest.raises(OptionError, match="name: expected"):
        decompose_gradient(x, W, **FEW).gradient("other")
