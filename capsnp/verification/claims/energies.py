"""Section 3.1: energy, its probabilities and what is summed out."""
