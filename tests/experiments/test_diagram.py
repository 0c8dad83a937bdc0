"""The diagram's numbers add up."""

import numpy as np
import pytest

from capsnp import CapsNet
from capsnp.datasets import load
from capsnp.errors import OptionError
from capsnp.experiments import train_network
from capsnp.experiments.diagram import draw_diagram, flow_of


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny):
    folder = tmp_path_factory.mktemp("diagram") / "run"
    train_network(folder, tiny | {"dtype": "float64"}, quiet=True)
    return folder


def test_numbers_add_up(run, bars):
    model = CapsNet.load(run)
    image = load(bars, split="test").images[1]
    flow = flow_of(model, image, 1, ["a", "b", "c"], 3, 2)
    np.testing.assert_allclose(np.einsum("kmdp,kp->kmd", flow.W, flow.x), flow.votes)
    some = np.einsum("km,kmd->md", flow.c[-1], flow.votes)
    np.testing.assert_allclose(some + flow.others, flow.z[-1])
    n2 = np.sum(flow.z**2, axis=-1, keepdims=True)
    np.testing.assert_allclose(flow.v, np.sqrt(n2) / (1 + n2) * flow.z)
    of = {"a": 0, "b": 1, "c": 2}
    own = [of[name] for name in flow.classes]
    np.testing.assert_allclose(model.transform(image[None])[0, own], flow.v[-1], rtol=1e-6)
    total = np.sum(flow.c, axis=1) + flow.c_others
    np.testing.assert_allclose(total[0], len(model.weights_["W"]) / 3)


def test_an_input_sees_its_frame_and_nothing_else(run, bars):
    model = CapsNet.load(run)
    image = load(bars, split="test").images[0]
    network, products = model._ready()

    def inputs(picture):
        return np.asarray(network.inputs(picture[None].astype(np.float64), products))[0]

    flow = flow_of(model, image, 0, ["a", "b", "c"], 3, 1)
    for number, (top, left, height, width) in zip(flow.inputs, flow.seen, strict=True):
        outside, inside = image.copy(), image.copy()
        mask = np.zeros(image.shape, dtype=bool)
        mask[top : top + height, left : left + width] = True
        outside[~mask] = 0.7
        inside[mask] = 0.7
        np.testing.assert_allclose(inputs(outside)[number], inputs(image)[number], atol=1e-12)
        assert not np.allclose(inputs(inside)[number], inputs(image)[number])


def test_the_run_s_page_has_it(run):
    table = draw_diagram(run, image=2, quiet=True)
    assert list(table.rows) == ["1", "2", "3"]
    lengths = [row["length_3"] for row in table.rows.values()]
    assert lengths == sorted(lengths, reverse=True)
    assert 'src="figures/diagram.png"' in (run / "index.html").read_text()


def test_what_there_is_not_is_refused(run):
    for options, message in (
        ({"image": 15}, "image: expected a test image from 0 to 14, got 15"),
        ({"outputs": 4}, "outputs: expected at most 3 capsules, got 4"),
        ({"inputs": 0}, "inputs: expected a whole number from 1"),
    ):
        with pytest.raises(OptionError, match=message):
            draw_diagram(run, quiet=True, **options)
