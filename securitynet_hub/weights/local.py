"""Local weights files, in an installed package or elsewhere on the disk: verified, and bounded in size."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from securitynet_hub.core.errors import WeightsError
from securitynet_hub.core.files import require_moderate, require_same
from securitynet_hub.weights.hashes import file_digests

PACKAGE_SCHEME = "package:"
"""``package:<package>/<path>``: a file inside an installed Python package."""

FILE_SCHEME = "file:"
"""``file:<absolute path>``: a file on the disk."""


def local_file(url: str, id: str) -> Path | None:
    """Return the file that a ``package:`` or ``file:`` link names, None for other links.

    Raises:
        WeightsError: the package of the model `id` is not installed, or the link leads out of it.
    """
    if url.startswith(FILE_SCHEME):
        return Path(url.removeprefix(FILE_SCHEME))
    if not url.startswith(PACKAGE_SCHEME):
        return None
    package, _, inner = url.removeprefix(PACKAGE_SCHEME).partition("/")
    try:
        root = Path(str(resources.files(package))).resolve()
    except ModuleNotFoundError as error:
        raise WeightsError(
            f"{id} has its weights in the package {package!r}, which is not installed. Install it."
        ) from error
    path = (root / inner).resolve()
    if not path.is_relative_to(root):
        raise WeightsError(f"{id} links to {inner!r}, which lies outside the package {package!r}.")
    return path


def verify_file(path: Path, hash_kind: str | None, digest: str | None) -> None:
    """Check the sha256 of a file. If several hashes are given, the first one is the file's.

    Raises:
        WeightsError: the hash differs or is not a sha256, or the file cannot be read or is too large.
    """
    if (hash_kind or "").partition("+")[0] != "sha256" or not digest:
        raise WeightsError(f"{path.name} must come with a sha256; got {hash_kind} {digest!r}.")
    require_moderate(path)
    require_same(path, file_digests(path, {"sha256"})["sha256"], digest.partition("+")[0].lower())
