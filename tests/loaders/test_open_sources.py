"""Models that no table lists: of the Hub in transformers' form, and files of one's own."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from huggingface_hub import constants
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from securitynet_hub import load_target
from securitynet_hub.core.errors import ModelError, UnknownNameError, WeightsError
from securitynet_hub.data.transforms import Transform
from securitynet_hub.engine.inference import predict
from securitynet_hub.models.loading import find_annotation
from securitynet_hub.weights import fetch as weights
from securitynet_hub.weights.shards import read_index

COMMIT, MOVED = "0123456789" * 4, "abcdef0123" * 4
VIT = transformers.ViTConfig(
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=64,
    patch_size=8,
    image_size=32,
    num_labels=5,
)
CONFIGS = {
    "vit": VIT,
    "resnet": transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=5
    ),
    "swin": transformers.SwinConfig(
        embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4, image_size=32, num_labels=5
    ),
    "convnext": transformers.ConvNextConfig(hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], num_labels=5),
    "mobilenet": transformers.MobileNetV2Config(depth_multiplier=0.25, image_size=32, num_labels=5),
}
SETTINGS = {
    "image_processor_type": "ViTImageProcessor",
    "do_resize": True,
    "size": {"height": 32, "width": 32},
    "resample": 2,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.5, 0.25, 0.2],
}
PIXELS = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), np.uint8)


def classifier(name="vit"):
    torch.manual_seed(1)
    return transformers.AutoModelForImageClassification.from_config(CONFIGS[name]).eval()


def saved(tensors):
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()


def repository(model, tmp_path, *, weights=None, **changes):
    """Return the files that `save_pretrained` writes, some of them changed."""
    model.save_pretrained(tmp_path / "saved")
    files = {path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()}
    files["preprocessor_config.json"] = json.dumps(SETTINGS).encode()
    if weights is not None:
        files.pop("model.safetensors")
        files |= weights
    return files | changes


class TestTransformers:
    @pytest.mark.parametrize("name", CONFIGS)
    def test_the_repository_answers_as_transformers_does(self, name, hub, tmp_path):
        model = classifier(name)
        hub.serve_repository("org/net", COMMIT, repository(model, tmp_path))
        target = load_target("transformers:org/net")
        assert target.id == f"transformers/org/net@{COMMIT[:12]}"
        assert (target.num_classes, target.annotation.architecture) == (5, CONFIGS[name].model_type)
        assert not any(part.training for part in target.module.modules())
        (tmp_path / "processor").mkdir()
        (tmp_path / "processor/preprocessor_config.json").write_text(json.dumps(SETTINGS))
        processor = AutoImageProcessor.from_pretrained(tmp_path / "processor", backend="pil")
        inputs = processor(images=list(PIXELS), return_tensors="pt")
        with torch.inference_mode():
            expected = model(**inputs).logits.numpy()
        np.testing.assert_allclose(predict(target, PIXELS), expected, rtol=1e-5, atol=1e-6)
        assert target.transform.shape == (32, 32, 3)
        assert target.transform.as_dict()["image_mean"] == [0.5, 0.4, 0.3]
        json.dumps(target.transform.as_dict(), allow_nan=False)

    def test_grey_images_are_repeated(self, hub, tmp_path):
        hub.serve_repository("org/net", COMMIT, repository(classifier(), tmp_path))
        target = load_target("transformers:org/net")
        grey = PIXELS[..., :1]
        assert torch.equal(target.transform(grey), target.transform(np.repeat(grey, 3, -1)))
        with pytest.raises(ValueError, match=r"3 channels \(or one channel\); got uint8 of \(40, 50, 2\)"):
            target.transform(PIXELS[..., :2])

    def test_the_files_are_pinned_by_commit_and_hash(self, hub, tmp_path):
        files = repository(classifier(), tmp_path)
        hub.serve_repository("org/net", COMMIT, files)
        annotation = find_annotation("transformers:org/net")
        assert COMMIT in annotation.weights_url
        assert annotation.weights_hash_kind == "sha256"
        load_target(annotation)
        hub.serve_repository("org/net", MOVED, files, revisions=("main", "v2"))
        assert MOVED in find_annotation("transformers:org/net").weights_url
        assert MOVED in find_annotation("transformers:org/net@v2").weights_url
        assert COMMIT in find_annotation(f"transformers:org/net@{COMMIT}").weights_url

    def test_replaced_weights_are_refused(self, hub, tmp_path):
        hub.serve_repository("org/net", COMMIT, repository(classifier(), tmp_path))
        annotation = find_annotation("transformers:org/net")
        hub.routes[f"/org/net/resolve/{COMMIT}/model.safetensors"].content = saved({"x": torch.zeros(1)})
        with pytest.raises(WeightsError, match="was expected"):
            load_target(annotation)

    def test_offline_the_cache_answers(self, hub, tmp_path, monkeypatch):
        hub.serve_repository("org/net", COMMIT, repository(classifier(), tmp_path))
        expected = predict(load_target("transformers:org/net"), PIXELS)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        asked = len(hub.log)
        again = load_target(f"transformers:org/net@{COMMIT}")
        np.testing.assert_array_equal(predict(again, PIXELS), expected)
        assert len(hub.log) == asked
        with pytest.raises(WeightsError, match=f"Revisions in the cache: {COMMIT}"):
            load_target("transformers:org/net")

    def test_a_pickle_goes_through_the_guard(self, hub, tmp_path):
        model = classifier()
        files_ = {"pytorch_model.bin": saved(model.state_dict())}
        hub.serve_repository("org/net", COMMIT, repository(model, tmp_path, weights=files_))
        loaded = load_target("transformers:org/net").module.state_dict()
        assert all(torch.equal(loaded[f"model.{key}"], value) for key, value in model.state_dict().items())

    def test_a_hostile_pickle_is_refused(self, hub, tmp_path):
        class Hostile:
            def __reduce__(self):
                return open, (str(tmp_path / "canary"), "w")

        files_ = {"pytorch_model.bin": saved({"x": Hostile()})}
        hub.serve_repository("org/net", COMMIT, repository(classifier(), tmp_path, weights=files_))
        with pytest.raises(WeightsError, match="refused"):
            load_target("transformers:org/net")
        assert not (tmp_path / "canary").exists()

    @pytest.mark.parametrize("change", ["missing", "left over", "of another shape"])
    def test_other_networks_weights_are_refused(self, change, hub, tmp_path):
        model = classifier()
        tensors = dict(model.state_dict())
        if change == "missing":
            del tensors["classifier.weight"]
        elif change == "left over":
            tensors["stray"] = torch.zeros(1)
        else:
            tensors["classifier.bias"] = torch.zeros(7)
        files_ = {"pytorch_model.bin": saved(tensors)}
        hub.serve_repository("org/net", COMMIT, repository(model, tmp_path, weights=files_))
        with pytest.raises(WeightsError, match="not those of this network"):
            load_target("transformers:org/net")

    def test_a_repositorys_code_is_never_run(self, hub, tmp_path):
        config = {**CONFIGS["vit"].to_dict(), "model_type": "own", "auto_map": {"AutoConfig": "own.Own"}}
        files = repository(classifier(), tmp_path) | {
            "config.json": json.dumps(config).encode(),
            "own.py": f"open({str(tmp_path / 'canary')!r}, 'w')".encode(),
        }
        hub.serve_repository("org/net", COMMIT, files)
        with pytest.raises(ModelError, match="cannot be used"):
            load_target("transformers:org/net")
        assert not (tmp_path / "canary").exists()
        assert not hub.asked(f"/org/net/resolve/{COMMIT}/own.py")

    @pytest.mark.parametrize(
        ("reference", "error", "sentence"),
        [
            ("org/none", WeightsError, "org/none cannot be downloaded from the Hub"),
            ("org/net@v9", WeightsError, "org/net at v9 cannot be downloaded from the Hub"),
            ("gpt2", WeightsError, "is named owner/name; got 'gpt2'"),
        ],
    )
    def test_unknown_repositories(self, reference, error, sentence, hub, tmp_path):
        hub.serve_repository("org/net", COMMIT, repository(classifier(), tmp_path))
        with pytest.raises(error, match=sentence):
            load_target(f"transformers:{reference}")

    @pytest.mark.parametrize(
        ("reference", "sentence"),
        [
            ("../../nowhere", "is not there: it must be a folder that save_pretrained wrote"),
            ("here", "here has no config.json: it must be a folder"),
            ("here/net", "here/net has no config.json: .* on the Hub is here/net@main"),
            ("here/gone", "here/gone is not there: .* on the Hub is here/gone@main"),
            ("here/file", "here/file is no folder"),
        ],
    )
    def test_the_hub_is_never_asked_for_a_path(self, reference, sentence, hub, tmp_path, monkeypatch):
        (tmp_path / "here/net").mkdir(parents=True)
        (tmp_path / "here/file").write_text("")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(WeightsError, match=sentence):
            load_target(f"transformers:{reference}")
        with pytest.raises(ValueError, match="is a path, and timm: takes the name of a repository"):
            load_target(f"timm:{reference}")
        assert hub.log == []
        with pytest.raises(WeightsError, match="here/net at main cannot be downloaded from the Hub"):
            load_target("transformers:here/net@main")
        assert hub.log != []

    @pytest.mark.parametrize("name", ["vit", "resnet"])
    def test_half_precision_is_widened(self, name, hub, tmp_path):
        model = classifier(name)
        files = repository(model, tmp_path)
        config = {**json.loads(files["config.json"]), "dtype": "float16"}
        hub.serve_repository("org/net", COMMIT, {**files, "config.json": json.dumps(config).encode()})
        target = load_target("transformers:org/net")
        for key, value in model.state_dict().items():
            assert torch.equal(target.module.state_dict()[f"model.{key}"], value)
        assert len(np.unique(predict(target, PIXELS))) == 15

    @pytest.mark.parametrize(
        ("config", "sentence"),
        [
            ({"num_labels": 3_000_000}, "holds the number 3e"),
            ({"num_hidden_layers": 90_000}, "holds the number 90000, num_hidden_layers; at most 1,000"),
            ({"depths": [2, 2, 5000]}, "holds the number 5000, depths"),
            ({"intermediate_size": 90_000, "hidden_size": 90_000, "num_hidden_layers": 90}, "than the 4,000"),
            ({"num_hidden_layers": 1000}, "more modules than the 10,000"),
            ({"model_type": "resnet", "depths": [1000] * 20, "hidden_sizes": [8] * 20}, "than the 10,000"),
            ({"x": [[[[[[{"depths": [[10**400]]}]]]]]]}, "holds the number beyond 1e300, depths"),
            ({"image_size": 20_000}, "holds the number 20000, image_size; at most 4,096"),
            ({"hidden_size": "x"}, "cannot be"),
            ({"model_type": "timm_wrapper"}, "timm:org/net"),
        ],
    )
    def test_strange_configurations(self, config, sentence, hub, tmp_path):
        files = repository(classifier(), tmp_path)
        config = json.dumps({**json.loads(files["config.json"]), **config}).encode()
        hub.serve_repository("org/net", COMMIT, {**files, "config.json": config})
        with pytest.raises(ModelError, match=sentence):
            load_target("transformers:org/net")

    def test_classes_may_be_called_what_they_like(self, hub, tmp_path):
        files = repository(classifier(), tmp_path)
        config = json.loads(files["config.json"]) | {"label2id": {"layers": 20_000, "blocks": 0}}
        hub.serve_repository("org/net", COMMIT, {**files, "config.json": json.dumps(config).encode()})
        assert find_annotation("transformers:org/net").num_classes == 5

    @pytest.mark.parametrize(
        "settings",
        [
            {"size": {"height": 10**6, "width": 10**6}},
            {"size": {"height": 5000, "width": 5000}},
            {"image_mean": [0.5]},
            {"resample": 99},
        ],
    )
    def test_strange_preprocessing(self, settings, hub, tmp_path):
        files = repository(classifier(), tmp_path)
        files["preprocessor_config.json"] = json.dumps({**SETTINGS, **settings}).encode()
        hub.serve_repository("org/net", COMMIT, files)
        with pytest.raises(ModelError, match="cannot be built"):
            load_target("transformers:org/net")

    def test_the_console_and_the_random_state_are_left_alone(self, hub, tmp_path, capfd):
        hub.serve_repository("org/net", COMMIT, repository(classifier(), tmp_path))
        capfd.readouterr()
        state = torch.random.get_rng_state()
        load_target("transformers:org/net")
        assert torch.equal(torch.random.get_rng_state(), state)
        assert capfd.readouterr() == ("", "")

    def test_no_weights_or_no_classifier(self, hub, tmp_path):
        files = repository(classifier(), tmp_path)
        hub.serve_repository("org/net", COMMIT, {"config.json": files["config.json"]})
        with pytest.raises(WeightsError, match=r"org/net has none of model\.safetensors, .*index\.json"):
            load_target("transformers:org/net")
        config = json.dumps({"model_type": "bert"}).encode()
        hub.serve_repository("org/text", COMMIT, {**files, "config.json": config})
        with pytest.raises(ModelError, match="bert, for which transformers has no image classifier"):
            load_target("transformers:org/text")


INDEX = "model.safetensors.index.json"


class TestSeveralFiles:
    """Weights as `save_pretrained` splits them, with an index that says where each tensor lies."""

    @pytest.fixture
    def files(self, tmp_path):
        """Return the files of a repository with three shards or more."""
        classifier().save_pretrained(tmp_path / "split", max_shard_size="40KB")
        files = {path.name: path.read_bytes() for path in (tmp_path / "split").iterdir()}
        files["preprocessor_config.json"] = json.dumps(SETTINGS).encode()
        assert "model.safetensors" not in files
        assert len(self.shards(files)) > 2
        return files

    @staticmethod
    def shards(files):
        return sorted(name for name in files if name.endswith(".safetensors"))

    @staticmethod
    def placing(files, **places):
        """Return the repository with another index."""
        index = json.loads(files[INDEX])
        index["weight_map"] |= places
        return {**files, INDEX: json.dumps(index).encode()}

    def test_they_make_one_network(self, files, hub, monkeypatch):
        hub.serve_repository("org/net", COMMIT, files)
        target, expected = load_target("transformers:org/net"), classifier().state_dict()
        loaded = target.module.state_dict()
        assert all(torch.equal(loaded[f"model.{key}"], value) for key, value in expected.items())
        kinds = target.annotation.weights_hash_kind.split("+")
        assert kinds == ["git-blob-sha1", *["sha256-of-shard"] * len(self.shards(files))]
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        asked = len(hub.log)
        again = load_target(f"transformers:org/net@{COMMIT}")
        np.testing.assert_array_equal(predict(again, PIXELS), predict(target, PIXELS))
        assert len(hub.log) == asked

    def test_pickled_ones_go_through_the_guard(self, files, hub, tmp_path):
        names = {name: name.replace(".safetensors", ".bin") for name in self.shards(files)}
        index = files.pop(INDEX).decode()
        for name, pickled in names.items():
            content = saved(safetensors.torch.load(files.pop(name)))
            files[pickled] = content
            index = index.replace(name, pickled)
        files["pytorch_model.bin.index.json"] = index.encode()
        hub.serve_repository("org/net", COMMIT, files)
        loaded = load_target("transformers:org/net").module.state_dict()
        expected = classifier().state_dict()
        assert all(torch.equal(loaded[f"model.{key}"], value) for key, value in expected.items())

        class Hostile:
            def __reduce__(self):
                return open, (str(tmp_path / "canary"), "w")

        files[sorted(names.values())[-1]] = saved({"x": Hostile()})
        hub.serve_repository("org/net", MOVED, files)
        with pytest.raises(WeightsError, match="refused"):
            load_target("transformers:org/net")
        assert not (tmp_path / "canary").exists()

    def test_each_is_verified(self, files, hub):
        hub.serve_repository("org/net", COMMIT, files)
        annotation = find_annotation("transformers:org/net")
        last = self.shards(files)[-1]
        route = hub.routes[f"/org/net/resolve/{COMMIT}/{last}"]
        route.content = route.content[:-1] + bytes([route.content[-1] ^ 1])
        with pytest.raises(WeightsError, match=f"the file from .*{last} is damaged.*was expected"):
            load_target(annotation)
        few = annotation.weights_hash_kind.rpartition("+")[0], annotation.weights_hash.rpartition("+")[0]
        with pytest.raises(WeightsError, match="a strong hash of each was expected"):
            load_target(replace(annotation, weights_hash_kind=few[0], weights_hash=few[1]))

    def test_together_they_may_not_be_too_large(self, files, hub, monkeypatch):
        sizes = [len(files[name]) for name in self.shards(files)]
        monkeypatch.setenv("SECURITYNET_MAX_BYTES", str(sum(sizes) - 1))
        assert max(sizes) < sum(sizes) / 2
        hub.serve_repository("org/net", COMMIT, files)
        with pytest.raises(WeightsError, match=r"at most .* are accepted"):
            load_target("transformers:org/net")

    @pytest.mark.parametrize(
        ("places", "sentence"),
        [
            ({"classifier.bias": "model-9.safetensors"}, "has no model-9.safetensors, which its"),
            ({"classifier.bias": "../model.safetensors"}, "is no file beside it"),
            ({"classifier.bias": "/etc/passwd"}, "is no file beside it"),
            ({"classifier.bias": "config.json"}, "is no file beside it"),
            ({"classifier.bias": 3}, "is no file beside it"),
            ({"stray": "model-00001-of-00003.safetensors"}, "lacks 'stray', contrary to"),
            ("a tensor of the first file is told to be in the last", "00001-of-00003.safetensors holds '"),
        ],
    )
    def test_an_index_that_lies(self, places, sentence, files, hub):
        assert self.shards(files)[0] == "model-00001-of-00003.safetensors"
        if isinstance(places, str):
            first, *_, last = self.shards(files)
            own = json.loads(files[INDEX])["weight_map"]
            places = {next(tensor for tensor, name in own.items() if name == first): last}
        hub.serve_repository("org/net", COMMIT, self.placing(files, **places))
        with pytest.raises(WeightsError, match=sentence):
            load_target("transformers:org/net")

    @pytest.mark.parametrize(
        "content",
        [
            b"", b"{}", b"[]", b"null", b'{"weight_map": 3}', b'{"weight_map": {}}', b"\xff", b"[" * 100_000,
            b'{"weight_map": {"a": "b.bin", "a": "c.bin"}}', b" " * (17 << 20),
            json.dumps({"weight_map": {str(n): f"{n}.bin" for n in range(1001)}}).encode(),
        ],
        ids=[
            "nothing", "no map", "a list", "null", "a number", "an empty map", "no UTF-8", "too deep",
            "a name twice", "too large", "too many files",
        ],
    )  # fmt: skip
    def test_what_is_no_index(self, content, tmp_path):
        (tmp_path / INDEX).write_bytes(content)
        with pytest.raises(WeightsError, match=r"no index|bytes that an index may have|files; 1 to"):
            read_index(tmp_path / INDEX)

    def test_on_one_s_own_disk(self, hub, tmp_path):
        def network():
            return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4))

        tensors, options = network().state_dict(), {"transform": Transform(height=2, width=2, channels=3)}
        for number, (key, value) in enumerate(tensors.items()):
            safetensors.torch.save_file({key: value}, tmp_path / f"{number}.safetensors")
        places = {key: f"{number}.safetensors" for number, key in enumerate(tensors)}
        (tmp_path / INDEX).write_text(json.dumps({"weight_map": places}))
        reference = f"file:{tmp_path / INDEX}"
        loaded = load_target(reference, module=network(), **options).module.state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in tensors.items())
        annotation = find_annotation(reference, module=network(), **options)
        (tmp_path / "1.safetensors").write_bytes((tmp_path / "0.safetensors").read_bytes())
        with pytest.raises(WeightsError, match="was expected"):
            weights.fetch(annotation)
        with pytest.raises(WeightsError, match=r"lacks '1\.bias', contrary to"):
            load_target(reference, module=network(), **options)
        (tmp_path / "1.safetensors").unlink()
        with pytest.raises(WeightsError, match="cannot be read"):
            load_target(reference, module=network(), **options)
        assert not hub.log


class TestFile:
    NETWORK = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4))
    TRANSFORM = Transform(height=2, width=2, channels=3)

    def load(self, path, **options):
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 4))
        return load_target(f"file:{path}", **{"module": network, "transform": self.TRANSFORM, **options})

    def test_a_file_becomes_a_target(self, hub, tmp_path):
        tensors = self.NETWORK.state_dict()
        (tmp_path / "my net.pth").write_bytes(saved({"net": tensors, "epoch": 3}))
        target = self.load(tmp_path / "my net.pth", key_prefix="net")
        assert target.num_classes == 4
        assert target.id == f"file/{target.annotation.weights_hash[:12]}/my-net"
        assert all(torch.equal(value, tensors[key]) for key, value in target.module.state_dict().items())
        assert not hub.log

    def test_what_is_refused(self, hub, tmp_path):
        path = tmp_path / "w.pth"
        path.write_bytes(saved(self.NETWORK.state_dict()))
        with pytest.raises(WeightsError, match="was expected"):
            self.load(path, sha256="0" * 64)
        with pytest.raises(WeightsError, match="should lie under 'net'"):
            self.load(path, key_prefix="net")
        with pytest.raises(WeightsError, match="not those of this network"):
            self.load(path, module=torch.nn.Linear(3, 4))
        with pytest.raises(WeightsError, match="cannot be read"):
            self.load(tmp_path / "none.pth")
        with pytest.raises(ValueError, match=r"file: .*'colour'\. Options of this source: module, transform"):
            self.load(path, colour="red")
        alone = "the file holds weights alone: say which network they belong to with module="
        with pytest.raises(ValueError, match=alone):
            load_target(f"file:{path}")
        grey = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten())
        for network, numbers in (
            (grey, "mean=0.5,std=0.2"),
            (self.NETWORK, "mean=0.5,0.5,0.5,std=0.2,0.2,0.2"),
        ):
            with pytest.raises(ValueError, match=rf"is not known here.*resize=32,32,{numbers}\)"):
                load_target(f"file:{path}", module=network)
        with pytest.raises(ValueError, match=r"must be named as package\.module:factory"):
            self.load(path, module="resnet18")
        with pytest.raises(WeightsError, match="is not a hash"):
            self.load(path, sha256="")
        for outputs in (None, "posteriors"):
            with pytest.raises(ModelError, match=r"w cannot forward 2 black images of \(5, 5, 3\).*Check tr"):
                self.load(path, transform=Transform(height=5, width=5, channels=3), outputs=outputs)

    def test_a_file_replaced_meanwhile_is_refused(self, hub, tmp_path, monkeypatch):
        path = tmp_path / ".hidden+.pth"
        path.write_bytes(saved(self.NETWORK.state_dict()))
        read = weights.read_checkpoint

        def replacing(*arguments, **options):
            path.write_bytes(saved({key: value + 1 for key, value in self.NETWORK.state_dict().items()}))
            return read(*arguments, **options)

        monkeypatch.setattr(weights, "read_checkpoint", replacing)
        with pytest.raises(WeightsError, match="was replaced while it was read"):
            self.load(path)


def test_unknown_sources_and_options():
    with pytest.raises(UnknownNameError, match=r"open source 'transformer'.*'transformers'"):
        load_target("transformer:org/net")
    with pytest.raises(UnknownNameError, match="open source 'zoo'"):
        load_target("zoo:org/net")
    with pytest.raises(ValueError, match="named by its id or source:reference; got a NoneType"):
        load_target(None)
    with pytest.raises(ValueError, match="takes no options; got colour"):
        load_target("zoo/fashion-mnist/cnn-clean/1", colour="red")
