import contextlib
import os
import runpy
import subprocess
import tempfile
from pathlib import Path

import pytest

TOY = Path(__file__).with_name("toy.py")


@pytest.fixture(scope="session")
def toy():
    """The names of ``toy.py``."""
    return runpy.run_path(str(TOY))


@pytest.fixture
def start(prepared):
    """``start(action, folder)`` runs ``toy.py`` in a process, which ends with the test."""
    with contextlib.ExitStack() as stack:

        def start(action, folder, first="pass"):
            process = subprocess.Popen(
                prepared(first, TOY, action, folder),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture
def read_only_folder():
    """A folder in which this process may not write, even if root runs the tests."""
    nobody = 65534
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o555)
        was = os.geteuid()
        if was == 0:
            os.seteuid(nobody)
        yield Path(folder)
        os.seteuid(was)
        os.chmod(folder, 0o700)


@pytest.fixture
def fill_disk():
    """``fill_disk(path)`` makes every write to a path fail for want of space."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    return lambda path: Path(path).symlink_to("/dev/full")
