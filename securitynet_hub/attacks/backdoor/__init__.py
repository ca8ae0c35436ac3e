"""Backdoors: detectors of poisoned models, inputs and training data."""
