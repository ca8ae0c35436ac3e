"""Label-only attacks: copies and distances as defined, every image counted, each sample scored by itself."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage, stats

from securitynet_hub import audit
from securitynet_hub.attacks.membership import label_only
from securitynet_hub.attacks.membership.boundary import boundary_scores
from securitynet_hub.attacks.membership.label_only import AUGMENTATIONS, augmentation_scores
from securitynet_hub.attacks.subject import AuditData, known_data
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.data.pixels import random_stream
from securitynet_hub.data.splits import Split
from securitynet_hub.data.transforms import Transform
from securitynet_hub.engine import boundary_search
from securitynet_hub.engine.inference import predict
from securitynet_hub.models.loading import find_annotation, load_target
from securitynet_hub.models.target import Target
from securitynet_hub.statistics.rates import roc_auc, roc_auc_interval
from securitynet_hub.statistics.signals import correctness

RNG = np.random.default_rng(11)
ID = "zoo/fashion-mnist/cnn-overfitted-250/1"


class Plane(torch.nn.Module):
    """Class 1 where weights . levels + bias > 0, exact: whole numbers below 2**24, whatever the batch."""

    def __init__(self, weights, bias):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.as_tensor(weights, dtype=torch.float32), requires_grad=False)
        self.bias, self.seen = float(bias), []

    def forward(self, inputs):
        assert inputs.dtype == torch.float32
        levels = (inputs * 255).round()
        self.seen.append(levels.numpy().astype(np.uint8))
        side = (levels.flatten(1) * self.weights).sum(1) + self.bias
        return torch.stack([torch.zeros_like(side), side], 1)

    @property
    def forwarded(self):
        return sum(map(len, self.seen))


def plane(weights, bias, height, width):
    target = Target(
        annotation=replace(find_annotation(ID), num_classes=2),
        module=Plane(np.ravel(weights), bias),
        transform=Transform(height=height, width=width, channels=1),
        num_classes=2,
    )
    predict(target, np.zeros((2, height, width, 1), np.uint8))  # looks whether its answers are steady
    target.module.seen.clear()
    return target


def world(side, n=12, seed=1):
    """A plane half a unit from the images' mean, their labels and distances to it, and starts beyond it."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(-9, 10, side * side)
    pixels = rng.integers(60, 196, (n, side, side, 1), dtype=np.uint8)
    levels = pixels.reshape(n, -1).astype(np.int64) @ weights
    bias = round(-levels.mean() + 0.5 * 255 * np.linalg.norm(weights))
    truth = np.abs(levels + bias) / np.linalg.norm(weights) / 255
    across = -60 * np.sign(weights).reshape(side, side, 1)
    starts = np.clip(rng.integers(0, 256, (30, side, side, 1)) + across, 0, 255).astype(np.uint8)
    return plane(weights, bias, side, side), pixels, (levels + bias > 0).astype(int), truth, starts


@pytest.fixture(scope="module")
def zoo():
    target = load_target(ID)
    data = known_data(target.annotation)
    members = data.split.indices[data.split.is_member]
    others = data.split.indices[~data.split.is_member][: len(members)]
    rows = np.concatenate([members, others])
    rest = np.setdiff1d(np.arange(len(data.images)), data.split.indices)[:100]
    is_member = np.arange(len(rows)) < len(members)
    return target, data.images.pixels[rows], data.images.labels[rows], is_member, data.images.pixels[rest]


def changed(kind, image, strength, copies=1):
    return AUGMENTATIONS[kind](image, strength, copies, random_stream(0, image))


class TestAugmentations:
    @pytest.mark.parametrize("d", [1, 2, 3])
    def test_translations_are_the_diamond(self, d):
        image = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
        expected = [
            ndimage.shift(image, (i, j, 0), order=0, mode="nearest")
            for i in range(-d, d + 1)
            for j in range(-d, d + 1)
            if abs(i) + abs(j) == d
        ]
        copies = changed("translation", image, d)
        assert len(copies) == 4 * d
        assert Counter(c.tobytes() for c in copies) == Counter(e.tobytes() for e in expected)

    @pytest.mark.parametrize("shape", [(6, 6, 1), (7, 7, 3)])
    def test_a_quarter_turn_each_way(self, shape):
        image = RNG.integers(0, 256, shape, dtype=np.uint8)
        copies = {copy.tobytes() for copy in changed("rotation", image, 90)}
        assert copies == {np.rot90(image, turns).tobytes() for turns in (1, -1)}

    def test_rotation_interpolates_between_whole_levels(self):
        """A ramp along the columns, turned about the centre, is a ramp in another direction."""
        rows, columns = np.mgrid[:21, :21] - 10.0
        image = (128 + 10 * columns).astype(np.uint8)[..., None]
        inner = (slice(5, 16), slice(5, 16))
        radians = np.deg2rad(10)
        expected = [128 + 10 * (columns * np.cos(radians) + s * rows * np.sin(radians)) for s in (-1, 1)]
        for copy in changed("rotation", image, 10):
            assert min(np.abs(copy[..., 0][inner] - e[inner]).max() for e in expected) <= 0.5 + 1e-6

    @pytest.mark.parametrize("kind", ["translation", "rotation"])
    def test_the_border_is_repeated(self, kind):
        image = np.full((8, 6, 3), (10, 200, 90), np.uint8)
        for copy in changed(kind, image, 4):
            np.testing.assert_array_equal(copy, image)

    def test_noise_has_its_spread(self):
        image = np.full((40, 50, 2), 128, np.uint8)
        copies = np.stack(changed("noise", image, 0.1, copies=5)).astype(float) - 128
        assert copies.std() == pytest.approx(25.5, rel=0.03)
        assert abs(copies.mean()) < 4 * 25.5 / np.sqrt(copies.size)
        assert abs(np.corrcoef(copies[0].ravel(), copies[1].ravel())[0, 1]) < 0.08

    @pytest.mark.parametrize("kind", AUGMENTATIONS)
    def test_copies_are_images_and_the_original_stays(self, kind):
        image = RNG.integers(0, 256, (9, 8, 3), dtype=np.uint8)
        before = image.copy()
        for copy in changed(kind, image, 3, copies=2):
            assert (copy.dtype, copy.shape) == (np.uint8, image.shape)
        np.testing.assert_array_equal(image, before)


class TestNetwork:
    """One pixel decides each answer, so that an image holds the pattern of right and wrong answers itself."""

    SHIFTS = ((2, 2), (1, 2), (3, 2), (2, 1), (2, 3))
    """The pixels that the middle of the image and of its four shifted copies show."""

    @pytest.fixture(scope="class")
    @classmethod
    def found(cls):
        rng, n = np.random.default_rng(3), 750
        is_member = np.arange(n) % 2 == 0
        right = rng.random((n, 5)) < 0.5
        # Two copies that are right for members, two that are wrong: the share says nothing.
        right[:, 1:3] = rng.random((n, 2)) < np.where(is_member, 0.8, 0.3)[:, None]
        right[:, 3:] = rng.random((n, 2)) < np.where(is_member, 0.3, 0.8)[:, None]
        pixels = np.zeros((n, 5, 5, 1), np.uint8)
        for copy, (row, column) in enumerate(cls.SHIFTS):
            pixels[:, row, column, 0] = 255 * right[:, copy]
        weights = np.zeros((5, 5))
        weights[2, 2] = 1
        known = np.where(rng.permutation(n) < 2 * n // 3, is_member, -1)

        def scores(known, rows=slice(None), **settings):
            return augmentation_scores(
                plane(weights, -100, 5, 5), pixels[rows], np.ones(n, int)[rows], kind="translation",
                strengths=1, known=known, **settings,
            )  # fmt: skip

        return scores, known, is_member, right

    def test_weighs_copies_by_what_they_say(self, found):
        scores, known, is_member, right = found
        share, network = (scores(known, combine=combine) for combine in ("share", "network"))
        unknown = np.flatnonzero(known < 0)
        np.testing.assert_array_equal(network.rows, unknown)  # none that it learned from is judged
        assert len(network.scores) == len(unknown)
        np.testing.assert_array_equal(network.queries, np.full(len(known), 5))
        assert abs(roc_auc(share.scores[unknown], is_member[unknown]) - 0.5) < 0.1
        # The true log-odds: log .8/.3 for a right answer of the first two, log .2/.7 for a wrong one.
        votes = right[:, 1:3].sum(1) - right[:, 3:].sum(1)
        truth = votes * (np.log(0.8 / 0.3) - np.log(0.2 / 0.7))
        assert (
            roc_auc(network.scores, is_member[unknown]) > roc_auc(truth[unknown], is_member[unknown]) - 0.04
        )
        assert np.corrcoef(network.scores, truth[unknown])[0, 1] > 0.9

    def test_what_is_unknown_and_the_order_change_nothing(self, found):
        scores, known, *_ = found
        once = scores(known, combine="network")
        order = np.random.default_rng(0).permutation(len(known))
        moved = scores(known[order], order, combine="network")
        expected = dict(zip(once.rows, once.scores, strict=True))
        np.testing.assert_array_equal(moved.scores, [expected[row] for row in order[moved.rows]])

    @pytest.mark.parametrize("known", [None, [1, 1, -1], [1, 0, 1], [1, 0], [2, 0, -1]])
    def test_refusals(self, known):
        target, pixels, labels, *_ = world(6, n=3)
        with pytest.raises(ValueError, match="known"):
            augmentation_scores(
                target, pixels, labels, kind="rotation", strengths=4, combine="network", known=known
            )
        with pytest.raises(UnknownNameError, match="network"):
            augmentation_scores(target, pixels, labels, kind="rotation", strengths=4, combine="networks")

    def test_an_audit_judges_none_that_it_learned_from(self):
        data = known_data(load_target(ID).annotation)
        few = Split(members=data.split.members[:40], nonmembers=data.split.nonmembers[:60])
        (record,) = audit(
            ID, attacks=["rotation"], settings={"rotation": {"combine": "network"}}, calibration=0.8,
            data=AuditData(images=data.images, split=few),
        )  # fmt: skip
        assert (record.attack["combine"], record.attack["calibration"]) == ("network", 0.8)
        assert (record.result["n_members"], record.result["n_nonmembers"]) == (8, 12)


class TestAugmentationScores:
    def test_by_hand(self):
        """One white pixel, and a model that looks there alone: any shift by one loses it."""
        weights = np.zeros((5, 5))
        weights[2, 2] = 1
        target = plane(weights, -100, 5, 5)
        image = (255 * weights).astype(np.uint8)[None, ..., None]
        both = np.concatenate([image, image])
        result = augmentation_scores(target, both, [1, 0], kind="translation", strengths=1)
        np.testing.assert_allclose(result.scores, [1 / 5, 4 / 5])
        assert result.queries.tolist() == [5, 5]
        assert result.total_queries == target.module.forwarded == 10

    @pytest.mark.parametrize(
        ("kind", "strengths", "queries"),
        [("translation", [1, 2], 13), ("rotation", [5.0, 10.0], 5), ("noise", [0.1, 0.3], 7)],
    )
    def test_against_one_image_at_a_time(self, kind, strengths, queries, zoo, monkeypatch):
        target, pixels, labels, *_ = zoo
        some = np.arange(244, 256)
        expected = []
        for row in some:
            copies = [pixels[row]]
            for strength in strengths:
                copies += changed(kind, pixels[row], strength, copies=3)
            right = [predict(target, copy[None]).argmax() == labels[row] for copy in copies]
            assert len(right) == queries
            expected.append(np.mean(right))
        options = {"kind": kind, "strengths": strengths, "copies": 3}
        result = augmentation_scores(target, pixels[some], labels[some], **options)
        np.testing.assert_allclose(result.scores, expected)
        assert len(set(expected)) > 2
        assert result.queries.tolist() == [queries] * len(some)
        monkeypatch.setattr(label_only, "QUERY_BYTES", 1)  # one sample at a time
        alone = augmentation_scores(target, pixels[some], labels[some], **options, batch_size=3)
        np.testing.assert_array_equal(alone.scores, result.scores)

    def test_order_company_and_copies_change_nothing(self, zoo):
        target, pixels, labels, *_ = zoo
        rows = np.array([3, 400, 3, 7, 260])
        options = {"kind": "noise", "strengths": 0.3, "copies": 8, "seed": 5}
        together = augmentation_scores(target, pixels[rows], labels[rows], **options).scores
        for place, row in enumerate(rows):
            alone = augmentation_scores(target, pixels[[row]], labels[[row]], **options).scores
            assert alone[0] == together[place]

    def test_strengths_add_up(self, zoo):
        target, pixels, labels = (part[:60] if i else part for i, part in enumerate(zoo[:3]))

        def right(strengths):
            result = augmentation_scores(target, pixels, labels, kind="noise", strengths=strengths, copies=4)
            return np.rint(result.scores * result.queries)

        first = correctness(predict(target, pixels), labels, from_logits=True)
        np.testing.assert_array_equal(right([0.2, 0.5, 0.2]), right(0.2) + right(0.5) - first)

    def test_the_seed_decides_and_nothing_is_left_behind(self, zoo):
        target, pixels, labels = (part[:60] if i else part for i, part in enumerate(zoo[:3]))
        copies, states = (
            (pixels.copy(), labels.copy()),
            (torch.get_rng_state(), np.random.get_state()[1].copy()),
        )
        target.module.train()
        try:
            scores = [
                augmentation_scores(target, pixels, labels, kind="noise", strengths=0.5, seed=seed).scores
                for seed in (1, 1, 2)
            ]
            assert target.module.training
        finally:
            target.module.eval()
        np.testing.assert_array_equal(scores[0], scores[1])
        assert (scores[0] != scores[2]).any()
        np.testing.assert_array_equal(pixels, copies[0])
        np.testing.assert_array_equal(labels, copies[1])
        assert torch.equal(torch.get_rng_state(), states[0])
        np.testing.assert_array_equal(np.random.get_state()[1], states[1])

    def test_stronger_noise_is_survived_less(self, zoo):
        target, pixels, labels, *_ = zoo
        means = [
            augmentation_scores(
                target, pixels[:80], labels[:80], kind="noise", strengths=s, copies=5
            ).scores.mean()
            for s in (0.02, 0.2, 1.0)
        ]
        assert means[0] > means[1] > means[2]


class TestBoundary:
    def test_one_pixel_exactly(self):
        """Misclassified from 101 on: the nearest level is found, and counted in units of the range."""
        target = plane([1], -100, 1, 1)
        pixels = np.array([0, 40, 100, 101], np.uint8).reshape(4, 1, 1, 1)
        result = boundary_scores(target, pixels, [0] * 4, starts=pixels[-1:] + 154, budget=40)
        np.testing.assert_allclose(result.scores, np.array([101, 61, 1, 0]) / 255)
        assert result.nearest.ravel().tolist() == [101] * 4
        assert result.queries[3] == 1

    @pytest.mark.parametrize(("side", "budget", "excess"), [(4, 1000, 0.05), (8, 1000, 0.12), (20, 500, 0.6)])
    def test_a_plane_s_distance_is_approached_from_above(self, side, budget, excess):
        target, pixels, labels, truth, starts = world(side)
        result = boundary_scores(target, pixels, labels, budget=budget, starts=starts)
        assert result.found.all()
        assert (result.scores >= truth * (1 - 1e-12)).all()
        assert np.median(result.scores / truth) < 1 + excess
        assert stats.spearmanr(result.scores, truth).statistic > 0.95

    def test_a_larger_budget_continues_a_smaller_one(self):
        target, pixels, labels, truth, starts = world(8)
        excess = []
        before = np.full(len(pixels), np.inf)
        for budget in (1, 20, 60, 150, 400, 1000):
            scores = boundary_scores(target, pixels, labels, budget=budget, starts=starts).scores
            assert (scores <= before).all()
            before = scores
            excess.append(np.median(scores / truth))
        assert sorted(excess, reverse=True) == excess
        assert excess[-1] < excess[-2] < excess[-3]

    @pytest.mark.parametrize("budget", [1, 2, 7, 75, 333])
    def test_every_image_is_counted_and_the_budget_holds(self, budget):
        target, pixels, labels, _, starts = world(6)
        result = boundary_scores(target, pixels, labels, budget=budget, starts=starts)
        assert result.total_queries == target.module.forwarded
        assert result.queries.max() <= budget
        alone = plane(target.module.weights, target.module.bias, 6, 6)
        for row in (0, 5):
            forwarded = alone.module.forwarded
            boundary_scores(alone, pixels[[row]], labels[[row]], budget=budget, starts=starts)
            assert alone.module.forwarded - forwarded == result.queries[row]

    def test_the_images_prove_the_distances(self):
        target, pixels, labels, _, starts = world(6)
        result = boundary_scores(target, pixels, labels, budget=300, starts=starts)
        assert (predict(target, result.nearest).argmax(1) != labels).all()
        gaps = (result.nearest.astype(float) - pixels).reshape(len(pixels), -1)
        np.testing.assert_allclose(result.scores, np.linalg.norm(gaps, axis=1) / 255)

    @pytest.mark.parametrize("budget", range(56, 72))
    def test_the_nearest_of_all_that_was_asked_is_kept(self, budget):
        """Wherever in a step the budget ends."""
        target, pixels, labels, _, starts = world(6, n=1)
        result = boundary_scores(target, pixels, labels, budget=budget, starts=starts)
        asked = np.concatenate(target.module.seen).reshape(-1, 6, 6, 1)
        wrong = asked[predict(target, asked).argmax(1) != labels]
        gaps = (wrong.astype(float) - pixels).reshape(len(wrong), -1)
        assert result.scores[0] == pytest.approx(np.linalg.norm(gaps, axis=1).min() / 255)

    def test_a_ball_s_distance_is_approached_from_above(self):
        """A full step along the normal leaves the ball on its other side: steps have to be halved."""
        rng = np.random.default_rng(6)
        centre = rng.integers(100, 156, (1, 4, 4, 1), dtype=np.uint8)

        class Ball(torch.nn.Module):
            def forward(self, inputs):
                levels = (inputs * 255).round().flatten(1)
                side = ((levels - torch.from_numpy(centre).flatten(1)) ** 2).sum(1) - 60.0**2
                return torch.stack([torch.zeros_like(side), side], 1)

        target = replace(plane(np.zeros(16), 0, 4, 4), module=Ball())
        pixels = rng.integers(0, 256, (8, 4, 4, 1), dtype=np.uint8)
        starts = np.clip(centre + rng.integers(-14, 15, (5, 4, 4, 1)), 0, 255).astype(np.uint8)
        gaps = (pixels - centre.astype(float)).reshape(len(pixels), -1)
        truth = (np.linalg.norm(gaps, axis=1) - 60) / 255
        excess = []
        for budget in (30, 450):  # before the first step, and after several
            result = boundary_scores(target, pixels, np.ones(8, int), budget=budget, starts=starts)
            assert (result.scores >= truth).all()
            excess.append(np.median(result.scores / truth) - 1)
        assert excess[1] < min(0.06, 0.75 * excess[0]), excess

    @pytest.mark.parametrize("refused", [0, 1, 3])
    def test_a_step_that_fails_is_halved(self, refused):
        """Play the model: wrong beyond a middle grey, but right the first times that a step is tried."""
        image = np.full((4, 4, 1), 60, np.uint8)
        search = boundary_search._search(image, image[None] + 150, 400, random_stream(0, image))
        asked, point = next(search), image
        while len(asked) == 1:  # the image, the start, and the way between them
            wrong = asked.mean((1, 2, 3)) > 130
            point = asked[0] if wrong else point
            asked = search.send(wrong)
        steps = [search.send(asked.mean((1, 2, 3)) > 130)[0]]
        steps += [search.send(np.array([False]))[0] for _ in range(refused)]
        lengths = [boundary_search._distance(step, point) for step in steps]
        expected = boundary_search._distance(point, image) / 2.0 ** np.arange(refused + 1)
        np.testing.assert_allclose(lengths, expected, rtol=0.05)
        between = search.send(np.array([True]))[0]  # the next bisection starts from what was reached
        np.testing.assert_allclose(between, (image + steps[-1].astype(float)) / 2, atol=0.5)

    def test_order_company_and_groups_change_nothing(self, monkeypatch):
        target, pixels, labels, _, starts = world(6, n=7)
        labels[4] = 1 - labels[4]
        options = {"budget": 150, "starts": starts, "seed": 3}
        together = boundary_scores(target, pixels, labels, **options)
        order = np.random.default_rng(0).permutation(len(pixels))
        shuffled = boundary_scores(target, pixels[order], labels[order], **options, batch_size=7)
        alone = [boundary_scores(target, pixels[[i]], labels[[i]], **options) for i in range(len(pixels))]
        monkeypatch.setattr(boundary_search, "QUERY_BYTES", 3 * 150 * 36)  # three samples at once
        grouped = boundary_scores(target, pixels, labels, **options)
        for name in ("scores", "queries", "found", "nearest"):
            expected = getattr(together, name)
            np.testing.assert_array_equal(getattr(shuffled, name), expected[order])
            np.testing.assert_array_equal(getattr(grouped, name), expected)
            np.testing.assert_array_equal(np.concatenate([getattr(one, name) for one in alone]), expected)
        other = boundary_scores(target, pixels, labels, **{**options, "seed": 4})
        assert (other.scores != together.scores).any()

    def test_preprocessing_stays_behind_the_interface(self):
        """Normalising inside the transform or not: the attack sees the same answers, and asks the same."""
        target, pixels, labels, _, starts = world(6)
        plain = boundary_scores(target, pixels, labels, budget=200, starts=starts)

        class Undone(torch.nn.Module):
            def forward(self, inputs):
                return target.module(inputs / 4 + 0.5)

        wrapped = replace(
            target, module=Undone(), transform=Transform(height=6, width=6, mean=(0.5,), std=(0.25,))
        )
        result = boundary_scores(wrapped, pixels, labels, budget=200, starts=starts)
        np.testing.assert_array_equal(result.scores, plain.scores)
        np.testing.assert_array_equal(result.queries, plain.queries)

    def test_without_a_start_the_score_is_finite_and_flagged(self):
        target = plane(np.zeros(9), -1, 3, 3)
        pixels = RNG.integers(0, 256, (2, 3, 3, 1), dtype=np.uint8)
        result = boundary_scores(target, pixels, [0, 1], starts=pixels, budget=100)
        assert result.scores.tolist() == [3.0, 0.0]
        assert result.found.tolist() == [False, True]
        assert result.queries.tolist() == [1 + 2 + boundary_search.NOISE_STARTS, 1]
        np.testing.assert_array_equal(result.nearest, pixels)

    def test_starts_are_tried_from_the_nearest_on(self):
        target = plane([1], -100, 1, 1)
        pixels = np.array([90], np.uint8).reshape(1, 1, 1, 1)
        starts = np.array([255, 0, 200, 60, 103], np.uint8).reshape(-1, 1, 1, 1)
        boundary_scores(target, pixels, [0], starts=starts, budget=2)
        assert np.concatenate(target.module.seen).ravel().tolist() == [90, 103]

    def test_noise_starts_serve_where_none_is_given(self):
        target, pixels, *_ = world(4)
        target.module.bias = target.module.bias - round(0.5 * 255 * float(target.module.weights.norm()))
        labels = predict(target, pixels).argmax(1)
        assert boundary_scores(target, pixels, labels, budget=60).found.mean() > 0.8

    def test_one_query_is_the_gap_attack(self, zoo):
        target, pixels, labels, is_member, _ = zoo
        result = boundary_scores(target, pixels, labels, budget=1)
        gap = correctness(predict(target, pixels), labels, from_logits=True)
        np.testing.assert_array_equal(result.scores, 28 * gap)
        assert roc_auc(result.scores, is_member) == roc_auc(gap, is_member) > 0.5
        assert result.total_queries == len(pixels)

    @pytest.mark.parametrize("share", [0.0, 0.15, 0.5, 0.8, 1.0])
    def test_the_normal_is_the_mean_of_answers_less_their_mean(self, share):
        """Where all answers agree, it points towards what was asked, or away from it."""
        weights = np.random.default_rng(2).integers(-9, 10, 64)
        point = np.random.default_rng(3).integers(60, 196, (8, 8, 1), dtype=np.uint8)
        estimate = boundary_search._normal(point, 8.0, 2000, np.random.default_rng(4))
        images = next(estimate)
        offsets = images.reshape(-1, 64) - point.ravel().astype(float)
        assert np.linalg.norm(offsets, axis=1).mean() == pytest.approx(8, rel=0.1)
        ahead = offsets @ weights
        wrong = ahead > np.sort(np.append(ahead, -np.inf))[round((1 - share) * 2000)]
        with pytest.raises(StopIteration) as stop:
            estimate.send(wrong)
        direction = stop.value.value.ravel()
        answers = 2.0 * wrong - 1
        if 0 < share < 1:
            assert direction @ weights / np.linalg.norm(weights) > 0.95
            answers -= sum(answers) / 2000
        expected = sum(answer * offset for answer, offset in zip(answers, offsets, strict=True))
        np.testing.assert_allclose(direction, expected / np.linalg.norm(expected), atol=1e-9)


@pytest.mark.parametrize("attack", [boundary_scores, augmentation_scores])
class TestRefusals:
    @pytest.mark.parametrize(
        ("pixels", "labels", "sentence"),
        [
            (np.zeros((2, 2, 2, 1)), [0, 0], "uint8 images, at least one; got float64"),
            (np.zeros((0, 2, 2, 1), np.uint8), [], "at least one; got uint8 of"),
            (np.zeros((2, 2, 2, 1), np.uint8), [0], "labels must be 2 integers"),
            (np.zeros((2, 2, 2, 1), np.uint8), [0.0, 1.0], "labels must be 2 integers.*float64"),
            (np.zeros((2, 2, 2, 1), np.uint8), [0, 2], r"0\.\.1; 1 row\(s\) \(1\) do not, the first is 2"),
            (np.zeros((2, 3, 2, 1), np.uint8), [0, 1], r"takes uint8 images of .*got uint8 of \(3, 2, 1\)"),
        ],
    )
    def test_bad_images_and_labels(self, attack, pixels, labels, sentence):
        options = {} if attack is boundary_scores else {"kind": "noise", "strengths": 0.1}
        with pytest.raises(ValueError, match=sentence):
            attack(plane([1, 1, 1, 1], -9, 2, 2), pixels, labels, **options)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"kind": "translation", "strengths": 1.5},
            "translation must be above zero and whole pixels below 3",
        ),
        ({"kind": "translation", "strengths": 3}, "whole pixels below 3; got"),
        ({"kind": "rotation", "strengths": 0}, "rotation must be above zero and finite"),
        ({"kind": "noise", "strengths": [0.1, np.nan]}, "above zero and finite"),
        ({"kind": "noise", "strengths": []}, r"got \[\]"),
        ({"kind": "noise", "strengths": 0.1, "copies": 0}, "copies must be at least 1; got 0"),
    ],
)
def test_bad_strengths_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        augmentation_scores(plane(np.ones(9), -9, 3, 3), np.zeros((1, 3, 3, 1), np.uint8), [0], **options)


def test_other_bad_arguments_are_refused():
    target, pixels = plane(np.ones(9), -9, 3, 3), np.zeros((1, 3, 3, 1), np.uint8)
    with pytest.raises(UnknownNameError, match=r"augmentation 'rotate'.*'rotation'"):
        augmentation_scores(target, pixels, [0], kind="rotate", strengths=1)
    with pytest.raises(ValueError, match="height, width and channels; got"):
        augmentation_scores(target, pixels[None], [0], kind="noise", strengths=1)
    with pytest.raises(
        ValueError, match=r"starts must be uint8 images of \(3, 3, 1\).*got uint8 of \(1, 3, 3\)"
    ):
        boundary_scores(target, pixels, [0], starts=pixels[0, None, ..., 0])
    for options in ({"budget": 0}, {"gradient_queries": 0}):
        with pytest.raises(ValueError, match="must be at least 1; got"):
            boundary_scores(target, pixels, [0], **options)


@pytest.mark.slow
class TestZoo:
    @pytest.mark.parametrize(("kind", "strengths"), [("translation", [1, 2]), ("noise", [0.05, 0.1])])
    def test_an_overfitted_model_gives_its_members_away(self, kind, strengths, zoo):
        target, pixels, labels, is_member, _ = zoo
        result = augmentation_scores(target, pixels, labels, kind=kind, strengths=strengths)
        assert roc_auc_interval(result.scores, is_member, confidence_level=0.999).low > 0.5

    def test_members_lie_farther_from_the_boundary(self, zoo):
        target, pixels, labels, is_member, starts = zoo
        rows = np.concatenate([np.flatnonzero(side)[:60] for side in (is_member, ~is_member)])
        result = boundary_scores(target, pixels[rows], labels[rows], starts=starts, budget=200)
        assert result.found.all()
        assert roc_auc_interval(result.scores, is_member[rows]).low > 0.5
