"""One module for each source of weights.

``build(annotation)`` returns the network, its weights still to be loaded, and its preprocessing. A source
whose checkpoints need more than the annotation's key prefix also has ``state_dict(checkpoint, annotation)``.
Neither knows of files: `securitynet_hub.models.loading.load_target` does the rest once for all.
"""
