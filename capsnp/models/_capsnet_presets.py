"""Settings of `CapsNet` by name: what was published, and the slips of public programs."""

from collections.abc import Mapping
from typing import Any, NamedTuple

SABOUR: dict[str, Any] = {
    "filters": 256,
    "primary_channels": 32,
    "primary_dim": 8,
    "capsule_dim": 16,
    "kernel": 9,
    "iterations": 3,
    "squash": "sabour",
    "agreement": "dot",
    "normalize": "outputs",
    "routing_gradient": "full",
    "routing": "dynamic",
    "loss": "margin",
    "reconstruction": 0.0005,
    "augment": 2,
}


class Preset(NamedTuple):
    """Parameters under a name, and what they are.

    Attributes
    ----------
    about : str
    parameters : mapping of str to object
        Of `CapsNet`; the others have their defaults.
    """

    about: str
    parameters: Mapping[str, Any]


PRESETS: dict[str, Preset] = {
    "sabour2017": Preset(
        "Sabour, Frosst and Hinton (2017), sections 4 and 5; batches of 128 and a learning rate "
        "that falls by 4 % in 2,000 steps are of their program",
        SABOUR | {"batch_size": 128, "learning_rate": 0.001, "decay": 0.99, "n_iter": 100},
    ),
    "hauser2019": Preset(
        "the capsules and the routing of Hauser (2019): 576 of 8 to 16 dimensions, agreement by "
        "the cosine, coefficients that sum to 1 over the inputs; trained on labels here, from a W "
        "that is wider: a mean over 576 inputs is I / J = 58 times shorter than the paper's sum",
        SABOUR
        | {
            "filters": 128,
            "primary_channels": 16,
            "agreement": "cosine",
            "normalize": "inputs",
            "init_scale": 1.0,
        },
    ),
    "small": Preset(
        "a sixtieth of the work, for a minute on two cores",
        SABOUR
        | {
            "filters": 32,
            "primary_channels": 8,
            "capsule_dim": 8,
            "kernel": 7,
            "learning_rate": 0.001,
        },
    ),
    "softmax-over-inputs": Preset(
        "a slip: the coefficients sum to 1 over the inputs", SABOUR | {"normalize": "inputs"}
    ),
    "shared-logits": Preset(
        "a slip: one table of logits, moved by the mean agreement of a batch",
        SABOUR | {"logits": "batch"},
    ),
    "unsquared-margin": Preset(
        "a slip: the margin loss without its squares", SABOUR | {"margin_exponent": 1}
    ),
    "neighbouring-pixels": Preset(
        "a slip: a primary capsule is made of neighbouring pixels of a channel",
        SABOUR | {"primary_layout": "pixels"},
    ),
    "no-epsilon-norm": Preset(
        "a slip: z divided by the root of its squares' sum, 0/0 for a zero capsule",
        SABOUR | {"norm": "naive"},
    ),
}
"""What `CapsNet.preset` knows by name."""
