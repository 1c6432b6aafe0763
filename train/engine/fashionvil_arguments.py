"""Arguments that FashionViL's programs share: where a model starts from, which products. Nothing here imports torch."""

import dataclasses
from typing import Literal, get_args

from train.engine.arguments import argument

SETS = Literal["fashiongen", "big_facad", "fashion200k", "polyvore_outfits", "catalogue"]
# What validation on products gives (train/engine/fashionvil.py, ProductRetrieval).
RETRIEVAL_FIGURES = tuple(f"{d}_recall_at{k}" for d in ("image_to_text", "text_to_image") for k in (1, 5, 10))
RETRIEVAL_FIGURES += ("mean_recall",)
SCHEDULES = Literal["multistep", "cosine", "constant"]


@dataclasses.dataclass
class ViLStart:
    """What the model is before training: --model, or image encoder and transformer of their own."""

    model: str | None = argument(
        None, "folder or Hub id of a FashionViL model to go on from; its image encoder and transformer are taken"
    )
    vision_weights: str | None = argument(
        None, "image encoder: folder or Hub id of a vision model of transformers, e.g. microsoft/resnet-50"
    )
    text_weights: str | None = argument(None, "transformer: folder or Hub id of a BERT, e.g. bert-base-uncased")
    architecture: str | None = argument(
        None, "YAML file with a FashionViL configuration: sizes of what no weights are given for"
    )
    tokenizer: str | None = argument(
        None, "folder or Hub id of a BERT tokenizer; default: the weights' own, else one made of the training texts"
    )
    resize: int | None = argument(
        None,
        "side to which pictures are resized before the crop to the encoder's size; default: 8/7 of that",
        minimum=8,
    )
    freeze: list[str] = argument([], "freeze the parameters whose names begin like one of these")
    train_batch_norm: bool = argument(True, "let batch norm of the image encoder learn its statistics")
    sync_batchnorm: bool = argument(False, "batch norm over the batch of all processes")
    gradient_checkpointing: bool = argument(False, "recompute activations in the backward pass")


@dataclasses.dataclass
class ViLOptimizer:
    """AdamW with the published groups, and how the rate changes."""

    batch_size: int = argument(256, "rows per step, over all processes", minimum=2)
    learning_rate: float = argument(1e-5, "step size of AdamW for the transformer", above=0)
    lr_multiplier: float = argument(
        20.0, "step size of image encoder, projection and heads over that of the transformer", above=0
    )
    weight_decay: float = argument(1e-4, "decoupled weight decay", minimum=0)
    schedule: SCHEDULES = argument("multistep", "a tenth at every one of --lr_steps, half a cosine, or constant")
    warmup: int = argument(0, "steps in which the learning rate rises", minimum=0)
    lr_steps: list[int] = argument([], "multistep: steps after which the learning rate is a tenth", minimum=1)
    max_grad_norm: float | None = argument(None, "gradient clipping; default: none, as published", above=0)
    official_adamw: bool = argument(False, "AdamW as transformers 3 and 4 had it: eps before bias correction")
    official_zero_gradients: bool = argument(
        False, "as PyTorch before 2.0: parameters that a step doesn't use go on by momentum and weight decay"
    )


@dataclasses.dataclass
class ProductData:
    """Which products."""

    data_dir: str = argument(help="folder of the data set, or of all of them")
    datasets: list[str] = argument(["fashiongen"], f"data sets to train on, joined: {', '.join(get_args(SETS))}")
    validation_dataset: SETS = argument("fashiongen", "data set to validate on")
    train_split: str = argument("train", "split to train on")
    validation_split: str = argument("validation", "split to validate on")
    max_length: int = argument(75, "tokens of a text; longer ones keep their beginning", minimum=3)
    missing_images: Literal["error", "skip"] = argument(
        "error", "stop at missing pictures, or leave them out and count them"
    )
    pixel_cache: str | None = argument(
        None, "folder for decoded pictures, shared by runs of one data set; default: inside --output_dir"
    )

    def __post_init__(self) -> None:
        check_choices("--datasets", self.datasets, get_args(SETS))


def check_choices(flag: str, given: list[str], known: tuple[str, ...]) -> None:
    """Refuse values that a list may not hold; the parser checks choices of single values alone.

    Raises:
        ValueError: an empty list, or an unknown or repeated value.
    """
    unknown = [value for value in given if value not in known]
    if unknown or not given or len(set(given)) < len(given):
        raise ValueError(
            f"{flag}: each of {', '.join(known)} at most once, at least one; got {' '.join(given) or 'none'}"
        )
