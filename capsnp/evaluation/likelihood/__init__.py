"""Likelihoods: exact, or between two ends, or refused. See ``docs/likelihood.md``."""

from capsnp.evaluation.likelihood.data import Binarized, DataRecord, binarize
from capsnp.evaluation.likelihood.results import Difference, Likelihood, LogPartition, compare
from capsnp.evaluation.likelihood.weights import Bennett, bennett, effective_sample_size

__all__ = [
    "Bennett",
    "Binarized",
    "DataRecord",
    "Difference",
    "Likelihood",
    "LogPartition",
    "bennett",
    "binarize",
    "compare",
    "effective_sample_size",
]
