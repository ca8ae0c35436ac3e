"""Shadow models: what each was trained on is known, and work that was done is found again."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from securitynet_hub import audit, load_target, read_records
from securitynet_hub.attacks.membership import shadows
from securitynet_hub.attacks.membership.lira import lira_scores
from securitynet_hub.attacks.membership.measures import measure_membership
from securitynet_hub.attacks.membership.model_answers import ModelAnswers
from securitynet_hub.attacks.membership.shadows import (
    answers,
    balanced_masks,
    each_answer,
    fresh_samples,
    train_shadows,
)
from securitynet_hub.attacks.subject import known_data
from securitynet_hub.core.errors import UnknownNameError, WeightsError
from securitynet_hub.data.augmentations import identity, mirror
from securitynet_hub.data.images import LabelledImages, load_images
from securitynet_hub.data.splits import Split
from securitynet_hub.engine.inference import predict_module
from securitynet_hub.engine.trained import read_decided
from securitynet_hub.engine.training import Recipe
from securitynet_hub.models.zoo_networks import TRANSFORM, Cnn
from securitynet_hub.statistics.rates import roc_auc
from securitynet_hub.statistics.signals import logit_margin, loss
from securitynet_hub.zoo.shadows import train_zoo_shadows

IMAGES = load_images()
POOL = np.arange(0, 400, 4)
RECIPE = Recipe(epochs=2, batch_size=25, seed=7)


def build():
    return Cnn(10)


def trained(folder, models=3, *, seed=1, **changes):
    masks = balanced_masks(4, len(POOL), seed=seed)[:models]
    settings = {"images": IMAGES, "pool": POOL, "masks": masks, "recipe": RECIPE, "transform": TRANSFORM}
    return train_shadows(build, **(settings | changes), folder=folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shadows")


@pytest.fixture(scope="module")
def three(folder):
    return trained(folder)


@pytest.fixture
def trainings(monkeypatch):
    """Count the models that are trained."""
    done = []

    def counting(*arguments, **options):
        done.append(arguments[1].shape[0])
        return train(*arguments, **options)

    train = shadows.train
    monkeypatch.setattr(shadows, "train", counting)
    return done


@pytest.mark.parametrize(("models", "parts"), [(2, 2), (3, 2), (8, 2), (9, 4), (16, 8)])
def test_every_sample_is_in_one_of_so_many_models(models, parts):
    masks = balanced_masks(models, 500, parts=parts, seed=3)
    whole = models // parts * parts
    assert set(masks[:whole].sum(0).tolist()) == {models // parts}
    assert set(masks.sum(1).tolist()) <= {500 // parts, -(-500 // parts)}
    np.testing.assert_array_equal(masks, balanced_masks(models, 500, parts=parts, seed=3))
    np.testing.assert_array_equal(masks, balanced_masks(models + 5, 500, parts=parts, seed=3)[:models])
    assert (masks != balanced_masks(models, 500, parts=parts, seed=4)).any()


def test_every_row_can_be_chosen():
    """None is left out, first and last included (a well-known library never picks the last)."""
    masks = balanced_masks(16, 50, seed=0)
    assert masks.any(0).all()
    assert (~masks).any(0).all()


def test_models_are_trained_on_their_members_alone(three, trainings, tmp_path):
    again = trained(tmp_path)
    assert trainings == three.masks.sum(1).tolist()
    np.testing.assert_array_equal(again.logits, three.logits)
    changed = IMAGES.pixels.copy()
    left_out = POOL[~three.masks[0]]
    changed[left_out] = 255 - changed[left_out]
    others = LabelledImages(
        name="changed", pixels=changed, labels=IMAGES.labels, class_names=IMAGES.class_names
    )
    one = trained(tmp_path, 1, images=others)
    seen = three.masks[0]
    np.testing.assert_array_equal(one.logits[:, seen], three.logits[:1, seen])
    assert not np.allclose(one.logits[:, ~seen], three.logits[:1, ~seen])


def test_members_are_answered_with_more_confidence(tmp_path):
    taught = trained(tmp_path, 2, recipe=Recipe(epochs=60, batch_size=10, learning_rate=2e-3))
    margins = taught.margins(IMAGES.labels[POOL])[..., 0]
    assert margins[taught.masks].mean() > margins[~taught.masks].mean() + 2


def test_work_that_was_done_is_found_again(three, folder, trainings):
    before = sorted(folder.iterdir())
    np.testing.assert_array_equal(trained(folder).logits, three.logits)
    assert trainings == []
    more = trained(folder, 4)
    assert len(trainings) == 1
    np.testing.assert_array_equal(more.logits[:3], three.logits)
    assert len(sorted(folder.iterdir())) == len(before) + 1


def test_every_file_says_what_it_was_trained_on(three, folder, tmp_path):
    decided = [read_decided(path) for path in folder.iterdir()]
    decided.sort(key=lambda each: each["recipe"]["seed"])
    for each, mask in zip(decided, three.masks, strict=False):
        assert each["images"] == IMAGES.sha256
        np.testing.assert_array_equal(each["members"], POOL[mask])
    plain = tmp_path / "plain.safetensors"
    save_file({"weight": torch.zeros(1)}, plain)
    (tmp_path / "text.safetensors").write_text("no tensors")
    for path in (plain, tmp_path / "text.safetensors", tmp_path / "absent.safetensors"):
        with pytest.raises(WeightsError, match="does not state what it was trained on"):
            read_decided(path)


@pytest.mark.parametrize("changes", [{"recipe": Recipe(epochs=1, seed=7)}, {"seed": 2}])
def test_other_models_are_not_mistaken_for_these(changes, three, folder, trainings):
    trained(folder, 1, **changes)
    assert len(trainings) == 1


def test_a_damaged_file_is_trained_again(three, folder, trainings):
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:-10])
    np.testing.assert_array_equal(trained(folder).logits, three.logits)
    assert len(trainings) == 3


def test_an_interruption_keeps_what_was_done(tmp_path, trainings):
    def interrupt(number):
        if number == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, on_model=interrupt)
    trained(tmp_path)
    assert len(trainings) == 3
    assert not list(tmp_path.glob(".*"))


def test_views_are_asked_one_by_one(three):
    module, pixels = build().eval(), IMAGES.pixels[:6]
    found = answers(module, TRANSFORM, pixels, (identity, mirror))
    assert found.shape == (6, 2, 10)
    np.testing.assert_array_equal(found[:, 0], predict_module(module, TRANSFORM, pixels))
    np.testing.assert_array_equal(found[:, 1], predict_module(module, TRANSFORM, pixels[:, :, ::-1].copy()))


def test_signals_of_every_answer(three):
    labels = IMAGES.labels[POOL]
    for signal, found in ((logit_margin, three.margins(labels)), (loss, three.log_confidences(labels))):
        assert found.shape == (3, len(POOL), 1)
        for model in range(3):
            expected = signal(three.logits[model, :, 0], labels, from_logits=True)
            np.testing.assert_array_equal(found[model, :, 0], expected)


@pytest.fixture(scope="module")
def both(folder):
    views = (identity, mirror)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shadows, "ROWS", 7)
        patched.setattr(shadows, "MARGINS_BYTES", 1000)
        margins = trained(folder, views=views, keep="margins")
        patched.setattr(shadows, "LOGITS_BYTES", 1000)
        assert trained(folder, views=views).logits is None
    return trained(folder, views=views), margins


class TestKeptMargins:
    """What `train_shadows` keeps where the logits are too many; here by choice, and in a file."""

    def test_margins_and_hash_are_those_of_the_logits(self, both):
        logits, margins = both
        labels = IMAGES.labels[POOL]
        assert (margins.logits, margins.num_classes) == (None, 10)
        assert isinstance(margins.kept.margins, np.memmap)
        assert margins.sha256 == logits.sha256
        assert np.array_equal(margins.margins(labels), logits.margins(labels))
        assert np.array_equal(margins.log_confidences(labels), logits.log_confidences(labels))
        with pytest.raises(ValueError, match="the labels here are others"):
            margins.margins(labels[::-1])

    def test_records_are_the_same_but_for_the_time(self, both):
        target = load_target("zoo/fashion-mnist/cnn-overfitted-500/1")
        split = Split(members=POOL[:40], nonmembers=POOL[40:80])
        data = dataclasses.replace(known_data(target.annotation), images=IMAGES, split=split)
        names = ["attack_r", "difficulty_calibration", "base", "rmia"]
        found = [
            audit(target, attacks=names, data=data, shadows=own, settings={"rmia": {"a": "tuned"}})
            for own in both
        ]
        one, other = ([(r.attack, r.result, r.counts) for r in records] for records in found)
        assert one == other

    def test_logits_that_were_not_kept_cannot_be_had(self, both):
        held = ModelAnswers(lambda: both[1].kept.margins, np.arange(5), shape=(3, 2, 10), views=True)
        assert held.shape == (3, 5, 2, 10)
        with pytest.raises(ValueError, match=r"keep='logits'.*, which takes 1,200 bytes"):
            np.asarray(held)

    def test_either_logits_or_margins(self, both):
        with pytest.raises(ValueError, match="either logits or kept margins"):
            dataclasses.replace(both[1], logits=both[0].logits)

    def test_margins_that_do_not_fit_are_refused(self, both, tmp_path):
        with pytest.raises(ValueError, match=r"must have shape \(3, 100, 1\).*got \(3, 100, 2\)"):
            dataclasses.replace(both[1], views=("identity",))
        with pytest.raises(UnknownNameError, match="Did you mean 'margins'"):
            trained(tmp_path, keep="margin")


def test_the_random_state_is_left_alone(folder):
    state = torch.random.get_rng_state()
    trained(folder, 1)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"pool": np.array([1, 1, 2])}, "each once"),
        ({"pool": POOL + 4000}, r"must lie in 0\.\.3999; got 4000\.\.4396"),
        ({"masks": np.ones((2, 5), bool)}, r"shape \(models, 100\).*got bool of \(2, 5\)"),
        ({"masks": np.ones((2, 100))}, "must be booleans"),
        ({"masks": np.zeros((2, 100), bool)}, "row 0 of masks has none"),
    ],
)
def test_what_does_not_fit_is_refused(changes, sentence, tmp_path):
    with pytest.raises(ValueError, match=sentence):
        trained(tmp_path, **changes)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match="cannot be kept"):
        trained(tmp_path / "file")


@pytest.mark.parametrize(("models", "samples", "parts"), [(1, 10, 2), (7, 10, 8), (4, 10, 1), (4, 3, 4)])
def test_masks_that_cannot_be(models, samples, parts):
    with pytest.raises(ValueError, match="as many models and samples as parts"):
        balanced_masks(models, samples, parts=parts, seed=0)


def test_networks_that_differ_in_no_shape_are_two(three, folder, trainings):
    def smooth():
        network = build()
        network[1] = torch.nn.Tanh()
        return network

    masks = balanced_masks(4, len(POOL), seed=1)[:1]
    train_shadows(smooth, IMAGES, POOL, masks, RECIPE, TRANSFORM, folder=folder)
    assert len(trainings) == 1


def test_tied_weights_are_kept(tmp_path, trainings):
    def tied():
        first, second = torch.nn.Linear(784, 784), torch.nn.Linear(784, 784)
        second.weight = first.weight
        return torch.nn.Sequential(torch.nn.Flatten(), first, second, torch.nn.Linear(784, 10))

    masks = balanced_masks(2, len(POOL), seed=1)[:1]
    found = [
        train_shadows(tied, IMAGES, POOL, masks, RECIPE, TRANSFORM, folder=tmp_path).logits for _ in range(2)
    ]
    np.testing.assert_array_equal(*found)
    assert len(trainings) == 1


ZOO_MODEL = "zoo/fashion-mnist/cnn-overfitted-500/1"


@pytest.fixture(scope="module")
def audited(tmp_path_factory, short_recipes):
    folder = tmp_path_factory.mktemp("zoo")
    with short_recipes():
        shadows = train_zoo_shadows(ZOO_MODEL, 4, folder / "shadows", views=(identity, mirror))
    records = audit(
        ZOO_MODEL,
        attacks=["modified_entropy", "logistic", "lira_offline", "rmia"],
        shadows=shadows,
        out=folder / "records",
        samples=folder / "samples",
    )
    return folder, shadows, {record.attack["name"]: record for record in records}


class TestZoo:
    """The zoo's own recipes, shadowed: attacks that compare beat those that look at one model alone."""

    @pytest.mark.slow
    def test_shadow_models_are_trained_as_the_target_was(self, audited):
        _, shadows, _ = audited
        assert shadows.masks.shape == (4, 4000)
        assert set(shadows.masks.sum(1).tolist()) == {500}, "as many members as the target"
        assert set(shadows.masks[:, :2000].sum(0).tolist()) == {1}
        assert not shadows.masks[:, 2000:].any(), "the test images are the population"
        assert shadows.logits.shape == (4, 4000, 2, 10)
        labels = load_images().labels
        right = shadows.logits[:, :, 0].argmax(-1) == labels
        assert right[shadows.masks].mean() > 0.9
        assert 0.6 < right[~shadows.masks].mean() < 0.9

    @pytest.mark.slow
    def test_comparing_finds_more(self, audited):
        _, _, records = audited
        alone = records["modified_entropy"].result
        for name in ("lira_offline", "rmia"):
            assert records[name].result["auc"] > 0.5
            assert records[name].result["n_members"] == alone["n_members"] == 500
        assert records["rmia"].attack["gamma"] == 2.0
        assert records["lira_offline"].attack["variance"] == "per_example"
        used = {"shadow_models": 4, "fewest_in": 1, "fewest_out": 3, "population": 2000}
        assert records["rmia"].counts.items() >= {"forwarded": 8000, **used}.items(), (
            "4,000 images in two views"
        )
        assert records["logistic"].result["n_members"] == 250
        assert records["logistic"].attack["calibration"] == 0.5
        assert "seed" not in records["rmia"].attack

    @pytest.mark.slow
    def test_records_are_read_back(self, audited):
        folder, shadows, records = audited
        read = {record.attack["name"]: record for record in read_records(folder / "records")}
        assert read == records
        assert read["rmia"].attack["shadows_sha256"] == shadows.sha256

    @pytest.mark.slow
    def test_scores_of_single_samples_are_written(self, audited):
        folder, _, records = audited
        table = pd.read_parquet(folder / "samples" / ZOO_MODEL / "scores.parquet")
        assert len(table) == 2000
        assert table["logistic"].isna().sum() == 1000
        for name in ("modified_entropy", "rmia"):
            found = measure_membership(table[name], table["is_member"])
            assert found["auc"] == records[name].result["auc"]
        pictures = {path.name for path in (folder / "samples" / ZOO_MODEL).glob("*.png")}
        assert pictures == {f"exposed-{name}.png" for name in records}

    @pytest.mark.slow
    def test_several_views_of_an_image(self, audited):
        """LiRA averages over queries, also over ones unlike what the models were trained on."""
        _, shadows, _ = audited
        target, images = load_target(ZOO_MODEL), load_images()
        split = known_data(target.annotation).split
        rows = split.indices
        labels = images.labels[rows]
        own = answers(target.module, target.transform, images.pixels[rows], (identity, mirror))
        phi = each_answer(logit_margin, own, labels)
        reference = shadows.margins(images.labels)[:, rows]
        masks = shadows.masks[:, rows]
        aucs = [
            roc_auc(lira_scores(*views, masks, mode="offline", variance="global_centred"), split.is_member)
            for views in ((phi[:, 0], reference[..., 0]), (phi, reference))
        ]
        assert min(aucs) > 0.55
        assert aucs[0] != aucs[1]

    def test_what_cannot_be_shadowed(self, tmp_path):
        with pytest.raises(ValueError, match="59,000 images that do not ship"):
            train_zoo_shadows("zoo/fashion-mnist/cnn-clean/1", 2, tmp_path)
        with pytest.raises(UnknownNameError, match="zoo model"):
            train_zoo_shadows("zoo/none", 2, tmp_path)

    def test_too_few_shadow_models(self, tmp_path):
        with pytest.raises(ValueError, match="takes 4 shadow models or more"):
            train_zoo_shadows(ZOO_MODEL, 3, tmp_path)

    def test_an_audit_says_what_is_missing(self, three):
        with pytest.raises(ValueError, match="lira needs reference models: pass shadows="):
            audit(ZOO_MODEL, attacks="lira")
        with pytest.raises(ValueError, match="are not in their pool, the first is image"):
            audit(ZOO_MODEL, attacks="lira", shadows=three)
        for changed in ({"images_sha256": "0" * 64}, {"views": ("mirror",)}):
            with pytest.raises(ValueError, match="must have answered for fashion_mnist_4k as it is"):
                audit(ZOO_MODEL, attacks="lira", shadows=dataclasses.replace(three, **changed))

    @pytest.mark.slow
    def test_an_audit_says_what_models_are_missing(self, audited):
        _, shadows, _ = audited
        with pytest.raises(ValueError, match=r"2 or more shadow models trained on it .* fewest are 1 and 3"):
            audit(ZOO_MODEL, attacks="lira", shadows=shadows)


def test_fresh_samples_are_trained_on_and_not_asked_about(tmp_path):
    fresh = fresh_samples(np.arange(1, 400, 4), 2, 30, seed=3)
    np.testing.assert_array_equal(fresh, fresh_samples(np.arange(1, 400, 4), 5, 30, seed=3)[:2])
    assert (fresh[0] != fresh[1]).any()
    found = trained(tmp_path, 2, fresh=fresh)
    assert found.logits.shape[:2] == found.masks.shape == (2, len(POOL))
    members = [read_decided(path)["members"] for path in tmp_path.glob("*.safetensors")]
    expected = [
        [*POOL[mask].tolist(), *drawn.tolist()] for mask, drawn in zip(found.masks, fresh, strict=True)
    ]
    assert sorted(members) == sorted(expected)


def test_fresh_samples_change_the_model_that_is_trained(tmp_path, trainings):
    trained(tmp_path, 2, fresh=fresh_samples(np.arange(1, 400, 4), 2, 30, seed=3))
    trained(tmp_path, 2, fresh=np.empty((2, 0), int))
    trained(tmp_path, 2)  # the same as without fresh samples
    assert trainings == [80, 80, 50, 50]


@pytest.mark.parametrize(
    ("fresh", "message"),
    [
        ([[1], [2], [3]], r"fresh must be positions of shape \(2, k\).*got int64 of \(3, 1\)"),
        ([[1], [4000]], r"fresh must lie in 0\.\.3999; got 1\.\.4000"),
        ([[1], [8]], "fresh samples must be outside the pool; image 8 is in it"),
        ([[1, 2], [3, 3]], "row 1 of fresh has image 3 twice"),
    ],
)
def test_fresh_samples_that_do_not_fit_are_refused(tmp_path, fresh, message):
    with pytest.raises(ValueError, match=message):
        trained(tmp_path, 2, fresh=np.array(fresh))


def test_more_fresh_samples_than_there_are_cannot_be_drawn():
    with pytest.raises(ValueError, match="11 samples cannot be drawn from 10 candidates"):
        fresh_samples(range(10), 2, 11, seed=0)
