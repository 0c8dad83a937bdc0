"""Special functions of the normal distribution, from the array's own library.

The Array API has none. Every library has those of SciPy under their names; one that has not, has
them computed on the host.
"""

import importlib
import math

from capsnp.backend import Array, backend_of

LOG_2PI = math.log(2.0 * math.pi)

_MODULES = {
    "numpy": "scipy.special",
    "torch": "torch.special",
    "jax": "jax.scipy.special",
    "cupy": "cupyx.scipy.special",
}


def log_ndtr(x: Array) -> Array:
    """log Φ(x), of the standard normal distribution.

    Examples
    --------
    >>> import numpy as np
    >>> log_ndtr(np.asarray([-4.0, 0.0])).round(4)
    array([-10.3601,  -0.6931])
    """
    return _special("log_ndtr", x)


def ndtri(p: Array) -> Array:
    """The x at which Φ(x) = p.

    Examples
    --------
    >>> import numpy as np
    >>> ndtri(np.asarray([0.5, 0.975])).round(4)
    array([0.  , 1.96])
    """
    return _special("ndtri", p)


def _special(name: str, x: Array) -> Array:
    backend = backend_of(x)
    if backend.name in _MODULES:
        return getattr(importlib.import_module(_MODULES[backend.name]), name)(x)
    on_host = getattr(importlib.import_module(_MODULES["numpy"]), name)
    return backend.asarray(on_host(backend.to_host(x)))
