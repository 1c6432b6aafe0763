"""Write the two CIRR test server files of a model.

    python train/cirr_submission.py --model runs/stage2/model --data_dir cirr_dataset --submission_name combiner

writes submission/CIRR/recall_submission_combiner.json and recall_subset_submission_combiner.json, checks them against
the annotations as the server would, and prints one JSON object: the files, and what the server would object to.
"""

import dataclasses
import json
from typing import Any, Literal

from train.engine.arguments import argument, parse_arguments, run_program


@dataclasses.dataclass
class SubmissionArguments:
    """What to submit."""

    model: str = argument(help="model folder or Hub id")
    data_dir: str = argument(help="CIRR folder (see data_scripts/cirr.py)")
    submission_name: str = argument(help="name of the submission, part of both file names")
    output_dir: str = argument("submission/CIRR", "folder for the two files")
    overwrite: bool = argument(False, "replace files of the same submission name")
    split: str = argument("test1", "split of the queries")
    revision: str | None = argument(None, "revision of a Hub model")
    trust_remote_code: bool = argument(False, "run the code in the model folder, for types of other projects")
    batch_size: int = argument(32, "pictures per forward pass", minimum=1)
    text_batch_size: int = argument(128, "texts per forward pass", minimum=1)
    num_workers: int | None = argument(None, "threads that decode pictures; default: one per core", minimum=1)
    mixed_precision: Literal["no", "bf16", "fp16"] = argument("no", "autocast of the encoders")
    cpu: bool = argument(False, "run on the CPU even where there is a GPU")


def main() -> None:
    (arguments,) = parse_arguments(SubmissionArguments, description=__doc__)
    report = submit(arguments)
    if report is not None:
        print(json.dumps(report))


def submit(arguments: SubmissionArguments) -> dict[str, Any] | None:
    """Encode, rank, write and check on all processes.

    Returns:
        On the main process {"files", "queries", "gallery", "problems"}; None on the others.
    """
    import logging
    from pathlib import Path

    from accelerate import Accelerator

    from train.engine.run import check_processes
    from train.retrieval.cirr_submission import submission, validate_submission, write_submission
    from train.retrieval.composed_data import load_cirr_queries
    from train.retrieval.encode import composer, encode_images, encode_texts
    from train.retrieval.loading import load_model

    name, folder = arguments.submission_name, Path(arguments.output_dir)
    there = [p for p in (folder / f"{m}_submission_{name}.json" for m in ("recall", "recall_subset")) if p.exists()]
    if there and not arguments.overwrite:
        raise FileExistsError(f"{there[0]} exists; pass --overwrite or choose another --submission_name")
    accelerator = Accelerator(cpu=arguments.cpu or None)
    check_processes(accelerator.num_processes)
    with accelerator.main_process_first():
        asked = load_cirr_queries(arguments.data_dir, arguments.split)
    model, processor = load_model(arguments.model, arguments.revision, arguments.trust_remote_code, accelerator.device)
    gallery = encode_images(
        model,
        processor,
        asked.gallery_names,
        dict(zip(asked.gallery_names, asked.images, strict=True)),
        batch_size=arguments.batch_size,
        num_workers=arguments.num_workers,
        precision=arguments.mixed_precision,
    )[1]
    texts = encode_texts(
        model, processor, asked.captions, batch_size=arguments.text_batch_size, precision=arguments.mixed_precision
    )
    if not accelerator.is_main_process:
        return None
    import torch

    row_of = {image: row for row, image in enumerate(asked.gallery_names)}
    reference = torch.tensor([row_of[image] for image in asked.references])
    queries = composer(model)(gallery[reference], texts)
    gallery = torch.nn.functional.normalize(gallery, dim=-1)
    predictions = submission(queries, gallery, asked.gallery_names, asked.pair_ids, asked.references, asked.groups)
    paths = write_submission(predictions, folder, name)
    problems = [f"{p.name}: {problem}" for p in paths for problem in validate_submission(p, asked.annotations())]
    for problem in problems:
        logging.getLogger(__name__).warning("the test server will refuse this submission: %s", problem)
    return {
        "files": [str(path) for path in paths],
        "queries": len(asked.pair_ids),
        "gallery": len(asked.gallery_names),
        "problems": problems,
    }


if __name__ == "__main__":
    run_program(main)
