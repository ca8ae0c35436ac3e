"""One membership attack and one loader, found by SecurityNet Hub through the entry points of this package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from securitynet_hub.annotations.schema import Annotation, unlisted
from securitynet_hub.attacks.membership.attack import Attack, Rows
from securitynet_hub.attacks.membership.inputs import MembershipInputs
from securitynet_hub.core.arrays import Scores, as_array
from securitynet_hub.data.transforms import Transform
from securitynet_hub.weights.hashes import check_file


def label_rank_scores(inputs: MembershipInputs, rows: Rows) -> Scores:
    """Score each sample by minus the number of classes that are more likely than its label.

    ``score = -|{i: z_i > z_y}|``, higher = more likely a member: a finer form of the test for correctness of
    Yeom et al. 2018 (arXiv 1709.01604), whose score says only whether the rank is 0.

    >>> known = {"labels": [1, 1], "is_member": [1, 0], "from_logits": True}
    >>> inputs = MembershipInputs(outputs=[[0.0, 3.0, 1.0], [2.0, 0.0, 1.0]], **known)
    >>> label_rank_scores(inputs, np.array([0, 1]))
    array([ 0., -2.])
    """
    inputs.score("correctness")  # checks outputs and labels
    outputs, labels = as_array(inputs.first_view, "outputs"), as_array(inputs.labels, "labels")
    own = np.take_along_axis(outputs, labels[:, None].astype(np.int64), 1)
    ranks: Scores = (outputs > own).sum(1).astype(np.float64)
    return 0.0 - ranks[rows]


ATTACK = Attack(
    name="label_rank",
    run=label_rank_scores,
    summary="how many classes are more likely than the label",
    formula="-|{i: z_i > z_y}|",
    source="after Yeom et al. 2018",
    needs=("labels",),
)


class ExampleLab:
    """The loader of the source ``example_lab``: linear classifiers of 28 x 28 grey images in 10 classes."""

    @staticmethod
    def annotate(reference: str) -> Annotation:
        """Describe the model in a file: ``load_target("example_lab:<path>")``."""
        path = Path(reference).resolve()
        return unlisted(
            "example_lab",
            "local",
            path.stem,
            architecture="linear",
            num_classes=10,
            image_size=28,
            weights_url=f"file:{path}",
            weights_hash_kind="sha256",
            weights_hash=check_file(path, (), reference),
        )

    @staticmethod
    def build(annotation: Annotation) -> tuple[torch.nn.Module, Transform]:
        """Return the network, its weights still to be loaded, and its preprocessing."""
        layers = torch.nn.Flatten(), torch.nn.Linear(28 * 28, annotation.num_classes)
        return torch.nn.Sequential(*layers), Transform(height=28, width=28, mean=(0.5,), std=(0.5,))
