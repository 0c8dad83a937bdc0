"""Products of expert capsules, written once against the Array API."""

from capsnp import functional
from capsnp.backend import Backend, get_backend
from capsnp.functional import *  # noqa: F403
from capsnp.models import (
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

__version__ = "0.1.0"

__all__ = [
    "RBM",
    "Backend",
    "CapsNet",
    "CapsuleDecoder",
    "CapsuleGenerator",
    "CapsuleLayer",
    "CapsuleStack",
    "ConvAutoencoder",
    "DeepBeliefNetwork",
    "ExpertCapsules",
    "ExpertNeurons",
    "MixtureModel",
    "get_backend",
    *functional.__all__,
]
