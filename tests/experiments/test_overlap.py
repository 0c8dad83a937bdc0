"""Two things in one image, told apart by a network that takes seconds."""

import numpy as np
import pytest

from capsnp import CapsNet
from capsnp.errors import OptionError
from capsnp.experiments.overlap import separate


@pytest.fixture(scope="module")
def separated(tmp_path_factory, tiny):
    folder = tmp_path_factory.mktemp("overlap") / "out"
    own = tiny | {"capsnet.n_iter": 10, "capsnet.reconstruction": 0.02}
    return folder, separate(folder, own, shift=1, quiet=True)


def test_shapes_that_are_easily_told_apart_are(separated):
    folder, table = separated
    rows = table.rows
    assert rows["both right"]["share"] > 0.6  # one of three by chance
    three = [rows[name]["share"] for name in ("both right", "one right", "none right")]
    assert sum(three) == pytest.approx(1)
    whole = rows["images recognised"]["share"]
    assert whole == pytest.approx(three[0] + three[1] / 2)
    assert rows["images recognised"]["n"] == 2 * rows["both right"]["n"]
    for name in ("overlap.csv", "overlap.json", "index.html", "figures/overlap.png"):
        assert (folder / name).stat().st_size > 0
    model = CapsNet.load(folder)
    assert model.image_shape_ == (12, 12, 1)
    assert model.classes_.tolist() == [0, 1, 2]


def test_each_is_rebuilt_alone(separated):
    """From an image of two, a class's capsule rebuilds what is more like that class."""
    folder, _ = separated
    model = CapsNet.load(folder)
    across, upright = np.zeros((2, 12, 12, 1), dtype=np.float32)
    across[5:7, 2:10], upright[2:10, 5:7] = 1.0, 1.0
    both = np.maximum(across, upright)[None]
    v = model.transform(both)
    one, two = (model.inverse_transform(v, [label])[0] for label in (0, 1))

    def likes(image, first, second):
        return float(np.sum(image * (first - second)))

    assert likes(one, across, upright) > likes(two, across, upright) + 2


def test_what_cannot_be_done_is_refused_before_a_folder_is_made(tiny, tmp_path):
    for own, options, message in (
        ({"capsnet.reconstruction": 0}, {}, "reconstruction: expected a number above 0"),
        ({}, {"overlap": 2.0}, "overlap: expected"),
        ({"capsnet.loss": "spread"}, {}, "loss: expected 'margin'"),
    ):
        with pytest.raises(OptionError, match=message):
            separate(tmp_path / "new", tiny | own, quiet=True, **options)
    assert not (tmp_path / "new").exists()
