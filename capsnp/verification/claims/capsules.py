"""Section 2.2: capsules, squash and routing by agreement."""

import math

import numpy as np

from capsnp.functional import squash
from capsnp.verification.lab import Lab
from capsnp.verification.ledger import Checks, claim


@claim(
    "(4)",
    "2.2",
    "squash(z) has the direction of z and the length ‖z‖²/(1 + ‖z‖²)",
    function=squash,
    method="scalar arithmetic, one vector at a time",
)
def squash_by_scalars(lab: Lab) -> Checks:
    for _ in lab.cases(10):
        z = lab.normal(6, 8, scale=float(10.0 ** lab.rng.uniform(-3, 3)))
        expected = np.zeros_like(z)
        for n, vector in enumerate(z):
            norm = math.sqrt(math.fsum(number**2 for number in vector))
            for d, number in enumerate(vector):
                expected[n, d] = norm**2 / (1 + norm**2) * number / norm
        magnitude = np.linalg.norm(expected, axis=1, keepdims=True)
        yield lab.near(lab.run(squash, z), expected, magnitude=magnitude, terms=24)
