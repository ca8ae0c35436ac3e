"""Inference and training, in one process or many: the only modules that know Accelerate."""
