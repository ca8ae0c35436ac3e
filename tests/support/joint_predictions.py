"""Two processes predict the same images together, forked rather than launched: run by test_processes.

``python joint_predictions.py FOLDER`` writes each process's logits for each size of batches.
"""

import os
import socket
import sys
from pathlib import Path

import numpy as np

from securitynet_hub import load_images, load_target
from securitynet_hub.engine.inference import predict

ID = "zoo/fashion-mnist/bn-cnn-overfitted-500/1"
IMAGES = 23
SIZES = (4, 23)
"""Of batches: an uneven last one, and nothing to do for the second process."""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def work(number, port, folder):
    launch = {
        "RANK": number, "LOCAL_RANK": number, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2,
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port,
    }  # fmt: skip
    os.environ |= {name: str(value) for name, value in launch.items()}
    target, pixels = load_target(ID), load_images().pixels[:IMAGES]
    for size in SIZES:
        np.save(folder / f"{number}-{size}.npy", predict(target, pixels, batch_size=size))


def main(folder):
    port, children = free_port(), []
    for number in range(2):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work(number, port, folder)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
