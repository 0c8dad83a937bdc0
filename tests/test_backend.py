"""The door to array libraries: by name, from an array, and what it says when one is missing."""

import sys

import numpy as np
import pytest

from capsnp.backend import BACKENDS, backend_of, found_backends, get_backend, namespace
from capsnp.errors import BackendError, DtypeError, MixedBackendError, OptionError


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(OptionError, match=r"backend: expected one of numpy, .*, got 'numpie'"):
        get_backend("numpie")


def test_environment_names_the_default(monkeypatch):
    monkeypatch.delenv("CAPSNP_BACKEND", raising=False)
    assert get_backend().name == "numpy"
    monkeypatch.setenv("CAPSNP_BACKEND", "array-api-strict")
    assert get_backend().name == "array-api-strict"
    assert get_backend("numpy").name == "numpy"


def test_missing_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax.numpy", None)
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(BackendError, match=r"'jax' is not installed .*pip install 'capsnp\[jax\]'"):
        get_backend("jax")
    assert "pip install" in found_backends()["jax"]


def test_found_backends_names_every_one():
    found = found_backends()
    assert tuple(found) == BACKENDS
    assert found["numpy"] == np.__version__


def test_round_trip_through_each_library(library):
    backend = library.backend
    host = np.arange(6.0).reshape(2, 3)
    array = backend.asarray(host, dtype="float32")
    assert backend_of(array).name == backend.name
    back = backend.to_host(array)
    assert isinstance(back, np.ndarray)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, host)
    backend.synchronize()
    again = backend.asarray(array, dtype="float64")
    assert backend.to_host(again).dtype == np.float64


def test_bulk_noise_repeats_with_its_seed():
    backend = get_backend("numpy")
    assert np.array_equal(backend.rng(3).random(5), backend.rng(3).random(5))
    assert not np.array_equal(backend.rng(3).random(5), backend.rng(4).random(5))


def test_namespace_names_the_argument_that_is_no_array():
    with pytest.raises(DtypeError, match="W: expected an array, got list"):
        namespace(x=np.zeros(3), W=[1.0])
    with pytest.raises(DtypeError, match="x: expected an array, got float64"):
        namespace(x=np.float64(1.0))


def test_an_array_of_a_third_library_is_refused():
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(MixedBackendError, match=r"expected an array of numpy or .* array_api_stri"):
        get_backend("numpy").asarray(strict.zeros(3), dtype="float32")


def test_two_libraries_in_one_call_are_named():
    strict = pytest.importorskip("array_api_strict")
    with pytest.raises(
        MixedBackendError,
        match=r"expected arrays of one library, got x numpy, W array_api_strict",
    ):
        namespace(x=np.zeros(3), c=None, W=strict.zeros(3))
