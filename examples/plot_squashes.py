r"""
Other squashing functions, and gradients that they let through
==============================================================

Any function :math:`t(n)` that rises from 0 towards 1 makes a probability of a length n. On the way
back a gradient is multiplied by two numbers: its part along the capsule by :math:`t'(n)`, the rest
by :math:`t(n)/n`. They decide which capsules can learn.
"""

import os
from pathlib import Path

import numpy as np

from capsnp.functional import length
from capsnp.functional.squashes import SQUASHES, gradient_factors, power_squash
from capsnp.plotting import save, squash_family

# %%
# Six of them by name, with the lengths that they make of 0.1, 1 and 10.

z = np.asarray([[0.06, 0.08], [0.6, 0.8], [6.0, 8.0]])
for name, member in SQUASHES.items():
    print(f"{name:10} {member.formula:20} {length(member.apply(z)).round(4)}")

# %%
# Capsules are short when training begins. Sabour's squash multiplies their gradients by about
# twice their length; those with a slope of 1 at zero let them pass.

for name in SQUASHES:
    along, across = gradient_factors(np.asarray([0.01]), name)
    print(f"{name:10} at length 0.01: {along[0]:.3f} along, {across[0]:.3f} across")

# %%
# Four layers of capsules, each squashed: what is left of a gradient below them? Capsules of length
# 0.1 before the first squash become shorter from layer to layer, and each makes the factor of the
# next smaller.

for name, member in SQUASHES.items():
    x, left = np.asarray([0.06, 0.08]), np.ones(1)
    for _ in range(4):
        left = left * gradient_factors(length(x)[None], name).across
        x = member.apply(x)
    print(f"{name:10} {left[0]:.1e} of the gradient across the capsule")

# %%
# Once they are long, all turn capsules alike, by 1/n. But a capsule that is sure and wrong has to
# become shorter, and :math:`1 - 1/e^n` hardly lets it.

for name in SQUASHES:
    print(
        f"{name:10} at length 10: {gradient_factors(np.asarray([10.0]), name).along[0]:.5f} along"
    )

# %%
# The whole family has a power and a temperature: here a switch that is half on at length 2.

switch = power_squash(6, temperature=2.0)
print(switch.formula, [round(switch.law(n), 3) for n in (1.0, 1.8, 2.0, 2.2, 4.0)])

# %%
# In the picture a slope is a power of the length: left of 1 what short capsules get, right of it
# what long ones get.

figure = squash_family()
figure

# %%
# Where ``CAPSNP_EXAMPLES_OUT`` names a folder, the picture is written there.

if folder := os.environ.get("CAPSNP_EXAMPLES_OUT"):
    save(figure, Path(folder) / "plot_squashes.png")
