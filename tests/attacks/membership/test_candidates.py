"""Candidates: who they are, which classes they have, and what reference models say of them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from securitynet_hub import AuditData, LabelledImages, Transform, audit, load_target
from securitynet_hub.attacks.kind import Context
from securitynet_hub.attacks.membership.audit import applicable
from securitynet_hub.attacks.membership.candidates import find_candidates
from securitynet_hub.attacks.membership.kind import Options
from securitynet_hub.attacks.membership.own_shadows import own_trainer
from securitynet_hub.attacks.membership.pool import ask_about
from securitynet_hub.attacks.membership.results import parse
from securitynet_hub.attacks.membership.shadows import KeptMargins, KeptNetworks, Shadows, balanced_masks
from securitynet_hub.core.errors import WeightsError
from securitynet_hub.data.augmentations import identity
from securitynet_hub.data.images import load_images
from securitynet_hub.data.sources import Chained
from securitynet_hub.engine.trained import keep_trained
from securitynet_hub.engine.training import Recipe
from securitynet_hub.weights.hashes import file_digests
from securitynet_hub.zoo import shadows as zoo_shadows

RNG = np.random.default_rng(0)
MEMBERS, SECRET, OUTSIDE = (RNG.integers(0, 256, (n, 4, 4, 1), np.uint8) for n in (60, 30, 330))
TRANSFORM = Transform(height=4, width=4, mean=(0.5,), std=(0.5,))
DATA = AuditData.from_arrays((MEMBERS, np.zeros(60, int)), (OUTSIDE[:200], np.zeros(200, int)))
POPULATION = OUTSIDE[260:330]
MODELS, SEEN = 8, 180


def source(pixels, name="question"):
    return LabelledImages(name=name, pixels=pixels, labels=np.zeros(len(pixels), int), class_names=("0", "1"))


CANDIDATES = source(np.concatenate([SECRET, OUTSIDE[200:260]]))


class Memory(torch.nn.Module):
    """Is sure of the class 0 of images that it has seen, and of others by chance."""

    def __init__(self, seen):
        super().__init__()
        self.register_buffer("seen", seen)

    def forward(self, images):
        flat = images.flatten(1)
        sure = 4 * torch.exp(-torch.cdist(flat, self.seen).min(1).values) + flat[:, :3].sum(1)
        return torch.stack([sure, -sure], 1)


def network():
    return Memory(torch.zeros(SEEN, 16))


def flat(pixels):
    return TRANSFORM(pixels).flatten(1)


def remembered(images, pool, folder, *, population):
    """Return shadow models that each remember a half of the pool, but for the population."""
    folder.mkdir(exist_ok=True)
    own = len(pool) - population
    masks = np.zeros((MODELS, len(pool)), bool)
    masks[:, :own] = balanced_masks(MODELS, own, seed=0)
    pixels, files = images.array(pool), []
    for number, mask in enumerate(masks):
        seen = torch.zeros(SEEN, 16)
        seen[: mask.sum()] = flat(pixels[mask])
        keep_trained(Memory(seen), folder / f"{number}.safetensors")
        path = folder / f"{number}.safetensors"
        files.append((path, file_digests(path, {"sha256"})["sha256"]))
    kept = KeptNetworks(build=network, transform=TRANSFORM, views=(identity,), files=files)
    return Shadows(
        images_sha256=images.sha256,
        views=("identity",),
        pool=pool,
        masks=masks,
        logits=kept.answers(images.select(pool)),
        networks=kept,
    )


@pytest.fixture(scope="module")
def data():
    """The audit's data, with the population's images beyond its split."""
    images = source(np.concatenate([DATA.images.pixels, POPULATION]), "known")
    return AuditData(images=images, split=DATA.split)


@pytest.fixture(scope="module")
def kept(data, tmp_path_factory):
    pool = np.append(data.split.indices, np.arange(260, 330))
    return remembered(data.images, pool, tmp_path_factory.mktemp("kept"), population=70)


def listed(attack, data, **options):
    lists = []
    target = Memory(flat(np.concatenate([MEMBERS, SECRET]))).eval()
    how = {"name": "memory", "transform": TRANSFORM, "num_classes": 2, "data": data, "attacks": attack}
    records = audit(target, **{**how, "list_members": True, "on_list": lists.append, **options})
    return records, lists


class TestKeptNetworks:
    @pytest.mark.parametrize("attack", ["lira_offline", "rmia", "base", "difficulty_calibration"])
    def test_candidates_that_were_trained_on_are_named(self, attack, data, kept):
        (record,), (named,) = listed(attack, data, shadows=kept, candidates=CANDIDATES)
        counts = record.result["listed"]
        right = (named.rows < len(SECRET)).sum()
        assert right >= 15
        assert counts["listed"] - right <= counts["at_most_wrong"]
        assert (counts["candidates"], counts["known_nonmembers"]) == (90, 200)

    def test_the_figures_are_those_without_candidates(self, data, kept):
        (beside,), _ = listed("lira_offline", data, shadows=kept, candidates=CANDIDATES)
        (alone,), _ = listed("lira_offline", data, shadows=kept, list_members=False)
        for name in ("auc", "auc_ci", "n_members", "n_nonmembers"):
            assert beside.result[name] == alone.result[name]
        assert beside.counts["fewest_out"] == alone.counts["fewest_out"] == 4

    def test_as_many_models_as_for_a_known_image(self, data, kept):
        target = load_target(Memory(flat(MEMBERS)), transform=TRANSFORM, num_classes=2)
        asked = ask_about(kept, data, find_candidates(CANDIDATES, target, data), seed=0)
        assert (asked.masks[:, -90:].sum(0) == MODELS // 2).all()
        np.testing.assert_array_equal(asked.logits[:, :-90], kept.logits)
        assert len({tuple(column) for column in asked.masks[:, -90:].T}) > 10  # drawn for each

    def test_where_the_margins_were_kept_alone(self, data, kept):
        labels = np.zeros(len(kept.pool), int)
        margins = KeptMargins(kept.margins(labels), labels, 2)
        (few,), (by_margins,) = listed(
            "lira_offline", data, shadows=replace(kept, logits=None, kept=margins), candidates=CANDIDATES
        )
        (all_,), (by_logits,) = listed("lira_offline", data, shadows=kept, candidates=CANDIDATES)
        np.testing.assert_array_equal(by_margins.scores, by_logits.scores)
        assert few.result["listed"] == all_.result["listed"]

    def test_an_image_of_the_pool_keeps_what_is_known_of_it(self, data, kept):
        # The first ten non-members leave the audit, and are asked about; shadow models were trained on them.
        fewer = replace(data, split=replace(data.split, nonmembers=data.split.nonmembers[10:]))
        target = load_target(Memory(flat(MEMBERS)), transform=TRANSFORM, num_classes=2)
        again = source(np.concatenate([OUTSIDE[:10], POPULATION[:10], OUTSIDE[200:210]]))
        asked = ask_about(kept, fewer, find_candidates(again, target, fewer), seed=0)
        np.testing.assert_array_equal(asked.masks[:, -30:-20], kept.masks[:, 60:70])
        assert len(asked.pool) == len(kept.pool) + 10
        assert not np.isin(asked.pool[:-30], [*range(60, 70), *range(260, 270)]).any()

    def test_an_attack_that_needs_models_trained_on_them_says_the_way_out(self, data, kept):
        with pytest.raises(ValueError, match=r"lira compare.* \(--shadows N\).*such as lira_offline"):
            listed("lira", data, shadows=kept, candidates=CANDIDATES)
        answered = replace(kept, networks=None)
        with pytest.raises(ValueError, match=r"the answers alone are known.* shadows=N"):
            listed("rmia", data, shadows=answered, candidates=CANDIDATES)

    def test_a_group_leaves_those_out(self, data, kept):
        target = load_target(Memory(flat(MEMBERS)), transform=TRANSFORM, num_classes=2)
        names = applicable(target, data, Options(shadows=kept, candidates=CANDIDATES), Context())
        assert {"lira_offline", "rmia", "loss"} <= set(names)
        assert not {"lira", "rmia_online", "base_online"} & set(names)

    def test_a_file_that_was_changed_is_refused(self, data, kept, tmp_path):
        moved = tmp_path / "0.safetensors"
        keep_trained(Memory(torch.ones(SEEN, 16)), moved)
        files = [(moved, kept.networks.files[0][1]), *kept.networks.files[1:]]
        changed = replace(kept, networks=replace(kept.networks, files=files))
        with pytest.raises(WeightsError, match="gone, damaged or another one"):
            listed("rmia", data, shadows=changed, candidates=CANDIDATES)


class TestTrainedWithCandidates:
    def test_lira_names_them(self, data, tmp_path):
        asked = []

        def trainer(target, count, *, views, candidates=None):
            asked.append(candidates)
            images = data.images if candidates is None else Chained(data.images, candidates)
            pool = np.append(data.split.indices, np.arange(len(data.images), len(images)))
            return remembered(images, pool, tmp_path / str(len(asked)), population=0)

        for attack in ("lira", "base_online"):
            (record,), (named,) = listed(attack, data, shadows=8, candidates=CANDIDATES, trainer=trainer)
            right = (named.rows < len(SECRET)).sum()
            assert right >= 20
            assert len(named.rows) - right <= record.result["listed"]["at_most_wrong"]
            assert record.counts["fewest_in"] == 4
        assert all(images is not None for images in asked)
        listed("lira_offline", data, shadows=8, candidates=CANDIDATES, trainer=trainer)
        assert asked[-1] is None  # networks that were trained before serve for any candidates

    def test_a_network_of_one_s_own(self, data, tmp_path):
        def build():
            return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))

        target = replace(load_target(build(), transform=TRANSFORM), build=build)
        train = own_trainer(data, Recipe(epochs=1), tmp_path)
        shadows = train(target, 8, views=["identity"], candidates=CANDIDATES)
        found = find_candidates(CANDIDATES, target, data)
        assert found.are_known_to(shadows, data)
        assert set(shadows.masks.sum(0).tolist()) <= {
            1,
            2,
        }  # a sixth of 350 images for each, as for the target
        np.testing.assert_allclose(
            shadows.networks.answers(CANDIDATES), shadows.logits[:, -90:], rtol=1e-5, atol=1e-6
        )

    def test_packaged_images_among_them_leave_the_zoo_s_pool(self, monkeypatch, tmp_path):
        calls = []
        monkeypatch.setattr(zoo_shadows, "train_shadows", lambda *given, **how: calls.append(given))
        images = load_images()
        copies = images.select(np.append(np.arange(5, 25), np.arange(2000, 2010)))
        zoo_shadows.train_zoo_shadows(
            "zoo/fashion-mnist/cnn-overfitted-500/1", 8, tmp_path, candidates=copies
        )
        ((_, chained, pool, masks, *_),) = calls
        assert len(pool) == len(set(pool.tolist())) == 4000
        assert not np.isin(np.append(np.arange(5, 25), np.arange(2000, 2010)), pool).any()
        trained = masks.any(0)
        assert trained[np.isin(pool, np.arange(4000, 4030))].all()
        assert not trained[(pool >= 2000) & (pool < 4000)].any()
        assert len(chained) == 4030


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Return a folder of data with classes of its own names, and folders of candidates."""
    root = tmp_path_factory.mktemp("named")
    places = {"data/train": MEMBERS, "data/test": OUTSIDE[:200], "right": OUTSIDE[200:230]}
    for place, images in places.items():
        for number, image in enumerate(images):
            name = ("ant", "bee")[number % 2]
            (root / place / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(root / place / name / f"{number}.png")
    for place, names in {
        "one": ["Bee"],
        "numbered": ["1"],
        "wrong": ["chien", "chat"],
        "partly": ["bee", "cat"],
    }.items():
        for name in names:
            (root / place / name).mkdir(parents=True)
            for number in range(25):
                Image.fromarray(OUTSIDE[230 + number, ..., 0]).save(root / place / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def known(pictures):
    """Return a model that does not say its classes' names, and its data, which do."""
    target = load_target(Memory(flat(MEMBERS)), transform=TRANSFORM, num_classes=2)
    return target, AuditData.from_folder(pictures / "data", channels=1).matched_to(target)


class TestClasses:
    def test_by_the_names_of_the_data_s_folders(self, known, pictures):
        target, data = known
        found = find_candidates(str(pictures / "right"), target, data)
        assert np.bincount(found.images.labels).tolist() == [15, 15]
        one = find_candidates(str(pictures / "one"), target, data)  # the second class alone
        assert set(one.images.labels.tolist()) == {1}

    @pytest.mark.parametrize(("folder", "strange"), [("wrong", "'chat', 'chien'"), ("partly", "'cat'")])
    def test_other_names_are_told(self, known, pictures, folder, strange):
        with pytest.raises(ValueError, match=rf"such as 'ant', 'bee'; {strange} cannot be told"):
            find_candidates(str(pictures / folder), *known)

    def test_numbers_are_the_model_s(self, known, pictures):
        found = find_candidates(str(pictures / "numbered"), *known)
        assert set(found.images.labels.tolist()) == {1}


def test_a_record_says_who_was_judged(data, pictures):
    (record,), (named,) = listed("entropy", data, candidates=CANDIDATES)
    images = record.result["listed"]["images"]
    assert images == {"name": "question", "sha256": CANDIDATES.sha256}
    assert record.result["listed"]["candidates"] == len(named.scores) == 90
    assert parse(record).listed.images.sha256 == CANDIDATES.sha256
    (other,), _ = listed("entropy", data, candidates=source(CANDIDATES.pixels[:80]))
    assert other.result["listed"]["images"]["sha256"] != images["sha256"]
    (own,), _ = listed("entropy", data)
    assert own.result["listed"]["images"] is None
    (folder,), _ = listed("entropy", data, candidates=f"{pictures}/numbered?limit=25")
    assert folder.result["listed"]["images"]["name"] == "numbered"
    # A record of an older version lacks it.
    old = {key: value for key, value in record.result["listed"].items() if key != "images"}
    assert parse(replace(record, result={**record.result, "listed": old})).listed.images is None
