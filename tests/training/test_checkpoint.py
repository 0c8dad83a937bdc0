import itertools
import os
import stat

import numpy as np
import pytest
from safetensors.numpy import load_file

from capsnp.errors import CheckpointError, DtypeError, RunError
from capsnp.training import read_checkpoint, write_checkpoint

ARRAYS = {
    "W": np.arange(12, dtype=np.float32).reshape(3, 4),
    "step": np.asarray(7),
    "on": np.asarray([True, False]),
    "none": np.zeros((0, 3)),
}
INFO = {"stage": "capsules", "step": "7", "tricky": '"capsnp":"sha256=é\n'}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.safetensors"


def assert_same(actual, expected):
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(actual[name], array, strict=True)


def test_comes_back_as_it_was(path):
    write_checkpoint(path, ARRAYS, info=INFO)
    arrays, info = read_checkpoint(path)
    assert_same(arrays, ARRAYS)
    assert info == INFO
    arrays["W"] += 1  # may be trained on


def test_is_an_ordinary_safetensors_file(path):
    write_checkpoint(path, ARRAYS)
    assert_same(load_file(path), ARRAYS)


@pytest.mark.parametrize(
    "array",
    [ARRAYS["W"].T, ARRAYS["W"][:, ::2], ARRAYS["W"][::-1], ARRAYS["W"].astype(">f4")],
    ids=["transposed", "strided", "reversed", "big-endian"],
)
def test_memory_layout_does_not_matter(path, array):
    write_checkpoint(path, {"array": array})
    np.testing.assert_array_equal(read_checkpoint(path).arrays["array"], array)


def test_same_state_has_the_same_bytes(path):
    written = set()
    for names in itertools.permutations(ARRAYS):
        arrays = {name: ARRAYS[name] for name in names}
        for info in (INFO, dict(reversed(INFO.items()))):
            write_checkpoint(path, arrays, info=info)
            written.add(path.read_bytes())
    assert len(written) == 1


def test_any_changed_byte_is_found(path):
    write_checkpoint(path, ARRAYS, info=INFO)
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 32  # of a letter no more than its case
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="whole checkpoint, got one cut short or damaged"):
            read_checkpoint(path)


def test_any_other_length_is_found(path):
    write_checkpoint(path, ARRAYS, info=INFO)
    whole = path.read_bytes()
    for data in [whole[:length] for length in range(len(whole))] + [whole + b"\0"]:
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match="cut short"):
            read_checkpoint(path)


def test_missing_file_is_no_damaged_one(path):
    with pytest.raises(RunError, match="cannot be read") as caught:
        read_checkpoint(path)
    assert not isinstance(caught.value, CheckpointError)


@pytest.mark.parametrize("array", [np.asarray(1j), np.asarray(["a"]), np.asarray([None])])
def test_other_kinds_of_arrays_are_refused(path, array):
    with pytest.raises(DtypeError, match=r"^W: expected a boolean, integer or real"):
        write_checkpoint(path, {"W": array})
    assert not path.exists()


def test_full_disk_leaves_the_older_file(path, fill_disk):
    write_checkpoint(path, ARRAYS)
    before = path.read_bytes()
    fill_disk(path.with_name(f".{path.name}.{os.getpid()}.tmp"))
    with pytest.raises(RunError, match=r"\A.*cannot be written \(No space left on device\)\Z"):
        write_checkpoint(path, {"W": np.ones(3)})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_half_a_file_of_a_process_of_the_same_number_does_no_harm(path):
    path.with_name(f".{path.name}.{os.getpid()}.tmp").write_bytes(b"half")
    write_checkpoint(path, ARRAYS)
    assert_same(read_checkpoint(path).arrays, ARRAYS)


def test_interrupted_write_leaves_the_older_file(path, monkeypatch):
    write_checkpoint(path, ARRAYS)
    before = path.read_bytes()

    def interrupt(_handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(path, {"W": np.ones(3)})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_file_and_folder_are_synced_before_and_after_the_rename(path, monkeypatch):
    events = []
    sync, replace = os.fsync, os.replace

    def record_sync(handle):
        events.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        sync(handle)

    def record_replace(source, target):
        events.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(os, "replace", record_replace)
    write_checkpoint(path, ARRAYS)
    assert events == ["file", "rename", "folder"]


def test_folder_without_permission(read_only_folder):
    with pytest.raises(RunError, match=r"\A.*cannot be written \(Permission denied\)\Z"):
        write_checkpoint(read_only_folder / "a.safetensors", ARRAYS)


def test_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"\A.*cannot be written \(Not a directory\)\Z"):
        write_checkpoint(tmp_path / "file" / "a.safetensors", ARRAYS)
