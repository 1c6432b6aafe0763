"""Arguments of the outfit models' training: where they start from, what they read. Nothing here imports torch."""

import dataclasses
from typing import Literal

from train.engine.arguments import argument

VARIANTS = Literal["bilstm", "bilstm-no-vse", "vse", "siamese"]


@dataclasses.dataclass
class OutfitStart:
    """What the model is before training: --model, or a fresh one around an image network."""

    model: str | None = argument(None, "folder or Hub id of a Bi-LSTM model to go on from")
    variant: VARIANTS = argument("bilstm", "which of the paper's models")
    vision_weights: str | None = argument(
        None, "image network: a TF-slim Inception v3 checkpoint, or folder or Hub id of a vision model of transformers"
    )
    architecture: str | None = argument(
        None, "YAML file with the configuration of an image network of transformers, to start it from random weights"
    )
    inception: bool = argument(False, "without --vision_weights: Inception v3 with random weights")
    inception_multiplier: float = argument(1.0, "width of that Inception's layers", above=0)
    image_size: int | None = argument(None, "side of the pictures; default: 299 for Inception, else the network's own")
    pad: bool = argument(False, "pad pictures to a square instead of stretching them")
    item_inputs: Literal["image", "text", "both"] = argument(
        "image", "what the recurrent networks read of an item: its picture, the words of its name, or both"
    )
    cell: Literal["lstm", "gru", "rnn"] = argument("lstm", "recurrent cell")
    embedding_dim: int = argument(512, "size of both embeddings", minimum=1)
    hidden_size: int = argument(512, "state of the recurrent networks", minimum=1)
    max_items: int = argument(8, "items of an outfit that training reads", minimum=2)

    def __post_init__(self) -> None:
        given = [f"--{name}" for name in ("vision_weights", "architecture", "inception") if getattr(self, name)]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are {len(given)} image networks; give one")
        if self.item_inputs == "text" and self.variant != "bilstm-no-vse":
            raise ValueError("--item_inputs text reads no pictures: it goes with --variant bilstm-no-vse")


@dataclasses.dataclass
class OutfitData:
    """Which outfits and questions."""

    data_dir: str = argument(help="folder with the data set's tree (see data_scripts/<dataset>.py)")
    dataset: Literal["polyvore", "polyvore_outfits"] = argument("polyvore", "layout of --data_dir")
    disjoint: bool = argument(False, "polyvore_outfits: the disjoint variant")
    records: str | None = argument(
        None,
        "polyvore: folder with TFRecord shards of the original, from which outfits and photos are read in place of "
        "--data_dir's; questions and word list are those of --data_dir",
    )
    train_split: str = argument("train", "split to train on")
    validation_split: str = argument("valid", "split for validation")
    questions: str | None = argument(
        None, "which questions validate, e.g. typed (fill_in_blank_valid_typed.json); default: the official ones"
    )
    missing: Literal["error", "skip"] = argument(
        "error", "missing photos and questions with unknown items: stop, or leave out (as the original) and count"
    )
    vocabulary: str | None = argument(
        None, "word list, a word a line; default: final_word_dict.txt of --data_dir, else the training names' own words"
    )
    min_word_count: int = argument(5, "least number of training names with a word of an own list", minimum=1)
    feature_cache: str | None = argument(
        None, "folder for features of the frozen image network; default: <output_dir>/cache"
    )
    feature_batch: int = argument(64, "pictures per pass of the frozen image network", minimum=1)

    def __post_init__(self) -> None:
        if self.records and self.dataset != "polyvore":
            raise ValueError("--records are shards of --dataset polyvore; leave one of them out")
