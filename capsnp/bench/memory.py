"""Peak memory of a step above its arguments and results.

Each side is measured in a process of its own: what one has taken cannot serve the other.
"""

import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from capsnp.backend import get_backend
from capsnp.bench.layers import layer_data
from capsnp.bench.numpy_loops import NumpyLoops
from capsnp.bench.pytorch import PyTorch
from capsnp.bench.sides import Ours, Side, Work
from capsnp.bench.sizes import LayerSizes
from capsnp.bench.timing import equal_threads
from capsnp.errors import RunError

_STATUS = Path("/proc/self/status")
_CHILD = """
import json, sys
from capsnp.bench.memory import answer
print(answer(json.loads(sys.argv[1])))
"""
_TINY = LayerSizes(8, 12, 4, 3, 5)


@dataclass(frozen=True)
class Peak:
    """Memory that capsnp and a partner took beyond arguments and results.

    Attributes
    ----------
    sizes : str
    partner, form : str
    ours, theirs : int
        Bytes, the median of several processes.
    work, case : str
        What was done.
    """

    sizes: str
    partner: str
    form: str
    ours: int
    theirs: int
    work: str = "memory"
    case: str = "route, then cd_gradient"

    @property
    def ratio(self) -> float:
        """How many times as much theirs takes; a page is the least that is told apart."""
        page = resource.getpagesize()
        return max(self.theirs, page) / max(self.ours, page)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {"work": self.work, "case": self.case} | asdict(self) | {"ratio": self.ratio}


def measure_peaks(
    sides: Sequence[Side],
    sizes: LayerSizes,
    *,
    dtype: str,
    threads: int,
    rounds: int,
    work: str = "memory",
    case: str = "route, then cd_gradient",
) -> list[Peak]:
    """The peaks of capsnp and of each partner that runs in a new process as it does in this one.

    Parameters
    ----------
    sides : sequence of Side
        capsnp first; `torch.compile` is passed over, as its compiler's memory would count.
    sizes : LayerSizes
    dtype : str
    threads : int
    rounds : int
        Processes of each.
    work, case : str
        A step of contrastive divergence, or "capsnet": routing forward and backward.
    """
    peaks: dict[str, int] = {}
    taking_part = [side for side in sides if side.name != "torch-compile"]
    for side in taking_part:
        question = {
            "side": side.name,
            "form": side.form,
            "backend": side.backend.name if isinstance(side, Ours) else "numpy",
            "sizes": asdict(sizes),
            "dtype": dtype,
            "threads": threads,
            "work": work,
        }
        peaks[side.name] = int(statistics.median(_ask(question) for _ in range(rounds)))
    return [
        Peak(str(sizes), side.name, side.form, peaks["capsnp"], peaks[side.name], work, case)
        for side in taking_part[1:]
    ]


def _ask(question: dict[str, Any]) -> int:
    """The peak that a new process measures."""
    command = [sys.executable, "-c", _CHILD, json.dumps(question)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    if child.returncode:
        last = (child.stderr.strip().splitlines() or [f"exit code {child.returncode}"])[-1]
        raise RunError(f"memory of {question['side']}: the process that measures it failed: {last}")
    return int(child.stdout)


def answer(question: dict[str, Any]) -> int:
    """Bytes that a step takes at its peak in this process, above arguments and results."""
    sizes, dtype = LayerSizes(**question["sizes"]), question["dtype"]
    backend = get_backend(question["backend"])
    side: Side
    if question["side"] == "capsnp":
        side = Ours(backend, dtype)
    elif question["side"] == "torch":
        side = PyTorch(dtype, form=question["form"])
    else:
        side = NumpyLoops()
    torch = sys.modules.get("torch")
    with backend.holding(dtype), equal_threads(question["threads"], torch):
        side.finish(_step(side, question["work"], _TINY, dtype)())
        step = _step(side, question["work"], sizes, dtype)
        before = start_peak()
        result = step()
        side.finish(result)
        taken = peak() - before
    results = result if isinstance(result, tuple) else (result,)
    return max(0, taken - sum(side.to_host(array).nbytes for array in results))


def _step(side: Side, work: str, sizes: LayerSizes, dtype: str) -> Work:
    """What is measured, prepared."""
    if work == "capsnet":
        from capsnp.bench.capsnet import gradient_data, gradient_work

        return gradient_work(side, *gradient_data(sizes, dtype))  # type: ignore[arg-type]
    return side.cd_step(*layer_data(sizes, dtype))


def start_peak() -> int:
    """Bytes that this process holds; the peak counts from here where the system can."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5", encoding="ascii")  # resets VmHWM
        return _kilobytes("VmRSS")
    return peak()


def peak() -> int:
    """Bytes that this process held at its peak."""
    if _STATUS.is_file():
        return _kilobytes("VmHWM")
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _kilobytes(name: str) -> int:
    for line in _STATUS.read_text("ascii").splitlines():
        if line.startswith(f"{name}:"):
            return 1024 * int(line.split()[1])
    raise RunError(f"{_STATUS}: expected a line {name}, found none")
