# /// script
# requires-python = ">=3.10"
# dependencies = ["securitynet-hub"]
# ///
"""One part of a sweep as a job of Hugging Face's, or of any machine that has uv.

    hf jobs uv run --flavor cpu-upgrade --secrets HF_TOKEN examples/jobs/hf_job.py 3/64 you/your-records
    uv run examples/jobs/hf_job.py 3/64

The 64 parts share no folder: each holds whole models, together they hold every model once. With a data set
repository as second argument the records are uploaded into it, which `securitynet report` reads once they
are downloaded again. A record's name is its hash, so that parts never overwrite one another.
"""

import subprocess
import sys
from pathlib import Path

from huggingface_hub import HfApi

MODELS = "pytorchcv/cifar10/*"
ATTACKS = ["correctness", "modified_entropy"]
DATA = "CIFAR-10=uoft-cs/cifar10"


def main(part: str, repo: str | None = None) -> None:
    """Sweep a part, given as PART/PARTS, and upload its records."""
    out = Path("swept")
    what = ["--models", MODELS, "--attacks", *ATTACKS, "--data", DATA, "--shard", part, "--out", str(out)]
    done = subprocess.run([sys.executable, "-m", "securitynet_hub", "sweep", *what], check=False)
    if repo is not None:  # what was measured counts, also where some units failed
        HfApi().upload_folder(
            repo_id=repo, repo_type="dataset", folder_path=out / "records", path_in_repo="records"
        )
    raise SystemExit(done.returncode)


if __name__ == "__main__":
    main(*sys.argv[1:])
