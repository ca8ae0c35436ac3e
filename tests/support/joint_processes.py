"""What two processes of torch's launcher do together, one step after another: run by test_processes.

``python joint_processes.py FOLDER`` writes what each process found into the folder. In the last step one
dies.
"""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from support.joint_predictions import ID, IMAGES, SIZES, audited
from support.sweep_processes import made_up_jobs, measure
from torch.distributed.launcher import LaunchConfig, elastic_launch

from securitynet_hub import load_images, load_target
from securitynet_hub.attacks.stealing import surrogate_attack
from securitynet_hub.attacks.subject import AuditData
from securitynet_hub.core.errors import ProcessError
from securitynet_hub.data.splits import Split
from securitynet_hub.engine.inference import predict
from securitynet_hub.engine.processes import broadcast, find_place, init_processes, share_out
from securitynet_hub.engine.training import Recipe, train
from securitynet_hub.sweeps.ledger import Ledger
from securitynet_hub.sweeps.run import sweep

RECIPE = Recipe(epochs=3, batch_size=32, learning_rate=0.02, augment="shift", seed=3)


def linear():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 2))


def with_batch_norm():
    return torch.nn.Sequential(torch.nn.BatchNorm2d(1), linear())


def blobs(n=97):
    """97 images: the last batch of 32 has one, which cannot be shared."""
    labels = torch.arange(n) % 2
    noise = torch.randn((n, 1, 6, 6), generator=torch.Generator().manual_seed(0))
    return noise + 2 * labels[:, None, None, None], labels


class FailsOnOne(torch.nn.Module):
    def forward(self, inputs):
        if not find_place().is_main:
            raise ValueError("bad luck")
        return torch.zeros(len(inputs), 10)


def main(folder):
    place, known = find_place(), {}
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher ends all when one has died
    known["processes"] = init_processes().num_processes
    known["agreed"] = broadcast(place.number)
    target, pixels = load_target(ID), load_images().pixels[:IMAGES]
    for size in SIZES:
        np.save(folder / f"{place.number}-{size}.npy", predict(target, pixels, batch_size=size))
    known["failed"] = fails(target, pixels)
    known["audited"] = audited()
    known["unshared"] = unshared()
    torch.save(train(linear, *blobs(), RECIPE).state_dict(), folder / f"{place.number}-linear.pt")
    torch.save(train(with_batch_norm, *blobs(), RECIPE).state_dict(), folder / f"{place.number}-norm.pt")
    known["stolen"] = stolen(target)
    known["bad"] = bad_download(folder / "bad", place)
    known["lost"] = dies(folder / "lost", place)
    (folder / f"{place.number}.json").write_text(json.dumps(known))
    os._exit(0)  # there is nobody left to say goodbye to


def fails(target, pixels):
    """What fails on the other process is raised on this one."""
    try:
        predict(replace(target, module=FailsOnOne()), pixels, batch_size=4)
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def unshared():
    """The second of two parts, which the second process has, fails."""
    try:
        share_out(lambda part: 1 / part, [1, 0])
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def stolen(target):
    images = load_images()
    data = AuditData(images=images, split=Split(members=np.arange(20), nonmembers=np.arange(20, 120)))
    recipe = Recipe(epochs=1, batch_size=8)
    (record,) = surrogate_attack.run(target, data, budgets=[16], recipe=recipe, transfer=0)
    return [record.attack["processes"], record.result["agreement"]]


def bad_download(folder, place):
    """The second process alone cannot have the first model; none is left waiting."""

    def load(job):
        if job.annotation.id.endswith("/0") and not place.is_main:
            raise OSError("the network is down")

    ledger, jobs = Ledger(folder), made_up_jobs(6)
    return list(sweep(jobs, ledger, together=True, load=load, measure=measure))


def dies(folder, place):
    """The second process dies over the second model."""

    def measured(target, job, attacks, on_record, on_batch):
        if job.annotation.id.endswith("/1") and not place.is_main:
            os.kill(os.getpid(), signal.SIGKILL)
        measure(target, job, attacks, on_record, on_batch)

    try:
        sweep(made_up_jobs(9), Ledger(folder), together=True, load=lambda job: None, measure=measured)
    except ProcessError as error:
        return str(error)


def launch(folder):
    """Launch as ``torchrun --standalone`` does, but forks, which need not import everything again."""
    kind = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        run_id="together",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        start_method="fork",
    )
    elastic_launch(kind, main)(folder)


if __name__ == "__main__":
    launch(Path(sys.argv[1]))
