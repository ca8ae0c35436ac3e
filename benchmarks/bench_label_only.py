"""HopSkipJump beside the Adversarial Robustness Toolbox's: distance reached with the same queries, and time.

Run with ``make bench``; skipped unless ``adversarial-robustness-toolbox`` and ``six`` are installed. Both
start from the same image, of another class; the peer asks about real numbers, ours about whole grey levels.
"""

import time

import numpy as np
import pytest
import torch

from securitynet_hub.attacks.membership.boundary import boundary_scores
from securitynet_hub.attacks.subject import known_data
from securitynet_hub.engine.inference import predict
from securitynet_hub.models.loading import load_target

BUDGETS = (250, 500, 1000)
SAMPLES = 30


class Spent(Exception):
    """The peer has no budget of its own: it is stopped from outside."""


class Counted(torch.nn.Module):
    """Forward images, and keep the distance of the nearest misclassified one within each budget."""

    def __init__(self, target):
        super().__init__()
        self.inner, (self.mean,), (self.std,) = target.module, target.transform.mean, target.transform.std

    def restart(self, image, label):
        self.image, self.label, self.asked = torch.from_numpy(image), label, 0
        self.nearest = dict.fromkeys(BUDGETS, np.inf)

    def forward(self, images):
        logits = self.inner((images.float() - self.mean) / self.std)
        distances = (images - self.image).flatten(1).norm(dim=1).tolist()
        for distance, wrong in zip(distances, (logits.argmax(1) != self.label).tolist(), strict=True):
            self.asked += 1
            for budget in BUDGETS:
                if wrong and self.asked <= budget:
                    self.nearest[budget] = min(self.nearest[budget], distance)
        if self.asked >= BUDGETS[-1]:
            raise Spent
        return logits


def test_distances_at_equal_budgets_and_time():
    pytest.importorskip("art")
    from art.attacks.evasion import HopSkipJump
    from art.estimators.classification import PyTorchClassifier

    class InFloat32(PyTorchClassifier):
        def predict(self, x, *args, **kwargs):  # under NumPy 2 the attack's images become float64
            return super().predict(x.astype(np.float32), *args, **kwargs)

    target = load_target("zoo/fashion-mnist/cnn-overfitted-250/1")
    data = known_data(target.annotation)
    right = predict(target, data.images.pixels).argmax(1) == data.images.labels
    rows = data.split.indices[right[data.split.indices]][:SAMPLES]
    pixels, labels = data.images.pixels[rows], data.images.labels[rows]
    # One start for a sample, rightly taken for another class.
    starts = [data.images.pixels[np.flatnonzero(right & (data.images.labels != y))[y]] for y in labels]

    np.random.seed(0)  # where the peer takes its noise from
    started = time.perf_counter()
    counted = Counted(target)
    classifier = InFloat32(counted, torch.nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0, 1))
    attack = HopSkipJump(classifier, max_iter=1000, init_eval=50, batch_size=256, verbose=False)
    theirs = []
    for image, label, start in zip(pixels, labels, starts, strict=True):
        planes = [np.moveaxis(each, -1, 0)[None].astype(np.float32) / 255 for each in (image, start)]
        counted.restart(planes[0], int(label))
        with pytest.raises(Spent):
            attack.generate(planes[0], x_adv_init=planes[1])
        theirs.append([counted.nearest[budget] for budget in BUDGETS])
    their_time = time.perf_counter() - started

    def run(budget):
        """All samples of one label share their start, so that they are searched together."""
        scores = np.empty(len(labels))
        for label in np.unique(labels):
            own = labels == label
            start = starts[np.flatnonzero(own)[0]][None]
            scores[own] = boundary_scores(
                target, pixels[own], labels[own], starts=start, budget=budget
            ).scores
        return scores

    ours = np.stack([run(budget) for budget in BUDGETS], 1)
    started = time.perf_counter()
    run(BUDGETS[-1])
    our_time = time.perf_counter() - started
    ratios = np.exp(np.mean(np.log(ours / np.array(theirs)), 0))
    for budget, ratio, mine, peer in zip(BUDGETS, ratios, ours.mean(0), np.mean(theirs, 0), strict=True):
        print(
            f"\n  {budget} queries: mean distance {mine:.3f} against {peer:.3f}, geometric ratio {ratio:.2f}"
        )
    print(f"  {BUDGETS[-1]} queries: {our_time:.1f} s against {their_time:.1f} s")
    assert (ratios < 1.15).all()
    assert our_time < their_time
