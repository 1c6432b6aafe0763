"""The concepts of a caption.

The caption is cut into noun chunks as in mining, and the phrases of the chunks that are concepts are returned. So a
match never crosses a chunk, `red shirt` is found in "red cotton shirt" and not in "red shirt dress".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from data_scripts.concepts.chunker import Chunker, Text
from data_scripts.concepts.mining import phrases_of


class ConceptMatcher:
    """Finds concepts in captions.

    Args:
        vocabulary: the concept phrases. chunker: the one they were mined with; its lexicon is extended by the words of
            the vocabulary that it does not know.
    """

    def __init__(self, vocabulary: Iterable[str], chunker: Chunker | None = None) -> None:
        self.vocabulary = frozenset(vocabulary)
        self.chunker = (chunker or Chunker()).knowing(sorted(self.vocabulary))
        self._longest = max((phrase.count(" ") + 1 for phrase in self.vocabulary), default=1)

    def match(self, text: Text) -> list[str]:
        """Distinct concepts of a caption in order of their first word, the longest first where they begin together."""
        return [name for name in phrases_of(text, self.chunker, self._longest) if name in self.vocabulary]


def match(text: Text, vocabulary: Collection[str], chunker: Chunker | None = None) -> list[str]:
    """The concepts of one caption; for many captions make one `ConceptMatcher`."""
    return ConceptMatcher(vocabulary, chunker).match(text)
