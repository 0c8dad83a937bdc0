"""Section 3.2 and 4.1: the gradient of the log-likelihood, Algorithm 1 and the rule for U."""
