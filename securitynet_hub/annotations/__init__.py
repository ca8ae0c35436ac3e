"""The annotated models: columns, flags, and `load_dataset("securitynet")`."""
