"""The capsule decoder: the paper's rule for U, settled codes, and its state."""

import numpy as np
import pytest
from sklearn.base import clone

from capsnp.errors import NotFittedError, OptionError, ShapeError
from capsnp.functional import decoder_gradient, length, settle, squash
from capsnp.models import CapsuleDecoder

SMALL = {"winner_steps": 40, "settled_steps": 40, "batch_size": 20, "dtype": "float64"}


@pytest.fixture(scope="module")
def data():
    """Codes (300, 4, 3), features (300, 6, 2) that a decoder could make of them."""
    rng = np.random.default_rng(0)
    codes = squash(rng.normal(size=(300, 4, 3)))
    U = rng.normal(size=(4, 6, 2, 3))
    features = 0.3 * np.einsum("jipd,bjd->bip", U, codes)
    return codes, features


def test_paper_rule_by_loops(data):
    """U after two steps equals section 4.1's rule written out, all capsules on."""
    codes, h = data
    options = {"winner_steps": 2, "settled_steps": 0, "batch_size": 300, "n_winners": None}
    model = CapsuleDecoder(**SMALL | options | {"coefficient_scale": 0.8, "learning_rate": 0.5})
    model.training(codes, h)
    U, M = np.array(model.U_), 0.0
    model.fit(codes, h)
    e = 0.8
    for t in range(2):
        total = np.zeros_like(U)
        for y, z in zip(codes, h, strict=True):
            z_model = e * np.einsum("jipd,jd->ip", U, y)
            y_model = squash(e * np.einsum("jipd,ip->jd", U, z_model))
            pull = z / (1 + np.sum(z * z, axis=1, keepdims=True))
            pull_model = z_model / (1 + np.sum(z_model * z_model, axis=1, keepdims=True))
            total += 2 * e * np.einsum("ip,jd->jipd", pull, y)
            total -= 2 * e * np.einsum("ip,jd->jipd", pull_model, y_model)
        M = 0.9 * M + 0.1 * (total / 300 - 1e-4 * U)
        U = U + 0.5 * (1 - t / 2) * M
    np.testing.assert_allclose(model.U_, U, rtol=1e-10, atol=1e-14)


def test_inverse_transform_is_the_weighted_sum(data):
    codes, h = data
    model = CapsuleDecoder(**SMALL).fit(codes, h)
    want = model.gain * 0.17 * np.einsum("jipd,bjd->bip", model.U_, codes)
    np.testing.assert_allclose(model.inverse_transform(codes), want, rtol=1e-10, atol=1e-13)


def test_second_phase_makes_settled_codes_rebuild_better(data):
    codes, h = data
    options = SMALL | {"winner_steps": 150, "strength": 0.05, "settled_counts": (4,)}
    errors = []
    for settled_steps in (0, 150):
        model = CapsuleDecoder(**options | {"settled_steps": settled_steps}).fit(codes, h)
        settled = model.settle(h, start=codes)
        assert np.max(length(settled.y)) < 1
        errors.append(np.sum((model.inverse_transform(settled.y) - h) ** 2) / np.sum(h**2))
    assert errors[1] < 0.7 * errors[0]


@pytest.mark.parametrize("iterations", [1, 2])
def test_second_phase_by_loops(data, iterations):
    """Its gradient, example by example: half the paper's rule, half the delta rule."""
    codes, h = data[0][:64], data[1][:64]
    options = {"winner_steps": 1, "settled_steps": 1, "settled_counts": (2,), "winner_weight": 3.0}
    options |= {"batch_size": 64, "routing_iterations": iterations, "settling_steps_training": 9}
    model = CapsuleDecoder(**SMALL | options)
    training = model.training(codes, h)
    for _ in range(2):
        U, gradient = np.array(model.U_), training.gradient()["U"]
        training.apply({"U": gradient})
    model.U_ = U
    total = np.zeros_like(U)
    for n in range(64):
        order = np.argsort(-np.linalg.norm(codes[n], axis=1))
        on = np.zeros(4)
        if n < 32:
            on[order[0]] = 1
            y = (codes[n] * on[:, None])[None]
            e = model._coefficients(y)
            total += 3.0 * decoder_gradient(y, h[n : n + 1], U, e) / 64
        else:
            on[order[:2]] = 1
            e = model._coefficients(codes[n : n + 1], model.gain)
            options = {"strength": model.strength, "on": on[None], "max_iter": 9}
            y = settle(h[n : n + 1], U, e, **options).y[0]
            e = e.reshape(4, 6)
            missing = h[n] - np.einsum("ji,jipd,jd->ip", e, U, y)
            total += 2 * np.einsum("ji,ip,jd->jipd", e, missing, y) / 64
    np.testing.assert_allclose(gradient, total, rtol=1e-8, atol=1e-10 * np.max(np.abs(total)))


def test_winners_alone_are_on_in_the_first_phase(data):
    """With one winner and priority for capsule 2, the others' maps see no data."""
    codes, h = data
    priority = np.zeros((300, 4))
    priority[:, 2] = 1
    model = CapsuleDecoder(**SMALL | {"settled_steps": 0, "l2": 0.0})
    model.training(codes, h)
    before = np.array(model.U_)
    model.fit(codes, h, priority=priority)
    change = np.max(np.abs(model.U_ - before), axis=(1, 2, 3))
    assert change[2] > 1e-3
    # the others change by the model's term alone, which is of second order in small maps
    assert np.all(change[[0, 1, 3]] < 0.2 * change[2])


def test_settle_holds_capsules_off(data):
    codes, h = data
    model = CapsuleDecoder(**SMALL).fit(codes, h)
    on = np.tile([1.0, 0.0, 1.0, 0.0], (300, 1))
    settled = model.settle(h, start=codes, on=on)
    assert np.all(settled.y[:, [1, 3]] == 0)
    assert np.all(length(settled.y[:, [0, 2]]) > 0)
    assert model.settle(h, start=codes, max_iter=7).iterations == 7


@pytest.mark.parametrize("iterations", [1, 2])
def test_routed_decoder_runs_and_resumes_with_the_same_bytes(data, iterations):
    codes, h = (array.astype("float32") for array in data)
    model = CapsuleDecoder(**SMALL | {"dtype": "float32", "routing_iterations": iterations})
    straight = clone(model).fit(codes, h)
    first = clone(model).training(codes, h)
    for _ in range(55):
        first.apply(first.gradient())
    second_model = clone(model)
    second = second_model.training(codes, h)
    second.restore({name: np.array(value) for name, value in first.state().items()})
    while second.step < second.n_steps:
        second.apply(second.gradient())
    assert straight.state()["U"].tobytes() == second_model.state()["U"].tobytes()
    assert np.all(np.isfinite(straight.inverse_transform(codes)))


def test_torch_learns_the_same(data):
    pytest.importorskip("torch")
    want = CapsuleDecoder(**SMALL).fit(*data)
    got = CapsuleDecoder(backend="torch", **SMALL).fit(*data)
    np.testing.assert_allclose(got.state()["U"], want.state()["U"], rtol=1e-6, atol=1e-10)


def test_bad_input(data):
    codes, h = data
    with pytest.raises(ShapeError, match=r"y: expected shape \(N, I, P\)"):
        CapsuleDecoder(**SMALL).fit(codes, h[:10])
    with pytest.raises(OptionError, match="winner_steps: expected"):
        CapsuleDecoder(**SMALL | {"winner_steps": 0}).fit(codes, h)
    with pytest.raises(OptionError, match="batch_size: expected a whole number from 2, got 1"):
        CapsuleDecoder(**SMALL | {"batch_size": 1}).fit(codes, h)
    for counts in ((), 3, None):
        with pytest.raises(OptionError, match="settled_counts: expected whole numbers like"):
            CapsuleDecoder(**SMALL | {"settled_counts": counts}).fit(codes, h)
    with pytest.raises(ShapeError, match="X: expected at least 2 rows for settled steps, got 1"):
        CapsuleDecoder(**SMALL).fit(codes[:1], h[:1])
    with pytest.raises(ShapeError, match=r"priority: expected shape \(N, J\)"):
        CapsuleDecoder(**SMALL).fit(codes, h, priority=codes[:, 1:, 0])
    with pytest.raises(NotFittedError, match="call fit first"):
        CapsuleDecoder().inverse_transform(codes)
    with pytest.raises(ShapeError, match=r"codes: expected shape \(N, J, D\)"):
        CapsuleDecoder(**SMALL).fit(codes, h).inverse_transform(codes[:, :3])


def test_metric_measures_features(data):
    codes, h = data
    model = CapsuleDecoder(**SMALL).fit(codes, h)
    flat = codes.reshape(300, -1) @ model.metric()
    want = np.linalg.norm(model.inverse_transform(codes).reshape(300, -1), axis=1)
    np.testing.assert_allclose(np.linalg.norm(flat, axis=1), want, rtol=1e-4)
