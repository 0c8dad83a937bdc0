"""What `verify` says of claims that hold, fail, cannot be run, or were never compared."""

import dataclasses
import importlib
import json

import numpy as np
import pytest

from capsnp.backend import get_backend
from capsnp.errors import BackendError, OptionError
from capsnp.functional import squash
from capsnp.verification import (
    Check,
    Lab,
    NotRun,
    claim,
    examine,
    ledger,
    select,
    summary,
    table_of,
    table_of_backends,
    to_json,
    verify,
    write_report,
)


@pytest.fixture
def entered(monkeypatch):
    """``entered(check, kind)``: what came of a claim that is not in the ledger."""
    ledger()
    book = importlib.import_module("capsnp.verification.ledger")
    monkeypatch.setattr(book, "_CLAIMS", {})

    def result(check, kind="theorem"):
        claim("(0)", "0", "nothing", function=squash, method="none", kind=kind)(check)
        found = book._CLAIMS[check.__name__]
        return examine(found, Lab(get_backend("numpy"), "float64", 0, found.name))

    return result


def one(*checks):
    def check(lab):
        for _ in lab.cases(1):
            yield from checks

    return check


GOOD, BAD = Check(1e-17, 1e-15, ""), Check(1.0, 1e-15, "")
REFUTED, UPHELD = Check(0, 1e-3, "", printed=0.5), Check(0, 1e-3, "", printed=1e-9)


def test_a_claim_holds_if_every_check_does(entered):
    assert entered(one(GOOD, GOOD)).status == "holds"


@pytest.mark.parametrize("checks", [(BAD,), (GOOD, BAD), (BAD, GOOD), (Check(np.nan, 1, ""), GOOD)])
def test_a_claim_fails_by_its_worst_check(entered, checks):
    result = entered(one(*checks))
    assert result.status == "fails"
    assert "above" in result.reason


def test_a_claim_without_comparison_fails(entered):
    assert entered(one()).reason == "nothing was compared"


def test_an_exception_is_a_failure_with_its_words(entered):
    def broken(lab):  # noqa: ARG001
        yield GOOD
        raise ZeroDivisionError("as\nfar as this")

    result = entered(broken)
    assert (result.status, result.reason) == ("fails", "ZeroDivisionError: as far as this")


@pytest.mark.parametrize(
    ("checks", "status"),
    [
        ((GOOD, REFUTED), "corrected"),
        ((GOOD, UPHELD), "fails"),
        ((GOOD, REFUTED, UPHELD), "fails"),
        ((GOOD,), "fails"),
        ((BAD, REFUTED), "fails"),
        ((REFUTED,), "fails"),
    ],
)
def test_a_correction_needs_the_counter_example_and_what_holds(entered, checks, status):
    assert entered(one(*checks), "corrected").status == status


def test_what_cannot_run_never_holds(entered):
    def elsewhere(lab):  # noqa: ARG001
        yield GOOD
        raise NotRun("needs another library")

    result = entered(elsewhere)
    assert (result.status, result.reason) == ("not run", "needs another library")
    assert "1 not run" in summary([result])


def test_measurements_are_called_heuristic(entered):
    assert entered(one(GOOD), "heuristic").status == "heuristic"


def test_names_are_unique_and_checks_are_generators(entered):
    entered(one(GOOD))
    with pytest.raises(ValueError, match="there is a claim of this name"):
        entered(one(GOOD))
    with pytest.raises(TypeError, match="generator"):
        claim("(0)", "0", "", function="f", method="")(len)


def test_problems_are_the_same_for_a_seed_and_differ_between_claims():
    draws = [
        Lab(get_backend("numpy"), "float64", seed, name).normal(3)
        for seed, name in ((0, "a"), (0, "a"), (1, "a"), (0, "b"))
    ]
    assert np.array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    assert not np.array_equal(draws[0], draws[3])


def test_float32_problems_can_be_held_by_float32():
    values = Lab(get_backend("numpy"), "float32", 0, "a").normal(100)
    assert values.dtype == np.float64
    assert np.array_equal(values, values.astype(np.float32))


def test_near_scales_by_what_is_added_up():
    lab = Lab(get_backend("numpy"), "float64", 0, "a")
    assert lab.near([1e-10], [0.0], magnitude=1e6).holds
    assert not lab.near([1e-10], [0.0]).holds
    assert lab.near([np.inf], [np.inf]).holds
    assert not lab.near([np.nan], [1.0]).holds
    with pytest.raises(AssertionError, match="shape"):
        lab.near(np.zeros(2), np.zeros(3))


def test_monte_carlo_counts_standard_errors():
    lab = Lab(get_backend("numpy"), "float64", 0, "a")
    assert lab.close(1.04, 1.0, error=0.01).holds
    assert not lab.close(1.06, 1.0, error=0.01).holds


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"equations": ["99"]}, "equation: expected one of"),
        ({"sections": ["7"]}, "section: expected one of"),
        ({"names": ["squash_by_scalar"]}, "name: expected one such as squash_by_scalars, .* got"),
        ({"equations": [4], "sections": ["3.1"]}, "expected a claim that all fit, found none"),
        ({"dtype": "float16"}, "dtype: expected"),
        ({"seed": -1}, "seed: expected"),
        ({"xp": "abacus"}, "backend: expected one of"),
        ({"xp": json}, "xp: expected a namespace"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(OptionError, match=message):
        verify(**options)


def test_a_backend_that_is_missing_is_said():
    try:
        get_backend("cupy")
    except BackendError:
        with pytest.raises(BackendError, match="pip install"):
            verify([4], xp="cupy")


@pytest.mark.parametrize("xp", [None, np, "numpy", get_backend("numpy"), get_backend("numpy").xp])
def test_a_namespace_or_its_name_may_be_given(xp):
    assert {result.backend for result in verify([4], xp=xp)} == {"numpy"}


def test_equations_are_found_as_people_write_them():
    found = select(["4"])
    assert found == select([4]) == select(["(4)"])
    assert select(["algorithm 1"]) == select(["Algorithm 1"])
    assert {claim.section for claim in select(sections=["2.2"])} == {"2.2"}


def test_the_ledger_covers_every_equation():
    equations = {claim.equation for claim in ledger()}
    assert {f"({n})" for n in range(1, 19)} <= equations
    assert {"§2.1", "Algorithm 1"} <= equations
    assert len(ledger()) >= 60


def test_json_has_no_nan():
    result = dataclasses.replace(verify([4])[0], residual=float("nan"))
    row = json.loads(to_json([result]))[0]
    assert row["residual"] is None
    assert {"equation", "claim", "function", "method", "tolerance", "status", "cases"} <= row.keys()


def test_reports_by_their_names(tmp_path):
    results = verify([4])
    for name in ("page.md", "page.html"):
        write_report(tmp_path / name, table_of(results))
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert all(result.claim in text for result in results)
        assert summary(results) in text
    with pytest.raises(OptionError, match="ends in"):
        write_report(tmp_path / "page.txt", table_of(results))


def test_backends_stand_side_by_side():
    results = {kind: verify([4], dtype=kind) for kind in ("float64", "float32")}
    text = table_of_backends(results).markdown()
    assert "| float64 | float32 |" in text.replace("| Equation ", "")
    assert "squash_by_scalars" in text
