"""Fill in the blank, compatibility and outfit generation against the original's numbers."""

import numpy as np
import pytest
import torch

from modeling.bilstm import BiLSTMConfig, BiLSTMModel
from tests.parity.checks_bilstm_model import official_model
from tests.parity.golden import GoldenCase
from train.retrieval.outfit_generation import official_outfit
from train.retrieval.outfit_scores import (
    ItemBank,
    Question,
    area_under_curve,
    ranked_answers,
    score_outfits,
    score_questions,
)

NAMES = {"2": "both", "1": "forward", "-1": "backward", "0": "pooled"}


def _bank(case: GoldenCase) -> ItemBank:
    inputs = case.group("inputs")
    return ItemBank(case.json["item_ids"], inputs.get("image_rnn_feat"), inputs.get("image_feat"))


def check_fitb(case: GoldenCase) -> None:
    d, tolerance, bank = case.json, case.json["tolerances"], _bank(case)
    questions = [Question.of(row) for row in d["questions"]]
    if case.group("weights"):
        model, expected = official_model(case).eval(), d["expected"]
    else:
        config = BiLSTMConfig(variant="siamese", vision_feature_dim=1, embedding_dim=bank.images.shape[1])
        model, expected = BiLSTMModel(config).eval(), {"0": d["expected"]}
    assert expected.keys() <= NAMES.keys()
    for direction, wanted in expected.items():
        scores = score_questions(model, bank, questions, NAMES[direction])
        ranks = ranked_answers(scores)
        assert len(wanted["results"]) == len(questions)
        for number, result in enumerate(wanted["results"]):
            if result is None:
                assert ranks[number] is None, (direction, number)
                continue
            np.testing.assert_allclose(scores[number], result["score"], rtol=tolerance["rtol"], atol=tolerance["atol"])
            assert ranks[number] == result["pred"], (direction, number)
        asked = [rank for rank in ranks if rank is not None]
        correct = [sum(0 in rank[:k] for rank in asked) for k in (1, 2, 3, 4)]
        assert len(asked) == wanted["valid"] and correct == wanted["top_k_correct"]
        np.testing.assert_allclose([count / len(asked) for count in correct], wanted["top_k_accuracy"])
        if "set_ids" in wanted:
            kept = [q for q, rank in zip(questions, ranks, strict=True) if rank is not None]
            assert [question.items[0].partition("_")[0] for question in kept] == wanted["set_ids"]
        suffix = direction.replace("-", "minus")
        for name in (f"score_direction_{suffix}", "score"):
            tensor = case.group("expected").get(name)
            if tensor is not None:
                np.testing.assert_allclose(scores, tensor.numpy(), rtol=tolerance["rtol"], atol=tolerance["atol"])


def check_compatibility(case: GoldenCase) -> None:
    d, tolerance, bank = case.json, case.json["tolerances"], _bank(case)
    model = official_model(case).eval()
    lines = [line.split() for line in d["lines"]]
    labels = np.array([int(line[0][0]) for line in lines])
    assert labels.tolist() == d["labels"]
    for block in (4096, 7):
        scores = score_outfits(model, bank, [line[1:] for line in lines], block=block)
        for direction, wanted in d["expected"].items():
            total = scores[NAMES[direction]]
            np.testing.assert_allclose(total, wanted["scores"], rtol=tolerance["rtol"], atol=tolerance["atol"])
            assert abs(area_under_curve(total, labels) - wanted["auc"]) <= tolerance["auc_atol"]
            suffix = direction.replace("-", "minus")
            for letter, name in (("f", "forward"), ("b", "backward")):
                tensor = case.group("expected")[f"{letter}_scores_direction_{suffix}"].numpy()
                own = scores[name] if direction in ("2", {"forward": "1", "backward": "-1"}[name]) else 0 * total
                np.testing.assert_allclose(own, tensor, rtol=tolerance["rtol"], atol=tolerance["atol"])


def check_generation(case: GoldenCase) -> None:
    d, bank = case.json, _bank(case)
    model = official_model(case).eval()
    if "word_embedding" in case.group("expected"):
        assert torch.equal(case.group("expected")["word_embedding"], model.word_embedding.weight)
    numbers = {word: number for number, word in enumerate(d["words"], 1)}
    for result in d["results"]:
        query = [bank.places[key] for key in result["query"]["image_query"]]
        text = result["query"]["text_query"]
        words = sorted({numbers[word] for word in text.split() if word in numbers}) if text else None
        options = {"max_steps": d["max_steps"], "end_probability": d["end_probability_threshold"]}
        arguments = (model, bank.items, bank.images, query, words, d["balance_factor"])
        if "error" in result:
            with pytest.raises(ValueError):
                official_outfit(*arguments, **options)
            continue
        made = official_outfit(*arguments, **options)
        for name in ("first_forward", "first_backward", "positions", "num_blank", "filled"):
            if name in result:
                assert getattr(made, name) == result[name], (result["query"], name)
        for name in ("final_forward", "final_backward", "outfit"):
            assert getattr(made, name) == result[name], (result["query"], name)
        assert [bank.ids[place] for place in made.outfit] == result["outfit_ids"]
        assert made.outfit_text == result.get("outfit_text"), result["query"]
        if "word_ids" in result:
            assert made.word_ids == result["word_ids"]
        if "outfit_text_ids" in result:
            assert [bank.ids[place] for place in made.outfit_text] == result["outfit_text_ids"]


CHECKS = {"fitb": check_fitb, "compatibility": check_compatibility, "outfit_generation": check_generation}
