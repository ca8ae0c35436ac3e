"""Programs that use the test Hub through clients that nobody here wrote, one operation after the other.

Each takes a repository's name and a folder with `small.txt` and `large.bin`; it prints a line of JSON for an
operation: its name, whether it did what it should, and what was seen. `OPERATIONS` is what all of them do.
"""

import json
import os
import subprocess
import sys

OPERATIONS = (
    "create", "commit small", "commit large", "list", "range", "whole", "pull request", "read pull request",
    "delete file", "stale parent", "bad card", "delete",
)  # fmt: skip

PYTHON = """
import json, sys
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, HfFileSystem, hf_hub_download
repo, folder = sys.argv[1:]
api, kind = HfApi(), {"repo_type": "dataset"}
large = open(f"{folder}/large.bin", "rb").read()
def told(name, action):
    try:
        seen = action()
        print(json.dumps([name, seen is not False, str(seen)]), flush=True)
    except Exception as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
        print(json.dumps([name, False, text]), flush=True)
def refused(action, text):
    try:
        action()
    except Exception as error:
        return text in str(error) and f"refused: {text}"
    return False
def add(path, content, **more):
    return api.create_commit(repo, [CommitOperationAdd(path, content)], commit_message="x", **kind, **more)
told("create", lambda: str(api.create_repo(repo, **kind).repo_id))
first = api.dataset_info(repo).sha
told("commit small", lambda: len(add("a/small.txt", f"{folder}/small.txt").oid) == 40)
told("commit large", lambda: len(add("large.bin", f"{folder}/large.bin").oid) == 40)
there = [".gitattributes", "a/small.txt", "large.bin"]
told("list", lambda: sorted(api.list_repo_files(repo, **kind)) == there)
def part():
    with HfFileSystem().open(f"datasets/{repo}/large.bin", block_size=1000) as file:
        file.seek(1000)
        return file.read(500) == large[1000:1500]
told("range", part)
told("whole", lambda: open(hf_hub_download(repo, "large.bin", **kind), "rb").read() == large)
told("pull request", lambda: add("b.txt", b"proposed", create_pr=True).pr_num == 1)
def proposed():
    return open(hf_hub_download(repo, "b.txt", revision="refs/pr/1", **kind), "rb").read() == b"proposed"
def deleted():
    api.delete_file("a/small.txt", repo, **kind)
    return "a/small.txt" not in api.list_repo_files(repo, **kind)
told("read pull request", proposed)
told("delete file", deleted)
told("stale parent", lambda: refused(lambda: add("c.txt", b"c", parent_commit=first), "412"))
told("bad card", lambda: refused(lambda: add("README.md", b"---\\nlicense: mine\\n---\\n"), "license"))
told("delete", lambda: api.delete_repo(repo, **kind) is None and not api.repo_exists(repo, **kind))
"""

JAVASCRIPT = """
import * as hub from "@huggingface/hub";
import { readFileSync } from "node:fs";
const [name, folder, hubUrl, accessToken] = process.argv.slice(2);
const repo = { type: "dataset", name }, common = { repo, hubUrl, accessToken };
const large = readFileSync(`${folder}/large.bin`), small = readFileSync(`${folder}/small.txt`);
async function told(operation, action) {
  try { const seen = await action(); console.log(JSON.stringify([operation, seen !== false, String(seen)])); }
  catch (error) { console.log(JSON.stringify([operation, false, String(error).slice(0, 160)])); }
}
async function refused(action, text) {
  try { await action(); } catch (error) {
    return (String(error) + JSON.stringify(error)).includes(text) && `refused: ${text}`; }
  return false;
}
function add(path, content, more) {
  const operations = [{ operation: "addOrUpdate", path, content: new Blob([content]) }];
  return hub.commit({ ...common, title: "x", operations, ...more });
}
async function files() {
  const found = [];
  for await (const file of hub.listFiles({ ...common, recursive: true }))
    if (file.type === "file") found.push(file.path);
  return found.sort().join(" ");
}
async function read(path, more) {
  return Buffer.from(await (await hub.downloadFile({ ...common, path, ...more })).arrayBuffer());
}
await told("create", async () => (await hub.createRepo(common)).repoUrl);
let first;
await told("commit small", async () => (first = (await add("a/small.txt", small)).commit.oid).length === 40);
await told("commit large", async () => (await add("large.bin", large)).commit.oid.length === 40);
await told("list", async () => (await files()) === ".gitattributes a/small.txt large.bin");
await told("range", async () => {
  const blob = await hub.downloadFile({ ...common, path: "large.bin" });
  return Buffer.from(await blob.slice(1000, 1500).arrayBuffer()).equals(large.subarray(1000, 1500));
});
await told("whole", async () => (await read("large.bin")).equals(large));
await told("pull request", async () => {
  const done = await add("b.txt", "proposed", { isPullRequest: true });
  return done.pullRequestUrl.endsWith("/discussions/1");
});
await told("read pull request", async () => {
  return (await read("b.txt", { revision: "refs/pr/1" })).toString() === "proposed";
});
await told("delete file", async () => {
  await hub.deleteFile({ ...common, path: "a/small.txt" });
  return !(await files()).includes("small");
});
await told("stale parent", () => refused(() => add("c.txt", "c", { parentCommit: first }), "412"));
await told("bad card", () => refused(() => add("README.md", "---\\nlicense: mine\\n---\\n"), "license"));
await told("delete", async () => {
  await hub.deleteRepo(common);
  return !(await hub.repoExists(common));
});
"""


def environment(hub, home, **more):
    return {
        **os.environ,
        "HF_ENDPOINT": hub.endpoint,
        "HF_HOME": str(home),
        "HF_TOKEN": "hf_alice_secret",
        "HF_HUB_OFFLINE": "0",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        **more,
    }


def contents(folder, large=3 << 20):
    """Write the two files that the clients send; the large one has noise and zeros, which pack unlike."""
    (folder / "small.txt").write_text("small\n")
    noise = b"".join(os.urandom(4096) + bytes(4096) for _ in range(large // 8192))
    (folder / "large.bin").write_bytes(noise)


def run_python(hub, home, repo, python=sys.executable, **more):
    """Run huggingface_hub of a Python; return what happened by operation."""
    arguments = [python, "-c", PYTHON, repo, str(home)]
    return _lines(
        subprocess.run(arguments, env=environment(hub, home, **more), capture_output=True, text=True)
    )


def run_node(hub, home, repo, modules):
    """Run npm's @huggingface/hub, which lies in the folder `modules`/node_modules."""
    (modules / "client.mjs").write_text(JAVASCRIPT)
    arguments = ["node", str(modules / "client.mjs"), repo, str(home), hub.endpoint, "hf_alice_secret"]
    return _lines(subprocess.run(arguments, env=environment(hub, home), capture_output=True, text=True))


def run_hf(hub, home, repo, hf="hf"):
    """Run the command line `hf`; return what happened by operation."""
    done = {}
    large = (home / "large.bin").read_bytes()

    def call(*words):
        return subprocess.run(
            [hf, *map(str, words)], env=environment(hub, home), capture_output=True, text=True, cwd=home
        )

    def told(name, result, right=lambda result: True):
        said = " ".join((result.stdout + result.stderr).split())
        good = result.returncode == 0 and right(result)
        done[name] = (bool(good), "True" if good else said[-200:])

    def refused(name, result, text):
        said = " ".join((result.stdout + result.stderr).split())
        good = result.returncode != 0 and text in said
        done[name] = (good, f"refused: {text}" if good else said[-200:])

    dataset = ("--repo-type", "dataset")
    told("create", call("repos", "create", repo, *dataset))
    told("commit small", call("upload", repo, home / "small.txt", "a/small.txt", *dataset))
    told("commit large", call("upload", repo, home / "large.bin", "large.bin", *dataset))
    found = hub.dataset(repo).files if done["create"][0] else {}
    told(
        "list",
        call("download", repo, *dataset, "--dry-run"),
        lambda r: all(path in r.stdout for path in found),
    )
    done["range"] = (None, "it has no such command")
    told(
        "whole", call("download", repo, "large.bin", *dataset, "--local-dir", home / "got"),
        lambda r: (home / "got/large.bin").read_bytes() == large,
    )  # fmt: skip
    (home / "b.txt").write_text("proposed")
    told(
        "pull request", call("upload", repo, home / "b.txt", "b.txt", *dataset, "--create-pr"),
        lambda r: hub.dataset(repo).pull_requests == ["refs/pr/1"],
    )  # fmt: skip
    told(
        "read pull request",
        call("download", repo, "b.txt", *dataset, "--revision", "refs/pr/1", "--local-dir", home / "got"),
        lambda r: (home / "got/b.txt").read_text() == "proposed",
    )
    told(
        "delete file", call("repos", "delete-files", repo, "a/small.txt", *dataset),
        lambda r: "a/small.txt" not in hub.dataset(repo).files,
    )  # fmt: skip
    done["stale parent"] = (None, "it has no such command")
    (home / "card.md").write_text("---\nlicense: mine\n---\n")
    refused("bad card", call("upload", repo, home / "card.md", "README.md", *dataset), "license")
    yes = ["--yes"] if "--yes" in call("repos", "delete", "--help").stdout else []
    told(
        "delete", call("repos", "delete", repo, *dataset, *yes),
        lambda r: ("dataset", repo) not in hub.repositories,
    )  # fmt: skip
    return done


def _lines(result):
    found = {name: (good, seen) for name, good, seen in map(json.loads, result.stdout.splitlines())}
    missing = {
        name: (False, " ".join(result.stderr.split())[-300:]) for name in OPERATIONS if name not in found
    }
    return found | missing
