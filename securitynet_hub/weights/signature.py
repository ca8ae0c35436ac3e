"""Verify the signature of a folder with a model, as OpenSSF model signing writes it (``model.sig``), offline.

The file is a sigstore bundle around a DSSE envelope with an in-toto statement of the type
``https://model_signing/signature/v1.0``, which lists every file of the folder with its hash. Here it is
verified by the public key, or by certificates that lead to a trusted one, with the package ``cryptography``;
signatures made by a login (keyless, with a transparency log) are not.

Sources: github.com/sigstore/model-transparency 1.1 (the statement), github.com/secure-systems-lab/dsse,
protocol.md (the envelope).
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from securitynet_hub.core.errors import MissingPackageError, WeightsError
from securitynet_hub.core.text import printable
from securitynet_hub.weights.download.hub_cache import is_inside
from securitynet_hub.weights.reading.checkpoints import Verdict

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT, PREDICATE = "https://in-toto.io/Statement/v1", "https://model_signing/signature/v1.0"
NAME = "model.sig"
FORMAT = "model signature"
"""Format of the verdicts on signed files."""

MAX_BYTES = 32 << 20
"""Size of the largest signature in bytes: 100,000 files take about half of that."""

MAX_FILES = 200_000
CHUNK = 1 << 20
ALGORITHMS: dict[str, Callable[[], Any]] = {"sha256": hashlib.sha256, "blake2b": hashlib.blake2b}

CHANGED, MISSING, UNSIGNED, LINK = (
    "it differs from the file that was signed",
    "it was signed, but is not there",
    "the signature does not cover it",
    "it is a link, which the signature does not cover",
)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class _Subject(_Part):
    digest: dict[str, str]


class _Resource(_Part):
    name: str
    algorithm: str
    digest: str


class _Serialization(_Part):
    method: str
    hash_type: str
    allow_symlinks: bool = False
    ignore_paths: list[str] = []


class _Predicate(_Part):
    resources: list[_Resource]
    serialization: _Serialization


class _Statement(_Part):
    subject: list[_Subject]
    predicate: _Predicate


class Piece(NamedTuple):
    """Bytes of a file, from `start` to `stop` (None: the end), and their hash."""

    start: int
    stop: int | None
    algorithm: str
    digest: str


def verify_signature(
    folder: Path,
    *,
    signature: Path | None = None,
    public_key: Path | None = None,
    certificates: Sequence[Path] = (),
) -> Iterator[tuple[Path, Verdict]]:
    """Yield the verdict on a signature, then one on each file that differs, is missing or is not signed.

    Of a signature that does not hold, nothing else is yielded: what it lists is not to be believed. Files in
    paths that the signer left out are named in ``ignored`` of its verdict.

    Args:
        folder: the folder with the model.
        signature: the signature; ``model.sig`` in the folder, unless given.
        public_key: the signer's key in PEM, on the curve P-256, P-384 or P-521.
        certificates: files with the certificates in PEM that are trusted. The signer's lead to one of them,
            and are valid at the time at which the signer's own begins, as the signature states no time.

    Raises:
        WeightsError: a key or a certificate cannot be read.
        MissingPackageError: the package ``cryptography`` is not installed.
    """
    path = folder / NAME if signature is None else signature
    verifier = find_verifier(public_key, certificates)
    try:
        signed = read_signed(path, verifier)
    except WeightsError as error:
        size = path.stat().st_size if path.is_file() else 0
        yield path, Verdict(False, FORMAT, printable(error, limit=1000), 0, 0, size)
        return
    found, ignored = _walk(folder, signed, path)
    shown = tuple(printable(name, limit=80) for name in ignored[:50])
    yield path, Verdict(True, FORMAT, None, 0, 0, path.stat().st_size, loadable=True, ignored=shown)
    for name in sorted(found | signed.pieces.keys()):
        reason = _fault(folder / name, name in found, signed.pieces.get(name), signed.links)
        if reason is not None:
            yield folder / name, Verdict(False, FORMAT, reason, 0, 0, 0)


Verify = Callable[[list[bytes], bytes, bytes], None]
"""Takes the signer's certificates in DER, a signature and what it signs; raises WeightsError."""


def find_verifier(public_key: Path | None, certificates: Sequence[Path]) -> Verify:
    """Return what verifies signatures by a public key, or by certificates that lead to a trusted one.

    Raises:
        WeightsError: a key or a certificate cannot be read.
        MissingPackageError: the package ``cryptography`` is not installed.
    """
    _require_cryptography()
    return _key_verifier(public_key) if public_key is not None else _chain_verifier(certificates)


class Signed(NamedTuple):
    """What a signature that holds lists.

    Attributes:
        pieces: the hashes of each file's pieces, by its name from the folder.
        links: whether files may be links.
        left_out: paths that the signer left out.
    """

    pieces: dict[str, list[Piece]]
    links: bool
    left_out: tuple[str, ...]

    def leaves_out(self, name: str) -> bool:
        """Return whether a file lies in a path that the signer left out."""
        return any(name == known or name.startswith(f"{known}/") for known in self.left_out)


def read_signed(path: Path, verifier: Verify) -> Signed:
    """Read a signature, verify it, and return what it lists.

    Raises:
        WeightsError: it cannot be read, does not hold, or lists what is no file.
    """
    statement = _statement(_payload(_content(path), verifier))
    settings = statement.predicate.serialization
    left_out = tuple(name.rstrip("/") for name in settings.ignore_paths if name.strip("/"))
    return Signed(_pieces(statement), settings.allow_symlinks, left_out)


def _fault(path: Path, found: bool, pieces: list[Piece] | None, links: bool) -> str | None:
    if path.is_symlink() and not links:
        return LINK
    if pieces is None:
        return UNSIGNED
    if not found:
        return MISSING
    try:
        if not path.is_file():
            return "it is no regular file"
        return None if is_as_signed(path, pieces) else CHANGED
    except OSError as error:
        return f"it cannot be read ({error.strerror or error})"


def is_as_signed(path: Path, pieces: Sequence[Piece]) -> bool:
    """Return whether the pieces make up the whole file and have their hashes."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        position = 0
        for start, stop, algorithm, expected in sorted(pieces):
            if start != position:
                return False
            digest, left = ALGORITHMS[algorithm](), size - start if stop is None else stop - start
            while left:
                chunk = file.read(min(left, CHUNK))
                if not chunk:
                    return False
                digest.update(chunk)
                left -= len(chunk)
            position = file.tell()
            if digest.hexdigest() != expected:
                return False
        return position == size and not file.read(1)


def _walk(folder: Path, signed: Signed, signature: Path) -> tuple[set[str], list[str]]:
    """Return the files below a folder, by names from there, and those in paths that the signer left out."""
    found: set[str] = set()
    ignored: list[str] = []

    def give_up(error: OSError) -> None:
        raise WeightsError(f"{error.filename} cannot be read: {error.strerror}.") from error

    for place, folders, files in os.walk(folder, onerror=give_up):
        folders.sort()
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in sorted([*files, *links]):
            path = Path(place) / name
            if path.absolute() == signature.absolute():
                continue
            inner = path.relative_to(folder).as_posix()
            ignored.append(inner) if signed.leaves_out(inner) else found.add(inner)
            if len(found) + len(ignored) > MAX_FILES:
                raise WeightsError(f"{folder} has more than {MAX_FILES:,} files.")
    return found, ignored


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise WeightsError(f"there is no signature {path.name!r}")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise WeightsError(f"the signature cannot be read ({error.strerror or error})") from error
    if len(content) > MAX_BYTES:
        raise WeightsError(f"the signature has more than {MAX_BYTES:,} bytes")
    return content


def _payload(content: bytes, verifier: Verify) -> bytes:
    """Return what was signed, after verifying the signature."""
    try:
        bundle = json.loads(content, object_pairs_hook=_unambiguous)
        if bundle["mediaType"] != MEDIA_TYPE:
            raise WeightsError(f"the signature is of media type {bundle['mediaType']!r}, not {MEDIA_TYPE}")
        envelope, material = bundle["dsseEnvelope"], bundle["verificationMaterial"]
        (signed,) = envelope["signatures"]
        kind, payload = envelope["payloadType"], base64.b64decode(envelope["payload"], validate=True)
        value = base64.b64decode(signed["sig"], validate=True)
        chain = [
            base64.b64decode(each["rawBytes"], validate=True)
            for each in material.get("x509CertificateChain", {}).get("certificates", [])
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"it is no signature of OpenSSF model signing ({error!r})") from error
    if kind != PAYLOAD_TYPE:
        raise WeightsError(f"the signature signs {kind!r}, not {PAYLOAD_TYPE}")
    # Pre-authentication encoding: DSSE, protocol.md, "Signature Definition".
    encoded = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
    verifier(chain, value, encoded)
    return payload


def _statement(payload: bytes) -> _Statement:
    try:
        content = json.loads(payload, object_pairs_hook=_unambiguous)
        if (content["_type"], content["predicateType"]) != (STATEMENT, PREDICATE):
            raise WeightsError(f"the signature holds a statement of type {content['predicateType']!r}")
        return _Statement.model_validate(content)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise WeightsError(f"the signed statement has no proper {place}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"the signed statement is none of a model ({error!r})") from error


def _pieces(statement: _Statement) -> dict[str, list[Piece]]:
    """Return the signed pieces of each file, by its name from the folder."""
    settings, resources = statement.predicate.serialization, statement.predicate.resources
    if settings.method not in ("files", "shards"):
        raise WeightsError(f"the signature lists {settings.method!r}; files and shards are known")
    if len(resources) > MAX_FILES:
        raise WeightsError(f"the signature lists {len(resources):,} files; at most {MAX_FILES:,} are read")
    found: defaultdict[str, list[Piece]] = defaultdict(list)
    root = hashlib.sha256()
    for resource in resources:
        name, start, stop = resource.name, 0, None
        if settings.method == "shards":
            parts = re.fullmatch(r"(.+):(\d{1,18}):(\d{1,18})", name, re.DOTALL)
            if parts is None or int(parts[2]) > int(parts[3]):
                raise WeightsError(f"the signature lists {name!r}, which is no part of a file")
            name, start, stop = parts[1], int(parts[2]), int(parts[3])
        algorithm = re.sub(r"-sharded-\d+$", "", resource.algorithm)
        if not is_inside(name):
            raise WeightsError(f"the signature lists {name!r}, which is no file of the folder")
        if algorithm not in ALGORITHMS:
            raise WeightsError(f"the signature has hashes by {algorithm!r}; known: {', '.join(ALGORITHMS)}")
        if settings.method == "files" and name in found:
            raise WeightsError(f"the signature lists {name!r} twice")
        try:
            root.update(bytes.fromhex(resource.digest))
        except ValueError as error:
            raise WeightsError(f"the signature has a hash of {name!r} that is none") from error
        found[name].append(Piece(start, stop, algorithm, resource.digest.lower()))
    if [each.digest.get("sha256") for each in statement.subject] != [root.hexdigest()]:
        raise WeightsError("the signed statement contradicts itself: its hashes are not those it sums up")
    return dict(found)


def _key_verifier(path: Path) -> Verify:
    """Return what verifies by a public key."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(_bytes(path))
    except (ValueError, UnsupportedAlgorithm) as error:
        raise WeightsError(f"{path} is no public key in PEM: {printable(error)}") from error
    _require_curve(key, path)
    return lambda chain, value, encoded: _require_signed(
        key, value, encoded, "the signature was not made with this key, or was changed"
    )


def _chain_verifier(paths: Sequence[Path]) -> Verify:
    """Return what verifies by the signer's certificates, which must lead to one in these files."""
    from cryptography import x509
    from cryptography.x509 import verification

    trusted: list[x509.Certificate] = []
    for path in paths:
        try:
            trusted += x509.load_pem_x509_certificates(_bytes(path))
        except ValueError as error:
            raise WeightsError(f"{path} holds no certificate in PEM: {printable(error)}") from error

    def verify(chain: list[bytes], value: bytes, encoded: bytes) -> None:
        if not chain:
            raise WeightsError("the signature was made with a key, not with a certificate")
        try:
            own, *others = (x509.load_der_x509_certificate(each) for each in chain)
            builder = verification.PolicyBuilder().store(verification.Store(trusted))
            builder = builder.time(own.not_valid_before_utc).extension_policies(
                ca_policy=verification.ExtensionPolicy.webpki_defaults_ca(),
                ee_policy=verification.ExtensionPolicy.permit_all(),  # the default asks for a web client
            )
            builder.build_client_verifier().verify(own, others)
            known = {type(each.value): each.value for each in own.extensions}
        except (ValueError, verification.VerificationError) as error:
            raise WeightsError(
                f"the signer's certificate leads to none that is trusted ({printable(error)})"
            ) from error
        usage, purposes = known.get(x509.KeyUsage), known.get(x509.ExtendedKeyUsage, ())
        code = x509.oid.ExtendedKeyUsageOID.CODE_SIGNING
        if not (usage is not None and usage.digital_signature) and code not in purposes:
            raise WeightsError("the signer's certificate is none for signing")
        _require_curve(own.public_key(), "the signer's certificate")
        _require_signed(own.public_key(), value, encoded, "the signature was changed")

    return verify


def _require_signed(key: Any, value: bytes, encoded: bytes, otherwise: str) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    digest = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[key.curve.key_size]
    try:
        key.verify(value, encoded, ec.ECDSA(digest))
    except InvalidSignature as error:
        raise WeightsError(otherwise) from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}.") from error


def _require_curve(key: Any, where: object) -> None:
    curve = getattr(getattr(key, "curve", None), "name", "no elliptic curve")
    if curve not in ("secp256r1", "secp384r1", "secp521r1"):
        raise WeightsError(f"{where} has a key on {curve}; P-256, P-384 and P-521 are known.")


def _require_cryptography() -> None:
    try:
        import cryptography.x509.verification  # noqa: F401
    except ImportError as error:
        raise MissingPackageError(
            f"signatures are verified with the package cryptography, which cannot be imported ({error}): "
            "pip install securitynet-hub[signing]"
        ) from error


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found
