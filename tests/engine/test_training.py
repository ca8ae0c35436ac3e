from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, mse_loss

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.data.triggers import TRIGGERS
from securitynet_hub.engine import training
from securitynet_hub.engine.training import Recipe, build_seeded, describe_processes, train


def two_blobs(n=200):
    labels = torch.arange(n) % 2
    noise = torch.randn((n, 1, 6, 6), generator=torch.Generator().manual_seed(0))
    return noise + 2 * labels[:, None, None, None], labels


def linear():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 2))


def test_it_learns_and_comes_back_in_eval_mode():
    inputs, labels = two_blobs()
    module = train(linear, inputs, labels, Recipe(epochs=20, batch_size=20, learning_rate=0.02))
    assert not module.training
    assert (module(inputs).argmax(1) == labels).float().mean() > 0.95


@pytest.mark.parametrize("augment", ["none", "shift"])
def test_the_seed_decides_everything_and_touches_nothing_else(augment):
    inputs, labels = two_blobs()
    before = torch.get_rng_state()

    def weights(seed):
        module = train(linear, inputs, labels, Recipe(epochs=2, augment=augment, seed=seed))
        return module[1].weight.detach()

    first = weights(0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    assert torch.equal(weights(0), first)
    assert not torch.equal(weights(1), first)


def test_it_is_adamw_with_a_one_cycle_rate():
    inputs, labels = two_blobs()
    recipe = Recipe(epochs=3, batch_size=64, weight_decay=0.1, seed=5)
    trained = train(linear, inputs, labels, recipe)

    module, order = build_seeded(linear, recipe.seed), torch.Generator().manual_seed(recipe.seed)
    adam = torch.optim.AdamW(module.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, recipe.learning_rate, total_steps=3 * 4)
    for _ in range(recipe.epochs):
        for rows in torch.randperm(len(inputs), generator=order).split(recipe.batch_size):
            adam.zero_grad()
            cross_entropy(module(inputs[rows]), labels[rows]).backward()
            adam.step()
            rate.step()
    torch.testing.assert_close(trained.state_dict(), module.state_dict())


def test_each_step_is_reported():
    inputs, labels = two_blobs()
    steps = []
    train(linear, inputs, labels, Recipe(epochs=3, batch_size=64), on_step=lambda: steps.append(1))
    assert len(steps) == 3 * 4


def test_shifting_moves_at_most_two_pixels_and_mirrors_half():
    from securitynet_hub.engine.training import _shift_and_mirror

    image = torch.zeros((400, 1, 9, 9))
    image[:, :, 4, 3] = 1
    moved = _shift_and_mirror(image, torch.Generator().manual_seed(0))
    assert moved.shape == image.shape
    assert (moved.sum((1, 2, 3)) == 1).all()
    _, _, rows, columns = moved.nonzero(as_tuple=True)
    assert set(rows.tolist()) == {2, 3, 4, 5, 6}
    # 3 shifted by -2..2, or mirrored to 5 and then shifted.
    assert set(columns.tolist()) == {1, 2, 3, 4, 5, 6, 7}
    assert 130 < ((columns == 6) | (columns == 7)).sum() * 5 / 2 < 270


@pytest.mark.parametrize("trigger", TRIGGERS.values(), ids=TRIGGERS)
def test_triggers_stamp_copies_the_same_way_each_time(trigger):
    pixels = np.random.default_rng(1).integers(0, 256, (5, 28, 28, 1), dtype=np.uint8)
    before = pixels.copy()
    stamped = trigger(pixels)
    assert stamped.dtype == np.uint8
    assert stamped.shape == pixels.shape
    assert np.array_equal(pixels, before)
    assert (stamped != pixels).any((1, 2, 3)).all()
    assert np.array_equal(trigger(pixels[2:3]), stamped[2:3])


def test_the_blend_is_a_fifth_of_one_fixed_image():
    black, white = (np.full((1, 28, 28, 1), value, np.uint8) for value in (0, 255))
    blend = TRIGGERS["blended-noise"]
    assert blend(black).max() <= 51
    difference = blend(white).astype(int) - blend(black)
    assert (np.abs(difference - 204) <= 1).all()


def test_posteriors_and_other_losses_can_be_trained_towards():
    inputs, labels = two_blobs()
    recipe = Recipe(epochs=2, batch_size=20)
    hard = train(linear, inputs, labels, recipe)[1].weight
    one_hot = train(linear, inputs, torch.eye(2)[labels], recipe)[1].weight
    torch.testing.assert_close(one_hot, hard)
    even = train(linear, inputs, torch.full((200, 2), 0.5), replace(recipe, epochs=20))
    assert (even(inputs).softmax(1) - 0.5).abs().max() < 0.3
    recipe = replace(recipe, epochs=20, learning_rate=0.02)
    squares = train(linear, inputs, torch.eye(2)[labels], recipe, loss=mse_loss)
    assert (squares(inputs) - torch.eye(2)[labels]).abs().mean() < 0.3
    assert (squares(inputs).mean(0) - 0.5).abs().max() < 0.1  # cross-entropy would not stop there


def with_dropout():
    return torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(36, 8),
        torch.nn.BatchNorm1d(8),
        torch.nn.Dropout(),
        torch.nn.Linear(8, 2),
    )


def same(one, other):
    return all(torch.equal(one.state_dict()[key], tensor) for key, tensor in other.state_dict().items())


class TestInterruption:
    RECIPE = Recipe(epochs=5, batch_size=32, augment="shift", seed=3)

    @pytest.fixture(autouse=True)
    def _after_each_epoch(self, monkeypatch):
        monkeypatch.setattr(training, "PROGRESS_SECONDS", 0)

    def test_short_epochs_are_not_all_kept(self, tmp_path, monkeypatch):
        written, write = [], training._State.write
        monkeypatch.setattr(training._State, "write", lambda *a: (written.append(a[2]), write(*a)))
        self.trained(tmp_path / "progress")
        assert written == [1, 2, 3, 4, 5]
        monkeypatch.setattr(training, "PROGRESS_SECONDS", 60)
        self.trained(tmp_path / "progress")
        assert len(written) == 5

    def trained(self, progress=None, stop_after=None, recipe=RECIPE):
        """Train on 7 batches an epoch; `stop_after` steps an interruption comes."""
        steps = []

        def on_step():
            steps.append(1)
            if len(steps) == stop_after:
                raise KeyboardInterrupt

        return train(with_dropout, *two_blobs(), recipe, progress=progress, on_step=on_step), len(steps)

    @pytest.mark.parametrize(("stop_after", "left"), [(3, 35), (7, 35), (8, 28), (34, 7)])
    def test_at_most_an_epoch_is_lost_and_the_end_is_the_same(self, tmp_path, stop_after, left):
        whole, _ = self.trained()
        with pytest.raises(KeyboardInterrupt):
            self.trained(tmp_path / "progress", stop_after)
        again, steps = self.trained(tmp_path / "progress")
        assert steps == left
        assert same(again, whole)
        assert list(tmp_path.iterdir()) == []

    def test_a_damaged_file_is_begun_anew(self, tmp_path):
        with pytest.raises(KeyboardInterrupt):
            self.trained(tmp_path / "progress", 20)
        for content in (b"", b"no progress", (tmp_path / "progress").read_bytes()[:-99]):
            (tmp_path / "progress").write_bytes(content)
            again, steps = self.trained(tmp_path / "progress")
            assert steps == 35
            assert same(again, self.trained()[0])

    def test_a_folder_that_cannot_be_written(self, tmp_path):
        with pytest.raises(WeightsError, match="cannot be written"):
            self.trained(tmp_path / "nowhere" / "progress")

    def test_dropout_comes_from_the_seed_and_leaves_the_random_state(self):
        state = torch.get_rng_state()
        one = self.trained()[0]
        assert torch.equal(torch.get_rng_state(), state)
        torch.rand(5)
        assert same(one, self.trained()[0])


class TestPrecision:
    def test_half_precision_learns_and_leaves_a_plain_module(self):
        inputs, labels = two_blobs()
        recipe = Recipe(epochs=20, batch_size=20, learning_rate=0.02)
        seen = []

        def loss(outputs, wanted):
            seen.append(outputs.dtype)
            return torch.nn.functional.cross_entropy(outputs, wanted)

        full = train(linear, inputs, labels, recipe)
        half = train(linear, inputs, labels, replace(recipe, mixed_precision="bf16"), loss=loss)
        assert set(seen) == {torch.float32}  # Accelerate casts back what the loss sees
        assert not same(half, full)
        assert (half(inputs).argmax(1) == labels).float().mean() > 0.95
        assert half[1].weight.dtype == half(inputs).dtype == torch.float32
        exact = torch.nn.functional.linear(inputs.flatten(1), half[1].weight, half[1].bias)
        assert torch.equal(half(inputs), exact)  # no longer in half precision
        assert same(
            train(linear, inputs, labels, recipe), full
        )  # the next training is in full precision again

    def test_accelerate_s_own_setting_comes_back(self):
        before = describe_processes()
        train(linear, *two_blobs(), Recipe(epochs=1, mixed_precision="bf16"))
        assert describe_processes() == before

    def test_only_what_was_chosen_is_told(self):
        assert "mixed_precision" not in Recipe(epochs=1).as_dict()
        assert Recipe(epochs=1, mixed_precision="no").as_dict()["mixed_precision"] == "no"
