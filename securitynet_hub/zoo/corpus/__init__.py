"""A corpus of backdoored and clean networks, from recipes: ``python -m securitynet_hub.zoo.corpus``."""
