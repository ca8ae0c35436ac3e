"""Model stealing from target to record: what is asked, what is compared, what is kept and found again."""

import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file
from support.processes import run_python
from support.report_pages import entries

from securitynet_hub import audit, load_target, read_records
from securitynet_hub.attacks.kind import find_attack
from securitynet_hub.attacks.stealing import surrogate_attack
from securitynet_hub.attacks.stealing.black_box import BlackBox
from securitynet_hub.attacks.stealing.independent import independent_models
from securitynet_hub.attacks.stealing.present import tables, verdict
from securitynet_hub.attacks.stealing.surrogates import steal
from securitynet_hub.attacks.subject import AuditData, known_data
from securitynet_hub.data.query_images import fit_pixels, query_images
from securitynet_hub.data.splits import Split
from securitynet_hub.engine.inference import predict
from securitynet_hub.engine.training import Recipe
from securitynet_hub.models.architectures import Architecture
from securitynet_hub.models.loading import find_annotation
from securitynet_hub.models.zoo_networks import NETWORKS, TRANSFORM
from securitynet_hub.plots.measured import percent
from securitynet_hub.records.record import write_record

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
    return surrogate_attack.run(
        target,
        DATA,
        budgets=[20, 0],
        seeds=[1, 2],
        recipe=SHORT,
        transfer=30,
        keep=kept,
        on_record=lambda record: write_record(record, kept / "records"),
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

    def test_a_record_holds_how_far_networks_agree_that_never_saw_the_target(self, records, target):
        rows = DATA.split.nonmembers
        pixels, labels = DATA.images.pixels[rows], DATA.images.labels[rows]
        told = predict(target, pixels).argmax(1)
        others = [f"zoo/fashion-mnist/cnn-clean/{seed}" for seed in range(2, 7)]
        answers = [predict(load_target(other), pixels).argmax(1) for other in others]
        shares = [float((own == told)[told != labels].mean()) for own in answers]
        for record in records:
            assert record.result["independent"] == {"models": others, "agreement_on_target_errors": shares}
            said = verdict(entries(record)).text
            low, high = (percent(end, 0) for end in (min(shares), max(shares)))
            assert "5 clean networks of the same architecture and training images" in said
            assert f"on {low} to {high}" in said
        old = replace(records[0], result={**records[0].result, "independent": None})
        assert "the zoo's clean ones agree" in verdict(entries(old)).text
        other = replace(old, target={**old.target, "id": "own/mine"})
        assert "no range is known for these images" in verdict(entries(other)).text
        assert "copied mistakes cannot be said" in verdict(entries(other)).text
        annotation = find_annotation(ID)
        (_, wide), (said, narrow) = (tables([(annotation, records)], width) for width in (160, 80))
        assert said.plain.startswith("A stolen copy agrees with the model on ")
        assert len(wide.columns) == len(narrow.columns) + 2

    def test_there_are_none_for_a_model_of_other_training_images(self):
        small = load_target("zoo/fashion-mnist/cnn-overfitted-250/1")
        assert independent_models(small) == []

    def test_the_figures_are_those_of_the_non_members(self, records, target):
        held = DATA.split.nonmembers
        told = predict(target, DATA.images.pixels[held]).argmax(1)
        for record in records:
            result = record.result
            assert result["target_accuracy"] == (told == DATA.images.labels[held]).mean()
            agreeing = sum(round(c["agreement"] * c["n"]) for c in result["per_class"])
            assert agreeing / 1000 == result["agreement"]
            assert result["calibration"]["target"]["n"] == result["n"] == 1000
            own = result["calibration"]["surrogate"]
            assert 0 <= own["debiased_ece"] <= own["ece"] < 1
            assert own["debiased_ece_ci"][0] <= own["debiased_ece"] <= own["debiased_ece_ci"][1]
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
        again = surrogate_attack.run(
            target, DATA, budgets=[20, 0], seeds=[1], recipe=SHORT, transfer=30, keep=kept
        )
        assert again[0].counts["forwarded"] == 0
        assert again[0].result == records[0].result
        assert again[0].attack == records[0].attack


class TestQueries:
    def test_none_is_a_non_member_by_position_or_by_hash(self, target):
        pixels = DATA.images.pixels.copy()
        pixels[DATA.split.members[:5]] = pixels[DATA.split.nonmembers[0]]  # copies of an image held out
        images = replace(DATA.images, pixels=pixels)
        data = AuditData(images=images, split=DATA.split)
        (record,) = surrogate_attack.run(target, data, budgets=[5], recipe=SHORT, transfer=0)
        assert record.counts["pool"] == 2995

    def test_given_ones_that_are_held_out_are_refused(self, target):
        queries = DATA.images.pixels[DATA.split.nonmembers[:9]]
        with pytest.raises(ValueError, match="must be disjoint"):
            surrogate_attack.run(target, DATA, budgets=[5], recipe=SHORT, queries=queries)

    def test_other_data_and_another_network(self, target):
        queries = query_images("digits", 30, (28, 28, 1))
        (record,) = surrogate_attack.run(
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
            surrogate_attack.run(target, data, budgets=[1], recipe=SHORT)


class TestInWords:
    """What a command line can say of an extraction."""

    SMALL = AuditData(
        images=DATA.images,
        split=Split(members=DATA.split.members[:5], nonmembers=DATA.split.nonmembers[:30]),
    )

    def stolen(self, target, **settings):
        return audit(
            target,
            attacks="model_stealing",
            data=self.SMALL,
            budgets=[4],
            settings={"model_stealing": {"recipe": {"epochs": 1}, "transfer": 0} | settings},
        )

    def test_everything_at_once(self, target):
        records = self.stolen(
            target,
            seeds=[3, 5],
            budgets=[2, 6],
            view={"kind": "top_k", "k": 3},
            loss="soft",
            temperature=2.0,
            recipe={"epochs": 2, "augment": "shift", "mixed_precision": "bf16"},
            queries=["digits", "shapes", "noise", "photographs"],
            pool_size=20,
            surrogate="zoo/fashion-mnist/bn-cnn-clean/1",
            pretrained=True,
            transfer=10,
            transfer_method="fgsm",
            epsilon=4,
        )
        assert [(r.attack["seed"], r.attack["budget"]) for r in records] == [(3, 2), (3, 6), (5, 2), (5, 6)]
        attack = records[1].attack
        assert (attack["view"]["kind"], attack["view"]["k"], attack["temperature"]) == ("top_k", 3, 2.0)
        assert attack["recipe"]["mixed_precision"] == "bf16"
        assert (attack["recipe"]["epochs"], attack["recipe"]["batch_size"]) == (2, 64)
        assert attack["surrogate"] == "zoo/fashion-mnist/bn-cnn-clean/1, pre-trained"
        assert attack["pool"] == ["digits", "shapes", "noise", "photographs"]
        assert records[1].counts["pool"] == 20
        assert (records[1].result["transfer"]["method"], records[1].result["transfer"]["epsilon"]) == (
            "fgsm",
            4,
        )

    def test_a_network_for_larger_images_in_colour(self, target):
        pytest.importorskip("pytorchcv")
        (record,) = self.stolen(target, surrogate="pytorchcv/cifar10/resnet20")
        assert record.attack["surrogate"] == "pytorchcv/cifar10/resnet20, from scratch"
        assert record.attack["surrogate_transform"]["resize"] == [32, 32]
        assert record.attack["surrogate_parameters"] > 100_000
        assert record.attack["pool"] == "fashion_mnist_4k"

    def test_a_folder_of_images(self, target, tmp_path):
        for name in ("one", "two"):
            (tmp_path / "train" / name).mkdir(parents=True)
            for number, image in enumerate(query_images("shapes", 3, (40, 40, 3), seed=len(name[1:]))):
                Image.fromarray(image).save(tmp_path / "train" / name / f"{name}{number}.png")
        (record,) = self.stolen(target, queries=str(tmp_path))
        assert record.counts["pool"] == 6
        assert record.attack["pool"] == str(tmp_path)

    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"strateggy": "margin"}, "no setting of model_stealing 'strateggy'. Did you mean 'strategy'"),
            ({"recipe": {"epoch": 3}}, "no field of a recipe 'epoch'. Did you mean 'epochs'"),
            ({"view": {"kind": "top_k", "n": 3}}, "no field of an output format 'n'"),
            ({"queries": "digit"}, "no query images 'digit'. Did you mean 'digits'"),
            ({"queries": "digits", "pool_size": 3}, r"in 0\.\.3, the size of the pool; got 4"),
            ({"queries": ["digits", "noise"], "pool_size": 9999}, r"n must lie in 0\.\.3594"),
            ({"pretrained": True}, "pretrained needs surrogate"),
            ({"surrogate": "zoo/cnn"}, "There is no model 'zoo/cnn'"),
            ({"transfer": 5, "transfer_method": "cw"}, "There is no adversarial method 'cw'"),
        ],
    )
    def test_refusals(self, target, settings, sentence):
        with pytest.raises(ValueError, match=sentence):
            self.stolen(target, **settings)

    def test_a_file_s_network_is_not_initialised_by_guess(self, tmp_path):
        network = NETWORKS["cnn"](10)
        torch.save(network.state_dict(), tmp_path / "mine.pth")
        own = load_target(f"file:{tmp_path / 'mine.pth'}", module=network, transform=TRANSFORM)
        with pytest.raises(ValueError, match=r"how the network of file/.* is initialised is not known here"):
            self.stolen(own)
        (record,) = self.stolen(
            own, surrogate=Architecture("the same", lambda: NETWORKS["cnn"](10), TRANSFORM)
        )
        assert record.attack["surrogate"] == "the same"

    def test_every_setting_can_be_said(self):
        settings = set(find_attack("model_stealing").settings)
        assert settings.isdisjoint({"keep", "confidence_level", "batch_size", "on_batch", "on_record"})
        page = (Path(__file__).parents[3] / "docs/stealing.md").read_text(encoding="utf-8")
        assert {name for name in settings if f"`{name}`" not in page} == set()


class TestBesideOtherAttacks:
    def test_through_audit(self, tmp_path):
        short = {"model_stealing": {"recipe": SHORT, "transfer": 0}}
        attacks = ["model_stealing", "loss"]
        records = audit(ID, attacks=attacks, settings=short, budgets=[3, 9], seed=4, out=tmp_path)
        names = [(r.attack["name"], r.attack.get("budget"), r.attack.get("seed")) for r in records]
        assert names == [("loss", None, None), ("model_stealing", 3, 4), ("model_stealing", 9, 4)]
        assert len(list(read_records(tmp_path))) == 3

    def test_the_command_line(self, run, monkeypatch, tmp_path):
        monkeypatch.setattr("securitynet_hub.weights.fetch.cache_folder", lambda: tmp_path)
        own = ("seeds=[0,1]", "queries=shapes", 'recipe={"epochs":2,"batch_size":10}', "transfer=0")
        settings = [word for part in own for word in ("--setting", f"model_stealing.{part}")]
        code, out, err = run("audit", ID, "--attacks", "model_stealing", "--budgets", 3, 9, *settings)
        assert code == 0, err
        lines = [line.split() for line in out.splitlines() if line.startswith("cnn-clean/1")]
        assert [line[1:3] for line in lines] == [["3", "0"], ["9", "0"], ["3", "1"], ["9", "1"]]
        assert "Membership" not in out
        assert (tmp_path / "stealing" / ID / "answers.db").is_file()


PARENT = """
import os, random, signal, sys, traceback
from pathlib import Path
import torch._dynamo  # what each child would import itself, when it first trains
from securitynet_hub import load_images, load_target
from securitynet_hub.engine import training
from securitynet_hub.attacks.stealing.black_box import BlackBox
from securitynet_hub.attacks.stealing.independent import independent_models
from securitynet_hub.attacks.stealing.present import tables, verdict
from securitynet_hub.attacks.stealing.surrogates import steal
from securitynet_hub.engine.training import Recipe
from securitynet_hub.models.zoo_networks import NETWORKS

training.PROGRESS_SECONDS = 0
ROOT = Path(sys.argv[1])

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def extract(folder, batch=0, step=0, call=0):
    batches, steps, calls = [], [], [0]
    folder.mkdir(exist_ok=True)

    def asked(module, inputs):
        batches.append(1)
        if len(batches) == batch:
            die()
        with open(folder / "asked", "a") as file:
            file.write(f"{len(inputs[0])} ")

    def trained(module, inputs):
        if module.training:
            steps.append(1)
            if len(steps) == step:
                die()
            with open(folder / "trained", "a") as file:
                file.write("1 ")

    def build():
        network = NETWORKS["cnn"](10)
        network.register_forward_pre_hook(trained)
        return network

    def called(frame, event, argument):
        calls[0] += 1
        if calls[0] == call:
            die()

    target = load_target("zoo/fashion-mnist/cnn-clean/1")
    target.module.register_forward_pre_hook(asked)
    pool = load_images().pixels[:100]
    sys.setprofile(called)
    box = BlackBox(target, budget=60, cache=folder / "answers", batch_size=16)
    recipe = Recipe(epochs=4, batch_size=10)
    steal(box, build, pool, recipe, budgets=[30, 60], folder=folder / "s", strategy="margin", round_size=30)
    sys.setprofile(None)
    (folder / "done").write_text(f"{box.asked} {calls[0]}")

def forked(*arguments):
    child = os.fork()
    if not child:
        try:
            extract(*arguments)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

assert forked(ROOT / "whole") == 0
for batch, step in ((3, 0), (0, 12 + 6), (0, 0)):  # in the third batch; in the third epoch of the second
    assert forked(ROOT / "planned", batch, step) == (-signal.SIGKILL if batch or step else 0)
calls = int((ROOT / "whole" / "done").read_text().split()[1])
rng, deaths = random.Random(SEED), 0
for limit in (calls, calls, calls // 2, calls // 2, calls // 4, calls // 4):
    code = forked(ROOT / "random", 0, 0, rng.randrange(1, limit))
    deaths += code == -signal.SIGKILL
    assert code in (0, -signal.SIGKILL)
assert deaths
assert forked(ROOT / "random") == 0
(ROOT / "deaths").write_text(str(deaths))
"""


@pytest.fixture(scope="module")
def extractions(tmp_path_factory):
    """Finish an undisturbed extraction, one killed at planned places and one killed anywhere."""
    root = tmp_path_factory.mktemp("extractions")
    done = run_python("-c", PARENT.replace("SEED", "7"), root)
    assert done.returncode == 0, done.stderr
    return root


@pytest.mark.slow
class TestKilled:
    """Extractions killed again and again, by SIGKILL, do what one does that nobody disturbs."""

    @pytest.mark.parametrize("name", ["planned", "random"])
    def test_the_end_is_the_same(self, extractions, name):
        whole, found = (
            {path.name: load_file(path) for path in (extractions / folder / "s").glob("*.safetensors")}
            for folder in ("whole", name)
        )
        assert len(whole) == 2
        assert found.keys() == whole.keys()
        assert not list((extractions / name / "s").glob("*.progress"))
        for file, tensors in whole.items():
            assert all(torch.equal(found[file][key], tensor) for key, tensor in tensors.items())
        assert (extractions / name / "done").read_text().split()[0] == "60"

    def test_in_a_batch_and_in_an_epoch(self, extractions):
        """No image twice, and at most an epoch again: 3 steps each for 30 images, 6 for 60."""
        assert (extractions / "planned" / "asked").read_text().split() == ["16", "14", "2", "16", "12"]
        trained = (extractions / "planned" / "trained").read_text().split()
        assert len(trained) == 4 * 3 + (2 * 6 + 5) + 2 * 6

    def test_anywhere(self, extractions):
        """Of what was answered nothing is asked again; a death costs the batch in flight at most."""
        asked = [int(size) for size in (extractions / "random" / "asked").read_text().split()]
        deaths = int((extractions / "deaths").read_text())
        database = sqlite3.connect(extractions / "random" / "answers")
        assert database.execute("SELECT count(*) FROM answers").fetchone() == (60,)
        database.close()
        assert 60 <= sum(asked) <= 60 + 16 * deaths
        assert len(asked) <= 5 + deaths


@pytest.mark.slow
def test_self_steal_tends_to_agreement_one(tmp_path):
    """The target's network and all of its training images: on new ones they agree, the more the longer."""
    overfitted = "zoo/fashion-mnist/cnn-overfitted-500/1"
    own, data = load_target(overfitted), known_data(find_annotation(overfitted))
    members, others = (data.images.pixels[side] for side in (data.split.members, data.split.nonmembers))
    agreement = {}
    for epochs in (2, 40):
        recipe = Recipe(epochs=epochs, batch_size=32, learning_rate=3e-3)
        box = BlackBox(own, budget=len(members), held_out=others)
        (surrogate,) = steal(
            box, lambda: NETWORKS["cnn"](10), members, recipe, budgets=[len(members)], folder=tmp_path
        )
        for name, pixels in (("members", members), ("others", others)):
            same = surrogate.logits(pixels).argmax(1) == predict(own, pixels).argmax(1)
            agreement[name, epochs] = same.mean()
    assert agreement["members", 40] > 0.98
    assert agreement["others", 40] > max(0.85, agreement["others", 2])


@pytest.mark.slow
def test_efficientnet_lite_is_asked_counted_and_resumed(tmp_path):
    """A thousand classes, photographs of several sizes, a network quite unlike the target."""
    pytest.importorskip("efficientnet_lite_pytorch")
    large = load_target("package/imagenet-1k/efficientnet_lite0")
    names = (
        "astronaut",
        "chelsea",
        "coffee",
        "rocket",
        "retina",
        "hubble_deep_field",
        "logo",
        "immunohistochemistry",
    )
    photographs = np.concatenate([fit_pixels(colours(name), (64, 64, 3)) for name in names])

    def build():
        return torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 8, stride=8), torch.nn.ReLU(),
            torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(32, 1000),
        )  # fmt: skip

    boxes, found, sizes = [], [], []
    large.module.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    for budgets in ([1, 4], [1, 4, 6], [6]):
        box = BlackBox(large, budget=6, held_out=photographs[6:], cache=tmp_path / "db", batch_size=3)
        found.append(steal(box, build, photographs[:6], SHORT, budgets=budgets, folder=tmp_path))
        boxes.append(box)
    assert [(box.asked, box.forwarded) for box in boxes] == [(4, 4), (6, 2), (6, 0)]
    tried = [2, 2]  # two images in both orders of channels (`engine.memory_format`), which is no query
    assert sizes == [*tried, 3, 1, 2]
    assert [surrogate.path for surrogate in found[0]] == [surrogate.path for surrogate in found[1][:2]]
    assert found[2][0].path == found[1][2].path
    assert found[2][0].logits(photographs).shape == (8, 1000)
    with pytest.raises(ValueError, match="must be disjoint"):
        boxes[0].ask(photographs[5:7])


def colours(name):
    return getattr(skimage.data, name)()[None, ..., :3]
