"""Load classifiers to audit, and build their networks."""
