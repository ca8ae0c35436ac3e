"""Classifiers ready to be attacked, and the networks that they are made of."""
