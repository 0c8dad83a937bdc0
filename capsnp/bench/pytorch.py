"""PyTorch as a side of the comparison, as it runs and compiled."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from capsnp.bench.sides import ITERATIONS, Work
from capsnp.bench.timing import interleave
from capsnp.errors import BackendError
from capsnp.functional.routing import Normalize

if TYPE_CHECKING:
    from capsnp.bench.torch_forms import Form


class PyTorch:
    """PyTorch, no gradients recorded.

    Parameters
    ----------
    dtype : str
    device : str
    compiled : bool
        By `torch.compile`.
    form : str
        One of those in `capsnp.bench.torch_forms`; `choose` finds the fastest.

    Raises
    ------
    ImportError
        If there is no PyTorch.
    BackendError
        If it is to compile and no compiler works.
    """

    def __init__(
        self, dtype: str, *, device: str = "cpu", compiled: bool = False, form: str = "einsum"
    ) -> None:
        import torch

        self.name = "torch-compile" if compiled else "torch"
        self.torch = torch
        self.dtype, self.device, self.compiled, self.form = dtype, device, compiled, form
        if compiled:
            _expect_compiler(torch)

    def choose(self, prepare: Callable[["PyTorch"], Work], *, rounds: int) -> "PyTorch":
        """The same in the form that does the work which is prepared the fastest."""
        sides = {form: self.written(form) for form in self._forms}
        calls = {
            form: functools.partial(_call, prepare(side), side.finish)
            for form, side in sides.items()
        }
        times = interleave(calls, rounds=rounds)
        return sides[min(times, key=lambda form: times[form].median)]

    def cd_step(self, x: np.ndarray, W: np.ndarray) -> Work:
        return self._work(self._form.cd_step, x, W, options=(ITERATIONS,))

    def training_step(self, h: np.ndarray, W: np.ndarray) -> Work:
        return self._work(self._form.training_step, h, W, options=(ITERATIONS,))

    def routing(
        self, x: np.ndarray, W: np.ndarray, *, iterations: int, normalize: Normalize
    ) -> Work:
        axis = {"inputs": 1, "outputs": 2}[normalize]  # of c (B, I, J)
        return self._work(self._form.route, x, W, options=(iterations, axis))

    def decoder_step(self, y: np.ndarray, h: np.ndarray, U: np.ndarray, e: np.ndarray) -> Work:
        return self._work(self._form.decoder, y, h, U, e)

    def finish(self, result: Any) -> None:  # noqa: ARG002
        if self.device.startswith("cuda"):
            self.torch.cuda.synchronize()

    def to_host(self, result: Any) -> np.ndarray:
        return result.cpu().numpy()

    def tensor(self, host: np.ndarray) -> Any:
        """A host array on the device, with the order of its numbers in memory as it was."""
        return self.torch.from_numpy(host).to(self.device, getattr(self.torch, self.dtype))

    @property
    def _forms(self) -> "dict[str, Form]":
        from capsnp.bench.torch_forms import FORMS

        return FORMS

    @property
    def _form(self) -> "Form":
        return self._forms[self.form]

    def written(self, form: str) -> "PyTorch":
        """The same in another form."""
        return PyTorch(self.dtype, device=self.device, compiled=self.compiled, form=form)

    def _work(
        self, function: Callable[..., Any], *hosts: np.ndarray, options: tuple[int, ...] = ()
    ) -> Work:
        tensors = [self.tensor(host) for host in hosts]
        if self.compiled:
            function = self.torch.compile(function, dynamic=False)

        def work() -> Any:
            with self.torch.inference_mode():
                return function(*tensors, *options)

        return work


def _call(work: Work, finish: Callable[[Any], None]) -> None:
    finish(work())


@functools.cache
def _expect_compiler(torch: Any) -> None:
    """Compile a sum."""
    try:
        torch.compile(lambda x: (x * x).sum(-1), dynamic=False)(torch.ones(8, 8))
    except Exception as error:  # noqa: BLE001  a missing compiler may make it raise anything
        reason = str(error).strip().splitlines()
        raise BackendError(
            f"torch.compile does not work here ({type(error).__name__}: "
            f"{reason[0] if reason else ''}); it needs a C++ compiler such as g++"
        ) from None
