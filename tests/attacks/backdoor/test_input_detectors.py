"""Detectors of poisoned inputs: equal to their definitions, blind to what must not matter."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from securitynet_hub.attacks.backdoor import ibd_psc, neo
from securitynet_hub.attacks.backdoor import input_checks as backdoor_inputs
from securitynet_hub.attacks.backdoor.combined_inputs import combined_scores, tail_p_values
from securitynet_hub.attacks.backdoor.ibd_psc import choose_layers, ibd_psc_scores
from securitynet_hub.attacks.backdoor.neo import dominant_colour, neo_scores, patches
from securitynet_hub.attacks.backdoor.scale_up import scale_up_scores
from securitynet_hub.attacks.backdoor.strip import strip_scores
from securitynet_hub.attacks.backdoor.ted import nearest_ranks, ted_scores
from securitynet_hub.attacks.backdoor.ted_plus_plus import ted_plus_plus_scores, tube_radii, tube_ranks
from securitynet_hub.core.errors import ModelError, UnknownNameError
from securitynet_hub.data.images import load_images
from securitynet_hub.data.transforms import Transform
from securitynet_hub.data.triggers import corner_patch, superimpose
from securitynet_hub.engine.inference import predict
from securitynet_hub.models.loading import find_annotation, load_target
from securitynet_hub.models.target import Target
from securitynet_hub.statistics.rates import roc_auc

PIXELS, LABELS = load_images().pixels[2000:], load_images().labels[2000:]
INPUTS, CLEAN = PIXELS[:12], PIXELS[1000:1060]
BATCH_NORM = "zoo/fashion-mnist/bn-cnn-corner-patch/7"
DETECTORS = {
    "strip": lambda target, inputs, clean=CLEAN, **k: strip_scores(
        target, inputs, clean=clean, num_overlays=8, **k
    ),
    "neo": lambda target, inputs, clean=CLEAN, **k: neo_scores(
        target, inputs, clean=clean, sides=[4], stride=8, num_clean=5, **k
    ),
    "scale-up": lambda target, inputs, clean=CLEAN, **k: scale_up_scores(target, inputs, clean=clean, **k),
    "ibd-psc": lambda target, inputs, clean=CLEAN, **k: ibd_psc_scores(target, inputs, clean=clean, **k),
    "ted": lambda target, inputs, clean=CLEAN, **k: ted_scores(target, inputs, clean=clean, **k),
    "ted++": lambda target, inputs, clean=CLEAN, **k: ted_plus_plus_scores(target, inputs, clean=clean, **k),
}
each_detector = pytest.mark.parametrize("detector", DETECTORS.values(), ids=DETECTORS)


@pytest.fixture(scope="module")
def target():
    return load_target(BATCH_NORM)


@pytest.fixture(scope="module")
def plain():
    return load_target("zoo/fashion-mnist/cnn-corner-patch/7")


def rule(function, num_classes=3, side=8, channels=1):
    """A target whose label is a function of the image's grey levels."""

    class Rule(torch.nn.Module):
        def forward(self, inputs):
            labels = torch.stack([torch.as_tensor(function((image * 255).round())) for image in inputs])
            return 9.0 * torch.nn.functional.one_hot(labels.long(), num_classes)

    return Target(
        annotation=replace(find_annotation("zoo/fashion-mnist/cnn-clean/1"), num_classes=num_classes),
        module=Rule(),
        transform=Transform(height=side, width=side, channels=channels),
        num_classes=num_classes,
    )


def levels(*grey):
    """Images of 8 x 8 pixels of one level each."""
    return np.array(grey, np.uint8)[:, None, None, None] * np.ones((8, 8, 1), np.uint8)


def softmax(logits):
    powers = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


class TestEveryDetector:
    @each_detector
    def test_scores_one_by_one_and_together_alike(self, target, detector):
        together = detector(target, INPUTS)
        assert together.shape == (12,)
        assert together.dtype == np.float64
        alone = [detector(target, INPUTS[i : i + 1])[0] for i in (3, 11)]
        np.testing.assert_allclose(together[[3, 11]], alone, atol=1e-5)
        np.testing.assert_allclose(detector(target, INPUTS, batch_size=5), together, atol=1e-5)
        np.testing.assert_allclose(detector(target, INPUTS[::-1]), together[::-1], atol=1e-5)

    @each_detector
    def test_normalising_inside_the_network_changes_nothing(self, target, detector):
        class Inside(torch.nn.Module):
            def __init__(self, module):
                super().__init__()
                self.module = module

            def forward(self, inputs):
                return self.module((inputs - 0.2860) / 0.3530)

        wrapped = replace(
            target, module=Inside(target.module), transform=Transform(height=28, width=28, channels=1)
        )
        np.testing.assert_allclose(detector(wrapped, INPUTS), detector(target, INPUTS), atol=1e-4)

    @each_detector
    def test_the_order_of_the_classes_changes_nothing(self, target, detector):
        permuted = copy.deepcopy(target.module)
        head, order = permuted[-1], torch.tensor([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
        head.weight.data, head.bias.data = head.weight.data[order], head.bias.data[order]
        found = detector(replace(target, module=permuted), INPUTS)
        np.testing.assert_allclose(found, detector(target, INPUTS), atol=1e-5)

    @each_detector
    def test_leaves_network_images_and_random_state_as_they_were(self, detector):
        target = load_target(BATCH_NORM)
        target.module[1].train()
        flags = [part.training for part in target.module.modules()]
        before = {name: tensor.clone() for name, tensor in target.module.state_dict().items()}
        inputs, clean = INPUTS.copy(), CLEAN.copy()
        torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
        detector(target, inputs, clean)
        assert [part.training for part in target.module.modules()] == flags
        assert not any(part._forward_hooks for part in target.module.modules())
        for name, tensor in target.module.state_dict().items():
            assert torch.equal(tensor, before[name])
        assert np.array_equal(inputs, INPUTS)
        assert np.array_equal(clean, CLEAN)
        assert torch.equal(torch.get_rng_state(), torch_state)
        assert np.array_equal(np.random.get_state()[1], numpy_state)

    @each_detector
    def test_queries_made_in_many_parts_give_the_same(self, target, detector, monkeypatch):
        together = detector(target, INPUTS[:3])
        monkeypatch.setattr(backdoor_inputs, "QUERY_BYTES", 5000)
        np.testing.assert_allclose(detector(target, INPUTS[:3]), together, atol=1e-5)

    @each_detector
    def test_grey_images_may_come_without_channels(self, target, detector):
        with_channels = detector(target, INPUTS[:2])
        assert np.array_equal(detector(target, INPUTS[:2, ..., 0], CLEAN[..., 0]), with_channels)

    @each_detector
    @pytest.mark.parametrize(
        ("inputs", "clean", "sentence"),
        [
            (CLEAN[[5]], CLEAN, r"1 row\(s\) \(0\) of the inputs are among them"),
            (INPUTS / 255, CLEAN, "uint8 images"),
            (INPUTS[:0], CLEAN, "at least one"),
            (INPUTS, CLEAN[:, :14], "one size"),
        ],
    )
    def test_refusals(self, target, detector, inputs, clean, sentence):
        with pytest.raises(ValueError, match=sentence):
            detector(target, inputs, clean)


class TestStrip:
    @pytest.mark.parametrize("weights", [(1.0, 1.0), (0.5, 0.5), (0.9, 0.3)])
    def test_equals_the_definition(self, plain, weights):
        found = strip_scores(plain, INPUTS[:2], clean=CLEAN[:30], num_overlays=30, weights=weights)
        for image, score in zip(INPUTS, found, strict=False):
            entropies = []
            for overlay in CLEAN[:30]:
                blend = weights[0] * image.astype(float) + weights[1] * overlay.astype(float)
                blend = np.rint(np.clip(blend, 0, 255)).astype(np.uint8)
                p = softmax(predict(plain, blend[None]))[0]
                entropies.append(-sum(p[i] * np.log2(p[i]) for i in range(10)))
            assert score == pytest.approx(-np.mean(entropies), rel=1e-4)

    def test_a_constant_answer_scores_0_and_an_even_one_minus_log2_of_the_classes(self):
        sure = rule(lambda image: 1, num_classes=4)
        even = replace(sure, module=torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 4)))
        torch.nn.init.zeros_(even.module[1].weight)
        torch.nn.init.zeros_(even.module[1].bias)
        inputs = np.zeros((2, 8, 8, 1), np.uint8)
        clean = np.ones((3, 8, 8, 1), np.uint8)
        assert strip_scores(even, inputs, clean=clean, num_overlays=3).tolist() == [-2, -2]
        assert strip_scores(sure, inputs, clean=clean, num_overlays=3) == pytest.approx([0, 0], abs=0.01)

    def test_adding_keeps_a_bright_trigger_that_averaging_dims(self, target):
        judged = np.concatenate([PIXELS[:60], corner_patch(PIXELS[60:120])])
        poisoned = np.arange(120) >= 60
        added, averaged = (
            roc_auc(strip_scores(target, judged, clean=CLEAN, num_overlays=20, weights=weights), poisoned)
            for weights in ((1.0, 1.0), (0.5, 0.5))
        )
        assert added > 0.95
        assert averaged < added - 0.2

    def test_saturating_addition_is_the_general_blend(self):
        x, y = np.random.default_rng(0).integers(0, 256, (2, 1000), dtype=np.uint8)
        general = np.minimum(x.astype(int) + y, 255)
        assert np.array_equal(superimpose(x, y), general)
        assert np.array_equal(superimpose(x, y, (1.0, 1.0 + 1e-9)), general)

    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"num_overlays": 61}, "1..60"),
            ({"num_overlays": 9, "weights": (1.0, 0.0)}, "above 0"),
            ({"num_overlays": 0}, "got 0"),
        ],
    )
    def test_refusals(self, target, settings, sentence):
        with pytest.raises(ValueError, match=sentence):
            strip_scores(target, INPUTS, clean=CLEAN, **settings)


class TestNeo:
    @pytest.mark.parametrize(("height", "width", "stride"), [(5, 7, 1), (8, 8, 3), (6, 9, 4), (3, 3, 1)])
    def test_patches_reach_every_place_and_every_edge(self, height, width, stride):
        for side in (2, 3):
            tops = {top for top in range(height - side + 1) if top % stride == 0 or top == height - side}
            lefts = {left for left in range(width - side + 1) if left % stride == 0 or left == width - side}
            found = patches(height, width, sides=[side], stride=stride)
            assert sorted(found) == sorted((top, left, side) for top in tops for left in lefts)

    def test_any_trigger_of_a_square_s_size_less_the_stride_lies_in_one(self):
        found = patches(20, 20, sides=[6], stride=3)
        for top in range(17):
            for left in range(17):  # a trigger of 4 x 4
                assert any(p.top <= top <= p.top + 2 and p.left <= left <= p.left + 2 for p in found)

    @pytest.mark.parametrize("place", [(0, 0), (0, 5), (5, 0), (5, 5), (2, 3)])
    def test_finds_a_trigger_wherever_it_is(self, place):
        area = slice(place[0], place[0] + 3), slice(place[1], place[1] + 3)
        target = rule(lambda image: 2 if (image[0][area] == 200).all() else 0)
        clean = np.random.default_rng(0).integers(0, 99, (9, 8, 8, 1), dtype=np.uint8)
        suspect = clean[:1] + 1
        suspect[(0, *area)] = 200
        assert neo_scores(target, suspect, clean=clean, sides=[3]).tolist() == [1]
        assert neo_scores(target, clean[:1] + 1, clean=clean, sides=[3]).tolist() == [0]

    def test_another_label_than_the_suspect_s_does_not_confirm(self):
        """The patch changes every clean image's label, but to 1 and not to the suspect's 2."""
        corner = (slice(None), slice(0, 3), slice(0, 3))

        def label(image):
            stamped = (image[corner] == 200).all()
            return int(stamped) * (2 if (image[0, 5:, 5:] == 100).all() else 1)

        clean = np.random.default_rng(0).integers(0, 99, (9, 8, 8, 1), dtype=np.uint8)
        suspect = clean[:1] + 1
        suspect[0, :3, :3], suspect[0, 5:, 5:] = 200, 100
        assert neo_scores(rule(label), suspect, clean=clean, sides=[3]).tolist() == [0]

    def test_clean_images_that_have_the_label_anyway_do_not_count(self):
        target = rule(lambda image: 2 if image.max() > 250 else 0)
        clean = np.full((4, 8, 8, 1), 9, np.uint8)
        clean[:3, 0, 0] = 255
        suspect = np.zeros((1, 8, 8, 1), np.uint8)
        suspect[0, 4, 4] = 255
        assert neo_scores(target, suspect, clean=clean[:3], sides=[2]).tolist() == [0]
        assert neo_scores(target, suspect, clean=clean, sides=[2]).tolist() == [1]

    def test_equals_the_definition(self, plain):
        judged, clean = np.concatenate([corner_patch(PIXELS[20:21]), PIXELS[30:31]]), CLEAN[:6]
        found = neo_scores(plain, judged, clean=clean, sides=[4, 6], stride=6)
        answers = predict(plain, clean).argmax(1)
        assert found[0] > 0.5
        for image, score in zip(judged, found, strict=True):
            label, best = predict(plain, image[None]).argmax(), 0.0
            for side in (4, 6):
                for top in {*range(0, 28 - side, 6), 28 - side}:
                    for left in {*range(0, 28 - side, 6), 28 - side}:
                        area = slice(top, top + side), slice(left, left + side)
                        covered = image.copy()
                        covered[area] = dominant_colour(image)
                        if predict(plain, covered[None]).argmax() == label:
                            continue
                        pasted = clean[answers != label].copy()
                        pasted[(slice(None), *area)] = image[area]
                        best = max(best, (predict(plain, pasted).argmax(1) == label).mean())
            assert score == best

    def test_the_dominant_colour_is_that_of_the_largest_group(self):
        image = np.zeros((4, 4, 3), np.uint8)
        image[:2] = (16, 200, 40)
        image[2, :2] = (18, 206, 44)
        assert dominant_colour(image).tolist() == [16, 201, 41]  # of ten pixels, two are a little brighter
        rng = np.random.default_rng(0)
        shuffled = rng.permutation(image.reshape(-1, 3)).reshape(4, 4, 3)
        assert dominant_colour(shuffled).tolist() == [16, 201, 41]

    @pytest.mark.parametrize("settings", [{"sides": []}, {"sides": [29]}, {"stride": 0}, {"num_clean": 0}])
    def test_refusals(self, target, settings):
        with pytest.raises(ValueError, match=r"sides|num_clean"):
            neo_scores(target, INPUTS, clean=CLEAN, **settings)

    def test_default_squares_suit_any_size(self):
        seen = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                neo, "_score", lambda target, image, label, clean, squares, size: seen.append(squares) or 0
            )
            for side in (28, 224):
                images = np.random.default_rng(0).integers(0, 9, (3, side, side, 1), dtype=np.uint8)
                neo_scores(rule(lambda image: 0, side=side), images[:1], clean=images[1:])
        small, large = seen
        assert {patch.side for patch in small} == {3, 4, 6}
        assert {patch.side for patch in large} == {22, 32, 45}
        assert len(large) < 3000


class TestScaleUp:
    @pytest.mark.parametrize("multiples", [(3, 5, 7, 9, 11), (1.5, 2)])
    def test_equals_the_definition(self, plain, multiples):
        found = scale_up_scores(plain, INPUTS, multiples=multiples)
        for image, score in zip(INPUTS, found, strict=True):
            label = predict(plain, image[None]).argmax()
            copies = [np.rint(np.clip(m * image.astype(float), 0, 255)).astype(np.uint8) for m in multiples]
            assert score == np.mean([predict(plain, copy[None]).argmax() == label for copy in copies])

    def test_standardises_by_clean_images_of_the_same_label(self):
        """Label 1 from a level of 30 on: 7 reaches it at the second multiple, 5 at the third, 1 never."""
        target = rule(lambda image: int(image.max() >= 30), num_classes=2)
        inputs, clean = levels(1, 7, 40), levels(2, 5, 60)
        assert scale_up_scores(target, inputs).tolist() == [1, 0.2, 1]
        # Clean images of label 0 score 1 and 0.4: mean 0.7, deviation 0.3. One of label 1 is too few, so that
        # all three are taken: 1, 0.4 and 1.
        everyone = np.array([1, 0.4, 1])
        expected = [1, -5 / 3, (1 - everyone.mean()) / everyone.std()]
        assert scale_up_scores(target, inputs, clean=clean) == pytest.approx(expected)
        # As the authors' library does it: by all clean images, whatever their label.
        expected = (np.array([1, 0.2, 1]) - everyone.mean()) / everyone.std()
        found = scale_up_scores(target, inputs, clean=clean, standardise="all")
        assert found == pytest.approx(expected)
        with pytest.raises(UnknownNameError, match="label"):
            scale_up_scores(target, inputs, standardise="labels")

    def test_where_all_clean_images_score_alike_nothing_is_divided_by_0(self):
        target = rule(lambda image: 0)
        assert scale_up_scores(target, levels(0, 1), clean=levels(2, 3)).tolist() == [0, 0]

    def test_covers_all_of_a_large_set(self, plain):
        many = PIXELS[:300]
        scores = scale_up_scores(plain, many, batch_size=64)
        assert scores.shape == (300,)
        assert np.array_equal(scores[290:], scale_up_scores(plain, many[290:]))

    def test_a_trigger_of_middle_grey_is_missed(self):
        target = rule(lambda image: 2 if (image[0, 5:, 5:] == 100).all() else int(image.max() >= 250))
        stamped = np.full((1, 8, 8, 1), 60, np.uint8)
        stamped[0, 5:, 5:] = 100
        assert scale_up_scores(target, stamped).tolist() == [0]

    @pytest.mark.parametrize("multiples", [(), (1, 3), (3, np.inf)])
    def test_refusals(self, plain, multiples):
        with pytest.raises(ValueError, match="above 1"):
            scale_up_scores(plain, INPUTS, multiples=multiples)


class TestIbdPsc:
    def test_equals_the_definition(self, target):
        counts = choose_layers(target, CLEAN).counts
        found = ibd_psc_scores(target, INPUTS, clean=CLEAN)
        labels = predict(target, INPUTS).argmax(1)
        layers = [
            name for name, part in target.module.named_modules() if isinstance(part, torch.nn.BatchNorm2d)
        ]
        total = np.zeros(12)
        for count in counts:
            changed = {
                f"{layer}.{kind}": target.module.get_parameter(f"{layer}.{kind}") * 1.5
                for layer in layers[-count:]
                for kind in ("weight", "bias")
            }
            with torch.no_grad():
                logits = torch.func.functional_call(target.module, changed, (target.transform(INPUTS),))
            total += softmax(logits.numpy())[np.arange(12), labels]
        np.testing.assert_allclose(found, total / len(counts), atol=1e-6)

    def test_starts_at_the_first_count_that_changes_enough_labels(self, target):
        labels = predict(target, CLEAN).argmax(1)
        errors = [
            np.mean(predict(ibd_psc._amplify(target, count, 6.0), CLEAN).argmax(1) != labels)
            for count in (1, 2, 3)
        ]
        for first in range(3):
            if errors[first] > max(errors[:first], default=0):
                limit = (errors[first] + max(errors[:first], default=0)) / 2
                found = choose_layers(target, CLEAN, factor=6.0, max_error=limit)
                assert found == (tuple(range(first + 1, 4)), True)
        assert choose_layers(target, CLEAN, factor=6.0, max_error=errors[0] / 2, num_networks=1).counts == (
            1,
        )

    def test_begins_one_layer_further_where_asked_as_the_authors_code_does(self, target):
        first = choose_layers(target, CLEAN, factor=6.0, max_error=0.0, num_networks=1).counts[0]
        found = [
            choose_layers(target, CLEAN, factor=6.0, max_error=0.0, skip=skip).counts for skip in (0, 1, 9)
        ]
        assert found == [tuple(range(first, 4)), tuple(range(min(first + 1, 3), 4)), (3,)]
        further = ibd_psc_scores(target, INPUTS, clean=CLEAN, factor=6.0, max_error=0.0, skip=9)
        alone = predict(ibd_psc._amplify(target, 3, 6.0), INPUTS)
        own = softmax(alone)[np.arange(12), predict(target, INPUTS).argmax(1)]
        np.testing.assert_allclose(further, own, atol=1e-6)

    def test_falls_back_where_no_count_qualifies(self, target):
        assert choose_layers(target, CLEAN, factor=1.001) == ((1, 2, 3), False)
        assert choose_layers(target, CLEAN, factor=1.001, num_networks=2) == ((2, 3), False)
        scores = ibd_psc_scores(target, INPUTS, clean=CLEAN, factor=1.001)
        own = softmax(predict(target, INPUTS)).max(1)  # hardly amplified: the network's own confidence
        np.testing.assert_allclose(scores, own, atol=0.02)

    def test_needs_batch_norm(self, plain):
        with pytest.raises(ModelError, match="no BatchNorm"):
            ibd_psc_scores(plain, INPUTS, clean=CLEAN)

    @pytest.mark.parametrize(
        "settings", [{"factor": 1.0}, {"max_error": 1.0}, {"num_networks": 0}, {"skip": -1}]
    )
    def test_refusals(self, target, settings):
        with pytest.raises(ValueError, match="factor must be"):
            ibd_psc_scores(target, INPUTS, clean=CLEAN, **settings)


class TestTed:
    def test_ranks_equal_their_definition(self):
        rng = np.random.default_rng(0)
        points, known = rng.normal(size=(20, 3)), rng.normal(size=(30, 3))
        labels, known_labels = rng.integers(0, 4, 20), rng.integers(0, 3, 30)  # no known point has label 3
        found = nearest_ranks(points, labels, known, known_labels)
        for point, label, rank in zip(points, labels, found, strict=True):
            distances = np.linalg.norm(known - point, axis=1)
            own = distances[known_labels == label]
            assert rank == (distances < own.min()).sum() if len(own) else rank == 30
        among = nearest_ranks(known, known_labels, known, known_labels, among_others=True)
        for i, rank in enumerate(among):
            others = np.delete(np.arange(30), i)
            distances = np.linalg.norm(known[others] - known[i], axis=1)
            assert rank == (distances < distances[known_labels[others] == known_labels[i]].min()).sum()

    def test_one_layer_by_hand(self):
        """Clean levels 0 and 2, 10 and 12, each next to its like, and 90, alone with its label."""
        module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1, 3))
        with torch.no_grad():  # labels 0 below 5, 1 up to 50, 2 beyond; answers one-to-one with levels
            module[1].weight.copy_(torch.tensor([[0.0], [255.0], [510.0]]))
            module[1].bias.copy_(torch.tensor([0.0, -5.0, -55.0]))
        target = replace(
            rule(lambda image: 0), module=module, transform=Transform(height=1, width=1, channels=1)
        )
        clean = np.array([0, 2, 10, 12, 90], np.uint8).reshape(-1, 1, 1, 1)
        inputs = np.array([1, 60, 30], np.uint8).reshape(-1, 1, 1, 1)
        # 60 is nearer to 90 than to any; 30 is nearest to 12. All ranks are 0, and so is every score.
        assert ted_scores(target, inputs, clean=clean).tolist() == [0, 0, 0]
        # Told 2 beyond 20 instead: 30 lies nearest to 12, 10, 2 and 0, and then to 90.
        with torch.no_grad():
            module[1].bias.copy_(torch.tensor([0.0, -5.0, -25.0]))
        assert ted_scores(target, inputs, clean=clean).tolist() == [0, 0, 4]

    def test_a_label_that_no_clean_image_shares_is_refused(self, target):
        with pytest.raises(ValueError, match="share"):
            ted_scores(target, INPUTS, clean=CLEAN[:1])

    def test_layers_without_answers_of_their_own_are_left_out(self, target):
        """A layer that the forward pass never calls must not break the rest."""
        module = copy.deepcopy(target.module)
        module.unused = torch.nn.Linear(3, 3)
        module.forward = torch.nn.Sequential(*list(module)[:-1]).forward
        found = ted_scores(replace(target, module=module), INPUTS, clean=CLEAN)
        np.testing.assert_allclose(found, ted_scores(target, INPUTS, clean=CLEAN), atol=1e-6)


class TestOnTheZoo:
    """Poisoned inputs rank above clean ones on a backdoored network, and not on its clean twin."""

    @pytest.mark.parametrize(("name", "least"), [("strip", 0.95), ("ted", 0.9), ("neo", 0.9)])
    def test_finds_the_patch_and_blames_no_clean_network(self, target, name, least):
        few = 10 if name == "neo" else 60
        others = PIXELS[100:400][LABELS[100:400] != target.annotation.target_class][:few]
        judged = np.concatenate([PIXELS[:few], corner_patch(others)])
        detector = {
            "strip": DETECTORS["strip"],
            "ted": lambda t, x: ted_scores(t, x, clean=PIXELS[1000:1300]),  # six of a class are too few
            "neo": lambda t, x: neo_scores(t, x, clean=CLEAN, sides=[4], stride=4, num_clean=10),
        }[name]
        poisoned = np.arange(2 * few) >= few
        clean = load_target("zoo/fashion-mnist/bn-cnn-clean/1")
        assert roc_auc(detector(target, judged), poisoned) > least
        assert roc_auc(detector(clean, judged), poisoned) < 0.75


class TestCombined:
    def test_p_values_of_clean_scores_are_no_smaller_than_they_may_be(self):
        """Any of six exchangeable values is the largest with a probability of 1 / 6, and so on."""
        scores = np.array([3.0, 1.0, 4.0, 1.5, 5.0, 9.0])
        p_values = [tail_p_values(scores[k : k + 1], np.delete(scores, k))[0] for k in range(6)]
        assert sorted(p_values) == pytest.approx(np.arange(1, 7) / 6)

    def test_ties_count_against_the_suspicion(self):
        assert tail_p_values([2.0], [2.0, 2.0, 1.0]).tolist() == [0.75]

    def test_it_is_the_sum_over_the_detectors(self, plain):
        used, others = CLEAN[::2], CLEAN[1::2]
        both = np.concatenate([INPUTS[:2], corner_patch(INPUTS[2:4]), others])
        scores = [
            strip_scores(plain, both, clean=used, num_overlays=25),
            scale_up_scores(plain, both, clean=used),
            ted_scores(plain, both, clean=used),
            ted_plus_plus_scores(plain, both, clean=used),
        ]
        expected = [
            -sum(np.log10((1 + (s[4:] >= s[k]).sum()) / (1 + len(others))) for s in scores) for k in range(4)
        ]
        found = combined_scores(plain, both[:4], clean=CLEAN)
        assert found == pytest.approx(expected)


class TestTubes:
    def test_ranks_are_those_of_the_definition(self):
        rng = np.random.default_rng(1)
        known, points = rng.normal(size=(30, 4)), rng.normal(size=(12, 4)) * 1.5
        known_labels, labels = rng.integers(0, 3, 30), rng.integers(0, 3, 12)
        radii = tube_radii(known, known_labels, 0.5)
        ranks = tube_ranks(points, labels, known, known_labels, radii)
        for point, label, rank in zip(points, labels, ranks, strict=True):
            distances = np.linalg.norm(known - point, axis=1)
            own = np.flatnonzero(known_labels == label)
            nearest = own[distances[own].argmin()]
            others = np.sort(np.linalg.norm(known[own[own != nearest]] - known[nearest], axis=1))
            radius = others[int(np.ceil(len(own) / 2)) - 1]
            inside = distances[nearest] <= radius
            assert rank == ((distances < distances[nearest]).sum() if inside else 29)
        assert (ranks == 29).any()
        assert (ranks < 29).any()

    def test_without_tubes_they_are_ted_s(self):
        rng = np.random.default_rng(2)
        known, points = (rng.normal(size=(n, 4)).astype(np.float32) for n in (30, 12))
        known_labels, labels = rng.integers(0, 3, 30), rng.integers(0, 3, 12)
        ranks = tube_ranks(points, labels, known, known_labels, np.full(30, np.inf))
        np.testing.assert_array_equal(ranks, nearest_ranks(points, labels, known, known_labels))

    def test_far_from_every_image_yet_nearest_to_its_class_is_seen_by_tubes_alone(self):
        known = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
        labels, far = np.repeat([0, 1], 3), np.array([[-50.0]])
        radii = tube_radii(known, labels, 0.5)
        assert nearest_ranks(far, np.array([0]), known, labels).tolist() == [0]
        assert tube_ranks(far, np.array([0]), known, labels, radii).tolist() == [5]
        assert tube_ranks(np.array([[0.5]]), np.array([0]), known, labels, radii).tolist() == [0]

    def test_refuses_a_share_that_is_none(self, plain):
        with pytest.raises(ValueError, match="share"):
            ted_plus_plus_scores(plain, INPUTS, clean=CLEAN, share=0)
