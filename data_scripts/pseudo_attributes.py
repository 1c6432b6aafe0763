"""Pseudo-attributes: the nouns and adjectives that a catalogue's texts use most, as labels of its products.

FashionViL (section 3.3, "pseudo-attribute classification") has 2,232 of them; neither its list nor its code was published, so
ids in published annotations are opaque and these are others. The rule here:

    words     what the tagger of data_scripts/concepts calls a noun (garment, part) or an adjective (colour, material,
              pattern, fit, occasion and other modifiers), in lower case; fixed expressions such as `navy blue` are one
              word; nouns are singular. Words that its list lacks count once the texts themselves show what they are.
    kept      words that at least `min_count` products use, of these at most `most`: those that the most products use
    order     by falling number of products, then alphabetical; a word's id is its place, from 0

    names = vocabulary(texts, min_count=20)                     [("cotton", 31250), ("black", 29411), ...]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from data_scripts.concepts.chunker import Chunker, Text, fields_of, singular_head
from data_scripts.concepts.lexicon import MODIFIERS, NOUNS
from data_scripts.concepts.mining import learn

PUBLISHED_NUMBER = 2232


class AttributeWords:
    """The attribute words of texts.

    Args:
        texts: of the training products, each a text or its fields; unknown words are learned from them.
    """

    def __init__(self, texts: Iterable[Text]) -> None:
        self.tagger = learn(texts, chunker=Chunker()).tagger

    def __call__(self, text: Text) -> list[str]:
        """The distinct words of one product, in the order in which they occur."""
        found: dict[str, None] = {}
        for part in fields_of(text):
            for unit in (unit for sentence in self.tagger.sentences(part) for unit in sentence):
                if unit.kind in NOUNS:
                    found[singular_head(unit.text)] = None
                elif unit.kind in MODIFIERS:
                    found[unit.text] = None
        return list(found)


def vocabulary(
    products: Iterable[Sequence[str]], min_count: int = 20, most: int = PUBLISHED_NUMBER
) -> list[tuple[str, int]]:
    """The words that are kept with their number of products; a word's place is its id.

    Args:
        products: distinct words of every training product.
        min_count: least number of products that use a word.
        most: how many words are kept.

    Raises:
        ValueError: an argument below 1, or no word is left.
    """
    if min_count < 1 or most < 1:
        raise ValueError(f"min_count and most must be at least 1, got {min_count} and {most}")
    counts = Counter(word for words in products for word in words)
    ranked = sorted(
        ((word, n) for word, n in counts.items() if n >= min_count), key=lambda entry: (-entry[1], entry[0])
    )
    if not ranked:
        most_common = counts.most_common(1)
        found = f"the most frequent word is in {most_common[0][1]} products" if most_common else "there are no words"
        raise ValueError(f"no word is in {min_count} products, {found}; use a smaller min_count")
    return ranked[:most]


def attribute_ids(words: Iterable[str], ids: dict[str, int]) -> list[int]:
    """Ids of a product's words that are in the vocabulary, in rising order."""
    return sorted({ids[word] for word in words if word in ids})
