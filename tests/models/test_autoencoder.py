"""The autoencoder: its network against PyTorch and differences, its training, its manners."""

import itertools

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

from capsnp.errors import (
    CheckpointError,
    DomainError,
    DtypeError,
    NotFittedError,
    OptionError,
    ShapeError,
)
from capsnp.functional import conv2d, conv2d_transpose, leaky_relu, sigmoid
from capsnp.functional.lowering import Fourier, Im2col
from capsnp.models import _convolutional as network
from capsnp.models.autoencoder import CHUNK, ConvAutoencoder
from capsnp.training.loop import Observer

KERNEL, FILTERS, SLOPE = 5, 4, 0.2
SMALL = {"filters": 8, "kernel": 5, "capsule_dim": 4, "batch_size": 16, "n_steps": 6}


# --- the network -----------------------------------------------------------------------------


@pytest.fixture(params=[(12, 12, 1), (13, 15, 3)], ids=str)
def problem(request, rng):
    """Images, weights and a dropout mask of a tiny network, on the host, in float64."""
    height, width, channels = request.param
    code = network.code_grid((height, width), KERNEL)
    weights = {
        "filters1": 0.3 * rng.normal(size=(KERNEL, KERNEL, channels, FILTERS)),
        "filters2": 0.2 * rng.normal(size=(KERNEL, KERNEL, FILTERS, FILTERS)),
        "bias1": rng.normal(size=FILTERS),
        "bias2": rng.normal(size=FILTERS),
        "decoder_bias2": rng.normal(size=FILTERS),
        "decoder_bias1": rng.normal(size=channels),
    }
    mask = (rng.random((3, *code, FILTERS)) > 0.2) / 0.8
    return rng.random((3, height, width, channels)), weights, mask


@pytest.fixture(params=["im2col", "fourier"])
def create(request):
    """The network with its second layer computed in one way or the other."""

    def network_of(weights, size):
        hidden = size[0] - KERNEL + 1, size[1] - KERNEL + 1
        first = Im2col(size, KERNEL, 1)
        if request.param == "im2col":
            return network.Network(first, Im2col(hidden, KERNEL, 2), SLOPE)
        second = Fourier.create(hidden, KERNEL, 2, like=weights["filters2"])
        return network.Network(first, second, SLOPE)

    return network_of


def loss(net, images, weights, mask):
    return net.loss_and_gradient(images, net.products(weights), mask)


def test_loss_and_gradient_are_pytorchs(problem, create):
    torch = pytest.importorskip("torch")
    from torch.nn import functional as F

    images, weights, mask = problem
    size = images.shape[1:3]
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in weights.items()}
    w1, w2 = (leaves[name].permute(3, 2, 0, 1) for name in ("filters1", "filters2"))
    x = torch.tensor(images).permute(0, 3, 1, 2)
    a = F.leaky_relu(F.conv2d(x, w1, leaves["bias1"]), SLOPE)
    code = F.leaky_relu(F.conv2d(a, w2, leaves["bias2"], stride=2), SLOPE)
    dropped = code * torch.tensor(mask).permute(0, 3, 1, 2)
    more = [(n - 2 * KERNEL + 1) % 2 for n in size]
    d = F.conv_transpose2d(dropped, w2, leaves["decoder_bias2"], stride=2, output_padding=more)
    logits = F.conv_transpose2d(F.leaky_relu(d, SLOPE), w1, leaves["decoder_bias1"])
    expected = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    expected.backward()

    ours = loss(create(weights, size), images, weights, mask)
    assert ours.cross_entropy == pytest.approx(expected.item())
    assert ours.squared_error == pytest.approx(((torch.sigmoid(logits) - x) ** 2).sum().item())
    for name, leaf in leaves.items():
        np.testing.assert_allclose(ours.gradient[name], leaf.grad.numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", network.WEIGHTS)
def test_gradient_is_the_slope_of_the_loss(problem, create, rng, name):
    images, weights, mask = problem
    net = create(weights, images.shape[1:3])
    direction = rng.normal(size=weights[name].shape)

    def moved(step):
        shifted = weights | {name: weights[name] + step * direction}
        return loss(net, images, shifted, mask).cross_entropy

    slope = (moved(1e-6) - moved(-1e-6)) / 2e-6
    gradient = loss(net, images, weights, mask).gradient[name]
    assert np.sum(gradient * direction) == pytest.approx(slope, rel=1e-6)


def test_every_library_computes_the_same(problem, create, from_host, to_host):
    images, weights, mask = problem
    expected = loss(create(weights, images.shape[1:3]), images, weights, mask)
    there = {name: from_host(value) for name, value in weights.items()}
    ours = loss(create(there, images.shape[1:3]), from_host(images), there, from_host(mask))
    assert float(ours.cross_entropy) == pytest.approx(float(expected.cross_entropy))
    for name, value in ours.gradient.items():
        np.testing.assert_allclose(to_host(value), expected.gradient[name], rtol=1e-9, atol=1e-9)


def test_encoder_and_decoder_are_figure_1(problem, create):
    images, w, _ = problem
    size = images.shape[1:3]
    net = create(w, size)
    hidden = leaky_relu(conv2d(images, w["filters1"], w["bias1"]), slope=SLOPE)
    code = leaky_relu(conv2d(hidden, w["filters2"], w["bias2"], stride=2), slope=SLOPE)
    np.testing.assert_allclose(net.encode(images, net.products(w)), code, atol=1e-12)

    more = tuple((n - 2 * KERNEL + 1) % 2 for n in size)
    hidden = conv2d_transpose(
        code, w["filters2"], w["decoder_bias2"], stride=2, output_padding=more
    )
    hidden = leaky_relu(hidden, slope=SLOPE)
    logits = conv2d_transpose(hidden, w["filters1"], w["decoder_bias1"])
    assert logits.shape == images.shape
    np.testing.assert_allclose(net.decode(code, net.products(w)), logits, atol=1e-11)


# --- training --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).random((40, 12, 12, 1), dtype=np.float32)


def assert_same_bits(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_same_seed_same_bits(images):
    first, second = (ConvAutoencoder(**SMALL).fit(images) for _ in range(2))
    other = ConvAutoencoder(**SMALL, random_state=1).fit(images)
    assert_same_bits(first.state(), second.state())
    assert not np.array_equal(first.weights_["filters1"], other.weights_["filters1"])


def test_resumed_training_ends_with_the_same_bits(images):
    whole = ConvAutoencoder(**SMALL).training(images)
    for _ in range(6):
        whole.apply(whole.gradient())
        if whole.step == 3:
            saved = {name: value.copy() for name, value in whole.state().items()}
    resumed = ConvAutoencoder(**SMALL).training(images)
    resumed.restore(saved)
    assert resumed.step == 3
    while resumed.step < resumed.n_steps:
        resumed.apply(resumed.gradient())
    assert_same_bits(whole.state(), resumed.state())


def test_partial_fit_on_all_images_is_fit_with_that_batch(images):
    options = SMALL | {"n_steps": 2, "batch_size": len(images)}
    fitted = ConvAutoencoder(**options).fit(images)
    online = ConvAutoencoder(**options).partial_fit(images).partial_fit(images)
    assert_same_bits(fitted.state(), online.state())


def test_partial_fit_goes_on_from_fitted_weights(images):
    model = ConvAutoencoder(**SMALL).fit(images)
    before = model.state()
    model.partial_fit(images[:8])
    # the first step of Adam moves each weight by about the learning rate
    moved = np.abs(model.weights_["filters2"] - before["filters2"])
    assert 0 < np.max(moved) <= 1.001 * model.learning_rate


def test_fit_and_restore_forget_the_moments_of_partial_fit(images):
    state = ConvAutoencoder(**SMALL).fit(images).state()
    fresh = ConvAutoencoder.from_state(state, **SMALL).partial_fit(images[:8])
    refitted = ConvAutoencoder(**SMALL).partial_fit(images[8:]).fit(images)
    restored = ConvAutoencoder(**SMALL).partial_fit(images[8:]).restore(state)
    for model in (refitted, restored):
        assert_same_bits(model.partial_fit(images[:8]).state(), fresh.state())


def test_training_follows_the_mean_cross_entropy_of_the_batch(images):
    """The step's gradient is the slope of its own health, over blocks and without dropout."""
    many = np.concatenate([images, images])[: CHUNK + 9]
    options = SMALL | {"dropout": 0.0, "batch_size": len(many), "dtype": "float64"}
    training = ConvAutoencoder(**options).training(many)
    gradient, weights = training.gradient(), training.model.weights_
    name = "bias1"
    ends = []
    for step in (1e-6, -1e-6):
        training.model.weights_ = weights | {name: weights[name] + step}
        training.gradient()
        ends.append(training.health()["cross_entropy"])
    assert np.sum(gradient[name]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6)


def test_dropout_is_a_function_of_seed_and_step(images):
    training = ConvAutoencoder(**SMALL | {"dropout": 0.25}).training(images)
    first = training._mask(1000)
    np.testing.assert_array_equal(first, training._mask(1000))
    training.step = 1
    assert not np.array_equal(first, training._mask(1000))
    assert np.unique(first).tolist() == pytest.approx([0.0, 1.0 / 0.75])
    assert np.mean(first == 0) == pytest.approx(0.25, abs=0.01)


def test_learns_the_digits_beyond_their_mean():
    digits = (load_digits().images[:, :, :, None] / 16.0).astype("float32")
    options = {"batch_size": 64, "n_steps": 150, "learning_rate": 3e-3}
    model = ConvAutoencoder(32, 3, 8, **options).fit(digits)
    mean_image_error = np.sum((digits - digits.mean(axis=0)) ** 2) / len(digits)
    assert -model.score(digits) < 0.45 * mean_image_error


class Recorder(Observer):
    def __init__(self):
        self.seen = []

    def after_step(self, training):
        self.seen.append((training.step, training.health()))


def test_observers_see_every_step_and_its_health(images):
    recorder = Recorder()
    model = ConvAutoencoder(**SMALL).fit(images, observers=[recorder])
    assert [step for step, _ in recorder.seen] == list(range(1, 7))
    for _, health in recorder.seen:
        assert health.keys() == {"cross_entropy", "squared_error"}
        assert all(type(value) is float and value > 0 for value in health.values())
    assert model.training(images).parameters().keys() == set(network.WEIGHTS)


# --- use -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image_shape", "grid", "capsules"), [((28, 28, 1), (6, 6), 576), ((32, 32, 3), (8, 8), 1024)]
)
def test_the_papers_sizes(image_shape, grid, capsules, rng):
    model = ConvAutoencoder()
    pixels = rng.random((2, *image_shape), dtype=np.float32)
    model.training(pixels)
    assert model.weights_["filters1"].shape == (9, 9, image_shape[2], 128)
    assert model.weights_["filters2"].shape == (9, 9, 128, 128)
    assert (model.grid_, model.n_capsules_) == (grid, capsules)
    features = model.transform(pixels)
    assert features.shape == (2, capsules, 8)
    assert features.dtype == np.float32
    rebuilt = model.inverse_transform(features)
    assert rebuilt.shape == pixels.shape
    assert np.all((rebuilt >= 0) & (rebuilt <= 1))


@pytest.fixture(scope="module")
def fitted(images):
    return ConvAutoencoder(**SMALL).fit(images)


def test_capsules_are_runs_of_channels_at_one_place(fitted, images):
    w = fitted.weights_
    hidden = leaky_relu(conv2d(images[:3], w["filters1"], w["bias1"]))
    code = leaky_relu(conv2d(hidden, w["filters2"], w["bias2"], stride=2))
    features = fitted.transform(images[:3])
    for n, y, x, i in itertools.product(range(3), range(2), range(2), range(2)):
        np.testing.assert_allclose(
            features[n, (y * 2 + x) * 2 + i], code[n, y, x, 4 * i : 4 * i + 4], atol=1e-5
        )


def test_blocks_do_not_show(fitted, rng):
    many = rng.random((2 * CHUNK + 5, 12, 12, 1), dtype=np.float32)
    features = fitted.transform(many)
    one_by_one = np.concatenate([fitted.transform(image[None]) for image in many])
    np.testing.assert_allclose(features, one_by_one, atol=1e-5)
    np.testing.assert_allclose(
        fitted.inverse_transform(features),
        np.concatenate([fitted.inverse_transform(h[None]) for h in features]),
        atol=1e-5,
    )


def test_memory_maps_go_in_and_out(fitted, images, tmp_path):
    np.save(tmp_path / "images.npy", images)
    on_disk = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert_same_bits(ConvAutoencoder(**SMALL).fit(on_disk).state(), fitted.state())
    shape = (len(images), fitted.n_capsules_, 4)
    out = np.lib.format.open_memmap(tmp_path / "h.npy", "w+", dtype="float32", shape=shape)
    assert fitted.transform(on_disk, out=out) is out
    np.testing.assert_array_equal(out, fitted.transform(images))


def test_score_is_minus_the_squared_error_per_image(fitted, images):
    rebuilt = fitted.inverse_transform(fitted.transform(images))
    assert fitted.score(images) == pytest.approx(-np.sum((rebuilt - images) ** 2) / len(images))


def test_inverse_transform_is_the_decoder(fitted, images):
    features = fitted.transform(images[:4])
    w = fitted.weights_
    hidden = conv2d_transpose(
        features.reshape(4, 2, 2, 8), w["filters2"], w["decoder_bias2"], stride=2, output_padding=1
    )
    logits = conv2d_transpose(leaky_relu(hidden), w["filters1"], w["decoder_bias1"])
    np.testing.assert_allclose(fitted.inverse_transform(features), sigmoid(logits), atol=1e-6)


def test_every_library_learns_the_same(library, fitted, images):
    model = ConvAutoencoder(**SMALL, backend=library.backend).fit(images)
    assert all(isinstance(w, type(library.xp.asarray([0.0]))) for w in model.weights_.values())
    state = model.state()
    for name in network.WEIGHTS:
        # Adam's first steps are signs: rounding may turn that of a gradient near zero
        close = np.isclose(state[name], fitted.state()[name], atol=1e-4)
        assert np.mean(close) > 0.99, name
    features = model.transform(images)
    assert isinstance(features, np.ndarray)
    assert isinstance(model.inverse_transform(features), np.ndarray)


def test_state_makes_the_same_model(fitted, images):
    other = ConvAutoencoder.from_state(fitted.state(), **SMALL)
    np.testing.assert_array_equal(other.transform(images), fitted.transform(images))
    assert other.image_shape_ == (12, 12, 1)


def test_state_of_another_model_is_refused(fitted):
    state = fitted.state()
    with pytest.raises(CheckpointError, match=r"filters1: expected shape \(3, 3, 1, 8\)"):
        ConvAutoencoder.from_state(state, **SMALL | {"kernel": 3})
    del state["bias2"]
    with pytest.raises(CheckpointError, match=r"state: expected arrays \['bias2'\]"):
        ConvAutoencoder.from_state(state, **SMALL)


def test_scikit_learn_manners(fitted, images):
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "weights_")
    assert copy.set_params(n_steps=1).n_steps == 1
    assert ConvAutoencoder(**SMALL).fit_transform(images).shape == (40, 8, 4)


def test_needs_fit(images):
    model = ConvAutoencoder(**SMALL)
    for call in (
        lambda: model.transform(images),
        lambda: model.inverse_transform(np.zeros((1, 8, 4))),
        lambda: model.score(images),
        model.state,
    ):
        with pytest.raises(NotFittedError, match="call fit first"):
            call()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"filters": 0}, "filters: expected a whole number from 1, got 0"),
        ({"n_steps": 2.5}, "n_steps: expected a whole number from 1, got 2.5"),
        ({"dropout": 1.0}, "dropout: expected a number below 1"),
        ({"dropout": -0.1}, "dropout: expected a number from 0"),
        ({"slope": 2}, "slope: expected a number from 0 to 1, got 2"),
        ({"learning_rate": "fast"}, "learning_rate: expected a number"),
        ({"random_state": -1}, "random_state: expected a whole number from 0, got -1"),
        ({"dtype": "float16"}, "dtype: expected 'float32' or 'float64', got 'float16'"),
        ({"backend": "abacus"}, "backend: expected one of"),
    ],
)
def test_a_wrong_option_is_named(images, options, message):
    with pytest.raises(OptionError, match=message):
        ConvAutoencoder(**SMALL | options).fit(images)


@pytest.mark.parametrize(
    ("pixels", "error", "message"),
    [
        (np.zeros((4, 28, 28)), ShapeError, r"expected shape \(N, H, W, C\)"),
        (np.zeros((0, 12, 12, 1)), ShapeError, "at least one row"),
        (
            np.zeros((4, 8, 12, 1)),
            ShapeError,
            r"images: expected height and width of at least 9 for two kernels of 5, got \(8, 12\)",
        ),
        (np.zeros((4, 12, 12, 1), dtype="uint8"), DtypeError, "expected a floating dtype"),
        (np.full((4, 12, 12, 1), 255.0), DomainError, "expected pixels from 0 to 1, got 255"),
        (np.full((4, 12, 12, 1), -0.5), DomainError, "expected pixels from 0 to 1, got -0.5"),
        (np.full((4, 12, 12, 1), np.nan), DomainError, "expected pixels from 0 to 1, got nan"),
    ],
)
def test_wrong_images_are_refused_before_any_work(pixels, error, message):
    model = ConvAutoencoder(**SMALL)
    with pytest.raises(error, match=message):
        model.fit(pixels)
    assert not hasattr(model, "weights_")


def test_capsules_must_divide_the_code(images):
    with pytest.raises(ShapeError, match=r"divisor of the code's 2 x 2 x 8 = 32 numbers, got 5"):
        ConvAutoencoder(**SMALL | {"capsule_dim": 5}).fit(images)


def test_wrong_arrays_in_use_are_refused(fitted, images):
    with pytest.raises(ShapeError, match=r"X: expected shape \(N, H, W, C\)"):
        fitted.transform(images[:, :11])
    with pytest.raises(ShapeError, match=r"X: expected shape \(N, I, P\)"):
        fitted.inverse_transform(np.zeros((1, 7, 4)))
    with pytest.raises(ShapeError, match=r"out: expected shape \(N, I, P\) = \(40, 8, 4\)"):
        fitted.transform(images, out=np.zeros((40, 32), dtype="float32"))
