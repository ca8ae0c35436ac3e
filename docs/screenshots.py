"""Take a picture of a page for docs/gallery.md: ``screenshots.py PAGE.html PICTURE.png WIDTH HEIGHT SCHEME``.

Needs Chromium and playwright, as the tests of pages do.
"""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from securitynet_hub.plots.plot import with_few_colours

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.browsers import running_browser


def take(page_file: Path, picture: Path, width: int, height: int, scheme: str) -> None:
    """Take the top of a page, in few colours: small, and no text is blurred."""
    with running_browser() as browser:
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page.goto(page_file.resolve().as_uri())
        shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    with_few_colours(np.asarray(shot)).save(picture, optimize=True)


if __name__ == "__main__":
    source, target, wide, high, colours = sys.argv[1:]
    take(Path(source), Path(target), int(wide), int(high), colours)
