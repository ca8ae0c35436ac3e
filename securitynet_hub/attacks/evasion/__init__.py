"""Adversarial robustness: how often a small change or a common corruption of an image changes the answer."""
