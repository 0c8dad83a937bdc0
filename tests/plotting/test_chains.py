import numpy as np
import pytest

from capsnp import plotting
from capsnp.errors import DomainError, OptionError, ShapeError

STEPS = [0, 1, 10, 1000]


@pytest.fixture
def states(rng):
    """Six chains at four times."""
    return rng.random((6, 4, 28, 28, 1))


def test_a_row_for_each_chain_and_a_column_for_each_time(states, assert_legible):
    figure = plotting.chains(states, STEPS)
    texts = assert_legible(figure)
    assert [text for text in texts if text.replace("\N{NARROW NO-BREAK SPACE}", "").isdigit()] == [
        *("0", "1", "10", "1\N{NARROW NO-BREAK SPACE}000"),
        *map(str, range(6)),
    ]
    picture = np.asarray(figure.axes[0].images[0].get_array())
    zoom = (picture.shape[1] - 2 - 3 * 4) // (4 * 28)
    side = 28 * zoom + 4
    np.testing.assert_allclose(
        picture[1 + 5 * side, 1 + 2 * side], np.repeat(states[5, 2, 0, 0], 3), atol=1e-7
    )


def test_chains_can_be_named(states, assert_legible):
    assert {"four", "nine"} <= set(
        assert_legible(plotting.chains(states[:2], STEPS, labels=["four", "nine"]))
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": STEPS[:3]}, r"steps: expected 4 of them to match images, got 3"),
        ({"labels": ["a"]}, r"labels: expected 6 of them to match images, got 1"),
        ({"images": np.zeros((6, 4, 28, 28))}, r"images: expected .*\(N, T, H, W, C\)"),
    ],
)
def test_chains_that_do_not_fit(states, options, message):
    with pytest.raises(ShapeError, match=message):
        plotting.chains(**({"images": states, "steps": STEPS} | options))


def test_energies_are_medians_with_the_middle_of_the_chains(rng, assert_legible):
    one, two = (rng.normal(mean, 1, (4, 50)) for mean in (-100, -50))
    rows = rng.normal(-80, 5, 200)
    figure = plotting.energies({"one": one, "two": two}, STEPS, data={"rows": rows})
    assert {"one", "two", "rows", "Gibbs steps"} <= set(assert_legible(figure))
    paths, boxes = figure.axes
    for line, values in zip(paths.lines, (one, two), strict=True):
        np.testing.assert_allclose(line.get_xydata().T, [STEPS, np.median(values, axis=1)])
    low, high = (np.quantile(one[2], q) for q in (0.1, 0.9))
    band = paths.collections[0].get_paths()[0].vertices
    at = np.sort(band[band[:, 0] == STEPS[2], 1])
    assert (at.min(), at.max()) == pytest.approx((low, high))
    assert boxes.lines[0].get_ydata()[0] == pytest.approx(np.median(rows))
    assert boxes.get_ylim() == paths.get_ylim()


@pytest.mark.parametrize("steps", [[0], [0, 1], list(range(200))])
def test_energies_of_few_and_many_times(rng, steps, assert_legible):
    assert_legible(plotting.energies({"all": rng.normal(size=(len(steps), 3))}, steps))


def test_energies_that_do_not_fit(rng):
    with pytest.raises(OptionError, match="chains: expected at least one group, got none"):
        plotting.energies({}, STEPS)
    with pytest.raises(ShapeError, match=r"chains\['a'\]: expected shape \(T, N\) with T = 4"):
        plotting.energies({"a": rng.normal(size=(3, 5))}, STEPS)
    with pytest.raises(DomainError, match=r"data\['b'\]: expected finite numbers, got nan"):
        plotting.energies(
            {"a": rng.normal(size=(4, 5))}, STEPS, data={"b": np.asarray([0.0, np.nan])}
        )
