"""Shop text made ready: repaired, free of mark-up, split into sentences and words.

sentences("<p>Men&#39;s shirt.<br>Slim&nbsp;fit</p>")    ["Men's shirt.", 'Slim fit']
words("Men's T-Shirt, 3/4 sleeves")                      [("men's", True), ('t-shirt', True), (',', False), ...]
"""

from __future__ import annotations

import html
import re
import unicodedata

_BREAKING_TAG = re.compile(r"</?(?:br|p|li|ul|ol|div|h\d|tr|td|table|hr)\b[^<>]{0,300}>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z!][^<>]{0,300}>")
_MARKS = re.compile(
    "[\u2122\u00ae\u00a9\u2120\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff]"
)  # (TM), invisible characters
_HYPHENS = str.maketrans({"\u2010": "-", "\u2011": "-", "\u2212": "-"})
_DASH = re.compile("[\u2012-\u2015]")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_BREAK = re.compile(r"[\n\r;|\u2022\u00b7\u25cf]+|\s+[-*]+\s+|(?<=[.!?:])\s+|(?<=[.!?])(?=[A-Z][a-z])")
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:\w|(?:\w\.)+\w|assn|co|inc|ltd|st|mr|mrs|ms|dr|no|vs|approx|incl|max|min)\.$", re.I
)
_WORD = re.compile(
    r"(?:[^\W\d_]\.){2,}"  # u.s.
    r"|\d+(?:[.,/]\d+)+\w*"  # 3/4th, 1.5
    r"|[^\W_]+(?:['\-][^\W_]+)*(?:'(?!\w))?"  # men's, t-shirt, girls'
    r"|[^\w\s]"
)


def clean(text: str | None) -> str:
    """Text without mark-up, mojibake, invisible characters and typographic variants; its case is kept.

    HTML entities are resolved twice, since catalogues often escape them twice. Letters are brought to NFKC.
    """
    if not text:
        return ""
    if not isinstance(text, str):
        raise ValueError(
            f"expected a text, got {type(text).__name__} {text!r}; give the fields of a product as strings"
        )
    if "&" in text:
        text = html.unescape(html.unescape(text))
    if "<" in text:
        text = _TAG.sub(" ", _BREAKING_TAG.sub("\n", text))
    if not text.isascii():
        import ftfy

        text = _MARKS.sub("", ftfy.fix_text(text))
        text = _MARKS.sub("", unicodedata.normalize("NFKC", _DASH.sub(" - ", text).translate(_HYPHENS)))
        text = text.replace("\u2018", "'").replace("\u2019", "'")
        text = text.encode("utf-8", "ignore").decode()  # a lone half of a surrogate pair cannot be written to any file
    return _CONTROL.sub(" ", text.replace("\t", " ")).strip()


def sentences(text: str | None) -> list[str]:
    """Sentences and lines of a text, cleaned, in order; none of them is empty."""
    found: list[str] = []
    for piece in _split(clean(text)):
        piece = " ".join(piece.split())
        if piece:
            found.append(piece)
    return found


def _split(text: str) -> list[str]:
    pieces, start = [], 0
    for gap in _BREAK.finditer(text):
        if text[gap.start() - 1 : gap.start()] == "." and _ABBREVIATION.search(
            text[max(0, gap.start() - 12) : gap.start()]
        ):
            continue
        pieces.append(text[start : gap.start()])
        start = gap.end()
    return [*pieces, text[start:]]


def words(sentence: str) -> list[tuple[str, bool]]:
    """Words and punctuation marks, lower-case, each with whether it began with a capital letter."""
    return [(found.lower(), found[0].isupper()) for found in _WORD.findall(sentence)]
