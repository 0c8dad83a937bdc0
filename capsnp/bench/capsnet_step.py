"""A step of a whole capsule network: forward, loss, backward, Adam."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from capsnp.backend import Backend
from capsnp.bench.autoencoder import relative_distance
from capsnp.bench.cases import Case, Contestant
from capsnp.bench.machine import Machine, finish
from capsnp.bench.pytorch import PyTorch
from capsnp.bench.sides import Ours, Side
from capsnp.bench.sizes import NetworkSizes
from capsnp.bench.timing import interleave
from capsnp.models import CapsNet
from capsnp.models._capsnet_training import CapsNetTraining

if TYPE_CHECKING:
    from capsnp.bench.torch_capsnet import Trainer

BOUNDS = {"float32": 1e-3, "float64": 1e-10}
"""On the difference of two sides' gradients, of the gradient's length."""


class NetworkStep:
    """Images, labels and first weights, the same for capsnp and for PyTorch.

    Parameters
    ----------
    sizes : NetworkSizes
    dtype : str
    backend : Backend
        Of capsnp.
    """

    def __init__(self, sizes: NetworkSizes, *, dtype: str, backend: Backend) -> None:
        self.sizes, self.dtype, self.backend = sizes, dtype, backend
        noise = np.random.default_rng(8).random((sizes.batch, sizes.side, sizes.side, 1))
        self.images = np.maximum(2.0 * noise - 1.0, 0.0).astype(dtype)  # mostly dark, as digits
        self.labels = np.arange(sizes.batch) % sizes.n_out

    def cases(self, machine: Machine, sides: Sequence[Side], *, rounds: int) -> Iterator[Case]:
        """The step by capsnp and by PyTorch, as it runs."""
        contestants = []
        for side in sides:
            if isinstance(side, Ours):
                contestants.append(self._ours())
            elif isinstance(side, PyTorch) and not side.compiled:
                contestants.append(self._torch(side, rounds))
        # weights and their two moments, read and written
        numbers = self.images.size + 6 * self.sizes.weights
        yield Case(
            "capsnet",
            "a step of the whole network",
            str(self.sizes),
            contestants,
            machine.floor(self.sizes.step_operations, numbers, np.dtype(self.dtype).itemsize),
            BOUNDS[self.dtype],
            relative_distance,
        )

    def training(self) -> CapsNetTraining:
        """Of capsnp, at its start."""
        s = self.sizes
        model = CapsNet(
            s.filters,
            s.channels,
            s.dim_in,
            s.dim_out,
            s.kernel,
            decoder_hidden=s.hidden,
            augment=0,
            batch_size=s.batch,
            dtype=self.dtype,
            backend=self.backend,
        )
        return model.training(self.images, self.labels)

    def _ours(self) -> Contestant:
        training = self.training()

        def step() -> None:
            training.learn(self.images, self.labels)
            finish(self.backend, list(training.parameters().values()))

        def results() -> dict[str, np.ndarray]:
            found = self.training().gradient()
            return _whole({name: self.backend.to_host(array) for name, array in found.items()})

        return Contestant("capsnp", step, results)

    def _torch(self, side: PyTorch, rounds: int) -> Contestant:
        """PyTorch with images laid out in the faster of two ways."""
        from capsnp.bench.torch_autoencoder import FORMATS
        from capsnp.bench.torch_capsnet import Trainer

        def trainer(layout: str) -> Trainer:
            return Trainer(
                self.training().model,
                self.images,
                self.labels,
                form=side.form,
                device=side.device,
                layout=layout,
            )

        trainers = {layout: trainer(layout) for layout in FORMATS}
        calls = {layout: _stepper(side, found) for layout, found in trainers.items()}
        times = interleave(calls, rounds=min(rounds, 3))
        layout = min(times, key=lambda name: times[name].median)

        def results() -> dict[str, np.ndarray]:
            return _whole(trainer(layout).gradient())

        return Contestant(side.name, calls[layout], results, f"{side.form}, {layout}")


def _stepper(side: PyTorch, trainer: "Trainer"):
    def step() -> None:
        trainer.step()
        side.finish(None)

    return step


def _whole(gradient: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All numbers of a gradient, one after the other."""
    return {"the gradient": np.concatenate([np.ravel(gradient[name]) for name in sorted(gradient)])}
