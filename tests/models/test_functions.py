"""A function, an estimator or a service as a target: asked once about each image, within rate and budget."""

import io
import json
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from PIL import Image

import securitynet_hub as hub
from securitynet_hub.attacks.kind import Context, kinds
from securitynet_hub.attacks.subject import known_data
from securitynet_hub.core import retry
from securitynet_hub.core.errors import (
    AnswersWarning,
    BudgetError,
    ModelError,
    SecurityNetError,
    SkippedWarning,
)
from securitynet_hub.core.retry import TransientError
from securitynet_hub.engine.inference import predict

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 4, 6, 3), np.uint8)


def brightness(images):
    """Answer by mean red, green and blue."""
    means = images.reshape(len(images), -1, 3).mean(1) / 32
    exp = np.exp(means - means.max(1, keepdims=True))
    return exp / exp.sum(1, keepdims=True)


class Counting:
    def __init__(self, function=brightness):
        self.function, self.seen = function, []

    def __call__(self, images):
        self.seen.append(len(images))
        return self.function(images)


@pytest.fixture
def naps(monkeypatch):
    """Record pauses instead of waiting."""
    found = []
    monkeypatch.setattr(retry.time, "sleep", found.append)
    return found


def softmax(logits):
    exp = np.exp(logits - logits.max(1, keepdims=True))
    return exp / exp.sum(1, keepdims=True)


def test_each_image_is_asked_about_once(tmp_path):
    ask = Counting()
    target = hub.black_box(ask, num_classes=3, batch_size=4, keep=tmp_path, name="mine")
    twice = np.concatenate([PIXELS, PIXELS[:5]])
    found = predict(target, twice, batch_size=14)
    np.testing.assert_allclose(softmax(found), brightness(twice), rtol=1e-5)
    assert ask.seen == [4, 4, 1]
    assert (target.module.asked, target.module.calls) == (9, 3)
    again = hub.black_box(ask, num_classes=3, keep=tmp_path, name="mine")
    assert np.array_equal(predict(again, PIXELS), found[:9])
    assert ask.seen == [4, 4, 1]


@pytest.mark.filterwarnings("ignore:the answers of one are not negative")
def test_another_function_shares_no_answers(tmp_path):
    predict(hub.black_box(Counting(), num_classes=3, keep=tmp_path, name="one"), PIXELS)
    for changed in ({"name": "other"}, {"name": "one", "outputs": "logits"}):
        ask = Counting()
        predict(hub.black_box(ask, num_classes=3, keep=tmp_path, **changed), PIXELS)
        assert ask.seen == [9]


@pytest.mark.parametrize(
    ("outputs", "of"),
    [
        ("posteriors", lambda p: p),
        ("posteriors", lambda p: p.round(2)),
        ("posteriors", lambda p: p.tolist()),
        ("posteriors", torch.from_numpy),
        ("logits", lambda p: np.log(p) + 3),
        ("log-posteriors", np.log),
        ("labels", lambda p: p.argmax(1)),
        ("labels", lambda p: p.argmax(1)[:, None].tolist()),
    ],
)
def test_forms_of_answers(outputs, of):
    target = hub.black_box(lambda images: of(brightness(images)), num_classes=3, outputs=outputs)
    found = softmax(predict(target, PIXELS))
    assert np.array_equal(found.argmax(1), brightness(PIXELS).argmax(1))
    if outputs != "labels":
        np.testing.assert_allclose(found, brightness(PIXELS), atol=0.02)


@pytest.mark.parametrize("answer", [lambda n: np.ones(n) / 4, lambda n: np.ones((n, 1, 1)) / 4])
def test_one_posterior_of_two_classes(answer):
    target = hub.black_box(lambda images: answer(len(images)), num_classes=2)
    np.testing.assert_allclose(softmax(predict(target, PIXELS)), [[0.75, 0.25]] * 9, rtol=1e-6)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda images: brightness(images)[:-1], r"9 image\(s\) with numbers of shape \(8, 3\); \(9, 3\)"),
        (lambda images: brightness(images).T, r"shape \(3, 9\); \(9, 3\)"),
        (lambda images: 10 * brightness(images), r"sum to 10\. Pass outputs='logits'"),
        (lambda images: np.full((9, 3), np.nan), "sum to nan|NaN"),
        (lambda images: ["cat"] * 9, "must return numbers; got list"),
        (lambda images: None, "must return numbers; got NoneType"),
        (lambda images: [[1, 0, 0], [1, 0]], "must return numbers; got list"),
    ],
)
def test_answers_that_are_none(answer, told):
    with pytest.raises(ModelError, match=told):
        predict(hub.black_box(answer, num_classes=3, name="it"), PIXELS)


def test_images_of_several_sizes_come_one_size_a_call():
    shapes = []

    def ask(images):
        shapes.append(images.shape)
        return brightness(images)

    images = [PIXELS[0], PIXELS[1][:2], PIXELS[2]]
    found = hub.black_box(ask, num_classes=3).module.ask(images)
    np.testing.assert_allclose(softmax(found)[1], brightness(PIXELS[1:2, :2])[0], rtol=1e-5)
    assert shapes == [(2, 4, 6, 3), (1, 2, 6, 3)]


def test_images_are_resized_where_the_function_takes_one_size():
    def ask(images):
        assert images.shape[1:] == (8, 8, 1)
        return np.ones((len(images), 2)) / 2

    target = hub.black_box(ask, num_classes=2, shape=(8, 8, 1))
    predict(target, PIXELS)
    assert target.transform.shape == (8, 8, 1)


def test_png_files_hold_the_pixels():
    def ask(files):
        assert all(isinstance(file, bytes) for file in files)
        return brightness(np.stack([np.array(Image.open(io.BytesIO(file))) for file in files]))

    found = predict(hub.black_box(ask, num_classes=3, images="png"), PIXELS)
    np.testing.assert_allclose(softmax(found), brightness(PIXELS), rtol=1e-5)


class TestFailures:
    def failing(self, *errors):
        left = list(errors)

        def ask(images):
            if left:
                raise left.pop(0)
            return brightness(images)

        return Counting(ask)

    @pytest.mark.parametrize(
        "error",
        [
            ConnectionResetError("dropped"),
            TimeoutError(),
            TransientError("busy", 7.0),
            urllib.error.HTTPError("http://x", 503, "busy", {"Retry-After": "7"}, None),
            urllib.error.HTTPError("http://x", 429, "too many", {}, None),
            urllib.error.URLError("no route"),
        ],
    )
    def test_what_may_pass_is_tried_again(self, error, naps):
        ask = self.failing(error, error)
        target = hub.black_box(ask, num_classes=3)
        np.testing.assert_allclose(softmax(predict(target, PIXELS)), brightness(PIXELS), rtol=1e-5)
        assert ask.seen == [9] * 3
        assert target.module.asked == 9
        assert len(naps) == 2
        assert naps[1] >= 1 - 1e-9
        if getattr(error, "retry_after", None) or getattr(error, "code", None) == 503:
            assert naps == [7.0, 7.0]

    @pytest.mark.parametrize(
        "error",
        [
            ValueError("a bug"),
            FileNotFoundError("key.txt"),
            urllib.error.HTTPError("http://x", 401, "no key", {}, None),
        ],
    )
    def test_what_will_not_pass_is_not(self, error, naps):
        ask = self.failing(error)
        with pytest.raises(type(error)):
            predict(hub.black_box(ask, num_classes=3), PIXELS)
        assert (ask.seen, naps) == ([9], [])

    def test_an_end_keeps_what_was_answered(self, naps, tmp_path):
        calls = []

        def ask(images):
            calls.append(len(images))
            if len(calls) > 1:
                raise ConnectionError("down")
            return brightness(images)

        target = hub.black_box(ask, num_classes=3, batch_size=4, tries=3, keep=tmp_path, name="it")
        with pytest.raises(ModelError, match="could not be asked after 3 tries: ConnectionError: down"):
            predict(target, PIXELS)
        assert calls == [4, 4, 4, 4]
        rest = Counting()
        predict(hub.black_box(rest, num_classes=3, keep=tmp_path, name="it"), PIXELS)
        assert rest.seen == [5]


def test_the_rate_holds(naps, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    target = hub.black_box(brightness, num_classes=3, batch_size=2, rate=4)
    predict(target, PIXELS)
    assert naps == [0.25, 0.5, 0.75, 1.0]  # the clock stands still


def test_the_budget_holds(tmp_path):
    ask = Counting()
    with pytest.raises(BudgetError, match="asked about 0 of a budget of 8 images; 9 more"):
        predict(hub.black_box(ask, num_classes=3, budget=8), PIXELS)
    assert ask.seen == []
    target = hub.black_box(ask, num_classes=3, budget=9, keep=tmp_path, name="it")
    predict(target, PIXELS)
    predict(target, PIXELS)
    again = hub.black_box(ask, num_classes=3, budget=9, keep=tmp_path, name="it")
    with pytest.raises(BudgetError, match="9 of a budget of 9"):
        predict(again, 255 - PIXELS)


@pytest.mark.parametrize(
    "wrong",
    [{"num_classes": 1}, {"rate": 0}, {"budget": -1}, {"tries": 0}, {"batch_size": 0}, {"images": "jpeg"},
     {"outputs": "probabilities"}],
)  # fmt: skip
def test_settings_out_of_range(wrong):
    with pytest.raises(ValueError, match=r"must be|There is no"):
        hub.black_box(brightness, **{"num_classes": 3, **wrong})


def test_a_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SecurityNetError, match="cannot be used"):
        hub.black_box(brightness, num_classes=3, keep=tmp_path / "file")


@pytest.fixture(scope="module")
def zoo():
    target = hub.load_target("zoo/fashion-mnist/cnn-corner-patch/7")
    return target, known_data(target.annotation)


@pytest.fixture(scope="module")
def posteriors(zoo):
    return hub.black_box(lambda images: softmax(predict(zoo[0], images)), num_classes=10, name="api")


@pytest.fixture(scope="module")
def labels(zoo):
    def ask(images):
        return predict(zoo[0], images).argmax(1)

    return hub.black_box(ask, num_classes=10, outputs="labels", name="labels")


def few(data, n=40):
    from dataclasses import replace

    split = replace(data.split, members=data.split.members[:n], nonmembers=data.split.nonmembers[:n])
    return replace(data, split=split)


QUICK = {
    "boundary": {"budget": 3},
    "model_stealing": {"recipe": {"epochs": 1}, "transfer": 0, "surrogate": "zoo/fashion-mnist/cnn-clean/1"},
}


class TestAttacks:
    def test_attacks_on_answers_see_what_they_see_of_the_network(self, zoo, posteriors):
        target, data = zoo[0], few(zoo[1], 100)
        names = ["correctness", "modified_entropy", "logistic"]
        pairs = zip(
            hub.audit(target, attacks=names, data=data),
            hub.audit(posteriors, attacks=names, data=data),
            strict=True,
        )
        for own, asked in pairs:
            assert asked.result["auc"] == pytest.approx(own.result["auc"], abs=2e-3)
        assert asked.target["outputs"] == "posteriors"
        assert asked.target["weights_hash"] is None

    @pytest.mark.parametrize("name", ["translation", "boundary", "model_stealing"])
    def test_attacks_that_ask(self, zoo, posteriors, labels, name):
        settings = {name: QUICK[name]} if name in QUICK else {}
        more = {"budgets": [20]} if name == "model_stealing" else {}
        for target in (posteriors, labels):
            (record,) = hub.audit(target, attacks=name, data=few(zoo[1], 20), settings=settings, **more)
            assert record.result
        if name == "model_stealing":
            assert record.attack["view"]["kind"] == "label"
            assert record.result["kl"] is None
            assert set(record.result["calibration"]) == {"surrogate"}

    @pytest.mark.slow
    def test_detectors_that_ask(self, zoo, posteriors, labels):
        from dataclasses import replace

        data, annotation = few(zoo[1], 200), zoo[0].annotation
        quick = {"neo": {"sides": (4,), "stride": 8}, "strip": {"num_overlays": 20}}
        known = replace(posteriors, annotation=annotation)  # whose trigger is known
        found = hub.audit(known, attacks="backdoor-detection", data=data, settings=quick)
        assert {record.attack["name"] for record in found} == {"strip", "neo", "scale_up"}
        assert next(r for r in found if r.attack["name"] == "strip").result["auc"] > 0.8
        only_labels = replace(labels, annotation=annotation)
        found = hub.audit(
            only_labels, attacks="backdoor-detection", data=data, settings={"neo": quick["neo"]}
        )
        assert {record.attack["name"] for record in found} == {"neo", "scale_up"}

    def test_the_others_say_what_they_need(self, zoo, posteriors, labels):
        data = few(zoo[1])
        with pytest.raises(ValueError, match=r"mm_bd cannot judge .*needs the model's weights.*only answers"):
            hub.audit(posteriors, attacks="mm_bd", data=data)
        with pytest.raises(ValueError, match=r"loss cannot attack .*labels alone\. These can: correctness"):
            hub.audit(labels, attacks="loss", data=data)
        assert [record.attack["name"] for record in hub.audit(labels, data=data)] == ["correctness"]
        kind = kinds()["membership-inference"]
        left = kind.audits.left_out(labels, data, kind.options())
        assert "labels alone" in left["loss"]
        assert "queries of its own" in left["boundary"]
        left = kind.audits.left_out(
            posteriors, data, kind.options(shadows=2, base="zoo/fashion-mnist/cnn-clean/1")
        )
        assert "base_calibration" not in left
        assert "2 or more reference models trained on it and 2 or more that were not" in left["lira"]

    @pytest.mark.parametrize("kind", kinds().values(), ids=lambda kind: kind.name)
    def test_only_attacks_that_labels_suffice_for_apply_to_labels(self, zoo, labels, kind):
        applicable = set(kind.audits.applicable(labels, few(zoo[1]), kind.options(), Context()))
        for name, attack in kind.attacks.items():
            assert attack.unanswerable(labels) is None or not attack.labels_suffice
            assert attack.labels_suffice or name not in applicable
            assert not (attack.labels_suffice and attack.weights)


class TestSkipping:
    """An attack that fails does not take the others' results with it."""

    def test_too_few_non_members_for_one(self, zoo):
        from dataclasses import replace

        target, data = zoo
        split = replace(data.split, members=data.split.members[:100], nonmembers=data.split.nonmembers[:8])
        uneven = replace(data, split=split)
        with pytest.warns(SkippedWarning, match="pinball was not run"):
            records = hub.audit(target, attacks=["loss", "pinball", "entropy"], data=uneven)
        assert [record.attack["name"] for record in records] == ["loss", "entropy"]
        with pytest.raises(ValueError, match=r"pinball|non-members"):
            hub.audit(target, attacks="pinball", data=uneven)
        told = {}
        hub.audit(target, attacks=["loss", "pinball"], data=uneven, on_skipped=told.__setitem__)
        assert set(told) == {"pinball"}

    def test_a_kind_that_refuses_leaves_the_others_results(self, zoo, posteriors):
        told = {}
        records = hub.audit(
            posteriors, attacks=["loss", "mm_bd"], data=few(zoo[1]), on_skipped=told.__setitem__
        )
        assert [record.attack["name"] for record in records] == ["loss"]
        assert "weights" in str(told["mm_bd"])

    def test_a_model_without_gradients(self, zoo):
        class Rounding(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = zoo[0].module

            def forward(self, x):
                return self.inner(x).detach()

        target = hub.load_target(Rounding(), transform=zoo[0].transform)
        left = kinds()["backdoor-detection"].audits.left_out(
            target, few(zoo[1]), kinds()["backdoor-detection"].options()
        )
        assert all("gradient" in left[name] for name in ("mm_bd", "neural_cleanse"))
        assert "neuron_noise" not in left


class _Service(BaseHTTPRequestHandler):
    """Answers a PNG file with posteriors as JSON; every third request with 503."""

    def do_POST(self):
        type(self).requests += 1
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.requests % 3 == 0:
            self.send_response(503)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        answer = json.dumps(brightness(np.array(Image.open(io.BytesIO(body)))[None])[0].tolist()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def test_a_service(naps):
    _Service.requests = 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Service)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/"

        def ask(files):
            with urllib.request.urlopen(urllib.request.Request(url, data=files[0])) as reply:
                return [json.loads(reply.read())]

        target = hub.black_box(ask, num_classes=3, images="png", batch_size=1)
        np.testing.assert_allclose(softmax(predict(target, PIXELS)), brightness(PIXELS), rtol=1e-5)
        assert _Service.requests == target.module.calls == 13
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_posteriors_that_are_said_to_be_logits_are_told_once():
    images = np.random.default_rng(0).integers(0, 256, (6, 2, 2, 3), np.uint8)
    target = hub.black_box(
        lambda batch: np.full((len(batch), 2), 0.5), num_classes=2, outputs="logits", batch_size=2
    )
    with pytest.warns(AnswersWarning, match="probably posteriors") as told:
        predict(target, images)
    assert len(told) == 1


def test_a_last_batch_of_one_may_come_squeezed_and_what_is_no_answer_is_said():
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 2, 3), np.uint8)
    rows = np.array([0.2, 0.3, 0.5])
    target = hub.black_box(lambda batch: np.stack([rows] * len(batch)).squeeze(), num_classes=3, batch_size=2)
    assert np.allclose(np.exp(predict(target, images)), rows)
    target = hub.black_box(
        lambda batch: np.ones(len(batch)).squeeze(), num_classes=3, outputs="labels", batch_size=2
    )
    assert predict(target, images).argmax(1).tolist() == [1, 1, 1]
    graded = [torch.ones(3, requires_grad=True)]
    with pytest.raises(ModelError, match="must return numbers; got list"):
        predict(hub.black_box(lambda batch: graded * len(batch), num_classes=3), images)
    for wrong in ({"batch_size": 1.5}, {"num_classes": 2.0}):
        with pytest.raises(ValueError, match="whole number"):
            hub.black_box(len, **{"num_classes": 2, **wrong})
    with pytest.raises(ValueError, match="a black box is a function"):
        hub.black_box(3, num_classes=2)
