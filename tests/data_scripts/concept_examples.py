"""Made-up product texts for the tests of concepts."""

import random

COLOURS = "black navy red olive white".split()
MATERIALS = "cotton linen wool denim".split()
GARMENTS = "shirt coat skirt dress jacket".split()
BRANDS = ("Harrow Lane", "Nubbin", "Red Quill", "Pepe Jeans")
# Words that no lexicon has.
STRANGE_COLOURS = "zorbel mirthen vask ombrine plinthe".split()
STRANGE_MATERIALS = "snib worsle tocket flaxend".split()
STRANGE_GARMENTS = "flumpet grundle snoodle wimbrel quell".split()


def shop_texts(count=300, seed=0):
    """(title, description) of ordinary garments."""
    draw = random.Random(seed)
    texts = []
    for _ in range(count):
        colour, material, garment = draw.choice(COLOURS), draw.choice(MATERIALS), draw.choice(GARMENTS)
        title = f"{colour} {material} {garment}".capitalize()
        texts.append((title, f"A relaxed {garment} in {colour} {material} with patch pockets."))
    return texts


def brand_titles(count=400, seed=0):
    """Titles Written Like This that begin with a brand and hold the names of product lines."""
    draw = random.Random(seed)
    lines = {"Harrow Lane": "Meridian", "Nubbin": "Vortex", "Red Quill": "Ferro", "Pepe Jeans": "Lumen"}
    texts = []
    for _ in range(count):
        brand = draw.choice(BRANDS)
        colour, garment = draw.choice(COLOURS).title(), draw.choice(GARMENTS).title()
        line = draw.choice(["", f"{lines[brand]} "])
        texts.append(f"{brand} {draw.choice(['Men', 'Women'])} {line}{colour} {garment}")
    return texts


def strange_texts(count=600, seed=0):
    """(title, description) whose garments, colours and materials are invented words."""
    draw = random.Random(seed)
    texts = []
    for _ in range(count):
        colour, material = draw.choice(STRANGE_COLOURS), draw.choice(STRANGE_MATERIALS)
        garment, fit = draw.choice(STRANGE_GARMENTS), draw.choice(["relaxed", "slim", "cropped"])
        sentence = draw.choice(
            [
                f"A {fit} {colour} {garment} in soft {material}, with horn buttons.",
                f"This {garment} in {colour} is made of {material}.",
                f"Wear the {fit} {garment} with a {draw.choice(STRANGE_COLOURS)} {draw.choice(STRANGE_GARMENTS)}.",
            ]
        )
        texts.append((f"{colour} {material} {garment}".capitalize(), sentence))
    return texts
