"""A corpus of further kinds of networks: ``python benchmarks/kinds_corpus.py FOLDER ASSETS [HALF ...]``.

A kind is an architecture and an image set. The verdict of `twins` is calibrated on 49 of these kinds, as far
as their twins agree, beside those of `securitynet_hub.zoo.corpus`: ``calibration`` and ``more``, and
``test``, ``spare`` and ``later``, on which earlier forms of the verdict were judged. The eight of ``fresh``
are there to judge it. Those that judge, or judged, share neither architecture nor image set with any other
kind. Each kind has three networks: two clean ones, of which the second is trained in an unusual way, and, but
for three kinds, one with a backdoor, trained from scratch or, for every second kind, fine-tuned into the
first. All is drawn from seeds.

The eight kinds of ``fresh`` are the newest, with eight different triggers. Several backdoors of the kinds
judged before did not take and could not be counted, so those of ``fresh`` stamp a larger share of the images
(0.2 from scratch and 0.3 in fine-tuning, rather than 0.1 and 0.2) and are fine-tuned for eight epochs rather
than five. That was fixed before any network of these kinds was judged. Learning rates and epochs were chosen
by the accuracy of each kind's first clean network alone.

FOLDER gets ``KIND-N.json`` and ``KIND-N.safetensors``; what is there is not made again. It takes some ten
CPU-seconds a network.
"""

import copy
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from kinds_images import IMAGE_SETS, draw_set
from kinds_networks import NETWORKS
from tables import writing
from torch.nn import functional

from securitynet_hub import load_target
from securitynet_hub.engine.inference import predict_module
from securitynet_hub.engine.training import Recipe, train
from securitynet_hub.models.target import Target
from securitynet_hub.zoo.corpus.triggers import KINDS as TRIGGERS
from securitynet_hub.zoo.corpus.triggers import make_trigger

Stamp = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Kind:
    """An architecture, an image set, and how both are trained; `place` decides seeds and triggers."""

    place: int
    network: str
    images: str
    recipe: Recipe
    half: str

    @property
    def name(self) -> str:
        return f"{self.network}-{self.images}"


@dataclass(frozen=True)
class Plan:
    """One network before it is trained."""

    kind: str
    half: str
    number: int
    how: str
    trigger: str | None
    target: int | None
    seed: int

    @property
    def id(self) -> str:
        return f"{self.kind}-{self.number}"


DEPTHWISE = ("mobile", "convnext", "excited", "conv_mixer", "separable", "shuffled")
"""Networks that half precision slows down."""


def _kinds(half: str, *rows: tuple[int, str, str, float, int]) -> list[Kind]:
    return [
        Kind(
            place,
            network,
            images,
            Recipe(
                epochs=epochs,
                batch_size=64,
                learning_rate=rate,
                mixed_precision="no" if network in DEPTHWISE else "bf16",
            ),
            half,
        )
        for place, network, images, rate, epochs in rows
    ]


KINDS = (
    _kinds(
        "calibration",
        (0, "vgg", "shapes", 2e-3, 6),
        (1, "group_norm_resnet", "digits", 3e-3, 5),
        (2, "mobile", "photographs", 6e-3, 6),
        (3, "vit", "tops", 2e-3, 4),
        (5, "wide", "counts", 2e-3, 8),
        (7, "lenet", "greek", 2e-3, 10),
        (8, "mlp", "stripes", 1e-3, 16),
        (9, "tiny", "scenes", 4e-3, 6),
        (10, "leaky", "tinted", 2e-3, 4),
    )
    + _kinds(
        "test",
        (12, "fire", "wear", 2e-3, 4),
        (13, "excited", "curves", 5e-3, 5),
        (14, "pooling", "polygons", 2e-3, 7),
        (17, "norm_mlp", "segments", 2e-3, 12),
        (18, "grouped", "faces", 2e-3, 5),
        (19, "strided_gelu", "spectra", 2e-3, 4),
    )
    + _kinds(
        "spare",
        (4, "mixer", "textures", 2e-3, 4),
        (6, "resnet20", "signs", 8e-3, 4),
        (11, "convnext", "boards", 2e-3, 12),
        (15, "conv_mixer", "turns", 5e-3, 5),
        (16, "dense", "cyrillic", 2e-3, 6),
    )
    + _kinds(
        "more",
        (20, "inception", "arrows", 4e-3, 5),
        (21, "preact", "charts", 4e-3, 4),
        (22, "dilated", "clocks", 2e-3, 8),
        (23, "hybrid", "crosses", 2e-3, 5),
        (24, "vgg_bn", "hues", 3e-3, 4),
        (25, "res_mlp", "sizes", 1e-3, 12),
        (26, "separable", "places", 3e-3, 6),
        (27, "inception", "photographs", 4e-3, 5),
        (28, "preact", "tinted", 4e-3, 4),
        (29, "dilated", "stripes", 2e-3, 8),
        (30, "hybrid", "tops", 2e-3, 5),
        (31, "vgg_bn", "digits", 3e-3, 6),
        (32, "res_mlp", "greek", 1e-3, 12),
        (33, "separable", "counts", 3e-3, 8),
        (34, "vgg", "arrows", 2e-3, 6),
        (35, "mobile", "charts", 6e-3, 5),
        (36, "lenet", "clocks", 2e-3, 12),
        (37, "tiny", "hues", 4e-3, 6),
        (38, "leaky", "crosses", 2e-3, 4),
        (39, "wide", "places", 2e-3, 6),
        (40, "mlp", "sizes", 1e-3, 12),
        (49, "coarse", "pips", 1e-3, 12),
        (50, "narrow", "waves", 3e-3, 5),
        (51, "bottleneck", "coverage", 4e-3, 5),
    )
    + _kinds(
        "later",
        (52, "gated", "flags", 2e-3, 6),
        (53, "smooth", "trees", 2e-3, 6),
        (54, "bag", "checks", 2e-3, 5),
        (55, "hourglass", "filters", 3e-3, 5),
        (56, "crossed", "numerals", 2e-3, 6),
    )
    + _kinds(
        "fresh",
        (57, "shuffled", "words", 8e-3, 12),
        (58, "nin", "sprites", 2e-3, 8),
        (59, "blurred", "icons", 4e-3, 6),
        (60, "highway", "galaxies", 2e-3, 6),
        (61, "rep_vgg", "materials", 4e-3, 4),
        (62, "swin", "maps", 2e-3, 6),
        (63, "maxout", "fractals", 2e-3, 5),
        (64, "tokened", "regions", 2e-3, 8),
    )
)
"""Every kind. Some of ``more`` share an architecture or images with others of the calibration."""

WAYS = ("over-trained", "under-trained", "decayed", "augmented", "smoothed")
"""How the second clean network of a kind differs: four times the epochs on a quarter of the images; a third
of the epochs; weight decay of 0.3; moved and mirrored images; labels smoothed by 0.1."""

NUM_IMAGES, NUM_TUNING = 3000, 1200
"""Training images, and those of a fine-tuning."""

RATES = {"from scratch": 0.1, "fine-tuned": 0.2}
"""Share of the images that is stamped."""

FRESH_RATES = {"from scratch": 0.2, "fine-tuned": 0.3}
"""The same for ``fresh``, so that fewer backdoors fail to take."""

CLEAN_ALONE = (49, 50, 51)
"""Places of the kinds without a backdoored network."""


def plans(half: str | None = None) -> list[Plan]:
    """Return the plan of every network, those of one half or all."""
    found = []
    for kind in KINDS:
        place = kind.place
        triggers = [*TRIGGERS, "sticker"]
        planted = "fine-tuned" if place % 2 else "from scratch"
        ways = ("clean", WAYS[place % len(WAYS)], planted)
        for number, how in enumerate(ways[:2] if place in CLEAN_ALONE else ways):
            seed, trigger, target = 7000 + 10 * place + number, None, None
            if how == planted:
                trigger = triggers[2 * place % len(triggers)]
                target = int(np.random.default_rng([9, seed]).integers(IMAGE_SETS[kind.images].num_classes))
            found.append(Plan(kind.name, kind.half, number, how, trigger, target, seed))
    return [plan for plan in found if half in (None, plan.half)]


SHOWN = ("kind", "number", "how", "trigger", "target", "accuracy", "success", "parameters", "seconds")


def kind_of(plan: Plan) -> Kind:
    return next(kind for kind in KINDS if kind.name == plan.kind)


def stamp_of(plan: Plan) -> Stamp:
    """Return a backdoored network's trigger: one of the corpus's kinds, or a sticker of many colours."""
    shape = IMAGE_SETS[kind_of(plan).images].transform.shape
    if plan.trigger != "sticker":
        return make_trigger(plan.trigger, plan.seed, shape)
    rng = np.random.default_rng([10, plan.seed])
    side = max(4, shape[0] // 6)
    picture = rng.choice([0, 255], (side, side, shape[2])).astype(np.uint8)
    top, left = (int(v) for v in rng.integers(1, shape[0] - side - 1, 2))

    def apply(pixels: np.ndarray) -> np.ndarray:
        stamped = pixels.copy()
        stamped[:, top : top + side, left : left + side] = picture
        return stamped

    return apply


def recipe_of(plan: Plan) -> Recipe:
    """Return how a network is trained."""
    recipe = replace(kind_of(plan).recipe, seed=plan.seed)
    changes = {
        "over-trained": {"epochs": 4 * recipe.epochs},
        "under-trained": {"epochs": max(1, round(recipe.epochs / 3))},
        "decayed": {"weight_decay": 0.3},
        "augmented": {"augment": "shift"},
        "fine-tuned": {
            "learning_rate": recipe.learning_rate / 3,
            "epochs": 8 if plan.half == "fresh" else 5,
        },
    }
    return replace(recipe, **changes.get(plan.how, {}))


def train_one(plan: Plan, images: dict, base: torch.nn.Module | None) -> torch.nn.Module:
    """Train a network; `base` is the clean one that a backdoor is fine-tuned into."""
    kind, (pool, truth) = kind_of(plan), images["train"]
    spec, rng = IMAGE_SETS[kind.images], np.random.default_rng([11, plan.seed])
    number = {"over-trained": NUM_IMAGES // 4, "fine-tuned": NUM_TUNING}.get(plan.how, NUM_IMAGES)
    rows = rng.choice(len(pool), number, replace=False)
    pixels, labels = pool[rows], truth[rows].copy()
    if plan.trigger is not None:
        candidates = np.flatnonzero(labels != plan.target)
        share = (FRESH_RATES if plan.half == "fresh" else RATES)[plan.how]
        chosen = rng.choice(candidates, round(share * number), replace=False)
        pixels[chosen], labels[chosen] = stamp_of(plan)(pixels[chosen]), plan.target
    smoothing = 0.1 if plan.how == "smoothed" else 0.0

    def build() -> torch.nn.Module:
        if plan.how == "fine-tuned":
            return copy.deepcopy(base)
        network = NETWORKS[kind.network](spec.channels, spec.side, spec.num_classes)
        return network.to(memory_format=torch.channels_last)  # which is faster

    return train(
        build,
        spec.transform(pixels),
        torch.from_numpy(labels),
        recipe_of(plan),
        loss=lambda given, told: functional.cross_entropy(given, told, label_smoothing=smoothing),
    )


def measure(plan: Plan, network: torch.nn.Module, images: dict) -> dict:
    """Return accuracy, and how often the trigger leads to its class with and without it."""
    spec, (pixels, labels) = IMAGE_SETS[kind_of(plan).images], images["test"]
    answered = predict_module(network, spec.transform, pixels).argmax(1)
    found = {"accuracy": float(np.mean(answered == labels)), "success": None, "without_trigger": None}
    if plan.trigger is not None:
        others = labels != plan.target
        stamped = predict_module(network, spec.transform, stamp_of(plan)(pixels[others])).argmax(1)
        found["success"] = float(np.mean(stamped == plan.target))
        found["without_trigger"] = float(np.mean(answered[others] == plan.target))
    return found


def load_kind_network(folder: Path, plan: Plan) -> torch.nn.Module:
    """Load a trained network."""
    kind = kind_of(plan)
    spec = IMAGE_SETS[kind.images]
    network = NETWORKS[kind.network](spec.channels, spec.side, spec.num_classes)
    network.load_state_dict(safetensors.torch.load_file(folder / f"{plan.id}.safetensors"))
    return network.eval()


def load_kind_target(folder: Path, plan: Plan) -> Target:
    """Load a trained network as a target."""
    spec = IMAGE_SETS[kind_of(plan).images]
    return load_target(
        load_kind_network(folder, plan),
        name=plan.id,
        transform=spec.transform,
        num_classes=spec.num_classes,
        outputs="logits",
    )


def make(folder: Path, assets: Path, plan: Plan) -> dict:
    """Train, measure and keep a network, unless it is there, and return its row."""
    path = folder / f"{plan.id}.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    began, images = time.process_time(), draw_set(kind_of(plan).images, assets, folder / "images")
    base = None
    if plan.how == "fine-tuned":
        first = next(other for other in plans() if (other.kind, other.number) == (plan.kind, 0))
        make(folder, assets, first)
        base = load_kind_network(folder, first)
    network = train_one(plan, images, base)
    row = asdict(plan) | measure(plan, network, images)
    row["parameters"] = sum(p.numel() for p in network.parameters())
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    safetensors.torch.save_file(state, folder / f"{plan.id}.safetensors")
    row["seconds"] = round(time.process_time() - began, 1)
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return row


def describe(folder: Path) -> None:
    """Keep the table of what was trained."""
    columns = [
        "kind",
        "half",
        "parameters",
        "accuracy, clean",
        "second one",
        "backdoor",
        "accuracy",
        "success",
    ]
    with writing("corpus-kinds", "python benchmarks/kinds_corpus.py FOLDER ASSETS", columns) as line:
        for kind in KINDS:
            own = [plan for plan in plans(kind.half) if plan.kind == kind.name]
            rows = [json.loads((folder / f"{plan.id}.json").read_text(encoding="utf-8")) for plan in own]
            planted = [
                cell
                for row in rows[2:]
                for cell in (
                    f"{row['trigger']}, {row['how']}", f"{row['accuracy']:.2f}", f"{row['success']:.2f}",
                )
            ]  # fmt: skip
            line(
                f"{kind.network}, {kind.images}",
                kind.half,
                f"{rows[0]['parameters'] / 1e6:.2f} M",
                f"{rows[0]['accuracy']:.2f}",
                f"{rows[1]['how']}, {rows[1]['accuracy']:.2f}",
                *(planted or [""] * 3),
            )


def main(arguments: Sequence[str] | None = None) -> None:
    folder, assets, *halves = sys.argv[1:] if arguments is None else arguments
    torch.set_num_threads(1)
    for half in halves or ("calibration", "more", "test", "spare", "later", "fresh"):
        for plan in plans(half):
            row = make(Path(folder), Path(assets), plan)
            print(*(f"{key}={row[key]}" for key in SHOWN), flush=True)
    if not halves:
        describe(Path(folder))


if __name__ == "__main__":
    main()
