"""A capsule network and its routing in PyTorch, gradients by automatic differentiation.

By inner products with squashed sums and coefficients over outputs, as Sabour et al. (2017). The
predictions are held, and whatever else the way back needs.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from capsnp.bench.torch_autoencoder import FORMATS
from capsnp.models import CapsNet
from capsnp.models._convolutional import STRIDE

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


class Trainer:
    """Steps of Adam of a capsule network as `CapsNet` has it, by automatic differentiation.

    Parameters
    ----------
    model : CapsNet
        Whose options and weights it takes.
    images : numpy.ndarray, shape (B, H, W, C)
    labels : numpy.ndarray, shape (B,)
        From 0.
    form : str
        Of the routing, one of `FORMS`.
    device, layout : str
        The layout is one of those of the autoencoder.
    """

    def __init__(
        self,
        model: CapsNet,
        images: np.ndarray,
        labels: np.ndarray,
        *,
        form: str,
        device: str,
        layout: str,
    ) -> None:
        dtype = getattr(torch, model.dtype)
        self.model, self.route = model, FORMS[form]
        self.weights = {
            name: _weight(name, model._backend.to_host(value), layout).to(device)
            for name, value in model.weights_.items()
        }
        for weight in self.weights.values():
            weight.requires_grad_()
        host = torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, 3, 1)))
        self.images = host.to(device, dtype).contiguous(memory_format=FORMATS[layout])
        one_hot = np.eye(model.classes_.size)[labels]
        self.targets = torch.from_numpy(one_hot).to(device, dtype)
        self._optimiser = torch.optim.Adam(
            self.weights.values(), lr=model.learning_rate, fused=True
        )

    def loss(self) -> Tensor:
        """Margin loss and squared error of the rebuilt images, the mean over the batch."""
        w, B, model = self.weights, len(self.images), self.model
        a = F.relu(F.conv2d(self.images, w["filters1"], w["bias1"]))
        maps = F.conv2d(a, w["filters2"], w["bias2"], stride=STRIDE).permute(0, 2, 3, 1)
        x = squash(maps.reshape(B, -1, model.primary_dim))
        v = squash(self.route(x, w["W"], model.iterations))
        lengths = v.norm(dim=-1)
        classes = (
            self.targets * F.relu(0.9 - lengths) ** 2
            + 0.5 * (1 - self.targets) * F.relu(lengths - 0.1) ** 2
        ).sum()
        h = (v * self.targets[..., None]).flatten(1)
        h = F.relu(h @ w["dense1"] + w["dense1_bias"])
        h = F.relu(h @ w["dense2"] + w["dense2_bias"])
        rebuilt = torch.sigmoid(h @ w["dense3"] + w["dense3_bias"])
        original = self.images.permute(0, 2, 3, 1).flatten(1)
        return (classes + model.reconstruction * ((rebuilt - original) ** 2).sum()) / B

    def step(self) -> None:
        """Forward, loss, backward, update."""
        self._optimiser.zero_grad(set_to_none=True)
        self.loss().backward()
        self._optimiser.step()

    def gradient(self) -> dict[str, np.ndarray]:
        """By the names and in the shapes that `CapsNet` has."""
        self.loss().backward()
        return {
            name: np.transpose(array, (2, 3, 1, 0)) if "filters" in name else array
            for name, weight in self.weights.items()
            for array in (weight.grad.cpu().numpy(),)
        }


def _weight(name: str, array: np.ndarray, layout: str) -> Tensor:
    """Filters (k, k, C, F) as (F, C, k, k), others as they are."""
    if "filters" not in name:
        return torch.from_numpy(np.array(array))
    turned = torch.from_numpy(np.ascontiguousarray(array.transpose(3, 2, 0, 1)))
    return turned.contiguous(memory_format=FORMATS[layout])
