"""Weights files: fetched, checked against their hashes, and read without running their code."""
