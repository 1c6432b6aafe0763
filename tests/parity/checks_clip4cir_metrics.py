"""CLIP4Cir's evaluation against the original's numbers: FashionIQ and CIRR figures, and the test server's files."""

import tempfile
from collections.abc import Container
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modeling.clip4cir import CLIP4CirImageProcessor, Combiner, join_captions
from modeling.clip4cir.convert_clip4cir import model_from_official
from tests.benchmarks.bench_ranking import sort_every_row
from tests.parity.golden import GoldenCase, close
from train.metrics.cirr.cirr import CIRR
from train.metrics.fashioniq.fashioniq import FashionIQ
from train.retrieval.cirr_submission import check_submission, submission, write_submission
from train.retrieval.composed import ComposedSet, evaluate_protocol, protocol_figures
from train.retrieval.composed_data import member_rows
from train.retrieval.ranking import top_k

FEW = 100  # bootstrap resamples: the intervals are not looked at here


def check_fiq_metrics(case: GoldenCase) -> None:
    features = {
        category: (case.tensors[f"inputs.{category}.index_features"], case.tensors[f"inputs.{category}.text_features"])
        for category in _categories(case)
    }
    _check_fashioniq(case, features, combiner_of(case))


def check_fiq_end_to_end(case: GoldenCase) -> None:
    model = model_from_official(case.group("weights.clip"), case.group("weights.combiner")).eval()
    size = case.json["config"]["clip"]["image_resolution"]
    processor = CLIP4CirImageProcessor(
        size=size,
        transform=case.json["config"].get("transform", "targetpad"),
        target_ratio=case.json["config"].get("target_ratio", 1.25),
        official_image_modes=True,
    )
    tolerance = case.json["tolerance"]
    features = {}
    for category in _categories(case):
        ids = case.json["annotations"][f"split.{category}.val.json"]
        pictures = [Image.fromarray(case.tensors[f"inputs.{category}.image.{name}"].numpy()) for name in ids]
        pixels = processor(pictures, return_tensors="pt")["pixel_values"]
        first = case.tensors[f"expected.{category}.pixel_values_first2"]
        close(pixels[: len(first)], first, {"atol": tolerance["pixel_values"]}, f"{category} pixels")
        with torch.no_grad():
            images = model.get_image_features(pixels)
            texts = model.get_text_features(case.tensors[f"inputs.{category}.input_ids"].long())
        wanted = case.group(f"expected.{category}")
        close(images, wanted["index_features"], tolerance["features"], f"{category} gallery features")
        close(texts, wanted["text_features"], tolerance["features"], f"{category} text features")
        features[category] = (images, texts)
    _check_fashioniq(case, features, model.combiner)


def check_cirr_metrics(case: GoldenCase) -> None:
    names = list(case.json["annotations"]["split.rc2.val.json"])
    rows = case.json["annotations"]["cap.rc2.val.json"]
    assert [row["caption"] for row in rows] == case.json["expected"]["captions_sent_to_tokenizer_val"]
    row_of = {name: row for row, name in enumerate(names)}
    pair_ids = [str(row["pairid"]) for row in rows]
    data = ComposedSet(
        gallery_ids=names,
        galleries={"cirr/val": {"all": torch.arange(len(names))}},
        query_ids=pair_ids,
        captions=[row["caption"] for row in rows],
        reference=torch.tensor([row_of[row["reference"]] for row in rows]),
        positives={"cirr/val": [[row_of[row["target_hard"]]] for row in rows]},
        categories=["all"] * len(rows),
        members=member_rows(row_of, [row["img_set"]["members"] for row in rows], pair_ids),
    )
    images, texts = case.tensors["inputs.val.index_features"], case.tensors["inputs.val.text_features"]
    queries = _queries(images[data.reference], texts, combiner_of(case), case.json["expected"])
    metric = CIRR(keep_in_memory=True)
    for function, query in queries.items():
        close(query, case.tensors[f"expected.val.{function}.predicted_features"], {"atol": 1e-5}, function)
        result = evaluate_protocol("cirr/val", data, images, {"model": query}, resamples=FEW)
        record = result.records["model"]
        expected = case.json["expected"][function]
        _figures_agree(result.headline(), expected, case, function)
        module = metric.compute(ranks=record.ranks, group_ranks=record.group_ranks)
        _figures_agree(module, expected, case, f"{function}, evaluate module")


def check_cirr_submission(case: GoldenCase) -> None:
    names = list(case.json["annotations"]["split.rc2.test1.json"])
    rows = case.json["annotations"]["cap.rc2.test1.json"]
    images, texts = case.tensors["inputs.index_features"], case.tensors["inputs.text_features"]
    references = [row["reference"] for row in rows]
    reference = torch.tensor([names.index(name) for name in references])
    gallery = torch.nn.functional.normalize(images, dim=-1)
    functions = {name.rpartition("_")[2] for name in case.json["expected"]}
    queries = _queries(images[reference], texts, combiner_of(case), functions)
    checked = set()
    for function, query in queries.items():
        wanted = case.json["expected"][f"recall_{function}"]
        name = Path(wanted["original_file_name"]).stem.removeprefix("recall_submission_")
        predictions = submission(
            query,
            gallery,
            names,
            [row["pairid"] for row in rows],
            references,
            [row["img_set"]["members"] for row in rows],
        )
        with tempfile.TemporaryDirectory() as folder:
            for path in write_submission(predictions, folder, name):
                metric = path.name.removesuffix(f"_submission_{name}.json")
                wanted = case.json["expected"][f"{metric}_{function}"]
                assert path.name == Path(wanted["original_file_name"]).name
                assert path.read_bytes() == (case.dir / wanted["file"]).read_bytes(), f"{metric}, {function}"
                checked.add(f"{metric}_{function}")
        for answers in predictions.values():
            problems = check_submission(answers, rows)
            # The server's 50 names can't be had from a smaller gallery; the original writes what there is.
            assert not problems or len(names) <= 50, problems
    assert checked == set(case.json["expected"]), "a file of the case was not compared"


def combiner_of(case: GoldenCase) -> Combiner | None:
    """The case's Combiner in evaluation mode, its sizes read off the weights; None for a case about the sum alone."""
    weights = case.group("weights.combiner")
    if not weights:
        return None
    projection, dim = weights["text_projection_layer.weight"].shape
    combiner = Combiner(dim, projection, weights["combiner_layer.weight"].shape[0], 0.5)
    combiner.load_state_dict(weights)
    return combiner.eval()


def _categories(case: GoldenCase) -> list[str]:
    return [n.split(".")[1] for n in case.json["annotations"] if n.startswith("split.")]


def _queries(images: Tensor, texts: Tensor, combiner: Combiner | None, expected: Container[str]) -> dict[str, Tensor]:
    """Query features of the combining functions that the case expects something of, from raw (Q, D) features."""
    functions = {"sum": lambda i, t: torch.nn.functional.normalize(i + t, dim=-1), "combiner": combiner}
    with torch.no_grad():
        queries = {name: function(images, texts) for name, function in functions.items() if name in expected}
    assert queries, "the case expects nothing of sum or Combiner"
    return queries


def _check_fashioniq(case: GoldenCase, features: dict[str, tuple[Tensor, Tensor]], combiner: Combiner | None) -> None:
    """Predictions, order of the gallery and figures, for all combining functions and categories of the case."""
    data, images, texts = _fashioniq_set(case, features)
    queries = _queries(images[data.reference], texts, combiner, case.json["expected"])
    categories = np.asarray(data.categories)
    gallery = torch.nn.functional.normalize(images, dim=-1)
    protocol = "fashioniq/original-split"
    for function, query in queries.items():
        for category, rows in data.galleries[protocol].items():
            of_category = query[categories == category]
            wanted = case.group(f"expected.{function}.{category}")
            if "predicted_features" in wanted:
                close(of_category, wanted["predicted_features"], {"atol": 1e-5}, f"{function} {category}")
            if "top50_index" in wanted:
                best = top_k(of_category, gallery[rows], wanted["top50_index"].shape[1])[1]
                assert torch.equal(best, wanted["top50_index"].long()), f"{function} {category}: order of the gallery"
            names = [data.gallery_ids[row] for row in rows]
            targets = [data.gallery_ids[data.positives[protocol][q][0]] for q in np.flatnonzero(categories == category)]
            naive = sort_every_row(of_category, images[rows], names, targets)
            _figures_agree(naive, case.json["expected"][function][category], case, f"{function}, benchmark's baseline")
        expected = {}
        for name, value in case.json["expected"][function].items():
            expected |= {f"{name}_{k}": v for k, v in value.items()} if isinstance(value, dict) else {name: value}
        figures = protocol_figures(protocol, data, images, {"model": query})["model"]
        _figures_agree(figures, expected, case, function)
        record = evaluate_protocol(protocol, data, images, {"model": query}, resamples=FEW).records["model"]
        module = FashionIQ(keep_in_memory=True).compute(ranks=record.ranks, categories=record.categories.tolist())
        _figures_agree(module, expected, case, f"{function}, evaluate module")


def _fashioniq_set(case: GoldenCase, features: dict[str, tuple[Tensor, Tensor]]) -> tuple[ComposedSet, Tensor, Tensor]:
    """The case's annotations as one set, with (N, D) image and (Q, D) text features in its order."""
    ids, galleries, references, targets = [], {}, [], []
    captions, query_ids, categories = [], [], []
    for category in features:
        names = case.json["annotations"][f"split.{category}.val.json"]
        row_of = {name: len(ids) + row for row, name in enumerate(names)}
        galleries[category] = torch.tensor(list(row_of.values()))
        ids += [f"{category}/{name}" for name in names]
        joined = []
        for row, triplet in enumerate(case.json["annotations"][f"cap.{category}.val.json"]):
            references.append(row_of[triplet["candidate"]])
            targets.append([row_of[triplet["target"]]])
            joined.append(join_captions(*triplet["captions"]))
            query_ids.append(f"{category}/{row}")
            categories.append(category)
        wanted = case.json["expected"].get("joined_captions")
        assert wanted is None or joined == wanted[category]
        captions += joined
    protocol = "fashioniq/original-split"
    data = ComposedSet(
        gallery_ids=ids,
        galleries={protocol: galleries},
        query_ids=query_ids,
        captions=captions,
        reference=torch.tensor(references),
        positives={protocol: targets},
        categories=categories,
    )
    images, texts = (torch.cat([pair[i] for pair in features.values()]) for i in (0, 1))
    return data, images, texts


def _figures_agree(figures: dict[str, float], expected: dict[str, float], case: GoldenCase, what: str) -> None:
    for name, value in expected.items():
        assert abs(figures[name] - value) < case.json["tolerance"]["recall"], (
            f"{what}: {name} {figures[name]} != {value}"
        )


CHECKS = {
    "fiq_metrics": check_fiq_metrics,
    "fiq_end_to_end": check_fiq_end_to_end,
    "cirr_metrics": check_cirr_metrics,
    "cirr_submission": check_cirr_submission,
}
