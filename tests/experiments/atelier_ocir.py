"""How often Atelier's style rule, and each part of it alone, finds the missing item of an outfit.

    python tests/experiments/atelier_ocir.py --data_dir WORLD --output_dir runs/atelier_ocir

WORLD is an Atelier world with the layout polyvore_outfits. Recall inside each category, averaged over the categories, as
protocol polyvore-outfits/ocir has it; the target's place among n equal scores counts as each of the n places. What the rule
misses is not in the pictures either: other items fit as well. Writes table.json and table.md.
"""

import dataclasses
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from data_scripts.atelier.garment import Garment
from data_scripts.atelier.oracle import outfit_score
from data_scripts.atelier.outfit_layouts import GARMENTS_FILE, POLYVORE_OUTFITS_ROOT, VERSIONS
from data_scripts.atelier.outfit_rule import PARTS, SLOT_ORDER
from data_scripts.polyvore_ocir import question_file
from train.engine.arguments import argument, parse_arguments

READERS = {"the whole rule": PARTS} | {f"{part} alone": (part,) for part in PARTS if part != "slots"} | {"chance": None}
CUTOFFS = (10, 30, 50)


@dataclasses.dataclass
class OcirWorld:
    """Which world."""

    data_dir: str = argument(help="folder of the world")
    output_dir: str = argument(help="folder of the table")


def expected_hits(scores: list[float], own: int) -> list[float]:
    """Probability that the item at place `own` is among the first, for each of CUTOFFS, ties being broken by chance."""
    better, equal = sum(s > scores[own] for s in scores), sum(s == scores[own] for s in scores)
    return [min(max((k - better) / equal, 0), 1) for k in CUTOFFS]


def recalls(world: Path, version: str) -> dict[str, list[float]]:
    """Recall of each reader at CUTOFFS, in per cent."""
    lines = (world / GARMENTS_FILE).read_text(encoding="utf-8").splitlines()
    garments = {garment.id: garment for garment in (Garment.from_row(json.loads(line)) for line in lines)}
    rows = json.loads(question_file(world / POLYVORE_OUTFITS_ROOT, version, "test").read_text(encoding="utf-8"))
    galleries: dict[str, dict[str, None]] = defaultdict(dict)
    for row in rows:
        galleries[garments[row["blank"]].category][row["blank"]] = None
    hits = {name: defaultdict(list) for name in READERS}
    for row in (row for row in rows if not row["fake_data"]):
        others, category = [garments[item] for item in row["question"]], garments[row["blank"]].category
        items = list(galleries[category])
        dressed = [sorted([*others, garments[i]], key=lambda g: SLOT_ORDER.index(g.slot)) for i in items]
        for name, parts in READERS.items():
            scores = [outfit_score(outfit, parts) if parts else 0.0 for outfit in dressed]
            hits[name][category].append(expected_hits(scores, items.index(row["blank"])))
    means = {name: [np.mean(some, axis=0) for some in own.values()] for name, own in hits.items()}
    return {name: np.round(100 * np.mean(own, axis=0), 1).tolist() for name, own in means.items()}


def main() -> None:
    (world,) = parse_arguments(OcirWorld, description=__doc__)
    asked = {version: recalls(Path(world.data_dir), version) for version in VERSIONS}
    heads = [f"{version}, R@{k}" for version in VERSIONS for k in CUTOFFS]
    lines = [f"| who answers | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
    for name in READERS:
        figures = [f"{figure:.1f}" for version in VERSIONS for figure in asked[version][name]]
        lines.append(f"| {name} | {' | '.join(figures)} |")
    folder = Path(world.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.json").write_text(json.dumps(dataclasses.asdict(world) | asked, indent=1))
    (folder / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    print(json.dumps(asked))


if __name__ == "__main__":
    main()
