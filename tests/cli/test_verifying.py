"""``capsnp verify``."""

import json

import pytest

from capsnp.verification.claims import squashing


def test_rows_on_the_terminal_and_in_files(tmp_path, capsnp):
    rows, page = tmp_path / "rows.json", tmp_path / "page.html"
    result = capsnp("verify", "--equation", "4", "--json", rows, "--report", page, "--quiet")
    assert result.exit_code == 0, result.output
    found = json.loads(rows.read_text())
    assert {row["status"] for row in found} == {"holds"}
    for row in found:
        assert row["name"] in result.stdout
        assert row["name"] in page.read_text()


def test_a_wrong_formula_fails_with_exit_code_1(capsnp, monkeypatch):
    monkeypatch.setattr(squashing, "squash", lambda z: 1.01 * z)
    result = capsnp("verify", "--name", "squash_by_scalars", "--quiet")
    assert result.exit_code == 1
    assert "squash_by_scalars ((4)) fails: residual" in result.stdout


def test_everywhere_shows_each_library(capsnp):
    result = capsnp("verify", "--everywhere", "--name", "squash_by_scalars", "--quiet")
    assert result.exit_code == 0, result.output
    assert "numpy, float64: 1 claim: 1 holds." in result.stdout
    assert "array-api-strict, float32: 1 claim: 1 holds." in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--equation", "99"), "equation: expected one of"),
        (("--backend", "abacus"), "backend: expected one of"),
        (("--dtype", "float16"), "dtype: expected"),
        (("--report", "page.txt"), "ends in .html or .md"),
        (("--report", "no/such/page.md"), "expected a folder that is there"),
        (("--json", "."), "expected a file"),
        (("--json", "one.md", "--report", "one.md"), "report: expected another file than that of"),
        (("--equation", "4", "--section", "3.1"), "expected a claim that all fit, found none"),
    ],
)
def test_bad_usage_is_one_line(capsnp, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    result = capsnp("verify", *options)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
