"""What trials of routing say."""

import pytest

from capsnp.reproduce.comparison import comparison_table, verdict


def trial(W, U, rebuilt, joint, half):
    return {"W": W, "U": U, "rebuilt": rebuilt, "joint": joint, "half": half}


ONE = trial(1, 1, 10.0, 20.0, 60.0)


WORSE, ALIKE, BETTER = "one iteration (uniform coefficients) is better than", "no clear", "routing"


@pytest.mark.parametrize(
    ("routed", "words"),
    [
        (trial(2, 1, 12.0, 23.0, 70.0), WORSE),
        (trial(2, 1, 10.1, 23.0, 60.0), WORSE),
        (trial(2, 1, 8.0, 20.0, 61.0), BETTER),
        (trial(2, 1, 8.0, 30.0, 61.0), ALIKE),
        (trial(2, 1, 10.2, 19.5, 61.0), ALIKE),
    ],
)
def test_verdict_on_one_other_number_in_W(routed, words):
    in_W, in_U = verdict([ONE, routed]).split(". ")
    assert words in in_W
    assert in_U == "In U nothing was compared."


def test_W_and_U_are_judged_apart():
    said = verdict([ONE, trial(2, 1, 8.0, 20.0, 60.0), trial(1, 3, 12.0, 20.0, 60.0)])
    assert said == (
        "In W routing with 2 is better than one iteration. "
        "In U one iteration (uniform coefficients) is better than 3."
    )


def test_trials_that_differ_in_both_numbers_are_not_compared():
    run = trial(2, 1, 10.0, 20.0, 60.0)
    said = verdict([ONE, run, trial(2, 2, 5.0, 20.0, 60.0), trial(2, 3, 10.0, 26.0, 60.0)])
    assert said == (
        "In W 2 makes no clear difference to one iteration. "
        "In U routing with 2 is better than one iteration; "
        "one iteration (uniform coefficients) is better than 3."
    )


def test_nothing_is_said_without_one_iteration():
    nothing = "In W nothing was compared. In U nothing was compared."
    assert verdict([trial(2, 2, 1.0, 1.0, 1.0), trial(3, 2, 1.0, 1.0, 1.0)]) == nothing


def test_the_table_marks_the_runs_own_numbers():
    record = trial(2, 1, 8.0, 20.0, 60.0) | {"purity": 0.5, "seconds W": 9.6, "seconds U": 3.0}
    found = {"steps": 50, "features": 60, "default": {"W": 2, "U": 1}, "trials": [record]}
    text = comparison_table(found).markdown()
    assert "| 2 in W, 1 in U (the run's) | 8.0 | 20.0 | 60.0 | 50.0% | 10 | 3 |" in text
    assert "50 steps" in text
