"""Audit what only answers: an estimator of scikit-learn, and the same behind an HTTP service.

The estimator learns 400 of scikit-learn's handwritten digits. The service answers a PNG file with posteriors
as JSON; it runs in a thread here, and could be anybody's.
"""

import io
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.request import Request, urlopen

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier

import securitynet_hub as hub

digits = load_digits()
pixels = np.rint(digits.images * 255 / 16).astype(np.uint8)[..., None]
images = hub.LabelledImages(
    name="digits", pixels=pixels, labels=digits.target, class_names=tuple("0123456789")
)
data = hub.AuditData(images=images, split=hub.Split(members=np.arange(400), nonmembers=np.arange(400, 800)))
forest = RandomForestClassifier(30, random_state=0).fit(pixels[:400].reshape(400, -1), digits.target[:400])


def classify(asked: np.ndarray) -> np.ndarray:
    """Return posteriors (n, 10) for images (n, 8, 8, 1)."""
    return forest.predict_proba(asked.reshape(len(asked), -1))


class Service(BaseHTTPRequestHandler):
    """Answers a picture with its posteriors."""

    def do_POST(self) -> None:
        """Answer one picture."""
        picture = Image.open(io.BytesIO(self.rfile.read(int(self.headers["Content-Length"]))))
        answer = json.dumps(classify(np.array(picture)[None])[0].tolist()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def ask(files: list[bytes]) -> list[list[float]]:
    """Return the service's posteriors for pictures."""
    answers = []
    for file in files:
        with urlopen(Request(url, data=file)) as reply:
            answers.append(json.loads(reply.read()))
    return answers


attacks = ["correctness", "modified_entropy", "translation"]
for record in hub.audit(hub.black_box(classify, num_classes=10, name="forest"), attacks=attacks, data=data):
    print(f"{record.target['id']}: {record.attack['name']} AUC {record.result['auc']:.3f}")

server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
url = f"http://127.0.0.1:{server.server_port}/"
threading.Thread(target=server.serve_forever, daemon=True).start()
service = hub.black_box(ask, num_classes=10, name="service", images="png", keep="answers", budget=800)
for record in hub.audit(service, attacks=["modified_entropy"], data=data):
    print(f"{record.target['id']}: {record.attack['name']} AUC {record.result['auc']:.3f}")
print(f"{service.module.asked} images asked about, all answers kept")
server.shutdown()
