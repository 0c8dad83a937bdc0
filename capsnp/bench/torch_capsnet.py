"""Routing by agreement in PyTorch with its gradient by automatic differentiation.

By inner products with squashed sums and coefficients over outputs, as Sabour et al. (2017). The
predictions are held, and whatever else the way back needs.
"""

from collections.abc import Callable
from typing import Any

import torch

Tensor = Any


def squash(z: Tensor) -> Tensor:
    """Squash (4)."""
    square = (z * z).sum(-1, keepdim=True)
    return z * (square.sqrt() / (1 + square))


def route_einsum(x: Tensor, W: Tensor, iterations: int) -> Tensor:
    """Sums (B, J, D), the formulas as they are printed."""
    u = torch.einsum("ijdp,bip->bijd", W, x)
    logits = torch.zeros(u.shape[:3], dtype=u.dtype, device=u.device)
    for k in range(iterations):
        z = torch.einsum("bij,bijd->bjd", logits.softmax(2), u)
        if k < iterations - 1:
            logits = logits + torch.einsum("bijd,bjd->bij", u, squash(z))
    return z


def route_matmul(x: Tensor, W: Tensor, iterations: int) -> Tensor:
    """Sums (B, J, D), by products of predictions that are laid out for them."""
    I, J, D, P = W.shape
    u = (x.transpose(0, 1) @ W.reshape(I, J * D, P).mT).view(I, -1, J, D)
    u = u.permute(1, 2, 0, 3).contiguous()  # (B, J, I, D)
    logits = torch.zeros(u.shape[:3], dtype=u.dtype, device=u.device)
    for k in range(iterations):
        z = logits.softmax(1)[:, :, None] @ u  # (B, J, 1, D)
        if k < iterations - 1:
            logits = logits + (u @ squash(z).mT)[..., 0]
    return z[:, :, 0]


def route_sums(x: Tensor, W: Tensor, iterations: int) -> Tensor:
    """Sums (B, J, D), element-wise, what a compiler fuses."""
    u = torch.einsum("ijdp,bip->bijd", W, x)
    logits = torch.zeros(u.shape[:3], dtype=u.dtype, device=u.device)
    for k in range(iterations):
        z = (logits.softmax(2)[..., None] * u).sum(1)
        if k < iterations - 1:
            logits = logits + (u * squash(z)[:, None]).sum(-1)
    return z


FORMS: dict[str, Callable[[Tensor, Tensor, int], Tensor]] = {
    "einsum": route_einsum,
    "matmul": route_matmul,
    "sums": route_sums,
}


def gradient_of(form: str, *, compiled: bool) -> Callable[..., tuple[Tensor, ...]]:
    """A function of (x, W, g, iterations): the sums and the gradients in x and W of ⟨g, z⟩."""
    route = FORMS[form]
    if compiled:
        route = torch.compile(route, dynamic=False)

    def gradient(x: Tensor, W: Tensor, g: Tensor, iterations: int) -> tuple[Tensor, ...]:
        x, W = x.detach().requires_grad_(), W.detach().requires_grad_()
        z = route(x, W, iterations)
        return (z.detach(), *torch.autograd.grad(z, (x, W), g))

    return gradient
