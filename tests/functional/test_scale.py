"""Wide layers fit where their predictions would not."""

import subprocess
import sys

import pytest

resource = pytest.importorskip("resource", reason="limits of memory need POSIX")

LIMITED = """
import resource
import numpy as np
from capsnp import cd_gradient, route

B, I, P, J, D, room = {B}, {I}, {P}, {J}, {D}, {room}
rng = np.random.default_rng(0)
x = rng.uniform(-0.3, 0.3, (B, I, P)).astype("float32")
W = rng.uniform(-0.1, 0.1, (I, J, D, P)).astype("float32")
route(x, W[:, :1], iterations=2)  # starts the threads, whose stacks take room of their own
with open("/proc/self/status") as status:
    used = next(int(line.split()[1]) for line in status if line.startswith("VmSize")) * 1024
limit = used + room
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
try:
    np.empty((B, I, J, D), dtype="float32")
except MemoryError:
    print("predictions do not fit")
c, z = route(x, W, iterations=2, normalize={normalize!r})
gradient = cd_gradient(x, W, c)
assert np.allclose(np.sum(c, axis=1 if {normalize!r} == "inputs" else 2), 1, rtol=1e-4)
assert np.all(np.isfinite(gradient)) and gradient.shape == W.shape
print("done")
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("normalize", ["inputs", "outputs"])
@pytest.mark.parametrize(
    ("sizes", "room"),
    [
        ({"B": 60, "I": 32768, "P": 8, "J": 10, "D": 16}, 0.9),
        ({"B": 50, "I": 576, "P": 8, "J": 1000, "D": 16}, 1.5),
    ],
    ids=["32,768 inputs", "1,000 outputs"],
)
def test_a_wide_layer_fits_where_its_predictions_do_not(sizes, room, normalize):
    code = LIMITED.format(**sizes, room=int(room * 2**30), normalize=normalize)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split("\n") == ["predictions do not fit", "done", ""], done.stderr
