"""Signatures of folders as OpenSSF model signing writes them, right and wrong ones."""

import base64
import datetime
import hashlib
import json

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PAYLOAD = "application/vnd.in-toto+json"
START, END = datetime.datetime(2026, 1, 1), datetime.datetime(2027, 1, 1)
PEM = serialization.Encoding.PEM


def new_key():
    return ec.generate_private_key(ec.SECP256R1())


def public_pem(key):
    return key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def statement(files, *, root=None, **changes):
    """Return the statement that lists files, by name, with their bytes."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    resources = [{"name": name, "algorithm": "sha256", "digest": digest} for name, digest in digests.items()]
    root = root or hashlib.sha256(b"".join(map(bytes.fromhex, digests.values()))).hexdigest()
    predicate = {
        "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False},
        "resources": resources,
    }
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "model", "digest": {"sha256": root}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": predicate | changes,
    }


def bundle(signed, key, chain=(), **changes):
    """Return the signature of a statement by a key, with the signer's certificates if there are any."""
    payload = signed if isinstance(signed, bytes) else json.dumps(signed).encode()
    encoded = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD), PAYLOAD.encode(), len(payload), payload)
    value = key.sign(encoded, ec.ECDSA(hashes.SHA256()))
    der = [certificate.public_bytes(serialization.Encoding.DER) for certificate in chain]
    material = {"x509CertificateChain": {"certificates": [{"rawBytes": text(each)} for each in der]}}
    envelope = {"payload": text(payload), "payloadType": PAYLOAD, "signatures": [{"sig": text(value)}]}
    content = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": material if der else {"publicKey": {"hint": ""}},
        "dsseEnvelope": envelope,
    }
    return json.dumps(content | changes)


def text(content):
    return base64.b64encode(content).decode()


def certificate(subject, key, issuer, issuer_key, *, authority=False, may_sign=True):
    """Return a certificate, that of an authority or a signer's."""
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in (subject, issuer)]
    usage = x509.KeyUsage(
        digital_signature=may_sign and not authority, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=not may_sign, key_cert_sign=authority, crl_sign=authority,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(names[0])
        .issuer_name(names[1])
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(START)
        .not_valid_after(END)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
        .add_extension(usage, critical=True)
        .sign(issuer_key, hashes.SHA256())
    )
