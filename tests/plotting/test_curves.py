import numpy as np
import pytest

from capsnp import plotting
from capsnp.errors import OptionError
from capsnp.training.run import RunFolder


def records():
    lines = [{"stage": "autoencoder", "step": s, "error": 100 / s, "loss": 90.0} for s in (1, 2, 3)]
    lines += [
        {"stage": "capsules", "step": s, **{f"quantity_{n}": s + n for n in range(6)}}
        for s in range(10, 60, 10)
    ]
    return [*lines, {"stage": "decoder", "step": 600, "error": 1e-7}]


def lines_of(figure):
    """Steps and values by the panel's title."""
    return {
        axes.get_title(loc="left"): axes.lines[0].get_xydata().T.tolist() for axes in figure.axes
    }


def test_a_panel_per_stage_and_quantity(assert_legible):
    figure = plotting.training_curves(records())
    texts = assert_legible(figure)
    assert [t for t in texts if t in ("autoencoder", "capsules", "decoder")] == [
        "autoencoder", "capsules", "decoder",
    ]  # fmt: skip
    assert len(figure.axes) == 2 + 6 + 1
    assert lines_of(figure)["quantity 2"] == [[10, 20, 30, 40, 50], [12, 22, 32, 42, 52]]


def test_quantities_can_be_chosen(assert_legible):
    figure = plotting.training_curves(records(), quantities=["loss"])
    assert_legible(figure)
    assert list(lines_of(figure)) == ["loss"]


def test_later_records_of_a_step_count_and_order_does_not():
    lines = [
        {"stage": "a", "step": 20, "loss": 2.0},
        {"stage": "a", "step": 10, "loss": 1.0},
        {"stage": "a", "step": 20, "loss": 3.0},
    ]
    assert lines_of(plotting.training_curves(lines))["loss"] == [[10, 20], [1.0, 3.0]]


def test_what_is_no_finite_number_is_passed_over():
    lines = [{"stage": "a", "step": s, "loss": v, "note": "x"} for s, v in
             enumerate([1.0, None, float("nan"), float("inf"), 5.0])]  # fmt: skip
    assert lines_of(plotting.training_curves(lines)) == {"loss": [[0, 4], [1.0, 5.0]]}


def test_wide_ranges_are_logarithmic(assert_legible):
    lines = [{"stage": "a", "step": s, "wide": 10.0**s, "narrow": 1.0 + s} for s in range(-9, 9)]
    figure = plotting.training_curves(lines)
    assert_legible(figure)
    assert [axes.get_yscale() for axes in figure.axes] == ["log", "linear"]


def test_held_out_rows_share_a_panel_with_training_rows(assert_legible):
    lines = [
        {"stage": "rbm", "step": s, "held-out error": 2.0, "error": 1.0, "held-out gap": 3.0}
        for s in (1, 2, 3)
    ]
    figure = plotting.training_curves(lines)
    assert {"training rows", "held-out rows"} <= set(assert_legible(figure))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["error", "held-out gap"]
    values = {line.get_ydata()[0]: line.get_color() for line in figure.axes[0].lines}
    assert set(values) == {1.0, 2.0}
    assert values[1.0] == plotting.COLOURS[0]  # training rows, in whatever order they came


def test_a_runs_metrics_are_drawn(tmp_path):
    run = RunFolder.create(tmp_path / "run", {"seed": 0})
    with run.lock():
        for step in (1, 2):
            run.log("capsules", step, error=float(step))
    assert lines_of(plotting.training_curves(run.metrics())) == {"error": [[1, 2], [1.0, 2.0]]}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "records: expected at least one with a finite quantity, got none"),
        ([{"stage": "a", "step": 1}], "records: expected at least one with a finite quantity"),
        ([{"stage": "a", "loss": 1}], "records: expected stage and step .* number 0"),
    ],
)
def test_nothing_to_draw(lines, message):
    with pytest.raises(OptionError, match=message):
        plotting.training_curves(lines)


def test_squash_curves_are_squash_and_its_inverse(assert_legible):
    figure = plotting.squash_curves(max_length=3)
    assert_legible(figure)
    forward, backward, weight = (axes.lines[0].get_xydata() for axes in figure.axes)
    r, squashed = forward.T
    np.testing.assert_allclose(squashed, r**2 / (1 + r**2), atol=1e-15)
    t, before = backward.T
    np.testing.assert_allclose(before, np.sqrt(t / (1 - t)), atol=1e-15)
    np.testing.assert_allclose(weight[:, 1] ** 2, squashed * (1 - squashed), atol=1e-15)
    assert r[-1] == 3


def test_squash_curves_refuses_a_short_axis():
    with pytest.raises(OptionError, match=r"max_length: expected a number from 1, got 0\.5"):
        plotting.squash_curves(max_length=0.5)
