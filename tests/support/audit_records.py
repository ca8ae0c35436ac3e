"""Records for tests of what is made of records: of a real audit, of every kind, and many made-up ones."""

from dataclasses import replace

import numpy as np

from securitynet_hub import audit, load_target
from securitynet_hub.attacks.backdoor.neural_cleanse import FAST
from securitynet_hub.attacks.membership.measures import measure_membership
from securitynet_hub.engine.training import Recipe
from securitynet_hub.records.record import Record

BACKDOORED = "zoo/fashion-mnist/cnn-corner-patch/7"
QUICK = {
    "neural_cleanse": {"restarts": 2, "schedule": replace(FAST, steps=60)},
    "mm_bd": {"images_per_class": 2, "steps": 5},
    "neuron_noise": {"steps": 2},
    "additive_trigger": {"steps": 3},
    "feature_trigger": {"steps": 3},
    "bti_dbf": {"steps": 2, "mask_steps": 3},
    "ban": {"steps": 2, "mask_steps": 3},
    "twins": {"number": 1, "passes": 64},
}


def write_audit(folder):
    """Audit a backdoored model of the zoo with attacks of every kind; return the records."""
    recipe = Recipe(epochs=2, batch_size=64, learning_rate=3e-3)
    return audit(
        load_target(BACKDOORED),
        attacks=["correctness", "modified_entropy", "model_stealing", "backdoor-detection"],
        settings={"model_stealing": {"recipe": recipe, "transfer": 0}, **QUICK},
        out=folder,
        samples=folder / "samples",
        budgets=(20, 60),
        num_images=10,
    )


def many_records(count):
    """Make up records of so many measurements, two attacks a model, with figures of 50 kinds."""
    rng, is_member = np.random.default_rng(0), np.arange(400) < 150
    results = [
        dict(measure_membership(rng.normal(size=400) + shift * is_member, is_member))
        for shift in rng.random(50)
    ]
    return [
        Record(
            target={"id": f"lab/model-{number // 2}", "num_classes": 10},
            data={"name": "fashion_mnist_4k"},
            attack={"name": ("loss", "modified_entropy")[number % 2], "kind": "membership-inference"},
            result=results[number % 50],
            counts={},
            timings={},
        )
        for number in range(count)
    ]
