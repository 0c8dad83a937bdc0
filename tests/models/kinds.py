"""Every estimator, small, with data that suit it."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator

from capsnp import (
    RBM,
    CapsNet,
    CapsuleDecoder,
    CapsuleGenerator,
    CapsuleLayer,
    CapsuleStack,
    ConvAutoencoder,
    DeepBeliefNetwork,
    ExpertCapsules,
    ExpertNeurons,
    MixtureModel,
)

N = 24
"""Rows."""

AUTOENCODER = ConvAutoencoder(4, 3, 4, n_steps=3, batch_size=8)
EXPERTS = ExpertCapsules(3, 4, n_steps=4, batch_size=8, rebalance_steps=2)
DECODER = CapsuleDecoder(
    winner_steps=2, settled_steps=2, settling_steps=4, settled_counts=(1, 2), batch_size=8
)
MIXTURE = MixtureModel(n_components=2, n_principal=2)
LAYER = CapsuleLayer(EXPERTS, DECODER)


def rows(*shape: int) -> np.ndarray:
    """Numbers in [0, 1), (N, ...)."""
    return np.random.default_rng(0).random((N, *shape), dtype=np.float32)


class Kind(NamedTuple):
    """An estimator, data that suit it, and a parameter with two values."""

    estimator: BaseEstimator
    X: np.ndarray
    parameter: str
    values: tuple[Any, Any]
    y: np.ndarray | None = None


KINDS = {
    "ConvAutoencoder": Kind(AUTOENCODER, rows(12, 12, 1), "filters", (4, 8)),
    "ExpertCapsules": Kind(EXPERTS, rows(6, 3), "n_capsules", (3, 2)),
    "ExpertNeurons": Kind(
        ExpertNeurons(3, 4, n_steps=4, batch_size=8), rows(6, 3), "capsule_dim", (4, 2)
    ),
    "CapsuleDecoder": Kind(DECODER, 0.5 * rows(3, 4) / 2, "winner_steps", (2, 1), rows(6, 3)),
    "CapsuleLayer": Kind(LAYER, rows(6, 3), "experts__n_capsules", (3, 2)),
    "CapsuleStack": Kind(
        CapsuleStack([("low", LAYER), ("high", LAYER)], MIXTURE),
        rows(6, 3),
        "high__experts__n_capsules",
        (3, 2),
    ),
    "CapsuleGenerator": Kind(
        CapsuleGenerator(AUTOENCODER, EXPERTS, DECODER, MIXTURE),
        rows(12, 12, 1),
        "experts__capsule_dim",
        (4, 2),
    ),
    "CapsNet": Kind(
        CapsNet(4, 2, 3, 4, 3, decoder_hidden=(5, 6), augment=1, n_iter=1, batch_size=8),
        rows(12, 12, 1),
        "filters",
        (4, 2),
        np.arange(N) % 3,
    ),
    "MixtureModel": Kind(MIXTURE, rows(5), "n_components", (2, 1)),
    "RBM": Kind(RBM(3, n_iter=2, batch_size=8), rows(5).round(), "n_components", (3, 2)),
    "DeepBeliefNetwork": Kind(
        DeepBeliefNetwork((3, 2), rbm=RBM(n_iter=2, batch_size=8), batch_size=8),
        rows(5).round(),
        "rbm__n_iter",
        (2, 1),
    ),
}
