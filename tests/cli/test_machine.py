"""``capsnp train rbm``: a run of a machine, its files, its end after a kill, what is refused."""

import json
import shutil
import signal
import tomllib

import numpy as np
import pytest
from PIL import Image

from capsnp import RBM
from capsnp.datasets import load
from capsnp.evaluation import binarize
from capsnp.reproduce.machine_figures import PICTURES
from capsnp.training import RunFolder

from .conftest import expect_one_line
from .test_survival import options, saved, wait_for

SMALL = ("rbm.n_components=8", "rbm.n_iter=6", "rbm.batch_size=20", "monitor.n_rows=50")


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    """Pictures of chains that go on for ten steps, not a thousand."""
    monkeypatch.setattr("capsnp.reproduce.machine_figures.STEPS", (0, 1, 10))


def same_result(folder, other):
    return all(
        (folder / name).read_bytes() == (other / name).read_bytes()
        for name in ("model.safetensors", "metrics.jsonl")
    )


@pytest.fixture(scope="module")
def machine(tmp_path_factory, capsnp):
    """A finished run, to be read only."""
    folder = tmp_path_factory.mktemp("machine") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("capsnp.reproduce.machine_figures.STEPS", (0, 1, 10))
        result = capsnp("train", "rbm", folder, "--limit", 120, *options(*SMALL), "--quiet")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{folder / 'index.html'}\n"
    assert result.stderr == ""
    return folder


def test_the_machine_is_that_of_fit_on_the_same_bits(machine):
    model = RBM.load(machine)
    assert model.get_params()["algorithm"] == "pcd"
    bits = binarize(load("digits", limit=120).images).rows
    again = RBM(**model.get_params()).fit(bits)
    np.testing.assert_array_equal(again.components_, model.components_)
    np.testing.assert_array_equal(again.h_samples_, model.h_samples_)


def test_the_folder_holds_all_that_the_run_is(machine):
    config = tomllib.loads((machine / "config.toml").read_text())
    assert config["model"] == "rbm"
    assert config["binary"] == {"rule": "threshold", "seed": 0}
    assert not {"autoencoder", "capsules", "feature_memory"} & set(config)
    drawn = {file.stem for file in (machine / "figures").iterdir()}
    assert drawn == {picture.name for picture in PICTURES}
    for file in (machine / "figures").iterdir():
        with Image.open(file) as image:
            assert image.size[0] > 200
    report = json.loads((machine / "report.json").read_text())
    tables = {table["title"]: table["rows"] for table in report["tables"]}
    assert tables["Sizes"]["weights"]["numbers"] == 784 * 8
    page = (machine / "index.html").read_text()
    assert "Restricted Boltzmann machine on digits, seed 0" in page
    for name in drawn:
        assert f'src="figures/{name}.png"' in page


def test_what_the_monitor_saw_is_logged(machine):
    records = RunFolder.open(machine).metrics()
    looks = [r for r in records if "free-energy gap" in r]
    assert [look["step"] for look in looks] == [6, 12, 18, 24, 30, 36]
    last = looks[-1]
    model, data = RBM.load(machine), load("digits", split="test", limit=120)
    bits = binarize(data.images).rows
    rng = np.random.default_rng([0, 120])
    some = bits[np.sort(rng.permutation(120)[:50])]
    exact = model.log_likelihood(some).value
    assert last["held-out log-likelihood"] == pytest.approx(exact, rel=1e-6)
    assert last["held-out pseudo-likelihood"] == pytest.approx(model.score(some), rel=1e-5)


@pytest.mark.parametrize("algorithm", ["cd", "pcd", "pt"])
def test_a_killed_run_ends_with_the_bytes_of_an_uninterrupted_one(
    algorithm, child, capsnp, tmp_path
):
    small = (*SMALL[:1], *SMALL[2:], "rbm.n_iter=40", "rbm.n_temperatures=3", "rbm.momentum=0.5")
    own = options(*small, f"rbm.algorithm={algorithm}")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert capsnp("train", "rbm", whole, "--limit", 120, *own, "-q").exit_code == 0
    every = options("checkpoint_seconds=0")
    process = child("train", "rbm", killed, "--limit", 120, *own, *every)
    wait_for(process, saved(killed, "rbm", 4))
    process.kill()
    process.wait()
    assert not saved(killed, "rbm", 240)(), "the training was over before it was killed"
    result = capsnp("train", "rbm", killed, "-q")
    assert result.exit_code == 0, result.output
    assert same_result(killed, whole)


@pytest.mark.parametrize("algorithm", ["cd", "pcd"])
def test_a_run_that_was_killed_after_its_last_checkpoint(algorithm, capsnp, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    own = options(*SMALL, f"rbm.algorithm={algorithm}")
    assert capsnp("train", "rbm", whole, "--limit", 120, *own, "-q").exit_code == 0
    shutil.copytree(whole, killed)
    (killed / "model.safetensors").unlink()
    assert capsnp("train", "rbm", killed, "-q").exit_code == 0
    assert same_result(killed, whole)


def test_ctrl_c_says_how_to_go_on(child, capsnp, tmp_path):
    folder = tmp_path / "my run"
    process = child(
        *("train", "rbm", folder, "--limit", 120),
        *options(*SMALL, "rbm.n_iter=100000", "checkpoint_seconds=0"),
        first="import signal; signal.signal(signal.SIGINT, signal.SIG_DFL)",
    )
    wait_for(process, saved(folder, "rbm", 3))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == (f"capsnp: stopped; go on with: capsnp train rbm '{folder}'")
    assert "Traceback" not in errors
    result = capsnp("sample", folder, "-o", tmp_path / "x.png")
    expect_one_line(result, 1, "training is not finished; go on with: capsnp train rbm")


def test_a_run_that_is_finished_is_drawn_again_and_not_trained(machine, capsnp, tmp_path):
    folder = shutil.copytree(machine, tmp_path / "run")
    shutil.rmtree(folder / "figures")
    result = capsnp("train", "rbm", folder, "-q")
    assert result.exit_code == 0
    assert "trained already" in result.stderr
    assert len(list((folder / "figures").iterdir())) == len(PICTURES)
    assert same_result(folder, machine)


@pytest.mark.parametrize(
    ("own", "kind"),
    [
        (("binary.rule=stochastic", "binary.seed=3"), "bernoulli"),
        (("binary.rule=none",), "bernoulli"),
        (("binary.rule=none", "rbm.visible=gaussian", "rbm.learning_rate=0.01"), "gaussian"),
    ],
)
def test_other_pixels(own, kind, capsnp, tmp_path, rng):
    images = rng.random((60, 12, 12, 3))
    np.savez(tmp_path / "mine.npz", images=images)
    folder = tmp_path / "run"
    data = ("--data", tmp_path / "mine.npz")
    result = capsnp("train", "rbm", folder, *data, *options(*SMALL, *own), "-q")
    assert result.exit_code == 0, result.output
    model = RBM.load(folder)
    assert (model.visible_, model.n_features_in_) == (kind, 432)
    last = RunFolder.open(folder).metrics()[-1]
    assert all(np.isfinite(value) for name, value in last.items() if name != "stage")
    assert ("held-out log-likelihood" in last) == (own != ("binary.rule=none",))


@pytest.mark.parametrize(
    ("own", "code", "words"),
    [
        (("rbm.n_component=3",), 2, ("rbm.n_component: no such setting", "rbm.n_components")),
        (("binary.rule=half",), 2, ("binary.rule: expected one of 'none', 'threshold'",)),
        (("rbm.visible=categorical",), 2, ("n_categories: expected a number",)),
        (("rbm.n_chains=100000000000",), 1, ("needs", "chains", "lower rbm.n_chains (now 1000")),
        (("rbm.n_components=1000000000",), 1, ("lower rbm.n_components (now 1000000000)",)),
    ],
)
def test_what_cannot_be_trained_is_refused_before_a_folder_is_made(
    own, code, words, capsnp, tmp_path
):
    folder = tmp_path / "run"
    result = capsnp("train", "rbm", folder, "--limit", 120, *options(*SMALL), *options(*own))
    expect_one_line(result, code, *words)
    assert not folder.exists()


def test_a_pixel_that_is_always_the_same(capsnp, tmp_path, rng):
    images = rng.random((60, 12, 12))
    images[:, 3, 3] = 0.25
    np.savez(tmp_path / "mine.npz", images=images)
    own = options(*SMALL, "rbm.visible=gaussian", "binary.rule=none")
    result = capsnp("train", "rbm", tmp_path / "run", "--data", tmp_path / "mine.npz", *own)
    expect_one_line(result, 1, "features that vary", "feature 39 constant at 0.25", "drop it")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [np.nan, 1.5, -0.1])
def test_pixels_outside_their_domain(value, capsnp, tmp_path, rng):
    images = rng.random((60, 12, 12))
    images[7, 3, 3] = value
    np.savez(tmp_path / "mine.npz", images=images)
    result = capsnp("train", "rbm", tmp_path / "run", "--data", tmp_path / "mine.npz")
    expect_one_line(result, 1, "mine.npz", "expected floats in [0, 1], got")


def test_no_rows(capsnp, tmp_path):
    np.savez(tmp_path / "mine.npz", images=np.zeros((0, 12, 12)))
    result = capsnp("train", "rbm", tmp_path / "run", "--data", tmp_path / "mine.npz")
    expect_one_line(result, 1, "mine.npz", "expected at least one image")


def test_training_that_runs_away_stops_with_what_and_where(capsnp, tmp_path):
    wild = ("rbm.learning_rate=1e30", "rbm.n_iter=400", "rbm.hidden=gaussian")
    result = capsnp("train", "rbm", tmp_path / "run", "--limit", 120, *options(*SMALL, *wild))
    expect_one_line(result, 1, "rbm, step", "expected a finite number")


def test_a_run_of_one_kind_is_not_taken_for_the_other(machine, half_made, capsnp, tmp_path):
    for command in (
        ("train", "autoencoder", machine),
        ("reproduce", "--resume", "--out", machine),
        ("reconstruct", machine, "-o", tmp_path / "x.png"),
        ("compare", machine),
    ):
        expect_one_line(
            capsnp(*command), 1, "expected a run of capsules or neurons, got one of a m"
        )
    result = capsnp("train", "rbm", half_made)
    expect_one_line(result, 1, "expected a run of a machine (rbm), got one of capsules")
    result = capsnp("reproduce", "--model", "rbm", "--out", tmp_path / "new")
    expect_one_line(result, 2, "model: expected 'capsules' or 'neurons', got 'rbm'", "train rbm")
    result = capsnp("train", "rbm", tmp_path / "new", "--model", "neurons")
    expect_one_line(result, 2, "model: expected 'rbm', got 'neurons'")
    assert not (tmp_path / "new").exists()


def test_other_settings_are_refused_by_name(machine, capsnp):
    result = capsnp("train", "rbm", machine, "--set", "rbm.k=2")
    expect_one_line(result, 1, "rbm.k = 2 (the run has 1)")


def test_what_a_run_will_take(machine, capsnp):
    for command in (("info", machine), ("info", "--set", "model=rbm")):
        result = capsnp(*command)
        assert result.exit_code == 0, result.output
        assert "chains" in result.stdout
