"""Surrogates: what they learn, what that costs, and that nothing but their own budget decides them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from securitynet_hub import load_images, load_target
from securitynet_hub.attacks.stealing import objectives, surrogates
from securitynet_hub.attacks.stealing.black_box import BlackBox
from securitynet_hub.attacks.stealing.measures import measure_stealing
from securitynet_hub.attacks.stealing.objectives import objective
from securitynet_hub.attacks.stealing.output_formats import OutputFormat
from securitynet_hub.attacks.stealing.surrogates import STRATEGIES, steal
from securitynet_hub.core.errors import BudgetError, UnknownNameError, WeightsError
from securitynet_hub.engine.inference import predict
from securitynet_hub.engine.training import Recipe
from securitynet_hub.models.zoo_networks import NETWORKS

IMAGES = load_images()
POOL, TEST, LABELS = IMAGES.pixels[:2000], IMAGES.pixels[2000:], IMAGES.labels[2000:]
SHORT = Recipe(epochs=2, batch_size=10)


@pytest.fixture(scope="module")
def target():
    return load_target("zoo/fashion-mnist/cnn-clean/1")


@pytest.fixture(scope="module")
def told(target):
    return predict(target, TEST)


@pytest.fixture
def trainings(monkeypatch):
    """Count the images of every training."""
    sizes = []

    def counting(*arguments, **options):
        sizes.append(len(arguments[1]))
        return train(*arguments, **options)

    train = surrogates.train
    monkeypatch.setattr(surrogates, "train", counting)
    return sizes


def build():
    return NETWORKS["cnn"](10)


def stolen(target, folder, *, budgets, view="posteriors", pool=POOL[:100], recipe=SHORT, **changes):
    box = BlackBox(target, budget=2000, view=view, held_out=TEST)
    return steal(box, build, pool, recipe, budgets=budgets, folder=folder, **changes)


def weights(surrogate):
    return torch.cat([p.detach().flatten() for p in surrogate.module.parameters()])


class TestTheft:
    @pytest.mark.slow
    def test_more_queries_bring_more_agreement(self, target, told, tmp_path):
        recipe = Recipe(epochs=6, batch_size=50, learning_rate=5e-3)
        curve = [
            measure_stealing(surrogate.logits(TEST), LABELS, told, from_logits=True)
            for surrogate in stolen(target, tmp_path, budgets=[0, 100, 1000], pool=POOL, recipe=recipe)
        ]
        untrained, some, all_ = curve
        assert untrained["agreement"] < 0.3
        assert untrained["agreement_ci"].high < some["agreement_ci"].low
        assert some["agreement_ci"].high < all_["agreement_ci"].low
        assert all_["agreement"] > 0.8
        # It learns the target rather than the truth: it repeats errors that nobody labelled.
        assert all_["agreement_on_target_errors_ci"].low > 0.5
        assert untrained["kl"] > some["kl"] > all_["kl"]

    def test_random_answers_bring_none(self, target, told, tmp_path):
        recipe = Recipe(epochs=10, batch_size=50, learning_rate=5e-3)
        noise = OutputFormat("label", noise=1e3)
        (surrogate,) = stolen(target, tmp_path, budgets=[500], view=noise, pool=POOL, recipe=recipe)
        result = measure_stealing(surrogate.logits(TEST), LABELS, told, from_logits=True)
        assert result["agreement"] < 0.25

    def test_the_loss_falls(self, target, tmp_path):
        for name in objectives.LOSSES:
            short, long = (
                stolen(target, tmp_path, budgets=[50], loss=name, recipe=replace(SHORT, epochs=epochs))[0]
                for epochs in (1, 10)
            )
            asked = POOL[long.queries]
            wanted, loss = objective(name, BlackBox(target, budget=50).ask(asked))
            errors = [loss(torch.from_numpy(s.logits(asked)), wanted).item() for s in (short, long)]
            assert errors[1] < 0.7 * errors[0], name


class TestBudgets:
    @pytest.mark.parametrize("strategy", STRATEGIES)
    def test_what_is_spent_is_the_largest_budget(self, target, tmp_path, strategy):
        sizes = []
        handle = target.module.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
        box = BlackBox(target, budget=50)
        found = steal(
            box, build, POOL[:100], SHORT,
            budgets=[1, 30, 50], folder=tmp_path, strategy=strategy, round_size=20,
            groups=IMAGES.labels[:100],
        )  # fmt: skip
        handle.remove()
        assert [s.budget for s in found] == [len(s.queries) for s in found] == [1, 30, 50]
        assert box.asked == box.forwarded == sum(sizes) == 50
        assert len(set(found[2].queries.tolist())) == 50
        np.testing.assert_array_equal(found[1].queries, found[2].queries[:30])

    def test_nothing_asked_is_nothing_learnt(self, target, tmp_path):
        box = BlackBox(target, budget=0)
        (surrogate,) = steal(box, build, POOL[:9], replace(SHORT, seed=4), budgets=[0], folder=tmp_path)
        assert box.asked == 0
        torch.manual_seed(4)
        np.testing.assert_array_equal(weights(surrogate), weights(replace(surrogate, module=build())))

    @pytest.mark.parametrize("budgets", [[101], [5, -1], [2.5]])
    def test_more_than_the_pool(self, target, tmp_path, budgets):
        with pytest.raises(ValueError, match=r"in 0\.\.100, the size of the pool"):
            stolen(target, tmp_path, budgets=budgets)

    def test_more_than_the_black_box_answers(self, target, tmp_path, trainings):
        box = BlackBox(target, budget=20)
        with pytest.raises(BudgetError, match="for 21 queries was asked for; the black box answers 20"):
            steal(box, build, POOL[:100], SHORT, budgets=[20, 21], folder=tmp_path)
        assert not box.asked
        assert not trainings

    def test_a_pool_with_held_out_images_is_refused_before_training(self, target, tmp_path, trainings):
        with pytest.raises(ValueError, match="must be disjoint"):
            stolen(target, tmp_path, budgets=[20], pool=TEST[:20])
        assert not trainings

    def test_no_budgets(self, target, tmp_path):
        assert stolen(target, tmp_path, budgets=[]) == []


class TestEachForItself:
    @pytest.mark.parametrize("strategy", ["random", "margin", "adaptive"])
    def test_neither_the_other_budgets_nor_their_order_matter(self, target, tmp_path, strategy):
        settings = {"strategy": strategy, "round_size": 20, "groups": IMAGES.labels[:100]}
        upwards, downwards = (
            stolen(target, tmp_path / name, budgets=budgets, **settings)
            for name, budgets in (("up", [20, 50]), ("down", [50, 20]))
        )
        (alone,) = stolen(target, tmp_path / "alone", budgets=[50], **settings)
        for one, other in ((upwards[0], downwards[1]), (upwards[1], downwards[0]), (upwards[1], alone)):
            np.testing.assert_array_equal(one.queries, other.queries)
            assert torch.equal(weights(one), weights(other))
            assert one.path.name == other.path.name

    @pytest.mark.parametrize("budgets", [[20, 50], [50, 20]])
    def test_the_target_s_batches_do_not_follow_the_order_of_budgets(self, target, tmp_path, budgets):
        """With them its rounding would."""
        sizes = []
        handle = target.module.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
        stolen(target, tmp_path, budgets=budgets)
        handle.remove()
        assert sizes == [50]

    def test_seeds(self, target, tmp_path):
        def one(**changes):
            return stolen(target, tmp_path, budgets=[20], **changes)[0]

        state = torch.get_rng_state()
        first, drawn, trained = one(), one(seed=1), one(recipe=replace(SHORT, seed=1))
        assert torch.equal(torch.get_rng_state(), state)
        assert set(first.queries.tolist()) != set(drawn.queries.tolist())
        np.testing.assert_array_equal(first.queries, trained.queries)
        assert not torch.equal(weights(first), weights(trained))

    def test_it_is_kept_as_safetensors(self, target, tmp_path):
        (surrogate,) = stolen(target, tmp_path, budgets=[20])
        kept = load_file(surrogate.path)
        for name, tensor in surrogate.module.state_dict().items():
            assert torch.equal(kept[name], tensor)
        assert not surrogate.module.training


class TestResumption:
    def test_what_was_trained_is_found(self, target, tmp_path, trainings):
        first = stolen(target, tmp_path, budgets=[20, 40])
        again = stolen(target, tmp_path, budgets=[20, 40, 60])
        assert trainings == [20, 40, 60]
        assert torch.equal(weights(first[1]), weights(again[1]))

    @pytest.mark.parametrize("strategy", ["random", "uncertainty"])
    def test_interrupted_in_training(self, target, tmp_path, monkeypatch, strategy):
        settings = {"budgets": [20, 40, 60], "strategy": strategy, "round_size": 20}
        whole = stolen(target, tmp_path / "whole", **settings)
        train, calls = surrogates.train, []

        def interrupted(*arguments, **options):
            calls.append(1)
            if len(calls) == 3:
                raise KeyboardInterrupt
            return train(*arguments, **options)

        def attack():
            box = BlackBox(target, budget=60, cache=tmp_path / "answers")
            boxes.append(box)
            return steal(box, build, POOL[:100], SHORT, folder=tmp_path / "parts", **settings)

        boxes = []
        monkeypatch.setattr(surrogates, "train", interrupted)
        with pytest.raises(KeyboardInterrupt):
            attack()
        for one, other in zip(attack(), whole, strict=True):
            assert torch.equal(weights(one), weights(other))
        assert len(calls) == 4  # the interrupted one alone was begun again
        assert sum(box.forwarded for box in boxes) == boxes[1].asked == 60

    def test_a_damaged_file_is_trained_anew(self, target, tmp_path, trainings):
        (first,) = stolen(target, tmp_path, budgets=[20])
        first.path.write_bytes(first.path.read_bytes()[:-9])
        (again,) = stolen(target, tmp_path, budgets=[20])
        assert len(trainings) == 2
        assert torch.equal(weights(first), weights(again))

    @pytest.mark.parametrize(
        "changes",
        [
            {"loss": "hard"},
            {"temperature": 2.0},
            {"recipe": replace(SHORT, epochs=3)},
            {"view": "label"},
            {"pool": POOL[100:200]},
            {"seed": 5},
        ],
    )
    def test_whatever_decides_it_makes_another(self, target, tmp_path, changes):
        (one,), (other,) = (stolen(target, tmp_path, budgets=[20], **c) for c in ({}, changes))
        assert one.path != other.path
        assert not torch.equal(weights(one), weights(other))


class TestObjective:
    ANSWERS = np.array([[0.7, 0.2, 0.1], [0.0, 0.4, 0.6]])
    OUTPUTS = torch.tensor([[1.0, -1.0, 0.5], [0.0, 2.0, 1.0]])

    def error(self, name, **options):
        wanted, loss = objective(name, self.ANSWERS, **options)
        return loss(self.OUTPUTS, wanted).item()

    @pytest.mark.parametrize("temperature", [1.0, 3.0])
    def test_soft(self, temperature):
        softened = self.ANSWERS ** (1 / temperature)
        softened /= softened.sum(1, keepdims=True)
        log_q = (self.OUTPUTS.double() / temperature).log_softmax(1).numpy()
        expected = -(temperature**2) * (softened * log_q).sum(1).mean()
        assert self.error("soft", temperature=temperature) == pytest.approx(expected, rel=1e-6)

    def test_soft_is_least_at_the_answers(self):
        logits = torch.tensor([[0.3, -2.0, 1.0]], requires_grad=True)
        for temperature in (1.0, 4.0):
            answers = (logits.detach().double()).softmax(1).numpy()
            wanted, loss = objective("soft", answers, temperature)
            (slope,) = torch.autograd.grad(loss(logits, wanted), logits)
            assert slope.abs().max() < 1e-6

    def test_hard(self):
        log_q = self.OUTPUTS.double().log_softmax(1)
        expected = -(log_q[0, 0] + log_q[1, 2]).item() / 2
        assert self.error("hard") == pytest.approx(expected, rel=1e-6)

    def test_the_label_alone_is_hard(self):
        one_hot = np.eye(3)[[0, 2]]
        wanted, loss = objective("soft", one_hot)
        assert loss(self.OUTPUTS, wanted).item() == pytest.approx(self.error("hard"), rel=1e-6)

    def test_mse(self):
        wanted = np.log(np.maximum(self.ANSWERS, 1e-6))
        outputs = self.OUTPUTS.numpy()
        difference = outputs - outputs.mean(1, keepdims=True) - wanted + wanted.mean(1, keepdims=True)
        assert self.error("mse") == pytest.approx((difference**2).mean(), rel=1e-5)

    def test_mse_of_a_copy_is_zero_whatever_was_added(self):
        answers = self.OUTPUTS.double().softmax(1).numpy()
        wanted, loss = objective("mse", answers)
        assert loss(self.OUTPUTS + 7, wanted).item() == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize(
    ("changes", "kind", "sentence"),
    [
        ({"strategy": "k_center"}, UnknownNameError, "Did you mean 'k_centre'"),
        ({"loss": "kl"}, UnknownNameError, "There is no loss 'kl'"),
        ({"temperature": 0}, ValueError, "must be above 0"),
        ({"round_size": 0}, ValueError, "must be above 0"),
    ],
)
def test_refusals(target, tmp_path, changes, kind, sentence):
    with pytest.raises(kind, match=sentence):
        stolen(target, tmp_path, budgets=[5], **changes)


def test_a_folder_that_cannot_be_made(target, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(WeightsError, match="surrogates cannot be kept"):
        stolen(target, tmp_path / "file", budgets=[5])
