"""A restricted Boltzmann machine in PyTorch, as it is usually written; no gradients recorded."""

from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional as F


class Machine:
    """Binary units, contrastive divergence or persistent chains.

    Parameters
    ----------
    w : numpy.ndarray, shape (I, J)
        First weights; the biases start at 0.
    chains : numpy.ndarray, shape (B, J), optional
        Hidden states that go on from step to step; without them chains start at each batch.
    learning_rate : float
    device : str
    noise : iterator of numpy.ndarray, optional
        Uniform numbers of each draw, for a result that can be compared; by default PyTorch draws.
    """

    def __init__(
        self,
        w: np.ndarray,
        chains: np.ndarray | None,
        *,
        learning_rate: float,
        device: str,
        noise: Iterator[np.ndarray] | None = None,
    ) -> None:
        self.weight = torch.tensor(np.ascontiguousarray(w.T), device=device)  # (J, I)
        self.bias_hidden = self.weight.new_zeros(w.shape[1])
        self.bias_visible = self.weight.new_zeros(w.shape[0])
        self.chains = None if chains is None else torch.tensor(chains, device=device)
        self.learning_rate, self.noise = learning_rate, noise

    @torch.no_grad()
    def step(self, v: torch.Tensor) -> None:
        """One update by a batch (B, I)."""
        h = torch.sigmoid(F.linear(v, self.weight, self.bias_hidden))
        states = self._draw(h) if self.chains is None else self.chains
        v_model = self._draw(torch.sigmoid(F.linear(states, self.weight.t(), self.bias_visible)))
        h_model = torch.sigmoid(F.linear(v_model, self.weight, self.bias_hidden))
        if self.chains is not None:
            self.chains = self._draw(h_model)
        rate = self.learning_rate / v.shape[0]
        self.weight.addmm_(h.t(), v, alpha=rate)
        self.weight.addmm_(h_model.t(), v_model, alpha=-rate)
        self.bias_hidden.add_((h - h_model).sum(0), alpha=rate)
        self.bias_visible.add_((v - v_model).sum(0), alpha=rate)

    def _draw(self, p: torch.Tensor) -> torch.Tensor:
        if self.noise is None:
            return torch.bernoulli(p)
        return (torch.tensor(next(self.noise), device=p.device) < p).to(p.dtype)
