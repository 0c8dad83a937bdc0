"""Every function says which argument is wrong and keeps the library and dtype of its arguments."""

import numpy as np
import pytest

import capsnp.functional
from capsnp.errors import DtypeError, MixedBackendError, OptionError, ShapeError
from capsnp.functional import (
    NeuronMixing,
    RoutingRecord,
    capsule_evidence,
    cd_gradient,
    code_potential,
    col2im,
    conv2d,
    conv2d_bias_gradient,
    conv2d_input_gradient,
    conv2d_transpose,
    conv2d_transpose_input_gradient,
    conv2d_transpose_weight_gradient,
    conv2d_weight_gradient,
    cross_entropy,
    cross_entropy_gradient,
    decoder_gradient,
    energy,
    expert_gradient,
    firing_probability,
    forward,
    free_energy,
    im2col,
    joint_log_probability,
    leaky_relu,
    leaky_relu_derivative,
    length,
    length_vjp,
    log_sigmoid,
    log_sigmoid_derivative,
    log_sum_over_states,
    logsumexp,
    margin_loss,
    margin_loss_gradient,
    mix,
    neuron_energy,
    neuron_free_energy,
    neuron_gradient,
    neuron_hidden_probability,
    neuron_machine,
    neuron_mix,
    neuron_visible_field,
    predictions,
    rbm_cd_gradient,
    rbm_energy,
    rbm_free_energy,
    rbm_hidden_probability,
    rbm_visible_probability,
    relu,
    relu_derivative,
    reverse,
    route,
    route_vjp,
    route_with_record,
    settle,
    settling_gradient,
    settling_objective,
    settling_residual,
    sigmoid,
    sigmoid_derivative,
    softmax,
    softmax_vjp,
    softplus,
    spread_loss,
    spread_loss_gradient,
    squash,
    squash_vjp,
    unsquash,
    unsquash_vjp,
    winners,
)
from capsnp.functional.units import Units

# B, I, P, J, D = 2, 3, 4, 5, 2
LAYER = {"x": (2, 3, 4), "W": (3, 5, 2, 4), "c": (2, 3, 5)}
STATES = {"x": (2, 3, 4), "on": (2, 5), "W": (3, 5, 2, 4), "c": (2, 3, 5)}
DECODER = {"h": (2, 3, 4), "U": (5, 3, 4, 2), "e": (2, 5, 3)}
RBM = {"v": (2, 4), "h": (2, 3), "w": (4, 3), "b": (4,), "c": (3,)}
IMAGES, WEIGHT, CODES = (2, 6, 7, 3), (3, 2, 3, 4), (2, 4, 6, 4)

NEURONS = {
    "v": (2, 3, 4),
    "h": (2, 5, 2),
    "W": (3, 5, 2, 4),
    "c": (2, 3, 5),
    "a": (5, 2),
    "b": (3, 4),
}

# every public function: its arrays in their order, and the options it cannot do without
CALLS = {
    capsule_evidence: ({"field": (2, 5, 2)}, {}),
    cd_gradient: (LAYER | {"z": (2, 5, 2)}, {}),
    code_potential: ({"y": (2, 5, 2)}, {}),
    col2im: ({"columns": (2, 4, 6, 18)}, {"shape": IMAGES, "kernel": (3, 2)}),
    conv2d: ({"images": IMAGES, "weight": WEIGHT, "bias": (4,)}, {}),
    conv2d_bias_gradient: ({"gradient": CODES}, {}),
    conv2d_input_gradient: ({"gradient": CODES, "weight": WEIGHT}, {"size": IMAGES[1:3]}),
    conv2d_transpose: ({"codes": CODES, "weight": WEIGHT, "bias": (3,)}, {}),
    conv2d_transpose_input_gradient: ({"gradient": IMAGES, "weight": WEIGHT}, {}),
    conv2d_transpose_weight_gradient: ({"gradient": IMAGES, "codes": CODES}, {"kernel": (3, 2)}),
    conv2d_weight_gradient: ({"gradient": CODES, "images": IMAGES}, {"kernel": (3, 2)}),
    cross_entropy: ({"logits": (2, 3), "targets": (2, 3)}, {}),
    cross_entropy_gradient: ({"logits": (2, 3), "targets": (2, 3)}, {}),
    decoder_gradient: (
        {"x_out": (2, 5, 2), "z_in": (2, 3, 4), "U": (5, 3, 4, 2), "e": (2, 5, 3)},
        {},
    ),
    energy: (STATES, {}),
    expert_gradient: ({"z": (2, 5, 2)}, {}),
    firing_probability: ({"z": (2, 5, 2)}, {}),
    forward: (LAYER, {}),
    free_energy: (LAYER, {}),
    im2col: ({"images": IMAGES}, {"kernel": (3, 2)}),
    joint_log_probability: (STATES, {}),
    leaky_relu: ({"x": (2, 3)}, {}),
    leaky_relu_derivative: ({"x": (2, 3)}, {}),
    length: ({"z": (2, 3)}, {}),
    length_vjp: ({"z": (2, 3), "g": (2,)}, {}),
    log_sigmoid: ({"x": (2, 3)}, {}),
    log_sigmoid_derivative: ({"x": (2, 3)}, {}),
    log_sum_over_states: (LAYER, {}),
    logsumexp: ({"x": (2, 3)}, {}),
    margin_loss: ({"lengths": (2, 3), "targets": (2, 3)}, {}),
    margin_loss_gradient: ({"lengths": (2, 3), "targets": (2, 3)}, {}),
    mix: (LAYER, {}),
    neuron_energy: (NEURONS, {}),
    neuron_free_energy: ({name: NEURONS[name] for name in "vWcab"}, {}),
    neuron_gradient: (
        {name: NEURONS[name] for name in "vWch"} | {"v_model": (2, 3, 4), "h_model": (2, 5, 2)},
        {},
    ),
    neuron_hidden_probability: ({name: NEURONS[name] for name in "vWca"}, {}),
    neuron_machine: ({"W": (3, 5, 2, 4), "c": (3, 5), "a": (5, 2), "b": (3, 4)}, {}),
    neuron_mix: ({name: NEURONS[name] for name in "vWcab"}, {}),
    neuron_visible_field: ({name: NEURONS[name] for name in "hWcb"}, {}),
    predictions: ({"x": (2, 3, 4), "W": (3, 5, 2, 4)}, {}),
    rbm_cd_gradient: (
        {"v_data": (2, 4), "h_data": (2, 3), "v_model": (5, 4), "h_model": (5, 3)},
        {},
    ),
    rbm_energy: (RBM, {}),
    rbm_free_energy: ({name: RBM[name] for name in "vwbc"}, {}),
    rbm_hidden_probability: ({name: RBM[name] for name in "vwc"}, {}),
    rbm_visible_probability: ({name: RBM[name] for name in "hwb"}, {}),
    relu: ({"x": (2, 3)}, {}),
    relu_derivative: ({"x": (2, 3)}, {}),
    reverse: ({"x_out": (2, 5, 2), "W": (3, 5, 2, 4), "c": (2, 3, 5)}, {}),
    route: ({"x": (2, 3, 4), "W": (3, 5, 2, 4)}, {}),
    route_vjp: ({"x": (2, 3, 4), "W": (3, 5, 2, 4), "g": (2, 5, 2)}, {}),
    route_with_record: ({"x": (2, 3, 4), "W": (3, 5, 2, 4)}, {}),
    settle: (DECODER, {"max_iter": 2}),
    settling_gradient: (DECODER | {"y": (2, 5, 2)}, {}),
    settling_objective: (DECODER | {"y": (2, 5, 2)}, {}),
    settling_residual: (DECODER | {"z": (2, 5, 2)}, {}),
    sigmoid: ({"x": (2, 3)}, {}),
    sigmoid_derivative: ({"x": (2, 3)}, {}),
    softmax: ({"x": (2, 3)}, {}),
    softmax_vjp: ({"x": (2, 3), "g": (2, 3)}, {}),
    softplus: ({"x": (2, 3)}, {}),
    spread_loss: ({"lengths": (2, 3), "targets": (2, 3)}, {}),
    spread_loss_gradient: ({"lengths": (2, 3), "targets": (2, 3)}, {}),
    squash: ({"z": (2, 3)}, {}),
    squash_vjp: ({"z": (2, 3), "g": (2, 3)}, {}),
    unsquash: ({"x": (2, 3)}, {}),
    unsquash_vjp: ({"x": (2, 3), "g": (2, 3)}, {}),
    winners: ({"score": (2, 3)}, {"k": 2}),
}
ANY_DTYPE = {"on", "score"}
ARGUMENTS = [(function, name) for function, (shapes, _) in CALLS.items() for name in shapes]
FLOATING = [(function, name) for function, name in ARGUMENTS if name not in ANY_DTYPE]
BESIDE_OTHERS = [(function, name) for function, name in ARGUMENTS if len(CALLS[function][0]) > 1]
AFTER_THE_FIRST = [
    (function, name) for function, name in FLOATING if name != next(iter(CALLS[function][0]))
]


def name_of(value):
    return value if isinstance(value, str) else getattr(value, "__name__", None)


def host_arrays(function, **shapes):
    """Arguments that the function takes, of other shapes where they are given."""
    wanted = CALLS[function][0] | shapes
    return {name: np.full(shape, 1.0 if name == "on" else 0.25) for name, shape in wanted.items()}


def call(function, arrays, **options):
    """Arrays by position, as some functions want them, and what comes after them by name."""
    options = CALLS[function][1] | options
    if function is winners:
        return winners(arrays["score"], options["k"])
    if function is neuron_gradient:
        v, W, c, *mixing = arrays.values()
        return neuron_gradient(v, NeuronMixing(*mixing), W, c)
    return function(*arrays.values(), **options)


def arrays_in(result):
    """All arrays of a result, also in tuples of tuples; what is no array is passed over."""
    if isinstance(result, tuple):
        return [array for part in result for array in arrays_in(part)]
    return [] if isinstance(result, int | Units | RoutingRecord) else [result]


def test_every_public_function_is_here():
    public = {getattr(capsnp.functional, name) for name in capsnp.functional.__all__}
    assert set(CALLS) == {function for function in public if not isinstance(function, type)}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("function", CALLS, ids=name_of)
def test_library_and_dtype_stay(library, function, dtype):
    arrays = {
        name: library.from_host(array, dtype=dtype) for name, array in host_arrays(function).items()
    }
    results = arrays_in(call(function, arrays))
    assert results
    for result in results:
        assert library.to_host(result).dtype == dtype


@pytest.mark.parametrize("function", CALLS, ids=name_of)
def test_device_stays(function):
    """The strict library has devices that are as apart as two GPUs are."""
    strict = pytest.importorskip("array_api_strict")
    device = strict.Device("device1")
    assert device != strict.zeros(1).device
    arrays = {
        name: strict.asarray(array, device=device) for name, array in host_arrays(function).items()
    }
    for result in arrays_in(call(function, arrays)):
        assert result.device == device


@pytest.mark.parametrize(("function", "name"), FLOATING, ids=name_of)
def test_integers_are_refused_by_name(library, function, name):
    arrays = {key: library.from_host(array) for key, array in host_arrays(function).items()}
    arrays[name] = library.from_host(np.ones(arrays[name].shape), dtype="int64")
    with pytest.raises(DtypeError) as caught:
        call(function, arrays)
    assert str(caught.value) == f"{name}: expected float32 or float64, got int64"


@pytest.mark.parametrize(("function", "name"), AFTER_THE_FIRST, ids=name_of)
def test_two_precisions_are_refused_by_name(function, name):
    arrays = host_arrays(function)
    first = next(iter(arrays))
    arrays[name] = arrays[name].astype("float32")
    with pytest.raises(DtypeError) as caught:
        call(function, arrays)
    assert str(caught.value) == f"{name}: expected float64 as {first} has, got float32"


@pytest.mark.parametrize(("function", "name"), BESIDE_OTHERS, ids=name_of)
def test_an_array_of_another_library_is_refused_by_name(function, name):
    strict = pytest.importorskip("array_api_strict")
    arrays = host_arrays(function)
    arrays[name] = strict.asarray(arrays[name])
    with pytest.raises(MixedBackendError, match=rf"{name} array_api_strict"):
        call(function, arrays)


# --- shapes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "shapes", "message"),
    [
        # capsules
        (code_potential, {"y": ()}, "y: expected shape (..., D), got ()"),
        (expert_gradient, {"z": ()}, "z: expected shape (..., D), got ()"),
        (firing_probability, {"z": (2,)}, "z: expected shape (..., J, D), got (2,)"),
        (
            firing_probability,
            {"z": (5, 0)},
            "z: expected at least one number along axis 1, got shape (5, 0)",
        ),
        (length_vjp, {"z": ()}, "z: expected at least one axis, got shape ()"),
        (length_vjp, {"g": (3,)}, "g: expected shape (2,) of the lengths, got (3,)"),
        (squash_vjp, {"z": (), "g": ()}, "z: expected at least one axis, got shape ()"),
        (unsquash_vjp, {"x": (), "g": ()}, "x: expected at least one axis, got shape ()"),
        # layers
        (free_energy, {"x": (4,)}, "x: expected shape (..., I, P), got (4,)"),
        (
            log_sum_over_states,
            {"c": (3, 3, 5)},
            "c: expected shape (I, J) or (..., I, J) with leading axes (2,) to match x (2, 3, 4), "
            "got (3, 3, 5)",
        ),
        (
            energy,
            {"on": (2, 4)},
            "on: expected shape (2, 5) to match x (2, 3, 4) and W (3, 5, 2, 4), got (2, 4)",
        ),
        (
            reverse,
            {"x_out": (2, 5, 3)},
            "x_out: expected shape (B, J, D) with D = 2 to match W (3, 5, 2, 4), got (2, 5, 3)",
        ),
        (
            mix,
            {"c": (3, 3, 5)},
            "c: expected shape (B, I, J) with B = 2 to match W (3, 5, 2, 4) and a batch of 2, "
            "got (3, 3, 5)",
        ),
        (
            cd_gradient,
            {"z": (2, 5, 3)},
            "z: expected shape (B, J, D) with D = 2 to match x (2, 3, 4) and W (3, 5, 2, 4), "
            "got (2, 5, 3)",
        ),
        # decoders
        (settle, {"h": (3, 4)}, "h: expected shape (B, I, P), got (3, 4)"),
        (
            settle,
            {"U": (5, 3, 4)},
            "U: expected shape (J, I, P, D), got (5, 3, 4)",
        ),
        (
            settle,
            {"U": (5, 3, 4, 0)},
            "U: expected shape (J, I, P, D) with no empty axis, got (5, 3, 4, 0)",
        ),
        (
            settle,
            {"U": (5, 2, 4, 2)},
            "U: expected shape (J, I, P, D) with I = 3 to match h (2, 3, 4), got (5, 2, 4, 2)",
        ),
        (
            settle,
            {"e": (5, 2)},
            "e: expected shape (J, I) with I = 3 to match U (5, 3, 4, 2), got (5, 2)",
        ),
        (
            settle,
            {"e": (3, 5, 3)},
            "e: expected shape (B, J, I) with B = 2 to match U (5, 3, 4, 2) and a batch of 2, "
            "got (3, 5, 3)",
        ),
        (
            settling_residual,
            {"z": (3, 5, 2)},
            "z: expected shape (B, J, D) with B = 2 to match U (5, 3, 4, 2) and a batch of 2, "
            "got (3, 5, 2)",
        ),
        (
            decoder_gradient,
            {"x_out": (2, 4, 2)},
            "x_out: expected shape (B, J, D) with J = 5 to match U (5, 3, 4, 2) and a batch of 2, "
            "got (2, 4, 2)",
        ),
        (decoder_gradient, {"z_in": (3, 4)}, "z_in: expected shape (B, I, P), got (3, 4)"),
        # the restricted Boltzmann machine
        (rbm_energy, {"w": (4,)}, "w: expected shape (I, J), got (4,)"),
        (rbm_energy, {"v": ()}, "v: expected shape (..., I), got ()"),
        (rbm_energy, {"h": ()}, "h: expected shape (..., J), got ()"),
        (
            rbm_energy,
            {"v": (2, 5)},
            "v: expected shape (..., I) with I = 4 to match w (4, 3), got (2, 5)",
        ),
        (
            rbm_energy,
            {"h": (2, 5)},
            "h: expected shape (..., J) with J = 3 to match w (4, 3), got (2, 5)",
        ),
        (
            rbm_energy,
            {"v": (2, 3, 4), "h": (2, 2, 3)},
            "h: expected leading axes (2, 3) as v (2, 3, 4) has, got (2, 2, 3)",
        ),
        (
            rbm_energy,
            {"b": (1,)},
            "b: expected shape (I,) with I = 4 to match w (4, 3), got (1,)",
        ),
        (
            rbm_energy,
            {"c": (1,)},
            "c: expected shape (J,) with J = 3 to match w (4, 3), got (1,)",
        ),
        (
            rbm_hidden_probability,
            {"c": (1,)},
            "c: expected shape (J,) with J = 3 to match w (4, 3), got (1,)",
        ),
        (
            rbm_visible_probability,
            {"b": (1,)},
            "b: expected shape (I,) with I = 4 to match w (4, 3), got (1,)",
        ),
        (rbm_free_energy, {"v": ()}, "v: expected shape (..., I), got ()"),
        (
            rbm_free_energy,
            {"b": (1,)},
            "b: expected shape (I,) with I = 4 to match w (4, 3), got (1,)",
        ),
        (
            rbm_free_energy,
            {"c": (1,)},
            "c: expected shape (J,) with J = 3 to match w (4, 3), got (1,)",
        ),
        (rbm_cd_gradient, {"v_data": (4,)}, "v_data: expected shape (B, I), got (4,)"),
        (
            rbm_cd_gradient,
            {"v_model": (4,)},
            "v_model: expected shape (N, I) with I = 4 to match v_data (2, 4), got (4,)",
        ),
        (
            rbm_cd_gradient,
            {"v_model": (0, 4), "h_model": (0, 3)},
            "v_model: expected at least one example, got (0, 4)",
        ),
        (
            rbm_cd_gradient,
            {"v_model": (5, 6)},
            "v_model: expected shape (N, I) with I = 4 to match v_data (2, 4), got (5, 6)",
        ),
        (
            rbm_cd_gradient,
            {"h_data": (3, 3)},
            "h_data: expected shape (B, J) with B = 2 to match v_data (2, 4), got (3, 3)",
        ),
        (
            rbm_cd_gradient,
            {"h_data": ()},
            "h_data: expected shape (B, J) with B = 2 to match v_data (2, 4), got ()",
        ),
        (
            rbm_cd_gradient,
            {"h_model": (4, 6)},
            "h_model: expected shape (N, J) with N = 5, J = 3 to match v_model (5, 4) and "
            "h_data (2, 3), got (4, 6)",
        ),
        # convolutions
        (im2col, {"images": (6, 7, 3)}, "images: expected shape (N, H, W, C), got (6, 7, 3)"),
        (
            im2col,
            {"images": (2, 6, 1, 3)},
            "images: expected height and width with padding of at least the kernel (3, 2), "
            "got (6, 1)",
        ),
        (
            col2im,
            {"columns": (2, 4, 6, 17)},
            "columns: expected shape (N, H_out, W_out, K) with K = 18 to match images "
            "(2, 6, 7, 3) and kernel (3, 2), got (2, 4, 6, 17)",
        ),
        (
            conv2d,
            {"weight": (3, 2, 3)},
            "weight: expected shape (kh, kw, C_in, C_out), got (3, 2, 3)",
        ),
        (
            conv2d,
            {"images": (2, 6, 7, 4)},
            "images: expected shape (N, H, W, C_in) with C_in = 3 to match weight (3, 2, 3, 4), "
            "got (2, 6, 7, 4)",
        ),
        (
            conv2d,
            {"bias": (3,)},
            "bias: expected shape (C_out) with C_out = 4 to match weight (3, 2, 3, 4), got (3,)",
        ),
        (
            conv2d_transpose,
            {"codes": (2, 4, 6, 3)},
            "codes: expected shape (N, H, W, C_out) with C_out = 4 to match weight (3, 2, 3, 4), "
            "got (2, 4, 6, 3)",
        ),
        (
            conv2d_transpose,
            {"bias": (4,)},
            "bias: expected shape (C_in) with C_in = 3 to match weight (3, 2, 3, 4), got (4,)",
        ),
        (
            conv2d_input_gradient,
            {"gradient": (2, 4, 6, 3)},
            "gradient: expected shape (N, H, W, C_out) with C_out = 4 to match "
            "weight (3, 2, 3, 4), got (2, 4, 6, 3)",
        ),
        (
            conv2d_input_gradient,
            {"gradient": (2, 4, 5, 4)},
            "gradient: expected shape (N, H_out, W_out, C_out) with W_out = 6 to match "
            "size (6, 7), got (2, 4, 5, 4)",
        ),
        (
            conv2d_weight_gradient,
            {"gradient": (4, 6, 4)},
            "gradient: expected shape (N, H_out, W_out, C_out), got (4, 6, 4)",
        ),
        (
            conv2d_weight_gradient,
            {"gradient": (2, 4, 5, 4)},
            "gradient: expected shape (N, H_out, W_out, C_out) with W_out = 6 to match "
            "images (2, 6, 7, 3), got (2, 4, 5, 4)",
        ),
        (
            conv2d_bias_gradient,
            {"gradient": (4, 6, 4)},
            "gradient: expected shape (N, H, W, C), got (4, 6, 4)",
        ),
        (
            conv2d_transpose_input_gradient,
            {"gradient": (2, 6, 7, 4)},
            "gradient: expected shape (N, H, W, C_in) with C_in = 3 to match "
            "weight (3, 2, 3, 4), got (2, 6, 7, 4)",
        ),
    ],
    ids=name_of,
)
def test_shapes_that_do_not_fit_are_refused(function, shapes, message):
    with pytest.raises(ShapeError) as caught:
        call(function, host_arrays(function, **shapes))
    assert str(caught.value) == message


# --- options ------------------------------------------------------------------------------------

COUNT = "expected a whole number from"
SMALL = "expected height and width with padding of at least the kernel (3, 2), got (2, 7)"


@pytest.mark.parametrize(
    ("function", "options", "error", "message"),
    [
        (length_vjp, {"axis": 2}, OptionError, "axis: expected an axis of z (2, 3), from -2 to 1"),
        (squash_vjp, {"axis": 2}, OptionError, "axis: expected an axis of z (2, 3), from -2 to 1"),
        (unsquash_vjp, {"axis": 2}, OptionError, "axis: expected an axis of x (2, 3), from -2 to"),
        (softmax_vjp, {"axis": 2}, OptionError, "axis: expected an axis of x (2, 3), from -2 to 1"),
        (leaky_relu_derivative, {"slope": 2}, OptionError, "slope: expected a number from 0 to 1"),
        (im2col, {"kernel": 0}, OptionError, f"kernel: {COUNT} 1, got 0"),
        (im2col, {"padding": -1}, OptionError, f"padding: {COUNT} 0, got -1"),
        (col2im, {"kernel": 0}, OptionError, f"kernel: {COUNT} 1, got 0"),
        (col2im, {"stride": 0}, OptionError, f"stride: {COUNT} 1, got 0"),
        (col2im, {"padding": -1}, OptionError, f"padding: {COUNT} 0, got -1"),
        (col2im, {"shape": (2, 2, 7, 3)}, ShapeError, f"shape: {SMALL}"),
        (conv2d_input_gradient, {"size": 0}, OptionError, f"size: {COUNT} 1, got 0"),
        (conv2d_input_gradient, {"stride": 0}, OptionError, f"stride: {COUNT} 1, got 0"),
        (conv2d_input_gradient, {"padding": -1}, OptionError, f"padding: {COUNT} 0, got -1"),
        (conv2d_input_gradient, {"size": (2, 7)}, ShapeError, f"size: {SMALL}"),
        (conv2d_weight_gradient, {"kernel": 0}, OptionError, f"kernel: {COUNT} 1, got 0"),
        (conv2d_transpose, {"stride": 0}, OptionError, f"stride: {COUNT} 1, got 0"),
        (conv2d_transpose, {"padding": -1}, OptionError, f"padding: {COUNT} 0, got -1"),
        (conv2d_transpose, {"output_padding": -1}, OptionError, f"output_padding: {COUNT} 0, got"),
        (winners, {"k": 4}, OptionError, "k: expected 0 to 3, got 4"),
        (winners, {"k": -1}, OptionError, "k: expected 0 to 3, got -1"),
        (settle, {"momentum": -0.1}, OptionError, "momentum: expected a number from 0.0 to 1.0"),
        (settle, {"momentum": 1.5}, OptionError, "momentum: expected a number from 0.0 to 1.0"),
    ],
    ids=name_of,
)
def test_options_out_of_range_are_refused(function, options, error, message):
    with pytest.raises(error) as caught:
        call(function, host_arrays(function), **options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "function", [cd_gradient, decoder_gradient, mix, settle, settling_residual], ids=name_of
)
def test_gates_that_do_not_fit_are_refused(function):
    with pytest.raises(ShapeError) as caught:
        call(function, host_arrays(function), on=np.ones((2, 3)))
    assert str(caught.value) == (
        "on: expected shape (B, J) with J = 5 to match 5 capsules and a batch of 2, got (2, 3)"
    )


@pytest.mark.parametrize(
    ("function", "defaults"),
    [
        (im2col, {"stride": 1, "padding": 0}),
        (col2im, {"stride": 1, "padding": 0}),
        (conv2d, {"stride": 1, "padding": 0}),
        (conv2d_input_gradient, {"stride": 1, "padding": 0}),
        (conv2d_weight_gradient, {"stride": 1, "padding": 0}),
        (conv2d_transpose, {"stride": 1, "padding": 0, "output_padding": 0}),
        (conv2d_transpose_input_gradient, {"stride": 1, "padding": 0}),
        (conv2d_transpose_weight_gradient, {"stride": 1, "padding": 0}),
        (leaky_relu, {"slope": 0.2}),
        (leaky_relu_derivative, {"slope": 0.2}),
        (mix, {"steps": 1}),
        (cd_gradient, {"steps": 1}),
        (route, {"iterations": 3, "agreement": "cosine", "normalize": "inputs"}),
        (settle, {"strength": 1.0, "max_iter": 60, "tol": 0.0, "momentum": 0.9}),
        (settling_residual, {"strength": 1.0}),
        (settling_objective, {"strength": 1.0}),
    ],
    ids=name_of,
)
def test_options_left_out_are_those_of_the_documentation(rng, function, defaults):
    shapes, needed = CALLS[function]
    needed = {name: value for name, value in needed.items() if name not in defaults}
    arrays = [rng.normal(size=shape) for shape in shapes.values()]
    ours, spelt_out = function(*arrays, **needed), function(*arrays, **needed, **defaults)
    for left, right in zip(arrays_in(ours), arrays_in(spelt_out), strict=True):
        np.testing.assert_array_equal(left, right)
