import numpy as np
import pytest

from capsnp import plotting
from capsnp.errors import OptionError, ShapeError


@pytest.fixture
def group(rng):
    images = rng.random((3, 36, 36, 1))
    return {
        "images": images,
        "truth": [images, images],
        "rebuilt": [images, images],
        "labels": ["1, 2", "3, 4", "5, 6\n→ 5, 8"],
    }


def test_both_are_in_colours_of_their_own(group, assert_legible):
    figure = plotting.overlaps({"right": group, "wrong": group})
    seen = assert_legible(figure)
    assert {"right: image", "wrong: image", "1, 2\n", "5, 6\n→ 5, 8", "truth"} <= set(seen)
    picture = np.asarray(figure.axes[0].images[0].get_array())
    assert (picture[..., 0] != picture[..., 1]).any()


def test_long_names_do_not_meet(rng, assert_legible):
    images = rng.random((12, 36, 36, 1))
    labels = ["Pullover, Ankle boot\n→ T-shirt/top, Sneaker"] * 12
    group = {"images": images, "truth": [images] * 2, "rebuilt": [images] * 2, "labels": labels}
    assert_legible(plotting.overlaps({"wrong": group}))


def test_what_does_not_fit(group):
    with pytest.raises(OptionError, match="groups: expected at least one"):
        plotting.overlaps({})
    with pytest.raises(ShapeError, match=r"right: expected arrays of \(3, 36, 36, 1\)"):
        plotting.overlaps({"right": group | {"truth": [group["images"][:2]] * 2}})
