"""What trials of routing say."""

import pytest

from capsnp.reproduce.comparison import comparison_table, verdict


def trial(W, U, rebuilt, joint, half):
    return {"W": W, "U": U, "rebuilt": rebuilt, "joint": joint, "half": half}


ONE = trial(1, 1, 10.0, 20.0, 60.0)


@pytest.mark.parametrize(
    ("others", "words"),
    [
        ([trial(2, 1, 12.0, 23.0, 70.0), trial(3, 1, 15.0, 30.0, 90.0)], "One iteration"),
        ([trial(2, 1, 8.0, 20.0, 61.0)], "Routing is better than one iteration"),
        ([trial(2, 1, 8.0, 30.0, 61.0)], "no clear difference"),
        ([trial(2, 1, 10.2, 19.5, 61.0)], "no clear difference"),
        ([trial(2, 1, 12.0, 23.0, 70.0), trial(1, 2, 10.1, 20.0, 60.0)], "no clear difference"),
        ([], "Nothing can be said"),
    ],
)
def test_verdict(others, words):
    assert words in verdict([ONE, *others])


def test_which_trial_is_better_is_said():
    said = verdict([ONE, trial(2, 1, 8.0, 20.0, 60.0), trial(2, 3, 9.9, 20.0, 60.0)])
    assert "with 2 in W and 1 in U iterations" in said
    assert "3 in U" not in said


def test_nothing_is_said_without_one_iteration():
    assert "Nothing can be said" in verdict([trial(2, 1, 1.0, 1.0, 1.0)])


def test_the_table_marks_the_runs_own_numbers():
    record = trial(2, 1, 8.0, 20.0, 60.0) | {"purity": 0.5, "seconds W": 9.6, "seconds U": 3.0}
    found = {"steps": 50, "features": 60, "default": {"W": 2, "U": 1}, "trials": [record]}
    text = comparison_table(found).markdown()
    assert "| 2 in W, 1 in U (the run's) | 8.0 | 20.0 | 60.0 | 50.0% | 10 | 3 |" in text
    assert "50 steps" in text
