"""Fetch weights files, check their hashes, and read them without running their code."""
