"""Models that are known to be independent of another one: trained alike, with other random numbers."""

from __future__ import annotations

from securitynet_hub.annotations.schema import ZooAnnotation, load_annotations
from securitynet_hub.models.target import Target


def independent_models(target: Target) -> list[str]:
    """Return the clean models of the zoo that have a zoo model's architecture and training images.

    They differ from it in the random numbers of their training alone. There are none for other models.

    >>> from securitynet_hub import load_target
    >>> independent_models(load_target("zoo/fashion-mnist/cnn-clean/1"))[:2]
    ['zoo/fashion-mnist/cnn-clean/2', 'zoo/fashion-mnist/cnn-clean/3']
    """
    own = target.annotation
    if not isinstance(own, ZooAnnotation):
        return []
    return [
        each.id
        for each in load_annotations("zoo").values()
        if isinstance(each, ZooAnnotation)
        and (each.kind, each.id != own.id) == ("clean", True)
        and (each.architecture, each.members_sha256) == (own.architecture, own.members_sha256)
    ]
