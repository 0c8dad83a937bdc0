"""The layer's work in PyTorch, in the ways that one would write it.

Every form holds the predictions once per routing. Which is the fastest depends on the machine and
on whether `torch.compile` takes it, so all are tried. Letters as in the paper; U (J, I, P, D) and
e (J, I) or (B, J, I).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch

Tensor = Any
_INPUTS = 1  # axis of c (B, I, J)


class Form(NamedTuple):
    """One way to write the work.

    Attributes
    ----------
    route : callable
        (x, W, iterations, axis of the softmax) to c (B, I, J) and z (B, J, D).
    gradient : callable
        (x, W, c, z) to ΔW.
    decoder : callable
        (y, h, U, e) to ΔU.
    """

    route: Callable[..., tuple[Tensor, Tensor]]
    gradient: Callable[..., Tensor]
    decoder: Callable[..., Tensor]

    def cd_step(self, x: Tensor, W: Tensor, iterations: int) -> Tensor:
        """ΔW of inputs."""
        return self.gradient(x, W, *self.route(x, W, iterations, _INPUTS))

    def training_step(self, h: Tensor, W: Tensor, iterations: int) -> Tensor:
        """ΔW of features before squash."""
        return self.cd_step(squash(h), W, iterations)


def squash(z: Tensor) -> Tensor:
    """Squash (4)."""
    square = (z * z).sum(-1, keepdim=True)
    return z * (square.sqrt() / (1 + square))


def weight(z: Tensor) -> Tensor:
    """z / (1 + ‖z‖²), of (18)."""
    return z / (1 + (z * z).sum(-1, keepdim=True))


# --- einsum: the formulas as they are printed -------------------------------------------------


def _route_einsum(x: Tensor, W: Tensor, iterations: int, axis: int) -> tuple[Tensor, Tensor]:
    u = torch.einsum("ijdp,bip->bijd", W, x)
    lengths = u.norm(dim=-1)
    logits = torch.zeros_like(lengths)
    for k in range(iterations):
        c = logits.softmax(axis)
        z = torch.einsum("bij,bijd->bjd", c, u)
        if k < iterations - 1:
            inner = torch.einsum("bijd,bjd->bij", u, z)
            logits = logits + inner / (lengths * z.norm(dim=-1)[:, None]).clamp_min(1e-12)
    return c, z


def _gradient_einsum(x: Tensor, W: Tensor, c: Tensor, z: Tensor) -> Tensor:
    x_model = squash(torch.einsum("bij,bjd,ijdp->bip", c, squash(z), W))
    z_model = torch.einsum("bij,bip,ijdp->bjd", c, x_model, W)
    data = torch.einsum("bij,bip,bjd->ijdp", c, x, weight(z))
    model = torch.einsum("bij,bip,bjd->ijdp", c, x_model, weight(z_model))
    return (2.0 / len(x)) * (data - model)


def _decoder_einsum(y: Tensor, h: Tensor, U: Tensor, e: Tensor) -> Tensor:
    if e.ndim == 2:
        maps = e[..., None, None] * U
        z_model = torch.einsum("bjd,jipd->bip", y, maps)
        y_model = squash(torch.einsum("bip,jipd->bjd", z_model, maps))
        pulls = torch.cat([weight(h), -weight(z_model)])
        summed = torch.einsum("bip,bjd->jipd", pulls, torch.cat([y, y_model]))
        return (2.0 / len(y)) * e[..., None, None] * summed
    z_model = torch.einsum("bjd,jipd,bji->bip", y, U, e)
    y_model = squash(torch.einsum("bji,bip,jipd->bjd", e, z_model, U))
    data = torch.einsum("bji,bip,bjd->jipd", e, weight(h), y)
    model = torch.einsum("bji,bip,bjd->jipd", e, weight(z_model), y_model)
    return (2.0 / len(y)) * (data - model)


# --- matmul: batches of matrix products, predictions laid out for them ------------------------


def _route_matmul(x: Tensor, W: Tensor, iterations: int, axis: int) -> tuple[Tensor, Tensor]:
    u = _predictions(x, W).transpose(1, 2).contiguous()  # (B, J, I, D)
    lengths = u.norm(dim=-1)
    logits = torch.zeros_like(lengths)
    for k in range(iterations):
        c = logits.softmax(3 - axis)
        z = c[:, :, None] @ u  # (B, J, 1, D)
        if k < iterations - 1:
            inner = (u @ z.mT)[..., 0]
            logits = logits + inner / (lengths * z.norm(dim=-1)).clamp_min(1e-12)
    return c.transpose(1, 2), z[:, :, 0]


def _predictions(x: Tensor, W: Tensor) -> Tensor:
    """W_ij x_i (B, I, J, D), held as (I, B, J, D)."""
    I, J, D, P = W.shape
    return (x.transpose(0, 1) @ W.reshape(I, J * D, P).mT).view(I, -1, J, D).transpose(0, 1)


def _gradient_matmul(x: Tensor, W: Tensor, c: Tensor, z: Tensor) -> Tensor:
    I, J, D, P = W.shape
    per_input = W.reshape(I, J * D, P)
    spread = (c[..., None] * squash(z)[:, None]).flatten(2).transpose(0, 1)  # (I, B, JD)
    x_model = squash(spread @ per_input).transpose(0, 1)
    u_model = _predictions(x_model, W).transpose(1, 2)
    z_model = (c.transpose(1, 2)[:, :, None] @ u_model)[:, :, 0]
    pulls = torch.cat([c[..., None] * weight(z)[:, None], -c[..., None] * weight(z_model)[:, None]])
    pairs = pulls.flatten(2).permute(1, 2, 0) @ torch.cat([x, x_model]).transpose(0, 1)
    return (2.0 / len(x)) * pairs.view(I, J, D, P)


def _decoder_matmul(y: Tensor, h: Tensor, U: Tensor, e: Tensor) -> Tensor:
    J, I, P, D = U.shape
    B = len(y)
    if e.ndim == 2:
        maps = (e[..., None, None] * U).permute(0, 3, 1, 2).reshape(J * D, I * P)
        z_model = (y.flatten(1) @ maps).view(B, I, P)
        y_model = squash((z_model.flatten(1) @ maps.mT).view(B, J, D))
        pulls = torch.cat([weight(h), -weight(z_model)]).flatten(1)
        summed = torch.cat([y, y_model]).flatten(1).mT @ pulls
        found = summed.view(J, D, I, P).permute(0, 2, 3, 1)
        return (2.0 / B) * e[..., None, None] * found
    flat = U.permute(0, 3, 1, 2).reshape(J, D, I * P)
    e_JBIP = e.transpose(0, 1)[..., None]
    u = (y.transpose(0, 1) @ flat).view(J, B, I, P)
    z_model = (e_JBIP * u).sum(0)
    y_model = squash((e_JBIP * z_model).flatten(2) @ flat.mT)  # (J, B, D)
    data = (e_JBIP * weight(h)).flatten(2).mT @ y.transpose(0, 1)
    model = (e_JBIP * weight(z_model)).flatten(2).mT @ y_model
    return (2.0 / B) * (data - model).view(J, I, P, D)


# --- sums: element-wise, what a compiler fuses ------------------------------------------------


def _route_sums(x: Tensor, W: Tensor, iterations: int, axis: int) -> tuple[Tensor, Tensor]:
    u = torch.einsum("ijdp,bip->bijd", W, x)
    lengths = u.norm(dim=-1)
    logits = torch.zeros_like(lengths)
    for k in range(iterations):
        c = logits.softmax(axis)
        z = (c[..., None] * u).sum(1)
        if k < iterations - 1:
            inner = (u * z[:, None]).sum(-1)
            logits = logits + inner / (lengths * z.norm(dim=-1)[:, None]).clamp_min(1e-12)
    return c, z


FORMS = {
    "einsum": Form(_route_einsum, _gradient_einsum, _decoder_einsum),
    "matmul": Form(_route_matmul, _gradient_matmul, _decoder_matmul),
    "sums": Form(_route_sums, _gradient_einsum, _decoder_einsum),
}
