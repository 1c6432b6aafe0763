"""FashionViL's data, masks, metrics and optimizer against the original's numbers."""

import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from transformers import BertTokenizer

from data_scripts.facad import FACAD, BigFACAD
from data_scripts.fashion200k import Fashion200k
from data_scripts.fashiongen import PHOTO_FOLDERS, FashionGen
from data_scripts.fashioniq import FashionIQ
from data_scripts.polyvore_outfits import PolyvoreOutfits
from data_scripts.prepare import prepare
from modeling.fashionvil.convert_fashionvil import model_from_official, model_key
from tests.parity.golden import GoldenCase, close
from train.engine.fashionvil import TASK_SHARES
from train.engine.fashionvil_optimizer import OfficialAdamW, parameter_groups, settings_of, warmup_multistep
from train.engine.outfit_pairs import OutfitPairs
from train.engine.patch_masking import PatchMasking
from train.engine.text_masking import IGNORED, MaskedTexts, TextMasking
from train.metrics.classification.classification import Classification
from train.metrics.fashiongen.fashiongen import FashionGen as FashionGenMetric
from train.metrics.fashioniq.fashioniq import FashionIQ as FashionIQMetric
from train.metrics.ocir.ocir import OCIR
from train.retrieval.classification import classification_figures
from train.retrieval.composed import ComposedSet, evaluate_protocol
from train.retrieval.image_text import ImageTextSet, draw_candidates, evaluate_image_text
from train.retrieval.image_text_protocols import IMAGE_TEXT_PROTOCOLS, IMAGE_TO_TEXT, TEXT_TO_IMAGE
from train.retrieval.ocir import OcirSet, evaluate_ocir
from train.retrieval.ranking import subset_ranks

FEW = 100  # bootstrap resamples: the intervals are not looked at here
MEAN = (0.46777044, 0.44531429, 0.40661017)
STD = (0.12221994, 0.12145835, 0.14380469)


# Masks


def bert_tokenizer(vocabulary: Sequence[str]) -> BertTokenizer:
    return BertTokenizer(vocab={piece: number for number, piece in enumerate(vocabulary)}, do_lower_case=True)


class Recorded:
    """Draws that were recorded, in order; asked for with other bounds than then, or too often, they fail."""

    def __init__(self, draws: Iterable[Sequence[Any]]) -> None:
        self.left = list(draws)

    def _next(self, *call: Any) -> Any:
        *expected, value = self.left.pop(0)
        assert expected[0] == call[0] and np.allclose(expected[1:], call[1:]), f"expected {expected}, asked for {call}"
        return value

    def uniform(self, a: float, b: float) -> float:
        return self._next("uniform", a, b)

    def randint(self, a: int, b: int) -> int:
        return self._next("randint", a, b)


def check_text_masking(case: GoldenCase) -> None:
    vocabulary = case.json.get("vocab") or case.sibling("text_tokenisation").json["vocab"]
    tokenizer, length = bert_tokenizer(vocabulary), case.json["max_seq_length"]
    for group in case.json["cases"]:
        masking = TextMasking(tokenizer, group["mask_probability"], group["whole_word"])
        for row in group["rows"]:
            ids = MaskedTexts(tokenizer, length)([row])["input_ids"][0].tolist()
            assert ids + [tokenizer.pad_token_id] * (length - len(ids)) == row["input_ids"], row["text"]
            uniform, exchanged = iter(row["uniform_draws"]), iter(row["random_token_ids"])
            seen, labels = masking(ids[1:-1], lambda u=uniform: next(u), lambda _, e=exchanged: next(e))
            assert not [*uniform, *exchanged], f"{row['text']!r}: draws are left over"
            padding = [tokenizer.pad_token_id] * (length - len(ids))
            assert [ids[0], *seen, ids[-1], *padding] == row["input_ids_masked"], row["text"]
            labels = [-1 if label == IGNORED else label for label in labels]
            assert [-1, *labels, -1, *(-1 for _ in padding)] == row["lm_label_ids"], row["text"]
    statistics = case.json.get("statistics")
    if statistics:
        _check_rates(tokenizer, length, case.json["cases"][0]["rows"], statistics)


def _check_rates(tokenizer: Any, length: int, rows: list[dict[str, Any]], statistics: dict[str, Any]) -> None:
    """Shares of chosen, hidden, exchanged and kept pieces, over as many texts as the original's."""
    collate = MaskedTexts(tokenizer, length, TextMasking(tokenizer, 0.15))
    counts = dict.fromkeys(("selected", "masked", "random", "kept"), 0)
    pieces = 0
    for epoch in range(4000 // len(rows)):
        batch = collate([{"text": row["text"], "row": i, "epoch": epoch} for i, row in enumerate(rows)])
        chosen = batch["mlm_labels"] != IGNORED
        seen, right = batch["masked_input_ids"][chosen], batch["mlm_labels"][chosen]
        pieces += int(batch["attention_mask"].sum()) - 2 * len(rows)
        counts["selected"] += len(right)
        counts["masked"] += int((seen == tokenizer.mask_token_id).sum())
        counts["kept"] += int((seen == right).sum())
    counts["random"] = counts["selected"] - counts["masked"] - counts["kept"]
    # An exchanged piece may by chance be the mask token or the old piece.
    slack = statistics["tolerance"] + 0.1 * 2 / len(tokenizer)
    assert abs(counts["selected"] / pieces - statistics["selected_rate"]) < slack, counts
    for name in ("masked", "random", "kept"):
        assert abs(counts[name] / counts["selected"] - statistics[f"{name}_share"]) < slack, (name, counts)


def check_image_masking(case: GoldenCase) -> None:
    settings = case.json["settings"]
    masking = PatchMasking(
        tuple(settings["grid"]),
        settings["num_masking_patches"],
        settings["min_num_patches"],
        settings["max_num_patches"],
        settings["min_aspect"],
        settings["max_aspect"],
        settings["attempts"],
    )
    for number, example in enumerate(case.json["examples"]):
        draws = Recorded(example["draws"])
        assert masking(draws).flatten().int().tolist() == example["mask"], f"example {number}"
        assert not draws.left, f"example {number}: draws are left over"
    statistics = case.json.get("statistics")
    if statistics:
        masks = torch.stack([masking.batch([{"row": r, "epoch": 0}], seed=0)[0] for r in range(5000)])
        mean = masks.sum(dim=1).double().mean().item()
        assert abs(mean - statistics["mean_masked"]) < statistics["tolerance_mean"]
        grid = masks.double().mean(dim=0).reshape(settings["grid"])
        centre = grid[grid.shape[0] // 2, grid.shape[1] // 2].item()
        assert abs(centre - statistics["mean_mask_centre"]) < statistics["tolerance_mean"]
        assert abs(grid[0, 0].item() - statistics["mean_mask_corner"]) < statistics["tolerance_mean"]


# Annotation files

INFO_BUILDERS = {"BigFACAD": BigFACAD, "FACAD": FACAD, "Fashion200k": Fashion200k, "PolyvoreOutfits": PolyvoreOutfits}
SPLIT_NAMES = {"train": "train", "val": "validation", "test": "test"}


def check_annotation_loading(case: GoldenCase) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, content in case.json["files"].items():
            path = root / "datasets" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content), encoding="utf-8")
        for name, expected in case.json["expected"].items():
            known = (
                ("_info.json", _check_products),
                ("FashionIQ ", _check_fashioniq_rows),
                ("OCIR ", _check_ocir_rows),
            )
            check = next((check for sign, check in known if sign in name), None)
            assert check is not None, f"no check understands {name!r}"
            check(case, root, name, expected)


def _rows(builder: type, config: str, root: Path, split: str, **options: Any) -> list[dict[str, Any]]:
    datasets.disable_progress_bars()
    return list(prepare(builder, config, root, cache_dir=root / "cache", splits=split, **options)[split])


def _touch(folder: Path, names: Iterable[str]) -> None:
    """Stand-ins for photos; builders look for files and don't open them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def _check_products(case: GoldenCase, root: Path, name: str, expected: list[dict[str, Any]]) -> None:
    folder, file = name.split("/")
    split = SPLIT_NAMES[file.split("_")[0]]
    place, options = root / "datasets" / folder, {}
    if folder == "FashionGen":
        builder, photos, options = FashionGen, place / PHOTO_FOLDERS[split], {"caption": "fashionvil"}
    else:
        builder, photos = INFO_BUILDERS[folder], place / "images"
        split = "valid" if (folder, split) == ("PolyvoreOutfits", "validation") else split
    paths = [[one] if isinstance(one := row["image_path"], str) else one for row in expected]
    _touch(photos, (one for own in paths for one in own))
    rows = _rows(builder, "products", root, split, **options)
    assert len(rows) == len(expected), name
    for row, wanted, own in zip(rows, expected, paths, strict=True):
        assert [image["path"] for image in row["images"]] == [f"{photos.resolve()}/{one}" for one in own], name
        assert row["caption"] == wanted["sentences"], name
        if "id" in wanted:
            assert row["product_id"] == str(wanted["id"]), name
        assert row["attribute_ids"] == wanted.get("attributes_id", []), name
        for key in ("category_id", "subcategory_id"):
            assert row.get(key) == wanted.get(key), name


def _check_fashioniq_rows(case: GoldenCase, root: Path, name: str, expected: list[dict[str, Any]]) -> None:
    _, category, split = name.split()
    _touch(
        root / "datasets/FashionIQ/images", (f"{row[key]}.jpg" for row in expected for key in ("ref_path", "tar_path"))
    )
    rows = _rows(FashionIQ, f"{category}-fashionvil", root, split)
    found = [
        {"ref_path": row["reference_id"], "tar_path": row["target_id"], "sentences": ", ".join(row["captions"])}
        | {"target_id": row["target_number"], "fake_data": row["fake_data"], "garment_class": row["garment_class"]}
        for row in rows
    ]
    # The original's training rows have no more than their files; ours are numbered too.
    assert [{key: row[key] for key in wanted} for row, wanted in zip(found, expected, strict=True)] == expected, name


def _check_ocir_rows(case: GoldenCase, root: Path, name: str, expected: list[dict[str, Any]]) -> None:
    split = name.split()[1]
    files = [file for file in case.json["files"] if "/ocir_" in file and file.endswith(f"_{split}.json")]
    assert len(files) == 1, f"{name}: {len(files)} files of this split"
    config = files[0].split("/")[1].removesuffix(f"_{split}.json")
    items = {i for entry in case.json["files"][files[0]] for i in (*entry["question"], entry["blank"])}
    photos = root / "datasets/PolyvoreOutfits/images"
    _touch(photos, (f"{item}.jpg" for item in items))
    rows = _rows(PolyvoreOutfits, config, root, split)
    if split == "train":
        _check_pairs(rows, case.json["ocir_train_draws"], expected)
        return
    for row, wanted in zip(rows, expected, strict=True):
        assert {
            "question_path": [Path(image["path"]).name for image in row["question_images"]],
            "blank_path": Path(row["blank_image"]["path"]).name,
            "question_id": [int(item) for item in row["question_ids"]],
            "blank_id": int(row["blank_id"]),
            "question_cat_id": row["question_categories"],
            "blank_cat_id": row["blank_category"],
            "fake_data": row["fake_data"],
        } == wanted


class RecordedChoices:
    """`choices` as they were recorded; the population must be the same set."""

    def __init__(self, draws: list[dict[str, Any]]) -> None:
        self.left = list(draws)

    def choices(self, population: Sequence[str], *, k: int) -> list[str]:
        draw = self.left.pop(0)
        assert (sorted(population), k) == (sorted(draw["population"]), draw["k"])
        return draw["picked"]


def _check_pairs(rows: list[dict[str, Any]], recorded: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    pairs, draws = OutfitPairs(rows, official=True), RecordedChoices(recorded)
    for outfit, wanted in enumerate(expected):
        pair = pairs.draw(outfit, draws)
        assert {
            "question_path": f"{pair.question}.jpg",
            "blank_path": f"{pair.target}.jpg",
            "question_id": int(pair.question),
            "blank_id": int(pair.target),
            "question_cat_id": pair.question_category,
            "blank_cat_id": pair.target_category,
            "negative_path": f"{pair.negative}.jpg",
        } == wanted
    assert len(pairs) == len(expected) and not draws.left


# Metrics


def _agree(figures: dict[str, float], expected: dict[str, float], case: GoldenCase, what: str = "") -> None:
    """Percent against the original's shares; no figure of the case is left out."""
    assert figures.keys() == expected.keys(), f"{what}: {sorted(figures)} != {sorted(expected)}"
    for name, value in expected.items():
        assert abs(figures[name] / 100 - value) <= case.json["tolerances"]["atol"], (
            f"{what} {name}: {figures[name]}, {value}"
        )


def _image_text_set(case: GoldenCase) -> ImageTextSet:
    inputs = case.group("inputs")
    images, texts = inputs["image_id"].tolist(), inputs["text_id"].tolist()
    categories = [inputs[n].tolist() if n in inputs else None for n in ("image_subcat_id", "text_subcat_id")]
    names = [[str(row) for row in range(len(owners))] for owners in (images, texts)]
    return ImageTextSet(names[0], {}, names[1], names[1], images, texts, *categories)


def _official_names(figures: dict[str, float]) -> dict[str, float]:
    short = {f"{IMAGE_TO_TEXT}_recall_at": "i2t_r@", f"{TEXT_TO_IMAGE}_recall_at": "t2i_r@", "mean_recall": "avg"}
    renamed = {}
    for name, value in figures.items():
        prefix = next(prefix for prefix in short if name.startswith(prefix))
        renamed[short[prefix] + name.removeprefix(prefix)] = value
    return renamed


def _equally_long(*sides: torch.Tensor) -> list[torch.Tensor]:
    """Rows of one length on every side, with the products between the sides as before.

    The original ranks by products of what it is given, and the protocols normalise, which is the same for a model's
    features: they have one length.
    """
    filled = []
    for number, side in enumerate(sides):
        more = torch.zeros(len(side), len(sides))
        squares = side.square().sum(dim=1)
        more[:, number] = (squares.max() - squares).sqrt()
        filled.append(torch.cat([side, more], dim=1))
    return filled


def check_metric_fashiongen_full(case: GoldenCase) -> None:
    inputs = case.group("inputs")
    embeddings = _equally_long(inputs["image_embeddings"], inputs["text_embeddings"])
    result = evaluate_image_text("fashiongen/full", _image_text_set(case), *embeddings, resamples=FEW)
    figures = {name: figure.value for name, figure in result.figures.items()}
    _agree(_official_names(figures), case.json["expected"], case)
    record = result.records["model"]
    metric = FashionGenMetric(keep_in_memory=True)
    module = metric.compute(ranks=record.ranks, directions=record.categories.tolist())
    _agree(_official_names(module), case.json["expected"], case, "evaluate module")


def check_metric_fashiongen_sampled(case: GoldenCase) -> None:
    inputs = case.group("inputs")
    images, texts = inputs["image_embeddings"], inputs["text_embeddings"]
    cutoffs, tolerance = case.json["order_of_k"], case.json["tolerances"]["atol"]
    for name, wanted in case.json["expected_clean"].items():
        queries, gallery = (images, texts) if name.endswith("i2t") else (texts, images)
        chosen = queries[inputs[f"{name}_query_index"].long()]
        lists = inputs[f"{name}_candidate_index"].long()
        ranks = subset_ranks(chosen, gallery, lists, lists[:, 0])
        own = (chosen * gallery[lists[:, 0]]).sum(dim=-1)
        figures = {"expected_clean": ranks}
        # The original gives everything outside of the list the score -1.
        for key, scale in (("expected_official", 1), ("expected_official_scale4", 4)):
            figures[key] = ranks + (own * scale * scale < -1) * (len(gallery) - lists.shape[1])
        for key, found in figures.items():
            recalls = [(found < k).double().mean().item() for k in cutoffs]
            assert np.allclose(recalls, case.json[key][name], rtol=0, atol=tolerance), (key, name, recalls, wanted)
    mean = case.json.get("expected_official_mean_of_5_repeats")
    if mean:
        protocol, data = IMAGE_TEXT_PROTOCOLS["fashiongen/sampled-100"], _image_text_set(case)
        repeats = []
        for seed in range(5):
            drawn = draw_candidates(protocol, data, seed)
            result = evaluate_image_text(protocol.name, data, images, texts, drawn, resamples=FEW)
            repeats.append(_official_names({n: figure.value / 100 for n, figure in result.figures.items()}))
        for name, value in mean.items():
            assert abs(np.mean([figures[name] for figures in repeats]) - value) < 0.03, name  # other random draws


def check_metric_fashioniq(case: GoldenCase) -> None:
    inputs = case.group("inputs")
    categories = [("dress", "shirt", "toptee")[number] for number in inputs["garment_class"].tolist()]
    names = [f"{c}/{i}" for c, i in zip(categories, inputs["target_id"].tolist(), strict=True)]
    first = {name: row for row, name in reversed(list(enumerate(names)))}
    gallery = sorted(first, key=first.get)
    place = {name: number for number, name in enumerate(gallery)}
    asking = [row for row, fake in enumerate(inputs["fake_data"].tolist()) if not fake]
    protocol = "fashioniq/original-split"
    present = [c for c in ("dress", "shirt", "toptee") if c in categories]
    data = ComposedSet(
        gallery_ids=gallery,
        galleries={protocol: {c: torch.tensor([place[n] for n in gallery if n.startswith(f"{c}/")]) for c in present}},
        query_ids=[str(row) for row in asking],
        captions=[""] * len(asking),
        reference=torch.tensor([place[names[row]] for row in asking]),  # stays in the ranking, so any will do
        positives={protocol: [[place[names[row]]] for row in asking]},
        categories=[categories[row] for row in asking],
    )
    targets, queries = _equally_long(
        inputs["targets"][torch.tensor([first[name] for name in gallery])], inputs["scores"][torch.tensor(asking)]
    )
    result = evaluate_protocol(protocol, data, targets, {"model": queries}, resamples=FEW)
    record = result.records["model"]
    metric = FashionIQMetric(keep_in_memory=True)
    module = metric.compute(ranks=record.ranks, categories=record.categories.tolist())
    for figures in ({name: figure.value for name, figure in result.figures.items()}, module):
        renamed = {f"{c}_r@{k}": figures[f"{c}_recall_at{k}"] for c in present for k in (10, 50)}
        _agree(renamed | {"avg": figures["average_recall"]}, case.json["expected"], case)


def check_metric_ocir(case: GoldenCase) -> None:
    inputs = case.group("inputs")
    data = OcirSet(*(inputs[name].tolist() for name in ("blank_id", "blank_cat_id", "fake_data")))
    metric = OCIR(keep_in_memory=True)
    for name, expected in case.json["expected"].items():
        official = name.startswith("official_scale")
        assert official or name == "category_restricted_clean", f"no rule is known for {name!r}"
        scale = float(name.removeprefix("official_scale")) if official else 1.0
        protocol = "polyvore-outfits/ocir-official" if official else "polyvore-outfits/ocir"
        result = evaluate_ocir(protocol, data, scale * inputs["scores"], scale * inputs["targets"], resamples=FEW)
        record = result.records["model"]
        module = metric.compute(ranks=record.ranks, categories=record.categories.tolist())
        for figures in ({n: figure.value for n, figure in result.figures.items()}, module):
            renamed = {f"r@{k}": figures[f"recall_at{k}"] for k in (10, 30, 50)} | {"avg": figures["average_recall"]}
            _agree(renamed, expected, case, name)


def check_metric_classification(case: GoldenCase) -> None:
    predictions = case.tensors["inputs.logits"].argmax(dim=1).numpy()
    labels = case.tensors["inputs.targets"].numpy()
    _agree(classification_figures(predictions, labels), case.json["expected"], case)
    module = Classification(keep_in_memory=True).compute(predictions=predictions, references=labels)
    _agree(module, case.json["expected"], case, "evaluate module")


# Optimizer

KINDS = {"pretraining": "pretraining", "classification": "classification", "composition": "composition"}
KINDS |= {"contrastive": "retrieval"}


def check_optimiser_groups(case: GoldenCase) -> None:
    config = {"lr": 1e-5, "weight_decay": 1e-4, "lr_multiplier": 20} | case.json.get("config", {})
    for head, groups in case.json["groups"].items():
        for name, wanted in groups.items():
            for own in (name, model_key(name, KINDS[head])):
                found = settings_of(own, config["lr"], config["weight_decay"], config["lr_multiplier"])
                assert np.allclose(found, wanted, rtol=1e-9, atol=0), f"{head}, {own}: {found}, expected {wanted}"
    for schedule in case.json["schedules"]:
        factor = _schedule(schedule)
        found = [schedule["base_lr"] * factor(step) for step in range(schedule["updates"])]
        assert np.allclose(found, schedule["lr_used_by_update"], rtol=1e-9), schedule


def _schedule(settings: dict[str, Any]) -> Callable[[int], float]:
    warmup = settings["warmup_iterations"] if settings["use_warmup"] else 0
    return lambda step: warmup_multistep(
        step, settings["lr_steps"], warmup, settings["lr_ratio"], settings["warmup_factor"]
    )


def check_training_trace(case: GoldenCase) -> None:
    config, tolerance = case.json["config"], case.json["tolerances"]
    batch = _trace_batch(case)
    for variant in ("zero_filled", "unset"):
        model = _trace_model(case)
        multiplier = config["lr_multiplier"]
        groups = parameter_groups(model.named_parameters(), config["base_lr"], config["weight_decay"], multiplier)
        optimizer = OfficialAdamW(groups, betas=tuple(config["betas"]), eps=config["eps"])
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _schedule(config["schedule"]))
        losses, rates = [], []
        for task in config["task_order"]:
            name = {"icc": "mvc"}.get(task, task)
            assert name in TASK_SHARES, f"no task {task!r}"
            rates.append(sorted({group["lr"] for group in optimizer.param_groups}))
            loss = model(task=name, **batch).loss
            loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad(set_to_none=variant == "unset")
            losses.append(loss.item())
        wanted = case.json[f"expected_losses_{variant}"]
        assert np.allclose(losses, wanted, rtol=tolerance["loss_rtol"]), f"{variant}: {losses}, expected {wanted}"
        assert np.allclose(rates, case.json["expected_lr_values_per_update"], rtol=1e-9), f"{variant}: {rates}"
        state = model.state_dict()
        allowed = {"atol": tolerance["param_atol"], "rtol": tolerance["param_rtol"]}
        for name, value in case.group(f"expected.after_{variant}").items():
            key, _, columns = name.partition("_first")
            found = state[model_key(key, "pretraining")]
            found = found[:, : int(columns.removesuffix("cols"))] if columns else found
            close(found, value, allowed, f"{variant}, {name}")


def _trace_model(case: GoldenCase) -> torch.nn.Module:
    """The model in training mode without dropout."""
    size = case.tensors["inputs.image_u8"].shape[-1]
    heads = case.json["config"]["bert"]["num_attention_heads"]
    model = model_from_official(case.group("weights"), "pretraining", text_heads=heads, image_size=size).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def _trace_batch(case: GoldenCase) -> dict[str, torch.Tensor]:
    inputs = case.group("inputs")
    mean, std = (torch.tensor(values)[None, :, None, None] for values in (MEAN, STD))
    classes = case.tensors["weights.model.heads.pac.projection"].shape[1]
    attributes = torch.zeros(len(inputs["input_ids"]), classes)
    attributes[tuple(inputs["attribute_labels_nonzero"].T)] = inputs["attribute_labels_values"]
    labels = inputs["lm_label_ids"]
    return {
        "pixel_values": (inputs["image_u8"].float() / 255 - mean) / std,
        "input_ids": inputs["input_ids"],
        "attention_mask": inputs["input_mask"],
        "token_type_ids": inputs["segment_ids"],
        "masked_input_ids": inputs["input_ids_masked"],
        "mlm_labels": labels.masked_fill(labels < 0, IGNORED),
        "attribute_targets": attributes,
    }


CHECKS = {
    "text_masking": check_text_masking,
    "image_masking": check_image_masking,
    "annotation_loading": check_annotation_loading,
    "metric_fashiongen_full": check_metric_fashiongen_full,
    "metric_fashiongen_sampled": check_metric_fashiongen_sampled,
    "metric_fashioniq": check_metric_fashioniq,
    "metric_ocir": check_metric_ocir,
    "metric_classification": check_metric_classification,
    "optimiser_groups": check_optimiser_groups,
    "training_trace": check_training_trace,
}
