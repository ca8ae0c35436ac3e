"""What the site has beside this folder: the pages at the repository's root, and links that hold there.

A page is written once and read in two places: in the repository, where its links are paths, and on the site.
Links between pages stay; a link to any other file leads to the repository, if REPOSITORY_URL says where that
is, and is otherwise text. `absolute` makes a page that stands alone, as a package index shows it.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "ARCHITECTURE.md": "architecture.md",
    "RELEASE.md": "release.md",
    "CHANGELOG.md": "changelog.md",
    "securitynet_hub/hub_dataset/README.md": "card.md",
}
"""Pages outside of this folder, and what the site calls them."""

LINK = re.compile(r"(!?)\[([^\[\]]*)\]\(([^()\s]+)\)")
WORKER = re.compile(r"https://unpkg\.com/iframe-worker/shim")
CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from outside."""
    from mkdocs.structure.files import File

    for source, name in PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
        files.append(File.generated(config, name, content=rewritten(text, source, config.repo_url)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Rewrite the links of this folder's pages."""
    if page.file.src_uri in PAGES.values() or not page.file.src_uri.endswith(".md"):
        return markdown
    return rewritten(markdown, f"docs/{page.file.src_uri}", config.repo_url)


def on_post_page(output: str, *, page: Any, **_: Any) -> str:
    """Let search from disk use this folder's script, not one from a network, and give its dialog a name."""
    from mkdocs.utils import get_relative_url

    return WORKER.sub(get_relative_url("assets/worker.js", page.file.url), _with_named_search(output))


def on_post_template(output: str, *, template_name: str, **_: Any) -> str:
    """Give the search dialog of the page for addresses that are not there its name."""
    return _with_named_search(output) if template_name == "404.html" else output


def _with_named_search(output: str) -> str:
    dialog = 'data-md-component="search" role="dialog"'
    return output.replace(dialog, f'{dialog} aria-label="Search"')


def rewritten(text: str, source: str, repository: str | None) -> str:
    """Return a page with links that hold on the site.

    Args:
        text: of the page.
        source: where it lies in the repository.
        repository: address of the repository, if there is one.

    >>> rewritten("[a](docs/a.md#b) [c](SECURITY.md) [d](x.py)", "README.md", None)
    '[a](a.md#b) [c](security.md) d'
    >>> rewritten("![p](docs/p.png) [r](../README.md)", "docs/a.md", None)
    '![p](docs/p.png) [r](index.md)'
    """

    def link(found: re.Match[str]) -> str:
        mark, words, address = found.groups()
        if "://" in address or address.startswith(("#", "mailto:")):
            return found[0]
        path, hash_, anchor = address.partition("#")
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if place in PAGES:
            return f"{mark}[{words}]({PAGES[place]}{hash_}{anchor})"
        if place.startswith("docs/"):
            return f"{mark}[{words}]({place.removeprefix('docs/')}{hash_}{anchor})"
        return f"[{words}]({repository.rstrip('/')}/blob/main/{place})" if repository else words

    return _outside_code(text, link)


def absolute(text: str, source: str, repository: str, revision: str) -> str:
    """Return a page whose links and pictures lead to one revision of the repository.

    >>> absolute("![p](docs/p.png) [a](LICENSE#x)", "README.md", "https://h/o/n", "v1")
    '![p](https://h/o/n/raw/v1/docs/p.png) [a](https://h/o/n/blob/v1/LICENSE#x)'
    """

    def link(found: re.Match[str]) -> str:
        mark, words, address = found.groups()
        if "://" in address or address.startswith("#"):
            return found[0]
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), address))
        return f"{mark}[{words}]({repository}/{'raw' if mark else 'blob'}/{revision}/{place})"

    return _outside_code(text, link)


def _outside_code(text: str, link: Any) -> str:
    parts = CODE.split(text)
    return "".join(part if place % 2 else LINK.sub(link, part) for place, part in enumerate(parts))


def main() -> None:
    """Make the README and the project's addresses absolute in this checkout, before a release is built."""
    repository, revision = os.environ["REPOSITORY_URL"].rstrip("/"), os.environ["REVISION"]
    readme = ROOT / "README.md"
    text = absolute(readme.read_text(encoding="utf-8"), "README.md", repository, revision)
    readme.write_text(text, encoding="utf-8")
    addresses = {
        "Documentation": os.environ.get("SITE_URL") or f"{repository}/tree/{revision}/docs",
        "Source": repository,
        "Issues": f"{repository}/issues",
        "Changelog": f"{repository}/blob/{revision}/CHANGELOG.md",
    }
    lines = "".join(f'{name} = "{address}"\n' for name, address in addresses.items())
    project = ROOT / "pyproject.toml"
    text = project.read_text(encoding="utf-8")
    project.write_text(text.replace("[project.urls]\n", f"[project.urls]\n{lines}"), encoding="utf-8")


if __name__ == "__main__":
    main()
