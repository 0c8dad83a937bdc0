"""Named sets of settings: what each changes of the estimators' defaults."""

from typing import Any

from capsnp.models.expert_capsules import PAPER

Values = dict[str, Any]

_PAPER_DECODER: Values = {
    "settled_steps": 0,
    "routing_iterations": 3,
    "coefficient_scale": None,
    "gain": 1.0,
    "n_winners": None,
}

# kept chains and a rate that falls to 0: what reaches the highest likelihoods here
_MACHINE: Values = {
    "rbm.n_components": 500,
    "rbm.visible": "bernoulli",
    "rbm.algorithm": "pcd",
    "rbm.decay": "linear",
    "rbm.n_iter": 50,
}

PRESETS: dict[str, Values] = {
    # MNIST and Fashion-MNIST: the estimators' own defaults, but for the machine's
    "default": _MACHINE,
    # the 4,000 colour images: fewer passes over them, and fewer Gaussians on their codes
    "colour": _MACHINE
    | {
        "capsules.n_steps": 1500,
        "capsules.rebalance_steps": 1000,
        "neurons.n_steps": 1500,
        "neurons.rebalance_steps": 1000,
        "mixture.n_components": 40,
    },
    # the embedded digits: the whole of `capsnp reproduce` in less than three minutes on two cores
    "small": _MACHINE
    | {
        "rbm.n_components": 100,
        "rbm.n_iter": 200,
        "autoencoder.filters": 32,
        "autoencoder.batch_size": 64,
        "autoencoder.n_steps": 400,
        "capsules.n_steps": 1500,
        "capsules.rebalance_steps": 1000,
        "neurons.n_steps": 1500,
        "neurons.rebalance_steps": 1000,
        "decoder.winner_steps": 400,
        "decoder.settled_steps": 400,
        "mixture.n_components": 40,
        "evaluation.n_images": 500,
    },
    # Algorithm 1 and the rule for U to the letter
    "paper": _MACHINE
    | {f"capsules.{name}": value for name, value in PAPER.items()}
    | {f"decoder.{name}": value for name, value in _PAPER_DECODER.items()},
}


def preset_for(data: str) -> str:
    """The preset that a data set takes where none is asked for.

    Examples
    --------
    >>> preset_for("digits"), preset_for("mnist")
    ('small', 'default')
    """
    return {"digits": "small", "rgb": "colour"}.get(data, "default")
