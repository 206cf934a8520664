"""A report as a PDF."""

from __future__ import annotations

import io
import threading
from typing import Any
from xml.sax.saxutils import escape

from factory_runtime.domain.errors import MissingExtraError
from factory_runtime.jobs.report.contents import Contents, Section
from factory_runtime.jobs.report.fonts import NO_GLYPH, font_file, printable

_FONT = "DejaVuSans"
_WRITING = threading.Lock()
"""The library keeps its fonts for all, and may be used by one thread at a time."""


def write_pdf(report: Contents) -> bytes:
    """The document; the same report gives the same bytes.

    Raises:
        MissingExtraError: what writes it is not installed.
    """
    with _WRITING:
        try:
            return _Writer().write(report)
        except ImportError as exc:
            package = (exc.name or "reportlab").partition(".")[0]
            raise MissingExtraError("document", "report", package) from exc


class _Writer:
    """Lays a report out. What it is told is text, never markup."""

    def __init__(self) -> None:
        from reportlab.lib.styles import ParagraphStyle
        from reportlab.pdfbase import pdfmetrics
        from reportlab.pdfbase.ttfonts import TTFont

        if _FONT not in pdfmetrics.getRegisteredFontNames():
            pdfmetrics.registerFont(TTFont(_FONT, str(font_file())))  # pyright: ignore[reportUnknownMemberType] - untyped
        plain: Any = ParagraphStyle("plain", fontName=_FONT, fontSize=9, leading=13)
        self._styles: dict[str, Any] = {
            "plain": plain,
            "cell": ParagraphStyle("cell", plain, fontSize=7.5, leading=10, splitLongWords=1),
            "title": ParagraphStyle("title", plain, fontSize=18, leading=24, spaceAfter=8),
            "head": ParagraphStyle("head", plain, fontSize=13, leading=18, spaceBefore=10),
            "note": ParagraphStyle("note", plain, leftIndent=10, bulletIndent=0),
        }
        self._replaced = False

    def write(self, report: Contents) -> bytes:
        from reportlab.lib.pagesizes import A4
        from reportlab.lib.units import cm
        from reportlab.platypus import SimpleDocTemplate

        story: list[Any] = [self._text(report.title, "title")]
        for section in report.sections:
            story += self._section(section)
        story.append(self._text("What is missing or approximate", "head"))
        notes = list(report.notes)
        if self._replaced or any(printable(note) != note for note in notes):
            notes.append(f"{NO_GLYPH} stands for a character that the font of this document lacks")
        whole = "Nothing: every source was fetched, read in full and drawn."
        story += [self._text(f"• {note}", "note") for note in notes] or [self._text(whole)]
        out = io.BytesIO()
        document: Any = SimpleDocTemplate(
            out,
            pagesize=A4,
            leftMargin=2 * cm,
            rightMargin=2 * cm,
            topMargin=2 * cm,
            bottomMargin=2 * cm,
            title=report.title,
            invariant=1,  # no time of writing in the bytes
        )
        document.build(story)
        return out.getvalue()

    def _section(self, section: Section) -> list[Any]:
        from reportlab.lib.units import cm
        from reportlab.platypus import Image, Spacer

        stale = " — stale" if section.is_stale else ""
        parts: list[Any] = [self._text(section.name + stale, "head")]
        parts += [self._text(fact) for fact in section.facts]
        if section.table:
            parts += [Spacer(0, 4), self._table(section)]
        if section.picture is not None:
            picture = section.picture
            # As wide as the page allows, and no higher than one page.
            scale = min(17 * cm / picture.width, 23 * cm / picture.height)
            size = (picture.width * scale, picture.height * scale)
            parts += [Spacer(0, 4), Image(io.BytesIO(picture.png), *size)]
        return parts

    def _table(self, section: Section) -> Any:
        from reportlab.lib import colors
        from reportlab.lib.units import cm
        from reportlab.platypus import Table

        rows = [[self._text(cell, "cell") for cell in row] for row in section.table]
        widths = [5 * cm, *[2 * cm] * (len(section.table[0]) - 1)]
        table: Any = Table(rows, colWidths=widths, repeatRows=1)
        table.setStyle(
            [
                ("LINEBELOW", (0, 0), (-1, -1), 0.25, colors.lightgrey),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LEFTPADDING", (0, 0), (-1, -1), 2),
                ("RIGHTPADDING", (0, 0), (-1, -1), 2),
            ]
        )
        return table

    def _text(self, text: str, style: str = "plain") -> Any:
        from reportlab.platypus import Paragraph

        shown = printable(text)
        self._replaced |= shown != text
        return Paragraph(escape(shown), self._styles[style])
