"""``capsnp evaluate``, ``capsnp compare`` and ``capsnp info``."""

import json

import numpy as np
import pytest

from .conftest import expect_one_line


def test_evaluation_is_the_same_again(run_copy, made, capsnp):
    (run_copy / "evaluation.json").unlink()
    result = capsnp("evaluate", run_copy, "--quiet")
    assert result.exit_code == 0, result.output
    assert "Quality of images" in result.stdout
    assert "joint codes" in result.stdout
    again = json.loads((run_copy / "evaluation.json").read_text())
    assert again == json.loads((made / "evaluation.json").read_text())


def test_data_without_labels_are_judged_by_their_pixels(tmp_path, capsnp, tiny, rng):
    images = rng.random((200, 20, 20)).astype(np.float32)
    np.savez(tmp_path / "mine.npz", x_train=images[:120], x_test=images[120:])
    folder = tmp_path / "run"
    result = capsnp(
        *("reproduce", "--data", tmp_path / "mine.npz", "--out", folder),
        *("--config", tiny, "--preset", "small", "--quiet"),
    )
    assert result.exit_code == 0, result.output
    assert "principal components of the pixels" in (folder / "report.md").read_text()
    assert (folder / "figures" / "usage.png").is_file()
    result = capsnp("compare", folder, "--iterations", "1", "--quiet")
    assert result.exit_code == 0, result.output


def test_too_few_test_images_are_no_reason_to_fail(tmp_path, capsnp, tiny, rng):
    images = rng.random((60, 20, 20)).astype(np.float32)
    np.savez(tmp_path / "few.npz", images=images, labels=np.arange(60) % 2)
    folder = tmp_path / "run"
    result = capsnp(
        *("reproduce", "--data", tmp_path / "few.npz", "--out", folder),
        *("--config", tiny, "--preset", "small", "--quiet"),
    )
    assert result.exit_code == 0, result.output
    assert "6 test images are too few to judge images by" in result.stderr
    assert "Codes" in (folder / "report.md").read_text()


def test_comparison_of_routing_iterations(run_copy, capsnp):
    model = (run_copy / "model.safetensors").read_bytes()
    result = capsnp(
        "compare", run_copy, "--iterations", "1,3", "--steps", 5, "--limit", 90, "--quiet"
    )
    assert result.exit_code == 0, result.output
    found = json.loads((run_copy / "routing.json").read_text())
    assert (found["steps"], found["features"]) == (5, 90)
    assert found["default"] == {"W": 2, "U": 1}
    trials = [(trial["W"], trial["U"]) for trial in found["trials"]]
    assert trials == [(1, 1), (2, 1), (2, 3), (3, 1)]
    for trial in found["trials"]:
        assert trial["seconds W"] > 0
        assert trial["rebuilt"] > 0
        assert 0 < trial["purity"] <= 1
    for text in (result.stdout, (run_copy / "index.html").read_text()):
        assert "Routing iterations" in text
        assert "outing makes no" in text or "outing is better" in text or "one iteration" in text
    assert (run_copy / "model.safetensors").read_bytes() == model


def test_trials_that_were_made_are_kept(run_copy, capsnp):
    kept = {"W": 1, "U": 1, "seconds W": 1.0, "seconds U": 1.0, "rebuilt": 1.0, "joint": 1.0}
    kept |= {"half": 1.0, "purity": 0.5}
    record = {"steps": 6, "features": 120, "default": {"W": 2, "U": 1}, "trials": [kept]}
    (run_copy / "routing.json").write_text(json.dumps(record))
    result = capsnp("compare", run_copy, "--iterations", "1", "--quiet")
    assert result.exit_code == 0, result.output
    found = json.loads((run_copy / "routing.json").read_text())
    assert found["trials"][0] == kept
    assert [(trial["W"], trial["U"]) for trial in found["trials"]] == [(1, 1), (2, 1)]


@pytest.mark.parametrize("text", ["0,1", "one", "", "1.5"])
def test_iterations_that_are_no_numbers(made, capsnp, text):
    result = capsnp("compare", made, "--iterations", text)
    expect_one_line(result, 2, "iterations: expected whole numbers like 1,2,3")


@pytest.mark.parametrize("command", ["evaluate", "compare"])
def test_nothing_is_judged_without_a_model(half_made, tmp_path, capsnp, command):
    expect_one_line(capsnp(command, half_made), 1, "holds no trained model")
    expect_one_line(capsnp(command, tmp_path / "none"), 1, "no run here")


def test_info_of_the_machine_and_of_a_run_to_be(capsnp):
    result = capsnp("info", "--set", "capsules.n_capsules=7")
    assert result.exit_code == 0, result.output
    for words in ("numpy", "array-api-strict", "cupy", "144 × 7 × 16 × 8", "memory", "training"):
        assert words in result.stdout


def test_info_says_what_a_missing_backend_needs(capsnp, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "array_api_compat.cupy", None)
    assert "pip install 'capsnp[cuda12]'" in capsnp("info").stdout


def test_info_of_a_run(made, capsnp):
    result = capsnp("info", made)
    assert result.exit_code == 0, result.output
    assert "36 × 4 × 6 × 8" in result.stdout


def test_info_of_nothing(capsnp, tmp_path):
    expect_one_line(capsnp("info", tmp_path), 1, "no run here")
    expect_one_line(capsnp("info", "--set", "seeds=1"), 2, "seeds: no such setting; nearest: seed")
