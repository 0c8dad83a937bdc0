"""``capsnp reproduce`` and ``capsnp train``: what they make, and what they refuse."""

import json
import re
import tomllib

import numpy as np
import pytest
from PIL import Image

from capsnp.datasets import load
from capsnp.memory import Limit
from capsnp.models import CapsuleGenerator, ConvAutoencoder
from capsnp.reproduce import fitting
from capsnp.reproduce.figures import PICTURES
from capsnp.training import RunFolder

from .conftest import expect_one_line

N_HUGE = 40_000_000


def test_a_run_holds_everything(made):
    for name in (
        "config.toml",
        "metrics.jsonl",
        "model.safetensors",
        "evaluation.json",
        "report.json",
        "report.md",
        "index.html",
    ):
        assert (made / name).stat().st_size > 0, name
    assert not list(made.rglob("*.tmp"))


def test_every_picture_is_made(made):
    for picture in PICTURES:
        with Image.open(made / "figures" / f"{picture.name}.png") as image:
            assert image.width >= 400, picture.name


def test_the_page_shows_every_picture_and_nothing_from_elsewhere(made):
    page = (made / "index.html").read_text()
    shown = re.findall(r'src="([^"]+)"', page)
    assert sorted(shown) == sorted(f"figures/{picture.name}.png" for picture in PICTURES)
    assert all((made / file).is_file() for file in shown)
    assert set(re.findall(r'href="(https?:[^"]+)"', page)) == {"https://arxiv.org/abs/1907.11643"}
    assert "$" not in page


def test_the_settings_are_those_that_were_given(made):
    config = tomllib.loads((made / "config.toml").read_text())
    assert config["capsules"]["n_capsules"] == 4
    assert config["capsules"]["n_winners"] == 1
    assert (config["data"], config["seed"]) == ("digits", 0)
    assert "numpy" in config["versions"]


def test_the_report_shows_the_model_beside_its_controls(made):
    report = json.loads((made / "report.json").read_text())
    tables = {table["title"]: table["rows"] for table in report["tables"]}
    quality = tables["Quality of images"]
    assert next(iter(quality)) == "real test images (the floor)"
    for row in ("joint codes", "control: mixture on components", "PCA-Gaussian", "mean image"):
        assert quality[row]["n"] == 80
        assert quality[row]["frechet"] > 0
    assert set(tables["Codes"]) == {"settled", "one pass of routing", "control: 10 components"}
    assert sum(tables["Codes"]["settled"]["usage"]) == pytest.approx(1)
    assert report["facts"]["settings"]["decoder"]["settled_steps"] == 3
    stages = {"autoencoder", "features", "capsules", "decoder", "figures", "evaluation", "in all"}
    assert set(tables["Wall times"]) == stages


def test_every_stage_logs_its_health(made):
    records = RunFolder.open(made).metrics()
    last = {record["stage"]: record for record in records}
    assert last["autoencoder"]["step"] == 4
    assert last["capsules"].keys() > {"P(on)", "most used"}
    assert last["decoder"]["step"] == 7


def test_the_model_is_whole(made):
    model = CapsuleGenerator.load(made)
    assert model.experts.n_steps == 6
    assert model.sample(3, random_state=0).shape == (3, 28, 28, 1)


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(made, capsnp, tiny, tmp_path):
    again, other = tmp_path / "again", tmp_path / "other"
    for folder, seed in ((again, 0), (other, 1)):
        for stage in ("autoencoder", "capsules", "decoder"):
            result = capsnp("train", stage, folder, "--config", tiny, "--seed", seed, "--quiet")
            assert result.exit_code == 0, result.output
    assert (again / "model.safetensors").read_bytes() == (made / "model.safetensors").read_bytes()
    assert (again / "metrics.jsonl").read_bytes() == (made / "metrics.jsonl").read_bytes()
    assert (other / "model.safetensors").read_bytes() != (made / "model.safetensors").read_bytes()


def test_a_stage_that_is_trained_is_not_trained_again(run_copy, capsnp):
    before = (run_copy / "model.safetensors").stat().st_mtime_ns
    result = capsnp("train", "capsules", run_copy)
    assert result.exit_code == 0
    assert "the stage 'capsules' is trained already" in result.stderr
    assert (run_copy / "model.safetensors").stat().st_mtime_ns == before


def test_a_stage_whose_forerunner_is_missing(half_made, capsnp):
    result = capsnp("train", "decoder", half_made)
    expect_one_line(result, 1, "'decoder' needs the stage 'autoencoder'", "capsnp train autoenc")


def test_a_later_stage_starts_no_run(tmp_path, capsnp):
    folder = tmp_path / "run"
    result = capsnp("train", "capsules", folder)
    expect_one_line(result, 1, f"no run here; start one: capsnp train autoencoder {folder}")
    assert not folder.exists()


def test_an_unknown_stage(half_made, capsnp):
    result = capsnp("train", "capsule", half_made)
    expect_one_line(
        result, 2, "stage: expected one of autoencoder, capsules, neurons, decoder, rbm, got 'caps"
    )


def test_what_is_done_is_not_done_again_on_resume(run_copy, capsnp):
    (run_copy / "index.html").unlink()
    (run_copy / "figures" / "usage.png").unlink()
    model, scores = (run_copy / name for name in ("model.safetensors", "evaluation.json"))
    before = model.stat().st_mtime_ns, scores.stat().st_mtime_ns
    result = capsnp("reproduce", "--out", run_copy, "--resume", "--quiet")
    assert result.exit_code == 0, result.output
    assert before == (model.stat().st_mtime_ns, scores.stat().st_mtime_ns)
    assert "figures/usage.png" in (run_copy / "index.html").read_text()


def test_a_damaged_model_is_made_again_from_the_checkpoints(run_copy, made, capsnp):
    model = run_copy / "model.safetensors"
    model.write_bytes(model.read_bytes()[:-1])
    result = capsnp("reproduce", "--out", run_copy, "--resume", "--quiet")
    assert result.exit_code == 0, result.output
    assert "its stages go on from their checkpoints" in result.stderr
    assert model.read_bytes() == (made / "model.safetensors").read_bytes()


@pytest.mark.parametrize("damage", ["cut", "empty", "gone"])
def test_features_that_are_damaged_are_computed_again(run_copy, capsnp, damage):
    features = run_copy / "cache" / "features.npy"
    whole = features.read_bytes()
    features.unlink()
    if damage != "gone":
        features.write_bytes(whole[:-8] if damage == "cut" else b"")
    result = capsnp("evaluate", run_copy, "--quiet")
    assert result.exit_code == 0, result.output
    assert features.read_bytes() == whole


def test_a_folder_with_a_run_needs_resume(made, capsnp, tiny):
    result = capsnp("reproduce", "--out", made, "--config", tiny)
    expect_one_line(result, 1, "holds a run already; go on with --resume")


def test_a_folder_with_other_files_is_left_alone(tmp_path, capsnp, tiny):
    (tmp_path / "thesis.tex").write_text("x")
    result = capsnp("reproduce", "--out", tmp_path, "--config", tiny)
    expect_one_line(result, 1, "expected an empty folder")
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--seed", 3), "seed = 3 (the run has 0)"),
        (("--set", "capsules.n_steps=7"), "capsules.n_steps = 7 (the run has 6)"),
        (("--data", "mnist"), "data = 'mnist' (the run has 'digits')"),
        (("--preset", "paper"), "preset = 'paper' (the run has 'small')"),
        (("--set", "capsules.n_winners=none"), "capsules.n_winners = 'none' (the run has 1)"),
    ],
)
def test_other_settings_than_the_runs_are_refused_by_name(made, capsnp, options, words):
    result = capsnp("reproduce", "--out", made, "--resume", *options)
    expect_one_line(result, 1, "settings differ from the run's", words)


def test_how_often_checkpoints_are_written_may_change(run_copy, capsnp):
    option = ("--set", "checkpoint_seconds=5")
    result = capsnp("reproduce", "--out", run_copy, "--resume", "--quiet", *option)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--set", "capsules.nsteps=5"), "capsules.nsteps: no such setting; nearest: capsules.n_s"),
        (("--set", "capsules.n_steps=few"), "expected a whole number, got 'few'"),
        (("--set", "n_steps"), "expected name=value"),
        (("--set", "=3"), "expected name=value"),
        (("--set", "capsules.n_winners=9", "--set", "capsules.n_capsules=4"), "1 to 4"),
        (("--preset", "huge"), "preset: expected one of"),
        (("--backend", "matlab"), "backend: expected one of numpy"),
        (("--seed", "-1"), "seed: expected a whole number from 0"),
        (("--seed", "many"), "--seed"),
        (("--data", "mnits"), "data: expected digits, mnist"),
        (("--data", ""), "data: expected digits, mnist"),
        (("--config", "no-such.toml"), "no-such.toml cannot be read"),
        (("--no-such-option",), "--no-such-option"),
    ],
)
def test_wrong_usage_makes_nothing(tmp_path, capsnp, options, words):
    folder = tmp_path / "run"
    result = capsnp("reproduce", "--out", folder, *options)
    expect_one_line(result, 2, words)
    assert not folder.exists()


def test_images_too_small_for_the_filters(tmp_path, capsnp):
    images = np.arange(40 * 12 * 12, dtype=np.uint8).reshape(40, 12, 12)
    np.savez(tmp_path / "small.npz", images=images)
    result = capsnp("reproduce", "--data", tmp_path / "small.npz", "--out", tmp_path / "run")
    expect_one_line(result, 1, "expected height and width of at least 17")
    assert not (tmp_path / "run").exists()


def test_images_that_are_all_alike(tmp_path, capsnp):
    np.savez(tmp_path / "alike.npz", images=np.full((40, 28, 28), 7, np.uint8))
    out = ("--out", tmp_path / "run")
    result = capsnp("reproduce", "--data", tmp_path / "alike.npz", *out)
    expect_one_line(result, 1, "expected at least two training images that differ, found 36 equal")
    expect_one_line(capsnp("reproduce", "--limit", "1", *out), 1, "found 1 equal")
    assert not (tmp_path / "run").exists()


def test_images_of_two_channels(tmp_path, capsnp):
    np.savez(tmp_path / "two.npz", images=np.zeros((40, 28, 28, 2), np.uint8))
    result = capsnp("reproduce", "--data", tmp_path / "two.npz", "--out", tmp_path / "run")
    expect_one_line(result, 1, "expected images of 1 or 3 channels, got 2")


def test_data_that_are_missing_or_damaged(tmp_path, capsnp):
    out = ("--out", tmp_path / "run")
    result = capsnp("reproduce", "--data", "mnist", "--data-dir", tmp_path / "none", *out)
    expect_one_line(result, 1, "data_dir: expected a folder")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 but not much more")
    result = capsnp("reproduce", "--data", tmp_path / "cut.npz", *out)
    expect_one_line(result, 1, "cut.npz")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["evaluation.json", "seconds.json", "routing.json"])
@pytest.mark.parametrize("text", ["{", "[1]"])
def test_a_damaged_record_is_named_with_what_to_do(run_copy, capsnp, name, text):
    (run_copy / name).write_text(text)
    result = capsnp("reproduce", "--out", run_copy, "--resume", "--quiet")
    expect_one_line(result, 1, f"{name}: damaged", "delete it, and it is made anew")


def test_threads_that_are_no_number(tmp_path, capsnp, monkeypatch):
    monkeypatch.setenv("CAPSNP_NUM_THREADS", "many")
    result = capsnp("reproduce", "--out", tmp_path / "run")
    expect_one_line(result, 2, "CAPSNP_NUM_THREADS: expected a whole number from 1, got 'many'")
    assert not (tmp_path / "run").exists()


def test_no_command_shows_help(capsnp):
    assert "reproduce" in capsnp("--help").stdout
    assert "--preset" in capsnp("reproduce", "--help").stdout


def test_an_unknown_command(capsnp):
    expect_one_line(capsnp("dream"), 2, "dream")


def test_debug_shows_where_an_error_comes_from(tmp_path, capsnp):
    result = capsnp("evaluate", tmp_path, "--debug")
    assert result.exit_code == 1
    assert result.exception is not None
    assert type(result.exception).__name__ == "RunError"


def test_every_training_says_what_it_will_take(half_made, capsnp):
    result = capsnp("train", "autoencoder", half_made)
    assert result.exit_code == 0, result.output
    assert re.search(r"autoencoder; expected: \d+ s on numpy, \d+ MB of memory", result.stderr)


@pytest.fixture
def _no_room(monkeypatch):
    monkeypatch.setattr(fitting, "resident", lambda: 100_000_000)
    monkeypatch.setattr(fitting, "limits", lambda: [Limit(0, "a limit of the test", False)])


@pytest.mark.usefixtures("_no_room")
def test_a_run_that_cannot_fit_does_not_start(tmp_path, capsnp):
    folder = tmp_path / "run"
    result = capsnp("reproduce", "--out", folder)
    expect_one_line(
        result, 1, "not enough memory: the stage", "MB of images", "a limit of the test"
    )
    assert not folder.exists()


def test_a_file_that_cannot_fit_is_not_read(tmp_path, capsnp, monkeypatch):
    limit = Limit(2_000_000_000, "a limit of the test", False)
    monkeypatch.setattr(fitting, "limits", lambda: [limit])
    images = tmp_path / "images.npy"
    with images.open("wb") as file:  # 31 GB of zeros, sparse
        header = {"descr": "|u1", "fortran_order": False, "shape": (N_HUGE, 28, 28)}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + N_HUGE * 28 * 28)
    result = capsnp("reproduce", "--data", images, "--out", tmp_path / "run")
    expect_one_line(result, 1, "not enough memory", "125.4 GB of images", "--limit ")


@pytest.mark.usefixtures("_no_room")
def test_a_stage_that_cannot_fit_does_not_start(half_made, capsnp):
    result = capsnp("train", "autoencoder", half_made, "--quiet")
    expect_one_line(result, 1, "not enough memory: the stage 'autoencoder' needs")
    assert not list(half_made.glob("checkpoint-*"))


def test_features_of_half_the_size(tiny, tmp_path, capsnp):
    folder = tmp_path / "run"
    options = ("--config", tiny, "--feature-dtype", "float16", "--limit", 100, "--quiet")
    for stage in ("autoencoder", "capsules"):
        result = capsnp("train", stage, folder, *options)
        assert result.exit_code == 0, result.output
    stored = np.load(folder / "cache/features.npy")
    assert (stored.dtype, len(stored)) == (np.float16, 100)
    model = CapsuleGenerator.load(folder)
    features = model.autoencoder_.transform(load("digits", limit=100).images)
    np.testing.assert_allclose(stored, features, rtol=1e-3, atol=1e-6)
    assert model.experts_.W_.dtype == np.float32


def test_features_that_are_too_large_for_their_dtype(half_made, capsnp, monkeypatch):
    capsnp("train", "autoencoder", half_made, "--quiet")
    (half_made / "config.toml").write_text(
        (half_made / "config.toml")
        .read_text()
        .replace('feature_dtype = "none"', 'feature_dtype = "float16"')
    )
    transform = ConvAutoencoder.transform
    monkeypatch.setattr(ConvAutoencoder, "transform", lambda self, X: 1e6 + transform(self, X))
    result = capsnp("train", "capsules", half_made, "--quiet")
    expect_one_line(result, 1, "feature_dtype: expected features up to 65504", "take float32")
    assert not (half_made / "cache/features.npy").exists()


def test_features_are_mapped_above_the_limit_and_train_to_the_same_bytes(made, tmp_path, capsnp):
    folder = tmp_path / "run"
    config = made / "config.toml"
    for stage in ("autoencoder", "capsules"):
        result = capsnp(
            "train", stage, folder, "--config", config, "--set", "feature_memory=0", "-q"
        )
        assert result.exit_code == 0, result.output
    one, other = (CapsuleGenerator.load(run).experts_.W_ for run in (made, folder))
    np.testing.assert_array_equal(one, other)
