"""Properties of images by moments, beside loops and images whose properties are known."""

import numpy as np
import pytest
from scipy import ndimage

from capsnp.datasets import load
from capsnp.errors import ShapeError
from capsnp.evaluation.properties import PROPERTIES, image_properties


def of(images):
    return dict(zip(PROPERTIES, image_properties(images).T, strict=True))


def test_moments_are_those_of_loops():
    w = np.random.default_rng(0).random((5, 7))
    mass = sum(w[r, c] for r in range(5) for c in range(7))
    at = {(r, c): (c - 3.0, 2.0 - r) for r in range(5) for c in range(7)}
    x = sum(w[rc] * at[rc][0] for rc in at) / mass
    y = sum(w[rc] * at[rc][1] for rc in at) / mass
    xx, yy, xy = (
        sum(w[rc] * (at[rc][0] - x) ** a * (at[rc][1] - y) ** (2 - a) for rc in at) / mass
        for a in (2, 0, 1)
    )
    found = of(np.stack([w, w], axis=2)[None])
    expected = {
        "mass": mass,
        "x": x,
        "y": y,
        "size": np.sqrt(xx + yy),
        "aspect": (np.sqrt(xx) - np.sqrt(yy)) / (np.sqrt(xx) + np.sqrt(yy)),
        "slant": xy / yy,
    }
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(value), name


def test_a_shift_moves_the_place_only():
    digit = load("digits", limit=1).images
    wide = np.pad(digit, ((0, 0), (4, 4), (4, 4), (0, 0)))
    there, here = of(np.roll(wide, (-2, 3), axis=(1, 2))), of(wide)
    assert there["x"][0] - here["x"][0] == pytest.approx(3.0)
    assert there["y"][0] - here["y"][0] == pytest.approx(2.0)  # upwards
    for name in set(PROPERTIES) - {"x", "y"}:
        assert there[name][0] == pytest.approx(here[name][0]), name


def test_a_shear_is_the_slant_and_a_wider_stroke_the_thickness():
    bar = np.zeros((41, 41))
    bar[8:33, 19:22] = 1.0
    shear = np.asarray([[1.0, 0.0], [0.3, 1.0]])  # 0.3 to the right for each row up
    leaning = ndimage.affine_transform(bar, shear, offset=(0.0, -0.3 * 20), order=1)
    thick = ndimage.uniform_filter(bar, (1, 3)) > 0
    upright, slanting, broad = (
        of(np.asarray(w, float)[None, ..., None]) for w in (bar, leaning, thick)
    )
    assert upright["slant"][0] == pytest.approx(0.0, abs=1e-12)
    assert slanting["slant"][0] == pytest.approx(0.3, rel=0.02)
    assert upright["thickness"][0] == pytest.approx(3 * 25 / 28, rel=0.02)
    assert broad["thickness"][0] == pytest.approx(5 * 25 / 30, rel=0.02)


def test_black_images_have_zeros_and_no_warning():
    assert not image_properties(np.zeros((2, 6, 6, 3))).any()
    single = np.zeros((1, 6, 6, 1))
    single[0, 2, 2] = 1e-3
    assert np.isfinite(image_properties(single)).all()


def test_other_axes_are_refused():
    with pytest.raises(ShapeError, match=r"images: .*\(N, H, W, C\)"):
        image_properties(np.zeros((6, 6)))
