"""The shipped rows: their shape, their counts, and the identities that must hold in them."""

import dataclasses
import pickle
import re

import pandas as pd
import pytest
from datasets import List, Value

from securitynet_hub.annotations.flags import FLAGS
from securitynet_hub.annotations.schema import (
    CONFIGS,
    Annotation,
    Correction,
    Project,
    ZooAnnotation,
    columns,
    features,
    load_annotations,
)
from securitynet_hub.core.errors import UnknownNameError

STEALING = [(f"{kind}stealing_accuracy", f"{kind}stealing_agreement") for kind in ("", "wrn_", "imagenet_")]


@pytest.fixture(scope="module")
def models():
    return load_annotations("models")


@pytest.fixture(scope="module")
def projects():
    return load_annotations("projects")


@pytest.fixture(scope="module")
def frame(models):
    return models.to_pandas()


def flagged(rows, flag):
    return {key for key, row in rows.items() if flag in row.flags}


# --- the table as a whole


def test_row_counts_are_those_of_the_release(frame, projects):
    assert len(frame) == 529
    assert len(projects) == 102
    assert frame.groupby("table").size().to_dict() == {"benchmark": 437, "security": 92}
    assert frame.groupby("source").size().to_dict() == {
        "pytorchcv": 263, "medmnist": 174, "adversary_loss_landscape": 72,
        "robust_models_transfer": 20,
    }  # fmt: skip
    assert frame.groupby("purpose").size().to_dict() == {
        "benchmark": 263, "other": 174, "security": 92,
    }  # fmt: skip


def test_rows_stand_in_upstream_order(frame, projects):
    for _, rows in frame.groupby("table"):
        assert rows.upstream_row.tolist() == list(range(len(rows)))
    assert [row.upstream_row for row in projects.values()] == list(range(102))


def test_ids_are_unique_and_readable(models, projects):
    assert len(models) == 529
    shape = re.compile(r"[a-z_]+/[a-z0-9-]+/[A-Za-z0-9_.-]+(/[1-3])?")
    assert [key for key in models if not shape.fullmatch(key)] == []
    assert [key for key in projects if not re.fullmatch(r"[a-z]+20\d\d/[a-z0-9_.-]+", key)] == []
    for key in (
        "pytorchcv/cifar10/resnet20",
        "pytorchcv/cifar100/wrn20_10_1bit",
        "pytorchcv/svhn/densenet40_k12_bc",
        "pytorchcv/imagenet-1k/bn_vgg11",
        "pytorchcv/cub-200-2011/resnet10",
        "medmnist/organmnist3d/resnet18-acs/1",
        "medmnist/synapsemnist3d/resnet50-2.5d/3",
        "medmnist/bloodmnist/resnet18-28/1",
        "adversary_loss_landscape/cifar10/vgg_plain_linear_eps8_wd1e-3_200/3",
        "robust_models_transfer/imagenet-1k/resnet18_l2_eps0.01",
    ):
        assert models[key].id == key
    assert "icml2024/vim" in projects


@pytest.mark.parametrize(
    ("column", "benchmark", "security"),
    [
        ("train_accuracy", 263, 92),
        ("overfit_gap", 263, 92),
        ("test_accuracy", 437, 92),
        ("mia_correctness_auc", 250, 92),
        ("mia_modified_entropy_auc", 250, 92),
        ("mia_members", 250, 92),
        ("mia_nonmembers", 250, 92),
        ("stealing_accuracy", 437, 72),
        ("stealing_agreement", 437, 72),
        ("stealing_eval_size", 437, 72),
        ("wrn_stealing_accuracy", 132, 0),
        ("wrn_stealing_agreement", 132, 0),
        ("imagenet_stealing_accuracy", 146, 0),
        ("imagenet_stealing_agreement", 146, 0),
        ("train_eval_size", 223, 92),
        ("weights_url", 437, 92),
        ("weights_hash", 263, 88),
        ("license", 263, 20),
    ],
)
def test_counts_after_nulling(frame, column, benchmark, security):
    counts = frame.groupby("table")[column].count()
    assert (counts["benchmark"], counts["security"]) == (benchmark, security)


# --- identities


def test_overfit_gap_is_train_minus_test_accuracy(frame):
    gap = frame.train_accuracy - frame.test_accuracy
    assert gap.count() == 355
    assert (frame.overfit_gap - gap).abs().max() < 1.5e-6


def test_correctness_auc_follows_the_gap(frame):
    distance = (frame.mia_correctness_auc - (1 + frame.overfit_gap) / 2).abs()
    assert distance.count() == 342
    assert distance[frame.table == "security"].max() < 1e-9
    assert distance[frame.table == "benchmark"].max() <= 0.0107


def test_agreement_is_possible_for_the_two_accuracies(frame):
    pairs = 0
    for accuracy, agreement in STEALING:
        rows = frame[frame[accuracy].notna()]
        low = rows.test_accuracy + rows[accuracy] - 1
        high = 1 - (rows.test_accuracy - rows[accuracy]).abs()
        assert rows[agreement].between(low - 1.5e-6, high + 1.5e-6).all()
        pairs += len(rows)
    assert pairs == 787


def test_modified_entropy_beats_correctness_but_for_four_svhn_models(frame):
    rows = frame[frame.mia_correctness_auc.notna()]
    worse = rows[rows.mia_modified_entropy_auc < rows.mia_correctness_auc]
    assert len(rows) == 342
    assert worse.dataset.tolist() == ["SVHN"] * 4


@pytest.mark.parametrize(
    ("column", "size"),
    [
        ("train_accuracy", "train_eval_size"),
        ("test_accuracy", "test_eval_size"),
        *((figure, "stealing_eval_size") for pair in STEALING for figure in pair),
    ],
)
def test_rates_are_whole_numbers_of_images(frame, column, size):
    rows = frame[frame[size].notna() & frame[column].notna()]
    images = rows[column] * rows[size]
    assert len(rows)
    assert (images - images.round()).abs().div(rows[size]).max() < 6e-7


def test_sizes_are_those_that_the_decimals_give(frame):
    rows = frame.groupby(["table", "dataset"])[
        ["train_eval_size", "test_eval_size", "mia_members", "mia_nonmembers"]
    ].first()
    assert rows.loc[("benchmark", "CIFAR-10")].tolist() == [25_000, 10_000, 5_000, 5_000]
    assert rows.loc[("benchmark", "CIFAR-100")].tolist() == [40_000, 10_000, 5_000, 5_000]
    assert rows.loc[("benchmark", "CUB-200-2011")].tolist() == [1_499, 5_794, 1_499, 1_448]
    assert rows.loc[("benchmark", "ImageNet-1k")].tolist() == [5_000, 50_000, 5_000, 5_000]
    assert (rows.loc["security"] == 5_000).all(axis=None)
    assert rows.loc[("benchmark", "SVHN")].isna().tolist() == [True, False, False, False]


def test_accuracies_agree_with_the_publishers_own_where_the_transform_is_theirs(frame):
    points = (frame.test_accuracy - frame.reported_accuracy).mul(100)
    by_dataset = points.groupby([frame.source, frame.dataset])
    assert by_dataset.median().round(2).loc["pytorchcv"].to_dict() == pytest.approx(
        {"CIFAR-10": -0.06, "CIFAR-100": -0.08, "CUB-200-2011": -7.27, "ImageNet-1k": -2.01,
         "SVHN": -0.03}, abs=0.011,
    )  # fmt: skip
    near = by_dataset.agg(lambda p: p.abs().max()).loc["pytorchcv"]
    assert near[["CIFAR-10", "CIFAR-100", "SVHN"]].max() < 0.4
    replaced = frame.set_index("id").loc[frame.weights_newer_url.notna().tolist()]
    assert replaced.reported_accuracy.tolist() == [0.6724, 0.7402]  # of weights_url, not the newer
    assert by_dataset.median().loc["robust_models_transfer"].item() == pytest.approx(-2.8, abs=0.1)


# --- flags


@pytest.mark.parametrize(
    ("flag", "count"),
    [
        ("not-evaluated", 325),
        ("gap-without-train-accuracy", 174),
        ("train-accuracy-placeholder", 40),
        ("train-accuracy-on-subset", 315),
        ("evaluation-broken", 36),
        ("evaluation-suspect", 36),
        ("constant-predictor", 20),
        ("stealing-failed", 1),
        ("preprocessing-differs", 151),
        ("input-size-suspect", 2),
        ("dataset-changed-since", 36),
        ("dataset-noncommercial", 6),
        ("dataset-renamed", 311),
        ("family-renamed", 13),
        ("architecture-renamed", 8),
        ("countries-normalised", 29),
        ("paper-corrected", 6),
        ("paper-doubtful", 2),
        ("venue-doubtful", 11),
        ("weights-link-resolved", 355),
        ("weights-link-corrected", 174),
        ("weights-link-unresolved", 0),
        ("weights-hash-missing", 178),
        ("weights-member-assumed", 107),
        ("weights-versions-differ", 2),
        ("seed-inferred", 72),
        ("license-unclear", 246),
    ],
)
def test_flag_counts_of_models(models, flag, count):
    assert len(flagged(models, flag)) == count


@pytest.mark.parametrize(
    ("flag", "count"),
    [
        ("paper-link-repeats-repository", 48),
        ("paper-link-not-a-url", 1),
        ("paper-at-workshop", 2),
        ("title-truncated", 1),
        ("title-differs", 1),
        ("title-with-extras", 6),
        ("link-to-dataset", 1),
        ("link-to-project-page", 1),
        ("link-to-umbrella-repository", 2),
        ("weights-links-empty", 2),
        ("project-not-reviewed", 0),
    ],
)
def test_flag_counts_of_projects(projects, flag, count):
    assert len(flagged(projects, flag)) == count


def test_flags_stand_on_the_right_rows(models, frame):
    frame = frame.set_index("id")
    placeholder = frame.loc[sorted(flagged(models, "train-accuracy-placeholder"))]
    assert set(placeholder.dataset) == {"SVHN"}
    assert set(placeholder.train_accuracy) == {0.999}
    assert set(frame.loc[sorted(flagged(models, "evaluation-broken"))].dataset) == {
        "OrganMNIST3D", "SynapseMNIST3D",
    }  # fmt: skip
    constant = frame.loc[sorted(flagged(models, "constant-predictor"))]
    assert constant.groupby("dataset").size().to_dict() == {
        "SynapseMNIST3D": 16, "AdrenalMNIST3D": 2, "VesselMNIST3D": 2,
    }  # fmt: skip
    assert flagged(models, "stealing-failed") == {"pytorchcv/imagenet-1k/resnesta152"}
    assert flagged(models, "weights-versions-differ") == {
        "pytorchcv/imagenet-1k/resnet10", "pytorchcv/imagenet-1k/irevnet301",
    }  # fmt: skip
    sizes = {key: models[key].image_size for key in flagged(models, "input-size-suspect")}
    assert sizes == {
        "pytorchcv/imagenet-1k/resnesta200": 256, "pytorchcv/imagenet-1k/resnesta269": 320,
    }  # fmt: skip
    assert models["medmnist/nodulemnist3d/resnet18-3d/1"].id not in flagged(models, "weights-member-assumed")
    assert {models[key].paper_url for key in flagged(models, "paper-corrected")} == {
        "https://arxiv.org/abs/1802.08530"
    }


def test_project_statuses(projects):
    statuses = pd.Series([row.status for row in projects.values()]).value_counts()
    assert statuses.to_dict() == {
        "usable": 33, "not-classification": 38, "no-weights": 20, "unknown": 11,
    }  # fmt: skip


def test_flags_are_a_closed_vocabulary_and_explain_every_correction(models, projects):
    for row in [*models.values(), *projects.values()]:
        assert set(row.flags) <= FLAGS.keys()
        assert len(set(row.flags)) == len(row.flags)
        names = [column.name for column in columns(type(row))]
        for correction in row.corrections:
            assert correction.flag in row.flags
            assert correction.column in names
    known = {column.name for row_class in CONFIGS.values() for column in columns(row_class)}
    for flag in FLAGS.values():
        assert set(flag.distrust) <= known


def test_countries_are_spelled_alike(frame):
    lists = {tuple(countries) for countries in frame.paper_countries}
    assert ("China", "USA") in lists
    assert all(list(countries) == sorted(countries) for countries in lists)
    assert "Netherland" not in {country for countries in lists for country in countries}


# --- the record and the mapping


def test_trusted_hides_what_a_flag_distrusts(models):
    svhn = models["pytorchcv/svhn/resnet20"]
    assert svhn.train_accuracy == 0.999
    assert svhn.trusted("train_accuracy") is None
    assert svhn.trusted("overfit_gap") is None
    assert svhn.trusted("test_accuracy") == svhn.test_accuracy
    broken = models["medmnist/organmnist3d/resnet18-acs/1"]
    assert broken.test_accuracy is not None
    assert broken.trusted("test_accuracy") is None
    assert broken.trusted("num_classes") == 11
    with pytest.raises(UnknownNameError, match="Did you mean 'test_accuracy'"):
        svhn.trusted("test_acuracy")


def test_unknown_names_answer_with_the_closest(models):
    with pytest.raises(KeyError) as caught:
        models["pytorchcv/cifar10/resnt20"]
    assert str(caught.value).startswith("There is no model 'pytorchcv/cifar10/resnt20'. Did you")
    assert "'pytorchcv/cifar10/resnet20'" in str(caught.value)
    assert models.get("nothing") is None
    with pytest.raises(ValueError, match=r"no config 'model'\. Did you mean 'models'"):
        load_annotations("model")


def test_unknown_name_error_survives_a_process_boundary():
    error = UnknownNameError("metric", "x", ["a", "b"])
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "There is no metric 'x'. Known: 'a', 'b'."


def test_rows_and_mappings_are_immutable(models):
    row = models["pytorchcv/cifar10/resnet20"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.test_accuracy = 1.0
    with pytest.raises(TypeError):
        models["x"] = row
    assert isinstance(row.flags, tuple)
    assert isinstance(row.corrections, tuple)
    assert all(isinstance(correction, Correction) for correction in row.corrections)
    assert hash(row) == hash(dataclasses.replace(row))


@pytest.mark.parametrize("row_class", [Annotation, Project, ZooAnnotation])
def test_features_follow_the_record(row_class):
    described = features(row_class)
    assert list(described) == [column.name for column in columns(row_class)]
    assert list(described) == [field.name for field in dataclasses.fields(row_class)]
    assert all(column.meaning for column in columns(row_class))
    assert described["flags"] == List(Value("string"))
    assert described["upstream_row"] == Value("int64")
    assert described["corrections"] == List(
        {"column": Value("string"), "upstream": Value("string"), "flag": Value("string")}
    )


def test_other_forms_hold_the_same_rows(models):
    dataset = models.to_dataset()
    assert dataset.features == features(Annotation)
    assert dataset["id"][:] == list(models) == models.to_pandas().id.tolist()
    row = models["pytorchcv/imagenet-1k/bn_vgg11"]
    assert dataset[list(models).index(row.id)]["corrections"] == [
        dataclasses.asdict(correction) for correction in row.corrections
    ]
