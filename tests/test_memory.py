"""What a process holds and may hold, as its system tells."""

import sys

import numpy as np
import pytest

from capsnp import memory

STATUS = "Name:\tpython\nVmSize:\t 5000 kB\nVmData:\t 3000 kB\nRssAnon:\t 20 kB\nRssShmem:\t 1 kB\n"


@pytest.fixture
def proc(tmp_path, monkeypatch):
    """A made-up /proc."""
    (tmp_path / "self").mkdir()
    (tmp_path / "self/status").write_text(STATUS)
    (tmp_path / "meminfo").write_text("MemTotal: 90 kB\nMemAvailable: 70 kB\nHugePages: 0\n")
    monkeypatch.setattr(memory, "_PROC", tmp_path)
    return tmp_path


def test_mapped_files_are_not_held(proc):  # noqa: ARG001
    assert memory.resident() == 21 * 1024


def test_nothing_is_told_where_there_is_no_proc(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_PROC", tmp_path / "none")
    assert memory.resident() == 0
    assert memory.limits() == []


def test_free_memory_and_limits_of_the_process(proc, monkeypatch):  # noqa: ARG001
    resource = pytest.importorskip("resource")
    found = {resource.RLIMIT_AS: 6_000_000, resource.RLIMIT_DATA: resource.RLIM_INFINITY}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (found[kind], 0))
    free, addresses = sorted(memory.limits())
    assert (free.room, free.mapped) == (70 * 1024, False)
    assert (addresses.room, addresses.mapped) == (6_000_000 - 5000 * 1024, True)
    assert "ulimit -v" in addresses.reason


@pytest.mark.parametrize(
    ("line", "folder", "names"),
    [
        ("0::/outer/inner", "outer/inner", ("memory.max", "memory.current", "inactive_file")),
        ("0::/outer/inner", "", ("memory.max", "memory.current", "inactive_file")),
        (
            "4:memory:/jobs",
            "memory/jobs",
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ),
    ],
)
def test_control_groups_of_both_versions(proc, tmp_path, monkeypatch, line, folder, names):
    groups = tmp_path / "groups"
    monkeypatch.setattr(memory, "_GROUPS", groups)
    (proc / "self/cgroup").write_text(f"3:cpu:/elsewhere\n{line}\n")
    limit, usage, cached = names
    where = groups / folder
    where.mkdir(parents=True)
    (where / limit).write_text("1000\n")
    (where / usage).write_text("700\n")
    (where / "memory.stat").write_text(f"other 5\n{cached} 250\n")
    assert min(memory.limits()).room == 1000 - 700 + 250
    (where / limit).write_text("max\n" if limit == "memory.max" else f"{2**63 - 4096}\n")
    assert len(memory.limits()) == 1  # what is free


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process holds")
def test_an_array_is_held():
    memory.give_back()
    before = memory.resident()
    array = np.ones(20_000_000)  # so large that the C library asks the system for each one anew
    assert memory.resident() - before == pytest.approx(array.nbytes, rel=0.2)
    del array
    memory.give_back()
    assert memory.resident() - before < 40_000_000
