"""The claims, in the paper's order: importing a section's file enters its claims."""

# isort: off
from capsnp.verification.claims import boltzmann
from capsnp.verification.claims import capsules
from capsnp.verification.claims import energies
from capsnp.verification.claims import gradients
from capsnp.verification.claims import layers
from capsnp.verification.claims import settled

__all__ = ["boltzmann", "capsules", "energies", "gradients", "layers", "settled"]
