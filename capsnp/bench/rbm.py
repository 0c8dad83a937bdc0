"""Learning of a restricted Boltzmann machine: steps of a tenth of an epoch."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from sklearn.neural_network import BernoulliRBM

from capsnp.backend import Backend
from capsnp.bench.autoencoder import relative_distance
from capsnp.bench.cases import Case, Contestant
from capsnp.bench.machine import Machine, finish
from capsnp.bench.pytorch import PyTorch
from capsnp.bench.sides import Side
from capsnp.bench.sizes import MachineSizes
from capsnp.models import RBM
from capsnp.models._rbm_training import NOISE, RBMTraining
from capsnp.training.loop import batch_indices

STEPS = 3
"""After which the weights are compared, with the same noise."""

BOUNDS = {"float32": 0.01, "float64": 1e-9}
"""On the difference of two sides' movements, of the movement's length: a number of the noise that
is next to its probability may fall on the other side of it."""

LEARNING_RATE = 0.05
BRIGHTNESS = 0.13
"""Share of ones in the rows: as bright as MNIST's images."""

Algorithm = Literal["cd", "pcd"]

CASES: dict[Algorithm, str] = {"pcd": "kept chains", "cd": "chains from the data, CD-1"}


class Learning:
    """Binary rows and first weights, the same for every side; plain gradients, not centred.

    Parameters
    ----------
    sizes : MachineSizes
    dtype : str
    backend : Backend
        Of capsnp.
    """

    def __init__(self, sizes: MachineSizes, *, dtype: str, backend: Backend) -> None:
        self.sizes, self.dtype, self.backend = sizes, dtype, backend
        rng = np.random.default_rng(7)
        shape = (sizes.steps * sizes.batch, sizes.visible)
        self.rows = (rng.random(shape) < BRIGHTNESS).astype(dtype)
        self.w = rng.normal(0.0, 0.01, (sizes.visible, sizes.hidden)).astype(dtype)
        self.chains = np.zeros((sizes.batch, sizes.hidden), dtype=dtype)

    def cases(self, machine: Machine, sides: Sequence[Side], *, sklearn: bool) -> Iterator[Case]:
        """By persistent chains, as scikit-learn does it, and by contrastive divergence."""
        s = self.sizes
        floor = machine.floor(s.operations, s.numbers, np.dtype(self.dtype).itemsize)
        for algorithm, name in CASES.items():
            contestants = [self._ours(algorithm)]
            if sklearn and algorithm == "pcd":
                contestants.append(self._sklearn())
            contestants += [
                self._torch(side, algorithm)
                for side in sides
                if isinstance(side, PyTorch) and not side.compiled
            ]
            bound = BOUNDS[self.dtype]
            yield Case("rbm", name, str(s), contestants, floor, bound, relative_distance)

    def _training(self, algorithm: Algorithm) -> RBMTraining:
        model = RBM(
            self.sizes.hidden,
            visible="bernoulli",
            algorithm=algorithm,
            centered=False,
            learning_rate=LEARNING_RATE,
            batch_size=self.sizes.batch,
            n_iter=1,
            dtype=self.dtype,
            backend=self.backend,
        )
        training = model.training(self.rows)
        zeros = {
            "standard.b": np.zeros(self.sizes.visible, dtype=self.dtype),
            "standard.c": np.zeros(self.sizes.hidden, dtype=self.dtype),
        }
        start = training.state() | zeros | {"standard.w": self.w}
        training.restore(start | ({"chains": self.chains} if algorithm == "pcd" else {}))
        return training

    def _batches(self, n: int) -> list[np.ndarray]:
        """Rows of the first steps, in the order of capsnp's training."""
        return [
            self.rows[batch_indices(step, n=len(self.rows), batch_size=self.sizes.batch, seed=0)]
            for step in range(n)
        ]

    def _noise(self, algorithm: Algorithm) -> Iterator[np.ndarray]:
        """Uniform numbers of the first steps' draws, as capsnp's training has them."""
        training = self._training(algorithm)
        widths = [self.sizes.visible, self.sizes.hidden]
        for step in range(STEPS):
            source = training._noise(NOISE, step)
            for width in widths if algorithm == "pcd" else reversed(widths):
                shape = (self.sizes.batch, width)
                yield self.backend.to_host(source.for_states(training.machine.hidden, shape))

    def _ours(self, algorithm: Algorithm) -> Contestant:
        training = self._training(algorithm)

        def steps() -> None:
            for _ in range(self.sizes.steps):
                training.apply(training.gradient())
            finish(self.backend, list(training.parameters().values()))

        def results() -> dict[str, np.ndarray]:
            fresh = self._training(algorithm)
            for _ in range(STEPS):
                fresh.apply(fresh.gradient())
            return self._moved(self.backend.to_host(fresh.parameters()["w"]))

        return Contestant("capsnp", steps, results)

    def _sklearn(self) -> Contestant:
        """BernoulliRBM, step by step: `fit` would check the rows and draw weights in each turn."""

        def started() -> BernoulliRBM:
            found = BernoulliRBM(
                self.sizes.hidden, learning_rate=LEARNING_RATE, batch_size=self.sizes.batch
            )
            found.components_ = np.array(self.w.T, order="F")  # as fit makes it
            found.intercept_hidden_ = np.zeros(self.sizes.hidden, dtype=self.dtype)
            found.intercept_visible_ = np.zeros(self.sizes.visible, dtype=self.dtype)
            found.h_samples_ = self.chains
            return found

        running, rng, batches = started(), np.random.RandomState(0), self._batches(self.sizes.steps)

        def steps() -> None:
            for batch in batches:
                running._fit(batch, rng)

        def results() -> dict[str, np.ndarray]:
            fresh, noise = started(), _Written(self._noise("pcd"))
            for batch in batches[:STEPS]:
                fresh._fit(batch, noise)
            return self._moved(fresh.components_.T)

        return Contestant("sklearn", steps, results)

    def _torch(self, side: PyTorch, algorithm: Algorithm) -> Contestant:
        from capsnp.bench import torch_rbm

        def started(noise: Iterator[np.ndarray] | None) -> torch_rbm.Machine:
            return torch_rbm.Machine(
                self.w,
                self.chains if algorithm == "pcd" else None,
                learning_rate=LEARNING_RATE,
                device=side.device,
                noise=noise,
            )

        batches = [
            side.torch.tensor(batch, device=side.device)
            for batch in self._batches(self.sizes.steps)
        ]
        running = started(None)

        def steps() -> None:
            for batch in batches:
                running.step(batch)
            side.finish(None)

        def results() -> dict[str, np.ndarray]:
            fresh = started(self._noise(algorithm))
            for batch in batches[:STEPS]:
                fresh.step(batch)
            return self._moved(side.to_host(fresh.weight).T)

        return Contestant(side.name, steps, results)

    def _moved(self, w: np.ndarray) -> dict[str, np.ndarray]:
        return {"the movement of the weights": w - self.w}


class _Written:
    """In place of a generator: uniform numbers that are there already."""

    def __init__(self, noise: Iterator[np.ndarray]) -> None:
        self.noise = noise

    def uniform(self, size: Any) -> np.ndarray:
        found = next(self.noise)
        assert found.shape == size
        return found
