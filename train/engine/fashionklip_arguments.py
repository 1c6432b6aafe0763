"""Arguments of FashionKLIP's training: where it starts from and what it reads. Nothing here imports torch."""

import dataclasses
from typing import Literal

from train.engine.arguments import argument
from train.engine.clip4cir import HUB_BACKBONES


@dataclasses.dataclass
class StartArguments:
    """What the model is before training. Exactly one of model, backbone, clip_checkpoint and architecture."""

    model: str | None = argument(None, "folder or Hub id of a FashionKLIP model to go on from")
    backbone: str | None = argument(
        None, f"{', '.join(HUB_BACKBONES)}, or folder or Hub id of any CLIP of transformers"
    )
    clip_checkpoint: str | None = argument(
        None, "OpenAI archive, or checkpoint or EasyNLP folder of the original FashionKLIP (its --resume)"
    )
    architecture: str | None = argument(
        None, "YAML file with a FashionKLIP configuration, to start from random weights"
    )
    vision_weights: str | None = argument(
        None, "folder or Hub id of a vision model of transformers whose weights start the image tower of --architecture"
    )
    tokenizer: str | None = argument(
        None,
        "folder or Hub id of a CLIP tokenizer; default: the model's own, CLIP's for official checkpoints, and one "
        "trained on the training captions for --architecture",
    )
    transform: Literal["clip", "squarepad", "targetpad"] | None = argument(
        None, "padding before the resize; default: what --model was trained with, else clip (none)"
    )
    official_truncation: bool = argument(False, "cut long captions without their end token, as the original")

    def __post_init__(self) -> None:
        if self.vision_weights and not self.architecture:
            raise ValueError("--vision_weights goes with --architecture, whose image tower it fills")


@dataclasses.dataclass
class PairArguments:
    """Which captions, images and concepts."""

    data_dir: str = argument(help="folder with the data set's tree (see data_scripts/<dataset>.py)")
    dataset: Literal["fashionklip", "catalogue", "fashiongen"] = argument(
        "fashionklip", "layout of --data_dir: the original's archives and JSONL files, own products, or FashionGen"
    )
    train_split: str | None = argument(None, "split to train on; default: train")
    validation_split: str | None = argument(
        None, "split for validation; default: valid or val (catalogue), validation (FashionGen), the val files"
    )
    caption: list[str] = argument(
        [],
        "columns of a product whose texts, joined, are its caption; default: title, for FashionGen title description",
    )
    graph: str | None = argument(
        None, "folder of a concept graph (train/fashionklip_graph.py); default for fashionklip: the tree's own files"
    )
    pool: Literal["auto", "kb", "train"] = argument(
        "auto", "images among which prototypes are looked for: the knowledge base's archives, or the training images"
    )
    train_data: str | None = argument(None, "fashionklip: other file of training captions than the tree's")
    train_img: list[str] = argument([], "fashionklip: other archives of training images")
    val_data: str | None = argument(None, "fashionklip: other file of validation captions")
    val_img: list[str] = argument([], "fashionklip: other archives of validation images")
    img_data_sets: list[str] = argument([], "fashionklip: other archives of the pool")
    concept_data: str | None = argument(None, "fashionklip: other file of the data's concepts")
    concept_fathers: str | None = argument(None, "fashionklip: other file of their fathers")
    kb_concept_data: str | None = argument(None, "fashionklip: other file of the knowledge base's concepts")
    kb_concept_fathers: str | None = argument(None, "fashionklip: other file of their fathers")
    missing_images: Literal["error", "skip"] = argument("error", "stop at missing images, or skip and count their rows")
    pixel_cache: str | None = argument(None, "folder for decoded pictures; default: <output_dir>/cache")
