"""Reports for tests: records to write them from, and what stands on a page."""

import re
from html.parser import HTMLParser

import numpy as np

from securitynet_hub.attacks.membership.measures import measure_membership
from securitynet_hub.records.entries import Entry
from securitynet_hub.records.record import Record

RNG = np.random.default_rng(5)


MEMBER = np.arange(400) < 150


SCORES = RNG.normal(size=400) + MEMBER


OVERFITTED = "zoo/fashion-mnist/cnn-overfitted-500/1"


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>&amp;\"' $x^2$"


def record(id=OVERFITTED, attack="modified_entropy", kind="membership-inference", result=None, **more):
    attack = {"name": attack, "kind": kind, **more.pop("attack_more", {})}
    result = dict(measure_membership(SCORES, MEMBER)) if result is None else result
    about = {
        "counts": {},
        "timings": {},
        "code": {},
        "environment": {},
        "created": "2030-01-01",
        "author": None,
        "data": {"name": "fashion_mnist_4k"},
    }
    return Record(
        target={"id": id, "num_classes": 10}, attack=attack, result=result,
        **{**about, **more},
    )  # fmt: skip


def entries(*records, path=None):
    from pathlib import Path

    return [Entry(one, path or Path("none.json")) for one in records]


class Page(HTMLParser):
    """The text, the tags and the attributes of a page."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags, self.texts, self.problems, self._open = [], [], [], []
        self.feed(self.source)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.texts))
