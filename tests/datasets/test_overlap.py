import numpy as np
import pytest

from capsnp.datasets.overlap import Overlaps
from capsnp.errors import DataError, OptionError, ShapeError


@pytest.fixture
def images(rng):
    return rng.random((12, 28, 28, 1), dtype=np.float32)


LABELS = np.asarray([4, 4, 4, 4, 4, 4, 7, 7, 9, 9, 9, 9])


def test_a_pair_is_its_two_images_added_where_they_were_moved_to(images):
    pairs = Overlaps(images, LABELS, 40)
    wide = np.pad(images, ((0, 0), (4, 4), (4, 4), (0, 0)))  # room for shifts of up to 4
    for k in range(40):
        parts = []
        for image, (y, x) in zip(pairs.pairs.images[k], pairs.pairs.shifts[k], strict=True):
            parts.append(np.roll(wide[image], (y, x), axis=(0, 1)))
        expected = np.minimum(parts[0] + parts[1], 1)
        np.testing.assert_array_equal(pairs[k : k + 1][0], expected)
        for part in (0, 1):
            np.testing.assert_array_equal(
                pairs.alone[np.asarray([k]), np.asarray([part])][0], parts[part]
            )
    assert pairs.shape == (40, 36, 36, 1)
    assert pairs[:3].dtype == np.float32


def test_a_pair_is_a_function_of_seed_and_number(images):
    few, many = Overlaps(images, LABELS, 5), Overlaps(images, LABELS, 50)
    np.testing.assert_array_equal(few[:], many[:5])
    np.testing.assert_array_equal(many[np.asarray([31, 2])], many[:][[31, 2]])
    assert not np.array_equal(few[:], Overlaps(images, LABELS, 5, random_state=1)[:])
    assert few.pairs.images[0].tolist() == [7, 2]  # as on every machine
    assert few.pairs.shifts[0].tolist() == [[-4, 1], [-3, 2]]


def test_classes_differ_and_all_partners_are_equally_likely(images):
    pairs = Overlaps(images, LABELS, 30_000)
    assert (pairs.classes[:, 0] != pairs.classes[:, 1]).all()
    counts = np.zeros((12, 12))
    np.add.at(counts, tuple(pairs.pairs.images.T), 1)
    for k, label in enumerate(LABELS):
        expected = np.where(label != LABELS, 1 / np.sum(label != LABELS), 0) * 30_000 / 12
        assert (np.abs(counts[k] - expected) <= 5 * np.sqrt(expected)).all()
    there = pairs.indicator([4, 7, 9])
    assert (there.sum(axis=1) == 2).all()
    assert (there[:, 1] == (pairs.classes == 7).any(axis=1)).all()


@pytest.mark.parametrize("overlap", [0.0, 0.8, 1.0])
def test_boxes_share_what_they_should(images, overlap):
    pairs = Overlaps(images, LABELS, 4000, overlap=overlap)
    apart = np.abs(pairs.pairs.shifts[:, 0] - pairs.pairs.shifts[:, 1])
    shared = np.prod(1 - apart / 20, axis=1)
    assert shared.min() >= overlap - 1e-9
    assert np.abs(pairs.pairs.shifts).max() == 4
    steps = range(-4, 5)
    allowed = {
        (y, v, x, w)
        for y in steps for v in steps for x in steps for w in steps
        if (20 - abs(y - v)) * (20 - abs(x - w)) >= 400 * overlap
    }  # fmt: skip
    seen = {(y, v, x, w) for (y, x), (v, w) in pairs.pairs.shifts.tolist()}
    assert seen <= allowed
    if overlap == 1.0:
        assert seen == allowed


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"labels": np.zeros(12, int)}, DataError, "labels: expected at least two classes, got 1"),
        ({"labels": LABELS[:3]}, ShapeError, r"expected \(K, H, W, C\) with K labels"),
        ({"n": 0}, OptionError, "n: expected a whole number from 1"),
        ({"overlap": 1.5}, OptionError, "overlap: expected"),
        ({"shift": -1}, OptionError, "shift: expected a whole number from 0"),
    ],
)
def test_one_clear_error(images, change, error, message):
    with pytest.raises(error, match=message):
        Overlaps(**{"images": images, "labels": LABELS, "n": 5, **change})
