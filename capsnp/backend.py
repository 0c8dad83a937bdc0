"""The one door to an array library.

The mathematics never asks which library runs: it takes its namespace from its arrays with
`namespace`. Only the edges (creation, random numbers, files, plots) hold a `Backend`.
"""

import contextlib
import importlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj

from capsnp.errors import BackendError, DtypeError, MixedBackendError, OptionError

Array = Any
"""An array of any library that follows the Array API standard."""

# name: (module to import, how to install it)
_LIBRARIES = {
    "numpy": ("array_api_compat.numpy", "pip install numpy"),
    "array-api-strict": ("array_api_strict", "pip install array-api-strict"),
    "torch": ("array_api_compat.torch", "pip install 'capsnp[torch]'"),
    "jax": ("jax.numpy", "pip install 'capsnp[jax]'"),
    "cupy": (
        "array_api_compat.cupy",
        "pip install 'capsnp[cuda12]' (or capsnp[cuda13]) on a machine with an NVIDIA GPU",
    ),
}
BACKENDS = tuple(_LIBRARIES)


def namespace(**arrays: Array | None) -> Any:
    """The Array API namespace that the named arrays share.

    Parameters
    ----------
    **arrays : array or None
        The arguments of the calling function by name; None is passed over.

    Returns
    -------
    module
        Array API namespace.

    Raises
    ------
    DtypeError
        If an argument is no array.
    MixedBackendError
        If the arrays come from more than one library.

    Examples
    --------
    >>> import numpy as np
    >>> namespace(x=np.zeros(3), W=None).__name__
    'array_api_compat.numpy'
    """
    given = {name: array for name, array in arrays.items() if array is not None}
    for name, array in given.items():
        if not is_array_api_obj(array) or isinstance(array, np.generic):
            raise DtypeError(f"{name}: expected an array, got {type(array).__name__}")
    try:
        return array_namespace(*given.values())
    except TypeError:
        kinds = ", ".join(f"{name} {_library_of(array)}" for name, array in given.items())
        raise MixedBackendError(f"expected arrays of one library, got {kinds}") from None


def _library_of(array: Array) -> str:
    return type(array).__module__.split(".")[0]


@dataclass(frozen=True)
class Backend:
    """An array library with the device on which it creates arrays.

    Parameters
    ----------
    name : str
        One of `BACKENDS`.
    xp : module
        Its Array API namespace.
    device : object, optional
        Where new arrays are made; None is the library's default.

    Examples
    --------
    >>> backend = get_backend("numpy")
    >>> backend.to_host(backend.asarray([1.0, 2.0], dtype="float32"))
    array([1., 2.], dtype=float32)
    """

    name: str
    xp: Any
    device: Any = None

    def asarray(self, array: Any, dtype: str | None = None) -> Array:
        """Host data (or an array that is here already) as an array of this library.

        Parameters
        ----------
        array : array_like
            Any shape.
        dtype : str, optional
            "float32", "float64", "int64" ...; by default that of the data.

        Returns
        -------
        array
            On the backend's device.

        Raises
        ------
        MixedBackendError
            If the array is of a third library.
        """
        wanted = None if dtype is None else getattr(self.xp, dtype)
        if is_array_api_obj(array) and not isinstance(array, (np.ndarray, np.generic)):
            if backend_of(array).name != self.name:
                raise MixedBackendError(
                    f"expected an array of {self.name} or of NumPy, got one of {_library_of(array)}"
                )
            return array if wanted is None else self.xp.astype(array, wanted, copy=False)
        host = np.asarray(array, dtype=dtype)
        if self.name == "numpy":
            return host
        if self.name == "torch":  # torch shares host memory, and warns if it is read-only
            host = host.copy()
        return self.xp.asarray(host, device=self.device) if self.device else self.xp.asarray(host)

    def to_host(self, array: Array) -> np.ndarray:
        """The array as a NumPy array, copied from the device if need be."""
        if isinstance(array, np.ndarray):
            return array
        if self.name == "cupy":
            return array.get()
        if self.name == "torch":
            return array.detach().cpu().numpy()
        if self.name == "array-api-strict":
            array = array.to_device(self.xp.Device("CPU_DEVICE"))
        return np.asarray(array)

    def synchronize(self) -> None:
        """Wait until the device has finished what it was given; nothing to do on a host."""
        if self.name == "cupy":
            self.xp.cuda.get_current_stream().synchronize()
        elif self.name == "torch" and self.xp.cuda.is_available():
            self.xp.cuda.synchronize()

    @contextlib.contextmanager
    def holding(self, dtype: str) -> Iterator[None]:
        """Let arrays have this dtype inside: JAX has float64 only where it is asked for.

        Parameters
        ----------
        dtype : str

        Examples
        --------
        >>> with get_backend("numpy").holding("float64"):
        ...     pass
        """
        if self.name != "jax" or dtype != "float64":
            yield
            return
        config = importlib.import_module("jax").config
        before = config.jax_enable_x64
        config.update("jax_enable_x64", True)
        try:
            yield
        finally:
            config.update("jax_enable_x64", before)

    def rng(self, seed: int) -> Any:
        """A generator of bulk noise with `random` and `standard_normal`, on the device if it can.

        Parameters
        ----------
        seed : int
            Seed, not negative.

        Returns
        -------
        generator
            ``generator.random(size, dtype=)`` as in NumPy. What it returns goes through
            `asarray`.
        """
        if self.name == "cupy":
            return importlib.import_module("cupy").random.default_rng(seed)
        return np.random.default_rng(seed)


def get_backend(name: "str | Backend | None" = None) -> Backend:
    """A backend by its name.

    Parameters
    ----------
    name : str or Backend, optional
        One of `BACKENDS`; by default what the environment variable ``CAPSNP_BACKEND`` says,
        else "numpy".

    Returns
    -------
    Backend

    Raises
    ------
    OptionError
        If the name is unknown.
    BackendError
        If the library is not installed or finds no device; the message says what to install.
    """
    if isinstance(name, Backend):
        return name
    name = name or os.environ.get("CAPSNP_BACKEND") or "numpy"
    if name not in _LIBRARIES:
        raise OptionError(f"backend: expected one of {', '.join(BACKENDS)}, got {name!r}")
    module, install = _LIBRARIES[name]
    try:
        xp = importlib.import_module(module)
    except ImportError as error:
        raise BackendError(f"backend {name!r} is not installed ({error}): {install}") from None
    if name == "cupy":
        _expect_gpu(xp)
    return Backend(name, xp)


def _expect_gpu(xp: Any) -> None:
    try:
        count = xp.cuda.runtime.getDeviceCount()
    except xp.cuda.runtime.CUDARuntimeError as error:
        raise BackendError(f"backend 'cupy' found no usable GPU: {error}") from None
    if count == 0:
        raise BackendError("backend 'cupy' found no GPU on this machine")


def backend_of(array: Array) -> Backend:
    """The backend that an array belongs to.

    Parameters
    ----------
    array : array

    Returns
    -------
    Backend
    """
    library = _library_of(array)
    names = {"jaxlib": "jax", "array_api_strict": "array-api-strict"}
    return get_backend(names.get(library, library))


def found_backends() -> dict[str, str]:
    """Each backend with its version, or with what it needs.

    Returns
    -------
    dict of str to str
    """
    report = {}
    for name in BACKENDS:
        try:
            xp = get_backend(name).xp
        except BackendError as error:
            report[name] = str(error)
        else:
            root = importlib.import_module(
                xp.__name__.removeprefix("array_api_compat.").split(".")[0]
            )
            report[name] = root.__version__
    return report


@contextlib.contextmanager
def device_scope(backend: Backend):
    """Run a block on the backend's device (CuPy creates arrays on the current one)."""
    if backend.name == "cupy" and backend.device is not None:
        with backend.xp.cuda.Device(backend.device):
            yield
    else:
        yield
