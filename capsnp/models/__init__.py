"""Estimators: parameters, and fit, transform, sample; one model per file."""

from capsnp.models._deep_belief_bound import BeliefBound
from capsnp.models.autoencoder import ConvAutoencoder
from capsnp.models.capsnet import CapsNet
from capsnp.models.capsule_decoder import CapsuleDecoder
from capsnp.models.capsule_layer import CapsuleLayer
from capsnp.models.capsule_stack import CapsuleStack
from capsnp.models.deep_belief import DeepBeliefNetwork
from capsnp.models.expert_capsules import PAPER, ExpertCapsules
from capsnp.models.expert_neurons import ExpertNeurons
from capsnp.models.generator import CapsuleGenerator
from capsnp.models.mixture import MixtureModel
from capsnp.models.rbm import RBM

__all__ = [
    "PAPER",
    "RBM",
    "BeliefBound",
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
]
