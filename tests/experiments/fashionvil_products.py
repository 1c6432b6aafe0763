"""FashionViL on photos of real products: is pre-training worth it, and a trained backbone?

    python -m tests.experiments.fashionvil_products --fashiongen TREE --fashioniq TREE --polyvore TREE \\
        --vision_weights DIR --output_dir runs/vil-products

The image encoder starts from --vision_weights (train/recipes/fashionvil_architectures/mobilenet.yaml gives the rest of the
sizes, from random weights). Every downstream task is fine-tuned with one budget from three starts: "pretrained" on the
training products of the FashionGen tree, "scratch" without pre-training, and "frozen", without pre-training and with an image
encoder that stays as it is. "longer" goes on from pre-training with twice the updates, larger batches, augmented pictures and
the pre-trained scale, for the three tasks that rank. Texts of the FashionGen tree are the titles alone: descriptions may name
the labels. The model after the last step answers the test questions once. Finished runs are kept.
Writes table.json and table.md (as tests/experiments/fashionvil.py), and figures.json: every group's hits at every cut-off, and
those of text to image once more with a title counted as often as its product has photos.
"""

import dataclasses
import json
from pathlib import Path

import numpy as np

from tests.experiments.fashionvil import Job, markdown, run_all, table
from train.engine.arguments import argument, parse_arguments

ARMS = ("pretrained", "scratch", "frozen", "longer")
TASKS = ("retrieval", "category", "subcategory", "composition", "outfits")
RANKING = ("retrieval", "composition", "outfits")
ARCHITECTURE = "train/recipes/fashionvil_architectures/mobilenet.yaml"
SHARES = {"itc": 0.3, "mvc": 0.2, "pac": 0.15, "mlm": 0.2, "itm": 0.15}


@dataclasses.dataclass
class ExperimentArguments:
    """Where the data is, and what to run."""

    fashiongen: str = argument(
        help="tree of data_scripts/fashiongen.py with attributes, to pre-train and for three tasks"
    )
    fashioniq: str = argument(help="tree of data_scripts/fashioniq.py whose test split has targets")
    polyvore: str = argument(help="tree of data_scripts/polyvore.py with fill-in-the-blank questions")
    vision_weights: str = argument(help="folder of an image network of transformers")
    output_dir: str = argument(help="folder of all runs and of the tables")
    seeds: list[int] = argument([0], "seeds")
    tasks: list[str] = argument(list(TASKS), "downstream tasks")
    arms: list[str] = argument(list(ARMS), "starts of the fine-tunings")
    pretraining_steps: int = argument(600, "updates of the pre-training", minimum=1)
    finetuning_steps: int = argument(250, "updates of a fine-tuning", minimum=1)
    batch_size: int = argument(48, "rows per update", minimum=2)
    learning_rate: float = argument(3e-4, "of every parameter", above=0)
    jobs: int = argument(1, "runs at a time", minimum=1)
    seconds: float | None = argument(None, "start no further run after this time")


def titles_alone(tree: Path, out: Path) -> Path:
    """A copy of a FashionGen tree without descriptions; the photos are links."""
    source = tree / "FashionGen" if (tree / "FashionGen").is_dir() else tree
    folder = out / "FashionGen"
    folder.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        copy = folder / path.name
        if path.name.endswith("_info.json"):
            rows = json.loads(path.read_text(encoding="utf-8"))
            copy.write_text(json.dumps([row | {"description": ""} for row in rows]), encoding="utf-8")
        elif not copy.exists():
            copy.symlink_to(path.resolve())
    return out


def jobs_of(arguments: ExperimentArguments) -> list[Job]:
    """Everything to run, in the order of importance."""
    out = Path(arguments.output_dir).resolve()
    products = titles_alone(Path(arguments.fashiongen).resolve(), out / "titles")
    weights = ["--architecture", ARCHITECTURE, "--vision_weights", str(Path(arguments.vision_weights).resolve())]
    common = ["--overwrite", "--cpu", "--train_batch_norm", "false", "--no_augment", "--max_length", "40"]
    common += ["--batch_size", str(arguments.batch_size), "--learning_rate", str(arguments.learning_rate)]
    common += ["--lr_multiplier", "1", "--weight_decay", "1e-2", "--schedule", "cosine", "--max_grad_norm", "5"]
    common += ["--checkpoint_seconds", "1e9"]
    composition = ["--data_dir", str(Path(arguments.fashioniq).resolve()), "--validation_split", "test"]
    outfits = ["--data_dir", str(Path(arguments.polyvore).resolve()), "--validation_split", "test"]
    data = {
        "products": ["--data_dir", str(products)],
        "composition": [*composition, "--protocol", "composed/pooled-noref"],
        "outfits": [*outfits, "--dataset", "polyvore"],
    }

    def pixels(name: str) -> list[str]:
        return ["--pixel_cache", str(out / "pixels" / name)]

    def pretraining(seed: int) -> Job:
        command = ["train/fashionvil_pretrain.py", *data["products"], *pixels("products"), *weights, *common]
        command += ["--seed", str(seed)]
        command += ["--tasks", *SHARES, "--task_shares", *(str(share) for share in SHARES.values())]
        command += ["--attribute_scale", "16", "--warmup", "50", "--steps", str(arguments.pretraining_steps)]
        command += ["--validation_steps", str(arguments.pretraining_steps), "--save", "last"]
        return Job(f"pretraining-{seed}", out / f"pretraining-{seed}", command)

    def finetuning(arm: str, task: str, seed: int) -> Job:
        start, steps = f"pretraining-{seed}", arguments.finetuning_steps * (2 if arm == "longer" else 1)
        source = task if task in data else "products"
        command = ["train/fashionvil_finetune.py", "--task", task, *data[source], *pixels(source), *common]
        command += ["--warmup", "20", "--steps", str(steps), "--validation_steps", str(steps), "--save", "none"]
        command += ["--seed", str(seed)]
        pretrained = arm in ("pretrained", "longer")
        command += ["--model", str(out / start / "model")] if pretrained else weights
        if arm == "frozen":
            command += ["--freeze", "image_encoder" if task == "outfits" else "model.image_encoder"]
        if arm == "longer":
            command += ["--augment", "--transfer_scale", "--batch_size", "64", "--weight_decay", "5e-2"]
            command += pixels(f"uncropped-{source}")
        return Job(f"{arm}-{task}-{seed}", out / f"{arm}-{task}-{seed}", command, (start,) if pretrained else ())

    jobs = []
    for seed in arguments.seeds:
        jobs.append(pretraining(seed))
        for task in arguments.tasks:
            arms = [arm for arm in arguments.arms if arm != "longer" or task in RANKING]
            jobs += [finetuning(arm, task, seed) for arm in arms]
    return jobs


def figures(out: Path) -> dict[str, dict[str, list[float]]]:
    """Run -> group of queries -> hits in percent at every cut-off.

    The program asks with every title once; "text_to_image_per_photo" asks with it once for each photo of its product.
    """
    with open(out / "titles" / "FashionGen" / "val_info.json", encoding="utf-8") as file:
        photos: dict[str, int] = {}
        for row in json.load(file):
            photos[row["title"]] = photos.get(row["title"], 0) + len(row["images"])
    found = {}
    for path in sorted(out.glob("*/hits.npz")):
        with np.load(path) as groups:
            own = {name: hits.mean(axis=0) for name, hits in groups.items()}
            if "text_to_image" in groups:
                hits = groups["text_to_image"]
                own["text_to_image_per_photo"] = np.average(hits, axis=0, weights=list(photos.values()))
            found[path.parent.name] = {name: (100 * hits).tolist() for name, hits in own.items()}
    return found


def main() -> None:
    (arguments,) = parse_arguments(ExperimentArguments, description=__doc__)
    out = Path(arguments.output_dir).resolve()
    out.mkdir(parents=True, exist_ok=True)

    def report() -> None:
        found = table(out, ARMS, arguments.tasks, arguments.seeds)
        (out / "table.json").write_text(json.dumps(found, indent=1))
        (out / "table.md").write_text(markdown(found, arguments.tasks))
        (out / "figures.json").write_text(json.dumps(figures(out), indent=1))

    run_all(jobs_of(arguments), arguments.jobs, arguments.seconds, report)
    report()
    print((out / "table.md").read_text())


if __name__ == "__main__":
    main()
