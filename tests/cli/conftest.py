"""A tiny run, made once by the command itself, and how to call commands."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from threadpoolctl import threadpool_limits
from typer.testing import CliRunner

from capsnp.cli import app

TINY = """
limit = 120

[autoencoder]
filters = 8
n_steps = 4
batch_size = 16

[capsules]
n_capsules = 4
capsule_dim = 6
n_steps = 6
rebalance_steps = 5

[neurons]
n_capsules = 4
capsule_dim = 6
n_steps = 6
rebalance_steps = 5

[decoder]
winner_steps = 4
settled_steps = 3
settling_steps = 5
settling_steps_training = 3

[mixture]
n_components = 4
n_principal = 10

[evaluation]
n_images = 80
classifier_steps = 10
"""


ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "BLIS_NUM_THREADS": "1"}


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Small products are quicker on one thread, and much quicker on a machine that is busy."""
    with threadpool_limits(1, "blas"):
        yield


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """Settings of a run that takes seconds."""
    file = tmp_path_factory.mktemp("settings") / "tiny.toml"
    file.write_text(TINY)
    return file


@pytest.fixture(scope="session")
def capsnp():
    """``capsnp(*arguments)`` runs a command in this process."""
    runner = CliRunner()

    def run(*arguments):
        return runner.invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture(scope="session")
def made(tmp_path_factory, tiny, capsnp) -> Path:
    """A finished run, to be read only."""
    folder = tmp_path_factory.mktemp("made") / "run"
    result = capsnp("reproduce", "--out", folder, "--config", tiny, "--quiet")
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def run_copy(made, tmp_path) -> Path:
    """A finished run, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "run"))


@pytest.fixture
def half_made(made, tmp_path) -> Path:
    """A run with settings and no stage trained."""
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(made / "config.toml", folder)
    return folder


@pytest.fixture
def child(prepared):
    """``child(*arguments)`` starts the command as a process; it is killed when the test ends."""
    started = []

    def start(*arguments, first="pass"):
        process = subprocess.Popen(
            prepared(first, "-m", "capsnp", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | ONE_THREAD,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def expect_one_line(result, code: int, *words: str) -> None:
    """One line on standard error that holds the words, and nothing else."""
    assert result.exit_code == code, result.output
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("capsnp: error: ")
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.stderr
