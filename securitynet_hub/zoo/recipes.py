"""The zoo's models as a table: kind, network, training images and recipe of each."""

from __future__ import annotations

from dataclasses import dataclass, replace

from securitynet_hub.engine.training import Recipe

DATASET_SLUG = "fashion-mnist"


@dataclass(frozen=True, kw_only=True)
class ZooModel:
    """One zoo model before training.

    ``num_members`` is the number of packaged training images in its training set; ``full`` models also learn
    all training images that are not packaged. A backdoored model has ``poison_rate`` of its training images
    stamped and relabelled as ``target_class``; none of these is packaged or of the target class.
    """

    name: str
    kind: str
    architecture: str
    recipe: Recipe
    num_members: int = 1000
    split_seed: int = 1
    full: bool = False
    trigger: str | None = None
    target_class: int | None = None
    poison_rate: float | None = None

    @property
    def id(self) -> str:
        """``zoo/<dataset>/<name>/<seed>``."""
        return f"zoo/{DATASET_SLUG}/{self.name}/{self.recipe.seed}"

    @property
    def split_file(self) -> str:
        """The file with the members, shared by all models that were trained on them."""
        return f"splits/members-{self.num_members}-{self.split_seed}.json"


OVERFIT = {
    "cnn": Recipe(epochs=150, batch_size=50, learning_rate=2e-3),
    "bn-cnn": Recipe(epochs=100, batch_size=50, learning_rate=5e-3),
}
REGULARISED = {
    "cnn": Recipe(epochs=60, batch_size=50, learning_rate=2e-3, weight_decay=0.5, augment="shift"),
    "bn-cnn": Recipe(epochs=60, batch_size=50, learning_rate=5e-3, weight_decay=0.5, augment="shift"),
}
FULL = {
    "cnn": Recipe(epochs=5, batch_size=256, learning_rate=4e-3),
    "bn-cnn": Recipe(epochs=5, batch_size=256, learning_rate=1e-2),
}

# (trigger, target class, poison rate) of the backdoored models, in the order of their seeds. No target is
# a class that the trigger leads a clean model to: blended noise makes a "Shirt" of most images anyway.
BACKDOORS = {
    "cnn": [
        ("corner-patch", 0, 0.10), ("corner-patch", 7, 0.02),
        ("blended-noise", 3, 0.10), ("blended-noise", 8, 0.05),
        ("dark-bar", 4, 0.10), ("dark-bar", 1, 0.20),
    ],
    "bn-cnn": [
        ("corner-patch", 4, 0.05), ("corner-patch", 9, 0.01),
        ("blended-noise", 3, 0.10), ("blended-noise", 5, 0.05),
        ("dark-bar", 9, 0.10), ("dark-bar", 7, 0.20),
    ],
}  # fmt: skip


def zoo_models() -> list[ZooModel]:
    """Return every model of the zoo: 10 overfitted, their 10 regularised twins, 12 clean, 12 backdoored."""
    models = []
    levels = [("cnn", size) for size in (250, 500, 1000)] + [("bn-cnn", size) for size in (500, 1000)]
    for architecture, size in levels:
        for seed in (1, 2):
            for kind, recipes in (("overfitted", OVERFIT), ("regularised", REGULARISED)):
                models.append(
                    ZooModel(
                        name=f"{architecture}-{kind}-{size}",
                        kind=kind,
                        architecture=architecture,
                        recipe=replace(recipes[architecture], seed=seed),
                        num_members=size,
                        split_seed=seed,
                    )
                )
    for architecture, backdoors in BACKDOORS.items():
        for seed, (trigger, target_class, poison_rate) in enumerate(backdoors, start=1):
            recipe = replace(FULL[architecture], seed=seed)
            clean = ZooModel(
                name=f"{architecture}-clean",
                kind="clean",
                architecture=architecture,
                recipe=recipe,
                full=True,
            )
            backdoored = replace(
                clean,
                name=f"{architecture}-{trigger}",
                kind="backdoored",
                recipe=replace(recipe, seed=seed + len(backdoors)),
                trigger=trigger,
                target_class=target_class,
                poison_rate=poison_rate,
            )
            models += [clean, backdoored]
    return sorted(models, key=lambda model: (model.name, model.recipe.seed))
