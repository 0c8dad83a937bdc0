"""Invariants that anyone can run on their own functions, and Hypothesis strategies for capsules.

A check takes a function, draws arguments with Hypothesis and raises `InvariantError` with the
smallest case that it finds. The same arguments are drawn on every run. Needs Hypothesis:
``pip install hypothesis``, or the extra ``capsnp[testing]``.
"""

try:
    import hypothesis  # noqa: F401  the one thing that this module needs beyond the package
except ImportError:
    raise ImportError(
        "capsnp.testing needs Hypothesis: pip install hypothesis (or 'capsnp[testing]')"
    ) from None

from capsnp.errors import InvariantError
from capsnp.testing.derivatives import check_adjoint, check_gradient, check_vjp
from capsnp.testing.parity import check_backend_parity
from capsnp.testing.routing import check_routing
from capsnp.testing.squashing import check_squash, squashed_length
from capsnp.testing.strategies import capsules, coefficients, layers, weights

__all__ = [
    "InvariantError",
    "capsules",
    "check_adjoint",
    "check_backend_parity",
    "check_gradient",
    "check_routing",
    "check_squash",
    "check_vjp",
    "coefficients",
    "layers",
    "squashed_length",
    "weights",
]
