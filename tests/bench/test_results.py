"""Tables, page, plot and check of measurements."""

import dataclasses
import json

import numpy as np
import pytest

from capsnp.bench import cases, compare, page, read_baseline, tables
from capsnp.bench.cases import Case, Contestant, measure
from capsnp.bench.machine import Floor
from capsnp.bench.plot import scaling_plot
from capsnp.errors import InvariantError, OptionError


def test_ratios_are_of_medians(results):
    row = results.rows[0]
    assert row.ratio == pytest.approx(5.0)
    assert row.floor_ratio == pytest.approx(2.0)
    assert results.memory[0].ratio == pytest.approx(8.0)


def test_slopes_are_those_of_powers(results):
    slopes = results.scaling[0].slopes()
    assert slopes["capsnp"] == pytest.approx(1.0)
    assert slopes["torch"] == pytest.approx(1.5)


def test_slopes_are_of_the_upper_end(results):
    growth = results.scaling[0]
    first = dataclasses.replace(growth.rows[0], ours=growth.rows[1].ours)
    bent = dataclasses.replace(growth, rows=(first, *growth.rows[1:]))
    assert bent.slopes()["capsnp"] == pytest.approx(1.0)


def test_a_partner_without_room_ends_its_line(results):
    growth = results.scaling[0]
    last = dataclasses.replace(growth.rows[-1], partner="", theirs=None)
    cut = dataclasses.replace(growth, rows=(*growth.rows[:-1], last))
    assert cut.medians()["torch"][-1] is None
    assert cut.slopes()["torch"] == pytest.approx(1.5)
    scaling_plot([cut])


def test_page_holds_every_table_and_the_command(results):
    text = page(results, command="capsnp bench all", picture="images/time.png")
    assert "2 cores of an Abacus 1" in text
    assert "capsnp bench all" in text
    assert "](images/time.png)" in text
    for table in tables(results):
        assert table.title in text
    assert "| cd-step: route, then cd_gradient | 5.00 | 3.00 | 2.00 |" in text


def test_json_keeps_every_time(results):
    found = json.loads(results.json())
    assert found["rows"][0]["ours"]["seconds"] == list(results.rows[0].ours.seconds)
    assert found["scaling"][0]["rows"][5]["floor"]["products"] == pytest.approx(0.16)


def test_plot_has_a_panel_for_each_axis(results):
    figure = scaling_plot(results.scaling)
    (axes,) = figure.axes
    lines = {line.get_label(): line.get_ydata() for line in axes.get_lines()}
    seconds = [row.ours.median for row in results.scaling[0].rows]
    assert lines["capsnp, slope 1.00"] == pytest.approx(seconds)
    assert set(lines) == {"capsnp, slope 1.00", "torch, slope 1.50", "floor, slope 1.00"}


def faster_partner(results, factor):
    """The same with partners that take `factor` times as long."""
    rows = [
        dataclasses.replace(
            row, theirs=dataclasses.replace(row.theirs, seconds=(factor * row.theirs.median,))
        )
        for row in results.rows
    ]
    return dataclasses.replace(results, rows=rows)


@pytest.mark.parametrize(("factor", "lost"), [(0.85, 0), (1.3, 0), (0.75, 2)])
def test_a_fifth_of_a_ratio_may_be_lost(results, factor, lost):
    changes = compare(faster_partner(results, factor), json.loads(results.json()))
    assert len(changes) == 3
    assert sum(change.fails for change in changes) == lost


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"dtype": "float64"}, "dtype"), ({"backend": "torch"}, "backend"), ({"rows": []}, "none")],
)
def test_only_the_same_work_is_compared(results, changed, message):
    kept = json.loads(results.json()) | {"memory": []} | changed
    with pytest.raises(OptionError, match=message):
        compare(results, kept)


@pytest.mark.parametrize("text", ["", "[]", '{"rows": [{}]}', '{"rows": 1}'])
def test_a_baseline_of_another_kind_is_refused(tmp_path, text):
    file = tmp_path / "times.json"
    file.write_text(text)
    with pytest.raises(OptionError, match=r"^baseline: expected .*times\.json as --json writes it"):
        read_baseline(file)


def test_no_baseline_is_refused(tmp_path):
    with pytest.raises(OptionError, match="cannot be read"):
        read_baseline(tmp_path / "none.json")


@pytest.mark.parametrize("wrong", [1.001, np.nan])
def test_other_results_are_an_error_before_anything_is_timed(wrong, monkeypatch):
    monkeypatch.setattr(cases, "interleave", lambda *_, **__: pytest.fail("timed"))
    good = Contestant("capsnp", lambda: None, lambda: {"z": np.asarray([1.0, 2.0])})
    bad = Contestant("torch", lambda: None, lambda: {"z": np.asarray([wrong, 2.0])})
    case = Case("routing", "one", "1", [good, bad], Floor(1.0, 1.0), 1e-4)
    with pytest.raises(InvariantError, match="routing, one: z by capsnp and by torch differ"):
        measure(case, rounds=1)
