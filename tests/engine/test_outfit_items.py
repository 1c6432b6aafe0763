"""FashionViL's outfit task on outfits of the Maryland layout: one picture is one item, and equal targets are no negatives."""

import json
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from train.engine.outfit_items import OutfitTask

ITEMS = {
    "1_1": 10,
    "1_2": 20,
    "2_1": 10,
    "2_2": 30,
    "3_1": 20,
    "3_2": 20,
}  # key -> shade; 1_1 is 2_1, and outfit 3 is one
TRAINING = {
    "official_outfits": False,
    "official_false_negatives": False,
    "outfit_embedding_dim": 8,
    "outfit_loss": "contrastive",
}


@pytest.fixture
def tree(tmp_path):
    """Outfits without files of labelled outfits, which filling blanks doesn't need."""
    label = tmp_path / "label"
    label.mkdir()
    (label / "category_id.txt").write_text("11 top\n12 shoes\n")
    for key, shade in ITEMS.items():
        path = tmp_path / "images" / key.split("_")[0] / f"{key.split('_')[1]}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (shade,) * 3).save(path)
    outfits = []
    for number in ("1", "2", "3"):
        items = [{"index": i, "name": f"item {i}", "price": 1.0, "likes": 0, "categoryid": 10 + i} for i in (1, 2)]
        outfits.append({"set_id": number, "name": "", "views": 0, "likes": 0, "items": items})
    for split in ("train", "valid"):
        (label / f"{split}_no_dup.json").write_text(json.dumps(outfits))
    blanks = [{"question": ["1_1"], "blank_position": 2, "answers": ["1_2", "2_2"]}]
    (label / "fill_in_blank_valid.json").write_text(json.dumps(blanks))
    return tmp_path


def task_of(tree, **training):
    data = SimpleNamespace(data_dir=str(tree), dataset="polyvore", missing_images="error", questions=None)
    data.train_split, data.validation_split = "train", None
    return OutfitTask(data, SimpleNamespace(**TRAINING | training))


def test_equal_pictures_are_one_item_and_an_outfit_of_one_item_trains_nothing(tree):
    task = task_of(tree)
    assert task.pairs.outfits == [["1_1", "1_2"], ["1_1", "2_2"]]
    assert len(task.validation.questions.blanks) == 1


@pytest.mark.parametrize(
    ("official", "expected"),
    # Rows of the identity: with equal targets left out, each query has nothing but its own target to win against.
    [({}, 0.0), ({"official_false_negatives": True}, 0.6931), ({"official_outfits": True}, 0.6931)],
)
def test_equal_targets_are_no_wrong_answers(tree, official, expected):
    task = task_of(tree, **official)
    embeds = torch.tensor([[1.0, 0.0], [1.0, 0.0]])

    def model(**batch):
        assert not batch
        return SimpleNamespace(query_embeds=embeds, target_embeds=embeds)

    assert float(task.loss(model, {"target_ids": torch.tensor([4, 4])})) == pytest.approx(expected, abs=1e-4)
    assert float(task.loss(model, {"target_ids": torch.tensor([4, 5])})) == pytest.approx(0.6931, abs=1e-4)
