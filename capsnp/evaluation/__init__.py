"""How good images and codes are, on one scale: see ``docs/evaluation.md``."""

from capsnp.evaluation.affine import affine_images, affine_map
from capsnp.evaluation.baselines import FeatureControl, mean_image, pca_gaussian
from capsnp.evaluation.calibration import brier_score, calibration_error
from capsnp.evaluation.classifier import ImageClassifier
from capsnp.evaluation.codes import (
    CodeScores,
    capsule_scores,
    class_purity,
    linear_probe,
    relative_error,
    usage,
)
from capsnp.evaluation.distances import (
    copies,
    frechet_distance,
    kernel_distance,
    nearest_distances,
    neighbourhoods,
)
from capsnp.evaluation.images import (
    ImageJudge,
    ImageScores,
    PixelFeatures,
    class_histogram,
    confident_share,
)
from capsnp.evaluation.likelihood import (
    Bennett,
    Binarized,
    DataRecord,
    Difference,
    Likelihood,
    LogPartition,
    annealed_log_partition,
    bennett,
    binarize,
    compare,
    effective_sample_size,
    exact_log_partition,
    log_likelihood,
    log_partition,
)
from capsnp.evaluation.monitor import Monitor
from capsnp.evaluation.properties import PROPERTIES, image_properties
from capsnp.evaluation.report import Column, Report, Table, code_table, image_table

__all__ = [
    "PROPERTIES",
    "Bennett",
    "Binarized",
    "CodeScores",
    "Column",
    "DataRecord",
    "Difference",
    "FeatureControl",
    "ImageClassifier",
    "ImageJudge",
    "ImageScores",
    "Likelihood",
    "LogPartition",
    "Monitor",
    "PixelFeatures",
    "Report",
    "Table",
    "affine_images",
    "affine_map",
    "annealed_log_partition",
    "bennett",
    "binarize",
    "brier_score",
    "calibration_error",
    "capsule_scores",
    "class_histogram",
    "class_purity",
    "code_table",
    "compare",
    "confident_share",
    "copies",
    "effective_sample_size",
    "exact_log_partition",
    "frechet_distance",
    "image_properties",
    "image_table",
    "kernel_distance",
    "linear_probe",
    "log_likelihood",
    "log_partition",
    "mean_image",
    "nearest_distances",
    "neighbourhoods",
    "pca_gaussian",
    "relative_error",
    "usage",
]
