"""One of several processes of a golden loss case; started by checks_fashionklip_training.py."""

import json
import sys
from pathlib import Path

from tests.engine.processes import accelerator_of, save
from tests.parity.checks_fashionklip_training import losses_of
from tests.parity.golden import GoldenCase
from train.engine.concept_loss import OFFICIAL


def main(folder: Path) -> None:
    task = json.loads((folder / "case.json").read_text())
    case = GoldenCase(task["system"], Path(task["path"]))
    accelerator = accelerator_of(case.json["world_size"])
    first, last = case.json["rank_slices"][accelerator.process_index]
    inputs = case.group("inputs")
    inputs["concept_features_raw"] = inputs["concept_features_raw"][:, first:last]
    for name in ("image_features_raw", "text_features_raw", "prototypes"):
        inputs[name] = inputs[name][first:last]
    save(accelerator, folder, losses_of(inputs, case, OFFICIAL, official_gather=True))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
