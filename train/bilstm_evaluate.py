"""Outfit questions answered by one or several outfit models: fill in the blank and compatibility, with controls.

    python train/bilstm_evaluate.py --model runs/outfits/model --data_dir data/polyvore --questions typed --split test \\
        --output_dir runs/outfits/evaluation
    python train/bilstm_evaluate.py --model runs/bi/model runs/vse/model runs/siamese/model --weights 1 0.5 0.5 \\
        --data_dir data/polyvore --output_dir runs/fusion

Protocols polyvore/fitb and polyvore/compatibility, and those of Polyvore Outfits (train/retrieval/outfit_protocols.py);
train/evaluation.py evaluates one model under one of them. Controls: chance, the most popular answer, and the category that is
worn most with the question's, both counted on the training outfits. Several models are fused by weighted means of their
scores; without --weights all weigh the same, with --fit_weights they are chosen on the validation split.

--output_dir gets results.json and scores.npz (every answer's and outfit's score, per model and fused). The last line on
standard output is one JSON object.
"""

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from train.engine.arguments import argument, parse_arguments, run_program
from train.engine.bilstm_arguments import OutfitData

KINDS = ("fill_in_blank", "compatibility")  # of questions


@dataclasses.dataclass
class OutfitEvaluation:
    """What to evaluate and how."""

    model: list[str] = argument(help="model folders or Hub ids; several are fused")
    output_dir: str = argument(help="folder for results.json and scores.npz; must be empty or new unless --overwrite")
    overwrite: bool = argument(False, "write into --output_dir although it is not empty")
    split: str = argument("test", "split whose questions are asked")
    weights: list[float] = argument([], "weight of each model; default: equal ones")
    fit_weights: bool = argument(False, "choose the weights of each kind of questions on those of --validation_split")
    direction: Literal["both", "forward", "backward", "pooled"] | None = argument(
        None, "how blanks are scored; default: both, pooled for models without recurrent networks"
    )
    revision: str | None = argument(None, "revision of Hub models")
    trust_remote_code: bool = argument(False, "run the code in the model folder, for types of other projects")
    resamples: int = argument(10_000, "bootstrap resamples of fill in the blank; a tenth for areas", minimum=100)
    seed: int = argument(0, "seed of the bootstrap", minimum=0)
    cpu: bool = argument(False, "run on the CPU even where there is a GPU")


def main() -> None:
    arguments, data = parse_arguments(OutfitEvaluation, OutfitData, description=__doc__)
    results = evaluate(arguments, data)
    print(json.dumps({r["protocol"]: {n: round(f["value"], 4) for n, f in r["figures"].items()} for r in results}))


def evaluate(
    arguments: OutfitEvaluation, data: OutfitData, kinds: Sequence[str] = KINDS, data_name: str | None = None
) -> list[dict[str, Any]]:
    """Score, compare with the controls, and write the files.

    Args:
        kinds: of questions. data_name: of the data, for reports and cards.

    Returns:
        One result per kind, as in results.json.

    Raises:
        FileNotFoundError: data or model are missing.
        ValueError: a model of another system, or weights that do not fit.
    """
    import numpy as np
    from accelerate import Accelerator

    from train.engine.outfits import load_outfits
    from train.engine.run import replace_text
    from train.evaluation import check_output_dir, package_versions
    from train.retrieval.loading import describe_model, load_model
    from train.retrieval.outfit_files import write_scores
    from train.retrieval.outfit_protocols import blank_result, compatibility_result, fused, protocol_of

    folder = Path(arguments.output_dir) if arguments.output_dir else None
    check_output_dir(folder, arguments.overwrite)
    if arguments.weights and len(arguments.weights) != len(arguments.model):
        raise ValueError(f"--weights has {len(arguments.weights)} numbers for {len(arguments.model)} models")
    device = Accelerator(cpu=arguments.cpu or None).device
    loaded = [load_model(name, arguments.revision, arguments.trust_remote_code, device) for name in arguments.model]
    for name, (model, _) in zip(arguments.model, loaded, strict=True):
        if model.config.model_type != "bilstm":
            raise ValueError(f"{name} is a {type(model).__name__}; outfits need a Bi-LSTM (model type bilstm)")
    weights = dict.fromkeys(kinds, arguments.weights or [1.0] * len(loaded))
    if arguments.fit_weights and len(loaded) > 1:
        weights = fit_weights(*scores_of(loaded, arguments, data, data.validation_split, kinds), kinds)
    scored, questions = scores_of(loaded, arguments, data, arguments.split, kinds)
    own = {
        kind: fused([scores[kind] for scores in scored], weights[kind], kind == "fill_in_blank")
        if len(scored) > 1
        else scored[0][kind]
        for kind in kinds
    }
    train = load_outfits(data, data.train_split, photos=False)
    asked = load_outfits(data, arguments.split, photos=False)
    blank_controls, outfit_controls = control_scores(train, asked, questions, products(data, train, asked))
    right, labels = questions.right_mask(), np.array(questions.labels)
    results = []
    for kind in kinds:
        name = protocol_of(kind, data.dataset, data.disjoint)
        if kind == "fill_in_blank":
            results.append(blank_result(own[kind], right, blank_controls, arguments.resamples, arguments.seed, name))
        else:
            resamples = max(100, arguments.resamples // 10)
            results.append(compatibility_result(own[kind], labels, outfit_controls, resamples, arguments.seed, name))
    for result in results:
        print(result.table(), end="\n\n")
    described = [describe_model(name, model) for name, (model, _) in zip(arguments.model, loaded, strict=True)]
    digest = fingerprint(questions)
    origin = {
        "split": arguments.split,
        "questions": data.questions or "official",
        "seed": arguments.seed,
        "model": described[0] if len(described) == 1 else described,
        "mixed_precision": "no",
        "packages": package_versions(),
    }
    written = []
    for kind, result in zip(kinds, results, strict=True):
        about = {"layout": data.dataset, "fingerprint": digest, "queries": result.queries}
        mixed = {"weights": weights[kind]} if len(loaded) > 1 else {}
        about |= {"name": data_name} if data_name else {}
        written.append(result.to_dict() | origin | mixed | {"data": about})
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        names = {kind: result.name for kind, result in zip(kinds, results, strict=True)}
        write_scores(folder / "scores.npz", own, scored, names, questions, digest)
        replace_text(folder / "results.json", json.dumps({"results": written}, indent=2) + "\n")
    return written


def scores_of(
    loaded: list, arguments: OutfitEvaluation, data: OutfitData, split: str, kinds: Sequence[str]
) -> tuple[list[dict[str, Any]], Any]:
    """Of every model the scores by kind of questions, and the questions."""
    from train.engine.bilstm import bank_of, pair_scores
    from train.engine.outfits import load_outfits, load_questions, pooled_features
    from train.retrieval.outfit_scores import score_outfits, score_questions

    photos = any(model.config.has_images for model, _ in loaded)
    asked = load_outfits(data, split, photos)
    questions = load_questions(data, split, data.questions, photos, asked, kinds)
    cache = Path(data.feature_cache or Path(arguments.output_dir) / "cache")
    scored = []
    for model, processor in loaded:
        features = None
        if model.config.has_images:
            features = pooled_features(model, processor, asked, cache, data.feature_batch)
        bank = bank_of(model, processor, asked, features)
        direction = arguments.direction or ("both" if model.config.has_recurrent else "pooled")
        scores = {}
        if "fill_in_blank" in kinds:
            scores["fill_in_blank"] = score_questions(model, bank, questions.blanks, direction, data.missing)
        if "compatibility" in kinds and model.config.has_recurrent:
            found = score_outfits(model, bank, questions.lines, data.missing)
            scores["compatibility"] = found[direction if direction != "pooled" else "both"]
        elif "compatibility" in kinds:
            scores["compatibility"] = pair_scores(bank, questions.lines)
        scored.append(scores)
    return scored, questions


def fit_weights(scored: list[dict[str, Any]], questions: Any, kinds: Sequence[str]) -> dict[str, list[float]]:
    """The weights of a fusion by kind of questions: what weighs well for blanks may not for whole outfits."""
    import numpy as np

    from train.retrieval.outfit_scores import area_under_curve, right_share

    right, labels = questions.right_mask(), np.array(questions.labels)

    def accuracy(scores: np.ndarray) -> float:
        return float(np.nanmean(right_share(scores, right)))

    def area(scores: np.ndarray) -> float:
        kept = ~np.isnan(scores)
        return area_under_curve(scores[kept], labels[kept])

    figure = {"fill_in_blank": accuracy, "compatibility": area}
    return {
        kind: best_weights([scores[kind] for scores in scored], kind == "fill_in_blank", figure[kind]) for kind in kinds
    }


def best_weights(scores: list, blanks: bool, figure: Callable[[Any], float]) -> list[float]:
    """Weights in steps of a tenth with the highest figure of the fused scores; of equal ones those nearest to equal."""
    import itertools

    import numpy as np

    from train.retrieval.outfit_protocols import fused

    steps = [w for w in itertools.product(range(11), repeat=len(scores)) if sum(w) == 10]
    found = {w: figure(fused(scores, w, blanks)) for w in steps}
    best = max(steps, key=lambda w: (round(found[w], 9), -float(np.var(w))))
    return [value / 10 for value in best]


def products(data: OutfitData, *parts: Any) -> dict[str, Any]:
    """Item -> what it is the same as in other outfits: by its picture where there are photos, else by name and category."""
    from train.engine.outfits import load_outfits, picture_digest

    found: dict[str, Any] = {}
    for part in parts:
        try:
            pictures = load_outfits(data, part.split, photos=True).pictures
        except (FileNotFoundError, ValueError):
            pictures = None
        for place, item in enumerate(part.ids):
            named = (part.texts[place], part.categories[place]) if part.texts[place] else item
            found[item] = picture_digest(pictures[place]) if pictures else named
    return found


def control_scores(train: Any, asked: Any, questions: Any, known: dict[str, Any]) -> tuple[dict, dict]:
    """Scores of the controls "popularity" and "categories", of blanks and of outfits.

    Shards know no categories, and then neither do the controls.
    """
    import numpy as np

    from train.retrieval.outfit_protocols import Controls

    controls = Controls(
        [[(known[train.ids[place]], train.categories[place]) for place in outfit] for outfit in train.outfits]
    )
    category = dict(zip(asked.ids, asked.categories, strict=True))
    widest = max((len(blank.answers) for blank in questions.blanks), default=0)
    popular, fits = (np.full((len(questions.blanks), widest), np.nan) for _ in range(2))
    for number, blank in enumerate(questions.blanks):
        others = [category[item] for item in blank.items if item in category]
        for place, answer in enumerate(blank.answers):
            if answer in category:
                popular[number, place] = controls.popularity(known[answer])
                fits[number, place] = controls.fit(category[answer], others)
    lines = [[item for item in line if item in category] for line in questions.lines]
    by_product = [float(np.mean([controls.popularity(known[item]) for item in line])) for line in lines]
    by_category = [
        float(
            np.mean(
                [
                    controls.fit(category[a], [category[b] for j, b in enumerate(line) if j != i])
                    for i, a in enumerate(line)
                ]
            )
        )
        for line in lines
    ]
    controls_of = (
        {"popularity": popular, "categories": fits},
        {"popularity": np.array(by_product), "categories": np.array(by_category)},
    )
    if not any(asked.categories):
        for scores in controls_of:
            del scores["categories"]
    return controls_of


def fingerprint(questions: Any) -> str:
    """Digest of the questions."""
    import hashlib

    content = [[*blank.items, blank.blank_position, *blank.answers] for blank in questions.blanks]
    return hashlib.sha256(json.dumps([content, questions.lines, questions.labels]).encode()).hexdigest()[:16]


if __name__ == "__main__":
    run_program(main)
