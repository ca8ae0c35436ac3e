"""One module for each source of weights: ``load(annotation)`` builds a `securitynet_hub.targets.Target`."""
