"""The seven lines of docs/models.md on models of one's own, each on something real of a small size."""

import io
import json
import re
import shlex
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from support import onnx_files

import securitynet_hub as hub
from securitynet_hub.data.transforms import Transform

PAGE = (Path(__file__).parents[2] / "docs/models.md").read_text(encoding="utf-8")
SECTION = PAGE.partition("## Every way, in seven lines\n")[2].partition("\n## ")[0]
PYTHON = re.search(r"```py\n(.*?)```", SECTION, re.DOTALL)[1].splitlines()
COMMANDS = [line[2:] for line in SECTION.splitlines() if line.startswith("$ ")]
SIDE = 32
NETS = """
from torch import nn
from securitynet_hub.data.transforms import Transform

def build():
    net = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 10))
    return net, Transform(height=32, width=32, channels=3)
"""
pytestmark = pytest.mark.filterwarnings("ignore::securitynet_hub.core.errors.AccuracyWarning")


def brightness(images):
    """Posteriors of ten classes by mean brightness."""
    means = images.reshape(len(images), -1).mean(1) / 25.6
    logits = -((means[:, None] - np.arange(10) - 0.5) ** 2)
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Everything that the lines name."""
    folder = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for c in range(10):
            place = folder / "pictures" / split / f"{c}"
            place.mkdir(parents=True)
            for i in range(3):
                level = np.clip(25.6 * c + 12 + rng.normal(0, 9, (SIDE, SIDE, 3)), 0, 255)
                Image.fromarray(level.astype(np.uint8)).save(place / f"{i}.png")
    (folder / "my_lab").mkdir()
    (folder / "my_lab/nets.py").write_text(NETS)
    weights = {"2.weight": torch.linspace(-1, 1, 10)[:, None].repeat(1, 48), "2.bias": torch.zeros(10)}
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in weights.items()}}, folder / "weights.pth"
    )
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, patch_size=16,
        image_size=SIDE, num_labels=10,
    )  # fmt: skip
    transformers.ViTForImageClassification(config).save_pretrained(folder / "my-finetuned-vit")
    settings = {"image_processor_type": "ViTImageProcessor", "size": {"height": SIDE, "width": SIDE}}
    (folder / "my-finetuned-vit/preprocessor_config.json").write_text(json.dumps(settings))
    linear = onnx_files.linear(rng.normal(size=(3 * SIDE * SIDE, 10)), np.zeros(10), shape=(3, SIDE, SIDE))
    (folder / "model.onnx").write_bytes(linear)
    return folder


@pytest.mark.parametrize("command", [line for line in COMMANDS if " timm:" not in line])
def test_a_command(command, folder, run, monkeypatch):
    if " onnx:" in command:
        pytest.importorskip("onnxruntime")
    monkeypatch.chdir(folder)
    code, shown, told = run(*shlex.split(command)[1:])
    assert code == 0, told
    assert "AUC" in shown


class Service(BaseHTTPRequestHandler):
    def do_POST(self):
        picture = Image.open(io.BytesIO(self.rfile.read(int(self.headers["Content-Length"]))))
        answer = json.dumps(brightness(np.array(picture)[None])[0].tolist()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def url():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("line", PYTHON)
def test_a_line_of_python(line, folder, url, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def ask(files):
        with urllib.request.urlopen(urllib.request.Request(url, data=files[0])) as reply:
            return [json.loads(reply.read())]

    names = {
        "hub": hub,
        "net": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * SIDE * SIDE, 10)),
        "transform": Transform(height=SIDE, width=SIDE, channels=3),
        "data": str(folder / "pictures"),
        "classify": brightness,
        "ask": ask,
    }
    records = eval(line.partition("  #")[0], names)
    assert records
    assert all(0 <= record.result["auc"] <= 1 for record in records)


def test_there_are_seven_lines():
    assert len(PYTHON) + len(COMMANDS) == 7
