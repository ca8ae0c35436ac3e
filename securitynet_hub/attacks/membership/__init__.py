"""Membership inference: which images a model was trained on."""
