import numpy as np
import pytest

from capsnp import plotting
from capsnp.errors import ShapeError

CLASSES = ["T-shirt/top", "Trouser", "Ankle boot"]


def counted(rng, n):
    counts = rng.integers(0, 50, size=(n, 3))
    total = np.maximum(counts.sum(axis=1), 1)
    return counts.sum(axis=1) / counts.sum(), counts.max(axis=1) / total, counts


@pytest.mark.parametrize("n", [1, 20, 64])
def test_any_number_of_capsules_can_be_read(n, rng, assert_legible):
    assert set(CLASSES) <= set(assert_legible(plotting.capsule_usage(*counted(rng, n), CLASSES)))


def test_bars_and_map_show_the_numbers(rng):
    usage, purity, counts = counted(rng, 5)
    counts[4] = 0
    upper, lower, classes, _ = plotting.capsule_usage(usage, purity, counts, CLASSES).axes
    np.testing.assert_allclose([bar.get_height() for bar in upper.patches], 100 * usage)
    np.testing.assert_allclose([bar.get_height() for bar in lower.patches], 100 * purity)
    assert upper.lines[0].get_ydata()[0] == 20  # equal use
    shown = np.asarray(classes.images[0].get_array())
    for j in range(4):
        for k in range(3):
            assert shown[k, j] == pytest.approx(100 * counts[j, k] / sum(counts[j]))
    assert (shown[:, 4] == 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"usage": np.zeros((2, 2))}, r"usage: expected shape \(J,\), got \(2, 2\)"),
        ({"purity": np.zeros(3)}, r"purity: expected shape \(J\) with J = 2 .*got \(3,\)|purity"),
        (
            {"counts": np.zeros((3, 3))},
            r"counts: expected shape \(J, K\) with J = 2 to match usage",
        ),
        ({"classes": CLASSES[:2]}, "classes: expected 3 of them to match counts, got 2"),
    ],
)
def test_shapes_that_do_not_fit(change, message):
    given = {"usage": np.zeros(2), "purity": np.zeros(2), "counts": np.zeros((2, 3))}
    with pytest.raises(ShapeError, match=message):
        plotting.capsule_usage(**{**given, "classes": CLASSES, **change})
