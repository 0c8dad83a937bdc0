"""One-line mistakes in the mathematics, each with the check that has to notice it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One line of `capsnp` made wrong.

    Attributes
    ----------
    name : str
        The mistake's.
    file : str
        Below ``capsnp/``.
    old, new : str
        A part of one line that the file holds once, and the wrong one.
    killer : str
        What has to fail: the name of a claim of the ledger, or of a test as pytest takes it.
    """

    name: str
    file: str
    old: str
    new: str
    killer: str


ACTIVATIONS = "functional/activations.py"
CONTRASTIVE = "functional/contrastive.py"
CONVOLUTION = "functional/convolution.py"
COUPLING = "functional/_coupling.py"
AGREEMENT = "functional/_agreement.py"
ENERGY = "functional/energy.py"
LOWERING = "functional/lowering.py"
POLAR = "functional/_polar.py"
RBM = "functional/rbm.py"
ROUTING = "functional/routing.py"
WEIGHTINGS = "functional/_weightings.py"
PLAIN_ROUTING = "functional/_plain_routing.py"
ROUTING_BACKWARD = "functional/_routing_backward.py"
LOSSES = "functional/losses.py"
SETTLING = "functional/settling.py"
SQUASH = "functional/squash.py"
SQUASHES = "functional/squashes.py"
RADIAL = "functional/_radial.py"
VOTES = "functional/routings/_votes.py"
ROUNDS = "functional/routings/_loop.py"
KMEANS = "functional/routings/kmeans.py"
EM = "functional/routings/em.py"
ATTENTION = "functional/routings/attention.py"
INVERTED = "functional/routings/inverted.py"
WINNERS = "functional/winners.py"
UNITS = "functional/units.py"
RECTIFIED = "functional/_rectified.py"
HARMONIUM = "functional/harmonium.py"
TEMPERING = "functional/_tempering.py"
PSEUDO = "functional/pseudolikelihood.py"
NEURONS = "functional/neurons.py"
NEURON_MIXING = "functional/neuron_mixing.py"
NETWORK = "models/_convolutional.py"
CAPSNET = "models/_capsnet_network.py"
CAPSNET_DECODER = "models/_capsnet_decoder.py"
CAPSNET_TRAINING = "models/_capsnet_training.py"
CAPSULES = "models/_capsule_training.py"
CHAINS = "models/_chains.py"
DECODER = "models/capsule_decoder.py"
MACHINE_TRAINING = "models/_rbm_training.py"
ANNEALING = "evaluation/likelihood/annealing.py"
WEIGHTS = "evaluation/likelihood/weights.py"

RBM_MUTANTS = (
    Mutant(
        "hidden bias outside the sigmoid",
        RBM,
        "return sigmoid(_times(xp, v, w) + c)",
        "return sigmoid(_times(xp, v, w)) + c",
        "rbm_hidden_probability_bias",
    ),
    Mutant(
        "hidden bias with the printed sign",
        RBM,
        "return sigmoid(_times(xp, v, w) + c)",
        "return sigmoid(_times(xp, v, w) - c)",
        "rbm_hidden_probability_bias",
    ),
    Mutant(
        "visible bias with the printed sign",
        RBM,
        "return sigmoid(_times(xp, h, xp.matrix_transpose(w)) + b)",
        "return sigmoid(_times(xp, h, xp.matrix_transpose(w)) - b)",
        "rbm_visible_probability_bias",
    ),
    Mutant(
        "sign of the biases in (1)",
        RBM,
        "return -(coupling + _dot(xp, v, b) + _dot(xp, h, c))",
        "return -coupling + _dot(xp, v, b) + _dot(xp, h, c)",
        "rbm_energy_by_loops",
    ),
    Mutant(
        "energy without its minus",
        RBM,
        "return -(coupling + _dot(xp, v, b) + _dot(xp, h, c))",
        "return coupling + _dot(xp, v, b) + _dot(xp, h, c)",
        "rbm_energy_by_loops",
    ),
    Mutant(
        "free energy without its minus",
        RBM,
        "return -(_dot(xp, v, b) + xp.sum(softplus(_times(xp, v, w) + c), axis=-1))",
        "return _dot(xp, v, b) + xp.sum(softplus(_times(xp, v, w) + c), axis=-1)",
        "rbm_marginal_by_enumeration",
    ),
    Mutant(
        "hidden states not summed out: the linear part of softplus alone",
        RBM,
        "xp.sum(softplus(_times(xp, v, w) + c), axis=-1))",
        "xp.sum(_times(xp, v, w) + c, axis=-1))",
        "rbm_marginal_by_enumeration",
    ),
    Mutant(
        "sign of (2): model minus data",
        RBM,
        "return RBMGradient(data.w - model.w,",
        "return RBMGradient(model.w - data.w,",
        "rbm_cd_gradient_by_loops",
    ),
    Mutant(
        "hidden biases without the model's term",
        RBM,
        "data.c - model.c, data, model)",
        "data.c, data, model)",
        "rbm_cd_gradient_by_loops",
    ),
    Mutant(
        "sum over the batch in place of its mean",
        RBM,
        "products = xp.matrix_transpose(v) @ h / float(v.shape[0])",
        "products = xp.matrix_transpose(v) @ h",
        "rbm_cd_gradient_by_loops",
    ),
)

SQUASH_MUTANTS = (
    Mutant(
        "r/(1 + r²) in place of r²/(1 + r²)",
        POLAR,
        "return square / (1.0 + square)",
        "return at.r / (1.0 + square)",
        "length_is_a_probability",
    ),
    Mutant(
        "squash as a sigmoid of the length",
        POLAR,
        "return square / (1.0 + square)",
        "return at.r / (1.0 + at.r)",
        "length_is_a_probability",
    ),
    Mutant(
        "short capsules squashed by r²/(1 + r²), not r/(1 + r²), times z",
        SQUASH,
        "at.r / (1.0 + at.r * at.r))",
        "at.r * at.r / (1.0 + at.r * at.r))",
        "squash_by_scalars",
    ),
    Mutant(
        "long capsules not divided by their length",
        SQUASH,
        "divisor = xp.where(is_long, at.scaled, one)",
        "divisor = one",
        "squash_by_scalars",
    ),
    Mutant(
        "square root left out of unsquash",
        SQUASH,
        "root = xp.sqrt(at.scaled * xp.where(inside, gap, xp.ones_like(gap)) / (1.0 + at.r))",
        "root = at.scaled * xp.where(inside, gap, xp.ones_like(gap)) / (1.0 + at.r)",
        "unsquash_of_squash",
    ),
    Mutant(
        "1 − ‖x‖² for 1 − ‖x‖ in unsquash",
        SQUASH,
        "root = xp.sqrt(at.scaled * xp.where(inside, gap, xp.ones_like(gap)) / (1.0 + at.r))",
        "root = xp.sqrt(at.scaled * xp.where(inside, gap, xp.ones_like(gap)))",
        "unsquash_in_decimals",
    ),
    Mutant(
        "1 − ‖x‖² without its last digits",
        POLAR,
        "gap = gap - xp.sum(below, axis=axis, keepdims=True)",
        "gap = 1.0 * gap",
        "unsquash_in_decimals",
    ),
    Mutant(
        "squash may round to length 1, so that unsquash of it does not exist",
        SQUASH,
        "longest=1.0 - 2.0 * range_of(xp, z.dtype).eps)",
        "longest=1.0)",
        "settled_codes_are_short",
    ),
    Mutant(
        "Jacobian of squash without its radial part",
        SQUASH,
        "return (across + along * (2.0 / (1.0 + at.r * at.r))) / divisor * factor",
        "return across / divisor * factor",
        "squash_jacobian_by_complex_step",
    ),
    Mutant(
        "radial slope of squash without its 2",
        SQUASH,
        "return (across + along * (2.0 / (1.0 + at.r * at.r))) / divisor * factor",
        "return (across + along * (1.0 / (1.0 + at.r * at.r))) / divisor * factor",
        "squash_jacobian_by_complex_step",
    ),
    Mutant(
        "radial slope of unsquash without its 2",
        SQUASH,
        "return (across + along / (2.0 * rest))",
        "return (across + along / rest)",
        "unsquash_jacobian_by_complex_step",
    ),
    Mutant(
        "gradient of a length not normalised",
        SQUASH,
        "return unit(xp, z, at) * xp.expand_dims(g, axis=axis)",
        "return z * xp.expand_dims(g, axis=axis)",
        "length_gradient_by_complex_step",
    ),
    Mutant(
        "squares of huge vectors overflow",
        POLAR,
        "down = xp.where(is_large, limits.down * one, one)",
        "down = one",
        "tests/functional/test_squash.py::test_squash_is_right_over_the_whole_range",
    ),
    Mutant(
        "0/0 at the zero vector",
        POLAR,
        "return z * at.up / or_one(xp, at.scaled) * at.down",
        "return z * at.up / at.scaled * at.down",
        "tests/functional/test_squash.py::test_the_zero_vector_stays_zero",
    ),
)

ROUTING_MUTANTS = (
    Mutant(
        "softmax over outputs where inputs are asked for",
        WEIGHTINGS,
        "c = each(xp, lambda b: softmax(b, axis=1), logits)",
        "c = each(xp, lambda b: softmax(b, axis=0), logits)",
        "coefficients_sum_over_inputs",
    ),
    Mutant(
        "softmax over inputs where outputs are asked for",
        WEIGHTINGS,
        "return softmax(joined(xp, [b[:, s, :] for b in logits], axis=0), axis=0)",
        "return softmax(joined(xp, [b[:, s, :] for b in logits], axis=0), axis=1)",
        "coefficients_sum_over_outputs",
    ),
    Mutant(
        "softmax over the batch",
        WEIGHTINGS,
        "c = each(xp, lambda b: softmax(b, axis=1), logits)",
        "c = each(xp, lambda b: softmax(b, axis=2), logits)",
        "coefficients_sum_over_inputs",
    ),
    Mutant(
        "logits shared by the batch",
        WEIGHTINGS,
        "logits = each(xp, lambda b, part, z: b + part.agree(z), logits, votes, z)",
        "logits = each(xp, lambda b, part, z: b + xp.mean(part.agree(z), axis=2, keepdims=True)"
        " + 0.0 * part.agree(z), logits, votes, z)",
        "routing_of_each_example_alone",
    ),
    Mutant(
        "logits replaced, not added up",
        WEIGHTINGS,
        "logits = each(xp, lambda b, part, z: b + part.agree(z), logits, votes, z)",
        "logits = each(xp, lambda b, part, z: part.agree(z), logits, votes, z)",
        "route_by_cosine_over_inputs",
    ),
    Mutant(
        "disagreement in place of agreement",
        WEIGHTINGS,
        "logits = each(xp, lambda b, part, z: b + part.agree(z), logits, votes, z)",
        "logits = each(xp, lambda b, part, z: b - part.agree(z), logits, votes, z)",
        "route_by_cosine_over_outputs",
    ),
    Mutant(
        "one iteration too many",
        WEIGHTINGS,
        "for _ in range(options.iterations - 1):",
        "for _ in range(options.iterations):",
        "route_by_dot_over_inputs",
    ),
    Mutant(
        "the sum not weighed anew by the last coefficients",
        WEIGHTINGS,
        "z = each(xp, lambda part, c: part.weigh(c), votes, c)",
        "z = z",
        "route_by_dot_over_outputs",
    ),
    Mutant(
        "first coefficients 1/J where they are 1/I",
        WEIGHTINGS,
        'share = 1.0 / (n_inputs if options.normalize == "inputs" else n_outputs)',
        'share = 1.0 / (n_outputs if options.normalize == "inputs" else n_inputs)',
        "route_by_dot_over_inputs",
    ),
    Mutant(
        "one weighting with coefficients 1",
        ROUTING,
        'share = 1.0 / (I if normalize == "inputs" else J)',
        "share = 1.0",
        "route_once_over_inputs",
    ),
    Mutant(
        "inner product with z where Sabour's is with squash(z)",
        AGREEMENT,
        "return self._scale * self._squash.apply(z, axis=1)",
        "return self._scale * z",
        "route_by_dot_over_inputs",
    ),
    Mutant(
        "squash twice inside the loop",
        AGREEMENT,
        "return self._scale * self._squash.apply(z, axis=1)",
        "return self._scale * self._squash.apply(self._squash.apply(z, axis=1), axis=1)",
        "route_by_dot_over_outputs",
    ),
    Mutant(
        "cosine not divided by the length of z",
        AGREEMENT,
        "return unit(self._xp, z, polar(self._xp, z, axis=1))",
        "return z",
        "route_by_cosine_over_inputs",
    ),
    Mutant(
        "cosine not divided by the length of the prediction",
        AGREEMENT,
        "return self._xp.clip(found * self._inverse_lengths, min=-1.0, max=1.0)",
        "return self._xp.clip(found, min=-1.0, max=1.0)",
        "route_by_cosine_over_outputs",
    ),
    Mutant(
        "cosine divided by the squared length of the prediction",
        AGREEMENT,
        "return 1.0 / xp.sqrt(squares)",
        "return 1.0 / squares",
        "route_by_cosine_over_inputs",
    ),
    Mutant(
        "NaN for a capsule that is zero",
        AGREEMENT,
        "return xp.where(lengths > 0, 1.0 / _or_one(xp, lengths), xp.zeros_like(lengths))",
        "return 1.0 / lengths",
        "route_zero_capsules",
    ),
    Mutant(
        "W not transposed in the reverse pass",
        COUPLING,
        "flat = xp.reshape(xp.permute_dims(W, (1, 3, 0, 2)), (-1,))",
        "flat = xp.reshape(xp.permute_dims(W, (1, 2, 0, 3)), (-1,))",
        "reverse_is_adjoint",
    ),
    Mutant(
        "reverse pass without coefficients",
        COUPLING,
        "operator.imul(K[:, p, ...] @ z_JDB[s, ...], self._c[s, None, ...]),",
        "K[:, p, ...] @ z_JDB[s, ...],",
        "reverse_is_adjoint",
    ),
    Mutant(
        "predictions not weighed in (3)",
        COUPLING,
        "return flat(self._xp, self._c[s, None, ...] * x_PIB[p, ...])",
        "return flat(self._xp, x_PIB[None, p, ...])",
        "forward_by_loops",
    ),
    Mutant(
        "shared coefficients transposed",
        COUPLING,
        "self._c_JX = xp.reshape(xp.broadcast_to(c.mT[:, :, None], (J, I, P)), (J, 1, I * P))",
        "self._c_JX = xp.reshape("
        "xp.broadcast_to(xp.reshape(c, (J, I))[:, :, None], (J, I, P)), (J, 1, I * P))",
        "forward_by_loops",
    ),
    Mutant(
        "predictions of P and D exchanged",
        ROUTING,
        "flat_IBO = xp.permute_dims(x, (1, 0, 2)) @ xp.reshape(W, (I, J * D, P)).mT",
        "flat_IBO = xp.permute_dims(x, (1, 0, 2)) @ xp.reshape(W, (I, P, J * D))",
        "predictions_by_loops",
    ),
)

SQUASHES_MUTANTS = (
    Mutant(
        "n^p for n^(p-1) across a capsule that is short",
        SQUASHES,
        "low**rest / (1.0 + w) / T",
        "low ** (rest + 1.0) / (1.0 + w) / T",
        "other_squashes_by_scalars",
    ),
    Mutant(
        "slope of the family without its power",
        SQUASHES,
        "return p * xp.where(is_long, w, xp.ones_like(w)) / (1.0 + w)",
        "return xp.where(is_long, w, xp.ones_like(w)) / (1.0 + w)",
        "other_squashes_by_complex_step",
    ),
    Mutant(
        "the slope of short capsules for all",
        SQUASHES,
        "return p * xp.where(is_long, w, xp.ones_like(w)) / (1.0 + w)",
        "return p * xp.ones_like(w) / (1.0 + w)",
        "other_squashes_by_complex_step",
    ),
    Mutant(
        "inverse of the family without its root",
        SQUASHES,
        "return T * (at.scaled / gap) ** (1.0 / p) / at.up ** (1.0 / p)",
        "return T * (at.scaled / gap) / at.up",
        "other_squashes_come_back",
    ),
    Mutant(
        "temperature left out on the way back",
        SQUASHES,
        "return T * (at.scaled / gap) ** (1.0 / p) / at.up ** (1.0 / p)",
        "return (at.scaled / gap) ** (1.0 / p) / at.up ** (1.0 / p)",
        "other_squashes_come_back",
    ),
    Mutant(
        "root of a subnormal length with its lost digits",
        SQUASHES,
        "return (at.scaled / T) ** first / at.up**first * low**rest",
        "return (at.r / T) ** first * low**rest",
        "tests/functional/test_squashes.py::test_right_over_the_whole_range",
    ),
    Mutant(
        "1 − e^-n by a difference: short capsules lose their digits",
        SQUASHES,
        "-xp.expm1(-at.r) / or_one(xp, at.r)",
        "(1.0 - xp.exp(-at.r)) / or_one(xp, at.r)",
        "tests/functional/test_squashes.py::test_right_over_the_whole_range",
    ),
    Mutant(
        "−log(1 − t) without the digits next to 1",
        SQUASHES,
        "-xp.log1p(-short), -xp.log(rest))",
        "-xp.log1p(-short), -xp.log(1.0 - at.r))",
        "tests/functional/test_squashes.py::test_inverse_is_right_from_zero_to_the_unit_sphere",
    ),
    Mutant(
        "the ball passes gradients along capsules that it has cut",
        SQUASHES,
        "lambda xp, r: xp.where(r > 1.0, xp.zeros_like(r), xp.ones_like(r)),",
        "lambda xp, r: xp.ones_like(r),",
        "ball_is_a_projection",
    ),
    Mutant(
        "derivative along the capsule as across it",
        RADIAL,
        "return (across + along * law.elasticity(xp, at.r)) / divisor * factor",
        "return g / divisor * factor",
        "other_squashes_by_complex_step",
    ),
    Mutant(
        "lengths that round to 1 are not shortened",
        RADIAL,
        "longest = 1.0 if law.back is None else 1.0 - 2.0 * range_of(xp, z.dtype).eps",
        "longest = 1.0",
        "tests/functional/test_squashes.py::test_invariants",
    ),
)

ROUTINGS_MUTANTS = (
    Mutant(
        "first leaky weighting shares with no orphan",
        ROUNDS,
        "c = even(xp, u, 1.0 / (u.shape[1] + loop.leaks))",
        "c = even(xp, u, 1.0 / u.shape[1])",
        "leaky_routing_by_hand",
    ),
    Mutant(
        "the orphan's logit follows the largest",
        ROUNDS,
        "return odds / (xp.exp(-largest) + xp.sum(odds, axis=1, keepdims=True))",
        "return odds / (1.0 + xp.sum(odds, axis=1, keepdims=True))",
        "leaky_routing_by_hand",
    ),
    Mutant(
        "k-means adds its agreements up",
        ROUNDS,
        "logits = logits + agreement if loop.adds_up else agreement",
        "logits = logits + agreement",
        "kmeans_routing_by_hand",
    ),
    Mutant(
        "gradient through the last agreement alone",
        ROUNDS,
        "db = db + pulled if loop.adds_up else pulled",
        "db = pulled",
        "leaky_routing_by_hand",
    ),
    Mutant(
        "votes without the part of earlier sums",
        ROUNDS,
        "du = du + outer(before.c, dz)",
        "du = du + 0.0 * outer(before.c, dz)",
        "kmeans_routing_by_hand",
    ),
    Mutant(
        "softmax's gradient without its mean",
        VOTES,
        "return c * (dc - xp.sum(c * dc, axis=1, keepdims=True))",
        "return c * dc",
        "self_attention_by_hand",
    ),
    Mutant(
        "derivative of a direction not divided by the length",
        VOTES,
        "across * at.up / or_one(xp, at.scaled) * at.down, 0.0 * g)",
        "across, 0.0 * g)",
        "kmeans_routing_by_hand",
    ),
    Mutant(
        "temperature of the clusters left out on the way back",
        KMEANS,
        "return unit_vjp(xp, z, dp) / temperature",
        "return unit_vjp(xp, z, dp)",
        "kmeans_routing_by_hand",
    ),
    Mutant(
        "centres as long as their sums",
        KMEANS,
        "return unit(xp, z, polar(xp, z, 2)) / temperature",
        "return z / temperature",
        "kmeans_routing_by_hand",
    ),
    Mutant(
        "attention not divided by √D",
        ATTENTION,
        "return xp.sum(u, axis=2) / math.sqrt(u.shape[3])",
        "return xp.sum(u, axis=2)",
        "self_attention_by_hand",
    ),
    Mutant(
        "the votes attended to are constants in the gradient",
        ATTENTION,
        "du = outer(k, g) + outer(db, m) + dm[:, :, None, :]",
        "du = outer(k, g) + outer(db, m)",
        "self_attention_by_hand",
    ),
    Mutant(
        "prior's gradient of the first example alone",
        ATTENTION,
        'return votes_vjp(xp, x, W, du) | {"prior": xp.sum(dk, axis=0).mT}',
        'return votes_vjp(xp, x, W, du) | {"prior": dk[0, ...].mT}',
        "tests/functional/test_routings.py::test_gradients_are_those_of_automatic_differentiation",
    ),
    Mutant(
        "poses normalised by their length without √D",
        INVERTED,
        "pose = math.sqrt(z.shape[-1]) * unit(xp, centred, polar(xp, centred, 2))",
        "pose = unit(xp, centred, polar(xp, centred, 2))",
        "inverted_attention_by_hand",
    ),
    Mutant(
        "the mean of a pose is a constant in the gradient",
        INVERTED,
        "return pulled - xp.mean(pulled, axis=-1, keepdims=True)",
        "return pulled",
        "inverted_attention_by_hand",
    ),
    Mutant(
        "the gain left out on the way back",
        INVERTED,
        "return _normalised_vjp(xp, z, dp if gain is None else dp * gain)",
        "return _normalised_vjp(xp, z, dp)",
        "inverted_attention_by_hand",
    ),
    Mutant(
        "activations of the inputs left out",
        EM,
        "R = c * a[:, None, :]",
        "R = c * xp.ones_like(a)[:, None, :]",
        "em_routing_by_hand",
    ),
    Mutant(
        "log v for log √v in the cost",
        EM,
        "cost = 0.5 * xp.sum(xp.log(variance / steps.prior_variance), axis=2)",
        "cost = xp.sum(xp.log(variance / steps.prior_variance), axis=2)",
        "em_routing_by_hand",
    ),
    Mutant(
        "β_u once for all dimensions",
        EM,
        "cost = cost if beta_u is None else cost + u.shape[3] * beta_u",
        "cost = cost if beta_u is None else cost + beta_u",
        "em_routing_by_hand",
    ),
    Mutant(
        "the E-step forgets the activations",
        EM,
        "height = log_sigmoid(at.s) - 0.5 * xp.sum(xp.log(at.variance), axis=2)",
        "height = -0.5 * xp.sum(xp.log(at.variance), axis=2)",
        "em_routing_by_hand",
    ),
    Mutant(
        "the length of z is the odds of the activation, not their root",
        EM,
        "z = unit(xp, last.mean, polar(xp, last.mean, 2)) * xp.exp(0.5 * s)[..., None]",
        "z = unit(xp, last.mean, polar(xp, last.mean, 2)) * xp.exp(s)[..., None]",
        "em_routing_by_hand",
    ),
    Mutant(
        "the inverse temperature stays at its first value",
        EM,
        "return self.inverse_temperature * (1.0 - 0.95 ** (t + 1))",
        "return self.inverse_temperature * (1.0 - 0.95)",
        "em_routing_by_hand",
    ),
    Mutant(
        "variances without the weight of the prior",
        EM,
        "variance = (spread + share) / (total + steps.prior_votes)[..., None]",
        "variance = (spread + share) / or_one(xp, total)[..., None]",
        "em_routing_by_hand",
    ),
    Mutant(
        "gradient of the E-step without its determinant",
        EM,
        "self._log_determinant = -together",
        "self._log_determinant = 0.0 * together",
        "em_routing_by_hand",
    ),
    Mutant(
        "gradient of the sums of shares without the variances' part",
        EM,
        "d_total = -ds * at.cost - xp.sum(d_spread * at.variance, axis=2)",
        "d_total = -ds * at.cost",
        "em_routing_by_hand",
    ),
    Mutant(
        "lengths of the inputs are constants in the gradient",
        EM,
        'gradient["x"] = gradient["x"] + length_vjp(x, back.a)',
        'gradient["x"] = gradient["x"] + 0.0 * x',
        "em_routing_by_hand",
    ),
)

ENERGY_MUTANTS = (
    Mutant(
        "sign of (7)",
        ENERGY,
        "return -_sum_on(xp, state, log_square)",
        "return _sum_on(xp, state, log_square)",
        "energy_by_loops",
    ),
    Mutant(
        "log ‖z‖ for log ‖z‖² in (7)",
        ENERGY,
        "finite = 2.0 * (xp.log(or_one(xp, at.scaled)) - xp.log(at.up * at.down))",
        "finite = xp.log(or_one(xp, at.scaled)) - xp.log(at.up * at.down)",
        "energy_by_loops",
    ),
    Mutant(
        "capsules that are off counted as on",
        ENERGY,
        "return xp.sum(xp.where(state == 0, xp.zeros_like(log_square), log_square), axis=-1)",
        "return xp.sum(log_square, axis=-1)",
        "energy_by_loops",
    ),
    Mutant(
        "NaN for a zero capsule that is off",
        ENERGY,
        "return xp.sum(xp.where(state == 0, xp.zeros_like(log_square), log_square), axis=-1)",
        "return xp.sum(state * log_square, axis=-1)",
        "energy_of_zero",
    ),
    Mutant(
        "log(1 + ‖z‖) for log(1 + ‖z‖²) in (10)",
        ENERGY,
        "each = xp.where(is_large, _log_square(xp, at), xp.log1p(at.r * at.r))",
        "each = xp.where(is_large, _log_square(xp, at), xp.log1p(at.r))",
        "free_energy_by_enumeration",
    ),
    Mutant(
        "sign of (10)",
        ENERGY,
        "return -xp.sum(each, axis=-1)",
        "return xp.sum(each, axis=-1)",
        "free_energy_by_enumeration",
    ),
    Mutant(
        "(8) with the energy's sign",
        ENERGY,
        "return -energy(x, on, W, c)",
        "return energy(x, on, W, c)",
        "joint_by_loops",
    ),
    Mutant(
        "one hidden state left out of the sum",
        ENERGY,
        "for start in range(0, 2**J, size):",
        "for start in range(1, 2**J, size):",
        "sum_over_states_by_product",
    ),
)

GRADIENT_MUTANTS = (
    Mutant(
        "sign of (15): the model's term added",
        CONTRASTIVE,
        "return layer.gradient((x, mean * data), (mixing.x_in, -mean * model))",
        "return layer.gradient((x, mean * data), (mixing.x_in, mean * model))",
        "algorithm_1_by_loops",
    ),
    Mutant(
        "sign of (15) as printed: data and model exchanged",
        CONTRASTIVE,
        "return layer.gradient((x, mean * data), (mixing.x_in, -mean * model))",
        "return layer.gradient((x, -mean * data), (mixing.x_in, mean * model))",
        "algorithm_1_by_loops",
    ),
    Mutant(
        "the factor 2 of (18) left out",
        CONTRASTIVE,
        "mean = 2.0 / x.shape[0]",
        "mean = 1.0 / x.shape[0]",
        "algorithm_1_by_loops",
    ),
    Mutant(
        "sum over the batch in place of its mean in (18)",
        CONTRASTIVE,
        "mean = 2.0 / x.shape[0]",
        "mean = 2.0",
        "algorithm_1_by_loops",
    ),
    Mutant(
        "model's term with the data's inputs",
        CONTRASTIVE,
        "return layer.gradient((x, mean * data), (mixing.x_in, -mean * model))",
        "return layer.gradient((x, mean * data), (x, -mean * model))",
        "algorithm_1_by_loops",
    ),
    Mutant(
        "c not reused: mixing with coefficients 1/I",
        CONTRASTIVE,
        "mixing = _mix(xp, layer, x, steps, gate, z)",
        "mixing = _mix(xp, coupling(xp, W, xp.ones_like(c) / x.shape[1]), x, steps, gate, z)",
        "coefficients_are_kept",
    ),
    Mutant(
        "squash twice in Algorithm 1",
        CONTRASTIVE,
        "x_out = x_out_model = gated(xp, squash(z), gate)",
        "x_out = x_out_model = gated(xp, squash(squash(z)), gate)",
        "algorithm_1_by_loops",
    ),
    Mutant(
        "rebuilt inputs not squashed",
        CONTRASTIVE,
        "x_in = squash(layer.reverse(x_out_model))",
        "x_in = layer.reverse(x_out_model)",
        "algorithm_1_by_loops",
    ),
    Mutant(
        "detached iteration: each mixing step starts at the data",
        CONTRASTIVE,
        "x_in = squash(layer.reverse(x_out_model))",
        "x_in = squash(layer.reverse(x_out))",
        "more_mixing_by_loops",
    ),
    Mutant(
        "pre-activations z for the squashed x in the reverse pass",
        CONTRASTIVE,
        "x_in = squash(layer.reverse(x_out_model))",
        "x_in = squash(layer.reverse(z_model))",
        "algorithm_1_by_loops",
    ),
    Mutant(
        "capsules that are off learn",
        CONTRASTIVE,
        "data = gated(xp, expert_gradient(mixing.z), gate)",
        "data = expert_gradient(mixing.z)",
        "gates_by_loops",
    ),
    Mutant(
        "squash(z) for z/(1 + ‖z‖²) in (18)",
        CONTRASTIVE,
        "data = gated(xp, expert_gradient(mixing.z), gate)",
        "data = gated(xp, squash(mixing.z), gate)",
        "algorithm_1_by_loops",
    ),
    Mutant(
        "1 + ‖z‖ for 1 + ‖z‖² in (18)",
        CONTRASTIVE,
        "return (z * at.down) / (at.down * at.down + r * r) * at.down",
        "return (z * at.down) / (at.down * at.down + at.down * r) * at.down",
        "weight_of_an_expert",
    ),
    Mutant(
        "sign of the rule for U",
        CONTRASTIVE,
        "return layer.gradient((mean * x_out, data), (-mean * x_model, model))",
        "return layer.gradient((mean * x_out, data), (mean * x_model, model))",
        "rule_for_the_decoder",
    ),
    Mutant(
        "the factor 2 of the rule for U left out",
        CONTRASTIVE,
        "mean = 2.0 / x_out.shape[0]",
        "mean = 1.0 / x_out.shape[0]",
        "rule_for_the_decoder",
    ),
    Mutant(
        "rebuilt codes not squashed in the rule for U",
        CONTRASTIVE,
        "x_model = gated(xp, squash(layer.reverse(z_model)), gate)",
        "x_model = gated(xp, layer.reverse(z_model), gate)",
        "rule_for_the_decoder",
    ),
    Mutant(
        "the rule for U without w(z) in the data's term",
        CONTRASTIVE,
        "data, model = expert_gradient(z_in), expert_gradient(z_model)",
        "data, model = z_in, expert_gradient(z_model)",
        "rule_for_the_decoder",
    ),
    Mutant(
        "gradient not multiplied by c, all examples sharing it",
        COUPLING,
        "total = xp.reshape(self._scaled(product), (J, D, I, P))",
        "total = xp.reshape(product, (J, D, I, P))",
        "algorithm_1_by_loops",
    ),
    Mutant(
        "gradient not multiplied by c, one set for each example",
        COUPLING,
        "total(self._weighted(x, s, p) @ z[s, ...].mT for x, z in pairs)",
        "total(flat(xp, x[None, p, ...]) @ z[s, ...].mT for x, z in pairs)",
        "algorithm_1_by_loops",
    ),
    Mutant(
        "the second term of the gradient left out",
        COUPLING,
        "total(self._weighted(x, s, p) @ z[s, ...].mT for x, z in pairs)",
        "total(self._weighted(x, s, p) @ z[s, ...].mT for x, z in pairs[:1])",
        "algorithm_1_by_loops",
    ),
)

LAYER_MUTANTS = (
    Mutant(
        "unshifted softmax",
        ACTIVATIONS,
        "weights = xp.exp(x - xp.max(x, axis=axis, keepdims=True))",
        "weights = xp.exp(x)",
        "softmax_in_decimals",
    ),
    Mutant(
        "softmax normalised over the whole array",
        ACTIVATIONS,
        "return weights / xp.sum(weights, axis=axis, keepdims=True)",
        "return weights / xp.sum(weights)",
        "softmax_in_decimals",
    ),
    Mutant(
        "softmax gradient without the mean of g",
        ACTIVATIONS,
        "return weighted - probability * xp.sum(weighted, axis=axis, keepdims=True)",
        "return weighted",
        "softmax_gradients_by_complex_step",
    ),
    Mutant(
        "unshifted logsumexp",
        ACTIVATIONS,
        "shift = xp.where(xp.isfinite(largest), largest, xp.zeros_like(largest))",
        "shift = xp.zeros_like(largest)",
        "logsumexp_in_decimals",
    ),
    Mutant(
        "the shift not added back",
        ACTIVATIONS,
        "total_log = xp.squeeze(shift, axis=axis) + log_total",
        "total_log = log_total",
        "logsumexp_in_decimals",
    ),
    Mutant(
        "the sigmoid's exponential overflows",
        ACTIVATIONS,
        "decay = xp.exp(-xp.abs(x))",
        "decay = xp.exp(-x)",
        "activations_over_all_floats",
    ),
    Mutant(
        "log(1 + t) for log1p(t): small values of softplus lose their digits",
        ACTIVATIONS,
        "return xp.maximum(x, xp.zeros_like(x)) + xp.log1p(xp.exp(-xp.abs(x)))",
        "return xp.maximum(x, xp.zeros_like(x)) + xp.log(1.0 + xp.exp(-xp.abs(x)))",
        "softplus_in_decimals",
    ),
    Mutant(
        "σ² for σ(1 − σ)",
        ACTIVATIONS,
        "return sigmoid(x) * sigmoid(-x)",
        "return sigmoid(x) * sigmoid(x)",
        "sigmoid_derivatives_by_complex_step",
    ),
    Mutant(
        "derivative of log σ is σ(x)",
        ACTIVATIONS,
        "return sigmoid(-x)",
        "return sigmoid(x)",
        "sigmoid_derivatives_by_complex_step",
    ),
    Mutant(
        "log σ with the wrong inner sign",
        ACTIVATIONS,
        "return -softplus(-x)",
        "return -softplus(x)",
        "log_sigmoid_in_decimals",
    ),
    Mutant(
        "leaky ReLU with min for max",
        ACTIVATIONS,
        "return xp.maximum(x, float(slope) * x)",
        "return xp.minimum(x, float(slope) * x)",
        "rectifiers_by_cases",
    ),
    Mutant(
        "derivative of the leaky ReLU with its cases exchanged",
        ACTIVATIONS,
        "return xp.where(x > 0, xp.ones_like(x), xp.full_like(x, float(slope)))",
        "return xp.where(x < 0, xp.ones_like(x), xp.full_like(x, float(slope)))",
        "rectifier_derivatives_by_complex_step",
    ),
    Mutant(
        "number of patches off by one",
        CONVOLUTION,
        "return (size[0] - kernel[0]) // stride[0] + 1, (size[1] - kernel[1]) // stride[1] + 1",
        "return (size[0] - kernel[0]) // stride[0], (size[1] - kernel[1]) // stride[1]",
        "conv2d_by_loops",
    ),
    Mutant(
        "as many patches as with padding 'same'",
        CONVOLUTION,
        "return (size[0] - kernel[0]) // stride[0] + 1, (size[1] - kernel[1]) // stride[1] + 1",
        "return -(-size[0] // stride[0]), -(-size[1] // stride[1])",
        "sizes_of_figure_1",
    ),
    Mutant(
        "stride off by one",
        CONVOLUTION,
        "return slice(start, start + step * (count - 1) + 1, step)",
        "return slice(start, start + (step + 1) * (count - 1) + 1, step + 1)",
        "im2col_by_loops",
    ),
    Mutant(
        "kernel turned over: a convolution, not a correlation",
        CONVOLUTION,
        "rows = [images[:, :, _every(u, sw, out_w), :] for u in range(kw)]",
        "rows = [images[:, :, _every(kw - 1 - u, sw, out_w), :] for u in range(kw)]",
        "conv2d_by_loops",
    ),
    Mutant(
        "vertical and horizontal stride exchanged",
        CONVOLUTION,
        "return xp.concat([wide[:, _every(u, sh, out_h), :, :] for u in range(kh)], axis=3)",
        "return xp.concat([wide[:, _every(u, sw, out_h), :, :] for u in range(kh)], axis=3)",
        "im2col_by_loops",
    ),
    Mutant(
        "col2im overwrites where patches overlap",
        CONVOLUTION,
        "images = at(images)[:, :, _every(u, sw, out_w), :].add(part)",
        "images = at(images)[:, :, _every(u, sw, out_w), :].set(part)",
        "col2im_by_loops",
    ),
    Mutant(
        "padding not cut off again",
        CONVOLUTION,
        "return images[:, ph : ph + height, pw : pw + width, :]",
        "return images[:, :height, :width, :]",
        "col2im_by_loops",
    ),
    Mutant(
        "bias of a convolution left out",
        CONVOLUTION,
        "out = out + bias",
        "out = out + 0.0 * bias",
        "conv2d_by_loops",
    ),
    Mutant(
        "bias of a transposed convolution left out",
        CONVOLUTION,
        "return images if bias is None else images + bias",
        "return images",
        "conv2d_transpose_by_loops",
    ),
    Mutant(
        "bias gradient over one image alone",
        CONVOLUTION,
        "return xp.sum(gradient, axis=(0, 1, 2))",
        "return xp.sum(gradient, axis=(1, 2))[0, :]",
        "conv2d_bias_gradient_by_loops",
    ),
    Mutant(
        "a reshape of the weight where its transpose is meant",
        CONVOLUTION,
        "columns = xp.matmul(_rows(xp, gradient), _rows(xp, weight).mT)",
        "columns = xp.matmul(_rows(xp, gradient), xp.reshape(weight, (weight.shape[3], -1)))",
        "conv2d_input_gradient_by_complex_step",
    ),
    Mutant(
        "padding forgotten in the gradient of a transposed convolution",
        CONVOLUTION,
        "return conv2d(gradient, weight, stride=stride, padding=padding)",
        "return conv2d(gradient, weight, stride=stride)",
        "conv2d_transpose_input_gradient_by_complex_step",
    ),
    Mutant(
        "weight gradient flattened in another order than the weight",
        CONVOLUTION,
        "return xp.reshape(flat, (*kernel, images.shape[3], gradient.shape[3]))",
        "return xp.permute_dims("
        "xp.reshape(flat, (*kernel[::-1], images.shape[3], gradient.shape[3])), (1, 0, 2, 3))",
        "conv2d_weight_gradient_by_complex_step",
    ),
    Mutant(
        "padding counted once where it is on both sides",
        CONVOLUTION,
        "(codes.shape[1 + k] - 1) * strides[k] - 2 * pads[k] + kernel[k] + more[k] for k in (0, 1)",
        "(codes.shape[1 + k] - 1) * strides[k] - pads[k] + kernel[k] + more[k] for k in (0, 1)",
        "conv2d_transpose_by_loops",
    ),
    Mutant(
        "sign of the weight gradient of a transposed convolution",
        CONVOLUTION,
        "return conv2d_weight_gradient(codes, gradient, kernel, stride=stride, padding=padding)",
        "return conv2d_weight_gradient(-codes, gradient, kernel, stride=stride, padding=padding)",
        "conv2d_transpose_weight_gradient_by_complex_step",
    ),
    Mutant(
        "Fourier: the conjugate of W forgotten",
        LOWERING,
        "G += [[c for c, _ in w], [s for _, s in w], [c + s for c, s in w]]",
        "G += [[c for c, _ in w], [-s for _, s in w], [c - s for c, s in w]]",
        "lowerings_by_loops",
    ),
    Mutant(
        "Fourier: pairs of conjugate frequencies counted once",
        LOWERING,
        "C.append([2.0 / n * (c + s) for c, s in y])",
        "C.append([1.0 / n * (c + s) for c, s in y])",
        "lowerings_by_loops",
    ),
    Mutant(
        "Fourier: a grid that wraps around",
        LOWERING,
        "maps = _fourier_maps((codes[0] + taps - 1, codes[1] + taps - 1), taps, codes)",
        "maps = _fourier_maps((codes[0], codes[1]), taps, codes)",
        "lowerings_by_loops",
    ),
    Mutant(
        "error of the autoencoder with its sign turned",
        NETWORK,
        "error = sigmoid(logits) - images",
        "error = images - sigmoid(logits)",
        "autoencoder_gradient_by_complex_step",
    ),
    Mutant(
        "gradient of the squared error for that of the cross-entropy",
        NETWORK,
        "e1 = first.from_images(error)",
        "e1 = first.from_images(error * sigmoid(logits) * sigmoid(-logits))",
        "autoencoder_gradient_by_complex_step",
    ),
    Mutant(
        "tied filters of the second layer: the decoder's share left out",
        NETWORK,
        "second.to_weight(iadd(x2.mT @ h2, e2.mT @ y2))",
        "second.to_weight(x2.mT @ h2)",
        "autoencoder_gradient_by_complex_step",
    ),
    Mutant(
        "tied filters of the first layer: the encoder's share left out",
        NETWORK,
        "first.to_weight(iadd(x1.mT @ h1, e1.mT @ y1))",
        "first.to_weight(e1.mT @ y1)",
        "autoencoder_gradient_by_complex_step",
    ),
    Mutant(
        "dropout not applied on the way back",
        NETWORK,
        "g_code = self._before_relu(mask * second.to_codes(e2 @ w2), code)",
        "g_code = self._before_relu(second.to_codes(e2 @ w2), code)",
        "autoencoder_gradient_by_complex_step",
    ),
    Mutant(
        "leaky ReLU forgotten on the way back",
        NETWORK,
        "g_a1 = self._before_relu(second.to_images(h2 @ w2.mT), a1)",
        "g_a1 = second.to_images(h2 @ w2.mT)",
        "autoencoder_gradient_by_complex_step",
    ),
    Mutant(
        "slope of the leaky ReLU 0 on the way back",
        NETWORK,
        "return gradient * xp.maximum(positive, float(self.slope))",
        "return gradient * positive",
        "autoencoder_gradient_by_complex_step",
    ),
    Mutant(
        "the leaky ReLU of another layer on the way back",
        NETWORK,
        "g_d1 = self._before_relu(first.to_codes(e1 @ w1), d1)",
        "g_d1 = self._before_relu(first.to_codes(e1 @ w1), a1)",
        "autoencoder_gradient_by_complex_step",
    ),
    Mutant(
        "cross-entropy with the target's sign turned",
        NETWORK,
        "cross_entropy = xp.sum(softplus(logits) - images * logits)",
        "cross_entropy = xp.sum(softplus(logits) + images * logits)",
        "autoencoder_loss_by_loops",
    ),
    Mutant(
        "the decoder's bias not passed through its leaky ReLU",
        NETWORK,
        '"decoder_bias2": conv2d_bias_gradient(g_d1),',
        '"decoder_bias2": conv2d_bias_gradient(first.to_codes(e1 @ w1)),',
        "autoencoder_gradient_by_complex_step",
    ),
)

CAPSNET_MUTANTS = (
    Mutant(
        "gradient of the rebuilt image's squared error without its 2",
        CAPSNET,
        "layers, 2.0 * self.reconstruction * error, products)",
        "layers, self.reconstruction * error, products)",
        "capsnet_gradient_by_complex_step",
    ),
    Mutant(
        "mask of the classes not applied on the way back",
        CAPSNET,
        "xp.reshape(g, v.shape) * mask[:, :, None], gradient",
        "xp.reshape(g, v.shape), gradient",
        "capsnet_gradient_by_complex_step",
    ),
    Mutant(
        "rebuilt image without a share in the capsules' gradient",
        CAPSNET,
        "g_v = g_v + g_masked",
        "g_v = g_v + 0.0 * g_masked",
        "capsnet_gradient_by_complex_step",
    ),
    Mutant(
        "rectifier forgotten on the way back through the first convolution",
        CAPSNET,
        "g_a = second.to_images(h2 @ w2.mT) * xp.astype(a > 0, a.dtype)",
        "g_a = second.to_images(h2 @ w2.mT)",
        "capsnet_gradient_by_complex_step",
    ),
    Mutant(
        "squash of the primary capsules forgotten on the way back",
        CAPSNET,
        'norm.squash_vjp(s, routed.pop("x"))',
        'routed.pop("x")',
        "capsnet_gradient_by_complex_step",
    ),
    Mutant(
        "squash of the class capsules at their squashed values on the way back",
        CAPSNET,
        "self.router.back(x, W, norm.squash_vjp(z, g_v), record, **own)",
        "self.router.back(x, W, norm.squash_vjp(v, g_v), record, **own)",
        "capsnet_gradient_by_complex_step",
    ),
    Mutant(
        "mask of the classes in another order",
        CAPSNET,
        "reshape(v * mask[:, :, None], (v.shape[0], -1))",
        "reshape(v * mask[:, ::-1, None], (v.shape[0], -1))",
        "capsnet_loss_by_loops",
    ),
    Mutant(
        "gradient of neighbouring pixels laid out as channels",
        CAPSNET,
        'if self.layout == "channels":',
        "if True:",
        "tests/models/test_capsnet_network.py::test_gradient_is_the_slope_of_the_loss",
    ),
    Mutant(
        "slope of the sigmoid without its second factor",
        CAPSNET_DECODER,
        "g = g * pixels * (1.0 - pixels)",
        "g = g * pixels",
        "capsnet_gradient_by_complex_step",
    ),
    Mutant(
        "rectifiers of the decoder forgotten on the way back",
        CAPSNET_DECODER,
        "g = g * xp.astype(below > 0, g.dtype)",
        "g = g * xp.ones_like(below)",
        "capsnet_gradient_by_complex_step",
    ),
    Mutant(
        "learning rate that falls in a step as in a pass",
        CAPSNET_TRAINING,
        "model.decay ** (self.step / self.per_epoch)",
        "model.decay**self.step",
        "tests/models/test_capsnet.py::test_the_rate_falls_by_the_decay_in_a_pass",
    ),
    Mutant(
        "images moved one pixel too far at one end",
        CAPSNET_TRAINING,
        "integers(2 * most + 1, size",
        "integers(2 * most, size",
        "tests/models/test_capsnet.py::test_images_are_moved_and_zeros_come_in",
    ),
)

SETTLING_MUTANTS = (
    Mutant(
        "prior on the squashed code: λy for λz",
        SETTLING,
        "residual = target - gated(xp, gram(y), gate) - float(strength) * z",
        "residual = target - gated(xp, gram(y), gate) - float(strength) * y",
        "settled_code_solves_its_equation",
    ),
    Mutant(
        "codes do not explain each other away",
        SETTLING,
        "residual = target - gated(xp, gram(y), gate) - float(strength) * z",
        "residual = target - float(strength) * z",
        "settled_code_by_general_minimiser",
    ),
    Mutant(
        "detached iteration: the residual of the codes before squash",
        SETTLING,
        "residual = target - gated(xp, gram(y), gate) - float(strength) * z",
        "residual = target - gated(xp, gram(z), gate) - float(strength) * z",
        "settled_code_from_many_starts",
    ),
    Mutant(
        "capsules held off pull on the others",
        SETTLING,
        "residual = target - gated(xp, gram(y), gate) - float(strength) * z",
        "residual = target - gram(y) - float(strength) * z",
        "capsules_held_off",
    ),
    Mutant(
        "step for a slope of ½",
        SETTLING,
        "_LARGEST_SLOPE = 3.0 * math.sqrt(3.0) / 8.0",
        "_LARGEST_SLOPE = 0.5",
        "step_by_eigenvalues",
    ),
    Mutant(
        "step without the slope of the prior",
        SETTLING,
        "step = 1.0 / (_LARGEST_SLOPE * largest + float(strength))",
        "step = 1.0 / (_LARGEST_SLOPE * largest)",
        "step_by_eigenvalues",
    ),
    Mutant(
        "the square root of λmax",
        SETTLING,
        "return _POWER_MARGIN * norm",
        "return _POWER_MARGIN * xp.sqrt(norm)",
        "plain_descent_never_ascends",
    ),
    Mutant(
        "squared error without its ½",
        SETTLING,
        "return 0.5 * error + float(strength)",
        "return error + float(strength)",
        "objective_by_loops",
    ),
    Mutant(
        "objective without λ",
        SETTLING,
        "return 0.5 * error + float(strength) * xp.sum(code_potential(y), axis=1)",
        "return 0.5 * error + xp.sum(code_potential(y), axis=1)",
        "objective_by_loops",
    ),
    Mutant(
        "missing factor 2 of the delta rule",
        SETTLING,
        "return layer.gradient((2.0 / h.shape[0] * y, h - layer.forward(y)))",
        "return layer.gradient((1.0 / h.shape[0] * y, h - layer.forward(y)))",
        "settling_gradient_by_complex_step",
    ),
    Mutant(
        "sign of the delta rule",
        SETTLING,
        "return layer.gradient((2.0 / h.shape[0] * y, h - layer.forward(y)))",
        "return layer.gradient((2.0 / h.shape[0] * y, layer.forward(y) - h))",
        "envelope_theorem",
    ),
    Mutant(
        "Hebb's rule: nothing explained away in the gradient",
        SETTLING,
        "return layer.gradient((2.0 / h.shape[0] * y, h - layer.forward(y)))",
        "return layer.gradient((2.0 / h.shape[0] * y, h))",
        "settling_gradient_by_complex_step",
    ),
    Mutant(
        "residual with squash(z) in the prior",
        SETTLING,
        "return _norm(xp, gated(xp, pull, gate) - float(strength) * z)",
        "return _norm(xp, gated(xp, pull, gate) - float(strength) * squash(z))",
        "residual_by_loops",
    ),
    Mutant(
        "Φ without its square root",
        SETTLING,
        "u = 2.0 * xp.atan2(xp.sqrt(inside), xp.sqrt(1.0 - inside))",
        "u = 2.0 * xp.atan2(inside, 1.0 - inside)",
        "potential_by_quadrature",
    ),
    Mutant(
        "Φ twice as large near 1",
        SETTLING,
        "0.5 * small * square * series, 0.5 * (u - xp.sin(u)))",
        "0.5 * small * square * series, u - xp.sin(u))",
        "potentials_are_conjugate",
    ),
    Mutant(
        "Φ finite beyond the ball",
        SETTLING,
        "return xp.where(t > 1.0, xp.full_like(t, math.inf), value)",
        "return value",
        "potential_by_quadrature",
    ),
    Mutant(
        "Gram matrix of examples with c_ij² for c_ij c_i'j",
        COUPLING,
        "weights = c_IJB[i, ...] * c_IJB[other, ...]",
        "weights = c_IJB[i, ...] * c_IJB[i, ...]",
        "shared_and_own_coefficients",
    ),
    Mutant(
        "losers win",
        WINNERS,
        "order = xp.argsort(score, axis=-1, descending=True, stable=True)",
        "order = xp.argsort(score, axis=-1, stable=True)",
        "winners_by_sorting",
    ),
    Mutant(
        "ties to the higher index",
        WINNERS,
        "order = xp.argsort(score, axis=-1, descending=True, stable=True)",
        "order = xp.flip(xp.argsort(score, axis=-1, stable=True), axis=-1)",
        "winners_by_sorting",
    ),
    Mutant(
        "one winner too many",
        WINNERS,
        "return xp.astype(rank < k, score.dtype)",
        "return xp.astype(rank <= k, score.dtype)",
        "winners_by_sorting",
    ),
)

UNITS_MUTANTS = (
    Mutant(
        "Gaussian units drawn with their variance for their deviation",
        UNITS,
        "return x + namespace(x=x).exp(0.5 * self.log_variance) * noise",
        "return x + namespace(x=x).exp(self.log_variance) * noise",
        "gaussian_gibbs_step_keeps_hidden_states",
    ),
    Mutant(
        "offset of Gaussian units forgotten",
        UNITS,
        "return self.energy(0.0 * bias, bias)",
        "return 0.0 * self.energy(0.0 * bias, bias)",
        "harmonium_hidden_side_by_sums",
    ),
    Mutant(
        "categories drawn before their turn",
        UNITS,
        "passed = xp.astype(cumulative[..., :-1] <= noise[..., None], x.dtype)",
        "passed = xp.astype(cumulative[..., 1:] <= noise[..., None], x.dtype)",
        "tests/functional/test_units.py::test_draws_of_discrete_units_have_their_mean",
    ),
    Mutant(
        "a rectified Gaussian in place of a truncated one",
        RECTIFIED,
        "share = xp.clip(tail * xp.exp(log_ndtr(x)), max=below_one)",
        "share = xp.clip(tail, max=below_one)",
        "rectified_gibbs_step_keeps_visible_states",
    ),
    Mutant(
        "mean of far rectified units without its fraction",
        RECTIFIED,
        "fraction, slope = a + k / fraction, 1.0 - k * slope / fraction**2",
        "fraction, slope = a + 1.0 / fraction, 1.0 - k * slope / fraction**2",
        "tests/functional/test_units.py::test_log_partition_and_mean_by_quadrature",
    ),
    Mutant(
        "hidden units that do not feel their bias",
        HARMONIUM,
        "return operator.iadd(times(xp, machine.visible.statistic(v), machine.w), machine.c)",
        "return times(xp, machine.visible.statistic(v), machine.w)",
        "harmonium_hidden_side_by_sums",
    ),
    Mutant(
        "centred gradient whose hidden biases are not",
        HARMONIUM,
        "db, dc = db - dw @ lam, dc - mu @ dw",
        "db = db - dw @ lam",
        "tests/functional/test_harmonium.py::test_centred_gradient_by_loops",
    ),
    Mutant(
        "variances pulled the wrong way by the hidden units",
        HARMONIUM,
        "return xp.mean(0.5 * (v - machine.b) ** 2 - v * fields, axis=0)",
        "return xp.mean(0.5 * (v - machine.b) ** 2 + v * fields, axis=0)",
        "harmonium_gradient_by_differences",
    ),
    Mutant(
        "exchange with the energies of where the chains are",
        HARMONIUM,
        "gain = gain + free_energy(second, u) - free_energy(second, v)",
        "gain = gain + free_energy(second, v) - free_energy(second, u)",
        "exchange_keeps_the_joint_of_two_machines",
    ),
    Mutant(
        "hidden biases that stay cold on the way to a base",
        TEMPERING,
        "w=_between(w0, w1, beta), b=_between(b0, b1, beta), c=_between(c0, c1, beta)",
        "w=_between(w0, w1, beta), b=_between(b0, b1, beta), c=c1",
        "exchange_keeps_the_joint_of_two_machines",
    ),
    Mutant(
        "a unit's own share left in the field that predicts it",
        PSEUDO,
        "without = fields[:, None, :] - v[:, :, None] * w  # (B, U, J)",
        "without = fields[:, None, :] - 0.0 * v[:, :, None] * w  # (B, U, J)",
        "tests/models/test_rbm.py::test_score_samples_flips_every_unit",
    ),
)

NEURON_MUTANTS = (
    Mutant(
        "the machine of neurons without their coefficients",
        NEURONS,
        "weighted = xp.permute_dims(c[:, :, None, None] * W, (0, 3, 1, 2))  # (I, P, J, D)",
        "weighted = xp.permute_dims(0.0 * c[:, :, None, None] + W, (0, 3, 1, 2))  # (I, P, J, D)",
        "neurons_are_a_machine_by_states",
    ),
    Mutant(
        "the machine of centred neurons with the biases of others",
        NEURONS,
        "b = b - offset * xp.sum(w, axis=1)",
        "b = b + offset * xp.sum(w, axis=1)",
        "neurons_are_a_machine_by_states",
    ),
    Mutant(
        "evidence of spins counted as of bits",
        NEURONS,
        "return xp.sum(softplus(field) - offset * field, axis=-1)",
        "return xp.sum(softplus(field), axis=-1)",
        "neuron_evidence_by_enumeration",
    ),
    Mutant(
        "neurons learn from the model as from the data",
        NEURON_MIXING,
        "coupling(xp, W, c).gradient((v, share * h), (v_model, -share * h_model))",
        "coupling(xp, W, c).gradient((v, share * h), (v_model, share * h_model))",
        "tests/functional/test_neurons.py::test_gradient_by_loops",
    ),
)

LIKELIHOOD_MUTANTS = (
    Mutant(
        "chains up one temperature behind",
        ANNEALING,
        "return crew.path.step(crew.v, high, crew.noise)",
        "return crew.path.step(crew.v, low, crew.noise)",
        "weights_of_all_paths_up",
    ),
    Mutant(
        "chains down weighed one temperature late",
        ANNEALING,
        "v = crew.path.step(crew.v, high, crew.noise)",
        "v = crew.path.step(crew.v, low, crew.noise)",
        "weights_of_all_paths_down",
    ),
    Mutant(
        "sign of the weights down: an end that is no upper one",
        ANNEALING,
        "upper=log_z0 - float(log_mean_exp(-w_down)),",
        "upper=log_z0 + float(log_mean_exp(w_down)),",
        "tests/evaluation/likelihood/test_annealing.py"
        "::test_ends_are_on_their_sides_in_expectation",
    ),
    Mutant(
        "Bennett's ratio blind to how many samples each side has",
        WEIGHTS,
        "return logsumexp(log_expit(up - r - shift)) - logsumexp(log_expit(r + shift - down))",
        "return logsumexp(log_expit(up - r)) - logsumexp(log_expit(r - down))",
        "tests/evaluation/likelihood/test_weights.py::test_bennett_solves_its_equation",
    ),
    Mutant(
        "Bennett's error of steps as if they did not share chains",
        WEIGHTS,
        "return float(np.sum(pull * pull)) * n / (n - 1)",
        "return float(np.sum(pull * pull)) / len(side) * n / (n - 1)",
        "tests/evaluation/likelihood/test_weights.py"
        "::test_bennett_of_chains_counts_their_own_spread",
    ),
    Mutant(
        "trust in chains down that began where chains up ended",
        ANNEALING,
        'start="chains" if start is None else "given",',
        'start="given",',
        "tests/evaluation/likelihood/test_scoring.py"
        "::test_a_narrow_bracket_may_be_wrong_where_chains_start_at_ends_of_others",
    ),
)

TRAINING_MUTANTS = (
    Mutant(
        "a persistent chain that is never updated",
        CHAINS,
        "self.h = machine.hidden.draw(x, noise",
        "machine.hidden.draw(x, noise",
        "tests/models/test_rbm.py::test_kept_chains_move_at_every_step",
    ),
    Mutant(
        "states exchanged where they should stay",
        CHAINS,
        "swapped = (noise.uniform(accept.shape[0]) < accept)[:, None]",
        "swapped = (noise.uniform(accept.shape[0]) >= accept)[:, None]",
        "tests/models/test_kernels.py::test_tempered_chains_keep_the_joint_of_all_temperatures",
    ),
    Mutant(
        "an exchange that copies the colder state",
        CHAINS,
        "return xp.where(swapped, v[t + 1], v[t]), xp.where(swapped, v[t], v[t + 1])",
        "return xp.where(swapped, v[t + 1], v[t]), v[t + 1]",
        "tests/models/test_kernels.py::test_tempered_chains_keep_the_joint_of_all_temperatures",
    ),
    Mutant(
        "momentum without the share of the new gradient",
        MACHINE_TRAINING,
        "g = (1.0 - model.momentum) * g",
        "g = 1.0 * g",
        "tests/models/test_rbm_training.py::test_momentum_and_decays_by_hand",
    ),
    Mutant(
        "weights that decay away from 0",
        MACHINE_TRAINING,
        "g = g - model.l2 * values[name]",
        "g = g + model.l2 * values[name]",
        "tests/models/test_rbm_training.py::test_momentum_and_decays_by_hand",
    ),
    Mutant(
        "hidden units centred at nothing",
        MACHINE_TRAINING,
        "return (0.0 * model.mean_ if standard else model.mean_), hidden",
        "return (0.0 * model.mean_ if standard else model.mean_), 0.0 * hidden",
        "tests/models/test_rbm_training.py::test_offsets_are_the_means_of_data_and_hidden_units",
    ),
    Mutant(
        "each capsule's examples averaged over themselves, not over the batch",
        CAPSULES,
        "share = float(rows.size / x.shape[0])",
        "share = 1.0",
        "tests/models/test_expert_capsules.py::test_one_winner_fast_path_equals_the_general_one",
    ),
    Mutant(
        "winners do not reach the gradient",
        CAPSULES,
        "gradient = cd_gradient(x, model.W_, c, z, steps=model.mixing_steps, on=on > 0)",
        "gradient = cd_gradient(x, model.W_, c, z, steps=model.mixing_steps)",
        "tests/models/test_capsule_training.py::test_each_example_teaches_a_model_of_its_winners_alone",
    ),
    Mutant(
        "balance pushes winners to win more",
        CAPSULES,
        'model.bias_ = model.bias_ + model.balance * (self._fair - gradient["share"])',
        'model.bias_ = model.bias_ - model.balance * (self._fair - gradient["share"])',
        "tests/models/test_capsule_training.py::test_the_bias_of_a_capsule_that_wins_too_often_falls",
    ),
    Mutant(
        "all capsules' codes where winners' are asked for",
        DECODER,
        "y = y * winners(priority, model.n_winners)[..., None]",
        "y = 1.0 * y",
        "tests/models/test_capsule_decoder.py::test_winners_alone_are_on_in_the_first_phase",
    ),
    Mutant(
        "means of blocks added up, whatever their size",
        DECODER,
        "return share * gradient, xp.sum(length(settled.y))",
        "return gradient, xp.sum(length(settled.y))",
        "tests/models/test_capsule_decoder.py::test_second_phase_by_loops",
    ),
    Mutant(
        "codes that settled with a gain learnt without it",
        DECODER,
        "gradient = settling_gradient(h[rows, ...], model.U_, e, settled.y)",
        "gradient = settling_gradient(h[rows, ...], model.U_, e / model.gain, settled.y)",
        "tests/models/test_capsule_decoder.py::test_second_phase_by_loops",
    ),
    Mutant(
        "weight of the winners' rule forgotten",
        DECODER,
        'return {"U": 0.5 * (model.winner_weight * first + second)}',
        'return {"U": 0.5 * (first + second)}',
        "tests/models/test_capsule_decoder.py::test_second_phase_by_loops",
    ),
    Mutant(
        "all capsules settle where winners are asked for",
        DECODER,
        "on=on[rows, ...] > 0,",
        "on=None,",
        "tests/models/test_capsule_decoder.py::test_second_phase_by_loops",
    ),
)

ROUTING_GRADIENT_MUTANTS = (
    Mutant(
        "gradient of the logits replaced, not added up",
        ROUTING_BACKWARD,
        "return each(xp, lambda db, c, dc, mean: db + c * (dc - mean), dlogits, c, dc, means)",
        "return each(xp, lambda db, c, dc, mean: c * (dc - mean), dlogits, c, dc, means)",
        "gradient_through_cosines",
    ),
    Mutant(
        "softmax without its mean on the way back",
        ROUTING_BACKWARD,
        "lambda db, c, dc, mean: db + c * (dc - mean)",
        "lambda db, c, dc, mean: db + c * dc",
        "gradient_through_inner_products",
    ),
    Mutant(
        "mean over inputs where outputs share on the way back",
        ROUTING_BACKWARD,
        "means = each(xp, lambda c, dc: sum_of_products(xp, c, dc, 1)[:, None, :], c, dc)",
        "means = each(xp, lambda c, dc: sum_of_products(xp, c, dc, 0)[None, ...], c, dc)",
        "gradient_through_cosines",
    ),
    Mutant(
        "sums before the last forgotten on the way back",
        ROUTING_BACKWARD,
        'if gradient == "last":',
        'if gradient != "frozen":',
        "gradient_through_inner_products",
    ),
    Mutant(
        "last gradient goes on through the sums",
        ROUTING_BACKWARD,
        'if gradient == "last":',
        'if gradient == "none":',
        "gradient_through_the_last_agreement",
    ),
    Mutant(
        "frozen coefficients are differentiated",
        ROUTING_BACKWARD,
        'if gradient == "frozen":',
        'if gradient == "none":',
        "gradient_with_frozen_coefficients",
    ),
    Mutant(
        "first weighting without a gradient",
        ROUTING_BACKWARD,
        "[_equal(xp, part, 1.0 / n) for part in c]",
        "[_equal(xp, part, 0.0) for part in c]",
        "gradient_through_inner_products",
    ),
    Mutant(
        "direction of a prediction turns along itself",
        ROUTING_BACKWARD,
        "return (pull - direction * along) * (size * inverse)",
        "return pull * (size * inverse)",
        "gradient_through_cosines",
    ),
    Mutant(
        "direction of a prediction without its length",
        ROUTING_BACKWARD,
        "return (pull - direction * along) * (size * inverse)",
        "return pull - direction * along",
        "gradient_through_cosines",
    ),
    Mutant(
        "direction of the sum turns along itself",
        AGREEMENT,
        "across = pulled - direction * xp.sum(direction * pulled, axis=1, keepdims=True)",
        "across = pulled",
        "gradient_through_cosines",
    ),
    Mutant(
        "squash not differentiated inside the loop",
        AGREEMENT,
        "return self._squash.vjp(z, self._scale * self.weigh(weights), axis=1)",
        "return self._scale * self.weigh(weights)",
        "gradient_through_inner_products",
    ),
    Mutant(
        "inner products not over √D on the way back",
        AGREEMENT,
        "return self._squash.vjp(z, self._scale * self.weigh(weights), axis=1)",
        "return self._squash.vjp(z, self.weigh(weights), axis=1)",
        "gradient_through_inner_products",
    ),
    Mutant(
        "sized capsules not brought back",
        ROUTING_BACKWARD,
        "return dx + dx_turned * x_factor, dW + dW_turned * W_factor",
        "return dx + dx_turned, dW + dW_turned",
        "tests/functional/test_routing_gradient.py::test_gradients_of_cosines_do_not_see_the_size_of_vectors",
    ),
    Mutant(
        "shared logits: each example receives the whole",
        PLAIN_ROUTING,
        "mean = xp.mean(found, axis=0, keepdims=True)",
        "mean = xp.sum(found, axis=0, keepdims=True)",
        "gradient_with_shared_logits",
    ),
    Mutant(
        "shared logits: agreements added, not averaged",
        PLAIN_ROUTING,
        "added = xp.mean(added, axis=0, keepdims=True)",
        "added = xp.sum(added, axis=0, keepdims=True)",
        "gradient_with_shared_logits",
    ),
    Mutant(
        "margin loss without its square",
        LOSSES,
        "terms = targets * low**exponent + down_weight * (1.0 - targets) * high**exponent",
        "terms = targets * low + down_weight * (1.0 - targets) * high",
        "margin_loss_by_scalars",
    ),
    Mutant(
        "margin loss without its lower weight",
        LOSSES,
        "return down_weight * (1.0 - targets) * high - targets * low",
        "return (1.0 - targets) * high - targets * low",
        "margin_loss_by_scalars",
    ),
    Mutant(
        "spread loss between all pairs",
        LOSSES,
        "return gaps, targets[:, :, None] * (1.0 - targets[:, None, :])",
        "return gaps, targets[:, :, None] + 0.0 * targets[:, None, :]",
        "spread_loss_by_scalars",
    ),
    Mutant(
        "spread loss pushes targets down",
        LOSSES,
        "return xp.sum(slopes, axis=1) - xp.sum(slopes, axis=2)",
        "return xp.sum(slopes, axis=2) - xp.sum(slopes, axis=1)",
        "spread_loss_by_scalars",
    ),
    Mutant(
        "cross-entropy of one class where there are more",
        LOSSES,
        "return softmax(logits, axis=1) * xp.sum(targets, axis=1, keepdims=True) - targets",
        "return softmax(logits, axis=1) - targets",
        "cross_entropy_by_scalars",
    ),
)

MUTANTS = (
    *RBM_MUTANTS,
    *SQUASH_MUTANTS,
    *ROUTING_MUTANTS,
    *ROUTING_GRADIENT_MUTANTS,
    *SQUASHES_MUTANTS,
    *ROUTINGS_MUTANTS,
    *ENERGY_MUTANTS,
    *GRADIENT_MUTANTS,
    *LAYER_MUTANTS,
    *CAPSNET_MUTANTS,
    *SETTLING_MUTANTS,
    *UNITS_MUTANTS,
    *NEURON_MUTANTS,
    *LIKELIHOOD_MUTANTS,
    *TRAINING_MUTANTS,
)
