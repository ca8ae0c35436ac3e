"""A black box counts what it forwards, keeps to its budget, and never pays twice for an answer."""

import signal
import sqlite3
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from support.processes import run_python

from securitynet_hub import load_images, load_target
from securitynet_hub.attacks.stealing.black_box import BlackBox, require_disjoint
from securitynet_hub.attacks.stealing.output_formats import OutputFormat
from securitynet_hub.core.errors import BudgetError, SecurityNetError, UnknownNameError
from securitynet_hub.engine.inference import predict
from securitynet_hub.engine.network_digest import network_digest

ID = "zoo/fashion-mnist/cnn-clean/1"
PIXELS = load_images().pixels[:60]
LOGITS = np.log([[0.4, 0.3, 0.2, 0.1], [0.05, 0.05, 0.45, 0.45]])
TWO = PIXELS[:2]


@pytest.fixture
def target():
    return load_target(ID)


@pytest.fixture
def seen(target):
    """Count the images that reach the network."""
    sizes = []
    target.module.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    return sizes


def posteriors(target, pixels):
    return torch.from_numpy(predict(target, pixels)).double().softmax(1).numpy()


class TestViews:
    @pytest.mark.parametrize(
        ("view", "answers"),
        [
            (OutputFormat(), [[0.4, 0.3, 0.2, 0.1], [0.05, 0.05, 0.45, 0.45]]),
            (OutputFormat("top_k", k=2), [[0.4, 0.3, 0.15, 0.15], [0.05, 0.05, 0.45, 0.45]]),
            (OutputFormat("top_k", k=1), [[0.4, 0.2, 0.2, 0.2], [0.55 / 3, 0.55 / 3, 0.45, 0.55 / 3]]),
            (OutputFormat("top_k", k=4), [[0.4, 0.3, 0.2, 0.1], [0.05, 0.05, 0.45, 0.45]]),
            (OutputFormat("rounded", decimals=1), [[0.4, 0.3, 0.2, 0.1], None]),
            (OutputFormat("rounded", decimals=0), [[0.25, 0.25, 0.25, 0.25]] * 2),
            (OutputFormat("label"), [[1, 0, 0, 0], [0, 0, 1, 0]]),
            (OutputFormat(temperature=0.5), [np.array([16, 9, 4, 1]) / 30, np.array([1, 1, 81, 81]) / 164]),
        ],
    )
    def test_by_hand(self, view, answers):
        found = view(LOGITS, TWO)
        np.testing.assert_allclose(found.sum(1), 1, rtol=1e-12)
        for row, expected in zip(found, answers, strict=True):
            if expected is not None:  # 0.05 and 0.45 lie on the edge of rounding
                np.testing.assert_allclose(row, expected, rtol=1e-12)

    def test_large_logits(self):
        np.testing.assert_array_equal(OutputFormat()(np.array([[1e4, -1e4]]), TWO[:1]), [[1, 0]])

    def test_noise_belongs_to_the_image(self):
        view = OutputFormat(noise=0.2, seed=3)
        noisy = view(LOGITS, TWO)
        assert (noisy >= 0).all()
        np.testing.assert_allclose(noisy.sum(1), 1)
        assert np.abs(noisy - OutputFormat()(LOGITS, TWO)).max() > 0.02
        np.testing.assert_array_equal(view(LOGITS[::-1], TWO[::-1]), noisy[::-1])
        np.testing.assert_array_equal(view(LOGITS[1:], TWO[1:]), noisy[1:])
        assert (replace(view, seed=4)(LOGITS, TWO) != noisy).any()

    def test_noise_comes_before_the_label(self):
        many, pixels = np.repeat(LOGITS[:1], 60, 0), PIXELS
        labels = OutputFormat("label", noise=0.5)(many, pixels).argmax(1)
        assert len(set(labels.tolist())) > 2
        np.testing.assert_array_equal(labels, OutputFormat(noise=0.5)(many, pixels).argmax(1))

    @pytest.mark.parametrize("kind", ["top_k", "rounded", "label"])
    def test_the_top_class_stays(self, kind):
        logits = np.random.default_rng(0).normal(0, 3, (60, 5))
        parameters = {"top_k": {"k": 2}, "rounded": {"decimals": 6}, "label": {}}[kind]
        found = OutputFormat(kind, temperature=3, **parameters)(logits, PIXELS)
        np.testing.assert_array_equal(found.argmax(1), logits.argmax(1))

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            ({"kind": "top_k"}, "k belongs to the format 'top_k', which needs it"),
            ({"kind": "top_k", "k": 0}, "integer of 1 or more; got k=0"),
            ({"kind": "top_k", "k": 2.5}, "integer of 1 or more; got k=2.5"),
            ({"kind": "label", "k": 1}, "k belongs to the format 'top_k'.*for 'label'"),
            ({"kind": "rounded"}, "decimals belongs to the format 'rounded'"),
            ({"temperature": 0.0}, "temperature must be above 0"),
            ({"temperature": np.inf}, "temperature must be above 0"),
            ({"noise": -0.1}, "noise not below it"),
            ({"noise": np.nan}, "noise not below it"),
        ],
    )
    def test_refusals(self, arguments, sentence):
        with pytest.raises(ValueError, match=sentence):
            OutputFormat(**arguments)

    def test_more_than_there_are_classes(self):
        with pytest.raises(ValueError, match="at most the number of classes, 4; got 5"):
            OutputFormat("top_k", k=5)(LOGITS, TWO)

    def test_an_unknown_view(self, target):
        with pytest.raises(UnknownNameError, match="Did you mean 'posteriors'"):
            BlackBox(target, budget=1, view="posterior")


class TestBudget:
    def test_answers_are_the_target_s(self, target):
        box = BlackBox(target, budget=60, batch_size=7)
        np.testing.assert_allclose(box.ask(PIXELS), posteriors(target, PIXELS), rtol=1e-5, atol=1e-12)

    def test_what_is_counted_is_what_was_forwarded(self, target, seen):
        box = BlackBox(target, budget=60, batch_size=8)
        for rows in (slice(0, 5), slice(3, 30), slice(0, 60), slice(10, 20)):
            box.ask(PIXELS[rows])
            assert box.forwarded == sum(seen) == box.asked
        assert (box.forwarded, box.remaining) == (60, 0)
        assert max(seen) == 8

    def test_an_image_that_comes_twice_costs_one(self, target, seen):
        box = BlackBox(target, budget=2)
        answers = box.ask(PIXELS[[0, 1, 0, 0, 1]])
        np.testing.assert_array_equal(answers[[0, 1, 0, 0, 1]], answers)
        assert sum(seen) == box.forwarded == 2

    def test_a_request_beyond_the_budget_is_refused_whole(self, target, seen):
        box = BlackBox(target, budget=10)
        box.ask(PIXELS[:8])
        with pytest.raises(BudgetError, match="3 new images were asked for, with 2 of a budget of 10 left"):
            box.ask(PIXELS[:11])
        assert sum(seen) == box.forwarded == box.asked == 8
        box.ask(PIXELS[:10])
        assert box.remaining == 0
        box.ask(PIXELS[:10])  # asking again is free
        with pytest.raises(BudgetError):
            box.ask(PIXELS[10:11])
        assert sum(seen) == 10

    def test_none(self, target, seen):
        with pytest.raises(BudgetError):
            BlackBox(target, budget=0).ask(PIXELS[:1])
        with pytest.raises(ValueError, match="no images"):
            BlackBox(target, budget=1).ask(PIXELS[:0])
        assert not seen

    @pytest.mark.parametrize("budget", [-1, 1.5, True, None])
    def test_what_is_no_budget(self, target, budget):
        with pytest.raises(ValueError, match="budget must be a whole number"):
            BlackBox(target, budget=budget)

    def test_images_of_another_size_cost_nothing(self, target):
        box = BlackBox(target, budget=5)
        with pytest.raises(ValueError, match="this model takes"):
            box.ask(np.zeros((2, 8, 8, 1), np.uint8))
        assert (box.asked, box.forwarded) == (0, 0)

    def test_held_out_images_may_not_be_asked_about(self, target, seen):
        box = BlackBox(target, budget=60, held_out=PIXELS[50:])
        box.ask(PIXELS[:50])
        with pytest.raises(ValueError, match=r"1 row\(s\) \(2\) of the queries are held out"):
            box.ask(PIXELS[[1, 2, 50]].copy())
        assert sum(seen) == 50


class TestCache:
    def test_another_box_pays_nothing(self, target, seen, tmp_path):
        first = BlackBox(target, budget=60, cache=tmp_path / "new" / "answers.db")
        answers = first.ask(PIXELS)
        label = BlackBox(target, budget=60, cache=tmp_path / "new" / "answers.db", view="label")
        np.testing.assert_array_equal(label.ask(PIXELS).argmax(1), answers.argmax(1))
        assert (label.forwarded, label.asked) == (0, 60)  # an answer from the cache is a query all the same
        assert sum(seen) == 60

    def test_only_what_is_missing_is_forwarded(self, target, seen, tmp_path):
        BlackBox(target, budget=9, cache=tmp_path / "db").ask(PIXELS[3:12])
        box = BlackBox(target, budget=60, cache=tmp_path / "db", batch_size=16)
        found = box.ask(PIXELS)
        assert box.forwarded == 51
        np.testing.assert_allclose(found, posteriors(target, PIXELS), rtol=1e-5, atol=1e-12)

    def test_another_network_or_preprocessing_is_asked_itself(self, target, tmp_path):
        other = load_target("zoo/fashion-mnist/cnn-clean/2")
        brighter = replace(target, transform=replace(target.transform, mean=(0.1,)))
        for model in (target, other, brighter):
            box = BlackBox(model, budget=60, cache=tmp_path / "db")
            np.testing.assert_allclose(box.ask(PIXELS), posteriors(model, PIXELS), rtol=1e-5, atol=1e-12)
            assert box.forwarded == 60

    def test_one_weight_or_buffer_makes_another_network(self):
        target = load_target("zoo/fashion-mnist/bn-cnn-clean/1")
        assert network_digest(target) == network_digest(load_target("zoo/fashion-mnist/bn-cnn-clean/1"))
        digests = {network_digest(target)}
        for tensor in (*target.module.parameters(), *target.module.buffers()):
            tensor.detach().reshape(-1)[0].add_(1)
            digests.add(network_digest(target))
        target.module[1].eps = 0.5
        digests.add(network_digest(target))
        assert len(digests) == 2 + len([*target.module.parameters(), *target.module.buffers()])

    def test_another_precision_makes_other_answers(self, target, monkeypatch):
        full = network_digest(target)
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
        assert network_digest(target) != full

    def test_boxes_that_ask_at_once_share_the_work(self, tmp_path):
        """Each holds a lock from looking up a batch until it is written: no image is forwarded by both."""
        start, counts, answers = threading.Barrier(3), [], []

        def attack():
            target = load_target(ID)
            target.module.register_forward_pre_hook(lambda module, inputs: time.sleep(0.002))
            box = BlackBox(target, budget=60, cache=tmp_path / "db", batch_size=2)
            start.wait()
            answers.append(box.ask(PIXELS))
            counts.append(box.forwarded)

        threads = [threading.Thread(target=attack) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(counts) == 60
        np.testing.assert_array_equal(answers[0], answers[1])

    @pytest.mark.slow
    def test_killed_and_restarted(self, target, seen, tmp_path):
        """The batch in flight is lost, and nothing before it."""
        uninterrupted = BlackBox(target, budget=60, batch_size=8).ask(PIXELS)
        seen.clear()
        code = f"""
import os, signal
from pathlib import Path
from securitynet_hub import load_images, load_target
from securitynet_hub.attacks.stealing.black_box import BlackBox
target, batches = load_target({ID!r}), []
def kill(module, inputs, outputs):
    batches.append(1)
    if len(batches) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
target.module.register_forward_hook(kill)
BlackBox(target, budget=60, cache=Path({str(tmp_path / "db")!r}), batch_size=8).ask(load_images().pixels[:60])
"""
        done = run_python("-c", code)
        assert done.returncode == -signal.SIGKILL, done.stderr
        box = BlackBox(target, budget=60, cache=tmp_path / "db", batch_size=8)
        np.testing.assert_array_equal(box.ask(PIXELS), uninterrupted)
        assert box.forwarded == sum(seen) == 60 - 3 * 8

    def test_a_batch_that_fails_is_not_kept(self, target, tmp_path):
        box = BlackBox(target, budget=60, cache=tmp_path / "db", batch_size=10)
        batches = []

        def fail(module, inputs):
            batches.append(1)
            if len(batches) == 3:
                raise KeyboardInterrupt

        handle = target.module.register_forward_pre_hook(fail)
        with pytest.raises(KeyboardInterrupt):
            box.ask(PIXELS)
        handle.remove()
        assert box.asked == box.forwarded == 20
        box.ask(PIXELS)
        assert box.asked == box.forwarded == 60

    def test_what_is_no_cache(self, target, tmp_path):
        (tmp_path / "text").write_text("no database" * 100)
        with pytest.raises(SecurityNetError, match=r"text cannot be used: file is not a database"):
            BlackBox(target, budget=1, cache=tmp_path / "text")
        with pytest.raises(SecurityNetError, match="cannot be used"):
            BlackBox(target, budget=1, cache=tmp_path / "text" / "below")

    def test_a_newer_cache_is_refused(self, target, tmp_path):
        BlackBox(target, budget=1, cache=tmp_path / "db")
        database = sqlite3.connect(tmp_path / "db")
        database.execute("PRAGMA user_version = 2")
        database.close()
        with pytest.raises(SecurityNetError, match=r"schema version 2; .* reads up to 1"):
            BlackBox(target, budget=1, cache=tmp_path / "db")

    def test_distributed_processes_cannot_wait_for_one_another(self, target, tmp_path, monkeypatch):
        monkeypatch.setenv("WORLD_SIZE", "2")
        with pytest.raises(ValueError, match="cannot share a cache"):
            BlackBox(target, budget=1, cache=tmp_path / "db")


class TestDisjoint:
    def test_copies_are_found_wherever_they_stand(self):
        require_disjoint(PIXELS[:30], PIXELS[30:])
        with pytest.raises(ValueError, match=r"2 row\(s\) \(0, 2\)"):
            require_disjoint(PIXELS[[7, 1, 9]], PIXELS[5:].copy()[::-1])

    def test_the_same_bytes_in_another_shape_are_another_image(self):
        require_disjoint(PIXELS.reshape(60, 14, 56, 1), PIXELS)

    def test_training_and_test_images_that_ship_are_disjoint(self):
        require_disjoint(load_images().pixels[:2000], load_images().pixels[2000:])
