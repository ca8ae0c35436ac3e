"""The command line, ``securitynet``: one module for each command; the other modules are their helpers."""
