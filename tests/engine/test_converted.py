"""Another engine answers only where it was seen to answer like torch; a warning says where it does not."""

import copy
import re
import warnings

import numpy as np
import pytest
import torch

from securitynet_hub.attacks.audit import audit
from securitynet_hub.core.errors import EngineWarning, MissingPackageError, UnknownNameError
from securitynet_hub.data.images import load_images
from securitynet_hub.engine import converted, engine_choice
from securitynet_hub.engine.converted import Runtime, engine_of
from securitynet_hub.engine.engine_choice import choose_engine, describe_engine, find_engine
from securitynet_hub.engine.inference import predict
from securitynet_hub.engine.network_digest import network_digest
from securitynet_hub.models.loading import load_target
from securitynet_hub.sweeps.plan import find_models, plan_jobs

ID = "zoo/fashion-mnist/bn-cnn-clean/1"
PIXELS = load_images().pixels[:40]


class Engine:
    """An engine that keeps networks in memory, and adds an error to what they answer."""

    def __init__(self):
        self.error, self.kept, self.asked, self.narrow = 0.0, {}, [], []

    def convert(self, module, example, place):
        assert not torch.is_inference_mode_enabled()
        (place / "name").write_text(str(len(self.kept)))
        self.kept[str(len(self.kept))] = copy.deepcopy(module)

    def load(self, place, narrow, threads):
        module = self.kept[(place / "name").read_text()]
        self.narrow.append(narrow)

        def ask(values):
            self.asked.append(len(values))
            with torch.inference_mode(), torch.autocast("cpu", enabled=False):
                return module(torch.from_numpy(values)).numpy() + np.float32(self.error)

        return ask


@pytest.fixture
def engine(monkeypatch, tmp_path):
    made = Engine()
    monkeypatch.setitem(converted.RUNTIMES, "openvino", Runtime(made.convert, made.load, narrow=True))
    monkeypatch.setitem(engine_choice.NEEDS, "openvino", ("numpy",))
    monkeypatch.setenv("SECURITYNET_ENGINE", "openvino")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    return made


def by_torch(pixels):
    with torch.inference_mode():
        target = load_target(ID)
        return target.module(target.transform(pixels)).float().numpy()


def test_it_answers_in_torchs_place_and_converts_once(engine):
    target = load_target(ID)
    for _ in range(2):
        np.testing.assert_allclose(predict(target, PIXELS, batch_size=16), by_torch(PIXELS), atol=1e-5)
    assert engine.asked == [16, 16, 8, 16, 16, 8]
    assert engine_of(target) == f"openvino {np.__version__}"
    again = load_target(ID)
    predict(again, PIXELS[:3])
    assert len(engine.kept) == 1
    predict(load_target("zoo/fashion-mnist/bn-cnn-clean/2"), PIXELS[:3])
    assert len(engine.kept) == 2


@pytest.mark.parametrize("error", [0.1, np.nan])
def test_one_that_answers_otherwise_is_not_used(engine, error):
    engine.error = error
    target = load_target(ID)
    with pytest.warns(EngineWarning, match=rf"torch answers for {ID}, not openvino, .* from"):
        logits = predict(target, PIXELS, batch_size=16)
    np.testing.assert_allclose(logits, by_torch(PIXELS), atol=1e-5)
    predict(target, PIXELS)  # told once
    assert engine_of(target) is None
    assert engine.asked == [16]


def test_one_that_fails_is_not_used(engine, monkeypatch):
    def fail(module, example, place):
        raise RuntimeError("no such\noperator")

    runtime = converted.RUNTIMES["openvino"]._replace(convert=fail)
    monkeypatch.setitem(converted.RUNTIMES, "openvino", runtime)
    with pytest.warns(EngineWarning, match=r"cannot take the network \(RuntimeError: no such operator\)"):
        logits = predict(load_target(ID), PIXELS)
    np.testing.assert_allclose(logits, by_torch(PIXELS), atol=1e-5)


def test_half_precision_only_where_it_was_asked_for(engine, monkeypatch):
    predict(load_target(ID), PIXELS[:2])
    monkeypatch.setattr(converted, "find_precision", lambda: "bf16")
    predict(load_target(ID), PIXELS[:2])
    assert engine.narrow == [False, True]
    runtime = converted.RUNTIMES["openvino"]._replace(narrow=False)
    monkeypatch.setitem(converted.RUNTIMES, "openvino", runtime)
    with pytest.warns(EngineWarning, match="does not compute in bfloat16"):
        predict(load_target(ID), PIXELS[:2])


@pytest.mark.parametrize(("times", "answers"), [(1.5, True), (3.5, False)])
def test_in_half_precision_it_may_err_about_as_torch_does(engine, monkeypatch, times, answers):
    """What counts is the distance from float32, beside that of torch's own bfloat16; here of 40 images."""
    monkeypatch.setattr(converted, "find_precision", lambda: "bf16")
    monkeypatch.setattr(converted, "ROUNDED", 0.0)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = by_torch(PIXELS)
    engine.error = times * np.sqrt(np.mean((rounded - by_torch(PIXELS)) ** 2))
    target = load_target(ID)
    with torch.autocast("cpu", torch.bfloat16), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", EngineWarning)
        found = predict(target, PIXELS)
    assert (engine_of(target) is not None) == answers
    assert any("times as far from float32" in str(each.message) for each in told) != answers
    expected = by_torch(PIXELS) + engine.error if answers else rounded
    np.testing.assert_allclose(found, expected, atol=1e-5)


def in_bfloat16(monkeypatch, engine, wrong):
    """Let the engine compute in bfloat16 with a network that `wrong` changed; return its target."""

    def convert(module, example, place):
        engine.convert(module, example, place)
        with torch.no_grad():
            wrong(list(engine.kept.values())[-1])

    def load(place, narrow, threads):
        module = engine.kept[(place / "name").read_text()]

        def ask(values):
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                return module(torch.from_numpy(values) * 1.0003).float().numpy()  # rounded otherwise

        return ask

    monkeypatch.setattr(converted, "find_precision", lambda: "bf16")
    monkeypatch.setitem(converted.RUNTIMES, "openvino", Runtime(convert, load, narrow=True))
    target = load_target(ID)
    with torch.autocast("cpu", torch.bfloat16):
        predict(target, load_images().pixels[:200], batch_size=100)
    return target


def changed_bias(module):
    bias = list(module.parameters())[-1]
    bias.add_(torch.linspace(-0.3, 0.3, len(bias)))


def weights_of_eight_bits(module):
    for parameter in module.parameters():
        step = parameter.abs().max() / 127
        parameter.copy_((parameter / step).round() * step)


@pytest.mark.parametrize("wrong", [changed_bias, weights_of_eight_bits])
def test_a_wrong_conversion_is_found_in_half_precision(engine, monkeypatch, wrong):
    with pytest.warns(EngineWarning, match="times as far from float32"):
        target = in_bfloat16(monkeypatch, engine, wrong)
    assert engine_of(target) is None


@pytest.mark.filterwarnings("ignore:in bfloat16")
def test_a_right_conversion_answers_in_half_precision(engine, monkeypatch):
    assert engine_of(in_bfloat16(monkeypatch, engine, lambda module: None)) is not None


def test_top_classes_that_half_precision_changes_are_told_once(engine, monkeypatch):
    monkeypatch.setattr(converted, "find_precision", lambda: "bf16")
    monkeypatch.setattr(converted, "ROUNDED", 1.0)
    target = load_target(ID)
    top = np.sort(by_torch(PIXELS), 1)
    place = int(np.argmin(top[:, -1] - top[:, -2]))
    second = int(np.argsort(by_torch(PIXELS)[place])[-2])
    engine.error = (1.01 * (top[place, -1] - top[place, -2])) * np.eye(10, dtype=np.float32)[second]
    with torch.autocast("cpu", torch.bfloat16), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", EngineWarning)
        for _ in range(2):
            predict(target, PIXELS)
    (only,) = told
    assert re.search(
        r"another top class than torch in float32 for \d+ of the first 40 images", str(only.message)
    )
    assert engine_of(target) is not None


def test_records_units_and_kept_answers_name_it(engine, monkeypatch):
    def units():
        return {unit.id for job in plan_jobs(find_models([ID]), ["loss"], {}) for unit in job.units}

    (record,) = audit(ID, attacks="correctness")
    assert record.target["engine"] == describe_engine() == f"openvino {np.__version__}"
    named, digest = units(), network_digest(load_target(ID))
    monkeypatch.delenv("SECURITYNET_ENGINE")
    assert units().isdisjoint(named)
    assert network_digest(load_target(ID)) != digest


def test_what_is_not_there_is_refused(monkeypatch):
    with pytest.raises(UnknownNameError, match="openvino"):
        choose_engine("openvno")
    monkeypatch.setitem(engine_choice.NEEDS, "openvino", ("no_such_package",))
    with pytest.raises(MissingPackageError, match=r"pip install 'securitynet-hub\[openvino\]'"):
        choose_engine("openvino")
    assert find_engine() == "torch"
    monkeypatch.setenv("SECURITYNET_ENGINE", "tensorrt")
    with pytest.raises(UnknownNameError, match="tensorrt"):
        find_engine()


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_the_engines_themselves(name, monkeypatch, tmp_path):
    for package in engine_choice.NEEDS[name]:
        pytest.importorskip(package)
    monkeypatch.setenv("SECURITYNET_ENGINE", name)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    target = load_target(ID)
    logits = predict(target, PIXELS, batch_size=16)
    assert engine_of(target) == describe_engine()
    np.testing.assert_allclose(logits, by_torch(PIXELS), atol=1e-4)


def test_a_network_that_was_changed_is_converted_again(engine):
    target = load_target(ID)
    predict(target, PIXELS)
    with torch.no_grad():
        for parameter in target.module.parameters():
            parameter.data.mul_(0.5)
        expected = target.module(target.transform(PIXELS)).numpy()
    np.testing.assert_allclose(predict(target, PIXELS), expected, atol=1e-5)
    assert len(engine.kept) == 2


def test_later_batches_are_compared_as_well(engine):
    target = load_target(ID)
    for _ in range(2):
        predict(target, PIXELS[:16])
    engine.error = 0.1
    predict(target, PIXELS[:16])  # the third is not
    with pytest.warns(EngineWarning, match=rf"torch answers for {ID}, .* batch 4 of this process"):
        logits = predict(target, PIXELS[:16])
    np.testing.assert_allclose(logits, by_torch(PIXELS[:16]), atol=1e-5)


def test_inputs_of_another_range_are_compared(engine):
    target = load_target(ID)
    for _ in range(2):
        predict(target, PIXELS[:16] // 3)
    engine.error = 0.1
    with pytest.warns(EngineWarning, match="batch 3 of this process"):
        predict(target, PIXELS[:16])


def test_an_emptied_folder_is_made_again(engine, tmp_path):
    predict(load_target(ID), PIXELS)
    (kept,) = (tmp_path / "securitynet" / "engines").iterdir()
    (kept / "name").unlink()
    target = load_target(ID)
    predict(target, PIXELS)
    assert engine_of(target) is not None
    assert len(engine.kept) == 2
    assert (kept / "name").exists()
