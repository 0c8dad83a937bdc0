"""Section 4.1: convolutions, activations and the autoencoder."""
