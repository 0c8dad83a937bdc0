"""Scores of codes and capsules against loops."""

import numpy as np
import pytest

from capsnp.errors import DataError, DomainError, OptionError, ShapeError
from capsnp.evaluation.codes import (
    capsule_scores,
    class_purity,
    linear_probe,
    relative_error,
    usage,
)


def test_usage_and_purity_against_loops(rng):
    won, labels = rng.integers(5, size=200), rng.integers(3, 7, size=200)
    won[won == 2] = 4  # capsule 2 wins nothing
    purity, mean = class_purity(won, labels, 6)
    hits = 0
    for j in range(6):
        mine = [int(label) for label, winner in zip(labels, won, strict=True) if winner == j]
        assert usage(won, 6)[j] == len(mine) / 200
        if not mine:
            assert np.isnan(purity[j])
            continue
        most = max(mine.count(label) for label in set(mine))
        hits += most
        assert purity[j] == pytest.approx(most / len(mine))
    assert mean == pytest.approx(hits / 200)
    assert mean == pytest.approx(np.nansum(purity * usage(won, 6)))


def test_capsule_scores_gather():
    won, labels = np.asarray([0, 0, 1]), np.asarray([4, 4, 5])
    scores = capsule_scores(won, 3, labels=labels, probe=0.9, error=0.2)
    assert scores.usage == pytest.approx((2 / 3, 1 / 3, 0.0))
    assert scores.purity[:2] == (1.0, 1.0)
    assert (scores.mean_purity, scores.probe, scores.relative_error) == (1.0, 0.9, 0.2)
    assert capsule_scores(won, 3).purity is None


def test_relative_error_against_a_loop_over_memory_maps(rng, tmp_path):
    h = rng.standard_normal((600, 3, 2)).astype(np.float32) + 4.0
    rebuilt = h + 0.5 * rng.standard_normal(h.shape).astype(np.float32)
    np.save(tmp_path / "h.npy", h)
    mapped = np.load(tmp_path / "h.npy", mmap_mode="r")
    mean = h.mean(axis=0, dtype=np.float64)
    error = sum(np.sum((h[n].astype(float) - rebuilt[n]) ** 2) for n in range(600))
    total = sum(np.sum((h[n] - mean) ** 2) for n in range(600))
    assert relative_error(mapped, rebuilt) == pytest.approx(error / total, rel=1e-6)
    assert relative_error(h, h) == 0.0


@pytest.mark.parametrize("kind", ["ridge", "logistic"])
def test_probe_reads_what_is_linear_and_nothing_else(rng, kind):
    codes = rng.standard_normal((600, 4, 2)) * 1e-3 + 5.0
    known = (codes[:, 1, 1] > 5.0).astype(int)
    unknown = rng.integers(2, size=600)
    assert linear_probe(codes[:400], known[:400], codes[400:], known[400:], kind=kind) > 0.95
    chance = linear_probe(codes[:400], unknown[:400], codes[400:], unknown[400:], kind=kind)
    assert 0.35 < chance < 0.65


def test_probe_uses_the_first_codes_only(rng):
    codes = rng.standard_normal((300, 3))
    labels = (codes[:, 0] > 0).astype(int)
    wrong = labels.copy()
    wrong[100:] = 1 - wrong[100:]
    assert linear_probe(codes, wrong, codes, labels, n_most=100) > 0.9


def test_errors(rng):
    h = rng.standard_normal((4, 2))
    with pytest.raises(ShapeError, match=r"rebuilt: expected shape \(4, 2\), got \(3, 2\)"):
        relative_error(h, h[:3])
    with pytest.raises(DataError, match="all alike"):
        relative_error(0 * h, h)
    with pytest.raises(DomainError, match="won: expected 0 to 2, got 0 to 3"):
        usage(np.arange(4), 3)
    with pytest.raises(ShapeError, match="won: expected shape"):
        usage(np.zeros(0, dtype=int), 3)
    with pytest.raises(ShapeError, match=r"labels: expected shape \(4,\), got \(3,\)"):
        class_purity(np.arange(4), np.arange(3), 4)
    with pytest.raises(OptionError, match="kind: expected 'ridge' or 'logistic', got 'svm'"):
        linear_probe(h, np.arange(4), h, np.arange(4), kind="svm")
    with pytest.raises(ShapeError, match="labels: expected 4 and 4"):
        linear_probe(h, np.arange(3), h, np.arange(4))
