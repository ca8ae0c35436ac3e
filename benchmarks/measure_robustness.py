"""Robust accuracy of a few networks, its passes and seconds, beside pyautoattack alone.

Run with ``python benchmarks/measure_robustness.py FOLDER [PART ...]``. FOLDER keeps the adversarially
trained network. Parts: ``train`` trains it (a CPU-minute), ``networks`` measures robust accuracy beside
pyautoattack alone (half an hour), ``sizes`` how it falls as changes grow, ``library`` runs every attack of
pyautoattack on every one of a few images and compares answers and passes, ``simulated`` compares passes by
width where attacks have known success, ``photographs`` attacks EfficientNet-Lite0 on the photographs of
scikit-image.
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from tables import writing

from securitynet_hub import audit, load_images, load_target
from securitynet_hub.attacks.evasion.classifier import PixelClassifier
from securitynet_hub.attacks.evasion.kind import Options
from securitynet_hub.attacks.evasion.stages import attack_in_stages
from securitynet_hub.attacks.evasion.subject import Subject
from securitynet_hub.attacks.evasion.units import Done, Planned, Tally, attack_unit
from securitynet_hub.attacks.evasion.worst_case import perturbing
from securitynet_hub.attacks.subject import AuditData, known_data
from securitynet_hub.data.splits import Split
from securitynet_hub.engine.inference import predict
from securitynet_hub.models.loading import find_annotation
from securitynet_hub.models.perturbations import pgd
from securitynet_hub.models.zoo_networks import NETWORKS, TRANSFORM
from securitynet_hub.statistics.sequences import clopper_pearson_interval

COMMAND = "python benchmarks/measure_robustness.py FOLDER"
EPS = 8 / 255
FOUR = ("apgd_ce", "apgd_t", "fab_t", "square")
LARGE = "32/255"
"""A change at which hardly an image of the zoo's networks withstands, as of public models at 8/255."""

LITE = "package/imagenet-1k/efficientnet_lite0"

CLEAN = "zoo/fashion-mnist/cnn-clean/1"
SAMPLE = 64
"""Images that pyautoattack alone attacks."""

TRAINED = "adversarially trained cnn"
CROPS = f"{LITE.rsplit('/')[-1]}, crops of photographs"
FAMILIES = ("clean/1", "overfitted-500/1", "regularised-500/1", "corner-patch/7")
"""Families of the zoo, each of two architectures."""
MEASURED = (
    *(
        (f"{network}-{family}", eps, 0.2)
        for eps in ("32/255", "8/255")
        for network in ("cnn", "bn-cnn")
        for family in FAMILIES
    ),
    *((TRAINED, eps, 0.2) for eps in ("32/255", "8/255")),
    ("cnn-clean/1", "8/255", 0.1),
    (TRAINED, "8/255", 0.1),
    (CROPS, "1/255", 0.2),
    (CROPS, "1/1020", 0.2),
)
"""Network, largest change and the width of the interval."""


def data():
    """Members: the 2,000 packaged training images; non-members: the 2,000 packaged test images."""
    return AuditData(
        images=load_images(), split=Split(members=np.arange(2000), nonmembers=np.arange(2000, 4000))
    )


def train(folder, epochs=15, steps=4):
    """Train a small network on adversarial examples (Madry et al. 2018): PGD at 8/255 on 2,000 images."""
    torch.manual_seed(0)
    images = load_images()
    x = torch.from_numpy(np.moveaxis(images.pixels[:2000], -1, 1).astype(np.float32)) / 255
    y = torch.tensor(images.labels[:2000].astype(np.int64))
    module = NETWORKS["cnn"](10)

    def network(pixels):
        return module(TRANSFORM.differentiable(255 * pixels))

    optimiser = torch.optim.Adam(module.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=epochs * 20)
    generator, began = torch.Generator().manual_seed(0), time.process_time()
    for _ in range(epochs):
        for rows in torch.randperm(len(y)).split(100):
            changed = pgd(
                network, x[rows], y[rows], radius=EPS, steps=steps, step_size=EPS / 2, generator=generator
            )
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(network(changed), y[rows]).backward()
            optimiser.step()
            schedule.step()
    print(f"trained in {time.process_time() - began:.0f} CPU-seconds")
    safetensors.torch.save_file(module.state_dict(), folder / "adversarial.safetensors")


def trained(folder):
    """Return the adversarially trained network as a target."""
    module = NETWORKS["cnn"](10)
    module.load_state_dict(safetensors.torch.load_file(folder / "adversarial.safetensors"))
    return load_target(module, name="adversarially trained cnn", transform=TRANSFORM, num_classes=10)


def networks(folder):
    """Measure robust accuracy of the zoo, the trained network and a large one, beside pyautoattack alone.

    This attacks the first 64 images (16 of the large network) in its standard order; its passes for an image,
    times the images of which an exact interval is as wide as ours, are what it would take for the same width.
    """
    columns = [
        "network",
        "Linf, eps",
        "width",
        "accuracy",
        "robust accuracy",
        "images",
        "passes",
        "CPU-seconds",
        "pyautoattack alone",
        "its images",
        "its passes for this width",
        "times as many",
    ]
    with writing("evasion-networks", f"{COMMAND} networks", columns) as row:
        for id, eps, width in MEASURED:
            target, of, sample = measured(id, folder)
            began = time.process_time()
            (record,) = audit(target, attacks="worst_case", data=of, eps=eps, width=width, robust_images=2000)
            took = time.process_time() - began
            result, (low, high) = record.result, record.result["robust_accuracy_ci"]
            failed = [check["name"] for check in result["checks"] if not check["passed"]]
            passes = record.counts["forwarded"] + record.counts["gradients"]
            print(id, eps, result["attacks"], failed, result["stopped"], flush=True)
            robust, standard = attacked_alone(
                Subject.of(target, of, Options(robust_images=sample, eps=eps), 0)
            )
            needed = images_for(high - low, result["robust_accuracy"])
            theirs = standard / sample * needed
            low_alone, high_alone = clopper_pearson_interval(int(robust.sum()), sample)
            row(
                id,
                eps,
                str(width),
                f"{result['accuracy']:.3f}",
                f"{result['robust_accuracy']:.3f} ({low:.3f}-{high:.3f})",
                f"{result['n']:,}",
                f"{passes:,}",
                f"{took:.0f}",
                f"{robust.mean():.3f} ({low_alone:.3f}-{high_alone:.3f})",
                str(sample),
                f"{theirs:,.0f}",
                f"{theirs / passes:.1f}",
            )


def measured(id, folder):
    """Return the network, what it is attacked on, and how many images pyautoattack alone attacks."""
    if id == CROPS:
        target = load_target(LITE)
        return target, crops(target), SAMPLE // 4
    target = trained(folder) if id == TRAINED else load_target(f"zoo/fashion-mnist/{id}")
    return target, data(), SAMPLE


def crops(target, count=512, size=240):
    """Return windows of the photographs of scikit-image, with the network's own answers as labels."""
    rng = np.random.default_rng(0)
    pictures = [picture for picture in photographs_of_skimage() if min(picture.shape[:2]) > size]
    pixels = np.empty((count, size, size, 3), np.uint8)
    for place in range(count):
        picture = pictures[place % len(pictures)]
        top, left = (rng.integers(side - size) for side in picture.shape[:2])
        pixels[place] = picture[top : top + size, left : left + size]
    labels = predict(target, pixels).argmax(1)
    return AuditData.from_arrays((pixels[:1], labels[:1]), (pixels, labels), name="crops", overlap="allow")


def photographs_of_skimage():
    """Return the photographs, each (height, width, 3)."""
    import skimage.data
    from PIL import Image

    names = ("astronaut", "cat", "coffee", "rocket", "camera", "coins")
    return [np.asarray(Image.fromarray(getattr(skimage.data, name)()).convert("RGB")) for name in names]


def sizes(folder):
    """Measure how robust accuracy falls as changes grow, by the attacks that are cheap."""
    epsilons = [f"{levels}/255" for levels in (1, 2, 4, 8, 16, 32)]
    cheap = {"worst_case": {"attacks": ["fgsm", "pgd", "pgd_t"]}}
    targets = {id: load_target(f"zoo/fashion-mnist/{id}") for id in ("cnn-clean/1", "bn-cnn-clean/1")}
    targets[TRAINED] = trained(folder)
    with writing("evasion-sizes", f"{COMMAND} sizes", ["network", "unchanged", *epsilons]) as row:
        for id, target in targets.items():
            found = [
                audit(target, attacks="worst_case", data=data(), eps=eps, robust_images=200, settings=cheap)[
                    0
                ].result
                for eps in epsilons
            ]
            robust = [f"{each['robust_accuracy']:.3f}" for each in found]
            row(id, f"{found[0]['accuracy']:.3f}", *robust)


def simulated(folder, runs=20):
    """Compare passes for the same width where the share that withstands each stage is known.

    The attacks that are cheap cost 137 passes for an image that withstands them, all others 9,762; for one
    that is broken, 20 and 1,800. pyautoattack takes 9,762 and 200, and as many images as an exact interval of
    that width needs. Runs vary, as some begin the costly stage early: the ratio is that of the mean passes,
    in brackets those of the runs that take most and least, but for a tenth each.
    """
    attack = perturbing()["fgsm"]
    planned = [
        Planned(attack=replace(attack, name=name, order=order, cost=lambda cost=cost: cost - 1))
        for order, (name, cost) in enumerate({"cheap": 100, "costly": 9762}.items())
    ]
    with writing(
        "evasion-stopping",
        f"{COMMAND} simulated",
        [
            "withstand all",
            "of these after cheap attacks",
            "width",
            "images, exact",
            "images",
            "times fewer passes",
        ],
    ) as row:
        for first, second in ((0.6, 0.99), (0.42, 0.99), (0.42, 0.95), (0.1, 0.95), (0.01, 0.95)):
            share = first * second
            for width in (0.2, 0.1, 0.05):
                ours, images = [], []
                for seed in range(runs):
                    found = attack_in_stages(
                        planned,
                        np.arange(60_000),
                        known_success((first, second), (137, 9762), (20, 1800), seed),
                        width=width,
                        passes=None,
                        confidence_level=0.95,
                    )
                    ours.append(sum(stage.passes for stage in found.stages))
                    images.append([stage.n for stage in found.stages])
                needed = images_for(width, share)
                theirs = needed * (share * 9762 + (1 - share) * 200)
                shown = " and ".join(f"{count:,.0f}" for count in np.mean(images, axis=0))
                least, most = np.quantile(ours, [0.1, 0.9])
                row(
                    f"{share:.3f}",
                    f"{second:.0%}",
                    str(width),
                    f"{needed:,}",
                    shown,
                    f"{theirs / np.mean(ours):.1f} ({theirs / most:.1f}-{theirs / least:.1f})",
                )


def known_success(shares, withstood, broken, seed):
    """Return what does units of work on images that withstand each stage with such a share."""
    holds = np.random.default_rng(seed).random((60_000, len(shares))) < shares

    def do_all(work):
        found = []
        for part in work:
            rows = np.array(part.rows)
            held = holds[rows, part.stage]
            passes = int(np.where(held, withstood[part.stage], broken[part.stage]).sum())
            found.append(
                Done(
                    rows=rows,
                    right=np.ones(len(rows), bool),
                    broken_by=np.where(held, -1, 0),
                    tallies={"": Tally(n=len(rows), forwarded=passes)},
                    examples=[],
                )
            )
        return found

    return do_all


def attacked_alone(subject):
    """Run pyautoattack's standard order; return which images withstand, and the passes that it took."""
    import pyautoattack
    import pyautoattack.checks

    pyautoattack.checks.check_dynamic = lambda *given, **how: None  # sets a trace, which slows everything
    classifier: PixelClassifier = subject.classifier
    images, labels = subject.read(subject.rows)
    x, y = classifier.as_pixels(images), torch.from_numpy(labels.astype(np.int64))
    before = classifier.passes
    with classifier.attacked():
        alone = pyautoattack.AutoAttack(classifier, norm="Linf", eps=subject.threat.eps, seed=0, device="cpu")
        with torch.random.fork_rng():
            _, answers = alone.run_standard_evaluation(x, y, batch_size=len(x))
    return (answers == y).numpy(), classifier.passes - before


def library(folder, width=0.1):
    """Run pyautoattack alone and each of its attacks on each image, and ours until the interval is as narrow.

    As many images as an exact interval of such a width needs where none withstands.
    """
    target, of = load_target(CLEAN), known_data(find_annotation(CLEAN))
    small = images_for(width, 0.0)
    subject = Subject.of(target, of, Options(robust_images=small, eps=LARGE), 0)
    classifier: PixelClassifier = subject.classifier
    theirs, standard = attacked_alone(subject)
    done = attack_unit(subject, [Planned(attack=perturbing()[name]) for name in FOUR], subject.rows)
    assert (done.robust == theirs).all(), "other images are broken than by the package alone"
    before = classifier.passes
    for name in FOUR:
        attack_unit(subject, [Planned(attack=perturbing()[name])], subject.rows)
    each = classifier.passes - before
    (ours,) = audit(target, attacks="worst_case", data=of, eps=LARGE, width=width, robust_images=2000)
    columns = ["what", "images", "robust accuracy", "passes"]
    low, high = clopper_pearson_interval(int(theirs.sum()), small)
    exact = f"{theirs.mean():.3f} ({low:.3f}-{high:.3f})"
    with writing("evasion-library", f"{COMMAND} library", columns) as row:
        row("each of the four attacks on every image", str(small), exact, f"{each:,}")
        row("pyautoattack, standard", str(small), exact, f"{standard:,}")
        low, high = ours.result["robust_accuracy_ci"]
        row(
            "`worst_case`, `--width 0.1`",
            str(ours.result["n"]),
            f"{ours.result['robust_accuracy']:.3f} ({low:.3f}-{high:.3f})",
            f"{ours.counts['forwarded'] + ours.counts['gradients']:,}",
        )


def images_for(width, share):
    """Return the number of images of which an exact interval of such a share has such a width."""
    few, many = 1, 2
    while np.diff(clopper_pearson_interval(round(share * many), many)).item() > width:
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        wide = np.diff(clopper_pearson_interval(round(share * middle), middle)).item() > width
        few, many = (middle, many) if wide else (few, middle)
    return many


def photographs(folder):
    """Attack EfficientNet-Lite0 on photographs; their labels are the model's own answers."""
    from PIL import Image

    pictures = [Image.fromarray(picture) for picture in photographs_of_skimage()]
    pixels = np.stack([np.asarray(picture.resize((240, 240))) for picture in pictures])
    target = load_target(LITE)
    labels = predict(target, pixels).argmax(1)
    of = AuditData.from_arrays(
        (pixels[:1], labels[:1]), (pixels, labels), name="photographs", overlap="allow"
    )
    columns = ["attack", "Linf, eps", "withstand", "passes", "CPU-seconds"]
    with writing("evasion-photographs", f"{COMMAND} photographs", columns) as row:
        for eps in ("1/1020", "1/255"):
            for name, own in (("fgsm", {}), ("pgd", {"pgd": {"steps": 5, "step": 0.5}})):
                began = time.process_time()
                (record,) = audit(target, attacks=name, data=of, eps=eps, settings=own)
                result, (low, high) = record.result, record.result["robust_accuracy_ci"]
                row(
                    name,
                    eps,
                    f"{result['robust_accuracy'] * result['n']:.0f} of {result['n']} ({low:.2f}-{high:.2f})",
                    f"{record.counts['forwarded'] + record.counts['gradients']:,}",
                    f"{time.process_time() - began:.0f}",
                )


PARTS = {each.__name__: each for each in (train, networks, sizes, library, simulated, photographs)}

if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    for part in sys.argv[2:] or PARTS:
        PARTS[part](place)
