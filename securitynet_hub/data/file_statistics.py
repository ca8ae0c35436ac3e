"""Describe the files that pictures are stored in, without decoding a pixel."""

from __future__ import annotations

import io
import warnings

import numpy as np

from securitynet_hub.core.arrays import Scores

FAMILIES = ("file size", "file format")
"""What the statistics describe, for readers."""


def file_statistics(content: bytes) -> Scores:
    """Describe one encoded picture, shape (6,).

    Its size in bytes, and in bytes for each pixel; 1 if it is a JPEG, 1 if it is a PNG; the mean of a JPEG's
    quantisation tables, which follows from its quality; and how many things stand beside the pixels, such as
    a colour profile. Zeros but for the size where Pillow cannot read it.

    Args:
        content: the file's bytes.

    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("L", (10, 10)).save(file, "PNG")
    >>> file_statistics(file.getvalue())[2:]
    array([0., 1., 0., 0.])
    """
    from PIL import Image

    found = np.zeros(6)
    found[0] = len(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what stands beside the pixels
            with Image.open(io.BytesIO(content)) as picture:
                tables = getattr(picture, "quantization", None) or {}
                values = [value for table in tables.values() for value in table]
                found[1] = len(content) / max(1, picture.width * picture.height)
                found[2:4] = picture.format == "JPEG", picture.format == "PNG"
                found[4:] = float(np.mean(values)) if values else 0.0, len(picture.info)
    except (OSError, ValueError, SyntaxError):
        pass
    return found
