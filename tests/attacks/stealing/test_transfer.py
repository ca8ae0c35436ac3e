"""Adversarial examples: the ball, whole grey levels, the linear case by hand, and rates with controls."""

import numpy as np
import pytest
import torch

from securitynet_hub import load_images, load_target
from securitynet_hub.attacks.stealing.transfer import craft, measure_transfer
from securitynet_hub.core.errors import UnknownNameError
from securitynet_hub.data.transforms import Transform
from securitynet_hub.engine.inference import predict, predict_module

IMAGES = load_images()
X, Y = IMAGES.pixels[2000:2200], IMAGES.labels[2000:2200]


@pytest.fixture(scope="module")
def target():
    return load_target("zoo/fashion-mnist/cnn-clean/1")


@pytest.fixture(scope="module")
def surrogate():
    return load_target("zoo/fashion-mnist/cnn-clean/2")


class TestCraft:
    @pytest.mark.parametrize("method", ["fgsm", "pgd"])
    @pytest.mark.parametrize("epsilon", [0, 1, 8, 255])
    def test_it_stays_in_the_ball_and_in_the_range(self, surrogate, method, epsilon):
        before = X.copy()
        crafted = craft(surrogate.module, surrogate.transform, X, Y, method=method, epsilon=epsilon)
        assert crafted.dtype == np.uint8
        moved = np.abs(crafted.astype(int) - X)
        assert moved.max() <= epsilon
        assert moved.max() > 0 or not epsilon
        np.testing.assert_array_equal(X, before)

    def test_fgsm_of_a_linear_network_by_hand(self):
        """Of two classes the loss of 0 grows with w1 - w0, whose signs are + and -."""
        transform = Transform(height=1, width=2, channels=1, mean=(0.3,), std=(0.5,))
        linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(2, 2))
        linear[1].weight.data = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
        pixels = np.array([[100, 100], [254, 1]], np.uint8).reshape(2, 1, 2, 1)
        crafted = craft(linear, transform, pixels, [0, 0], method="fgsm", epsilon=5)
        assert crafted.reshape(2, 2).tolist() == [[105, 95], [255, 0]]
        negative = Transform(height=1, width=2, channels=1, factor=-1.0)
        assert craft(linear, negative, pixels, [0, 0], method="fgsm", epsilon=5)[0].ravel().tolist() == [
            95,
            105,
        ]

    def test_pgd_fools_more_than_fgsm_and_both_more_than_nothing(self, surrogate):
        errors = [
            (predict(surrogate, x) .argmax(1) != Y).mean()
            for x in (
                X,
                craft(surrogate.module, surrogate.transform, X, Y, method="fgsm", epsilon=8),
                craft(surrogate.module, surrogate.transform, X, Y, epsilon=8, steps=10),
            )
        ]  # fmt: skip
        assert errors[0] + 0.2 < errors[1] < errors[2]

    def test_nothing_of_the_network_or_the_random_state_changes(self, surrogate):
        module, state = surrogate.module.train(), torch.get_rng_state()
        first = craft(module, surrogate.transform, X, Y, steps=2, seed=1)
        assert torch.equal(torch.get_rng_state(), state)
        assert module.training
        assert all(p.grad is None for p in module.parameters())
        module.eval()
        np.testing.assert_array_equal(craft(module, surrogate.transform, X, Y, steps=2, seed=1), first)
        assert not np.array_equal(craft(module, surrogate.transform, X, Y, steps=2, seed=2), first)

    def test_batches_do_not_show_but_for_rounding(self, surrogate):
        whole = craft(surrogate.module, surrogate.transform, X[:50], Y[:50], method="fgsm")
        parts = craft(surrogate.module, surrogate.transform, X[:50], Y[:50], method="fgsm", batch_size=7)
        assert (whole != parts).mean() < 1e-3

    @pytest.mark.parametrize(
        ("changes", "kind", "sentence"),
        [
            ({"method": "cw"}, UnknownNameError, "There is no adversarial method 'cw'"),
            ({"epsilon": 0.03}, ValueError, "epsilon must be whole grey levels"),
            ({"steps": 0}, ValueError, "steps 1 or more"),
            ({"labels": Y[:3]}, ValueError, "there must be 200 labels"),
            ({"transform": str}, ValueError, "a preprocessing with a gradient"),
        ],
    )
    def test_refusals(self, surrogate, changes, kind, sentence):
        settings = {"module": surrogate.module, "transform": surrogate.transform, "pixels": X, "labels": Y}
        with pytest.raises(kind, match=sentence):
            craft(**settings | changes)


@pytest.mark.parametrize(
    "transform",
    [
        Transform(height=6, width=5, mean=(0.3, 0.4, 0.5), std=(0.2, 0.3, 0.4)),
        Transform(height=4, width=4, channels=3, resize=7, interpolation="bicubic"),
        Transform(height=8, width=7, channels=3, resize=(9, 8), factor=2.0),
    ],
)
def test_the_differentiable_preprocessing_is_the_preprocessing(transform):
    for channels in (1, 3):
        # Smooth, so that what resizing rounds is all that differs.
        pixels = np.linspace(40, 200, 2 * 6 * 5 * channels).astype(np.uint8).reshape(2, 6, 5, channels)
        moved = torch.from_numpy(np.moveaxis(pixels, -1, 1).astype(np.float32)).requires_grad_()
        inputs = transform.differentiable(moved)
        tolerance = 1e-5 if transform.resize is None else transform.factor / 255
        torch.testing.assert_close(inputs.detach(), transform(pixels), atol=tolerance, rtol=1e-5)
        inputs.sum().backward()
        assert moved.grad.abs().sum() > 0


class TestMeasure:
    @pytest.mark.parametrize("method", ["fgsm", "pgd"])
    def test_brute_force(self, target, surrogate, method):
        settings = {"method": method, "epsilon": 12, "steps": 5, "seed": 3}
        result = measure_transfer(surrogate.module, surrogate.transform, target, X, Y, **settings)
        told = [predict(each, X).argmax(1) for each in (target, surrogate)]
        both = (told[0] == Y) & (told[1] == Y)
        crafted = craft(
            surrogate.module,
            surrogate.transform,
            X[both],
            Y[both],
            method=method,
            epsilon=12,
            steps=5,
            seed=3,
        )
        own, other = (predict(each, crafted).argmax(1) != Y[both] for each in (surrogate, target))
        assert result["n"] == both.sum() < len(X)
        assert result["n_fooling"] == own.sum()
        assert result["transfer_rate"] == (own & other).sum() / own.sum()
        assert result["target_error"] == other.mean()
        low, high = result["transfer_rate_ci"]
        assert low < result["transfer_rate"] < high

    def test_twins_share_their_weakness_beyond_noise(self, target, surrogate):
        result = measure_transfer(surrogate.module, surrogate.transform, target, X, Y, epsilon=16)
        assert result["target_error_ci"].low > result["noise_error_ci"].high

    def test_a_copy_is_fooled_by_all_that_fools_the_surrogate(self, target):
        result = measure_transfer(target.module, target.transform, target, X, Y)
        assert result["transfer_rate"] == 1
        assert result["target_error"] == result["n_fooling"] / result["n"]

    def test_no_change_fools_no_one(self, target, surrogate):
        result = measure_transfer(surrogate.module, surrogate.transform, target, X, Y, epsilon=0)
        assert result["target_error"] == result["noise_error"] == result["n_fooling"] == 0
        assert result["transfer_rate"] is result["transfer_rate_ci"] is None

    def test_nothing_that_both_answer_rightly(self, target, surrogate):
        wrong = (predict_module(target.module, target.transform, X).argmax(1) + 1) % 10
        result = measure_transfer(surrogate.module, surrogate.transform, target, X, wrong)
        assert result["n"] == 0
        assert result["target_error"] is None
