"""Fixtures of all tests: every array library that is here, one after the other."""

import os
import sys
import tempfile
from importlib.metadata import version
from importlib.util import find_spec

if "PYTEST_XDIST_WORKER" in os.environ:  # before anything loads BLAS: each worker has one core
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")
# JAX compiles an operation for every shape that a test draws, which takes longer than to run it;
# what one process has compiled, the others load.
if "XLA_FLAGS" not in os.environ:
    _flags = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    if find_spec("jaxlib") and version("jaxlib").startswith("0.10."):
        # a quarter less time; the process ends where a flag is unknown
        _flags += " --xla_cpu_use_fusion_emitters=false"
    os.environ["XLA_FLAGS"] = _flags
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _compiled = tempfile.TemporaryDirectory(prefix="capsnp-compiled-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _compiled.name
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest

from capsnp.backend import BACKENDS, Backend, get_backend
from capsnp.errors import BackendError

# No deadline: a shared machine is slow at times. Derandomised: the same examples on every run.
hypothesis.settings.register_profile(
    "capsnp", max_examples=40, deadline=None, derandomize=True, database=None
)
hypothesis.settings.load_profile("capsnp")

LIBRARIES = ("numpy", "numpy-read-only", *(name for name in BACKENDS if name != "numpy"))


@dataclass(frozen=True)
class Library:
    """An array library under test; `name` is one of `LIBRARIES`."""

    name: str
    backend: Backend

    @property
    def xp(self) -> Any:
        return self.backend.xp

    def from_host(self, array: Any, dtype: str | None = None) -> Any:
        """A NumPy array, or nested lists, as an array of this library."""
        if self.name == "numpy-read-only":
            array = np.array(array, dtype=dtype)
            array.flags.writeable = False
        return self.backend.asarray(array, dtype=dtype)

    def to_host(self, array: Any) -> np.ndarray:
        """An array of this library, and of no other, as a NumPy array."""
        one = self.xp.asarray([0.0])
        expected = (type(one), type(one[0]))  # NumPy's sums are scalars of its own kind
        assert isinstance(array, expected), f"{type(array)} came from {self.name}"
        return np.asarray(self.backend.to_host(array))


@pytest.fixture(scope="session", params=LIBRARIES)
def library(request) -> Library:
    """Each array library in turn; those that are not installed are skipped with the reason."""
    name = request.param
    try:
        backend = get_backend("numpy" if name == "numpy-read-only" else name)
    except BackendError as error:
        pytest.skip(str(error))
    if name == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    return Library(name, backend)


@pytest.fixture(scope="session")
def xp(library):
    """The Array API namespace of the library."""
    return library.xp


@pytest.fixture(scope="session")
def from_host(library):
    """``from_host(array, dtype=None)`` takes host data to the library."""
    return library.from_host


@pytest.fixture(scope="session")
def to_host(library):
    """``to_host(array)`` takes an array of the library to NumPy, and fails on any other."""
    return library.to_host


@pytest.fixture
def rng():
    """A generator with a fixed seed."""
    return np.random.default_rng(20190729)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with the original data files, where ``CAPSNP_DATA`` names one."""
    folder = os.environ.get("CAPSNP_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("CAPSNP_DATA names no folder")
    return Path(folder)


@pytest.fixture(scope="session")
def prepared():
    """``prepared(code, *arguments)``: a command that runs code, then becomes Python's arguments.

    In place of ``preexec_fn``, which forks this process: JAX, once imported, warns of that.
    """

    def command(code, *arguments):
        becomes = "import os, sys; os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
        return [sys.executable, "-c", f"{code}; {becomes}", *map(str, arguments)]

    return command
