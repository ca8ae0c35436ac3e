"""What is said of long work: to a function, in a log, in a terminal's place a line a minute."""

import io
import logging

import numpy as np
import torch
from rich.console import Console

from securitynet_hub import AuditData, LabelledImages, Recipe, Split, Transform, train_shadows
from securitynet_hub.cli.progress import StepLines, progress_bars
from securitynet_hub.core import progress
from securitynet_hub.core.progress import Steps, heard_by, tell

SMALL = Transform(height=4, width=4, channels=1)


def small_data():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (24, 4, 4, 1), dtype=np.uint8)
    labels = np.arange(24) % 2
    images = LabelledImages(name="noise", pixels=pixels, labels=labels, class_names=("a", "b"))
    return AuditData(images=images, split=Split(members=range(12), nonmembers=range(12, 24)))


def small_net():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 2))


def test_training_reference_models_tells_models_and_epochs(tmp_path):
    heard = []
    train_shadows(
        small_net(),
        2,
        Recipe(epochs=3),
        data=small_data(),
        transform=SMALL,
        folder=tmp_path,
        on_step=lambda *step: heard.append(step),
    )
    of_one = [("reference models", number, 2) for number in range(2)]
    epochs = [("epochs", number, 3) for number in (1, 2, 3)]
    assert heard == [of_one[0], *epochs, of_one[1], *epochs, ("reference models", 2, 2)]
    tell("epochs", 1, 2)  # outside the block no one hears it
    assert len(heard) == 9


def test_without_a_notebook_the_log_has_a_line_a_minute(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(progress, "LOGGED_EVERY", 0.0)
    caplog.set_level(logging.INFO, "securitynet_hub")
    train_shadows(small_net(), 2, Recipe(epochs=2), data=small_data(), transform=SMALL, folder=tmp_path)
    assert caplog.messages[-2:] == ["reference models: 1 of 2, epochs: 2 of 2", "reference models: 2 of 2"]
    monkeypatch.setattr(progress, "LOGGED_EVERY", 1e6)
    said = len(caplog.messages)
    train_shadows(small_net(), 3, Recipe(epochs=2), data=small_data(), transform=SMALL, folder=tmp_path)
    assert len(caplog.messages) == said


def test_the_rest_is_that_of_the_outermost_step():
    now = [0.0]
    steps = Steps(clock=lambda: now[0])
    steps("models", 0, 4)
    for epoch in (1, 2):
        now[0] += 30
        steps("epochs", epoch, 2)
    # Nothing of the models is done yet: 30 s for each epoch, none left.
    assert steps.line() == "models: 0 of 4, epochs: 2 of 2, about 0 s left"
    steps("models", 1, 4)
    assert steps.line() == "models: 1 of 4, about 3 min left"  # the epochs were those of the first one


def test_what_begins_after_a_finished_step_takes_its_place():
    steps = Steps()
    for doing, done, total in (("models", 0, 1), ("epochs", 2, 2), ("models", 1, 1), ("queries", 5, None)):
        steps(doing, done, total)
    assert steps.line() == "queries: 5"
    steps("batches", 1, 3)
    assert (steps.outer(), steps.line()) == ("queries: 5", "queries: 5, batches: 1 of 3")


def test_a_bar_says_what_is_around_its_step():
    with progress_bars(Console(file=io.StringIO(), force_terminal=True, width=120)) as bars:
        lines = StepLines(bars, lambda: "mine twins")
        for doing, done, total in (("twins", 1, 2), ("steps", 30, 40), ("steps", 1, 40)):
            lines(doing, done, total)
        (task,) = bars.tasks
        assert (task.description, task.completed, task.total) == ("twins: 1 of 2, steps", 1, 40)


def test_a_log_gets_lines_and_a_terminal_a_bar(monkeypatch):
    from securitynet_hub.cli import progress as shown

    monkeypatch.setattr(shown, "LOGGED_EVERY", 0.0)
    for terminal in (False, True):
        out = io.StringIO()
        with progress_bars(Console(file=out, force_terminal=terminal, width=120)) as bars:
            lines = StepLines(bars, lambda: "mine lira, 5 images asked about")
            with heard_by(lines):
                tell("epochs", 3, 20)
            (task,) = bars.tasks
            assert (task.visible, task.completed, task.total) == (True, 3, 20)
        assert (": 3 of 20" in out.getvalue()) is not terminal
    assert "mine lira, 5 images asked about, epochs: 3 of 20" not in out.getvalue()
