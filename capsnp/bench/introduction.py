"""What stands above the tables of a page: how it was measured."""

import textwrap
from collections.abc import Collection

LAYER = ("cd-step", "routing", "decoder")

_HEAD = """\
# Benchmarks{of}

capsnp beside what one would write instead, on the same data with the same result. This page is
made by

```sh
{command}
```

on {machine}
"""

_HOW = """\
- **How.** All take turns in one process with the same number of threads; each turn starts with
calls that are not timed, for 0.15 s. Numbers are medians of {rounds} turns, quartiles in
brackets. Before anything is timed the results are compared, and a difference is an error above
{bounds}."""

_BOUNDS = {
    "layer": "4,096 roundings of the largest number",
    "autoencoder": (
        "2 % of how far the autoencoder's weights moved in 3 steps (as Adam turns the rounding of "
        "gradients that are almost 0 into steps)"
    ),
    "capsnet": "a thousandth of a whole network's gradient",
    "rbm": (
        "1 % of how far a machine's weights moved in 3 steps with the same noise (in which a "
        "number next to its probability may fall on the other side of it)"
    ),
}

_LAYER = """\
- **torch** records no gradients and holds the predictions once per routing. Three ways to write
it are tried (`einsum` as the formulas are printed, `matmul` on predictions laid out for it,
element-wise `sums`); the fastest at each work is taken, its name in brackets, and the fastest
at a step of contrastive divergence for `torch-compile`.
- **numpy** is a plain loop over the output capsules."""

_AUTOENCODER = """\
- **The autoencoder** in PyTorch is made of `torch.nn` modules with the fused Adam of
`torch.optim`, images channels first or last, whichever is faster."""

_RBM = """\
- **A machine** of binary units learns by plain gradients, not centred, from binary rows as wide
and as bright as MNIST's. `sklearn` is `BernoulliRBM`, in float32 as capsnp; its chains are kept
from step to step, so that it stands beside kept chains. `torch` is written with
`torch.bernoulli` and `addmm_`. Where results are compared both are given capsnp's noise, where
they are timed they draw their own."""

_CAPSNET = """\
- **A capsule network's routing** to its classes, by inner products and over outputs, three
weightings, with the gradients in its inputs and its weights: by `route_with_record` and
`route_vjp`, which form no predictions, and by automatic differentiation of `torch`, written by
`einsum` as the formulas are printed, by `matmul` on predictions laid out for it or by
element-wise `sums`, whichever is the fastest, as it runs and compiled, its name in brackets. The
whole network is the paper's with its decoder, a step forward, backward and Adam, beside `torch`
with the same form of routing, `torch.nn.functional` and the fused Adam, images channels first or
last, whichever is faster."""

_FLOOR = """\
- **The floor** is the time of the matrix products alone at the speed of one large product, or
of reading the arguments and writing the results once at the speed of copying, whichever is
longer. Products are those of the formulas as they stand: {products}."""

_PRODUCTS = {
    "cd-step": (
        "a step of contrastive divergence has 10 with W (3 weightings, 2 agreements, 1 for the "
        "predictions' lengths, the reverse pass, the model's forward pass, 2 gradients)"
    ),
    "decoder": "a step of the rule for U 4",
    "autoencoder": (
        "a step of the autoencoder 11 convolutions (ways to save multiplications, such as Fourier "
        "transforms, can go below it)"
    ),
    "rbm": "a step of a machine 5 with w (3 from layer to layer, 2 gradients)",
    "capsnet": (
        "routing forward and backward 11 with W (3 weightings, 2 agreements, 4 for their "
        "gradients, 2 for those of the inputs and of W), a step of the whole network besides "
        "these 2 first convolutions, 3 second ones and 9 products of the decoder"
    ),
}


def introduction(works: Collection[str], *, command: str, machine: str, rounds: int) -> str:
    """The head of a page on works that were compared, in Markdown.

    Parameters
    ----------
    works : collection of str
    command : str
        That makes the page.
    machine : str
        In one sentence.
    rounds : int

    Examples
    --------
    >>> text = introduction(["rbm"], command="capsnp bench rbm", machine="an abacus.", rounds=3)
    >>> text.splitlines()[0], "autoencoder" in text
    ('# Benchmarks of rbm', False)
    """
    layer = any(work in LAYER for work in works)
    kinds = ["layer"] * (layer or "capsnet" in works)
    kinds += [work for work in ("autoencoder", "capsnet", "rbm") if work in works]
    points = [
        _HOW.format(rounds=rounds, bounds="; ".join(_BOUNDS[kind] for kind in kinds)),
        *([_LAYER] if layer else []),
        *([_AUTOENCODER] if "autoencoder" in works else []),
        *([_RBM] if "rbm" in works else []),
        *([_CAPSNET] if "capsnet" in works else []),
        _FLOOR.format(products=", ".join(_PRODUCTS[w] for w in _PRODUCTS if w in works)),
    ]
    of = f" of {next(iter(works))}" if len(works) == 1 else ""
    head = _HEAD.format(of=of, command=command, machine=machine)
    return "\n".join([head, *map(_wrapped, points)] if works else [head])


def _wrapped(points: str) -> str:
    """Points of a list with lines of one width."""
    return "\n".join(
        textwrap.fill(" ".join(point.split()), 100, subsequent_indent="  ", break_on_hyphens=False)
        for point in points.replace("\n- ", "\n\f- ").split("\f")
    )
