"""The whole of Figure 1: images to capsules and back, and images from single capsules."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from capsnp.backend import Array
from capsnp.blocks import map_blocks, slices
from capsnp.errors import OptionError
from capsnp.functional import length, squash, unsquash, winners
from capsnp.models._base import BLOCK, Estimator, Rows, Standardized, expect_rows, mean_length
from capsnp.models._directions import Domain, drawn_codes, unit, visited_directions
from capsnp.models._saving import restored, state_of
from capsnp.models.autoencoder import ConvAutoencoder
from capsnp.models.capsule_decoder import CapsuleDecoder
from capsnp.models.expert_capsules import ExpertCapsules
from capsnp.models.expert_neurons import ExpertNeurons
from capsnp.models.mixture import MixtureModel
from capsnp.training.loop import Observer, Track, tracking

Inference = Literal["settle", "route"]
Observers = Callable[[str], Iterable[Observer]]

LEARNED = ("visited", "mean_directions", "feature_length")
"""Arrays beside those of the parts."""


def _nobody(stage: str) -> Iterable[Observer]:  # noqa: ARG001
    return ()


class CapsuleGenerator(Estimator):
    """Autoencoder, expert capsules, their decoder and a mixture over joint codes (Figure 1).

    Parameters
    ----------
    autoencoder : ConvAutoencoder, optional
    experts : ExpertCapsules or ExpertNeurons, optional
    decoder : CapsuleDecoder, optional
    mixture : MixtureModel, optional
        Over the joint codes before squash, in the decoder's metric: their principal components
        are those that change features most. Each of the four is cloned before it is fitted.
    random_state : int
        Seed of the directions kept, and of `sample` unless it gets its own.
    dtype : {"float32", "float64"}
    backend : str, Backend or None
        Both are handed to the parts.

    Attributes
    ----------
    autoencoder_, experts_, decoder_, mixture_
        The fitted parts.
    visited_ : numpy.ndarray, shape (J, K, D)
        Directions that each capsule took in training when it won.
    mean_directions_ : numpy.ndarray, shape (J, D)
        Their means, of length 1.
    feature_length_ : numpy.ndarray, shape ()
        Mean length of the data's features, all capsules together, centred and scaled.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, section 4 and Figures 1 and 2.
    """

    _defaults: ClassVar = {
        "autoencoder": ConvAutoencoder,
        "experts": ExpertCapsules,
        "decoder": CapsuleDecoder,
        "mixture": MixtureModel,
    }

    def __init__(
        self,
        autoencoder: ConvAutoencoder | None = None,
        experts: ExpertCapsules | ExpertNeurons | None = None,
        decoder: CapsuleDecoder | None = None,
        mixture: MixtureModel | None = None,
        *,
        random_state: int = 0,
        dtype: str = "float32",
        backend: Any = None,
    ):
        self.autoencoder = autoencoder
        self.experts = experts
        self.decoder = decoder
        self.mixture = mixture
        self.random_state = random_state
        self.dtype = dtype
        self.backend = backend

    # --- fitting ---------------------------------------------------------------------------

    def fit(
        self,
        images: Rows,
        y: Any = None,  # noqa: ARG002
        *,
        observers: Observers = _nobody,
        cache: Any = None,
    ):
        """Train all stages.

        Parameters
        ----------
        images : array, shape (N, H, W, C)
            In [0, 1].
        y : ignored
        observers : callable, optional
            From a stage's name ("autoencoder", "capsules" or "neurons", "decoder") to its
            observers.
        cache : path, optional
            Folder for features too large to hold; without it they are held in memory.

        Returns
        -------
        CapsuleGenerator
            Itself.
        """
        self.fit_autoencoder(images, observers=observers)
        features = self.features(images, cache=cache)
        self.fit_capsules(features, observers=observers)
        self.fit_decoder(features, observers=observers)
        return self

    def fit_autoencoder(self, images: Rows, *, observers: Observers = _nobody):
        """First stage: the convolutional autoencoder."""
        self._expect_options()
        self.autoencoder_ = self._part("autoencoder")
        self.autoencoder_.fit(images, observers=observers("autoencoder"))
        return self

    def features(self, images: Rows, *, cache: Any = None) -> np.ndarray:
        """Input capsules (N, I, P) of images, memory-mapped in the folder `cache` if given."""
        self._expect_fitted("autoencoder_")
        if cache is None:
            return self.autoencoder_.transform(images)
        shape = (images.shape[0], self.autoencoder_.n_capsules_, self.autoencoder_.capsule_dim)
        path = Path(cache) / "features.npy"
        out = np.lib.format.open_memmap(path, "w+", dtype=self.dtype, shape=shape)
        return self.autoencoder_.transform(images, out=out)

    def fit_capsules(self, features: Rows, *, observers: Observers = _nobody):
        """Second stage: expert capsules, by Algorithm 1, or expert neurons."""
        self.experts_ = self._part("experts")
        stage = "neurons" if isinstance(self.experts_, ExpertNeurons) else "capsules"
        self.experts_.fit(features, observers=observers(stage))
        return self

    def fit_decoder(self, features: Rows, *, observers: Observers = _nobody):
        """Third stage: U, the directions that capsules visit, the mixture over joint codes."""
        self._expect_fitted("experts_")
        watching = tuple(observers("decoder"))
        track = tracking(watching)
        points = self._fit_U(features, watching, track)
        self.mixture_ = self._part("mixture").fit(points, track=track)
        return self

    def _fit_U(self, features: Rows, watching: tuple[Observer, ...], track: Track) -> np.ndarray:
        """Fit the decoder, and settle: (N, J·D), as far apart as the features of the codes are."""
        n, to_host = features.shape[0], self._backend.to_host
        blocks = slices(n, 4 * BLOCK)
        codes = _of_all(
            n, lambda rows: self.experts_.transform(features[rows]), track(blocks, "codes")
        )
        priority = _of_all(n, lambda rows: to_host(self.experts_.priority(codes[rows])), blocks)
        self._keep_directions(codes, priority)
        h = self._standardized(features)
        self.feature_length_ = np.asarray(mean_length(h))
        self.decoder_ = self._part("decoder")
        self.decoder_.fit(codes, h, priority=priority, observers=watching)
        metric = self.decoder_.metric()

        def points(rows: slice) -> np.ndarray:
            z = unsquash(self._settle(h[rows], codes[rows]), clip=True)
            return z.reshape(len(z), -1) @ metric

        return _of_all(n, points, track(blocks, "settling"))

    def _standardized(self, features: Rows) -> Standardized:
        mean = self._backend.to_host(self.experts_.mean_)
        return Standardized(features, mean, self.experts_.scale_)

    def _keep_directions(self, codes: np.ndarray, priority: np.ndarray) -> None:
        self.visited_ = visited_directions(codes, priority, self.random_state)
        self.mean_directions_ = unit(np.mean(self.visited_, axis=1))

    # --- images to codes and back ----------------------------------------------------------

    def transform(self, images: Rows, inference: Inference = "settle", *, n_on: int | None = None):
        """Codes of images.

        Parameters
        ----------
        images : array, shape (N, H, W, C)
        inference : {"settle", "route"}
            Codes that explain the image away from each other, or one pass of routing with the
            winners alone left on (the paper's inference).
        n_on : int, optional
            Capsules left on, those that win; by default all ("settle") or the model's
            ``n_winners`` ("route").

        Returns
        -------
        numpy.ndarray, shape (N, J, D)
            Lengths below 1.
        """
        self._expect_inference(inference)
        return self.encode(self.autoencoder_.transform(images), inference, n_on=n_on)

    def encode(self, features: Rows, inference: Inference = "settle", *, n_on: int | None = None):
        """Codes (N, J, D) of `features` (N, I, P); the rest as for `transform`."""
        self._expect_inference(inference)
        codes = self.experts_.transform(features)
        if inference == "settle":
            return self._settle(self._standardized(features), codes, n_on)
        n_on = n_on or self.experts_.n_winners or codes.shape[1]
        return codes * self._winners(codes, n_on)[..., None]

    def _expect_inference(self, inference: Inference) -> None:
        if inference not in get_args(Inference):
            raise OptionError(f"inference: expected 'settle' or 'route', got {inference!r}")
        self._expect_fitted("decoder_")

    def _winners(self, codes: np.ndarray, n_on: int) -> np.ndarray:
        return self._backend.to_host(winners(self.experts_.priority(codes), n_on))

    def _settle(self, h: Rows, codes: np.ndarray, n_on: int | None = None) -> np.ndarray:
        on = None if n_on is None else self._winners(codes, n_on)

        def block(rows: slice) -> np.ndarray:
            gate = None if on is None else self._array(on[rows])
            start = self._array(codes[rows])
            settled = self.decoder_.settle(self._array(h[rows]), start=start, on=gate)
            return self._backend.to_host(settled.y)

        parallel = self._backend.name == "numpy"
        return np.concatenate(map_blocks(block, slices(len(codes), BLOCK), parallel=parallel))

    def inverse_transform(self, codes: Array) -> np.ndarray:
        """Images (N, H, W, C) of codes (N, J, D)."""
        return self._images(codes, lambda h: h)

    def draw(self, codes: Array) -> np.ndarray:
        """Images (N, H, W, C) of codes (N, J, D) with few capsules on.

        One capsule is a J-th of a code and its features are too short by themselves: here each
        image's features are brought to the data's mean length.
        """

        def lengthened(h: np.ndarray) -> np.ndarray:
            norm = length(h.reshape(len(h), -1))[:, None, None]
            return h * (self.feature_length_ / np.where(norm > 0, norm, 1)).astype(h.dtype)

        return self._images(codes, lengthened)

    def _images(self, codes: Array, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        self._expect_fitted("decoder_")
        n_in, _, _, dim = self.decoder_.U_.shape
        expect_rows("codes", codes, (None, n_in, dim), "(N, J, D)")
        mean = self._backend.to_host(self.experts_.mean_)
        images = []
        for rows in slices(codes.shape[0], BLOCK):
            h = change(self.decoder_.inverse_transform(codes[rows])) * self.experts_.scale_ + mean
            images.append(self.autoencoder_.inverse_transform(h))
        return np.concatenate(images)

    # --- sampling --------------------------------------------------------------------------

    def sample(
        self,
        n: int = 1,
        domain: Domain = "codes",
        capsule: int | None = None,
        *,
        random_state: int | None = None,
    ) -> np.ndarray:
        """Images drawn from the model.

        Parameters
        ----------
        n : int
        domain : {"full", "half", "visited", "codes"}
            One capsule on, its code a squashed Gaussian ("full", Figure 2a and c), on the half of
            the sphere around its mean direction in training ("half", Figure 2b and d) or in a
            direction that it took in training ("visited"); or all capsules at once from the
            mixture over joint codes ("codes").
        capsule : int, optional
            Which capsule is on; by default image k is drawn by capsule k mod J. None with the
            domain "codes".
        random_state : int, optional
            By default the model's.

        Returns
        -------
        numpy.ndarray, shape (n, H, W, C)
            In [0, 1].
        """
        codes = self.sample_codes(n, domain, capsule, random_state=random_state)
        return self.inverse_transform(codes) if domain == "codes" else self.draw(codes)

    def sample_codes(
        self,
        n: int = 1,
        domain: Domain = "codes",
        capsule: int | None = None,
        *,
        random_state: int | None = None,
    ) -> np.ndarray:
        """Codes (n, J, D) that `sample` would decode."""
        self._expect_fitted("mixture_")
        seed = self.random_state if random_state is None else random_state
        return drawn_codes(
            n,
            domain,
            capsule,
            seed,
            mixture=self.mixture_,
            metric=self.decoder_.metric,
            code=squash,
            visited=self.visited_,
            mean=self.mean_directions_,
        )

    # --- state -----------------------------------------------------------------------------

    def state(self) -> dict[str, np.ndarray]:
        """Learned arrays of the parts that are fitted, on the host, named ``part.array``."""
        parts, learned = (
            {name: getattr(self, f"{name}_") for name in names if hasattr(self, f"{name}_")}
            for names in (self._defaults, LEARNED)
        )
        return state_of(parts.items()) | learned

    def restore(self, state: Mapping[str, np.ndarray]):
        """Take learned arrays from `state`, those of the parts that it has."""
        for name in self._defaults:
            if any(key.startswith(f"{name}.") for key in state):
                setattr(self, f"{name}_", restored(self._part(name), state, name))
        for name in LEARNED:
            if name in state:
                setattr(self, f"{name}_", state[name])
        return self


def _of_all(n: int, part: Callable[[slice], np.ndarray], blocks: Iterable[slice]) -> np.ndarray:
    """The parts of n rows in one array, never held beside it."""
    whole = np.empty(0)
    for rows in blocks:
        found = part(rows)
        if not len(whole):
            whole = np.empty((n, *found.shape[1:]), dtype=found.dtype)
        whole[rows] = found
    return whole
