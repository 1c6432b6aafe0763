"""Score the concepts that the miner finds in real titles against two sets of 200 that were labelled by hand.

    python tests/experiments/concept_labels.py --myntra DIR --output_dir runs/concept_labels

DIR is the Myntra catalogue (see data_scripts/catalogue.py); its training titles teach the chunker unknown words, as
train/fashionklip_graph.py does. The labels (myntra_concepts*.json) are word positions. Prints precision, recall and F1 of the
phrases of a title, with bootstrap intervals over titles, and the same after the vocabulary's frequency threshold; writes
them, with the errors by product id, to scores.json.
"""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from train.engine.arguments import argument, parse_arguments, run_program

# Two readers labelled 200 titles each, apart from one another; they differ in what they take for a compound.
LABELS = tuple(Path(__file__).with_name(f"myntra_concepts{end}.json") for end in ("", "_second"))
# Words that keep their s.
PLURAL_ONLY = {"shorts", "trousers", "jeans", "sunglasses", "pants", "innervests", "flops", "toes", "heels", "flats"}
SINGULAR = {
    "scarves": "scarf",
    "flops": "flop",
    "toes": "toe",
    "heels": "heel",
    "flats": "flat",
    "innervests": "innervest",
}


@dataclasses.dataclass
class LabelArguments:
    """Where the catalogue is."""

    myntra: str = argument(help="the Myntra catalogue")
    output_dir: str = argument("runs/concept_labels", "folder for scores.json")
    min_frequency: int = argument(5, "vocabulary threshold of the second score", minimum=1)
    resamples: int = argument(2000, "bootstrap resamples", minimum=100)


def singular(word: str) -> str:
    """The singular of a head word; what is only ever plural stays."""
    if word in SINGULAR:
        return SINGULAR[word]
    if word in PLURAL_ONLY or not word.endswith("s") or word.endswith(("ss", "us")):
        return word
    if word.endswith("ies"):
        return word[:-1] if word in ("ties", "hoodies", "beanies", "booties", "panties") else word[:-3] + "y"
    return word[:-2] if word.endswith(("ches", "shes", "sses", "xes")) else word[:-1]


def true_phrases(words: list[str], modifiers: Iterable[list[int]], head: list[int]) -> set[str]:
    """Phrases of a labelled title: head, each modifier with the head, each run of the last modifiers with the head.

    Args:
        words: of the title. modifiers: positions of each, in order. head: positions; empty for a title without concept.
    """
    if not head:
        return set()

    def clean(positions: Iterable[int]) -> list[str]:
        return [words[p].lower().strip(".,()") for p in positions]

    *before, last = clean(head)
    end = [*before, singular(last)]
    parts = [clean(m) for m in modifiers]
    phrases = [end, *(part + end for part in parts)]
    for first in range(len(parts)):
        phrases.append([word for part in parts[first:] for word in part] + end)
    return {" ".join(phrase) for phrase in phrases}


def phrases_of_label(title: str, label: dict) -> set[str]:
    """True phrases of a title, those of a second chunk included."""
    chunks = [label, *label.get("extra_chunks", [])]
    return set().union(*(true_phrases(title.split(), chunk["modifiers"], chunk["head"]) for chunk in chunks))


def scores(found: list[set[str]], wanted: list[set[str]], resamples: int = 2000) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 over all phrases of all titles, with 95 % bootstrap intervals over titles."""
    counts = np.array([[len(f & w), len(f), len(w)] for f, w in zip(found, wanted, strict=True)], dtype=float)

    def figures(total: np.ndarray) -> np.ndarray:
        both, mine, theirs = total[..., 0], total[..., 1], total[..., 2]
        precision, recall = both / np.maximum(mine, 1), both / np.maximum(theirs, 1)
        return np.stack([precision, recall, 2 * both / np.maximum(mine + theirs, 1)], axis=-1)

    draws = np.random.default_rng(0).integers(0, len(counts), (resamples, len(counts)))
    spread = np.quantile(figures(counts[draws].sum(axis=1)), [0.025, 0.975], axis=0)
    value = figures(counts.sum(axis=0))
    names = ("precision", "recall", "f1")
    return {n: {"value": value[i], "low": spread[0, i], "high": spread[1, i]} for i, n in enumerate(names)}


def compare(
    titles: dict[str, str], labels: list[dict], phrases_of: Callable[[str], set[str]], resamples: int = 2000
) -> tuple[dict, list[dict], list[set[str]]]:
    """Scores, the errors by product id (misses as word lists of their positions are in the labels), and all phrases."""
    wanted = [phrases_of_label(titles[e["id"]], e) for e in labels]
    found = [phrases_of(titles[e["id"]]) for e in labels]
    errors = [
        {"id": entry["id"], "missed": len(w - f), "false": len(f - w)}
        for entry, f, w in zip(labels, found, wanted, strict=True)
        if f != w
    ]
    return scores(found, wanted, resamples), errors, found


def frequent_phrases(phrases: set[str], titles: Iterable[str], least: int) -> set[str]:
    """Of some phrases those whose words stand in this order, singular or plural, in at least so many titles."""
    words = [[singular(word.lower().strip(".,()")) for word in title.split()] for title in titles]
    counts: Counter[str] = Counter()
    for phrase in phrases:
        parts = [singular(part) for part in phrase.split()]
        for title in words:
            place = iter(title)
            counts[phrase] += all(part in place for part in parts)
    return {phrase for phrase, count in counts.items() if count >= least}


def main() -> None:
    (arguments,) = parse_arguments(LabelArguments, description=__doc__)
    from data_scripts.catalogue import Catalogue
    from data_scripts.concepts.mining import learn, phrases_of
    from data_scripts.prepare import prepare

    rows = prepare(Catalogue, "products", arguments.myntra)["train"].select_columns(["product_id", "title"])
    titles = dict(zip(rows["product_id"][:], rows["title"][:], strict=True))
    chunker = learn(list(titles.values()))
    mined = {title: set(phrases_of(title, chunker)) for title in titles.values()}
    frequency = Counter(phrase for title in titles.values() for phrase in mined[title])
    kept = {phrase for phrase, count in frequency.items() if count >= arguments.min_frequency}
    reports = {}
    for path in LABELS:
        labels = json.loads(path.read_text("utf-8"))["titles"]
        lost = [entry["id"] for entry in labels if entry["id"] not in titles]
        if lost:
            raise ValueError(f"{arguments.myntra} lacks {len(lost)} of the labelled products, first: {lost[:3]}")
        every, errors, found = compare(titles, labels, mined.__getitem__, arguments.resamples)
        wanted = [phrases_of_label(titles[e["id"]], e) for e in labels]
        # What enters the graph: phrases of enough titles. A true phrase counts when enough titles hold its words in this
        # order, whether the miner saw it or not.
        common = kept | frequent_phrases(set().union(*wanted) - kept, titles.values(), arguments.min_frequency)
        frequent = scores([f & kept for f in found], [w & common for w in wanted], arguments.resamples)
        for entry, phrases, truth in zip(labels, found, wanted, strict=True):
            if phrases != truth:
                print(
                    f"{titles[entry['id']]}\n   missed {sorted(truth - phrases)}\n   false  {sorted(phrases - truth)}"
                )
        reports[path.stem] = {"titles": len(labels), "all": every, "frequent": frequent, "errors": errors}
    folder = Path(arguments.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scores.json").write_text(json.dumps(reports, indent=1))
    shown = {
        f"{name} {part}": {n: round(f["value"], 4) for n, f in report[part].items()}
        for name, report in reports.items()
        for part in ("all", "frequent")
    }
    print(json.dumps(shown))


if __name__ == "__main__":
    run_program(main)
