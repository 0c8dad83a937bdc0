"""Products of expert capsules, written once against the Array API."""

__version__ = "0.1.0"
