"""Drawing with PIL: captions, headings and legends around rendered panels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from occflow.viewing.palette import BACKGROUND, FAINT_INK, INK

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class LegendEntry:
    """A name and the colour it explains."""

    name: str
    colour: Colour


def blank(width_px: int, height_px: int) -> Image.Image:
    return Image.new("RGB", (width_px, height_px), BACKGROUND)


def write(image: Image.Image, at: tuple[int, int], text: str, size_px: int, colour: Colour = INK,
          anchor: str = "la") -> None:
    """Text in PIL's own font, so that every machine draws the same; characters are ASCII."""
    ImageDraw.Draw(image).text(at, text, fill=colour, font=ImageFont.load_default(size=size_px), anchor=anchor)


def caption(image: Image.Image, text: str, size_px: int, right: bool = False) -> None:
    """Text on a light plate in the upper left (or right) corner of a panel."""
    if not text:
        return
    draw, font, pad = ImageDraw.Draw(image), ImageFont.load_default(size=size_px), size_px // 3
    width = int(draw.textlength(text, font=font)) + 2 * pad
    left = image.width - width - pad if right else pad
    draw.rounded_rectangle((left, pad, left + width, pad + round(1.5 * size_px)), pad, fill=(255, 255, 255),
                           outline=(215, 215, 220))
    draw.text((left + pad, pad + round(0.75 * size_px)), text, fill=INK, font=font, anchor="lm")


def frame_panel(image: Image.Image) -> None:
    """A thin border around a panel."""
    ImageDraw.Draw(image).rectangle((0, 0, image.width - 1, image.height - 1), outline=(205, 205, 212))


def legend(width_px: int, size_px: int, title: str, entries: Iterable[LegendEntry]) -> Image.Image:
    """A strip `width_px` wide: the title, then colour patches with names, wrapped into as many lines as needed."""
    font = ImageFont.load_default(size=size_px)
    line_px, gap = round(1.7 * size_px), size_px
    x, y, placed = int(font.getlength(title)) + gap, 0, []
    for entry in entries:
        entry_px = round(1.5 * size_px) + int(font.getlength(entry.name)) + gap
        if x + entry_px > width_px and placed:
            x, y = gap, y + line_px
        placed.append((x, y, entry))
        x += entry_px
    strip = blank(width_px, y + line_px)
    write(strip, (0, line_px // 2), title, size_px, FAINT_INK, "lm")
    draw = ImageDraw.Draw(strip)
    for x, y, entry in placed:
        top = y + (line_px - size_px) // 2
        draw.rectangle((x, top, x + size_px, top + size_px), fill=tuple(entry.colour), outline=FAINT_INK)
        write(strip, (x + round(1.4 * size_px), y + line_px // 2), entry.name, size_px, INK, "lm")
    return strip


def stack(images: list[Image.Image], gap_px: int, margin_px: int) -> Image.Image:
    """Images one below the other, flush left, with a margin around all of them."""
    height = sum(image.height for image in images) + gap_px * (len(images) - 1)
    canvas = blank(max(image.width for image in images) + 2 * margin_px, height + 2 * margin_px)
    y = margin_px
    for image in images:
        canvas.paste(image, (margin_px, y))
        y += image.height + gap_px
    return canvas
