"""What the command measures: works by name, sides by name, one row after the other."""

import dataclasses
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from capsnp.backend import Backend, get_backend
from capsnp.bench.autoencoder import Autoencoder
from capsnp.bench.capsnet import gradient_cases, gradient_peaks, gradient_sides
from capsnp.bench.capsnet_step import NetworkStep
from capsnp.bench.cases import Case, Row, measure
from capsnp.bench.layers import Layer, decoder_data, layer_data
from capsnp.bench.machine import Machine, device_name, measured
from capsnp.bench.memory import Peak, measure_peaks
from capsnp.bench.numpy_loops import NumpyLoops
from capsnp.bench.pipeline import stage_seconds
from capsnp.bench.pytorch import PyTorch
from capsnp.bench.rbm import Learning
from capsnp.bench.scaling import Growth, Point, growths, measure_point, points
from capsnp.bench.sides import ITERATIONS, Ours, Side, Work
from capsnp.bench.sizes import Sizes, sizes_of
from capsnp.bench.timing import equal_threads
from capsnp.blocks import n_threads
from capsnp.errors import BackendError, OptionError

COMPARED = ("cd-step", "routing", "autoencoder", "decoder", "rbm", "capsnet")
WORKS = (*COMPARED, "pipeline", "scaling", "memory")
PARTNERS = ("torch", "torch-compile", "numpy", "sklearn")

FEW = 3
"""Turns where each takes long."""

Say = Callable[[str], None]


@dataclass
class Results:
    """Everything that was measured.

    Attributes
    ----------
    machine : Machine
    sizes, dtype, backend : str
    rounds : int
        Turns of each contestant.
    rows : list of Row
        Of the works that are compared.
    scaling : list of Growth
    memory : list of Peak
    pipeline : dict of str to float
        Seconds by stage.
    """

    machine: Machine
    sizes: str
    dtype: str
    backend: str
    rounds: int
    rows: list[Row] = field(default_factory=list)
    scaling: list[Growth] = field(default_factory=list)
    memory: list[Peak] = field(default_factory=list)
    pipeline: dict[str, float] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "machine": self.machine.plain(),
            "sizes": self.sizes,
            "dtype": self.dtype,
            "backend": self.backend,
            "rounds": self.rounds,
            "rows": [row.plain() for row in self.rows],
            "scaling": [growth.plain() for growth in self.scaling],
            "memory": [peak.plain() for peak in self.memory],
            "pipeline": self.pipeline,
        }

    def json(self) -> str:
        """Everything, with every time that was taken."""
        return json.dumps(self.plain(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


@dataclass(frozen=True)
class Plan:
    """What is to be measured, checked before any work.

    Attributes
    ----------
    works, partners : tuple of str
    sizes : Sizes
    backend : Backend
    dtype : str
    rounds : int
    """

    works: tuple[str, ...]
    partners: tuple[str, ...]
    sizes: Sizes
    backend: Backend
    dtype: str
    rounds: int

    def words(self) -> list[str]:
        """The command's words that ask for this, those that go without saying left out."""
        works = [] if self.works == WORKS else [*self.works]
        options = {
            "against": (
                ""
                if self.partners == default_partners(self.sizes.name)
                else ",".join(self.partners)
            ),
            "sizes": "" if self.sizes.name == "paper" else self.sizes.name,
            "backend": "" if self.backend.name == "numpy" else self.backend.name,
            "device": str(self.backend.device or ""),
            "dtype": "" if self.dtype == "float32" else self.dtype,
            "repeat": "" if self.rounds == self.sizes.rounds else str(self.rounds),
        }
        given = [(f"--{name}", value) for name, value in options.items() if value]
        return [*works, *itertools.chain.from_iterable(given)]


def default_partners(sizes: str) -> tuple[str, ...]:
    """All; with small sizes those that need no compiling."""
    return tuple(name for name in PARTNERS if sizes != "small" or name != "torch-compile")


def plan(
    works: Iterable[str] = ("all",),
    *,
    against: Iterable[str] | None = None,
    sizes: str = "paper",
    backend: str | Backend | None = None,
    device: str | None = None,
    dtype: str = "float32",
    repeat: int | None = None,
) -> Plan:
    """Check what is asked for.

    Parameters
    ----------
    works : iterable of str
        Of `WORKS`, or "all".
    against : iterable of str, optional
        Of `PARTNERS`; by default all, with small sizes those that need no compiling.
    sizes : {"paper", "small", "large"}
    backend : str or Backend, optional
        Of capsnp.
    device : str, optional
        Of the backend's library, such as "cuda" of PyTorch's.
    dtype : {"float32", "float64"}
    repeat : int, optional
        Turns of each contestant.

    Raises
    ------
    OptionError
        If something is unknown or out of range.
    BackendError
        If the backend is not installed, or cannot use the device.
    """
    chosen = tuple(dict.fromkeys(works))
    _expect_known("work", chosen, (*WORKS, "all"))
    found = sizes_of(sizes)
    partners = tuple(dict.fromkeys(default_partners(sizes) if against is None else against))
    _expect_known("against", partners, PARTNERS)
    if dtype not in ("float32", "float64"):
        raise OptionError(f"dtype: expected 'float32' or 'float64', got {dtype!r}")
    if repeat is not None and repeat < 1:
        raise OptionError(f"repeat: expected a whole number from 1, got {repeat}")
    library = get_backend(backend)
    if device is not None:
        library = dataclasses.replace(library, device=device)
        _expect_device(library)
    return Plan(
        WORKS if "all" in chosen else chosen,
        partners,
        found,
        library,
        dtype,
        repeat or found.rounds,
    )


def _expect_device(library: Backend) -> None:
    if library.name == "numpy":
        raise OptionError(f"device: expected none with numpy, got {library.device!r}")
    try:
        library.asarray([0.0])
    except Exception as error:  # noqa: BLE001  each library raises its own
        reason = " ".join(str(error).split())
        raise BackendError(
            f"device: {library.name} cannot use {library.device!r}: {reason}"
        ) from None


def run(
    chosen: Plan,
    *,
    say: Say = print,
    track: Callable[[Sequence[Any], str], Iterable[Any]] = lambda items, _: items,
) -> Results:
    """Measure what is planned.

    Parameters
    ----------
    chosen : Plan
    say : callable
        Takes what is left out, and why, one line each.
    track : callable, optional
        From things and what they are to the same things: shows progress.

    Returns
    -------
    Results

    Raises
    ------
    InvariantError
        If two sides' results are not the same.
    """
    threads = n_threads()
    with chosen.backend.holding(chosen.dtype), equal_threads(threads, _torch(chosen)):
        machine = measured(
            chosen.backend,
            dtype=chosen.dtype,
            threads=threads,
            small=chosen.sizes.name == "small",
        )
        results = Results(
            machine, chosen.sizes.name, chosen.dtype, chosen.backend.name, chosen.rounds
        )
        sides = _sides(chosen, say)
        along: list[tuple[Point, Row]] = []
        for task in track(_tasks(chosen), "tasks"):
            if isinstance(task, Point):
                row = measure_point(
                    task,
                    dtype=chosen.dtype,
                    machine=machine,
                    sides=sides,
                    rounds=min(chosen.rounds, FEW),
                )
                along.append((task, row))
            elif task == "memory":
                results.memory += _memory(chosen, sides, threads, say)
            elif task == "pipeline":
                results.pipeline = stage_seconds(
                    chosen.sizes, dtype=chosen.dtype, backend=chosen.backend.name
                )
            else:
                for case in _cases(task, chosen, machine, sides):
                    results.rows += measure(case, rounds=chosen.rounds)
                if task == "capsnet":
                    results.memory += _memory(chosen, sides, threads, say, classes=True)
        results.scaling = growths(along)
    return results


def _tasks(chosen: Plan) -> list[str | Point]:
    """Works in their order; scaling point by point."""
    tasks: list[str | Point] = []
    for work in chosen.works:
        tasks += points(chosen.sizes.scaled) if work == "scaling" else [work]
    return tasks


def _memory(
    chosen: Plan, sides: Sequence[Side], threads: int, say: Say, *, classes: bool = False
) -> list[Peak]:
    """Of a step of contrastive divergence, or of routing to classes and back."""
    if device_name(chosen.backend):
        say("memory is left out: it is measured on a host alone")
        return []
    how: dict[str, Any] = {
        "dtype": chosen.dtype,
        "threads": threads,
        "rounds": min(chosen.rounds, FEW),
    }
    if classes:
        return gradient_peaks(chosen.sizes.network.routing, sides=sides, **how)
    return measure_peaks(sides, chosen.sizes.layer, **how)


def trial(work: str, chosen: Plan, side: Side) -> Work:
    """Routing with three iterations or a decoder's step, by which a form is chosen."""
    if work == "routing":
        x, W = layer_data(chosen.sizes.layer, chosen.dtype)
        return side.routing(x, W, iterations=ITERATIONS, normalize="inputs")
    return side.decoder_step(*decoder_data(chosen.sizes.layer, chosen.dtype))


def _cases(work: str, chosen: Plan, machine: Machine, sides: Sequence[Side]) -> Iterator[Case]:
    if work == "rbm":
        learning = Learning(chosen.sizes.machine, dtype=chosen.dtype, backend=chosen.backend)
        sklearn = "sklearn" in chosen.partners and not device_name(chosen.backend)
        return learning.cases(machine, sides, sklearn=sklearn)
    rounds = min(chosen.rounds, FEW)
    if work == "capsnet":
        return _network_cases(chosen, machine, sides, rounds)
    sides = [
        side.choose(lambda s: trial(work, chosen, s), rounds=rounds)
        if isinstance(side, PyTorch) and not side.compiled and work in ("routing", "decoder")
        else side
        for side in sides
    ]
    layer = Layer(chosen.sizes.layer, dtype=chosen.dtype, machine=machine, sides=sides)
    if work == "cd-step":
        return layer.cd_step()
    if work == "routing":
        return layer.routing()
    if work == "decoder":
        return layer.decoder()
    autoencoder = Autoencoder(chosen.sizes.images, dtype=chosen.dtype, backend=chosen.backend)
    return autoencoder.step(machine, sides, rounds=chosen.rounds)


def _network_cases(
    chosen: Plan, machine: Machine, sides: Sequence[Side], rounds: int
) -> Iterator[Case]:
    """Of a capsule network: its routing, and all of it."""
    sizes, dtype = chosen.sizes.network, chosen.dtype
    fastest = gradient_sides(sizes.routing, dtype, sides, rounds)
    yield from gradient_cases(sizes.routing, dtype=dtype, machine=machine, sides=fastest)
    step = NetworkStep(sizes, dtype=dtype, backend=chosen.backend)
    yield from step.cases(machine, fastest, rounds=rounds)


def _torch(chosen: Plan) -> Any:
    """PyTorch if it takes part and is there."""
    if chosen.backend.name != "torch" and not any("torch" in name for name in chosen.partners):
        return None
    try:
        import torch
    except ImportError:
        return None
    return torch


def _sides(chosen: Plan, say: Say) -> list[Side]:
    """capsnp and the partners that are there, each in its fastest form."""
    sides: list[Side] = [Ours(chosen.backend, chosen.dtype)]
    on_device = bool(device_name(chosen.backend))
    x, W = layer_data(chosen.sizes.layer, chosen.dtype)
    works = set(chosen.works)
    layer = bool(works - {"rbm", "capsnet"})
    for name in chosen.partners:
        if name == "sklearn" or (name == "torch-compile" and works == {"rbm"}):
            continue  # no side of a layer's work
        if name == "numpy":
            if on_device:
                say("numpy is left out: capsnp computes on a device that NumPy does not reach")
            else:
                sides.append(NumpyLoops())
            continue
        try:
            partner = PyTorch(
                chosen.dtype,
                device="cuda" if on_device else "cpu",
                compiled=name == "torch-compile",
            )
        except ImportError:
            say(f"{name} is left out: PyTorch is not installed; pip install 'capsnp[torch]'")
        except BackendError as error:
            say(f"{name} is left out: {error}")
        else:
            if layer:
                rounds = min(chosen.rounds, FEW)
                partner = partner.choose(lambda side: side.cd_step(x, W), rounds=rounds)
            sides.append(partner)
    return sides


def _expect_known(option: str, asked: Sequence[str], known: Sequence[str]) -> None:
    for name in asked:
        if name not in known:
            raise OptionError(f"{option}: expected one of {', '.join(known)}, got {name!r}")
