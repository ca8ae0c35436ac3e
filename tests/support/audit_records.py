"""Records for tests of what is made of records: of a real audit, of every kind, and many made-up ones."""

from dataclasses import replace

import numpy as np

from securitynet_hub import audit, load_target
from securitynet_hub.attacks.backdoor.audit import audit_backdoors
from securitynet_hub.attacks.backdoor.neural_cleanse import FAST
from securitynet_hub.attacks.membership.measures import measure_membership
from securitynet_hub.attacks.stealing.audit import audit_stealing
from securitynet_hub.attacks.subject import known_data
from securitynet_hub.engine.training import Recipe
from securitynet_hub.records.record import Record, write_record

BACKDOORED = "zoo/fashion-mnist/cnn-corner-patch/7"
QUICK = {
    "neural_cleanse": {"restarts": 2, "schedule": replace(FAST, steps=60)},
    "mm_bd": {"images_per_class": 2, "steps": 5},
    "neuron_noise": {"steps": 2},
}


def write_audit(folder):
    """Audit a backdoored model of the zoo for members, theft and backdoor; return the records."""
    target = load_target(BACKDOORED)
    data = known_data(target.annotation)

    def write(record):
        return write_record(record, folder)

    records = audit(
        target, attacks=["correctness", "modified_entropy"], out=folder, samples=folder / "samples"
    )
    recipe = Recipe(epochs=2, batch_size=64, learning_rate=3e-3)
    records += audit_stealing(target, data, budgets=[20, 60], recipe=recipe, transfer=0, on_record=write)
    return records + audit_backdoors(target, data, num_images=10, settings=QUICK, on_record=write)


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
