"""The metrics, each a folder in the form of an `evaluate` module."""
