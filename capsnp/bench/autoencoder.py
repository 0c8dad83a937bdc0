"""A step of the autoencoder: forward, loss, backward, Adam."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from capsnp.backend import Backend
from capsnp.bench.cases import Case, Contestant
from capsnp.bench.machine import Machine, finish
from capsnp.bench.pytorch import PyTorch
from capsnp.bench.sides import Ours, Side
from capsnp.bench.sizes import ImageSizes
from capsnp.bench.timing import interleave
from capsnp.models import ConvAutoencoder
from capsnp.models.autoencoder import AutoencoderTraining

STEPS = 3
"""After which the weights are compared, with the same dropout."""

BOUNDS = {"float32": 0.02, "float64": 1e-6}
"""On the difference of two sides' movements, of the movement's length. Adam divides each number by
its size, so that those that are almost 0 move as far as others and in a direction of rounding."""


class Autoencoder:
    """Images and first weights, the same for capsnp and for PyTorch.

    Parameters
    ----------
    sizes : ImageSizes
    dtype : str
    backend : Backend
        Of capsnp.
    """

    def __init__(self, sizes: ImageSizes, *, dtype: str, backend: Backend) -> None:
        self.sizes, self.dtype, self.backend = sizes, dtype, backend
        noise = np.random.default_rng(6).random((sizes.batch, sizes.side, sizes.side, 1))
        self.images = np.maximum(2.0 * noise - 1.0, 0.0).astype(dtype)  # mostly dark, as digits
        self.start = self._training().model.state()

    def step(self, machine: Machine, sides: Sequence[Side], *, rounds: int) -> Iterator[Case]:
        """The step by capsnp and, where it takes part, by PyTorch."""
        contestants = []
        for side in sides:
            if isinstance(side, Ours):
                contestants.append(self._ours())
            elif isinstance(side, PyTorch):
                contestants.append(self._torch(side, rounds))
        # filters and their two moments, read and written
        numbers = self.images.size + 6 * self.sizes.weights
        floor = machine.floor(self.sizes.step_operations, numbers, np.dtype(self.dtype).itemsize)
        yield Case(
            "autoencoder",
            "a step of Adam",
            str(self.sizes),
            contestants,
            floor,
            BOUNDS[self.dtype],
            relative_distance,
        )

    def _training(self) -> AutoencoderTraining:
        model = ConvAutoencoder(
            self.sizes.filters,
            self.sizes.kernel,
            batch_size=self.sizes.batch,
            dtype=self.dtype,
            backend=self.backend,
        )
        return model.training(self.images)

    def _ours(self) -> Contestant:
        training = self._training()

        def step() -> None:
            training.learn(self.images)
            finish(self.backend, list(training.parameters().values()))

        def results() -> dict[str, np.ndarray]:
            fresh = self._training()
            for _ in range(STEPS):
                fresh.learn(self.images)
            return {"the movement of the weights": self._moved(fresh.model.state())}

        return Contestant("capsnp", step, results)

    def _torch(self, side: PyTorch, rounds: int) -> Contestant:
        """PyTorch with images laid out in the faster of two ways."""
        from capsnp.bench.torch_autoencoder import FORMATS, Trainer

        def trainer(layout: str, masks: Sequence[np.ndarray] | None = None) -> Trainer:
            return Trainer(
                self._training().model,
                self.images,
                self.sizes.output_padding,
                device=side.device,
                layout=layout,
                compiled=side.compiled and masks is None,
                masks=masks,
            )

        trainers = {layout: trainer(layout) for layout in FORMATS}

        def stepper(chosen: Trainer):
            def step() -> None:
                chosen.step()
                side.finish(None)

            return step

        calls = {layout: stepper(found) for layout, found in trainers.items()}
        times = interleave(calls, rounds=min(rounds, 3))
        layout = min(times, key=lambda name: times[name].median)

        def results() -> dict[str, np.ndarray]:
            fresh = trainer(layout, self._masks())
            for _ in range(STEPS):
                fresh.step()
            return {"the movement of the weights": self._moved(fresh.weights())}

        return Contestant(side.name, calls[layout], results, layout)

    def _masks(self) -> list[np.ndarray]:
        """Dropout of the first steps."""
        training, masks = self._training(), []
        for training.step in range(STEPS):
            masks.append(training._mask(self.sizes.batch))
        return masks

    def _moved(self, weights: Mapping[str, np.ndarray]) -> np.ndarray:
        """How far all weights went from the start, one after the other."""
        names = [name for name in self.start if name != "image_shape"]
        return np.concatenate([np.ravel(weights[name] - self.start[name]) for name in names])


def relative_distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """‖ours − theirs‖ / ‖theirs‖."""
    return float(np.linalg.norm(ours - theirs)) / max(float(np.linalg.norm(theirs)), 1e-300)
