"""Situations in which the Hub refuses, and what a command then says and leaves behind."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from securitynet_hub.records.record import write_record
from securitynet_hub.records.rows import FOLDER
from securitynet_hub.sharing.rows import results_shard

from .drawn_records import measured
from .hub_server import running_hub

REPO = "alice/securitynet"
CREATED = "2026-01-01T00:00:0{}+00:00"
PUBLISH = ("publish dataset", "publish records")
ALL = (*PUBLISH, "publish evaluation", "fetch results")
NET = "alice/net"


@dataclass
class Situation:
    """How the Hub is prepared for it, and which commands are then run."""

    prepare: Callable = lambda hub: None
    commands: tuple = ALL
    token: str = "hf_alice_secret"
    times: int = 1
    processes: int = 1
    extra: dict = field(default_factory=dict)


def rename(hub):
    hub.rename("dataset", REPO, "alice/renamed")
    hub.rename("model", NET, "alice/renamed-net")


def gate(hub):
    for repository in hub.repositories.values():
        repository.gated = True


SITUATIONS = {
    "none of these": Situation(),
    "published twice": Situation(times=2),
    "published from two processes at once": Situation(processes=2, commands=PUBLISH),
    "an expired token": Situation(token="hf_expired_secret"),
    "a full quota (403)": Situation(lambda hub: hub.full.add("alice"), (*PUBLISH, "publish evaluation")),
    "a full quota (413)": Situation(
        lambda hub: hub.fault("POST .*/commit/", status=413, message="Payload too large", times=99),
        (*PUBLISH, "publish evaluation"),
    ),
    "a refused eval.yaml": Situation(
        lambda hub: hub.refused_files.update({"eval.yaml": "Invalid input at tasks"}), ("publish dataset",)
    ),
    "a framework that is not listed": Situation(
        commands=("publish dataset",), extra={"publish dataset": ("--benchmark-framework", "securitynet-hub")}
    ),
    "a renamed repository": Situation(rename),
    "a gated repository of others": Situation(gate, token="hf_carol_secret"),
}


def arguments(what, records):
    repo = NET if what == "publish evaluation" else REPO
    more = {
        "publish records": ("--records", records),
        "publish evaluation": (
            "--records", records, "--target", "zoo/fashion-mnist/cnn-clean/1", "--benchmark", REPO,
        ),
        "fetch results": ("--out", records.with_name("fetched")),
    }.get(what, ())  # fmt: skip
    return [*what.split(), "--repo", repo, *map(str, more)]


def prepared(hub):
    """Give alice a data set with a result, and a model; carol is somebody else."""
    hub.users["hf_carol_secret"] = ("carol", {})
    first = results_shard([measured(100, created=CREATED.format(9))])
    hub.add("dataset", REPO, {"README.md": b"# Results\n", f"{FOLDER}/first.parquet": first})
    hub.add("model", NET, {"README.md": b"# Net\n"})


def happened(name, what, folder):
    """Return what a command says, its exit status, and what is visible afterwards that was not before."""
    situation = SITUATIONS[name]
    write_record(measured(1, "modified_entropy", created=CREATED.format(1)), folder / "records")
    with running_hub() as hub:
        prepared(hub)
        situation.prepare(hub)
        before = {key: dict(repository.files) for key, repository in hub.repositories.items()}
        command = [*arguments(what, folder / "records"), *situation.extra.get(what, ())]
        environment = {
            **os.environ, "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": situation.token, "HF_HOME": str(folder),
            "HF_HUB_OFFLINE": "0", "HF_UPDATE_DOWNLOAD_COUNTS": "0", "COLUMNS": "1000",
        }  # fmt: skip
        own = [sys.executable, "-m", "securitynet_hub", *command]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        for _ in range(situation.times):
            running = [subprocess.Popen(own, env=environment, **pipes) for _ in range(situation.processes)]
            told = [(*process.communicate(), process.returncode) for process in running]
        said = " / ".join(" ".join(f"{'' if code else out} {err}".split()) for out, err, code in told)
        code = max(code for *_, code in told)
        for found, shown in ((hub.endpoint, "https://huggingface.co"), (str(folder), "")):
            said = said.replace(found, shown)
        new = sorted(
            path
            for key, repository in hub.repositories.items()
            for path, file in repository.files.items()
            if before.get(key, {}).get(path) != file
        )
        pulls = sum(len(repository.pull_requests) for repository in hub.repositories.values())
    seen = f"{len(new)} new or changed files" if new else "nothing new"
    return said, str(code), seen + (f", {pulls} pull request" if pulls else "")
