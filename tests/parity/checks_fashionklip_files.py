"""FashionKLIP's feature, prediction and score files against the original's."""

import json
import tempfile
from pathlib import Path

import torch

from data_scripts.fashionklip_files import KlipLayout
from modeling.fashionklip.convert_fashionklip import model_from_official
from tests.parity.checks_clip4cir_model import clip_tokenizer
from tests.parity.checks_fashionklip_training import starting_weights
from tests.parity.golden import GoldenCase, close
from train.engine.feature_store import read_jsonl
from train.fashionklip_evaluate import EvaluateArguments, evaluate


def check_predict_eval(case: GoldenCase) -> None:
    """Predictions line by line, and the score files to the letter."""
    folder = case.dir / case.name
    with tempfile.TemporaryDirectory() as output:
        evaluate(
            EvaluateArguments(
                image_feats=str(folder / "images.img_feat.jsonl"),
                text_feats=str(folder / "texts.txt_feat.jsonl"),
                text_standard_path=str(folder / "text_reference.jsonl"),
                image_standard_path=str(folder / "image_reference.jsonl"),
                output_dir=output,
                top_k=case.json["top_k"],
                eval_batch_size=case.json["eval_batch_size"],
                official_ids=True,
                official_errors=True,
            )
        )
        for direction in ("image", "text"):
            for kind in ("predictions.jsonl", "output.json"):
                found = (Path(output) / f"{direction}_{kind}").read_text()
                wanted = (folder / f"expected_{direction}_{kind}").read_text()
                if kind == "output.json":
                    check_score(json.loads(found), json.loads(wanted), case)
                assert found == wanted, f"{direction} {kind}"


def check_score(found: dict, wanted: dict, case: GoldenCase) -> None:
    assert found.keys() == wanted.keys() and found["success"] == wanted["success"]
    for name, value in wanted["scoreJson"].items():
        assert abs(found["scoreJson"][name] - value) <= case.json["tolerance"]["scores_abs"], name


def check_extract_features(case: GoldenCase) -> None:
    from modeling.fashionklip import FashionKLIPImageProcessor, FashionKLIPProcessor
    from train.extract_features import ExtractArguments, extract

    tokenizer = clip_tokenizer()
    model = model_from_official(starting_weights(case), text_heads=case.json["config"]["transformer_heads"])
    image_processor = FashionKLIPImageProcessor(size=model.config.image_size)
    processor = FashionKLIPProcessor(image_processor, tokenizer, official_truncation=True)
    root = case.dir / case.json["data_dir"]
    with tempfile.TemporaryDirectory() as output:
        model.save_pretrained(Path(output) / "model")
        processor.save_pretrained(Path(output) / "model")
        extract(
            ExtractArguments(
                model=str(Path(output) / "model"),
                data_dir=str(root),
                image_data=[str(root / case.json["image_data"])],
                text_data=str(root / case.json["text_data"]),
                image_batch_size=case.json["image_batch"],
                text_batch_size=case.json["text_batch"],
                output_dir=str(Path(output) / "features"),
                write=["jsonl"],
                cpu=True,
            )
        )
        layout = KlipLayout.find(root)
        assert layout.val_images and layout.val_captions
        for kind, name in (("image", "images.img_feat.jsonl"), ("text", "texts.txt_feat.jsonl")):
            written = next((Path(output) / "features").glob(f"*{name.split('.', 1)[1]}"))
            ids, features = read_jsonl(written, kind)
            wanted_ids, wanted = read_jsonl(case.dir / case.name / name, kind)
            assert [(type(i), i) for i in ids] == [(type(i), i) for i in wanted_ids]
            close(features, wanted, case.json["tolerance"], name)
            assert torch.allclose(features.norm(dim=1), torch.ones(len(features)), atol=1e-5)


CHECKS = {"predict_eval": check_predict_eval, "extract_features": check_extract_features}
