"""CapsNet: what it learns, its manners, what it refuses."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError, SkipTestWarning
from sklearn.utils.estimator_checks import check_estimator

from capsnp import CapsNet
from capsnp.datasets import load
from capsnp.errors import (
    CheckpointError,
    DataError,
    DivergenceError,
    DomainError,
    MemoryLimitError,
    OptionError,
    ShapeError,
)
from capsnp.functional import length
from capsnp.functional.routings import ROUTINGS
from capsnp.models._capsnet_presets import PRESETS
from capsnp.models._capsnet_training import shifted
from capsnp.training.optimisers import Adam

TINY = {
    "filters": 4,
    "primary_channels": 2,
    "primary_dim": 3,
    "capsule_dim": 4,
    "kernel": 3,
    "augment": 1,
    "decoder_hidden": (5, 6),
    "n_iter": 2,
    "batch_size": 8,
}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).random((24, 9, 8, 1), dtype=np.float32)


@pytest.fixture(scope="module")
def labels():
    return np.asarray(["cat", "dog", "owl"])[np.arange(24) % 3]


@pytest.fixture(scope="module")
def fitted(images, labels):
    return CapsNet(**TINY).fit(images, labels)


def expect_same(one, other):
    first, second = one.state(), other.state()
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


# --- learning ----------------------------------------------------------------------------------


def test_scikit_learn_s_checks_pass_whole():
    model = CapsNet(
        8,
        4,
        4,
        4,
        kernel=1,
        augment=0,
        iterations=2,
        n_iter=8,
        batch_size=16,
        learning_rate=0.02,
        decoder_hidden=(4, 4),
        dtype="float64",
    )
    with pytest.warns(SkipTestWarning):  # of libraries that are not here
        results = check_estimator(model, on_fail=None)
    found = {(r["check_name"], r["status"]) for r in results if r["status"] != "passed"}
    assert {status for _, status in found} <= {"skipped"}, found
    assert {name for name, _ in found} <= {
        "check_array_api_input",
        "check_classifier_data_not_an_array",
    }


def test_learns_mnist(data_dir, monkeypatch):
    monkeypatch.setenv("CAPSNP_DATA", str(data_dir))
    train, test = load("mnist"), load("mnist", split="test")
    model = CapsNet.preset("small", filters=16, primary_channels=4, n_iter=4, augment=1)
    model.fit(train.images[:600], train.labels[:600])
    assert model.score(test.images[:500], test.labels[:500]) > 0.75
    rebuilt = model.reconstruct(test.images[:500])
    mean = np.mean(train.images[:600], axis=0)
    errors = [np.sum((other - test.images[:500]) ** 2) for other in (rebuilt, mean)]
    assert errors[0] < errors[1]


def test_a_run_that_was_interrupted_has_the_same_bits(images, labels):
    whole, parts = (clone(CapsNet(**TINY)) for _ in range(2))
    training = whole.training(images, labels)
    for _ in range(3):
        training.apply(training.gradient())
    state = training.state()
    for _ in range(2):
        training.apply(training.gradient())
    resumed = parts.training(images, labels)
    resumed.restore(state)
    assert resumed.step == 3
    for _ in range(2):
        resumed.apply(resumed.gradient())
    expect_same(whole, parts)


def test_threads_do_not_change_bits(images, labels, monkeypatch):
    models = []
    for threads in ("1", "2"):
        monkeypatch.setenv("CAPSNP_NUM_THREADS", threads)
        models.append(CapsNet(**TINY).fit(images, labels))
    expect_same(*models)


def test_the_rate_falls_by_the_decay_in_a_pass(images, labels, monkeypatch):
    rates = []
    update = Adam.update

    def watched(self, parameters, gradient, rate):
        rates.append(rate)
        return update(self, parameters, gradient, rate)

    monkeypatch.setattr(Adam, "update", watched)
    model = CapsNet(**TINY | {"decay": 0.5, "learning_rate": 0.008})
    model.fit(images, labels).partial_fit(images[:4], labels[:4])
    assert rates == pytest.approx([0.008 * 0.5 ** (t / 3) for t in range(6)] + [0.008])


def test_images_are_moved_and_zeros_come_in():
    images = np.arange(1.0, 3 * 4 * 5 + 1).reshape(3, 4, 5, 1)
    seen = set()
    for seed in range(12):
        for image, moved in zip(images, shifted(images, 1, [seed]), strict=True):
            wide = np.pad(image[..., 0], 1)
            places = {
                (y, x)
                for y in range(3)
                for x in range(3)
                if np.array_equal(moved[..., 0], wide[y : y + 4, x : x + 5])
            }
            assert len(places) == 1
            seen |= places
    assert len(seen) == 9
    assert shifted(images, 0, [0]) is images


def test_what_is_loaded_learns_on(fitted, images, labels, tmp_path):
    fitted.save(tmp_path)
    loaded = CapsNet.load(tmp_path)
    assert loaded.predict(images).tolist() == fitted.predict(images).tolist()
    loaded.partial_fit(images[:8], labels[:8])
    expect_same(loaded, clone(fitted).restore(fitted.state()).partial_fit(images[:8], labels[:8]))
    assert np.any(loaded.weights_["W"] != fitted.weights_["W"])


def test_a_pickle_learns_on(images, labels):
    model = CapsNet(**TINY, squash="efficient").partial_fit(images[:8], labels[:8])
    twin = pickle.loads(pickle.dumps(model))
    for one in (model, twin):
        one.partial_fit(images[8:16], labels[8:16])
    expect_same(model, twin)


def test_batches_one_by_one(images, labels):
    model = CapsNet(**TINY).partial_fit(images[:2], labels[:2], classes=["owl", "dog", "cat"])
    assert model.classes_.tolist() == ["cat", "dog", "owl"]
    model.partial_fit(images[2:6], labels[2:6])
    with pytest.raises(DataError, match=r"y: expected labels of the training, 'cat', .* got 'emu'"):
        model.partial_fit(images[:2], ["cat", "emu"])
    with pytest.raises(OptionError, match="classes: expected those of the first call"):
        model.partial_fit(images[:2], labels[:2], classes=["cat", "dog"])
    with pytest.raises(ShapeError, match=r"X: expected shape \(N, H, W, C\) = \(any, 9, 8, 1\)"):
        model.partial_fit(images[:, :8], labels)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_run(name, images, labels):
    model = CapsNet.preset(name, **TINY, dtype="float64").fit(images.astype("float64"), labels)
    assert np.isfinite(model.transform(images)).all()
    given = PRESETS[name].parameters
    assert {key: CapsNet.preset(name).get_params()[key] for key in given} == given


def test_a_mean_over_inputs_learns_from_a_wider_start():
    train, test = load("digits", limit=300), load("digits", split="test", limit=200)
    sizes = {"filters": 8, "primary_channels": 4, "kernel": 7, "reconstruction": 0}
    options = sizes | {"n_iter": 3, "learning_rate": 2e-3}

    def right(**start):
        model = CapsNet.preset("hauser2019", **options, **start)
        return model.fit(train.images, train.labels).score(test.images, test.labels)

    assert right() > 0.65 > right(init_scale=0.025) + 0.1


def test_slips_change_what_is_learnt(images, labels):
    paper, *slips = (
        CapsNet.preset(name, **TINY).fit(images, labels).weights_["W"]
        for name in ("sabour2017", "softmax-over-inputs", "shared-logits", "unsquared-margin",
                     "neighbouring-pixels")
    )  # fmt: skip
    assert all(np.max(np.abs(paper - slip)) > 1e-6 for slip in slips)


def test_the_naive_norm_breaks_on_blank_images(images, labels):
    blank = images.copy()
    blank[::2] = 0.0
    CapsNet.preset("sabour2017", **TINY).fit(blank, labels)
    with pytest.raises(DivergenceError, match="capsnet, step"):
        CapsNet.preset("no-epsilon-norm", **TINY).fit(blank, labels)


def bars(n):
    """Bars across, upright and aslant on noise, with their kinds."""
    rng, kinds = np.random.default_rng(0), np.arange(n) % 3
    images = 0.2 * rng.random((n, 8, 8, 1), dtype=np.float32)
    for image, kind, k in zip(images, kinds, rng.integers(2, 6, n), strict=True):
        across = np.full(8, k), np.arange(8)
        aslant = np.arange(8), (np.arange(12, 20) - k) % 8
        image[(across, across[::-1], aslant)[kind]] += 0.8
    return images, kinds


@pytest.mark.parametrize("routing", ROUTINGS)
def test_every_routing_learns_and_comes_back(routing, tmp_path):
    images, kinds = bars(120)
    options = {"reconstruction": 0, "n_iter": 10, "batch_size": 10, "learning_rate": 0.01}
    model = CapsNet(8, 4, 4, 4, 3, augment=0, routing=routing, **options)
    assert model.fit(images[:80], kinds[:80]).score(images[80:], kinds[80:]) > 0.75
    own = {name: value for name, value in model.weights_.items() if name.startswith("routing.")}
    assert all(len(np.unique(value)) > 1 for value in own.values())
    assert len(own) == {"em": 2, "self-attention": 1, "inverted-dot-product": 2}.get(routing, 0)
    model.save(tmp_path)
    expect_same(CapsNet.load(tmp_path), model)


# --- answers -----------------------------------------------------------------------------------


def test_answers_fit_each_other(fitted, images, labels):
    v = fitted.transform(images)
    lengths = fitted.lengths(images)
    assert v.shape == (24, 3, 4)
    np.testing.assert_array_equal(lengths, length(v))
    np.testing.assert_array_equal(fitted.decision_function(images), lengths)
    p = fitted.predict_proba(images)
    np.testing.assert_allclose(p, lengths / lengths.sum(axis=1, keepdims=True), rtol=1e-6)
    predicted = fitted.predict(images)
    assert predicted.tolist() == fitted.classes_[np.argmax(lengths, axis=1)].tolist()
    assert fitted.score(images, labels) == np.mean(predicted == labels)
    half = fitted.score(images, labels, sample_weight=predicted == labels)
    assert half == 1.0
    own = fitted.reconstruct(images)
    assert own.shape == images.shape
    np.testing.assert_array_equal(own, fitted.reconstruct(images, predicted))
    np.testing.assert_array_equal(own, fitted.inverse_transform(v))
    assert np.any(own != fitted.reconstruct(images, np.roll(fitted.classes_, 1)[[0] * 24]))


def test_two_classes_have_one_decision(images):
    model = CapsNet(**TINY).fit(images, np.arange(24) % 2 > 0)
    decision = model.decision_function(images)
    assert decision.shape == (24,)
    assert model.predict(images).tolist() == (decision > 0).tolist()


def test_lengths_that_are_all_zero_are_no_nan(images, labels):
    model = CapsNet(**TINY | {"init_scale": 0.0, "learning_rate": 0.0}).fit(images, labels)
    assert np.all(model.lengths(images) == 0)
    np.testing.assert_allclose(model.predict_proba(images), 1 / 3, rtol=1e-6)


@pytest.mark.parametrize(
    "y", [np.arange(24) % 3 - 1, np.arange(24) % 2 > 0, (np.arange(24) % 3).astype(str).tolist()]
)
def test_labels_of_any_kind_come_back(images, y, tmp_path):
    model = CapsNet(**TINY | {"n_iter": 1}).fit(images, y)
    model.save(tmp_path)
    loaded = CapsNet.load(tmp_path)
    assert loaded.classes_.tolist() == np.unique(y).tolist()
    assert loaded.classes_.dtype == model.classes_.dtype
    assert set(loaded.predict(images).tolist()) <= set(np.unique(y).tolist())


def test_rows_are_images(fitted, images, labels):
    rows = images.reshape(24, -1)
    of_rows = CapsNet(**TINY, image_shape=(9, 8)).fit(rows, labels)
    expect_same(of_rows, fitted)
    assert (of_rows.n_features_in_, of_rows.image_shape_) == (72, (9, 8, 1))
    for model in (of_rows, fitted):
        np.testing.assert_array_equal(model.transform(rows), fitted.transform(images))
        assert model.reconstruct(rows).shape == rows.shape


def test_rows_of_any_range_are_scaled(images, labels):
    rows = 510 * images.reshape(24, -1) - 255
    model = CapsNet(**TINY, image_shape=(9, 8, 1)).fit(rows, labels)
    assert model.pixel_range_ == (rows.min(), rows.max())
    rebuilt = model.reconstruct(rows)
    assert rebuilt.min() < 0
    assert rebuilt.min() >= rows.min()
    assert rebuilt.max() > 1
    with pytest.raises(DomainError, match="X: expected finite numbers, got infinity"):
        model.predict(np.full((1, 9, 8, 1), np.inf))


def test_rows_of_the_widest_range_are_finite(labels):
    rows = np.random.default_rng(0).uniform(-1, 1, (24, 72)) * np.finfo("float64").max
    model = CapsNet(**TINY, image_shape=(9, 8, 1), dtype="float64").fit(rows, labels)
    assert np.isfinite(model.transform(rows)).all()
    assert np.isfinite(model.reconstruct(rows)).all()


def test_without_reconstruction_there_is_no_decoder(images, labels):
    model = CapsNet(**TINY | {"reconstruction": 0}).fit(images, labels)
    assert "dense1" not in model.weights_
    with pytest.raises(OptionError, match="reconstruction: expected a number above 0"):
        model.reconstruct(images)


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"y": ["cat"] * 23}, ShapeError, "y: expected 24 labels, .* got 23"),
        ({"y": ["cat"] * 24}, DataError, "y: expected at least two classes, got one class, 'cat'"),
        ({"y": [1.5, np.nan] * 12}, DomainError, "y: expected labels, got NaN"),
        ({"X": np.full((24, 9, 8, 1), np.nan)}, DomainError, "X: expected pixels from 0 to 1"),
        ({"X": np.full((24, 9, 8, 1), 255.0)}, DomainError, "from 0 to 1, got 255"),
        ({"X": np.full((24, 30), np.nan)}, DomainError, r"X: expected finite numbers, got NaN"),
        ({"kernel": 5}, ShapeError, "height and width from 9 for two kernels of 5, got 9 x 8$"),
        ({"X": np.zeros((24, 72))}, ShapeError, "rows of 72 numbers are one pixel without image_"),
        ({"augment": 8}, OptionError, "augment: expected fewer pixels than the images' 9 x 8"),
        ({"image_shape": (9, 7, 1)}, ShapeError, r"\(N, H, W, C\) = \(any, 9, 7, 1\)"),
        ({"image_shape": 28}, OptionError, "image_shape: expected .* got 28"),
        ({"squash": "flat"}, OptionError, "squash: expected 'sabour', .* got 'flat'"),
        ({"loss": "hinge"}, OptionError, "loss: expected 'margin', 'spread' or 'cross-entropy'"),
        ({"decay": 1.1}, OptionError, "decay: expected a number from 0 to 1"),
        ({"decoder_hidden": (3,)}, OptionError, "decoder_hidden: expected two widths"),
        ({"primary_channels": 10**9}, MemoryLimitError, "primary_channels: expected channels of"),
        ({"iterations": 0}, OptionError, "iterations: expected a whole number from 1"),
    ],
    ids=str,
)
def test_one_clear_error(images, labels, change, error, message):
    options = {name: value for name, value in change.items() if name not in ("X", "y")}
    with pytest.raises(error, match=message) as caught:
        CapsNet(**TINY | options).fit(change.get("X", images), change.get("y", labels))
    assert "\n" not in str(caught.value)


def test_unseen_labels_are_named(fitted, images):
    with pytest.raises(DataError, match=r"y: expected labels of the training, .* got 'emu'"):
        fitted.score(images, ["emu", "cat"] * 12)
    with pytest.raises(DataError, match="got 'emu'"):
        fitted.reconstruct(images, ["emu"] * 24)
    with pytest.raises(NotFittedError):
        CapsNet().reconstruct(images)
    with pytest.raises(OptionError, match=r"name: expected 'sabour2017', .* got 'keras'"):
        CapsNet.preset("keras")


def test_a_state_that_does_not_fit_is_named(fitted):
    state = fitted.state()
    for change, message in (
        ({"W": np.zeros(3)}, r"W: expected shape \(12, 3, 4, 3\), got \(3,\)"),
        ({"bias2": None}, r"bias2: expected shape \(6,\), got none"),
        ({"classes.json": None}, "expected an array 'classes'"),
        ({"pixel_range": None}, "expected an array 'pixel_range'"),
    ):
        changed = {k: v for k, v in (state | change).items() if v is not None}
        with pytest.raises(CheckpointError, match=message):
            clone(fitted).restore(changed)
