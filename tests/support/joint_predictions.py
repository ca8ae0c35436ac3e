"""Two processes predict, and audit, the same images together, forked rather than launched.

``python joint_predictions.py FOLDER``, run by test_processes, writes each process's logits for each size of
batches and what it finds in an audit.
"""

import functools
import json
import os
import socket
import sys
from pathlib import Path

import numpy as np

from securitynet_hub import audit, load_images, load_target
from securitynet_hub.attacks.membership import leverage, reference_models
from securitynet_hub.attacks.membership.shadows import Shadows
from securitynet_hub.attacks.subject import AuditData
from securitynet_hub.data.splits import Split
from securitynet_hub.engine import inference
from securitynet_hub.engine.inference import predict

ID = "zoo/fashion-mnist/bn-cnn-overfitted-500/1"
IMAGES = 23
SIZES = (4, 23)
"""Of batches: an uneven last one, and nothing to do for the second process."""

SHARED = ["attack_r", "difficulty_calibration", "lira_offline", "lira", "base_online", "rmia_ratio", "rmia",
          "leverage", "inverse_hessian"]  # fmt: skip
"""Attacks whose samples are scored in shares."""

SETTINGS = {
    "rmia": {"a": "tuned"}, "lira": {"variance": "bayesian"}, "inverse_hessian": {"probes": 5},
}  # fmt: skip


def audited(out=None):
    """Return the results of an audit of sixty samples, in shares of a few, as text."""
    images, rng = load_images(), np.random.default_rng(4)
    pool, masks = np.arange(100), rng.random((6, 100)).argsort(0) < 3
    masks[:, 60:] = False
    shadows = Shadows(
        images_sha256=images.sha256,
        views=("identity", "mirror"),
        pool=pool,
        masks=masks,
        logits=rng.normal(size=(6, 100, 2, 10)).astype(np.float32),
    )
    data = AuditData(images=images, split=Split(members=pool[:30], nonmembers=pool[30:60]))
    reference_models.BLOCK, leverage.CHUNK = 7, 4
    try:
        records = audit(
            load_target(ID), attacks=SHARED, data=data, shadows=shadows, settings=SETTINGS, out=out
        )
    finally:
        reference_models.BLOCK, leverage.CHUNK = 1 << 16, 1 << 13
    return json.dumps([[record.attack, record.result, record.counts] for record in records])


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def in_two_processes(work):
    """Fork the two processes of one launch, and do the work of each, which is given its number."""
    port, children = free_port(), []
    for number in range(2):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                launch = {
                    "RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2,
                    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
                }  # fmt: skip
                os.environ |= {name: str(value) for name, value in launch.items()}
                work(number)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]


def work(number, folder):
    target, pixels = load_target(ID), load_images().pixels[:IMAGES]
    for size in SIZES:
        np.save(folder / f"{number}-{size}.npy", predict(target, pixels, batch_size=size))
    inference.LOGITS_BYTES, inference.GATHERED = 200, 100  # in files, and two images at a time
    found = predict(target, pixels, batch_size=SIZES[0])
    assert isinstance(found, np.memmap)
    np.save(folder / f"{number}-file.npy", found)
    (folder / f"{number}-audit.json").write_text(audited(folder / "records"))


if __name__ == "__main__":
    in_two_processes(functools.partial(work, folder=Path(sys.argv[1])))
