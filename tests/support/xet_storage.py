"""The part of Xet's content-addressed storage that uploads need: xorbs and shards in, files out.

Formats: https://huggingface.co/docs/xet/xorb and https://huggingface.co/docs/xet/shard; the same layout is in
`uploadShards.ts` and `XetBlob.ts` of @huggingface/hub. Compressed chunks are LZ4 frames, which pyarrow reads.
"""

import hashlib
import struct

import pyarrow as pa

TAG = b"HFRepoMetaData\0" + bytes.fromhex("556967456a7b815783a5bdd95ccdd14aa9")
WITH_VERIFICATION, WITH_SHA256 = 1 << 31, 1 << 30
ENTRY = 48
MAX_XORB = 64 << 20


def hash_text(raw):
    """Return a hash as addresses write it: four little-endian words in hexadecimal."""
    return "".join(f"{word:016x}" for word in struct.unpack("<4Q", raw))


def chunks_of(xorb):
    """Return the contents of a xorb's chunks."""
    chunks, place = [], 0
    while place + 8 <= len(xorb) and xorb[place] == 0:  # version 0; a footer begins with XETBLOB
        packed = int.from_bytes(xorb[place + 1 : place + 4], "little")
        scheme = xorb[place + 4]
        size = int.from_bytes(xorb[place + 5 : place + 8], "little")
        data = xorb[place + 8 : place + 8 + packed]
        if scheme:
            data = pa.Codec("lz4").decompress(data, size, asbytes=True)
        if scheme == 2:
            data = ungrouped(data)
        if len(data) != size:
            raise ValueError("a chunk has another length than its header says")
        chunks.append(data)
        place += 8 + packed
    return chunks


def ungrouped(data):
    """Interleave the four groups into which bytes were sorted by their place modulo 4."""
    whole, start = bytearray(len(data)), 0
    for n in range(4):
        part = len(range(n, len(data), 4))
        whole[n::4] = data[start : start + part]
        start += part
    return bytes(whole)


def files_of(shard):
    """Yield the SHA-256 of each file and its terms: xorb, length, first chunk, chunk after the last."""
    if shard[:32] != TAG or struct.unpack_from("<Q", shard, 32)[0] != 2:
        raise ValueError("this is no shard of version 2")
    place = 48
    while shard[place : place + 32] != b"\xff" * 32:
        flags, count = struct.unpack_from("<II", shard, place + 32)
        place += ENTRY
        terms = []
        for _ in range(count):
            _, length, first, after = struct.unpack_from("<4I", shard, place + 32)
            terms.append((hash_text(shard[place : place + 32]), length, first, after))
            place += ENTRY
        place += ENTRY * count if flags & WITH_VERIFICATION else 0
        sha256 = None
        if flags & WITH_SHA256:
            sha256 = hash_text(shard[place : place + 32])
            place += ENTRY
        yield sha256, terms


class Storage:
    """Xorbs by their hash."""

    def __init__(self):
        self.xorbs = {}

    def add_xorb(self, name, xorb):
        if len(xorb) > MAX_XORB:
            raise ValueError("a xorb has at most 64 MiB")
        self.xorbs[name] = chunks_of(xorb)

    def files(self, shard):
        """Return the files that a shard describes, by SHA-256, once all of their xorbs are here."""
        found = {}
        for stated, terms in files_of(shard):
            parts = []
            for name, length, first, after in terms:
                part = b"".join(self.xorbs[name][first:after])
                if len(part) != length:
                    raise ValueError("a term has another length than its chunks")
                parts.append(part)
            content = b"".join(parts)
            if stated != hashlib.sha256(content).hexdigest():
                raise ValueError("a file has another hash than its shard says")
            found[stated] = content
        return found
