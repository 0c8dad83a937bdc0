"""Likelihoods: exact, or between two ends, or refused. See ``docs/likelihood.md``."""

from capsnp.evaluation.likelihood.annealing import annealed_log_partition
from capsnp.evaluation.likelihood.data import Binarized, DataRecord, binarize
from capsnp.evaluation.likelihood.exact import exact_log_partition
from capsnp.evaluation.likelihood.results import Difference, Likelihood, LogPartition, compare
from capsnp.evaluation.likelihood.scoring import log_likelihood, log_partition
from capsnp.evaluation.likelihood.weights import Bennett, bennett, effective_sample_size

__all__ = [
    "Bennett",
    "Binarized",
    "DataRecord",
    "Difference",
    "Likelihood",
    "LogPartition",
    "annealed_log_partition",
    "bennett",
    "binarize",
    "compare",
    "effective_sample_size",
    "exact_log_partition",
    "log_likelihood",
    "log_partition",
]
