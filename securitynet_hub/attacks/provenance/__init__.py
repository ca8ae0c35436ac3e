"""Provenance: is a model derived from another one, or were the two trained independently?"""
