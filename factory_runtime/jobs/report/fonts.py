"""The one font of charts and PDFs, and what it can show."""

from __future__ import annotations

from functools import cache
from pathlib import Path

NO_GLYPH = "□"


@cache
def font_file() -> Path:
    """DejaVu Sans, as matplotlib brings it along.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl

    return Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def printable(text: str) -> str:
    """The text, with a box for each character that the font has not.

    Raises:
        ImportError: matplotlib is not installed.
    """
    known = _characters()
    return "".join(one if ord(one) in known else NO_GLYPH for one in text)


@cache
def _characters() -> frozenset[int]:
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(str(font_file())).get_charmap())
