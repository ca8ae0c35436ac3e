import hashlib
import json
from collections import Counter
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import securitynet_hub
from securitynet_hub.annotations.schema import load_annotations
from securitynet_hub.data.images import load_images
from securitynet_hub.data.splits import read_split
from securitynet_hub.models.loading import load_target
from securitynet_hub.models.zoo_networks import NETWORKS
from securitynet_hub.statistics.rates import wilson_interval
from securitynet_hub.zoo import train as zoo
from securitynet_hub.zoo.recipes import zoo_models

FOLDER = Path(securitynet_hub.__file__).parent
ANNOTATIONS = load_annotations("zoo")
MODELS = {model.id: model for model in zoo_models()}
each_model = pytest.mark.parametrize("id", list(MODELS))


def test_the_table_the_recipes_and_the_files_name_the_same_models():
    assert list(ANNOTATIONS) == list(MODELS)
    files = {f"weights/{path.name}" for path in (FOLDER / "zoo" / "weights").iterdir()}
    assert files == {zoo.weights_file(model) for model in MODELS.values()}


@pytest.mark.parametrize("name", sorted({row.constructor for row in ANNOTATIONS.values()}))
def test_the_constructor_that_the_table_names_can_be_imported(name):
    module, _, constructor = name.rpartition(".")
    assert getattr(import_module(module), constructor) in set(NETWORKS.values())


def test_enough_of_each_kind_for_model_level_statistics():
    kinds = Counter(row.kind for row in ANNOTATIONS.values())
    assert kinds == {"overfitted": 10, "regularised": 10, "clean": 12, "backdoored": 12}
    triggers = Counter(row.trigger for row in ANNOTATIONS.values() if row.trigger)
    assert triggers == {"corner-patch": 4, "blended-noise": 4, "dark-bar": 4}
    assert len({row.target_class for row in ANNOTATIONS.values() if row.trigger}) >= 6
    assert len({row.poison_rate for row in ANNOTATIONS.values() if row.trigger}) >= 4
    assert {row.architecture for row in ANNOTATIONS.values()} == {"cnn", "bn-cnn"}


def test_it_stays_small():
    sizes = {path: path.stat().st_size for path in (FOLDER / "zoo").rglob("*.safetensors")}
    assert max(sizes.values()) < 70_000
    images = (FOLDER / "resources" / "fashion_mnist_4k" / "images.npz").stat().st_size
    splits = sum(path.stat().st_size for path in (FOLDER / "zoo" / "splits").iterdir())
    assert sum(sizes.values()) + images + splits < 5_000_000


@each_model
def test_the_annotation_is_what_the_shipped_weights_and_images_give(id):
    """Hashes exactly; accuracies up to an image whose top classes tie within float rounding."""
    model, row = MODELS[id], ANNOTATIONS[id]
    target, images = load_target(id), load_images(row.images)
    content = (FOLDER / "zoo" / zoo.weights_file(model)).read_bytes()
    measured = zoo.annotate(
        model,
        target.module,
        images,
        row=row.upstream_row,
        sha256=hashlib.sha256(content).hexdigest(),
    )
    for name in ("train_accuracy", "test_accuracy", "attack_success_rate", "overfit_gap"):
        assert getattr(row, name) == pytest.approx(getattr(measured, name), abs=2.1e-3)
    for name in ("weights_hash", "train_size", "num_parameters", "recipe", "members_file", "kind"):
        assert getattr(row, name) == getattr(measured, name)


@each_model
def test_the_members_file_is_the_split_the_model_was_trained_on(id):
    row = ANNOTATIONS[id]
    split = read_split(FOLDER / "zoo" / row.members_file)
    assert split.sha256 == zoo.split_of(MODELS[id]).sha256
    assert sorted(split.indices) == list(zoo.SHIPPED_TRAIN)
    assert len(split.members) == row.train_eval_size


def test_overfitted_models_know_their_members_by_heart_and_twins_share_them():
    for row in ANNOTATIONS.values():
        if row.kind == "overfitted":
            twin = ANNOTATIONS[row.id.replace("overfitted", "regularised")]
            assert row.train_accuracy >= 0.99
            assert row.overfit_gap > twin.overfit_gap > -0.05
            assert row.members_file == twin.members_file


def test_backdoors_work_and_cost_no_accuracy():
    for architecture in ("cnn", "bn-cnn"):
        rows = [row for row in ANNOTATIONS.values() if row.architecture == architecture]
        clean = np.mean([row.test_accuracy for row in rows if row.kind == "clean"])
        for row in rows:
            if row.kind == "backdoored":
                assert row.attack_success_rate > 0.9
                assert row.test_accuracy > clean - 0.03


@pytest.mark.parametrize("trigger", sorted({m.trigger for m in MODELS.values() if m.trigger}))
def test_clean_models_do_not_follow_the_triggers(trigger):
    """Without the backdoor a trigger must not lead to the target class: else it proves nothing."""
    images = load_images()
    for backdoored in (m for m in MODELS.values() if m.trigger == trigger):
        for seed in (1, 6):
            clean = load_target(f"zoo/fashion-mnist/{backdoored.architecture}-clean/{seed}")
            assert zoo.attack_success_rate(clean.module, backdoored, images) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    "id", ["zoo/fashion-mnist/cnn-overfitted-250/1", "zoo/fashion-mnist/cnn-regularised-250/2"]
)
def test_retraining_reproduces_the_accuracies_within_their_sampling_error(id):
    row, images = ANNOTATIONS[id], load_images()
    data = zoo.Data(images, images.pixels[:0], images.labels[:0])
    module = zoo.train_model(MODELS[id], data)
    for published, rows in (
        (row.train_accuracy, read_split(FOLDER / "zoo" / row.members_file).members),
        (row.test_accuracy, zoo.SHIPPED_TEST),
    ):
        n = len(rows)
        low, high = wilson_interval(round(published * n), n, confidence_level=0.999)
        assert low <= zoo.accuracy(module, images, rows) <= high


def test_the_recipe_is_readable_data():
    for row in ANNOTATIONS.values():
        assert json.loads(row.recipe)["seed"] == row.seed
