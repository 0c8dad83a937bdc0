import numpy as np
import pytest

from capsnp import plotting
from capsnp.errors import DomainError, ShapeError


def test_units_stand_by_their_means_and_rows_by_their_labels(rng, assert_legible):
    h, labels = rng.random((40, 7)), rng.integers(0, 3, 40)
    figure = plotting.activations(h, labels=labels, classes=("a", "bee", "c"))
    assert {"a", "bee", "c", "7 hidden units, the busiest first"} <= set(assert_legible(figure))
    bars, matrix, _ = figure.axes
    np.testing.assert_allclose(bars.patches[0].get_data().values, np.sort(h.mean(axis=0))[::-1])
    shown = np.asarray(matrix.images[0].get_array())
    order = np.argsort(-h.mean(axis=0))
    expected = np.concatenate([h[labels == k] for k in range(3)])[:, order]
    np.testing.assert_array_equal(shown, expected)
    counts = np.bincount(labels)
    assert matrix.get_yticks()[1] == pytest.approx(counts[0] + counts[1] / 2 - 0.5)


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (1000, 4), (500, 1000)])
def test_matrices_of_any_size(rng, shape, assert_legible):
    assert_legible(plotting.activations(rng.random(shape)))


def test_numbers_beyond_one_have_their_scale(rng, assert_legible):
    figure = plotting.activations(10 * rng.random((20, 5)) - 3)
    assert_legible(figure)
    low, high = figure.axes[2].get_ylim()
    assert low < -1
    assert high > 5


def test_what_does_not_fit(rng):
    with pytest.raises(ShapeError, match=r"h: expected .*\(N, J\)"):
        plotting.activations(rng.random(4))
    with pytest.raises(ShapeError, match=r"h: expected shape \(N, J\) with no empty axis"):
        plotting.activations(np.zeros((0, 4)))
    with pytest.raises(ShapeError, match=r"labels: expected shape \(4,\) as h, got \(3,\)"):
        plotting.activations(rng.random((4, 2)), labels=np.arange(3))
    with pytest.raises(DomainError, match=r"h: expected finite numbers, got inf at \(0, 1\)"):
        plotting.activations(np.asarray([[0.0, np.inf]]))
