"""Robust accuracy of a few networks, its passes and seconds, beside pyautoattack alone.

Run with ``python benchmarks/measure_robustness.py FOLDER [PART ...]``. FOLDER keeps the adversarially
trained network and finished units. Parts: ``train`` trains it (a CPU-minute), ``networks`` measures robust
accuracy, ``library`` runs every attack of pyautoattack on every one of a few images and compares answers
and passes, ``photographs`` attacks EfficientNet-Lite0 on the photographs of scikit-image.
"""

import sys
import time
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from tables import writing

from securitynet_hub import audit, load_images, load_target
from securitynet_hub.attacks.evasion.classifier import PixelClassifier
from securitynet_hub.attacks.evasion.kind import Options
from securitynet_hub.attacks.evasion.subject import Subject
from securitynet_hub.attacks.evasion.units import Planned, attack_unit
from securitynet_hub.attacks.evasion.worst_case import perturbing
from securitynet_hub.attacks.subject import AuditData, known_data
from securitynet_hub.data.splits import Split
from securitynet_hub.models.loading import find_annotation
from securitynet_hub.models.perturbations import pgd
from securitynet_hub.models.zoo_networks import NETWORKS, TRANSFORM
from securitynet_hub.statistics.sequences import clopper_pearson_interval

COMMAND = "python benchmarks/measure_robustness.py FOLDER"
EPS = 8 / 255
FOUR = ("apgd_ce", "apgd_t", "fab_t", "square")
SMALL = 16
"""Images on which every attack is run alone."""

ZOO = ("zoo/fashion-mnist/cnn-clean/1", "zoo/fashion-mnist/bn-cnn-clean/1")


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


def networks(folder, width=0.15):
    """Measure robust accuracy of two networks of the zoo and of the trained one."""
    columns = ["network", "norm and eps", "accuracy", "robust accuracy", "images", "passes", "CPU-seconds"]
    with writing("evasion-networks", f"{COMMAND} networks", columns) as row:
        for target, of in (
            (trained(folder), data()),
            *((load_target(id), known_data(find_annotation(id))) for id in ZOO),
        ):
            began = time.process_time()
            (record,) = audit(
                target, attacks="worst_case", data=of, width=width, robust_images=2000, keep=folder
            )
            (low, high), found = record.result["robust_accuracy_ci"], record.result
            stages = " / ".join(str(stage["n"]) for stage in found["stages"])
            failed = [check["name"] for check in found["checks"] if not check["passed"]]
            print(found["attacks"], failed, found["stopped"])
            row(
                target.id.removeprefix("zoo/fashion-mnist/").removeprefix("module/own/"),
                "Linf 8/255",
                f"{found['accuracy']:.3f}",
                f"{found['robust_accuracy']:.3f} ({low:.3f}-{high:.3f})",
                stages,
                f"{record.counts['forwarded'] + record.counts['gradients']:,}",
                f"{time.process_time() - began:.0f}",
            )


def library(folder):
    """Run pyautoattack's standard evaluation and each attack alone on a few images, and ours on the same."""
    import pyautoattack
    import pyautoattack.checks

    pyautoattack.checks.check_dynamic = lambda *given, **how: None  # sets a trace, which slows everything
    columns = [
        "network", "images", "robust, pyautoattack alone", "robust, ours", "same images broken",
        "passes an image, each attack on all", "passes an image, pyautoattack standard",
    ]  # fmt: skip
    with writing("evasion-library", f"{COMMAND} library", columns) as row:
        for target, of in (
            (trained(folder), data()),
            (load_target(ZOO[0]), known_data(find_annotation(ZOO[0]))),
        ):
            subject = Subject.of(target, of, Options(robust_images=SMALL), 0)
            classifier: PixelClassifier = subject.classifier
            images, labels = subject.read(subject.rows)
            x, y = classifier.as_pixels(images), torch.from_numpy(labels.astype(np.int64))
            with classifier.attacked():
                alone = pyautoattack.AutoAttack(classifier, norm="Linf", eps=EPS, seed=0, device="cpu")
                before = classifier.passes
                with torch.random.fork_rng():
                    _, answers = alone.run_standard_evaluation(x, y, batch_size=SMALL)
                standard = (classifier.passes - before) / SMALL
            theirs = (answers == y).numpy()
            done = attack_unit(subject, [Planned(attack=perturbing()[name]) for name in FOUR], subject.rows)
            before = classifier.passes
            for name in FOUR:
                attack_unit(subject, [Planned(attack=perturbing()[name])], subject.rows)
            each = (classifier.passes - before) / SMALL
            row(
                target.id.removeprefix("zoo/fashion-mnist/").removeprefix("module/own/"),
                str(SMALL),
                str(int(theirs.sum())),
                str(int(done.robust.sum())),
                "yes" if (done.robust == theirs).all() else "no",
                f"{each:,.0f}",
                f"{standard:,.0f}",
            )


def images_for(width, share):
    """Return the number of images of which an exact interval of such a share has such a width."""
    n = 2
    while np.diff(clopper_pearson_interval(round(share * n), n)).item() > width:
        n += 1
    return n


def photographs(folder):
    """Attack EfficientNet-Lite0 on photographs; their labels are the model's own answers."""
    import skimage.data
    from efficientnet_lite_pytorch import EfficientNet  # noqa: F401 (the loader needs it)

    names = ("astronaut", "cat", "coffee", "rocket", "chelsea", "retina")
    pictures = [getattr(skimage.data, name)()[..., :3] for name in names]
    small = [np.asarray(picture)[: 2 * (len(picture) // 2)] for picture in pictures]
    from PIL import Image

    pixels = np.stack([np.asarray(Image.fromarray(p).resize((240, 240))) for p in small])
    target = load_target("package/imagenet-1k/efficientnet-lite0")
    from securitynet_hub.engine.inference import predict

    labels = predict(target, pixels).argmax(1)
    of = AuditData.from_arrays(
        (pixels[:1], labels[:1]), (pixels[1:], labels[1:]), name="photographs", overlap="allow"
    )
    with writing(
        "evasion-photographs",
        f"{COMMAND} photographs",
        ["attack", "norm and eps", "robust", "passes", "CPU-seconds"],
    ) as row:
        for name, eps in (("fgsm", "1/255"), ("pgd", "1/255")):
            began = time.process_time()
            (record,) = audit(
                target,
                attacks=name,
                data=of,
                eps=eps,
                settings={"pgd": {"steps": 5}} if name == "pgd" else {},
            )
            (low, high), found = record.result["robust_accuracy_ci"], record.result
            row(
                name, f"Linf {eps}", f"{found['robust_accuracy']:.2f} ({low:.2f}-{high:.2f}) of {found['n']}",
                f"{record.counts['forwarded'] + record.counts['gradients']:,}",
                f"{time.process_time() - began:.0f}",
            )  # fmt: skip


PARTS = {each.__name__: each for each in (train, networks, library, photographs)}

if __name__ == "__main__":
    place = Path(sys.argv[1])
    place.mkdir(parents=True, exist_ok=True)
    for part in sys.argv[2:] or PARTS:
        PARTS[part](place)
