"""The same commands with expert neurons between features and codes."""

import json
import tomllib

import numpy as np
import pytest

from capsnp.models import CapsuleGenerator, ExpertNeurons
from capsnp.reproduce.figures import PICTURES
from capsnp.training import RunFolder

from .conftest import expect_one_line


@pytest.fixture(scope="module")
def made_neurons(tmp_path_factory, tiny, capsnp):
    """A finished run, to be read only."""
    folder = tmp_path_factory.mktemp("neurons") / "run"
    result = capsnp("reproduce", "--model", "neurons", "--out", folder, "--config", tiny, "--quiet")
    assert result.exit_code == 0, result.output
    return folder


def test_the_run_is_one_of_neurons(made_neurons):
    config = tomllib.loads((made_neurons / "config.toml").read_text())
    assert config["model"] == "neurons"
    assert config["neurons"]["n_capsules"] == 4
    assert "capsules" not in config
    last = {record["stage"]: record for record in RunFolder.open(made_neurons).metrics()}
    assert set(last) == {"autoencoder", "neurons", "decoder"}
    assert last["neurons"].keys() > {"decided", "most used"}
    looks = [r for r in RunFolder.open(made_neurons).metrics() if "free-energy gap" in r]
    assert [look["step"] for look in looks] == [1, 2, 3, 4, 5, 6]
    assert looks[-1].keys() > {"dead neurons", "rebuilding error", "held-out rebuilding error"}
    model = CapsuleGenerator.load(made_neurons)
    assert isinstance(model.experts_, ExpertNeurons)
    assert model.experts_.n_steps == 6
    assert model.sample(3, "half", random_state=0).shape == (3, 28, 28, 1)


def test_every_figure_but_that_of_squashed_sums_and_the_tables(made_neurons):
    drawn = {file.stem for file in (made_neurons / "figures").iterdir()}
    assert drawn == {picture.name for picture in PICTURES} - {"connections"}
    report = json.loads((made_neurons / "report.json").read_text())
    tables = {table["title"]: table["rows"] for table in report["tables"]}
    assert tables["Quality of images"]["joint codes"]["frechet"] > 0
    assert {"neurons", "decoder"} < set(tables["Wall times"])
    page = (made_neurons / "index.html").read_text()
    assert "Expert neurons on digits" in page
    assert "arxiv.org/abs/1907.11639" in page


def test_stages_one_by_one_end_with_the_same_bytes(made_neurons, tiny, capsnp, tmp_path):
    folder = tmp_path / "run"
    for stage in ("autoencoder", "neurons", "decoder"):
        result = capsnp("train", stage, folder, "--model", "neurons", "--config", tiny, "-q")
        assert result.exit_code == 0, result.output
    name = "model.safetensors"
    assert (folder / name).read_bytes() == (made_neurons / name).read_bytes()


def test_a_stage_of_the_other_model_is_refused(made_neurons, made, capsnp):
    for folder, stage in ((made_neurons, "capsules"), (made, "neurons")):
        result = capsnp("train", stage, folder)
        expect_one_line(result, 2, "stage: expected one of autoencoder, ", f"got '{stage}'")


def test_a_run_does_not_change_its_model(made_neurons, capsnp):
    result = capsnp("reproduce", "--resume", "--out", made_neurons, "--model", "capsules")
    expect_one_line(result, 1, "model = 'capsules' (the run has 'neurons')")


def test_images_out_of_the_model(made_neurons, capsnp, tmp_path):
    for command in (
        ("sample", made_neurons, "-n", 5, "-o", tmp_path / "images.npz"),
        ("sample", made_neurons, "-n", 8, "--domain", "half", "-o", tmp_path / "half.png"),
        ("reconstruct", made_neurons, "-n", 3, "-o", tmp_path / "rebuilt.png"),
    ):
        result = capsnp(*command)
        assert result.exit_code == 0, result.output
        assert command[-1].stat().st_size > 0
    images = np.load(tmp_path / "images.npz")["images"]
    assert images.shape == (5, 28, 28, 1)
    assert np.std(images, axis=0).max() > 0
