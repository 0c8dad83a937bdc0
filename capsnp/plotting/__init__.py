"""Pictures of the papers and of a model: arrays of any library in, matplotlib figures out.

No function opens a window or touches pyplot; `save` writes a figure as PNG, `film` images that
change as GIF or MP4.
"""

from capsnp.plotting._page import COLOURS, save
from capsnp.plotting.activations import activations
from capsnp.plotting.animation import film
from capsnp.plotting.bars import bars
from capsnp.plotting.chains import chains, energies
from capsnp.plotting.confusion import confusion_matrices
from capsnp.plotting.connections import connection_diagram
from capsnp.plotting.course import routing_course
from capsnp.plotting.curves import squash_curves, training_curves
from capsnp.plotting.flow import Flow, flow_diagram
from capsnp.plotting.gradients import gradient_decomposition
from capsnp.plotting.images import (
    capsule_grid,
    capsule_sweep,
    negatives,
    reconstructions,
    samples,
)
from capsnp.plotting.layers import filters
from capsnp.plotting.overlap import overlaps
from capsnp.plotting.robustness import robustness
from capsnp.plotting.routing import routing_heatmap
from capsnp.plotting.squashes import squash_family
from capsnp.plotting.stacks import stack_diagram
from capsnp.plotting.usage import capsule_usage

__all__ = [
    "COLOURS",
    "Flow",
    "activations",
    "bars",
    "capsule_grid",
    "capsule_sweep",
    "capsule_usage",
    "chains",
    "confusion_matrices",
    "connection_diagram",
    "energies",
    "film",
    "filters",
    "flow_diagram",
    "gradient_decomposition",
    "negatives",
    "overlaps",
    "reconstructions",
    "robustness",
    "routing_course",
    "routing_heatmap",
    "samples",
    "save",
    "squash_curves",
    "squash_family",
    "stack_diagram",
    "training_curves",
]
