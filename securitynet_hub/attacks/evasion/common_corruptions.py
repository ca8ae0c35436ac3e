"""Accuracy under common corruptions: noise, blur, weather and compression, in five severities."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from securitynet_hub.attacks.evasion.attack import Attack
from securitynet_hub.attacks.evasion.corrupting import CORRUPTIONS, SEVERITIES, change_of
from securitynet_hub.attacks.evasion.kind import Options
from securitynet_hub.attacks.evasion.measures import rate_of
from securitynet_hub.attacks.evasion.subject import Subject
from securitynet_hub.attacks.evasion.worst_case import Measurement
from securitynet_hub.attacks.kind import Context
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.engine.inference import predict
from securitynet_hub.statistics.means import mean_interval


def common_corruptions(
    subject: Subject,
    options: Options,
    context: Context,
    *,
    corruptions: Sequence[str] = (),
    severities: Sequence[int] = SEVERITIES,
) -> Measurement:
    """Measure the accuracy on corrupted images, as a mean over corruptions and severities.

    ``corruption accuracy = mean over c, s of mean over i of [f(c_s(x_i)) = y_i]`` (Hendrycks & Dietterich
    2019, arXiv 1903.12261, section 4; without the division by another network's errors). The interval is
    that of the mean over images of the share of their corrupted copies that are classified correctly
    (`mean_interval`); where all images have the same share it is exact for a proportion.

    Args:
        subject: the model and its images.
        options: not used: corruptions have severities instead of eps.
        context: the confidence level, and the callback for progress.
        corruptions: names of corruptions; all of them, unless given.
        severities: 1 to 5.

    Raises:
        UnknownNameError: no such corruption; the closest names are given.
        ValueError: no such severity, or none.

    >>> from securitynet_hub.attacks.subject import known_data
    >>> from securitynet_hub.models.loading import load_target
    >>> target = load_target("zoo/fashion-mnist/cnn-clean/1")
    >>> subject = Subject.of(target, known_data(target.annotation), Options(robust_images=20), 0)
    >>> some = {"corruptions": ("contrast",), "severities": (1, 5)}
    >>> found = common_corruptions(subject, Options(), Context(), **some)
    >>> len(found.result["corruptions"][0]["per_severity"]), found.counts["forwarded"]
    (2, 60)
    """
    names = list(dict.fromkeys(corruptions)) or list(CORRUPTIONS)
    for name in names:
        if name not in CORRUPTIONS:
            raise UnknownNameError("corruption", name, CORRUPTIONS)
    wanted = sorted(set(severities))
    if not wanted or not set(wanted) <= set(SEVERITIES):
        raise ValueError(f"severities must be one or more of {SEVERITIES}; got {list(severities)}.")
    began, level = time.perf_counter(), context.confidence_level
    images, target = subject.images.select(subject.rows), subject.classifier.target
    labels, n = images.labels, len(subject.rows)

    def right(source: Any) -> Any:
        return (
            predict(target, source, batch_size=context.batch_size, on_batch=context.on_batch).argmax(1)
            == labels
        )

    clean = right(images)
    held = np.empty((len(names), len(wanted), n), np.bool_)
    for place, name in enumerate(names):
        for number, severity in enumerate(wanted):
            held[place, number] = right(images.change(change_of(name, severity, subject.seed), images.shape))
    accuracy, accuracy_ci = rate_of(int(clean.sum()), n, confidence_level=level)
    rows = []
    for name, each in zip(names, held, strict=True):
        mean, ends = _mean(each.mean(0), level)
        rows.append(
            {
                "name": name,
                "accuracy": mean,
                "accuracy_ci": ends,
                "per_severity": [float(share) for share in each.mean(1)],
            }
        )
    corrupted, corrupted_ci = _mean(held.mean((0, 1)), level)
    result = {
        "accuracy": accuracy,
        "accuracy_ci": accuracy_ci,
        "corruption_accuracy": corrupted,
        "corruption_accuracy_ci": corrupted_ci,
        "corruptions": rows,
        "n": n,
        "confidence_level": level,
    }
    return Measurement(
        result=result,
        counts={"images": n, "forwarded": n * (1 + held[..., 0].size), "gradients": 0},
        timings={"attack": time.perf_counter() - began},
        settings={"corruptions": names, "severities": wanted},
    )


def _mean(shares: Any, level: float) -> tuple[float, tuple[float, float]]:
    """Return the mean of the images' shares and its interval."""
    value, n = float(np.mean(shares)), len(shares)
    if n > 1 and np.ptp(shares) > 0:
        low, high = mean_interval(shares, bounds=(0, 1), confidence_level=level)
    else:  # equal shares show no spread: each lies between its whole numbers of images
        low = rate_of(int(np.floor(value * n)), n, confidence_level=level)[1][0]
        high = rate_of(int(np.ceil(value * n)), n, confidence_level=level)[1][1]
    return value, (min(low, value), max(high, value))


ATTACK = Attack(
    name="common_corruptions",
    run=common_corruptions,
    summary="noise, blur, weather and compression in five severities",
    formula="mean share of corrupted images that are classified correctly",
    source="Hendrycks & Dietterich 2019, section 4",
    order=9,
    labels_suffice=True,
    measures=True,
    bounded=False,
)
