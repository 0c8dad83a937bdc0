"""Images under affine maps, beside maps by whole pixels and by their moments."""

import numpy as np
import pytest

from capsnp.errors import DomainError, ShapeError
from capsnp.evaluation.affine import affine_images, affine_map
from capsnp.evaluation.properties import PROPERTIES, image_properties

IMAGES = np.random.default_rng(0).random((3, 7, 7, 2)).astype(np.float32)


def blob():
    """A wide smooth spot far from the borders, of which moments are known."""
    at = np.arange(61) - 30.0
    spot = np.exp(-0.5 * ((at[None, :] / 5.0) ** 2 + (at[:, None] / 3.0) ** 2))
    return spot[None, :, :, None]


@pytest.mark.parametrize("quarters", range(4))
def test_quarter_turns_are_exact(quarters):
    turned = affine_images(IMAGES, affine_map(rotation=90.0 * quarters))
    np.testing.assert_array_equal(turned, np.rot90(IMAGES, quarters, axes=(1, 2)))
    assert turned.dtype == np.float32


def test_whole_shifts_are_exact_and_black_comes_in():
    shifts = np.asarray([[0.0, 0.0], [2.0, 0.0], [0.0, 3.0]])
    moved = affine_images(IMAGES, affine_map(), shifts)
    np.testing.assert_array_equal(moved[0], IMAGES[0])
    np.testing.assert_array_equal(moved[1, :, 2:], IMAGES[1, :, :-2])
    assert not moved[1, :, :2].any()
    np.testing.assert_array_equal(moved[2, :-3], IMAGES[2, 3:])
    assert not moved[2, -3:].any()


def test_covariances_go_with_the_map():
    A = affine_map(rotation=25, shear=0.4, scale=1.3)
    found = image_properties(affine_images(blob(), A, (4.0, -2.0)))[0]
    c = A @ np.diag([25.0, 9.0]) @ A.T
    expected = {
        "x": 4.0,
        "y": -2.0,
        "size": np.sqrt(np.trace(c)),
        "slant": c[0, 1] / c[1, 1],
        "mass": 2 * np.pi * 15 * np.linalg.det(A),
    }
    for name, value in expected.items():
        assert found[PROPERTIES.index(name)] == pytest.approx(value, rel=0.02), name


def test_what_cannot_be_is_refused():
    with pytest.raises(DomainError, match="maps: expected matrices that have inverses"):
        affine_images(IMAGES, affine_map(scale=0))
    with pytest.raises(ShapeError, match=r"images: .*\(N, H, W, C\)"):
        affine_images(IMAGES[0], affine_map())
