"""Counts of operations against loops that count."""

import itertools

import pytest

from capsnp.bench.sizes import SIZES, ImageSizes, LayerSizes


def test_operations_of_one_product_by_counting():
    sizes = LayerSizes(2, 3, 4, 5, 6)
    axes = (range(n) for n in (2, 3, 4, 5, 6))
    assert sizes.product == 2 * sum(1 for _ in itertools.product(*axes))
    assert sizes.weights == 3 * 4 * 5 * 6
    assert sizes.predictions == 2 * 3 * 5 * 6


def test_operations_of_the_convolutions_by_pytorch():
    """Of a step: forward, backward but for the images' gradient; a multiply-add counts as two."""
    torch = pytest.importorskip("torch")
    from torch.utils.flop_counter import FlopCounterMode

    from capsnp.bench.torch_autoencoder import Trainer
    from capsnp.models import ConvAutoencoder

    sizes = ImageSizes(2, 16, 4, 5)
    model = ConvAutoencoder(sizes.filters, sizes.kernel, capsule_dim=4)
    images = torch.rand(2, 16, 16, 1).numpy()
    model.training(images)
    trainer = Trainer(model, images, sizes.output_padding, device="cpu", layout="channels first")
    with FlopCounterMode(display=False) as counter:
        trainer.step()
    assert sizes.step_operations == counter.get_total_flops()


@pytest.mark.parametrize("name", SIZES)
def test_each_axis_is_doubled_five_times(name):
    from capsnp.bench.scaling import points

    found = [(point.axis, point.value) for point in points(SIZES[name].scaled)]
    for axis in "BIJ":
        values = [value for a, value in found if a == axis]
        assert [b // a for a, b in itertools.pairwise(values)] == [2] * 5
