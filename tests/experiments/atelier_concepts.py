"""Score mined concept graphs against the truth of Atelier's worlds: concepts and is-a edges, both wordings.

    python tests/experiments/atelier_concepts.py --output_dir runs/atelier_concepts

Makes each world as a FashionGen tree (or finds it), mines its training texts with the settings of `fashionklip_graph.py
build`, and compares the graph with the concepts that the texts were written with. Writes table.json and table.md.
"""

import dataclasses
import json
from collections.abc import Set
from pathlib import Path

from data_scripts.atelier import WorldSettings, build_world
from data_scripts.atelier.fashiongen_layout import FASHIONGEN_ROOT, concept_truth, read_mentions
from data_scripts.concepts.building import build_graph
from data_scripts.concepts.records import read_records
from train.engine.arguments import argument, parse_arguments


@dataclasses.dataclass
class WorldArguments:
    """Which worlds."""

    output_dir: str = argument(help="folder of the worlds and of the table")
    garments: int = argument(3000, "garments of each world", minimum=200)
    seeds: list[int] = argument([7, 8, 9], "seeds of the worlds")
    wordings: list[str] = argument(["shop", "exotic"], "wordings of the worlds")


def compare(found: Set, true: Set) -> dict[str, float]:
    """Counts, precision and recall in per cent."""
    right = len(found & true)
    return {
        "found": len(found),
        "true": len(true),
        "precision": round(100 * right / len(found), 1) if found else 0.0,
        "recall": round(100 * right / len(true), 1) if true else 0.0,
    }


def score_world(world: Path) -> dict[str, dict[str, float]]:
    """Mine a world's training texts and compare."""
    truth = concept_truth(read_mentions(world))
    records = read_records(world / FASHIONGEN_ROOT, "fashiongen", images="absent").records
    graph = build_graph(records)
    fathers = graph.fathers()
    edges = {(concept, father) for concept, father in fathers.items() if father}
    return {"concepts": compare(set(fathers), set(truth.fathers)), "edges": compare(edges, truth.edges())}


def main() -> None:
    (arguments,) = parse_arguments(WorldArguments, description=__doc__)
    folder = Path(arguments.output_dir)
    rows = []
    lines = ["| world | concepts: true, mined | precision | recall | edges: true, mined | precision | recall |"]
    lines.append("|---|---|---|---|---|---|---|")
    for wording in arguments.wordings:
        for seed in arguments.seeds:
            world = folder / f"{wording}-{seed}"
            layouts = ("fashiongen",)
            build_world(world, WorldSettings(arguments.garments, seed, image_size=32, layouts=layouts, wording=wording))
            row = score_world(world)
            rows.append({"wording": wording, "seed": seed, **row})
            cells = []
            for part in row.values():
                cells += [f"{part['true']:,}, {part['found']:,}", f"{part['precision']:.1f}", f"{part['recall']:.1f}"]
            lines.append(f"| {wording}, seed {seed} | {' | '.join(cells)} |")
    (folder / "table.json").write_text(json.dumps(rows, indent=1))
    (folder / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    print(json.dumps(rows[-1]))


if __name__ == "__main__":
    main()
