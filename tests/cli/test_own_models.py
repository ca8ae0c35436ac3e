"""Models of one's own from the command line: a file and a factory, a folder of transformers, a TOML file."""

import json

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from support.small_vit import small_vit
from transformers.models.auto.image_processing_auto import AutoImageProcessor

import securitynet_hub as hub
from securitynet_hub.core.errors import WeightsError
from securitynet_hub.data.transforms import Transform
from securitynet_hub.engine.inference import predict
from securitynet_hub.models.own_targets import as_transform, read_targets

NETS = """
from torch import nn
from securitynet_hub.data.transforms import Transform

TRANSFORM = Transform(height=2, width=2, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

def build():
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 3)), TRANSFORM

def soft():
    return nn.Sequential(build()[0], nn.Softmax(1))

class Sized(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.Flatten(), nn.Linear(12, num_classes))

NUMBER = 3
"""
PLAIN = "height=2,width=2,mean=0.5,0.5,0.5,std=0.5,0.5,0.5"


def train(net, inputs, labels):
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(inputs), labels).backward()
        optimizer.step()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A folder with a user's code, weights and pictures."""
    from torch import nn

    folder = tmp_path_factory.mktemp("lab")
    (folder / "lab_nets.py").write_text(NETS)
    rng = np.random.default_rng(0)
    inputs = []
    for split in ("train", "test"):
        for c in range(3):
            place = folder / "pics" / split / f"class{c}"
            place.mkdir(parents=True)
            for i in range(12):
                pixels = np.clip(rng.normal(80 * c + 40, 60, (2, 2, 3)), 0, 255).astype(np.uint8)
                if split == "train":
                    inputs.append((pixels.transpose(2, 0, 1) / 127.5 - 1).astype(np.float32))
                Image.fromarray(pixels).save(place / f"{i}.png")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 3))
        train(net, torch.tensor(np.stack(inputs)), torch.tensor([c for c in range(3) for _ in range(12)]))
    torch.save({"state_dict": {f"module.{k}": v for k, v in net.state_dict().items()}}, folder / "w.pth")
    torch.save({f"0.{k}": v for k, v in net.state_dict().items()}, folder / "soft.pth")
    return folder


@pytest.fixture
def inside(lab, monkeypatch):
    """Run in that folder, without the modules that other tests imported."""
    import sys

    monkeypatch.chdir(lab)
    monkeypatch.delitem(sys.modules, "lab_nets", raising=False)
    return lab


def figures(shown):
    return {record["attack"]["name"]: record["result"]["auc"] for record in json.loads(shown)}


OWN = ("audit", "file:w.pth", "--data", "pics")
SOFT = ("audit", "file:soft.pth", "--data", "pics")
AUDIT = (*OWN, "--attacks", "loss", "entropy", "--json")


@pytest.mark.parametrize("factory", ["lab_nets:build", "lab_nets.py:build"])
def test_a_file_and_a_factory(run, inside, factory):
    code, shown, told = run(*AUDIT, "--module", factory)
    assert code == 0, told
    assert set(figures(shown)) == {"loss", "entropy"}
    assert json.loads(shown)[0]["target"]["id"].endswith("/w")


def test_a_record_of_a_file_is_reproduced(run, inside, tmp_path):
    named = ("--module", "lab_nets.py:build", "--data", "pics")
    run("audit", "file:w.pth", *named, "--attacks", "loss", "--name", "mine", "--out", tmp_path / "records")
    (path,) = (tmp_path / "records").rglob("*.json")
    for left_out in ((), named):
        code, _, told = run("reproduce", path, *left_out)
        assert code == 2
        assert "--model file:checkpoint.pth --module nets.py:build --data" in " ".join(told.split())
    code, shown, told = run("reproduce", path, "--model", "file:w.pth", *named, "--out", tmp_path / "again")
    assert (code, ": reproduced." in " ".join(shown.split())) == (0, True), told
    (again,) = (tmp_path / "again").rglob("*.json")
    assert again.parent.relative_to(tmp_path / "again") == path.parent.relative_to(tmp_path / "records")


def test_outputs_and_transform_are_said(run, inside):
    _, expected, _ = run(*AUDIT, "--module", "lab_nets:build")
    soft = (*AUDIT[:1], "file:soft.pth", *AUDIT[2:], "--module", "lab_nets:soft", "--transform", PLAIN)
    code, shown, told = run(*soft, "--outputs", "posteriors", "--name", "mine")
    assert code == 0, told
    for name, auc in figures(expected).items():
        assert figures(shown)[name] == pytest.approx(auc, abs=2e-3)
    target = json.loads(shown)[0]["target"]
    assert (target["outputs"], target["id"].rpartition("/")[2]) == ("posteriors", "mine")


def test_a_factory_gets_the_number_of_classes(inside):
    torch.save(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4)).state_dict(), "four.pth")
    options = {
        "module": "lab_nets:Sized",
        "transform": as_transform({"height": 2, "width": 2, "channels": 3}),
    }
    assert hub.load_target("file:four.pth", num_classes=4, **options).num_classes == 4


def test_a_model_that_a_factory_returns_trained(run, inside):
    code, shown, told = run("audit", "module:lab_nets:build", *AUDIT[2:])
    assert code == 0, told
    assert json.loads(shown)[0]["target"]["id"].startswith("module/")


def test_shadow_models_of_an_own_network(run, inside):
    (inside / "recipe.toml").write_text("epochs = 2\nbatch_size = 16\n")
    words = (
        "audit",
        "file:w.pth",
        "--module",
        "lab_nets:build",
        "--data",
        "pics",
        "--json",
        "--shadows",
        "4",
    )
    code, shown, told = run(*words, "--attacks", "lira_offline", "loss", "--recipe", "recipe.toml")
    assert code == 0, told
    assert json.loads(shown)[0]["counts"]["shadow_models"] == 4
    code, _, told = run(*words[:-1], "1", "--attacks", "lira_offline", "--recipe", "recipe.toml")
    assert code == 2
    assert "it takes 2 shadow models or more" in " ".join(told.split())
    (inside / "wrong.toml").write_text("epoch = 2\n")
    code, _, told = run(*words, "--attacks", "lira_offline", "--recipe", "wrong.toml")
    assert code != 0
    assert "'epochs'" in told


def test_a_surrogate_of_an_own_network(inside):
    target = hub.load_target("file:w.pth", module="lab_nets:build")
    from securitynet_hub.attacks.subject import read_data

    quick = {"model_stealing": {"recipe": {"epochs": 1}, "transfer": 0}}
    (record,) = hub.audit(
        target, attacks="model_stealing", data=read_data("pics"), budgets=[9], settings=quick
    )
    assert record.attack["surrogate"].endswith("from scratch")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("audit", "w.pth", "--data", "pics"), "name it file:w.pth"),
        (OWN, "say which network they belong to with --module nets.py:build"),
        ((*OWN, "--module", "lab_nets:buidl"), "'build'"),
        (
            (*OWN, "--module", "lab_nets"),
            "package.module:factory or file.py",
        ),
        (
            (*OWN, "--module", "no_such:build"),
            "no_such cannot be imported",
        ),
        (
            (*OWN, "--module", "lab_nets:NUMBER"),
            "must be a function or class",
        ),
        ((*SOFT, "--module", "lab_nets:soft"), "--transform height="),
        (
            (
                "audit",
                "file:soft.pth",
                "--data",
                "pics",
                "--module",
                "lab_nets:soft",
                "--transform",
                "heigth=2",
            ),
            "'height'",
        ),
        (
            (*SOFT, "--module", "lab_nets:soft", "--transform", "2"),
            "NAME=VALUE",
        ),
        (
            (*OWN, "--module", "lab_nets:build", "--recipe", "r"),
            "--shadows N",
        ),
        (("audit", "zoo/fashion-mnist/cnn-clean/1", "--outputs", "logits"), "takes no options; got outputs"),
    ],
)
def test_what_is_missing_is_said(run, inside, words, told):
    code, _, errors = run(*words)
    assert code == 2
    assert told in " ".join(errors.split())


def test_an_optimiser_is_no_network(run, inside, tmp_path):
    net = torch.nn.Linear(2, 2)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    for name, saved in (("bare", optimizer.state_dict()), ("named", {"optimizer": optimizer.state_dict()})):
        torch.save(saved, tmp_path / f"{name}.pth")
        code, _, errors = run("audit", f"file:{tmp_path / name}.pth", *OWN[2:], "--module", "lab_nets:build")
        told = " ".join(errors.split())
        assert code == 1
        assert "holds the state of an optimiser or the like, and no weights of a network" in told
        assert "missing" not in told


class TestTargetsFile:
    TOML = """
    [[target]]
    model = "file:w.pth"
    module = "lab_nets:build"
    data = "pics?limit=20"
    name = "one"

    [[target]]
    model = "file:soft.pth"
    module = "lab_nets:soft"
    data = "pics?limit=20"
    outputs = "posteriors"
    transform = {height = 2, width = 2, mean = [0.5, 0.5, 0.5], std = [0.5, 0.5, 0.5]}
    """

    def test_it_is_swept_and_resumes(self, run, inside, tmp_path):
        (inside / "targets.toml").write_text(self.TOML)
        words = ("sweep", "--targets", "targets.toml", "--attacks", "loss", "--out", tmp_path / "swept")
        code, _, told = run(*words)
        assert code == 0, told
        records = list(hub.read_records(tmp_path / "swept" / "records"))
        assert {r.target["id"].rpartition("/")[2] for r in records} == {"one", "soft"}
        assert {r.target.get("outputs") for r in records} == {None, "posteriors"}
        code, _, _ = run(*words, "--dry-run")
        assert code == 0
        assert len(list(hub.read_records(tmp_path / "swept" / "records"))) == 2

    def test_paths_are_relative_to_the_file(self, inside, monkeypatch, tmp_path):
        (inside / "targets.toml").write_text(self.TOML)
        first, second = read_targets(inside / "targets.toml")
        assert first.annotation.weights_url == f"file:{inside / 'w.pth'}"
        assert first.data == f"{inside / 'pics'}?limit=20"
        assert first.loading["module"] == "lab_nets:build"
        (inside / "targets.toml").write_text(self.TOML.replace("lab_nets:", "lab_nets.py:"))
        assert read_targets(inside / "targets.toml")[0].loading["module"] == f"{inside / 'lab_nets.py'}:build"
        assert second.loading["transform"] == Transform(height=2, width=2, mean=(0.5,) * 3, std=(0.5,) * 3)

    @pytest.mark.parametrize(
        ("toml", "told"),
        [
            ("", r"must have a table \[\[target\]\]"),
            ("target = 3", r"must have a table \[\[target\]\]"),
            ("[[target]]\nmodule = 'a:b'", "must name its model"),
            ("[[target]]\nmodel = 'file:w.pth'\nmodul = 'a:b'", "'module'"),
            ("[[target", "cannot be read as TOML"),
        ],
    )
    def test_other_files_are_refused(self, tmp_path, toml, told):
        (tmp_path / "t.toml").write_text(toml)
        with pytest.raises(ValueError, match=told):
            read_targets(tmp_path / "t.toml")

    def test_nothing_to_do(self, run, tmp_path):
        code, _, told = run("sweep", "--attacks", "loss", "--out", tmp_path / "x")
        assert code == 2
        assert "--models or --targets" in told


class TestTransformersFolder:
    @pytest.fixture
    def folder(self, tmp_path):
        small_vit().save_pretrained(tmp_path / "my-vit")
        settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}}
        (tmp_path / "my-vit/preprocessor_config.json").write_text(json.dumps(settings))
        return tmp_path / "my-vit"

    def test_it_answers_as_transformers_does(self, folder, monkeypatch):
        monkeypatch.chdir(folder.parent)
        pixels = np.random.default_rng(0).integers(0, 256, (3, 20, 30, 3), np.uint8)
        model = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
        processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
        with torch.inference_mode():
            expected = model(**processor(images=list(pixels), return_tensors="pt")).logits.numpy()
        for name in ("transformers:./my-vit", f"transformers:{folder}", "transformers:my-vit"):
            target = hub.load_target(name)
            np.testing.assert_allclose(predict(target, pixels), expected, rtol=1e-4, atol=1e-5)
        assert target.id.startswith("transformers/")
        assert target.id.endswith("/my-vit")
        assert target.annotation.weights_hash_kind == "sha256"

    def test_on_the_command_line(self, run, folder, lab):
        words = ("--data", lab / "pics", "--attacks", "loss", "--json")
        code, shown, told = run("audit", f"transformers:{folder}", *words)
        assert code == 0, told
        assert 0 <= figures(shown)["loss"] <= 1
        code, _, told = run("audit", folder, *words)
        assert code == 2
        assert "name it transformers:" in " ".join(told.split())

    def test_what_it_lacks_is_said(self, folder):
        with pytest.raises(
            WeightsError, match=r"is not there: it must be a folder that save_pretrained wrote"
        ):
            hub.load_target("transformers:./no-such-folder")
        (folder / "empty").mkdir()
        with pytest.raises(WeightsError, match=r"has no config.json"):
            hub.load_target(f"transformers:{folder / 'empty'}")
        (folder / "model.safetensors").rename(folder / "other.safetensors")
        with pytest.raises(WeightsError, match=r"has none of the weights files model.safetensors"):
            hub.load_target(f"transformers:{folder}")
        (folder / "preprocessor_config.json").unlink()
        with pytest.raises(WeightsError, match=r"has no preprocessor_config.json.*save_pretrained wrote"):
            hub.load_target(f"transformers:{folder}")
