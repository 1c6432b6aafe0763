"""Small data sets in the official layouts, and a tiny model, for the tests of retrieval and its programs."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CATEGORIES = ("dress", "shirt", "toptee")


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory) -> None:
    """Prepared data sets of the tests stay out of the user's cache."""
    import datasets

    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("datasets")
    yield
    datasets.config.HF_DATASETS_CACHE = before


def write_picture(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (12, 10, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((40, 48)).save(path, quality=95)


@pytest.fixture(scope="session")
def fashioniq_dir(tmp_path_factory) -> Path:
    """14 images and 8 triplets per category, val only; shirt and toptee share two images, each category has one
    image that is neither reference nor target."""
    root = tmp_path_factory.mktemp("fashionIQ_dataset")
    generator = np.random.default_rng(5)
    words = ("red", "longer", "striped", "sleeveless", "darker", "plain", "shorter", "brighter")
    for number, category in enumerate(CATEGORIES):
        ids = [f"{category[0].upper()}{i:09d}" for i in range(14)]
        if category == "toptee":
            ids[3:5] = [f"S{i:09d}" for i in (6, 2)]
        for i, name in enumerate(ids):
            path = root / "images" / f"{name}.jpg"
            if not path.exists():
                write_picture(path, 100 * number + i)
        used = generator.permutation(13)
        pairs = [(used[i], used[(i * 3 + 1) % 13]) for i in range(8)]
        triplets = [
            {
                "candidate": ids[r],
                "target": ids[t],
                "captions": [f"is {words[i]}", f" is more {words[(i + number) % 8]}."],
            }
            for i, (r, t) in enumerate(pairs)
        ]
        for folder, name, content in (
            ("captions", f"cap.{category}.val.json", triplets),
            ("image_splits", f"split.{category}.val.json", ids),
        ):
            (root / folder).mkdir(exist_ok=True)
            (root / folder / name).write_text(json.dumps(content))
    return root


@pytest.fixture(scope="session")
def cirr_dir(tmp_path_factory) -> Path:
    """60 images; 9 val queries with targets, 33 test1 queries without (33 = 32 + 1, where the original crashes)."""
    root = tmp_path_factory.mktemp("cirr_dataset")
    generator = np.random.default_rng(6)
    for split, folder, queries in (("val", "dev", 9), ("test1", "test1", 33)):
        names = [f"{folder}-{i}-0-img{i % 2}" for i in range(60)]
        for i, name in enumerate(names):
            write_picture(root / folder / f"{name}.png", 1000 + i)
        rows = []
        for number in range(queries):
            members = [names[i] for i in generator.choice(60, 6, replace=False)]
            row = {
                "pairid": 995 + number,
                "reference": members[2],
                "caption": f"show {number} of them.",
                "img_set": {"id": number, "members": members, "reference_rank": 2},
            }
            if split == "val":
                row |= {"target_hard": members[4], "target_soft": {members[4]: 1.0}}
                row["img_set"]["target_rank"] = 4
            rows.append(row)
        for kind, name, content in (
            ("captions", f"cap.rc2.{split}.json", rows),
            ("image_splits", f"split.rc2.{split}.json", {n: f"./{folder}/{n}.png" for n in names}),
        ):
            (root / "cirr" / kind).mkdir(parents=True, exist_ok=True)
            (root / "cirr" / kind / name).write_text(json.dumps(content))
    return root


@pytest.fixture(scope="session")
def catalogue_dir(tmp_path_factory) -> Path:
    """12 products with 4 titles (three photos each) and 5 queries, split valid."""
    root = tmp_path_factory.mktemp("shop")
    titles = ("red shirt", "blue shirt", "red dress", "green dress")
    with open(root / "products_valid.jsonl", "w") as file:
        for i in range(12):
            file.write(json.dumps({"id": f"p{i}", "title": titles[i % 4]}) + "\n")
            write_picture(root / "images" / f"p{i}.jpg", 2000 + i)
    with open(root / "composed_valid.jsonl", "w") as file:
        for r, t in ((0, 1), (4, 5), (1, 0), (2, 3), (7, 6)):
            row = {"reference": f"p{r}", "target": f"p{t}", "caption": f"replace {titles[r % 4]} with {titles[t % 4]}"}
            file.write(json.dumps(row | {"reference_title": titles[r % 4], "target_title": titles[t % 4]}) + "\n")
    return root


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory) -> Path:
    """A complete folder of a tiny CLIP4CirModel with a Combiner, random weights."""
    import torch
    from transformers import CLIPTextConfig, CLIPVisionConfig

    from modeling.clip4cir import CLIP4CirConfig, CLIP4CirImageProcessor, CLIP4CirModel, CLIP4CirProcessor
    from train.engine.vocabulary import train_tokenizer

    torch.manual_seed(3)
    texts = ["is red and is longer", "show 12 of them", "replace red shirt with green dress", "is more plain striped"]
    tokenizer = train_tokenizer(texts, 520)
    tower = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIP4CirConfig(
        vision_config=CLIPVisionConfig(image_size=16, patch_size=8, **tower),
        text_config=CLIPTextConfig(vocab_size=len(tokenizer), max_position_embeddings=77, **tower),
        projection_dim=12,
        combiner_type="combiner",
        combiner_projection_dim=16,
        combiner_hidden_dim=24,
    )
    folder = tmp_path_factory.mktemp("model")
    CLIP4CirModel(config).save_pretrained(folder)
    CLIP4CirProcessor(CLIP4CirImageProcessor(size=16), tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def loaded(model_dir):
    """The tiny model and its processor."""
    from train.retrieval.loading import load_model

    return load_model(str(model_dir))
