"""Contrastive divergence with mixing by dynamic routing: (18), Algorithm 1 and the rule for U.

Letters: input capsules x_i (B, I, P), output capsules (B, J, D), weights W_ij (D, P), routing
coefficients c_ij, which Algorithm 1 finds on the data and keeps for the reverse pass and the model.
"""

from typing import Any, NamedTuple

from capsnp.backend import Array
from capsnp.errors import ShapeError
from capsnp.functional._checks import (
    binary,
    expect_count,
    expect_min_ndim,
    expect_shape,
    floating,
)
from capsnp.functional._coupling import (
    Coupling,
    coupling,
    expect_code,
    expect_decoder,
    expect_layer,
)
from capsnp.functional._polar import polar
from capsnp.functional.squash import squash


class Mixing(NamedTuple):
    """The quantities of one pass of Algorithm 1.

    Attributes
    ----------
    z : array, shape (B, J, D)
        Pre-activations of the data.
    x_out : array, shape (B, J, D)
        Their squashed capsules, 0 for those held off.
    x_in : array, shape (B, I, P)
        Rebuilt input capsules x̃, squashed.
    z_model : array, shape (B, J, D)
        Pre-activations z̃ of the rebuilt inputs.
    x_out_model : array, shape (B, J, D)
        Their squashed capsules x̃, 0 for those held off.
    """

    z: Array
    x_out: Array
    x_in: Array
    z_model: Array
    x_out_model: Array


def expert_gradient(z: Array, /) -> Array:
    r"""Half the gradient of log(1 + ‖z‖²), the logarithm of one expert of (10).

    .. math:: w(z) = \frac{z}{1 + \|z\|^2}

    It grows like z for short z, is longest, ½, at ‖z‖ = 1 and falls like 1/‖z‖ beyond.

    Parameters
    ----------
    z : array, shape (..., D)
        Pre-activations.

    Returns
    -------
    array, shape (..., D)
        In z's dtype; right over its whole finite range.

    Raises
    ------
    ShapeError, DtypeError
        If z has no axis or is not real floating.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, eq. 18.
    Derivation: :doc:`/derivations/gradient`.

    Examples
    --------
    >>> import numpy as np
    >>> expert_gradient(np.asarray([[0.6, 0.8], [1e200, 0.0]]))
    array([[3.e-001, 4.e-001],
           [1.e-200, 0.e+000]])
    """
    xp = floating(z=z)
    expect_min_ndim("z", z, 1, "(..., D)")
    at = polar(xp, z, axis=z.ndim - 1)
    r = at.scaled / at.up  # ‖z‖ · down, of which the square does not overflow
    return (z * at.down) / (at.down * at.down + r * r) * at.down


def mix(x: Array, W: Array, c: Array, *, steps: int = 1, on: Array | None = None) -> Mixing:
    r"""Mixing by dynamic routing, the middle of Algorithm 1.

    .. math::
        z_j = \sum_i c_{ij} W_{ij} x_i, \quad x_j = \mathrm{squash}(z_j), \quad
        \tilde x_i = \mathrm{squash}\Big(\sum_j c_{ij} W_{ij}^\top x_j\Big), \quad
        \tilde z_j = \sum_i c_{ij} W_{ij} \tilde x_i, \quad
        \tilde x_j = \mathrm{squash}(\tilde z_j)

    Parameters
    ----------
    x : array, shape (B, I, P)
        Input capsules, the data.
    W : array, shape (I, J, D, P)
        Prediction maps.
    c : array, shape (B, I, J) or (I, J)
        Routing coefficients, kept fixed.
    steps : int
        Times that inputs and outputs are rebuilt, from 1; the paper's is 1.
    on : array, shape (B, J), optional
        0 holds a capsule off: it takes no part in rebuilding the inputs. By default all are 1.

    Returns
    -------
    Mixing
        The model's part is that of the last step. In the dtype of the arguments.

    Raises
    ------
    OptionError
        If `steps` is below 1.
    DomainError
        If `on` holds another number than 0 and 1.
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit each other.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, Algorithm 1.
    Derivation: :doc:`/derivations/algorithm`.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.asarray([[[0.6, 0.0]]])
    >>> W = np.asarray([[[[5.0, 0.0], [0.0, 5.0]]]])
    >>> mixing = mix(x, W, np.asarray([[1.0]]))
    >>> mixing.x_out, mixing.x_in.round(3)
    (array([[[0.9, 0. ]]]), array([[[0.953, 0.   ]]]))
    """
    xp = expect_layer(x, W, c)
    expect_count("steps", steps)
    gate = gate_of(on, x, W.shape[1])
    return _mix(xp, coupling(xp, W, c), x, steps, gate)


def cd_gradient(
    x: Array,
    W: Array,
    c: Array,
    z: Array | None = None,
    *,
    steps: int = 1,
    on: Array | None = None,
) -> Array:
    r"""Contrastive divergence gradient of W: (18) with Algorithm 1's mixing.

    .. math::
        \Delta W_{ij} = \frac{2}{B} \sum_b c_{ij} \left(
            \frac{z_j x_i^\top}{1 + \|z_j\|^2}
            - \frac{\tilde z_j \tilde x_i^\top}{1 + \|\tilde z_j\|^2} \right)

    Parameters
    ----------
    x : array, shape (B, I, P)
        Input capsules, the data.
    W : array, shape (I, J, D, P)
        Prediction maps.
    c : array, shape (B, I, J) or (I, J)
        Routing coefficients, held constant; shared ones make each product one matrix product.
    z : array, shape (B, J, D), optional
        Pre-activations of x with these coefficients where they are known, as from `route`:
        ``cd_gradient(x, W, *route(x, W))``. By default they are computed.
    steps : int
        Mixing steps, from 1; the paper's is 1.
    on : array, shape (B, J), optional
        0 holds a capsule off: in the reverse pass and in both terms. By default all are 1.

    Returns
    -------
    array, shape (I, J, D, P)
        The direction that is added to W, a mean over the batch, in the dtype of the arguments.

    Raises
    ------
    OptionError
        If `steps` is below 1.
    DomainError
        If `on` holds another number than 0 and 1.
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit each other, or the batch is empty.

    Notes
    -----
    The first term is the gradient of −`free_energy` with c held constant. The second stands for
    the model's expectation and is no gradient: one deterministic pass replaces a sample.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, eq. 18 and Algorithm 1.
    Derivation: :doc:`/derivations/gradient`, :doc:`/derivations/algorithm`.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.asarray([[[0.6, 0.0]]])
    >>> W = np.asarray([[[[5.0, 0.0], [0.0, 5.0]]]])
    >>> cd_gradient(x, W, np.asarray([[1.0]])).round(3)
    array([[[[-0.023,  0.   ],
             [ 0.   ,  0.   ]]]])
    """
    xp = expect_layer(x, W, c)
    expect_count("steps", steps)
    _expect_examples("x", x)
    gate = gate_of(on, x, W.shape[1])
    if z is not None:
        floating(x=x, z=z)
        _expect_sums(z, x, W)
    layer = coupling(xp, W, c)
    mixing = _mix(xp, layer, x, steps, gate, z)
    data = gated(xp, expert_gradient(mixing.z), gate)
    model = gated(xp, expert_gradient(mixing.z_model), gate)
    mean = 2.0 / x.shape[0]
    return layer.gradient((x, mean * data), (mixing.x_in, -mean * model))


def decoder_gradient(
    x_out: Array, z_in: Array, U: Array, e: Array, *, on: Array | None = None
) -> Array:
    r"""The paper's rule for the decoder U (section 4.1).

    .. math::
        \tilde z_i = \sum_j e_{ji} U_{ji} x_j, \qquad
        \tilde x_j = \mathrm{squash}\Big(\sum_i e_{ji} U_{ji}^\top \tilde z_i\Big), \qquad
        \Delta U_{ji} = \frac{2}{B} \sum_b e_{ji} \left(
            \frac{z_i x_j^\top}{1 + \|z_i\|^2}
            - \frac{\tilde z_i \tilde x_j^\top}{1 + \|\tilde z_i\|^2} \right)

    Parameters
    ----------
    x_out : array, shape (B, J, D)
        Codes x_j of the data.
    z_in : array, shape (B, I, P)
        The data's input capsules z_i before squash.
    U : array, shape (J, I, P, D)
        Decoding maps.
    e : array, shape (B, J, I) or (J, I)
        Coefficients of each example, or of all.
    on : array, shape (B, J), optional
        0 holds a capsule off: its code x_j and its x̃_j are 0. By default all are 1.

    Returns
    -------
    array, shape (J, I, P, D)
        The direction that is added to U, a mean over the batch, in the dtype of the arguments.

    Raises
    ------
    DomainError
        If `on` holds another number than 0 and 1.
    ShapeError, DtypeError, MixedBackendError
        If the arrays do not fit each other, or the batch is empty.

    References
    ----------
    Hauser (2019), arXiv:1907.11643, section 4.1.
    Derivation: :doc:`/derivations/algorithm`.

    Examples
    --------
    >>> import numpy as np
    >>> U = np.asarray([[[[1.0], [0.0]]]])  # J, I, P, D = 1, 1, 2, 1
    >>> x_out, z_in = np.asarray([[[0.5]]]), np.asarray([[[1.0, 0.0]]])
    >>> decoder_gradient(x_out, z_in, U, np.asarray([[1.0]]))
    array([[[[0.34],
             [0.  ]]]])
    """
    xp = floating(x_out=x_out, z_in=z_in, U=U, e=e)
    expect_decoder(U, e, z_in, name="z_in")
    expect_code("x_out", x_out, U, batch=z_in.shape[0])
    _expect_examples("x_out", x_out)
    gate = gate_of(on, x_out, U.shape[0])
    x_out = gated(xp, x_out, gate)
    layer = coupling(xp, U, e)
    z_model = layer.forward(x_out)
    x_model = gated(xp, squash(layer.reverse(z_model)), gate)
    data, model = expert_gradient(z_in), expert_gradient(z_model)
    mean = 2.0 / x_out.shape[0]
    return layer.gradient((mean * x_out, data), (-mean * x_model, model))


def gate_of(on: Array | None, like: Array, n_capsules: int) -> Array | None:
    """The gate (B, J) as a mask (B, J, 1), true for capsules that are on."""
    if on is None:
        return None
    batch = like.shape[0]
    because = f"to match {n_capsules} capsules and a batch of {batch}"
    expect_shape("on", on, (batch, n_capsules), axes="(B, J)", because=because)
    return (binary("on", on, like=like) > 0)[..., None]


def gated(xp: Any, z: Array, gate: Array | None) -> Array:
    """Capsules with those held off at exactly 0."""
    return z if gate is None else xp.where(gate, z, xp.zeros_like(z))


def _mix(
    xp: Any, layer: Coupling, x: Array, steps: int, gate: Array | None, z: Array | None = None
) -> Mixing:
    z = layer.forward(x) if z is None else z
    x_out = x_out_model = gated(xp, squash(z), gate)
    for _ in range(steps):
        x_in = squash(layer.reverse(x_out_model))
        z_model = layer.forward(x_in)
        x_out_model = gated(xp, squash(z_model), gate)
    return Mixing(z, x_out, x_in, z_model, x_out_model)


def _expect_sums(z: Array, x: Array, W: Array) -> None:
    """Raise `ShapeError` unless z (B, J, D) is what W makes of x."""
    because = f"to match x {tuple(x.shape)} and W {tuple(W.shape)}"
    expect_shape("z", z, (x.shape[0], *W.shape[1:3]), axes="(B, J, D)", because=because)


def _expect_examples(name: str, array: Array) -> None:
    if array.shape[0] == 0:
        raise ShapeError(f"{name}: expected at least one example, got {tuple(array.shape)}")
