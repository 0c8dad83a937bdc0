import numpy as np
import pytest

from capsnp import plotting
from capsnp.errors import OptionError
from capsnp.functional import squash


def flow(rng, k=3, m=2, D=4, P=5, R=3, **change):
    z = rng.normal(size=(R, m, D))
    parts = {
        "image": rng.random((28, 28, 1)),
        "seen": ((0, 0, 13, 13), (4, 4, 13, 13), None, None, None, None, None)[:k],
        "inputs": tuple(range(1000, 1000 + k)),
        "classes": ("T-shirt/top", "Ankle boot")[:m],
        "x": rng.normal(size=(k, P)),
        "W": rng.normal(size=(k, m, D, P)),
        "votes": rng.normal(size=(k, m, D)),
        "c": rng.random((R, k, m)),
        "c_others": rng.random((R, m)),
        "others": rng.normal(size=(m, D)),
        "n_others": 509,
        "z": z,
        "v": np.asarray(squash(z)),
    }
    return plotting.Flow(**parts | change)


@pytest.mark.parametrize("sizes", [{}, {"k": 1, "m": 1, "D": 16, "P": 8}, {"D": 40, "P": 17}])
def test_all_numbers_are_on_the_page(rng, sizes, assert_legible):
    shown = flow(rng, **sizes)
    seen = assert_legible(plotting.flow_diagram(shown))
    assert f"{shown.c[1, 0, 0]:.4f}".lstrip("0") in seen
    assert f"‖{np.linalg.norm(shown.z[0, 0]):.2f}‖" in seen
    assert f"‖{np.linalg.norm(shown.v[-1, -1]):.2f}‖" in seen
    assert {"input 1000", "509 other inputs", "class capsule T-shirt/top"} <= set(seen)


def test_too_many_inputs(rng):
    with pytest.raises(OptionError, match="flow: expected at most 6 inputs, got 7"):
        plotting.flow_diagram(flow(rng, k=7))
