"""The attacks and detectors: one module for each kind."""
