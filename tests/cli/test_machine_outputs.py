"""``capsnp likelihood`` and ``capsnp sample`` of a machine: files, numbers, and what is refused."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from capsnp import RBM
from capsnp.datasets import load
from capsnp.evaluation import binarize, log_likelihood

from .conftest import expect_one_line
from .test_survival import options

OPTIONS = ("rbm.n_iter=40", "rbm.batch_size=20", "monitor.n_rows=50")
QUICK = ("--temperatures", 200, "--chains", 50, "--burn-in", 5, "-q")


def made(capsnp, folder, n_components, *own, data="digits"):
    arguments = options(f"rbm.n_components={n_components}", *OPTIONS, *own)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("capsnp.reproduce.machine_figures.STEPS", (0, 1, 5))
        result = capsnp("train", "rbm", folder, "--data", data, "--limit", 120, *arguments, "-q")
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory, capsnp):
    """A finished run whose likelihood can be listed."""
    return made(capsnp, tmp_path_factory.mktemp("small") / "run", 6)


@pytest.fixture(scope="module")
def large(tmp_path_factory, capsnp):
    """One whose states are 2^40."""
    return made(capsnp, tmp_path_factory.mktemp("large") / "run", 40)


def bits(split="test"):
    return binarize(load("digits", split=split, limit=120).images)


@pytest.mark.parametrize("split", ["test", "train"])
def test_an_exact_likelihood_is_kept_with_where_it_comes_from(small, capsnp, tmp_path, split):
    folder, file = shutil.copytree(small, tmp_path / "run"), tmp_path / "found.json"
    result = capsnp("likelihood", folder, "--split", split, "--exact", "--json", file, "-q")
    assert result.exit_code == 0, result.output
    expected = log_likelihood(RBM.load(folder), bits(split))
    assert f"{expected.value:.2f}" in result.stdout
    kept = json.loads((folder / "likelihood.json").read_text())
    assert kept == {split: json.loads(file.read_text())}
    found = kept[split]
    assert found["value"] == pytest.approx(expected.value, abs=1e-6)
    assert found["partition"]["method"] == "exact"
    assert found["data"]["sha256"] == expected.data.sha256
    assert (found["data"]["rule"], found["data"]["seed"]) == ("threshold", None)
    assert (found["data"]["name"], found["data"]["limit"]) == ("digits", 120)
    assert f"{expected.value:.2f}" in (folder / "index.html").read_text()


def test_both_splits_are_kept(small, capsnp, tmp_path):
    folder = shutil.copytree(small, tmp_path / "run")
    for split in ("test", "train"):
        assert capsnp("likelihood", folder, "--split", split, "-q").exit_code == 0
    assert set(json.loads((folder / "likelihood.json").read_text())) == {"test", "train"}


def test_a_bracket_has_ends_and_chains(large, capsnp, tmp_path):
    folder = shutil.copytree(large, tmp_path / "run")
    result = capsnp("likelihood", folder, *QUICK, "--seed", 3)
    assert result.exit_code == 0, result.output
    found = json.loads((folder / "likelihood.json").read_text())["test"]
    expected = log_likelihood(
        RBM.load(folder), bits(), temperatures=200, n_chains=50, burn_in=5, random_state=3
    )
    assert found["value"] == pytest.approx(expected.value, abs=1e-6)
    assert (found["lower"], found["upper"]) == pytest.approx((expected.lower, expected.upper))
    assert found["lower"] <= found["value"] <= found["upper"]
    assert found["partition"]["n_temperatures"] == 200
    for number in (found["lower"], found["upper"]):
        assert f"{number:.2f}" in result.stdout


def test_a_wide_bracket_is_refused_and_not_kept(large, capsnp, tmp_path):
    folder = shutil.copytree(large, tmp_path / "run")
    coarse = ("--temperatures", 3, "--chains", 4, "--tolerance", 0.01, "-q")
    result = capsnp("likelihood", folder, *coarse)
    expect_one_line(result, 1, "within 0.01 nats, got -", "--temperatures (now 3)", "--allow-wide")
    assert not (folder / "likelihood.json").exists()
    result = capsnp("likelihood", folder, *coarse, "--allow-wide")
    assert result.exit_code == 0, result.output
    assert json.loads((folder / "likelihood.json").read_text())["test"]["wide"]
    assert "the bracket is wide" in result.stdout


def test_states_that_cannot_be_listed(large, capsnp):
    result = capsnp("likelihood", large, "--exact", "-q")
    expect_one_line(result, 2, "exact: expected a layer of at most", "40 bernoulli", "--exact away")


def test_chains_that_do_not_fit(large, capsnp):
    result = capsnp("likelihood", large, "--chains", 10**12, "-q")
    expect_one_line(result, 1, "chains: expected chains that fit into memory, got 10000", "lower")


def test_numbers_between_have_no_likelihood(capsnp, tmp_path, rng):
    np.savez(tmp_path / "mine.npz", images=rng.random((40, 9, 9)))
    own = options("binary.rule=none", "rbm.n_components=3", "rbm.n_iter=1")
    folder = tmp_path / "run"
    result = capsnp("train", "rbm", folder, "--data", tmp_path / "mine.npz", *own, "-q")
    assert result.exit_code == 0, result.output
    expect_one_line(capsnp("likelihood", folder), 1, "expected a run on bits", "binary.rule=thresh")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--split", "half"), "split: expected 'test' or 'train', got 'half'"),
        (("--tolerance", -1), "--tolerance"),
        (("--temperatures", 1), "--temperatures"),
        (("--json", "none/found.json"), "json: expected a folder that is there"),
        (("--backend", "abacus"), "backend: expected one of numpy"),
    ],
)
def test_wrong_options_of_likelihood(small, capsnp, arguments, words):
    expect_one_line(capsnp("likelihood", small, *arguments), 2, words)


def test_runs_that_have_no_likelihood(half_made, capsnp, tmp_path):
    result = capsnp("likelihood", half_made)
    expect_one_line(result, 1, "got one of capsules", "likelihood is not known", "capsnp evaluate")
    expect_one_line(capsnp("likelihood", tmp_path), 1, "there is no run here")


def test_samples_are_states_in_a_file_and_means_in_a_picture(small, capsnp, tmp_path):
    first, again, other = (tmp_path / f"{name}.npz" for name in "abc")
    for file, seed in ((first, 2), (again, 2), (other, 3)):
        result = capsnp("sample", small, "-n", 5, "--gibbs", 3, "--seed", seed, "-o", file)
        assert result.exit_code == 0, result.output
    images = np.load(first)["images"]
    assert (images.shape, images.dtype) == ((5, 28, 28, 1), np.float32)
    assert set(np.unique(images)) == {0.0, 1.0}
    np.testing.assert_array_equal(images, np.load(again)["images"])
    assert np.any(images != np.load(other)["images"])
    result = capsnp("sample", small, "-n", 5, "--gibbs", 3, "-o", tmp_path / "a.png")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "a.png") as image:
        assert len(set(image.convert("L").tobytes())) > 10


def test_a_film_of_chains(small, capsnp, tmp_path):
    result = capsnp("sample", small, "--gibbs", 4, "-n", 3, "-o", tmp_path / "a.gif")
    assert (result.exit_code, result.stdout) == (0, f"{tmp_path / 'a.gif'}\n"), result.output
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 5


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("-o", "a.jpg"), 2, "ends in .npz, .png, .gif or .mp4, got 'a.jpg'"),
        (("-o", "a.png", "--domain", "half"), 2, "domain, capsule: expected none"),
        (("-o", "a.png", "--capsule", 1), 2, "domain, capsule: expected none"),
        (("-o", "a.png", "-n", 10**12), 1, "n: expected chains that fit into memory"),
        (("-o", "a.gif", "-n", 10**12), 1, "n: expected chains that fit into memory"),
        (("-o", "a.png", "--gibbs", 0), 2, "--gibbs"),
    ],
)
def test_wrong_options_of_sample(small, capsnp, tmp_path, monkeypatch, arguments, code, words):
    monkeypatch.chdir(tmp_path)
    expect_one_line(capsnp("sample", small, *arguments), code, words)
    assert not list(tmp_path.iterdir())


def test_no_ffmpeg(small, capsnp, tmp_path, monkeypatch):
    monkeypatch.setattr("matplotlib.animation.FFMpegWriter.isAvailable", lambda: False)
    result = capsnp("sample", small, "-o", tmp_path / "a.mp4")
    expect_one_line(result, 2, "output: .mp4 needs ffmpeg")


def test_capsules_have_no_chains(half_made, capsnp, tmp_path):
    for arguments in (("-o", tmp_path / "a.gif"), ("-o", tmp_path / "a.png", "--gibbs", 3)):
        expect_one_line(capsnp("sample", half_made, *arguments), 2, "which has no chains")


def test_a_run_without_its_images_shape(small, capsnp, tmp_path):
    folder = shutil.copytree(small, tmp_path / "run")
    (folder / "image.json").unlink()
    result = capsnp("sample", folder, "-o", tmp_path / "a.png")
    expect_one_line(result, 1, "image.json", "capsnp train rbm")
