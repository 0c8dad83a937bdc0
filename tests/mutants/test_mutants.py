"""Every mistake is noticed by the check that is named with it.

Breaking and checking takes minutes: ``pytest -m mutants``. Whether the lines are still there is
looked at in every run of the tests.
"""

import pytest

from capsnp.verification import ledger
from tests.mutants.mutants import MUTANTS
from tests.mutants.running import (
    ROOT,
    StaleMutantError,
    copy_package,
    expect_line,
    failures,
    failures_of_claims,
    failures_of_tests,
    is_test,
    mutate,
)

KILLERS = sorted({mutant.killer for mutant in MUTANTS})


def by_name(mutant):
    return mutant.name


@pytest.mark.parametrize("mutant", MUTANTS, ids=by_name)
def test_line_is_there_once(mutant):
    text = (ROOT / "capsnp" / mutant.file).read_text(encoding="utf-8")
    expect_line(text, mutant)
    assert "\n" not in mutant.old + mutant.new
    assert mutant.old != mutant.new


def test_killers_are_there():
    names = {claim.name for claim in ledger()}
    for killer in KILLERS:
        if is_test(killer):
            file, _, function = killer.partition("::")
            assert f"def {function}(" in (ROOT / file).read_text(encoding="utf-8"), killer
        else:
            assert killer in names


def test_names_differ():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


def test_a_stale_line_is_an_error():
    with pytest.raises(StaleMutantError, match="got it 0 times"):
        expect_line("something else", MUTANTS[0])
    with pytest.raises(StaleMutantError, match="got it 2 times"):
        expect_line(2 * MUTANTS[0].old, MUTANTS[0])


@pytest.mark.mutants
def test_checks_hold_without_a_mistake(tmp_path):
    folder = copy_package(tmp_path)
    assert failures_of_claims(folder, [name for name in KILLERS if not is_test(name)]) == {}
    assert failures_of_tests(folder, [name for name in KILLERS if is_test(name)]) == {}


@pytest.mark.mutants
@pytest.mark.parametrize("mutant", MUTANTS, ids=by_name)
def test_mistake_is_noticed(mutant, tmp_path):
    mutate(copy_package(tmp_path), mutant)
    assert failures(tmp_path, mutant.killer), f"{mutant.killer} holds with {mutant.new!r}"
