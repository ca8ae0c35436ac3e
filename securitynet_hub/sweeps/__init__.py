"""Sweeps: many models, many attacks, many processes; each record exactly once."""
