"""``capsnp evaluate`` of a machine."""

import json

import numpy as np
import pytest

from capsnp import RBM
from capsnp.datasets import load
from capsnp.evaluation import binarize, linear_probe, relative_error

from .test_machine_outputs import made

N = 120


@pytest.fixture(autouse=True)
def short_chains(monkeypatch):
    monkeypatch.setattr("capsnp.reproduce.machine_scores.STEPS", 3)


def tables(folder):
    report = json.loads((folder / "report.json").read_text())
    return {table["title"]: table["rows"] for table in report["tables"]}


def test_images_and_codes_are_judged_and_kept(capsnp, tmp_path):
    folder = made(capsnp, tmp_path / "run", 12, "evaluation.classifier_steps=40")
    result = capsnp("evaluate", folder, "-q")
    assert result.exit_code == 0, result.output
    found = tables(folder)
    rows = found["Quality of images"]
    for name in ("rebuilt from 12 hidden means", "drawn, means after 3 steps"):
        assert np.isfinite(rows[name]["frechet"])
        assert name in result.stdout
    real, mean = rows["real test images (the floor)"], rows["mean image"]
    assert real["frechet"] < rows["rebuilt from 12 hidden means"]["frechet"] < mean["frechet"]
    model = RBM.load(folder)
    train, test = (load("digits", split=split, limit=N) for split in ("train", "test"))
    old, new = (binarize(each.images).rows for each in (train, test))
    codes = model.transform(new)
    score = found["Codes"]["12 hidden means"]
    probe = linear_probe(model.transform(old), train.labels, codes, test.labels)
    assert score["probe"] == pytest.approx(probe)
    error = relative_error(new, model.inverse_transform(codes))
    assert score["relative_error"] == pytest.approx(error, rel=1e-5)
    assert found["Wall times"]["evaluation"]["seconds"] > 0
    assert "Quality of images" in (folder / "index.html").read_text()
    again = capsnp("evaluate", folder, "-q")
    assert again.stdout == result.stdout


def test_pixels_as_they_come_without_labels(capsnp, tmp_path, rng):
    images = (rng.random((200, 20, 20)) < 0.3) * rng.random((200, 20, 20))
    np.savez(tmp_path / "mine.npz", x_train=images[:120], x_test=images[120:])
    folder = tmp_path / "run"
    own = ("binary.rule=none", "evaluation.n_images=80")
    made(capsnp, folder, 5, *own, data=tmp_path / "mine.npz")
    result = capsnp("evaluate", folder, "-q")
    assert result.exit_code == 0, result.output
    found = tables(folder)
    assert "drawn, states after 3 steps" in found["Quality of images"]
    assert not any("made binary" in name for name in found["Quality of images"])
    assert found["Codes"]["5 hidden means"]["probe"] is None


def test_too_few_test_images_are_no_reason_to_fail(capsnp, tmp_path, rng):
    images = rng.random((60, 20, 20)).astype(np.float32)
    np.savez(tmp_path / "few.npz", images=images, labels=np.arange(60) % 2)
    folder = made(
        capsnp,
        tmp_path / "run",
        5,
        "evaluation.classifier_steps=10",
        data=tmp_path / "few.npz",
    )
    result = capsnp("evaluate", folder, "-q")
    assert result.exit_code == 0, result.output
    assert "6 test images are too few to judge images by" in result.stderr
    assert list(tables(folder)["Codes"]) == ["5 hidden means"]
