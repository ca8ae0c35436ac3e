"""Published results for tests, and what a forger would make of them."""

from dataclasses import replace

from securitynet_hub.sharing.repositories import repository

REPO = "alice/securitynet"


WHERE = repository("dataset", REPO)


def commit_file(hub, path, content):
    from support.hub_server import File

    repo = hub.dataset(REPO)
    repo.commit({**repo.files, path: File(content, True)})


def changed(record, **parts):
    """Return the record with keys of its parts changed, hashed anew: what a forger would publish."""
    return replace(record, **{name: {**getattr(record, name), **keys} for name, keys in parts.items()})


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "[x](javascript:alert(1)) ![y](https://evil.example/z.png)",
    "a|b\n| c |\r\n# heading",
    "\x1b[2J\x07\u202e\ud800",
    "=HYPERLINK(\"https://evil.example\")",
    "https://evil.example www.evil.example @all",
    "x" * 100_000,
]  # fmt: skip
