"""Which part of Atelier's style rule answers how many blanks: the whole rule, and each part alone.

    python tests/experiments/atelier_outfits.py --output_dir runs/atelier_outfits

Asks the official (easy) and the typed questions of the test outfits without drawing a picture. An answer that ties with
n - 1 others for the best counts 1/n. Writes table.json and table.md.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np

from data_scripts.atelier.garment import Garment
from data_scripts.atelier.oracle import answer_scores
from data_scripts.atelier.outfit_questions import KINDS, Asker
from data_scripts.atelier.outfit_rule import PARTS
from data_scripts.atelier.outfits import make_outfit, number_of, split_of
from train.engine.arguments import argument, parse_arguments

READERS = {"the whole rule": PARTS} | {f"{part} alone": (part,) for part in PARTS}


@dataclasses.dataclass
class OutfitWorld:
    """Which world."""

    output_dir: str = argument(help="folder of the table")
    outfits: int = argument(1500, "outfits of the world", minimum=200)
    seed: int = argument(7, "seed of the world")


def right_share(scores: list[float]) -> float:
    """1 where the first answer is best, 1/n where n are; else 0."""
    best = [place for place, score in enumerate(scores) if score == max(scores)]
    return (0 in best) / len(best)


def ask(world: OutfitWorld, kind: str) -> dict[str, float]:
    """Blanks that each reader fills, in per cent."""

    def worn(key: str) -> Garment:
        set_id, index = key.split("_")
        return make_outfit(world.seed, number_of(set_id)).garments[int(index) - 1]

    shares: dict[str, list[float]] = {name: [] for name in READERS}
    for number in (n for n in range(world.outfits) if split_of(n) == "test"):
        question = Asker(world.seed, world.outfits, number, kind).blank()
        others, answers = [worn(key) for key in question.question], [worn(key) for key in question.answers]
        for name, parts in READERS.items():
            shares[name].append(right_share(answer_scores(others, question.blank_position, answers, parts)))
    return {name: round(100 * float(np.mean(some)), 1) for name, some in shares.items()}


def main() -> None:
    (world,) = parse_arguments(OutfitWorld, description=__doc__)
    asked = {kind: ask(world, kind) for kind in KINDS}
    lines = ["| who answers | easy blanks, % | typed blanks, % |", "|---|---|---|"]
    lines += [f"| {name} | {asked['random'][name]:.1f} | {asked['typed'][name]:.1f} |" for name in READERS]
    folder = Path(world.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.json").write_text(json.dumps(dataclasses.asdict(world) | asked, indent=1))
    (folder / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    print(json.dumps(asked))


if __name__ == "__main__":
    main()
