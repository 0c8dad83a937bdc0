"""Runs that are killed, stopped, locked out or out of disk: nothing is lost, nothing half-made."""

import signal
import time

import pytest

from .conftest import expect_one_line

STAGES = ("autoencoder", "capsules", "decoder")
LONGER = (
    "autoencoder.n_steps=30",
    "capsules.n_steps=40",
    "decoder.winner_steps=20",
    "decoder.settled_steps=20",
)


def options(*assignments):
    return [part for assignment in assignments for part in ("--set", assignment)]


def train_all(capsnp, folder, *arguments):
    for stage in STAGES:
        result = capsnp("train", stage, folder, *arguments, "--quiet")
        assert result.exit_code == 0, result.output


def wait_for(process, condition, seconds=120):
    """Wait until a condition holds while the process runs."""
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "the child did not get there"
        time.sleep(0.001)


def saved(folder, stage, step):
    return lambda: any(
        int(path.stem.rpartition("-")[2]) >= step
        for path in folder.glob(f"checkpoint-{stage}-*.safetensors")
    )


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, capsnp, tiny):
    folder = tmp_path_factory.mktemp("uninterrupted") / "run"
    train_all(capsnp, folder, "--config", tiny, *options(*LONGER))
    return folder


def same_result(folder, other):
    return all(
        (folder / name).read_bytes() == (other / name).read_bytes()
        for name in ("model.safetensors", "metrics.jsonl", "cache/features.npy")
    )


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_run_ends_with_the_bytes_of_an_uninterrupted_one(
    stage, uninterrupted, child, capsnp, tiny, tmp_path
):
    folder = tmp_path / "run"
    every_step = options(*LONGER, "checkpoint_seconds=0")
    process = child("reproduce", "--out", folder, "--config", tiny, *every_step)
    wait_for(process, saved(folder, stage, 4))
    process.kill()
    assert process.wait() == -signal.SIGKILL
    last = {"autoencoder": 30, "capsules": 40, "decoder": 40}[stage]
    assert not saved(folder, stage, last)(), "the stage was over before it was killed"
    train_all(capsnp, folder)
    assert same_result(folder, uninterrupted)


def test_ctrl_c_says_how_to_go_on(uninterrupted, child, capsnp, tiny, tmp_path):
    folder = tmp_path / "my run"
    process = child(
        *("reproduce", "--out", folder, "--config", tiny),
        *options(*LONGER, "checkpoint_seconds=0"),
        first="import signal; signal.signal(signal.SIGINT, signal.SIG_DFL)",
    )
    wait_for(process, saved(folder, "autoencoder", 3))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == (
        f"capsnp: stopped; go on with: capsnp reproduce --out '{folder}' --resume"
    )
    assert "Traceback" not in errors
    train_all(capsnp, folder)
    assert same_result(folder, uninterrupted)


@pytest.mark.parametrize("command", [("reproduce", "--out"), ("train", "autoencoder")])
def test_ctrl_c_before_the_run_has_begun_offers_no_way_to_go_on(
    command, capsnp, tmp_path, monkeypatch
):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("capsnp.reproduce.pipeline.load", interrupted)
    result = capsnp(*command, tmp_path / "run", "--seed", "3")
    assert (result.exit_code, result.stderr) == (130, "capsnp: stopped\n")
    assert not (tmp_path / "run").exists()


def test_a_second_process_is_locked_out(child, capsnp, tiny, tmp_path):
    folder = tmp_path / "run"
    long = options("autoencoder.n_steps=100000")
    process = child("train", "autoencoder", folder, "--config", tiny, *long)
    wait_for(process, (folder / "metrics.jsonl").exists)
    result = capsnp("train", "autoencoder", folder)
    expect_one_line(result, 1, f"in use by process {process.pid}")
    process.kill()


# The first checkpoint, the features and the checkpoint of W do not fit, each in turn.
@pytest.mark.parametrize("limit", [60_000, 120_000, 170_000])
def test_a_write_that_fails_leaves_a_run_that_goes_on(limit, made, child, capsnp, tiny, tmp_path):
    folder = tmp_path / "run"
    process = child(
        *("reproduce", "--out", folder, "--config", tiny, "--quiet"),
        first=f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))",
    )
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert errors.count("\n") == 1
    assert "cannot be written (File too large)" in errors
    train_all(capsnp, folder)
    assert same_result(folder, made)


def test_leftovers_of_a_killed_process_are_cleared_away(run_copy, capsnp):
    leftovers = [run_copy / ".model.safetensors.1.tmp", run_copy / "cache" / ".features.npy.tmp"]
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    result = capsnp("reproduce", "--out", run_copy, "--resume", "--quiet")
    assert result.exit_code == 0, result.output
    assert not any(leftover.exists() for leftover in leftovers)


@pytest.mark.parametrize("flaw", ["cut", "flipped"])
def test_a_damaged_checkpoint_is_passed_over_and_named(
    flaw, uninterrupted, child, capsnp, tiny, tmp_path
):
    folder = tmp_path / "run"
    every_step = options(*LONGER, "checkpoint_seconds=0")
    process = child("train", "autoencoder", folder, "--config", tiny, *every_step)
    wait_for(process, saved(folder, "autoencoder", 4))
    process.kill()
    process.wait()
    newest = max(folder.glob("checkpoint-autoencoder-*"))
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data[:-100] if flaw == "cut" else data)
    result = capsnp("train", "autoencoder", folder, "--quiet")
    assert result.exit_code == 0, result.output
    assert f"{newest}: expected a whole checkpoint" in result.stderr
    train_all(capsnp, folder)
    assert same_result(folder, uninterrupted)


def test_a_folder_that_cannot_be_made(tmp_path, capsnp, tiny):
    (tmp_path / "file").write_text("x")
    result = capsnp("reproduce", "--out", tmp_path / "file" / "run", "--config", tiny)
    expect_one_line(result, 1, "cannot be made a run folder")


def test_nothing_to_resume_starts_a_run(tmp_path, capsnp, tiny):
    folder = tmp_path / "run"
    result = capsnp("train", "autoencoder", folder, "--config", tiny, "--quiet")
    assert result.exit_code == 0, result.output
    assert (folder / "model.safetensors").exists()


def test_training_that_runs_away_stops_with_what_and_where(tmp_path, capsnp, tiny):
    folder = tmp_path / "run"
    wild = ("capsules.learning_rate=1e7", "capsules.l2=0.0", "capsules.n_steps=60")
    assert capsnp(
        "train", "autoencoder", folder, "--config", tiny, *options(*wild), "--quiet"
    ).exit_code == 0  # fmt: skip
    result = capsnp("train", "capsules", folder, "--quiet")
    expect_one_line(result, 1, "capsules, step 50", "expected")
