"""The claims, in the paper's order: importing a topic's file enters its claims."""

# isort: off
from capsnp.verification.claims import boltzmann
from capsnp.verification.claims import predictions
from capsnp.verification.claims import routing
from capsnp.verification.claims import squashing
from capsnp.verification.claims import energies
from capsnp.verification.claims import likelihood
from capsnp.verification.claims import contrastive
from capsnp.verification.claims import gibbs
from capsnp.verification.claims import convolutions
from capsnp.verification.claims import activations
from capsnp.verification.claims import autoencoder
from capsnp.verification.claims import potentials
from capsnp.verification.claims import settled
from capsnp.verification.claims import neurons
from capsnp.verification.claims import partition
from capsnp.verification.claims import harmonium
from capsnp.verification.claims import belief
from capsnp.verification.claims import chains
from capsnp.verification.claims import routing_gradients
from capsnp.verification.claims import losses
from capsnp.verification.claims import capsnet
from capsnp.verification.claims import squashes
from capsnp.verification.claims import routings

__all__ = [
    "activations",
    "autoencoder",
    "belief",
    "boltzmann",
    "capsnet",
    "chains",
    "contrastive",
    "convolutions",
    "energies",
    "gibbs",
    "harmonium",
    "likelihood",
    "losses",
    "neurons",
    "partition",
    "potentials",
    "predictions",
    "routing",
    "routing_gradients",
    "routings",
    "settled",
    "squashes",
    "squashing",
]
