"""The autoencoder of Figure 1 as modules of PyTorch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from capsnp.models import ConvAutoencoder
from capsnp.models._convolutional import STRIDE

FORMATS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}
"""How images lie in memory."""


class Network(nn.Module):
    """Two convolutions and the same filters transposed.

    Parameters
    ----------
    model : ConvAutoencoder
        Whose options and weights it takes.
    output_padding : int
        Rows that the second convolution does not reach.
    """

    def __init__(self, model: ConvAutoencoder, output_padding: int) -> None:
        super().__init__()
        F_, k = model.filters, model.kernel
        channels = model.image_shape_[2]
        self.conv1 = nn.Conv2d(channels, F_, k)
        self.conv2 = nn.Conv2d(F_, F_, k, stride=STRIDE)
        self.bias2 = nn.Parameter(torch.zeros(F_))
        self.bias1 = nn.Parameter(torch.zeros(channels))
        self.dropout: Any = nn.Dropout(model.dropout)
        self.slope = model.slope
        self.output_padding = output_padding
        self.to(getattr(torch, model.dtype))
        with torch.no_grad():
            for name, weight in from_ours(model.state()).items():
                self.named()[name].copy_(torch.from_numpy(weight))

    def named(self) -> dict[str, Any]:
        """Parameters by the names that `ConvAutoencoder` has for them."""
        return {
            "filters1": self.conv1.weight,
            "filters2": self.conv2.weight,
            "bias1": self.conv1.bias,
            "bias2": self.conv2.bias,
            "decoder_bias2": self.bias2,
            "decoder_bias1": self.bias1,
        }

    def forward(self, images: Any) -> Any:
        """Logits of the rebuilt images (N, C, H, W)."""
        a1 = F.leaky_relu(self.conv1(images), self.slope)
        code = self.dropout(F.leaky_relu(self.conv2(a1), self.slope))
        u1 = F.conv_transpose2d(
            code,
            self.conv2.weight,
            self.bias2,
            stride=STRIDE,
            output_padding=self.output_padding,
        )
        d1 = F.leaky_relu(u1, self.slope)
        return F.conv_transpose2d(d1, self.conv1.weight, self.bias1)


def from_ours(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights of `ConvAutoencoder.state` with filters (F, C, k, k)."""
    return {
        name: np.ascontiguousarray(array.transpose(3, 2, 0, 1)) if array.ndim == 4 else array
        for name, array in state.items()
        if name != "image_shape"
    }


class Masks(nn.Module):
    """In place of dropout: masks that are given, one after the other."""

    def __init__(self, masks: Sequence[np.ndarray], device: str) -> None:
        super().__init__()
        self.left = [torch.from_numpy(np.moveaxis(m, 3, 1)).to(device) for m in masks]

    def forward(self, code: Any) -> Any:
        return code * self.left.pop(0)


class Trainer:
    """Steps of Adam on the cross-entropy.

    Parameters
    ----------
    model : ConvAutoencoder
    images : numpy.ndarray, shape (N, H, W, C)
    output_padding : int
    device : str
    layout : str
        One of `FORMATS`.
    compiled : bool
    masks : sequence of numpy.ndarray, optional
        In place of dropout, one for each step.
    """

    def __init__(
        self,
        model: ConvAutoencoder,
        images: np.ndarray,
        output_padding: int,
        *,
        device: str,
        layout: str,
        compiled: bool = False,
        masks: Sequence[np.ndarray] | None = None,
    ) -> None:
        dtype = getattr(torch, model.dtype)
        memory = FORMATS[layout]
        network = Network(model, output_padding).to(device).to(memory_format=memory)
        if masks is not None:
            network.dropout = Masks(masks, device)
        host = torch.from_numpy(np.ascontiguousarray(np.moveaxis(images, 3, 1)))
        self.images = host.to(device, dtype).contiguous(memory_format=memory)
        self.network = network
        self._run = torch.compile(network, dynamic=False) if compiled else network
        self._optimiser = torch.optim.Adam(network.parameters(), lr=model.learning_rate, fused=True)

    def step(self) -> None:
        """Forward, loss, backward, update."""
        self._optimiser.zero_grad(set_to_none=True)
        logits = self._run(self.images)
        loss = F.binary_cross_entropy_with_logits(logits, self.images, reduction="sum")
        (loss / len(self.images)).backward()
        self._optimiser.step()

    def weights(self) -> dict[str, np.ndarray]:
        """As `ConvAutoencoder.state` has them."""
        return {
            name: np.transpose(array, (2, 3, 1, 0)) if array.ndim == 4 else array
            for name, value in self.network.named().items()
            for array in (value.detach().cpu().numpy(),)
        }
