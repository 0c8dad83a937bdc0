import os
import sys

import numpy as np
import pytest

from capsnp.errors import RunError
from capsnp.training import RunFolder
from capsnp.training.settings import versions

CONFIG = {"data": "digits", "seed": 0, "quiet": False, "capsules": {"k": 1, "sizes": (20, 16)}}


@pytest.fixture
def messages():
    return []


@pytest.fixture
def run(tmp_path, messages):
    return RunFolder.create(tmp_path / "run", CONFIG, report=messages.append)


def state(step):
    return {"W": np.full(3, float(step)), "step": np.asarray(step)}


def names(run):
    return sorted(entry.name for entry in run.folder.glob("checkpoint-*"))


def test_config_holds_settings_and_versions(run):
    config = RunFolder.open(run.folder).config
    assert config["versions"] == versions()
    assert {"python", "capsnp", "numpy"} <= config["versions"].keys()
    assert config["capsules"] == {"k": 1, "sizes": [20, 16]}
    assert config == run.config


def test_second_create_says_how_to_go_on(run):
    with pytest.raises(RunError, match="holds a run already; go on with --resume or choose"):
        RunFolder.create(run.folder, CONFIG)


def test_create_in_a_folder_with_other_files(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RunError, match="expected an empty folder, got one with other files"):
        RunFolder.create(tmp_path, CONFIG)


@pytest.mark.parametrize("below", [".", "run"])
def test_create_at_a_file(tmp_path, below):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"\A.*cannot be made a run folder \(.*\)\Z"):
        RunFolder.create(tmp_path / "file" / below, CONFIG)


def test_create_in_a_read_only_folder(read_only_folder):
    with pytest.raises(RunError, match=r"\A.*cannot be locked \(Permission denied\)\Z"):
        RunFolder.create(read_only_folder, CONFIG)
    with pytest.raises(RunError, match=r"\A.*cannot be made a run folder \(Permission denied\)\Z"):
        RunFolder.create(read_only_folder / "run", CONFIG)


def test_open_where_no_run_is(tmp_path):
    with pytest.raises(RunError, match="no run here"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize("data", [b"seed = ", b"\xff"])
def test_damaged_config(run, data):
    run.path("config.toml").write_bytes(data)
    with pytest.raises(RunError, match=r"config\.toml: damaged"):
        RunFolder.open(run.folder)


def test_resume_with_the_same_settings(run, messages):
    resumed = RunFolder.resume(run.folder, CONFIG | {"quiet": True}, report=messages.append)
    assert resumed.config == run.config
    assert not messages


def test_resume_names_each_setting_that_differs(run):
    other = {"data": "mnist", "seed": 0, "quiet": True, "capsules": {"k": 3, "balance": 0.05}}
    with pytest.raises(RunError) as caught:
        RunFolder.resume(run.folder, other)
    told = str(caught.value).split("differ from the run's: ")[1]
    assert set(told.split(", ", maxsplit=2)) == {
        "data = 'mnist' (the run has 'digits')",
        "capsules.k = 3 (the run has 1)",
        "capsules.sizes = None (the run has [20, 16]), capsules.balance = 0.05 (the run has None)",
    }


def test_resume_tells_other_versions(run, messages):
    path = run.path("config.toml")
    path.write_text(path.read_text().replace(f'numpy = "{np.__version__}"', 'numpy = "1.0"'))
    RunFolder.resume(run.folder, CONFIG, report=messages.append)
    assert [message.split(";")[0] for message in messages] == [
        f"versions.numpy: {np.__version__} now, 1.0 when the run began"
    ]


@pytest.mark.parametrize(("backend", "told"), [("numpy", 0), ("torch", 1)])
def test_versions_of_backends_that_do_not_compute_are_not_told(
    tmp_path, messages, monkeypatch, backend, told
):
    settings = {"seed": 0, "backend": backend}
    RunFolder.create(tmp_path / "run", settings)
    now = versions() | {"torch": "0.1"}
    monkeypatch.setattr("capsnp.training.run.versions", lambda: now)
    RunFolder.resume(tmp_path / "run", settings, report=messages.append)
    assert len(messages) == told


def test_resume_of_nothing_starts(tmp_path, messages):
    run = RunFolder.resume(tmp_path / "run", CONFIG, report=messages.append)
    assert RunFolder.open(run.folder).config == run.config
    assert "nothing to resume" in messages[0]


def test_lock_names_its_holder_and_ends_with_it(tmp_path, start, toy):
    process = start("hold", tmp_path)
    assert process.stdout.readline() == "held\n"
    run = RunFolder.open(tmp_path)
    with (
        pytest.raises(RunError, match=rf"in use by process {process.pid}; wait"),
        run.lock(),
    ):
        pass
    with pytest.raises(RunError, match="in use by process"):
        RunFolder.create(tmp_path, toy["SETTINGS"])
    process.kill()
    process.wait()
    with run.lock():
        assert run.path(".pid").read_text() == str(os.getpid())
    assert not run.path(".pid").exists()


def test_lock_holds_within_a_process(run):
    other = RunFolder.open(run.folder)
    with run.lock(), pytest.raises(RunError, match="in use"), other.lock():
        pass
    with other.lock():
        pass


@pytest.mark.parametrize("half", [b'{"stage": "caps', b'{"stage": "capsules", "step": 2}'])
def test_lock_clears_what_a_killed_holder_left(run, half):
    run.log("capsules", 1, loss=0.5)
    whole = run.path("metrics.jsonl").read_bytes()
    run.path("metrics.jsonl").write_bytes(whole + half)
    run.path(".checkpoint-capsules-00000002.safetensors.77.tmp").write_bytes(b"half")
    assert run.metrics() == [{"stage": "capsules", "step": 1, "loss": 0.5}]
    with run.lock():
        assert not list(run.folder.glob(".*.tmp"))
        run.log("capsules", 2, loss=0.25)
    assert [record["step"] for record in run.metrics()] == [1, 2]


def test_newest_two_checkpoints_of_each_stage_are_kept(run):
    for step in (9, 10, 100):
        for stage in ("capsules", "capsules-2"):
            run.save_checkpoint(stage, step, state(step))
    assert names(run) == [
        "checkpoint-capsules-00000010.safetensors",
        "checkpoint-capsules-00000100.safetensors",
        "checkpoint-capsules-2-00000010.safetensors",
        "checkpoint-capsules-2-00000100.safetensors",
    ]
    step, restored = run.latest_checkpoint("capsules")
    assert step == 100
    np.testing.assert_array_equal(restored["W"], np.full(3, 100.0), strict=True)


def test_no_checkpoint_yet(run, messages):
    assert run.latest_checkpoint("capsules") is None
    assert not messages


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-1],
        lambda _data: b"",
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data[:20] + bytes([data[20] ^ 1]) + data[21:],
    ],
    ids=["cut", "empty", "data", "header"],
)
def test_damaged_checkpoint_gives_way_to_the_one_before(run, messages, damage):
    run.save_checkpoint("capsules", 1, state(1))
    last = run.save_checkpoint("capsules", 2, state(2))
    last.write_bytes(damage(last.read_bytes()))
    step, restored = run.latest_checkpoint("capsules")
    assert step == int(restored["step"]) == 1
    assert str(last) in messages[0]
    assert messages[1] == "capsules: goes on from its last whole checkpoint, of step 1"


def test_only_damaged_checkpoints(run, messages):
    run.save_checkpoint("capsules", 1, state(1)).write_bytes(b"")
    assert run.latest_checkpoint("capsules") is None
    assert messages[-1] == "capsules: has no whole checkpoint and starts again"


def test_renamed_checkpoint_is_not_taken(run, messages):
    run.save_checkpoint("autoencoder", 5, state(5)).rename(
        run.path("checkpoint-capsules-00000005.safetensors")
    )
    assert run.latest_checkpoint("capsules") is None
    assert "expected what its name says" in messages[0]


def test_rewind_forgets_one_stage_after_a_step(run):
    for stage in ("autoencoder", "capsules"):
        for step in (1, 2, 3):
            run.log(stage, step, loss=1 / step)
            run.save_checkpoint(stage, step, state(step))
    run.rewind("capsules", 2)
    assert [(r["stage"], r["step"]) for r in run.metrics()] == [
        ("autoencoder", 1), ("autoencoder", 2), ("autoencoder", 3), ("capsules", 1), ("capsules", 2)
    ]  # fmt: skip
    assert [name.split("-", 1)[1] for name in names(run)] == [
        "autoencoder-00000002.safetensors",
        "autoencoder-00000003.safetensors",
        "capsules-00000002.safetensors",
    ]


def test_metrics_are_plain_numbers(run):
    run.log("capsules", 50, loss=np.float32(0.1), winners=3)
    assert run.metrics() == [
        {"stage": "capsules", "step": 50, "loss": float(np.float32(0.1)), "winners": 3.0}
    ]


@pytest.mark.parametrize("line", [b"\0\0\n", b"\xff\n", b"3\n", b"{}\n"])
def test_damaged_line_of_metrics_is_passed_over(run, line):
    run.log("capsules", 1)
    with run.path("metrics.jsonl").open("ab") as file:
        file.write(line)
    run.log("capsules", 2)
    assert [record["step"] for record in run.metrics()] == [1, 2]


def test_full_disk_while_logging(run, fill_disk):
    fill_disk(run.path("metrics.jsonl"))
    with pytest.raises(RunError, match=r"\A.*metrics\.jsonl: .*\(No space left on device\)\Z"):
        run.log("capsules", 1, loss=0.5)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_full_disk_in_training_then_more_room(tmp_path, start, toy):
    # enough for the settings, too little for a checkpoint
    little_room = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))"
    process = start("train", tmp_path / "run", first=little_room)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert len(errors.splitlines()) == 1
    assert "checkpoint-first-00000002.safetensors: cannot be written (File too large)" in errors
    assert not list((tmp_path / "run").glob("checkpoint*")), "half a checkpoint"
    assert not list((tmp_path / "run").glob(".*.tmp"))
    toy["train_all"](tmp_path / "run")
