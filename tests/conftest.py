"""Keep the tests off the network and out of the caller's caches."""

import os
import tempfile

# Before `datasets` and `huggingface_hub` read them, on import.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="securitynet-tests-")
os.environ.setdefault("OMP_NUM_THREADS", "2")
