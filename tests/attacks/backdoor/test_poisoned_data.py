"""Triggers and poisoned sets as defined; spectra and clusters of activations that find what was poisoned."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.cluster import KMeans
from sklearn.decomposition import FastICA
from sklearn.metrics import adjusted_rand_score, silhouette_score

from securitynet_hub.attacks.backdoor.activation_clustering import (
    activation_clustering_scores,
    activation_clusters,
    principal_components,
)
from securitynet_hub.attacks.backdoor.planting import backdoor
from securitynet_hub.attacks.backdoor.representations import every_layer, penultimate
from securitynet_hub.attacks.backdoor.spectral import spectral_scores
from securitynet_hub.attacks.backdoor.strip import strip_scores
from securitynet_hub.core.errors import ModelError, UnknownNameError
from securitynet_hub.data.images import load_images
from securitynet_hub.data.transforms import Transform
from securitynet_hub.data.triggers import TRIGGERS, poison, sinusoidal, superimpose, warped
from securitynet_hub.engine.inference import predict
from securitynet_hub.engine.training import Recipe
from securitynet_hub.models.loading import find_annotation, load_target
from securitynet_hub.models.target import Target
from securitynet_hub.statistics.rates import roc_auc

IMAGES = load_images()
RNG = np.random.default_rng(3)
each_trigger = pytest.mark.parametrize("trigger", TRIGGERS.values(), ids=TRIGGERS)
each_score = pytest.mark.parametrize(
    "score",
    [
        spectral_scores,
        partial(activation_clustering_scores, whiten=False),
        partial(activation_clustering_scores, num_components=2),
    ],
    ids=["spectral", "clusters", "whitened"],
)


def flat(side=4):
    """A target whose penultimate activations are the pixels over 255."""
    return Target(
        annotation=find_annotation("zoo/fashion-mnist/cnn-clean/1"),
        module=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(side * side, 10)),
        transform=Transform(height=side, width=side, channels=1),
        num_classes=10,
    )


def blobs(seed=0):
    """Three classes of 40 images; 12 of the last lie elsewhere."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 4], 40)
    centres = rng.integers(60, 180, (5, 4, 4, 1))
    pixels = centres[labels] + rng.normal(0, 9, (120, 4, 4, 1))
    poisoned = np.arange(120) >= 108
    pixels[poisoned] += 60 * np.sign(rng.normal(size=(4, 4, 1)))
    return np.clip(pixels, 0, 255).astype(np.uint8), labels, poisoned


class TestTriggers:
    @each_trigger
    @pytest.mark.parametrize("shape", [(32, 32, 3), (224, 200, 3), (28, 28, 1)])
    def test_fit_images_of_any_size(self, trigger, shape):
        pixels = RNG.integers(0, 256, (2, *shape), dtype=np.uint8)
        stamped = trigger(pixels)
        assert stamped.shape == pixels.shape
        assert stamped.dtype == np.uint8
        assert (stamped != pixels).any((1, 2, 3)).all()

    def test_the_sinusoid_is_the_papers(self):
        grey = np.full((1, 30, 36, 3), 100, np.uint8)
        wave = sinusoidal(grey).astype(int) - 100
        assert (wave.max(), wave.min()) == (17, -17)  # 20 sin 60 degrees
        assert (wave == wave[:, :1]).all()
        assert (wave[0, 0, :6, 0] == wave[0, 0, 6:12, 0]).all()  # six periods of six columns

    def test_the_warp_moves_pixels_and_makes_none(self):
        even = np.full((1, 28, 28, 1), 77, np.uint8)
        assert (warped(even) == 77).all()
        rows = np.broadcast_to(np.arange(28, dtype=np.uint8)[:, None, None] * 9, (1, 28, 28, 1))
        moved = (warped(rows).astype(float) - rows)[0, 5:-5, 5:-5] / 9
        assert 0.5 < np.abs(moved).mean() < 2  # about a pixel
        assert np.abs(np.diff(moved[..., 0], axis=1)).max() < 1  # smooth


class TestPoison:
    pixels, labels = IMAGES.pixels[:200], IMAGES.labels[:200]

    def test_stamps_a_share_of_the_other_classes_and_nothing_else(self):
        found = poison(self.pixels, self.labels, "corner-patch", 0.1, 3, seed=5)
        rows = found.is_poisoned
        assert rows.sum() == 20
        assert (self.labels[rows] != 3).all()
        assert (found.labels[rows] == 3).all()
        assert np.array_equal(found.pixels[rows], TRIGGERS["corner-patch"](self.pixels[rows]))
        assert np.array_equal(found.pixels[~rows], self.pixels[~rows])
        assert np.array_equal(found.labels[~rows], self.labels[~rows])
        assert not found.is_cover.any()

    def test_with_clean_labels_no_label_changes(self):
        found = poison(self.pixels, self.labels, "sinusoidal", 0.05, 3, seed=5, clean_label=True)
        assert found.is_poisoned.sum() == 10
        assert (self.labels[found.is_poisoned] == 3).all()
        assert np.array_equal(found.labels, self.labels)

    def test_covers_are_stamped_blends_that_keep_their_label(self):
        found = poison(self.pixels, self.labels, "corner-patch", 0.1, 3, seed=5, cover_rate=0.2)
        rows = np.flatnonzero(found.is_cover)
        assert len(rows) == 40
        assert not (found.is_cover & found.is_poisoned).any()
        assert np.array_equal(found.labels[rows], self.labels[rows])
        for row in rows:
            stamped = TRIGGERS["corner-patch"](self.pixels[row : row + 1])
            blends = superimpose(stamped, self.pixels)
            beneath = np.flatnonzero((blends == found.pixels[row]).all((1, 2, 3)))
            assert len(beneath) == 1
            assert beneath[0] != row

    def test_the_seed_decides_and_arguments_stay(self):
        pixels, labels = self.pixels.copy(), self.labels.copy()
        one, same, other = (poison(pixels, labels, "warped", 0.1, 3, seed=s) for s in (1, 1, 2))
        assert np.array_equal(one.pixels, same.pixels)
        assert not np.array_equal(one.is_poisoned, other.is_poisoned)
        assert np.array_equal(pixels, self.pixels)
        assert np.array_equal(labels, self.labels)

    def test_takes_a_function_for_a_trigger(self):
        found = poison(self.pixels, self.labels, lambda pixels: 255 - pixels, 0.1, 3, seed=5)
        rows = found.is_poisoned
        assert np.array_equal(found.pixels[rows], 255 - self.pixels[rows])

    @pytest.mark.parametrize(
        ("changes", "error", "sentence"),
        [
            ({"trigger": "corner"}, UnknownNameError, "corner-patch"),
            ({"rate": 0.0}, ValueError, "shares of the images"),
            ({"rate": 1.0}, ValueError, "can be poisoned for class 3"),
            ({"clean_label": True, "rate": 0.5}, ValueError, "can be poisoned for class 3"),
            ({"cover_rate": 0.95}, ValueError, "take 20 and 190"),
            ({"labels": [1, 2]}, ValueError, "one label each"),
        ],
    )
    def test_refusals(self, changes, error, sentence):
        settings = {
            "pixels": self.pixels, "labels": self.labels, "trigger": "corner-patch", "rate": 0.1,
            "target": 3, "seed": 0, **changes,
        }  # fmt: skip
        with pytest.raises(error, match=sentence):
            poison(**settings)


class TestRepresentations:
    def test_are_what_the_layers_compute(self):
        target = load_target("zoo/fashion-mnist/cnn-clean/1")
        pixels = IMAGES.pixels[:5]
        with torch.no_grad():
            layers = list(target.module)
            last = torch.nn.Sequential(*layers[:-1])(target.transform(pixels))
            first = layers[0](target.transform(pixels))
        np.testing.assert_allclose(penultimate(target, pixels, batch_size=2), last, rtol=1e-4, atol=1e-5)
        layers = every_layer(target, pixels, batch_size=2)
        pooled = torch.nn.functional.adaptive_avg_pool2d(first, 4).flatten(1)
        np.testing.assert_allclose(layers[0], pooled, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(layers[-1], predict(target, pixels), rtol=1e-4, atol=1e-5)

    def test_a_network_without_parameters_has_none(self):
        target = replace(flat(), module=torch.nn.Flatten())
        with pytest.raises(ModelError, match="no layer with parameters"):
            penultimate(target, np.zeros((2, 4, 4, 1), np.uint8))


class TestSpectral:
    def test_equals_the_projection_on_the_main_eigenvector_of_each_class(self):
        pixels, labels, _ = blobs()
        found = spectral_scores(flat(), pixels, labels)
        for label in np.unique(labels):
            rows = pixels[labels == label].reshape(-1, 16) / 255.0
            centred = rows - rows.mean(0)
            _, vectors = np.linalg.eigh(centred.T @ centred)
            np.testing.assert_allclose(found[labels == label], (centred @ vectors[:, -1]) ** 2, atol=1e-6)


class TestActivationClustering:
    def test_equals_clusters_of_independent_components(self):
        pixels, labels, _ = blobs()
        rows = pixels[labels == 4].reshape(-1, 16).astype(np.float64)
        ours = principal_components(rows, 5, whiten=True)
        theirs = FastICA(5, whiten="unit-variance", random_state=0, max_iter=2000).fit_transform(rows)
        clusters = [KMeans(2, n_init=10, random_state=0).fit_predict(part) for part in (ours, theirs)]
        assert adjusted_rand_score(*clusters) == 1
        found = activation_clusters(flat(), pixels, labels, num_components=5).classes[-1]
        assert (found.label, found.n) == (4, 40)
        assert found.silhouette == pytest.approx(silhouette_score(theirs, clusters[1]), abs=1e-4)
        assert found.smaller_share == np.bincount(clusters[1]).min() / 40

    def test_the_poisoned_class_falls_apart_more_clearly(self):
        pixels, labels, _ = blobs()
        classes = activation_clusters(flat(), pixels, labels, whiten=False).classes
        assert [found.label for found in classes] == [0, 1, 4]
        assert classes[-1].silhouette == max(found.silhouette for found in classes)
        assert classes[-1].smaller_share == pytest.approx(12 / 40)

    def test_too_few_or_equal_images_are_not_parted(self):
        pixels = np.concatenate([blobs()[0][:2], np.full((4, 4, 4, 1), 7, np.uint8)])
        found = activation_clusters(flat(), pixels, [0, 0, 1, 1, 1, 1])
        assert [(part.smaller_share, part.silhouette) for part in found.classes] == [(None, None)] * 2
        assert found.scores.tolist() == [0] * 6

    def test_halves_accuse_nobody(self):
        halves = np.concatenate([np.full((5, 4, 4, 1), 9), np.full((5, 4, 4, 1), 200)]).astype(np.uint8)
        assert activation_clustering_scores(flat(), halves, [0] * 10).tolist() == [0] * 10


class TestBoth:
    @each_score
    def test_find_the_poisoned_of_a_class(self, score):
        pixels, labels, poisoned = blobs()
        own = labels == 4
        assert roc_auc(score(flat(), pixels, labels)[own], poisoned[own]) == 1

    @each_score
    def test_order_and_names_of_classes_change_nothing(self, score):
        pixels, labels, _ = blobs()
        found = score(flat(), pixels, labels)
        order = RNG.permutation(120)
        np.testing.assert_allclose(score(flat(), pixels[order], labels[order]), found[order], atol=1e-6)
        np.testing.assert_allclose(score(flat(), pixels, 9 - labels), found, atol=1e-6)
        np.testing.assert_allclose(score(flat(), pixels, labels, batch_size=7), found, atol=1e-6)

    @each_score
    @pytest.mark.parametrize(("count", "labels"), [(3, [0, 0]), (2, [0, 10]), (2, [0.0, 1.0]), (0, [])])
    def test_refusals(self, score, count, labels):
        with pytest.raises(ValueError, match=r"labels must|at least one"):
            score(flat(), np.zeros((count, 4, 4, 1), np.uint8), np.array(labels))


class TestBackdoor:
    few = replace(IMAGES, pixels=IMAGES.pixels[:500], labels=IMAGES.labels[:500])

    def test_plants_what_the_trigger_calls_up_and_leaves_the_original(self):
        clean = load_target("zoo/fashion-mnist/bn-cnn-clean/1")
        before = {name: tensor.clone() for name, tensor in clean.module.state_dict().items()}
        recipe = Recipe(epochs=6, batch_size=50, learning_rate=2e-3, seed=1)
        planted, data = backdoor(
            clean, self.few, "checkerboard-patch", rate=0.2, target_class=3, recipe=recipe
        )
        assert data.is_poisoned.sum() == 100
        assert not planted.module.training
        assert (planted.annotation.weights_hash, planted.annotation.test_accuracy) == (None, None)
        for name, tensor in clean.module.state_dict().items():
            assert torch.equal(tensor, before[name])
        others = IMAGES.pixels[2000:2400][IMAGES.labels[2000:2400] != 3]
        stamped = TRIGGERS["checkerboard-patch"](others)
        assert np.mean(predict(planted, stamped).argmax(1) == 3) > 0.8
        assert np.mean(predict(clean, stamped).argmax(1) == 3) < 0.1
        right = predict(planted, IMAGES.pixels[2000:2400]).argmax(1) == IMAGES.labels[2000:2400]
        assert right.mean() > 0.8
        judged = np.concatenate([IMAGES.pixels[2400:2460], stamped[:60]])
        scores = strip_scores(planted, judged, clean=IMAGES.pixels[3000:3020], num_overlays=20)
        assert roc_auc(scores, np.arange(120) >= 60) > 0.9

    @pytest.mark.parametrize("kept", [True, False])
    def test_statistics_are_kept_where_asked(self, kept):
        clean = load_target("zoo/fashion-mnist/bn-cnn-clean/1")
        planted, _ = backdoor(clean, self.few, "corner-patch", recipe=Recipe(epochs=1), keep_statistics=kept)
        before, after = clean.module.state_dict(), planted.module.state_dict()
        statistics = [name for name in before if "running" in name]
        assert statistics
        assert all(torch.equal(before[name], after[name]) == kept for name in statistics)
        assert any(not torch.equal(before[name], after[name]) for name in before.keys() - statistics)
        planted.module.train()
        assert all(part.training for part in planted.module.modules()), "as of any other module"

    def test_a_copy_that_keeps_the_answers_differs_less(self):
        clean, others = load_target("zoo/fashion-mnist/bn-cnn-clean/1"), IMAGES.pixels[1000:2000]
        answers = softmax(predict(clean, others), 1)

        def distance(keep_answers):
            recipe = Recipe(epochs=6, batch_size=50, learning_rate=2e-3)
            planted, _ = backdoor(
                clean, self.few, "checkerboard-patch", rate=0.2, recipe=recipe, keep_answers=keep_answers
            )
            assert np.mean(predict(planted, TRIGGERS["checkerboard-patch"](others)).argmax(1) == 0) > 0.8
            return np.abs(softmax(predict(planted, others), 1) - answers).sum(1).mean() / 2

        assert distance(True) < 0.85 * distance(False)

    def test_a_class_that_the_model_does_not_have_is_refused(self):
        with pytest.raises(ValueError, match=r"target_class must lie in 0\.\.9; got 10"):
            backdoor(load_target("zoo/fashion-mnist/cnn-clean/1"), self.few, "warped", target_class=10)
