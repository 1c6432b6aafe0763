"""Answer composed queries of a data set with a saved model and draw the answers, right ones framed.

    python train/answer_sheet.py --model runs/stage2/model --dataset fashioniq --data_dir data/atelier \\
        --split val --queries 8 --output answers.png

The model is loaded in a process in which this repository cannot be imported, through AutoModel and AutoProcessor with
trust_remote_code: what is drawn is what a Hub user gets.
"""

import dataclasses
import json
from pathlib import Path
from typing import Literal

from train.engine.arguments import argument, parse_arguments, run_program


@dataclasses.dataclass
class AnswerSheetArguments:
    """Which queries to draw."""

    model: str = argument(help="folder of a saved model")
    data_dir: str = argument(help="folder with the data set's official tree")
    output: str = argument(help="PNG file to write")
    dataset: Literal["fashioniq", "cirr", "catalogue"] = argument("fashioniq", "layout of --data_dir")
    split: str | None = argument(None, "split to take queries from; default: the data set's validation split")
    queries: int = argument(8, "number of queries, spread over the split", minimum=1)
    top_k: int = argument(6, "answers per query", minimum=1)


# Loads the model as a Hub user does, encodes the gallery and the queries, and prints the best rows of each query.
_ANSWER = """
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained(task["model"], trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained(task["model"], trust_remote_code=True)
paths, features = task["gallery"], []
with torch.no_grad():
    for first in range(0, len(paths), 64):
        pictures = [Image.open(path) for path in paths[first : first + 64]]
        inputs = processor(images=pictures, return_tensors="pt")
        features.append(torch.nn.functional.normalize(model.get_image_features(**inputs), dim=-1))
    gallery = torch.cat(features)
    inputs = processor(images=[Image.open(paths[r]) for r in task["references"]], text=task["captions"], return_tensors="pt")
    scores = model.get_query_features(**inputs) @ gallery.T
scores[torch.arange(len(scores)), torch.tensor(task["references"])] = -2
for query, rows in enumerate(task["galleries"]):
    outside = torch.ones(len(gallery), dtype=torch.bool)
    outside[rows] = False
    scores[query, outside] = -2
print(json.dumps({"answers": scores.topk(task["top_k"], dim=1).indices.tolist()}))
"""


def main() -> None:
    (arguments,) = parse_arguments(AnswerSheetArguments, description=__doc__)
    from train.engine.isolated import run_isolated
    from train.engine.validation import DEFAULT_PROTOCOLS
    from train.retrieval.composed_data import load_composed_set
    from train.retrieval.contact_sheet import Row, contact_sheet

    data = load_composed_set(arguments.dataset, arguments.data_dir, arguments.split)
    protocol = DEFAULT_PROTOCOLS[arguments.dataset]
    total = len(data.query_ids)
    count = min(arguments.queries, total)
    chosen = [(2 * n + 1) * total // (2 * count) for n in range(count)]
    paths = [picture["path"] for picture in data.images]
    if any(path is None for path in paths):
        raise ValueError("the pictures of this data set are inside Parquet files; use train/search.py to draw answers")
    galleries = data.galleries[protocol]
    answers = run_isolated(
        _ANSWER,
        {
            "model": str(Path(arguments.model).resolve()),
            "gallery": [str(Path(path).resolve()) for path in paths],
            "references": [int(data.reference[q]) for q in chosen],
            "captions": [data.captions[q] for q in chosen],
            "galleries": [galleries[data.categories[q]].tolist() for q in chosen],
            "top_k": arguments.top_k,
        },
        offline=True,
    )["answers"]
    rows, right = [], 0
    for query, found in zip(chosen, answers, strict=True):
        targets = set(data.positives[protocol][query])
        right += bool(targets & set(found))
        rows.append(
            Row(
                reference=paths[int(data.reference[query])],
                text=data.captions[query],
                answers=[paths[row] for row in found],
                right=[row in targets for row in found],
            )
        )
    title = f"{right} of {count} right answers among the first {arguments.top_k}"
    contact_sheet(rows, title=title).save(arguments.output)
    print(json.dumps({"output": arguments.output, "queries": count, f"hits_at_{arguments.top_k}": right}))


if __name__ == "__main__":
    run_program(main)
