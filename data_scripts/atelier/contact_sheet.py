"""A labelled picture of garments, triplets and outfits, to see what a world looks like."""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from .captions import relative_captions
from .designs import DESIGN_SIZE, PAIR_STREAM, generator, make_design
from .outfits import make_capsule
from .render import VIEWS, render
from .vocabulary import SUBCATEGORIES

_OUTFITS = 8


def _label(pen: ImageDraw.ImageDraw, x: int, y: int, text: str, width: int, font) -> None:
    """Text in as many lines as fit its column."""
    line = ""
    for word in text.split():
        if pen.textlength(f"{line} {word}", font=font) > width and line:
            pen.text((x, y), line, fill=(40, 40, 46), font=font)
            line, y = word, y + 13
        else:
            line = f"{line} {word}".strip()
    pen.text((x, y), line, fill=(40, 40, 46), font=font)


def contact_sheet(path: str | Path, seed: int, size: int = 128, columns: int = 10) -> Path:
    """Draw one garment of every sub-category (all views in turn), then triplets with their captions, then outfits.

    Args:
        path: where the PNG goes.
        seed: the world's seed.
        size: side of each picture in pixels.
        columns: pictures per row.
    Returns:
        The path written.
    """
    font = ImageFont.load_default(11)
    found: dict[str, int] = {}
    for number in range(4000):
        kind = make_design(seed, number)[0].subcategory
        found.setdefault(kind, number)
        if len(found) == len(SUBCATEGORIES):
            break
    kinds = [name for name in SUBCATEGORIES if name in found]
    cells = []
    for place, name in enumerate(kinds):
        design = make_design(seed, found[name])
        for view in ("front", VIEWS[1 + place % 3]):
            garment = design[(place * 5) % DESIGN_SIZE]
            cells.append((render(garment, seed, view, size), f"{name}, {view}"))
    triplets = []
    for place, name in enumerate(kinds[::3]):
        design = make_design(seed, found[name])
        rng = generator(seed, PAIR_STREAM, place)
        first, second = (int(i) for i in rng.permutation(DESIGN_SIZE)[:2])
        one, two = relative_captions(rng, design[first], design[second], design)
        triplets.append(
            (
                render(design[first], seed, "front", size),
                render(design[second], seed, "front", size),
                one.text,
                two.text,
            )
        )
    gap, text_height = 6, 18
    width = columns * (size + gap) + gap
    rows = -(-len(cells) // columns)
    per_row = max(1, columns // 4)
    triplet_rows = -(-len(triplets) // per_row)
    outfits = [make_capsule(seed, number)[0] for number in range(_OUTFITS)]
    height = rows * (size + text_height + gap) + (triplet_rows + len(outfits)) * (size + gap) + 2 * gap
    sheet = Image.new("RGB", (width, height), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    for place, (picture, text) in enumerate(cells):
        x, y = gap + place % columns * (size + gap), gap + place // columns * (size + text_height + gap)
        sheet.paste(picture, (x, y))
        pen.text((x + 2, y + size + 2), text, fill=(40, 40, 46), font=font)
    top = rows * (size + text_height + gap) + gap
    for place, (reference, target, one, two) in enumerate(triplets):
        x = gap + place % per_row * (width // per_row)
        y = top + place // per_row * (size + gap)
        sheet.paste(reference, (x, y))
        sheet.paste(target, (x + width // per_row - size - gap, y))
        room = width // per_row - 2 * size - 5 * gap
        _label(pen, x + size + 6, y + size // 4, f"1: {one}", room, font)
        _label(pen, x + size + 6, y + size * 5 // 8, f"2: {two}", room, font)
    top += triplet_rows * (size + gap)
    for place, outfit in enumerate(outfits):
        y = top + place * (size + gap)
        for column, garment in enumerate(outfit.garments):
            sheet.paste(render(garment, seed, "front", size), (gap + column * (size + gap), y))
        x = gap + len(outfit.garments) * (size + gap)
        text = f"{outfit.season}, formality {outfit.formality} of 4, {outfit.scheme} colours"
        _label(pen, x, y + size // 3, text, width - x - gap, font)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    return path
