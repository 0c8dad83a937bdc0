import signal

import numpy as np
import pytest

from capsnp.errors import CheckpointError, DivergenceError, OptionError
from capsnp.training import Checkpoints, MetricsLog, Observer, RunFolder, Watchdog, record, train

RESULTS = (
    "config.toml",
    "metrics.jsonl",
    "checkpoint-first-00000005.safetensors",
    "checkpoint-second-00000005.safetensors",
)


@pytest.fixture
def run(tmp_path, toy):
    return RunFolder.create(tmp_path / "run", toy["SETTINGS"])


@pytest.fixture
def uninterrupted(tmp_path, toy):
    toy["train_all"](tmp_path / "uninterrupted")
    return results(tmp_path / "uninterrupted")


def results(folder):
    return {name: (folder / name).read_bytes() for name in RESULTS}


class Stop(Observer):
    """Ctrl-C after a step."""

    def __init__(self, step):
        self.step = step

    def after_step(self, training):
        if training.step == self.step:
            raise KeyboardInterrupt


def test_kill_at_any_moment_changes_no_byte(tmp_path, start, uninterrupted):
    process = start("kill", tmp_path / "killed")
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    *killed, whole = sorted((tmp_path / "killed").iterdir(), key=lambda folder: int(folder.name))
    assert len(killed) > 50, "files are opened, synced, renamed and removed more often than that"
    assert results(whole) == uninterrupted
    for folder in killed:
        assert results(folder) == uninterrupted, f"killed at moment {folder.name}"
        assert not list(folder.glob(".*.tmp"))


@pytest.mark.parametrize("line", ["first 1", "first 2", "first 5", "second 4"])
def test_kill_from_outside_changes_no_byte(tmp_path, toy, start, uninterrupted, line):
    process = start("train", tmp_path / "run")
    while process.stdout.readline() != f"{line}\n":
        assert process.poll() is None
    process.kill()
    assert process.wait() in {-signal.SIGKILL, 0}, "killed, unless it was faster"
    toy["train_all"](tmp_path / "run")
    assert results(tmp_path / "run") == uninterrupted


def test_damaged_last_checkpoint_changes_no_byte(tmp_path, toy, uninterrupted):
    toy["train_all"](tmp_path / "run")
    last = tmp_path / "run" / RESULTS[-1]
    last.write_bytes(last.read_bytes()[:-1])
    toy["train_all"](tmp_path / "run")
    assert results(tmp_path / "run") == uninterrupted


@pytest.mark.parametrize("step", range(1, 5))
def test_interrupt_after_any_step(run, toy, step):
    def observers():
        return (*record(run, log_every=1, save_every=3), Stop(step))

    expected = toy["Toy"]("first")
    train(expected)
    with pytest.raises(KeyboardInterrupt):
        train(toy["Toy"]("first"), observers=observers())
    step = -1
    resumed = toy["Toy"]("first")
    train(resumed, observers=observers())
    np.testing.assert_array_equal(resumed.W, expected.W, strict=True)
    assert [record["step"] for record in run.metrics()] == [1, 2, 3, 4, 5]


def test_ended_stage_is_restored_and_not_written_again(run, toy):
    train(toy["Toy"]("first"), observers=[Checkpoints(run)])
    (path,) = run.folder.glob("checkpoint-*")
    written = path.stat().st_ino
    again = toy["Toy"]("first")
    train(again, observers=[Checkpoints(run)])
    assert again.step == again.n_steps
    assert path.stat().st_ino == written, "a new file would have a new inode"


def test_checkpoints_by_time(run, toy):
    seconds = iter(range(0, 10_000, 7))
    saved = []
    run.save_checkpoint = lambda _stage, step, _state: saved.append(step)
    observer = Checkpoints(run, every_seconds=20, clock=lambda: float(next(seconds)))
    train(toy["Toy"]("first", n_steps=10), observers=[observer])
    assert saved == [3, 6, 9, 10]


def test_metrics_of_every_so_many_steps_and_the_last(run, toy):
    train(toy["Toy"]("first", n_steps=8), observers=[MetricsLog(run, every=3)])
    assert [record["step"] for record in run.metrics()] == [3, 6, 8]
    assert run.metrics()[0].keys() == {"stage", "step", "mean"}


@pytest.mark.parametrize(("where", "value"), [("W", np.nan), ("W", 2e4), ("moment.W", np.inf)])
def test_bad_state_is_never_saved(run, toy, where, value):
    class Spoil(Observer):
        def after_step(self, training):
            if training.step == 3:
                training.state()[where][1, 1] = value

    checkpoints = Checkpoints(run, every_steps=1, watchdog=Watchdog(every=1000))
    with pytest.raises(DivergenceError, match="first, step 3: "):
        train(toy["Toy"]("first"), observers=[Spoil(), checkpoints])
    assert run.latest_checkpoint("first").step == 2


@pytest.mark.parametrize(
    ("observer", "options"),
    [(MetricsLog, {"every": 0}), (Checkpoints, {"every_steps": 0})],
)
def test_options_out_of_range(run, observer, options):
    with pytest.raises(OptionError, match="expected at least 1, got 0"):
        observer(run, **options)


@pytest.mark.parametrize(
    ("shape", "found"), [((3, 5), r"\(3, 5\)"), (None, "none")], ids=["shape", "missing"]
)
def test_a_checkpoint_of_other_settings_is_refused_and_kept(run, toy, shape, found):
    training = toy["Toy"]("first")
    state = {"step": np.asarray(2)} | ({} if shape is None else {"W": np.zeros(shape, "f4")})
    with run.lock():
        path = run.save_checkpoint("first", 2, state)
        message = rf"first, checkpoint of step 2: W: expected shape \(3, 4\), got {found}: were"
        with pytest.raises(CheckpointError, match=message):
            train(training, observers=(Checkpoints(run),))
    assert training.step == 0
    assert path.exists()
