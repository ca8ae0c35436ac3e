"""One record of every attack and detector there is, made the honest way, with settings that save time."""

from dataclasses import replace

import numpy as np

from securitynet_hub import audit, load_target
from securitynet_hub.attacks.backdoor.neural_cleanse import FAST
from securitynet_hub.attacks.kind import find_attack, kinds
from securitynet_hub.attacks.membership.shadows import Shadows
from securitynet_hub.attacks.subject import known_data
from securitynet_hub.data.splits import Split

TARGET = "zoo/fashion-mnist/bn-cnn-corner-patch/7"
BASE = "zoo/fashion-mnist/cnn-clean/1"
QUICK = {
    "attacks": ("fgsm", "pgd"), "batch_size": 256, "budget": 10, "budgets": (20,),
    "copies": 2, "epochs": 2, "gradient_queries": 2,
    "images_per_class": 2, "num_clean": 5, "num_networks": 2, "num_overlays": 5, "recipe": {"epochs": 2},
    "restarts": 2, "schedule": replace(FAST, steps=5), "screening": None, "sides": (6,), "steps": 3,
    "stride": 11, "targets": 2, "transfer": 20,
}  # fmt: skip
"""Values of settings, for whichever attack has a setting of that name."""

MANY = 320
"""Number of non-members for attacks that need many images."""

QUICK_TWINS = {"number": 2, "passes": 300}
"""Of the attack that trains copies."""


def few_samples(num_nonmembers=120):
    """Return the data of a zoo model with a known backdoor, but for most of its samples."""
    data = known_data(load_target(TARGET).annotation)
    members, nonmembers = data.split.members[:100], data.split.nonmembers[:num_nonmembers]
    return replace(data, split=Split(members=members, nonmembers=nonmembers))


def drawn_shadows(data):
    """Return what six reference models might answer for all samples and for forty others: noise."""
    rng, others = np.random.default_rng(4), np.setdiff1d(np.arange(len(data.images)), data.split.indices)[:40]
    pool = rng.permutation(np.append(data.split.indices, others))
    masks = rng.random((6, len(pool))).argsort(0) < 3
    masks[:, np.isin(pool, others)] = False
    return Shadows(
        images_sha256=data.images.sha256,
        views=("identity", "mirror"),
        pool=pool,
        masks=masks,
        logits=rng.normal(size=(6, len(pool), 2, 10)).astype(np.float32),
    )


def needs_many(name):
    """Whether an attack needs more images than `few_samples` has unless it is asked for more."""
    return bool(getattr(find_attack(name), "many", 0))


def quickly(names, *, a=None, **options):
    """Run attacks on the small model and return the records; `a` is that of RMIA."""
    own = {name: find_attack(name).settings for name in names}
    quick = {name: {key: QUICK[key] for key in settings if key in QUICK} for name, settings in own.items()}
    for name in {"additive_trigger", "feature_trigger"} & quick.keys():
        quick[name]["steps"] = 60  # with fewer they find no trigger, and nothing is ranked
    if a is not None:
        quick["rmia"]["a"] = a
    return audit(TARGET, attacks=names, data=few_samples(), settings=quick, num_images=8, **options)


def every_record():
    """Run every attack of every kind and return the records, in the registry's order."""
    names = [name for kind in kinds().values() for name in kind.attacks]
    own = {"shadows": drawn_shadows(few_samples()), "base": BASE, "robust_images": 24, "norm": "L2"}
    second = {kind.compares: BASE for kind in kinds().values() if kind.compares}
    many = [name for name in names if needs_many(name)]
    few = quickly([name for name in names if name not in many], **own, **second)
    quick = dict.fromkeys(many, QUICK_TWINS)
    more = audit(TARGET, attacks=many, data=few_samples(MANY), settings=quick)
    return sorted([*few, *more], key=lambda record: names.index(record.attack["name"]))
