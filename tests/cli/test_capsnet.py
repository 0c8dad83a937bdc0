"""``capsnp capsnet``: runs of a capsule network, their files, stops, what is refused."""

import csv
import json
import shutil
import tomllib

import numpy as np
import pytest
from PIL import Image

from capsnp import CapsNet
from capsnp.datasets import load
from capsnp.models import _capsnet_training
from capsnp.training import RunFolder

from .conftest import expect_one_line
from .test_survival import options

SMALL = (
    "capsnet.filters=4",
    "capsnet.primary_channels=2",
    "capsnet.primary_dim=4",
    "capsnet.capsule_dim=3",
    "capsnet.decoder_hidden=[8, 12]",
    "capsnet.n_iter=2",
    "capsnet.iterations=2",
)
SIZES = ("--train-images", 60, "--test-images", 40)


@pytest.fixture(scope="module")
def network(tmp_path_factory, capsnp):
    """A finished run, to be read only."""
    folder = tmp_path_factory.mktemp("capsnet") / "run"
    result = capsnp("capsnet", "train", folder, *SIZES, *options(*SMALL), "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{folder / 'index.html'}\n"
    assert result.stderr == ""
    return folder


@pytest.fixture
def own(network, tmp_path):
    """A finished run, to be changed."""
    return shutil.copytree(network, tmp_path / "run")


def test_the_network_is_that_of_fit_on_the_same_images(network):
    model = CapsNet.load(network)
    data = load("digits", limit=60)
    again = CapsNet(**model.get_params()).fit(data.images, data.labels)
    for name, weight in again.weights_.items():
        np.testing.assert_array_equal(weight, model.weights_[name])


def test_the_folder_holds_all_that_the_run_is(network):
    config = tomllib.loads((network / "config.toml").read_text())
    assert (config["model"], config["preset"], config["capsnet"]["filters"]) == (
        "capsnet",
        "small",
        4,
    )
    model, test = CapsNet.load(network), load("digits", split="test", limit=40)
    right = float(np.mean(model.predict(test.images) == test.labels))
    looks = [r for r in RunFolder.open(network).metrics() if "held-out accuracy" in r]
    assert [look["step"] for look in looks] == [3, 6]
    assert looks[-1]["held-out accuracy"] == right
    kept = json.loads((network / "results.json").read_text())
    assert kept["tables"][0]["rows"]["all"]["accuracy"] == right
    assert np.trace(kept["facts"]["confusions"]) == round(40 * right)
    with (network / "accuracy.csv").open() as file:
        assert float(next(csv.DictReader(file))["accuracy"]) == right
    page = (network / "index.html").read_text()
    drawn = {file.stem for file in (network / "figures").iterdir()}
    assert drawn == {"confusion", "reconstructions", "mistakes", "filters", "training"}
    for name in drawn:
        assert f'src="figures/{name}.png"' in page
        with Image.open(network / f"figures/{name}.png") as image:
            assert image.size[0] > 200


def test_a_run_that_was_stopped_ends_with_the_same_bytes(network, tmp_path, capsnp, monkeypatch):
    folder, apply = tmp_path / "run", _capsnet_training.CapsNetTraining.apply

    def stop(training, gradient):
        if training.step == 4:
            raise KeyboardInterrupt
        apply(training, gradient)

    with monkeypatch.context() as patch:
        patch.setattr(_capsnet_training.CapsNetTraining, "apply", stop)
        often = "checkpoint_seconds=0.0"
        stopped = capsnp("capsnet", "train", folder, *SIZES, *options(*SMALL, often), "--quiet")
    assert stopped.exit_code == 130, stopped.output
    assert f"capsnp capsnet train {folder} --resume" in stopped.stderr
    resumed = capsnp("capsnet", "train", folder, "--resume")
    assert resumed.exit_code == 0, resumed.output
    assert "expected: " in resumed.stderr
    assert ": 2 steps of" in resumed.stderr
    for name in ("model.safetensors", "metrics.jsonl", "accuracy.csv"):
        assert (folder / name).read_bytes() == (network / name).read_bytes(), name


def test_perturb_adds_pictures_and_numbers_to_the_page(own, capsnp):
    result = capsnp("capsnet", "perturb", own, "--class", "3", "--quiet")
    assert result.exit_code == 0, result.output
    assert "dimension 2" in result.stdout
    page = (own / "index.html").read_text()
    assert 'src="figures/perturb-3.png"' in page
    assert 'src="figures/confusion.png"' in page
    with (own / "perturb_effects.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 3 * 7
    assert {line["class"] for line in lines} == {"3"}


def test_affine_tells_the_accuracy_of_unchanged_images_too(own, capsnp):
    result = capsnp("capsnet", "affine", own, "--test-images", 20, "--quiet")
    assert result.exit_code == 0, result.output
    test = load("digits", split="test", limit=20)
    right = float(np.mean(CapsNet.load(own).predict(test.images) == test.labels))
    kept = json.loads((own / "affine.json").read_text())
    assert kept["tables"][0]["rows"]["as they are"]["accuracy"] == right
    assert all(kind["accuracy"][4] == right for kind in kept["facts"]["accuracy"].values())
    assert 'src="figures/affine.png"' in (own / "index.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--data", "nothing"], 2, ["data: expected digits"]),
        (["--set", "capsnet.filter=3"], 2, ["capsnet.filter: no such setting", "capsnet.filters"]),
        (["--set", "capsnet.squash=flat"], 2, ["capsnet.squash: expected 'sabour'", "'flat'"]),
        (["--preset", "tiny"], 2, ["preset: expected one of 'default', 'sabour2017'", "'tiny'"]),
        (["--train-images", 5], 1, ["expected training images of every class", "none of '5' in 5"]),
        (["--set", "capsnet.kernel=15"], 1, ["X: expected images of height and width from 29"]),
    ],
)  # fmt: skip
def test_wrong_options_are_refused_before_a_file_is_made(arguments, code, words, tmp_path, capsnp):
    result = capsnp("capsnet", "train", tmp_path / "run", *SIZES, *arguments, "--quiet")
    expect_one_line(result, code, *words)
    assert not (tmp_path / "run").exists()


def test_a_start_that_does_not_fit_is_refused(network, tmp_path, capsnp):
    folder = tmp_path / "run"
    result = capsnp("capsnet", "train", folder, *SIZES, "--init-from", network, "--quiet")
    expect_one_line(result, 1, "expected a run of capsules or neurons", "got one of capsnet")
    assert not folder.exists()


def test_folders_of_images_are_the_classes(tmp_path, capsnp):
    rng = np.random.default_rng(0)
    for part, n in (("train", 12), ("test", 4)):
        for name, rows in (("high", slice(2, 5)), ("low", slice(8, 11))):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            for k in range(n):
                image = rng.integers(60, size=(13, 13, 3), dtype=np.uint8)
                image[rows] = 220
                Image.fromarray(image).save(tmp_path / "data" / part / name / f"{k}.png")
    small = options(*SMALL, "capsnet.kernel=5", "capsnet.batch_size=8")
    where = ("--data", tmp_path / "data")
    result = capsnp("capsnet", "train", tmp_path / "run", *where, *small, "--quiet")
    assert result.exit_code == 0, result.output
    kept = json.loads((tmp_path / "run/results.json").read_text())
    assert kept["facts"]["classes"] == ["high", "low"]
    assert np.sum(kept["facts"]["confusions"]) == 8


def test_data_without_labels_are_refused(tmp_path, capsnp):
    np.save(tmp_path / "mine.npy", np.random.default_rng(0).random((20, 16, 16)))
    result = capsnp("capsnet", "train", tmp_path / "run", "--data", tmp_path / "mine.npy", "-q")
    expect_one_line(result, 1, "expected labels, found none: a folder for each class")
    assert not (tmp_path / "run").exists()


def test_other_commands_and_runs_are_told_apart(network, own, tmp_path, capsnp):
    again = capsnp("capsnet", "train", own, *SIZES)
    expect_one_line(again, 1, "holds a run already; go on with --resume")
    other = capsnp("capsnet", "train", own, "--resume", "--seed", 3, "--quiet")
    expect_one_line(other, 1, "settings differ from the run's: seed = 3 (the run has 0)")
    expect_one_line(
        capsnp("evaluate", network), 1, "got one of capsnet, which the commands of capsnp capsnet"
    )
    expect_one_line(capsnp("likelihood", network), 1, "got one of capsnet", "has no likelihood")
    capsules = RunFolder.create(tmp_path / "capsules", {"model": "capsules"}).folder
    expect_one_line(
        capsnp("capsnet", "perturb", capsules), 1, "expected a run of capsnet, got one of capsules"
    )
    unknown = capsnp("capsnet", "perturb", network, "--class", "cat")
    expect_one_line(unknown, 2, "class: expected one of 0, 1,", "'cat'")
