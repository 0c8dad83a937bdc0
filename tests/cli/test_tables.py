"""Tables on terminals of any width."""

import re

import pytest

from capsnp.cli._tables import show
from capsnp.evaluation import Column, Table

TABLE = Table(
    "Quality",
    (
        Column("claim", "Claim"),
        Column("frechet", "Fréchet", ".1f", "lower"),
        Column("kernel", "Kernel distance", ".3f", "lower"),
        Column("status", "Verdict"),
    ),
    {
        "squash_jacobian_by_complex_step": {
            "claim": "The Jacobian of squash times a vector, and 0 at z = 0",
            "frechet": 13312.5,
            "kernel": 0.125,
            "status": "holds",
        },
        "short": {"claim": "A claim", "frechet": 2.0, "kernel": 5.5, "status": "corrected"},
    },
    notes=("2 claims: 1 holds, 1 corrected.",),
)


@pytest.fixture
def printed(monkeypatch, capsys):
    """``printed(width)`` is what a terminal of so many characters shows, without its styles."""

    def lines(width):
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("COLUMNS", str(width))
        show([TABLE])
        return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out).splitlines()

    return lines


@pytest.mark.parametrize("width", [36, 50, 80, 200])
def test_nothing_is_lost_on_a_narrow_terminal(printed, width):
    lines = printed(width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert "…" not in text
    for word in ("Quality", "Fréchet", "13312.5", "0.125", "Verdict", "holds ", "Jacobian"):
        assert text.count(word) == 1, word
    assert "squash_jacobian_by" in text
    assert "_step" in text
    assert lines.index(next(line for line in lines if "2 claims" in line)) > len(lines) - 3


def test_a_wide_terminal_shows_one_table(printed):
    assert sum("short" in line for line in printed(200)) == 1


def test_where_there_is_no_terminal_lines_are_long(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "40")
    show([TABLE])
    assert "corrected" in next(
        line for line in capsys.readouterr().out.splitlines() if "short" in line
    )
