"""A fashion concept graph (FashionMMKG) from the texts of any catalogue, without a downloaded language model.

text.py        text repaired, split into sentences and words
lexicon.py     fashion English: the kind of every known word, singular forms
tagging.py     words -> units of known kind
discovery.py   garments, colours, materials and brands that the lexicon lacks, from how a catalogue uses them
chunker.py     units -> noun chunks -> phrases
mining.py      the phrases of many texts, counted and filtered
hierarchy.py   the father of every phrase; insertion of new ones
matching.py    the concepts of a caption
graph.py       the graph and its files
building.py    all of it together: texts -> graph, and later additions
records.py     the texts and pictures of a catalogue, a FashionGen tree or FashionKLIP files
page.py        the graph as a page for the browser
spacy_tagger.py  spaCy in the place of the unknown-word rules (extra `nlp`)
"""
