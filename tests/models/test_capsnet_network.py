"""The network of CapsNet: its loss and gradient against PyTorch, by differences."""

import numpy as np
import pytest

from capsnp.errors import OptionError, ShapeError
from capsnp.functional import conv2d, length, relu, route, sigmoid, squash
from capsnp.functional.routings import ROUTINGS
from capsnp.models._capsnet_network import Network, Shapes
from capsnp.models._capsnet_parts import (
    criterion_of,
    first_weights,
    norm_of,
    own_parameters,
    router_of,
)

SHAPES = Shapes((9, 10, 2), 3, 5, 2, 3, 4, 3, (6, 7))
"""Images of 9 x 10 x 2 to 3 x 3 places with 2 capsules of 3 each, 4 classes, capsules of 3."""

PLAIN = {"iterations": 3, "agreement": "dot", "normalize": "outputs", "logits": "example"}


@pytest.fixture
def problem(rng):
    """Images, one-hot targets and weights, on the host, in float64."""
    weights = first_weights(SHAPES.weights(), rng, 0.8)
    weights |= {k: 0.1 * rng.normal(size=w.shape) for k, w in weights.items() if "bias" in k}
    return rng.random((5, *SHAPES.image)), np.eye(4)[[0, 1, 2, 3, 1]], weights


def network(
    weights,
    *,
    loss="margin",
    exponent=2,
    gradient="full",
    layout="channels",
    norm="exact",
    squash="sabour",
    routing="dynamic",
    reconstruction=0.3,
    **options,
):
    return Network.create(
        weights,
        size=SHAPES.image[:2],
        layout=layout,
        norm=norm_of(squash, norm),
        router=router_of(ROUTINGS[routing], PLAIN | options | {"squash": squash}, gradient),
        criterion=criterion_of(loss, exponent),
        reconstruction=reconstruction,
    )


def found(net, images, targets, weights, **more):
    return net.loss_and_gradient(images, targets, net.products(weights), **more)


# --- PyTorch's automatic differentiation -------------------------------------------------------


def torch_squash(torch, z):
    squares = (z * z).sum(-1, keepdim=True)
    return z * torch.sqrt(squares) / (1 + squares)


def torch_route(torch, x, W, *, gradient, agreement, normalize, iterations=3):
    """Procedure 1, with what is a constant on the way back detached."""
    u = torch.einsum("bip,ijdp->bijd", x, W)
    axis = {"inputs": 1, "outputs": 2}[normalize]
    b = torch.zeros(u.shape[:3], dtype=u.dtype)
    for t in range(1, iterations + 1):
        c = torch.softmax(b, dim=axis)
        if gradient == "frozen":
            c = c.detach()
        z = torch.einsum("bij,bijd->bjd", c, u)
        if t == iterations:
            return z
        target = torch_squash(torch, z) if agreement == "dot" else z
        if gradient == "last":
            target = target.detach()
            b = b.detach()
        a = torch.einsum("bijd,bjd->bij", u, target)
        if agreement == "cosine":
            a = a / (u.norm(dim=-1) * target.norm(dim=-1)[:, None])
        b = b + a
    raise AssertionError


def torch_losses(torch, lengths, t, loss):
    if loss == "margin":
        short, long = torch.relu(0.9 - lengths), torch.relu(lengths - 0.1)
        return (t * short**2 + 0.5 * (1 - t) * long**2).sum()
    if loss == "spread":
        own = (lengths * t).sum(1, keepdim=True)
        return ((1 - t) * torch.relu(0.9 - (own - lengths)) ** 2).sum()
    return -(t * torch.log_softmax(lengths, dim=1)).sum()


def torch_loss(torch, images, targets, leaves, *, loss, layout, **routing):
    F = torch.nn.functional
    w1, w2 = (leaves[name].permute(3, 2, 0, 1) for name in ("filters1", "filters2"))
    a = torch.relu(F.conv2d(images.permute(0, 3, 1, 2), w1, leaves["bias1"]))
    maps = F.conv2d(a, w2, leaves["bias2"], stride=2)
    if layout == "channels":
        maps = maps.permute(0, 2, 3, 1)
    x = torch_squash(torch, maps.reshape(len(images), -1, 3))
    v = torch_squash(torch, torch_route(torch, x, leaves["W"], **routing))
    h = (v * targets[:, :, None]).reshape(len(images), -1)
    for name in ("dense1", "dense2", "dense3"):
        h = h @ leaves[name] + leaves[f"{name}_bias"]
        h = torch.sigmoid(h) if name == "dense3" else torch.relu(h)
    error = ((h - images.reshape(len(images), -1)) ** 2).sum()
    return torch_losses(torch, v.norm(dim=-1), targets, loss), error


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"loss": "spread"},
        {"loss": "cross-entropy"},
        {"gradient": "last"},
        {"gradient": "frozen"},
        {"agreement": "cosine", "normalize": "inputs"},
        {"agreement": "cosine", "normalize": "inputs", "gradient": "last"},
        {"layout": "pixels"},
    ],
    ids=str,
)
def test_loss_and_gradient_are_pytorchs(problem, options):
    torch = pytest.importorskip("torch")
    images, targets, weights = problem
    leaves = {name: torch.tensor(value, requires_grad=True) for name, value in weights.items()}
    given = {
        "loss": "margin",
        "layout": "channels",
        "gradient": "full",
        "agreement": "dot",
        "normalize": "outputs",
    }
    classes, error = torch_loss(
        torch, torch.tensor(images), torch.tensor(targets), leaves, **(given | options)
    )
    (classes + 0.3 * error).backward()
    ours = found(network(weights, **options), images, targets, weights)
    assert ours.classes == pytest.approx(classes.item(), rel=1e-12)
    assert ours.squared_error == pytest.approx(error.item(), rel=1e-12)
    assert set(ours.gradient) == set(weights)
    for name, leaf in leaves.items():
        expected = leaf.grad.numpy()
        np.testing.assert_allclose(
            ours.gradient[name], expected, rtol=0, atol=1e-10 * np.max(np.abs(expected))
        )


# --- differences -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"logits": "batch"},
        {"layout": "pixels"},
        {"squash": "efficient"},
        {"exponent": 1},
        {"norm": "naive"},
        {"reconstruction": 0.0},
        *({"routing": name} for name in ROUTINGS if name != "dynamic"),
    ],
    ids=str,
)
def test_gradient_is_the_slope_of_the_loss(problem, rng, options):
    images, targets, weights = problem
    own = own_parameters(ROUTINGS[options.get("routing", "dynamic")], weights["W"].shape)
    weights |= {k: p.value + 0.1 * rng.normal(size=p.shape) for k, p in own.items()}
    net = network(weights, **options)
    gradient = found(net, images, targets, weights).gradient
    directions = {name: rng.normal(size=weights[name].shape) for name in gradient}

    def moved(step):
        shifted = {name: weights[name] + step * directions.get(name, 0.0) for name in weights}
        loss = found(net, images, targets, shifted)
        return loss.classes + net.reconstruction * loss.squared_error

    slope = (moved(1e-6) - moved(-1e-6)) / 2e-6
    along = sum(np.sum(value * directions[name]) for name, value in gradient.items())
    assert along == pytest.approx(slope, rel=1e-5)


# --- what it computes --------------------------------------------------------------------------


def test_forward_is_the_chain_of_its_parts(problem):
    images, targets, w = problem
    net = network(w)
    products = net.products(w)
    a = relu(conv2d(images, w["filters1"], w["bias1"]))
    maps = conv2d(a, w["filters2"], w["bias2"], stride=2)
    x = squash(maps.reshape(5, SHAPES.n_primary, 3))
    assert np.array_equal(x[:, 3], squash(maps[:, 0, 1, 3:]))  # channels of one place
    np.testing.assert_allclose(net.inputs(images, products), x, atol=1e-13)
    v = squash(route(x, w["W"], **PLAIN).z)
    np.testing.assert_allclose(net.capsules(images, products), v, atol=1e-13)

    kept = v[np.arange(5), [0, 1, 2, 3, 1]]
    first = [w["dense1"].reshape(4, 3, -1)[k] for k in (0, 1, 2, 3, 1)]
    h = np.stack([v @ m for v, m in zip(kept, first, strict=True)]) + w["dense1_bias"]
    h = relu(relu(h) @ w["dense2"] + w["dense2_bias"])
    pixels = sigmoid(h @ w["dense3"] + w["dense3_bias"])
    np.testing.assert_allclose(net.rebuild(v, targets, products), pixels, atol=1e-13)
    loss = found(net, images, targets, w)
    right = np.argmax(length(v), axis=1) == np.argmax(targets, axis=1)
    assert loss.correct == np.sum(right)
    assert loss.squared_error == pytest.approx(np.sum((pixels - images.reshape(5, -1)) ** 2))


def test_neighbouring_pixels_make_capsules(problem):
    _, _, w = problem
    channels, pixels = (network(w, layout=layout) for layout in ("channels", "pixels"))
    maps = channels._capsules(np.arange(54.0).reshape(1, 3, 3, 6))
    assert maps[0, 1].tolist() == [3, 4, 5]
    assert pixels._capsules(np.arange(54.0).reshape(1, 3, 3, 6))[0, 1].tolist() == [18, 24, 30]


def test_other_capsules_and_other_images_can_be_rebuilt(problem):
    """As of overlapping digits: two classes, one of which is rebuilt alone."""
    images, targets, w = problem
    two, alone = np.clip(targets + targets[::-1], 0, 1), images[:, ::-1]
    net = network(w)
    loss = found(net, images, two, w, mask=targets, originals=alone)
    v = net.capsules(images, net.products(w))
    pixels = net.rebuild(v, targets, w)
    assert loss.squared_error == pytest.approx(np.sum((pixels - alone.reshape(5, -1)) ** 2))
    assert loss.classes == pytest.approx(found(net, images, two, w).classes)


def test_arguments_are_left_alone(problem):
    """Every library computes the same by the ledger; arrays that cannot be written are here."""
    images, targets, weights = problem
    expected = found(network(weights), images, targets, weights)
    for array in (images, targets, *weights.values()):
        array.flags.writeable = False
    ours = found(network(weights), images, targets, weights)
    for name, value in ours.gradient.items():
        np.testing.assert_array_equal(value, expected.gradient[name])


def test_a_zero_capsule_is_nan_with_the_naive_norm_alone(problem):
    _, targets, weights = problem
    weights = weights | {name: 0.0 * weights[name] for name in ("bias1", "bias2")}
    blank = np.zeros((5, *SHAPES.image))
    exact = found(network(weights), blank, targets, weights)
    assert all(np.all(np.isfinite(value)) for value in exact.gradient.values())
    naive = found(network(weights, norm="naive"), blank, targets, weights)
    assert np.isnan(naive.gradient["W"]).all()


def test_sizes_of_the_paper():
    shapes = Shapes((28, 28, 1), 9, 256, 32, 8, 10, 16, (512, 1024)).weights()
    assert shapes["filters2"] == (9, 9, 256, 256)
    assert shapes["W"] == (1152, 10, 16, 8)
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 8_215_568


def test_what_does_not_fit_is_named():
    with pytest.raises(ShapeError, match="at least 17 for two kernels of 9"):
        Shapes((16, 28, 1), 9, 8, 2, 4, 3, 4, None).weights()
    with pytest.raises(OptionError, match="squash: expected 'sabour' with norm='naive'"):
        norm_of("ball", "naive")
