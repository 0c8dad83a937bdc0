"""Section 2.1: restricted Boltzmann machines, the products of experts that capsules follow."""
