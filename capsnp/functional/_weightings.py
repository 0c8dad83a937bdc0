"""Weightings one after the other, of capsules that are routed together, in blocks.

Letters as in `_agreement`: the batch is on the last axis, coefficients are (J, I, B) and sums
(J, D, B). Output capsules that are routed together are held in parts, for as many threads.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from array_api_compat import is_numpy_namespace

from capsnp.backend import Array
from capsnp.blocks import map_blocks
from capsnp.functional._agreement import Votes
from capsnp.functional._coupling import (
    columns,
    examples_at_a_time,
    outputs_at_a_time,
    planes,
    planes_at_a_time,
)
from capsnp.functional._plain_routing import Options
from capsnp.functional.activations import softmax


class Trace(NamedTuple):
    """What output capsules that are routed together went through, in parts.

    Attributes
    ----------
    votes : list of Votes
        None where only the last weighting is kept.
    c : list of lists of array
        Coefficients (j, I, B) of each weighting from the second on, or of the last.
    z : list of lists of array
        Sums (j, D, B) of each weighting, or of the last.
    """

    votes: list[Votes]
    c: list[list[Array]]
    z: list[list[Array]]


class Block(NamedTuple):
    """Some examples, with the traces of all output capsules one after the other."""

    rows: slice
    traces: list[Trace]


def weigh_in_blocks(
    xp: Any,
    x: Array,
    W: Array,
    options: Options,
    block_size: int | None = None,
    *,
    keep: bool,
) -> list[Block]:
    """Route all examples, from two weightings on; `keep` what the way back needs."""
    groups, examples = _blocks(xp, x, W, options.normalize, block_size)
    cosine, scale = options.agreement == "cosine", options.inner_scale(W.shape[2])
    found = []
    for rows in examples:
        x_PIB = planes(xp, x[rows, ...])

        def routed(group: list[slice], x_PIB: Array = x_PIB) -> Trace:
            def votes(s: slice) -> Votes:
                K = columns(xp, W[:, s, ...])
                return Votes(xp, K, x_PIB, cosine=cosine, squash=options.squash, scale=scale)

            return _trace(xp, each(xp, votes, group), options, keep=keep)

        found.append(Block(rows, each(xp, routed, groups)))
    return found


def _trace(xp: Any, votes: list[Votes], options: Options, *, keep: bool) -> Trace:
    """Weightings of output capsules that are routed together."""
    n_inputs, n_outputs = votes[0].n_inputs, sum(part.n_outputs for part in votes)
    share = 1.0 / (n_inputs if options.normalize == "inputs" else n_outputs)
    z = each(xp, lambda part: part.mean(share), votes)
    kept = Trace(votes if keep else [], [], [z])
    logits: list[Array] = [0.0] * len(votes)
    for _ in range(options.iterations - 1):
        logits = each(xp, lambda b, part, z: b + part.agree(z), logits, votes, z)
        if options.normalize == "inputs":
            c = each(xp, lambda b: softmax(b, axis=1), logits)
        else:
            c = _softmax_over_outputs(xp, logits)
        z = each(xp, lambda part, c: part.weigh(c), votes, c)
        if not keep:
            kept.c.clear()
            kept.z.clear()
        kept.c.append(c)
        kept.z.append(z)
    return kept


def _softmax_over_outputs(xp: Any, logits: list[Array]) -> list[Array]:
    """Coefficients (j, I, B) from logits in parts (j, I, B) of all J, some inputs at a time."""
    J = sum(b.shape[0] for b in logits)
    _, I, B = logits[0].shape
    inputs = cut(I, planes_at_a_time(xp, I, J * B))

    def softmax_of(s: slice) -> Array:
        return softmax(joined(xp, [b[:, s, :] for b in logits], axis=0), axis=0)

    found = each(xp, softmax_of, inputs)
    starts = itertools.accumulate((b.shape[0] for b in logits), initial=0)
    outputs = itertools.starmap(slice, itertools.pairwise(starts))
    return each(xp, lambda s: joined(xp, [c[s, ...] for c in found], axis=1), outputs)


def _blocks(
    xp: Any, x: Array, W: Array, normalize: str, block_size: int | None
) -> tuple[list[list[slice]], list[slice]]:
    """Output capsules that are routed together, each group in parts, and blocks of examples."""
    B = x.shape[0]
    I, J, D, P = W.shape
    rows = min(B, examples_at_a_time(xp, I, max(D, P)))
    part = outputs_at_a_time(xp, rows * I, max(D, P))
    if normalize == "inputs":
        return [[s] for s in cut(J, block_size or part)], cut(B, B if block_size else rows)
    return [cut(J, part)], cut(B, block_size or rows)


def each(xp: Any, function: Callable[..., Any], *arguments: Iterable[Any]) -> list[Any]:
    """The function of each, on a host's threads."""
    blocks = zip(*arguments, strict=True)
    return map_blocks(lambda block: function(*block), blocks, parallel=is_numpy_namespace(xp))


def cut(n: int, size: int) -> list[slice]:
    """[0, n) in slices of at most `size`; one empty slice if n is 0."""
    return [slice(start, min(start + size, n)) for start in range(0, max(n, 1), size)]


def joined(xp: Any, parts: Sequence[Array], axis: int) -> Array:
    """Parts one after the other."""
    return parts[0] if len(parts) == 1 else xp.concat(parts, axis=axis)
