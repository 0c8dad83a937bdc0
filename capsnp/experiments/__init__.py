"""Experiments with capsule networks, each of them one command with a table and pictures.

Run folders are those of `capsnp.reproduce`; what a command finds out about a run is a section of
the run's page.
"""

from capsnp.experiments.affine import affine
from capsnp.experiments.perturbation import perturb
from capsnp.experiments.runs import NetworkRun, look_into
from capsnp.experiments.training import train_network

__all__ = ["NetworkRun", "affine", "look_into", "perturb", "train_network"]
