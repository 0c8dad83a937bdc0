"""What the machine can do: the speeds that bound every implementation."""

import os
import platform
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from capsnp.backend import Backend
from capsnp.bench.timing import best
from capsnp.blocks import map_blocks, slices
from capsnp.training.settings import versions


@dataclass(frozen=True)
class Machine:
    """A machine in public words, with measured speeds.

    Attributes
    ----------
    processor : str
        Its model.
    cores : int
        That this process may use.
    threads : int
        That BLAS, capsnp and PyTorch each were given.
    device : str
        The accelerator that took part, if one did.
    gemm : float
        Operations per second of one large matrix product in the dtype that is measured.
    bandwidth : float
        Bytes per second read and written when memory is copied.
    versions : dict of str to str
        Of the libraries.
    """

    processor: str
    cores: int
    threads: int
    device: str
    gemm: float
    bandwidth: float
    versions: dict[str, str]

    def floor(self, operations: float, numbers: float, itemsize: int) -> "Floor":
        """The shortest time for so many operations and so many numbers moved."""
        return Floor(operations / self.gemm, numbers * itemsize / self.bandwidth)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    def __str__(self) -> str:
        article = "an" if self.processor[:1].lower() in "aeio" else "a"
        cores = f"{self.cores} core{'s' * (self.cores != 1)} of {article} {self.processor}"
        return f"{cores}, {self.device}" if self.device else cores


@dataclass(frozen=True)
class Floor:
    """Seconds below which work cannot end on a machine.

    Attributes
    ----------
    products : float
        Its matrix products alone, at the speed of one large product.
    bytes : float
        Its arguments read once and its results written once, at the speed of copying.
    """

    products: float
    bytes: float

    @property
    def seconds(self) -> float:
        """The larger of the two."""
        return max(self.products, self.bytes)


def measured(backend: Backend, *, dtype: str, threads: int, small: bool = False) -> Machine:
    """This machine, its speeds measured now.

    Parameters
    ----------
    backend : Backend
        Whose products and copies are timed.
    dtype : str
    threads : int
        To be stated; `equal_threads` sets them.
    small : bool
        Measure on little data, for tests.
    """
    return Machine(
        processor(),
        cores(),
        threads,
        device_name(backend),
        gemm_speed(backend, dtype=dtype, n=256 if small else 2048),
        copy_speed(backend, numbers=2**20 if small else 2**26),
        libraries(),
    )


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The processor's model, without what every model's name has."""
    found = None
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text("utf-8"), re.MULTILINE)
    name = found[1] if found else platform.processor() or platform.machine()
    name = re.sub(r"\((R|TM|tm|r)\)|\bCPU\b|\bProcessor\b|@.*$", " ", name)
    return " ".join(name.split())


def device_name(backend: Backend) -> str:
    """The accelerator that a backend computes on, or nothing."""
    if backend.name == "cupy":
        number = backend.device or 0
        return backend.xp.cuda.runtime.getDeviceProperties(number)["name"].decode()
    if backend.name == "torch" and str(backend.device or "cpu").startswith("cuda"):
        return str(backend.xp.cuda.get_device_name(backend.device))
    return ""


def libraries() -> dict[str, str]:
    """Versions of Python, of the libraries and of the BLAS that NumPy was built with."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return versions() | {f"BLAS of NumPy ({blas['name']})": str(blas["version"])}


def gemm_speed(backend: Backend, *, dtype: str, n: int) -> float:
    """Operations per second of the product of two n by n matrices, the best of several."""
    rng = np.random.default_rng(0)
    first, second = (backend.asarray(rng.standard_normal((n, n)), dtype=dtype) for _ in range(2))

    def product() -> None:
        finish(backend, backend.xp.matmul(first, second))

    return 2.0 * n**3 / best(product)


def copy_speed(backend: Backend, *, numbers: int) -> float:
    """Bytes per second that are read and written when float32 numbers are copied."""
    source = np.ones(numbers, dtype=np.float32)
    if backend.name != "numpy":
        array = backend.asarray(source)
        seconds = best(lambda: finish(backend, backend.xp.asarray(array, copy=True)))
        return 2.0 * source.nbytes / seconds
    target = np.empty_like(source)
    parts = slices(numbers, max(1, numbers // 16))

    def copy() -> None:
        map_blocks(lambda s: np.copyto(target[s], source[s]), parts, parallel=True)

    return 2.0 * source.nbytes / best(copy)


def finish(backend: Backend, result: Any) -> None:
    """Wait until a result is there."""
    if backend.name == "jax":
        import jax

        jax.block_until_ready(result)
    else:
        backend.synchronize()
