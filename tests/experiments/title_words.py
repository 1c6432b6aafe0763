"""How much of a product's labels do the words of its title give away?

    python tests/experiments/title_words.py --fashiongen TREE

Multinomial logistic regression on the set of words of the titles of a FashionGen tree, trained on its training products:
accuracy of category and sub-category over the photos of its test products, beside the most frequent label's. A control for
classification, which is given the title and a photo.
"""

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from train.engine.arguments import argument, parse_arguments


@dataclasses.dataclass
class TitleWordsArguments:
    """Where the products are."""

    fashiongen: str = argument(help="tree of data_scripts/fashiongen.py with info files")
    epochs: int = argument(150, "passes over all training titles at once", minimum=1)


def words(title: str) -> set[str]:
    return set(re.findall(r"[a-z0-9]+", title.lower()))


def bags(rows: list[dict[str, Any]], vocabulary: dict[str, int]) -> torch.Tensor:
    """(rows, words) 1 where the title has the word; words outside the vocabulary are left out."""
    counts = torch.zeros(len(rows), len(vocabulary))
    for row, product in enumerate(rows):
        counts[row, [vocabulary[word] for word in words(product["title"]) if word in vocabulary]] = 1
    return counts


def accuracy(train: list[dict[str, Any]], test: list[dict[str, Any]], label: str, epochs: int) -> dict[str, float]:
    """Percent of test photos whose label is the regression's, and whose label is training's most frequent."""
    vocabulary = {word: i for i, word in enumerate(sorted(set().union(*(words(row["title"]) for row in train))))}
    targets, truth = torch.tensor([row[label] for row in train]), np.array([row[label] for row in test])
    torch.manual_seed(0)
    model = torch.nn.Linear(len(vocabulary), int(targets.max()) + 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=1e-3)
    inputs = bags(train, vocabulary)
    for _ in range(epochs):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    with torch.no_grad():
        predicted = model(bags(test, vocabulary)).argmax(dim=1).numpy()
    photos = [len(row["images"]) for row in test]
    return {
        "title_words": 100 * float(np.average(predicted == truth, weights=photos)),
        "most_frequent": 100 * float(np.average(truth == int(targets.bincount().argmax()), weights=photos)),
    }


def main() -> None:
    (arguments,) = parse_arguments(TitleWordsArguments, description=__doc__)
    tree = Path(arguments.fashiongen)
    tree = tree / "FashionGen" if (tree / "FashionGen").is_dir() else tree
    train, test = (json.loads((tree / f"{split}_info.json").read_text(encoding="utf-8")) for split in ("train", "val"))
    for label in ("category_id", "subcategory_id"):
        print(json.dumps({label: accuracy(train, test, label, arguments.epochs)}))


if __name__ == "__main__":
    main()
