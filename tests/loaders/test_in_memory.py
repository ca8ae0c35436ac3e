"""Models that a caller holds in memory: audited as they are, hashed, and left as they were."""

import copy
import json
import os
import threading
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers
from support.processes import run_python
from support.small_vit import small_vit
from torch import nn
from transformers.models.auto.image_processing_auto import AutoImageProcessor

import securitynet_hub as hub
from securitynet_hub.attacks.subject import AuditData, known_data
from securitynet_hub.core.errors import AnswersWarning, ModelError
from securitynet_hub.data.per_image import PerImage
from securitynet_hub.data.transforms import Transform
from securitynet_hub.engine import device_maps
from securitynet_hub.engine.inference import predict

PIXELS = np.random.default_rng(0).integers(0, 256, (17, 4, 4, 3), np.uint8)
PICTURES = np.random.default_rng(1).integers(0, 256, (5, 20, 24, 3), np.uint8)
PLAIN = Transform(height=4, width=4, channels=3)


class Net(nn.Module):
    """A small network with all that may be changed by accident."""

    def __init__(self, seed=0, then=lambda z: z):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.conv, self.bn, self.fc = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(16, 5)
        self.then = then

    def forward(self, x):
        return self.then(self.fc(self.bn(self.conv(x)).relu().flatten(1)))


@pytest.fixture(scope="module")
def zoo():
    target = hub.load_target("zoo/fashion-mnist/cnn-overfitted-250/1")
    return target, known_data(target.annotation)


def test_a_network_is_audited_and_recorded(zoo, tmp_path):
    target, data = zoo
    (own,) = hub.audit(target.module, transform=target.transform, data=data, attacks="loss", name="mine")
    (same,) = hub.audit(target, data=data, attacks="loss", out=tmp_path)
    assert own.result["auc"] == same.result["auc"]
    assert own.target["id"] == f"module/{own.target['weights_hash'][:12]}/mine"
    assert own.target["weights_hash_kind"] == "sha256-of-tensors"
    assert own.environment["device"] == same.environment["device"]


def test_the_answers_are_the_network_s():
    net = Net().eval()
    target = hub.load_target(net, transform=PLAIN)
    assert (target.num_classes, target.annotation.architecture) == (5, "Net")
    with torch.no_grad():
        np.testing.assert_allclose(predict(target, PIXELS), net(PLAIN(PIXELS)), rtol=1e-5, atol=1e-6)


def test_the_caller_s_network_stays_as_it_was():
    net = Net()
    net.bn.eval()
    net.conv.weight.requires_grad_(False)
    net(PLAIN(PIXELS)).sum().backward()
    before = copy.deepcopy({**net.state_dict(), "grad": net.fc.weight.grad})
    flags = [part.training for part in net.modules()]
    predict(hub.load_target(net, transform=PLAIN), PIXELS)
    after = {**net.state_dict(), "grad": net.fc.weight.grad}
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert [part.training for part in net.modules()] == flags
    assert not net.conv.weight.requires_grad
    assert "network" not in dict(net.named_children())


def test_the_weights_are_shared_not_copied():
    net = Net()
    target = hub.load_target(net, transform=PLAIN)
    places = {parameter.data_ptr() for parameter in net.parameters()}
    assert {parameter.data_ptr() for parameter in target.module.parameters()} == places


def compiled(net):
    return torch.compile(net, backend="eager")


def hash_of(net):
    return hub.load_target(net, transform=PLAIN).annotation.weights_hash


def test_the_hash_names_the_values_alone():
    net = Net()
    same = copy.deepcopy(net).train()
    same.conv.weight.data = same.conv.weight.data.to(memory_format=torch.channels_last)
    same.fc.weight.data = same.fc.weight.data.t().contiguous().t()
    assert hash_of(net) == hash_of(same)
    assert hash_of(net) == hash_of(nn.DataParallel(net)) == hash_of(compiled(net))
    same.fc.bias.data[0] += 1
    assert hash_of(net) != hash_of(same)
    assert hash_of(net) != hash_of(copy.deepcopy(net).double())


@pytest.mark.filterwarnings("ignore::securitynet_hub.core.errors.AccuracyWarning")
@pytest.mark.filterwarnings("ignore::securitynet_hub.core.errors.AccuracyWarning")  # they guess
def test_networks_without_parameters_are_told_apart(zoo):
    _, data = zoo

    class Brightest(nn.Module):
        def forward(self, x):
            return F.adaptive_avg_pool2d(x, (2, 5)).flatten(1)

    class Darkest(Brightest):
        def forward(self, x):
            return -super().forward(x)

    transform = Transform(height=28, width=28, channels=1)
    records = [hub.audit(net(), transform=transform, data=data)[0] for net in (Brightest, Darkest)]
    assert records[0].target["id"] != records[1].target["id"]
    assert records[0].target["weights_hash_kind"] == "sha256-of-definition"


@pytest.mark.parametrize("wrap", [nn.DataParallel, compiled, nn.Module.half, nn.Module.double])
def test_wrapped_and_cast_networks_answer_alike(wrap):
    expected = predict(hub.load_target(Net(), transform=PLAIN), PIXELS)
    found = predict(hub.load_target(wrap(Net()), transform=PLAIN), PIXELS)
    np.testing.assert_allclose(found, expected, atol=2e-2)


@pytest.mark.slow
@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("attack", ["loss", "mlp_top3", "quantile", "mm_bd"])
def test_inside_a_caller_s_evaluation_loop(context, attack, zoo):
    target, data = zoo
    quick = {"settings": {"mm_bd": {"images_per_class": 2, "steps": 3}}} if attack == "mm_bd" else {}
    with context():
        (record,) = hub.audit(target, attacks=attack, data=data, **quick)
    assert record.attack["name"] == attack


def test_a_network_made_in_inference_mode():
    with torch.inference_mode():
        net = Net()
        inside = predict(hub.load_target(net, transform=PLAIN), PIXELS)
    assert np.array_equal(predict(hub.load_target(net, transform=PLAIN), PIXELS), inside)


@pytest.mark.slow
def test_under_another_default_precision(zoo):
    target, data = zoo
    expected = hub.audit(target, attacks=["mlp_top3"], data=data)[0].result
    torch.set_default_dtype(torch.float64)
    try:
        again = hub.load_target(target.id)
        assert hub.audit(again, attacks=["mlp_top3"], data=data)[0].result == expected
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.slow
def test_threads_may_be_the_first_to_ask():
    """Accelerate's state is shared; half of all first audits that came from several threads failed."""
    code = """
import sys
sys.setswitchinterval(1e-6)
from concurrent.futures import ThreadPoolExecutor
from accelerate.state import AcceleratorState
from securitynet_hub.engine.processes import init_processes
for _ in range(25):
    AcceleratorState._reset_state(True)
    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda _: init_processes().device.type, range(8))) == {"cpu"}
"""
    environment = os.environ | {"ACCELERATE_USE_CPU": "true"}
    done = run_python("-c", code, env=environment)
    assert done.returncode == 0, done.stderr


def test_threads_leave_the_default_precision_as_it_was():
    from securitynet_hub.core.plain_torch import plain_torch

    seen, barrier = [], threading.Barrier(2)

    def work(first):
        with plain_torch():
            barrier.wait()
            if not first:
                barrier.wait()
            seen.append(torch.get_default_dtype())
        if first:
            barrier.wait()

    torch.set_default_dtype(torch.float64)
    try:
        threads = [threading.Thread(target=work, args=(first,)) for first in (True, False)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        assert seen == [torch.float32] * 2
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


class TestDoubts:
    """What a model answers is told if it is probably not what it is taken for."""

    @pytest.mark.slow
    def test_a_softmax_left_in(self, zoo):
        target, data = zoo
        soft = nn.Sequential(target.module, nn.Softmax(1))
        with pytest.warns(AnswersWarning, match="pass outputs='posteriors'"):
            wrong = hub.audit(soft, transform=target.transform, attacks=["mlp_top3", "hinge"], data=data)
        names = ["mlp_top3", "entropy", "hinge", "logistic"]
        expected = hub.audit(target, attacks=names, data=data)
        right = hub.audit(soft, transform=target.transform, attacks=names, data=data, outputs="posteriors")
        for one, other in zip(expected, right, strict=True):
            assert abs(one.result["auc"] - other.result["auc"]) < 0.01
        assert abs(wrong[0].result["auc"] - expected[0].result["auc"]) > 0.05
        assert right[0].target["outputs"] == "posteriors"
        assert "outputs" not in expected[0].target

    def test_it_is_told_of_targets_made_in_any_way_and_once(self, zoo):
        target, _ = zoo
        soft = replace(target, module=nn.Sequential(target.module, nn.Softmax(1)))
        pixels = np.zeros((5, 28, 28, 1), np.uint8)
        with pytest.warns(AnswersWarning, match="probably posteriors"):
            predict(soft, pixels)
        predict(soft, pixels)

    def test_whoever_says_logits_hears_nothing(self, zoo):
        target, _ = zoo
        soft = nn.Sequential(target.module, nn.Softmax(1))
        predict(
            hub.load_target(soft, transform=target.transform, outputs="logits"),
            np.zeros((5, 28, 28, 1), np.uint8),
        )

    @pytest.mark.parametrize(
        ("then", "told"),
        [
            (lambda z: F.dropout(z, 0.5), "from one pass to the next"),
            (lambda z: F.dropout(z, 0.1), "from one pass to the next"),
            (lambda z: z + torch.randn_like(z), "from one pass to the next"),
            (lambda z: F.batch_norm(z, None, None, training=True), "normalises over the batch"),
            (lambda z: z - z.mean(0), "normalises over the batch"),
        ],
    )
    def test_answers_that_differ(self, then, told):
        target = hub.load_target(Net(then=then), transform=PLAIN)
        with pytest.warns(AnswersWarning, match=told):
            predict(target, np.tile(PIXELS, (4, 1, 1, 1)))

    @pytest.mark.parametrize("cast", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
    def test_precision_is_no_doubt(self, cast):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            predict(hub.load_target(Net().to(cast), transform=PLAIN), PIXELS)

    def test_two_heads(self):
        with pytest.warns(AnswersWarning, match="2 tensors that may be its logits; the first"):
            target = hub.load_target(Net(then=lambda z: (z, -z)), transform=PLAIN)
        first = predict(hub.load_target(Net(), transform=PLAIN), PIXELS)
        np.testing.assert_array_equal(predict(target, PIXELS), first)
        other = hub.load_target(Net(then=lambda z: (z, -z)), transform=PLAIN, reduce=lambda a: a[1])
        np.testing.assert_array_equal(predict(other, PIXELS), -first)


class TestRefusals:
    @pytest.mark.parametrize("transform", [lambda picture: picture, "resize", 3, nn.Identity()])
    def test_what_is_no_preprocessing(self, transform):
        with pytest.raises(ValueError, match=r"transform must be a Transform\(.*PerImage"):
            hub.load_target(Net(), transform=transform)

    def test_no_preprocessing(self):
        with pytest.raises(
            ValueError, match=r"preprocessing of Net is not known here: pass transform=.* resize="
        ):
            hub.load_target(Net())

    @pytest.mark.parametrize("model", [None, 3, len, {"weight": torch.zeros(1)}])
    def test_what_is_no_model(self, model):
        with pytest.raises(ValueError, match=r"hub.black_box\(function"):
            hub.load_target(model, transform=PLAIN)

    def test_weights_that_are_not_there(self):
        with torch.device("meta"):
            net = Net()
        with pytest.raises(ModelError, match=r"meta device, without values\. Load its weights"):
            hub.load_target(net, transform=PLAIN)

    def test_images_that_it_cannot_forward(self):
        wrong = Transform(height=5, width=5, channels=3)
        with pytest.raises(ModelError, match=r"black images of \(5, 5, 3\).*Check transform"):
            hub.load_target(Net(), transform=wrong)

    @pytest.mark.parametrize(
        ("transform", "advice"),
        [
            (Transform(height=28, width=28, channels=3), "takes images of height=32,width=32.$"),
            (
                Transform(height=32, width=32, mean=(0.45,), std=(0.25,)),
                "takes 3 channels, and the length of mean and std is their number: give 3 values of each",
            ),
        ],
    )
    def test_the_shape_that_it_can_forward_is_named(self, transform, advice):
        network = torch.nn.Sequential(
            torch.nn.Conv2d(3, 2, 1), torch.nn.Flatten(), torch.nn.Linear(2 * 32 * 32, 4)
        )
        with pytest.raises(ModelError, match=advice) as refused:
            hub.load_target(network, transform=transform)
        assert refused.value.__suppress_context__

    def test_unknown_options(self, zoo):
        with pytest.raises(ValueError, match="Options of this source: name, transform"):
            hub.load_target(Net(), transforms=PLAIN)
        with pytest.raises(ValueError, match=r"outputs belongs to a model in memory.* is loaded already"):
            hub.audit(zoo[0], data=zoo[1], outputs="posteriors")

    def test_options_of_a_named_model(self, tmp_path):
        path = tmp_path / "clean.pth"
        path.touch()
        told = r"belong to a model in memory.* load_target\('file:.*clean\.pth', module=\.{3}, name=\.{3}, tr"
        with pytest.raises(ValueError, match=told):
            hub.audit(str(path), transform=PLAIN, name="mine")
        with pytest.raises(ValueError, match=r"transform belongs .* leave it out"):
            hub.audit("zoo/fashion-mnist/cnn-clean/1", transform=PLAIN)


def test_a_network_whose_copy_is_refused_is_used_itself():
    class Locked(Net):
        def __deepcopy__(self, memo):
            raise TypeError("cannot pickle a lock")

    net = Locked().train()
    target = hub.load_target(net, transform=PLAIN)
    predict(target, PIXELS)
    assert net.training
    assert net.bn.training
    np.testing.assert_array_equal(
        predict(target, PIXELS), predict(hub.load_target(Net(), transform=PLAIN), PIXELS)
    )


def test_a_network_spread_over_devices(zoo):
    placed = hub.load_target(zoo[0].id)
    device_maps.place(placed, max_memory={"cpu": "20KB"})
    assert any(parameter.is_meta for parameter in placed.module.parameters())
    again = hub.load_target(placed.module, transform=placed.transform)
    pixels = zoo[1].images.pixels[:9]
    np.testing.assert_allclose(predict(again, pixels), predict(zoo[0], pixels), rtol=1e-5, atol=1e-5)
    whole = hub.load_target(zoo[0].module, transform=placed.transform)
    assert again.annotation.weights_hash == whole.annotation.weights_hash


class TestPerImage:
    def test_a_function_of_a_picture(self):
        def function(picture):
            assert (picture.mode, picture.size) == ("RGB", (4, 4))
            return torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255

        target = hub.load_target(Net(), transform=PerImage(function, "to [0, 1]", shape=(4, 4, 3)))
        expected = predict(hub.load_target(Net(), transform=PLAIN), PIXELS)
        np.testing.assert_allclose(predict(target, PIXELS), expected, rtol=1e-4, atol=1e-5)
        assert target.transform.as_dict() == {"function": "to [0, 1]"}

    def test_one_that_keeps_the_size_must_be_told(self):
        def keep(picture):
            return torch.from_numpy(np.array(picture)).permute(2, 0, 1)

        with pytest.raises(ValueError, match=r"at their own size; pass PerImage\(function, name, shape="):
            PerImage(keep, "keep")

    def test_a_grey_one_is_found(self):
        def grey(picture):
            assert picture.mode == "L" or np.array(picture).ndim == 3
            array = np.array(picture.resize((6, 6)))
            return torch.from_numpy(array).reshape(1, 6, 6)  # refuses three channels

        assert PerImage(grey, "grey").shape == (6, 6, 1)

    def test_other_results_are_refused(self):
        with pytest.raises(ValueError, match=r"must return a tensor \(channels, height, width\); got str"):
            PerImage(lambda picture: "word", "word")


@pytest.fixture(scope="module")
def vit():
    return small_vit()


@pytest.fixture(scope="module")
def processor():
    settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}}
    folder = Path("processor")
    folder.mkdir()
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return AutoImageProcessor.from_pretrained(folder, backend="pil")


class TestTransformers:
    @pytest.fixture
    def expected(self, vit, processor):
        with torch.no_grad():
            return vit(**processor(images=list(PICTURES), return_tensors="pt")).logits.numpy()

    def test_with_its_image_processor(self, vit, processor, expected):
        target = hub.load_target(vit, transform=processor)
        assert (target.num_classes, target.transform.shape) == (3, (16, 16, 3))
        np.testing.assert_allclose(predict(target, PICTURES), expected, rtol=1e-4, atol=1e-5)

    def test_a_pipeline(self, vit, processor, expected):
        pipe = transformers.pipeline("image-classification", model=vit, image_processor=processor)
        target = hub.load_target(pipe, name="pipe")
        np.testing.assert_allclose(predict(target, PICTURES), expected, rtol=1e-4, atol=1e-5)
        assert target.id.endswith("/pipe")

    def test_one_that_was_read_from_a_folder(self, vit, processor, expected, tmp_path):
        vit.save_pretrained(tmp_path)
        processor.save_pretrained(tmp_path)
        again = transformers.AutoModelForImageClassification.from_pretrained(tmp_path)
        target = hub.load_target(again)
        np.testing.assert_allclose(predict(target, PICTURES), expected, rtol=1e-4, atol=1e-5)
        assert (
            target.annotation.weights_hash
            == hub.load_target(vit, transform=processor).annotation.weights_hash
        )

    def test_one_without(self, vit):
        with pytest.raises(ValueError, match=r"pass transform=AutoImageProcessor.from_pretrained"):
            hub.load_target(vit)


def test_data_of_a_caller_s_own(zoo):
    """Images with another split; a model in memory needs them."""
    target, data = zoo
    with pytest.raises(ValueError, match=r"was trained on is not known here: name them with data="):
        hub.audit(target.module, transform=target.transform)
    few = AuditData(images=data.images, split=replace(data.split, nonmembers=data.split.nonmembers[:50]))
    (record,) = hub.audit(target.module, transform=target.transform, data=few, attacks="loss")
    assert record.result["n_nonmembers"] == 50


def test_lazy_layers_without_weights_are_refused():
    net = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    with pytest.raises(ModelError, match="lazy layers"):
        hub.load_target(net, transform=Transform(height=2, width=2, channels=1))
