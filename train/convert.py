"""Turn official checkpoints into a complete model folder: weights, configuration, processor, code and card.

    python train/convert.py --system clip4cir --checkpoint RN50x4.pt --output_dir clip-rn50x4
    python train/convert.py --system clip4cir --checkpoint fiq_clip_RN50x4_fullft.pt fiq_comb_RN50x4_fullft.pt \\
        --output_dir clip4cir-fashioniq

clip4cir takes OpenAI's CLIP archives, fine-tuned CLIP files and Combiner files, one or several together; sizes are read
off the tensors. Nothing in the files is executed, and a tensor that is missing or unused is an error that names it.
Needs memory for the weights twice; seconds on a CPU.
"""

import hashlib
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from train.engine.arguments import argument, parse_arguments

# Another system adds its name here and a function of the same form below, in `CONVERTERS`.
System = Literal["clip4cir"]


@dataclass
class ConvertArguments:
    """What to convert, and where to."""

    system: System = argument(help="the published system that the files belong to")
    checkpoint: list[str] = argument(help="one or more official files")
    output_dir: str = argument(help="folder of the converted model; must be empty or new unless --overwrite")
    overwrite: bool = argument(False, "replace what is in --output_dir")
    tokenizer: str | None = argument(
        None, "folder or Hub id of the tokenizer; default for clip4cir: openai/clip-vit-base-patch32"
    )


@dataclass
class ImageArguments:
    """How the processor prepares pictures."""

    transform: Literal["targetpad", "squarepad", "clip"] = argument("targetpad", "padding before the resize")
    target_ratio: float = argument(1.25, "ratio of the sides that targetpad pads to", minimum=1.0)
    official_image_modes: bool = argument(
        False, "process pictures in their own mode and ignore EXIF orientation, as the original does"
    )


@dataclass
class OfficialArguments:
    """Peculiarities of the originals that are off by default."""

    official_half_precision_weights: bool = argument(
        False, "clip4cir: round the towers' matrices to half precision, as the original's evaluation on a GPU does"
    )
    official_raise_on_long_text: bool = argument(False, "clip4cir: an error for texts that don't fit, not a cut")


def main(argv: list[str] | None = None) -> None:
    arguments, images, official = parse_arguments(
        ConvertArguments, ImageArguments, OfficialArguments, description=__doc__, argv=argv
    )
    try:
        report = convert(arguments, images, official)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"convert: {error}")
    print(json.dumps(report))


def convert(arguments: ConvertArguments, images: ImageArguments, official: OfficialArguments) -> dict[str, Any]:
    """Convert and write; the folder appears whole or not at all.

    Returns:
        output_dir, model, backbone, parameters, files (each with its SHA-256).

    Raises:
        FileNotFoundError: a checkpoint doesn't exist.
        FileExistsError: the output folder isn't empty.
        ValueError: a file is refused, or its weights don't fit.
    """
    from train.engine.checkpoint import swap

    target = Path(arguments.output_dir)
    if target.exists() and (not target.is_dir() or any(target.iterdir())) and not arguments.overwrite:
        raise FileExistsError(f"--output_dir {target} is not empty; choose another one, or --overwrite to replace it")
    model, processor, facts = CONVERTERS[arguments.system](arguments, images, official)

    files = {str(path): _digest(Path(path)) for path in arguments.checkpoint}
    beside = target.with_name(target.name + ".tmp")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        model.save_pretrained(beside)
        processor.save_pretrained(beside)
        (beside / "README.md").write_text(_card(target.name, model, facts, files), encoding="utf-8")
        swap(beside, target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return {"output_dir": str(target), "system": arguments.system, **facts, "files": files}


def convert_clip4cir(
    arguments: ConvertArguments, images: ImageArguments, official: OfficialArguments
) -> tuple[Any, Any, dict[str, Any]]:
    """(CLIP4CirModel, CLIP4CirProcessor, facts for the report) from CLIP and Combiner files."""
    from modeling.clip4cir import CLIP4CirImageProcessor, CLIP4CirProcessor
    from modeling.clip4cir.convert_clip4cir import backbone_name, model_from_official, read_official, round_to_half
    from train.engine.clip4cir import DEFAULT_TOKENIZER, load_tokenizer

    clip, combiner = read_official(arguments.checkpoint)
    if clip is None:
        raise ValueError(
            f"{', '.join(arguments.checkpoint)}: a Combiner alone is not a model; add the CLIP file that its features "
            "come from, OpenAI's archive or a fine-tuned one"
        )
    model = model_from_official(clip, combiner)
    if official.official_half_precision_weights:
        round_to_half(model)
    tokenizer = load_tokenizer(arguments.tokenizer or DEFAULT_TOKENIZER)
    text = model.config.text_config
    if len(tokenizer) > text.vocab_size or tokenizer.eos_token_id != len(tokenizer) - 1:
        raise ValueError(
            f"--tokenizer {arguments.tokenizer or DEFAULT_TOKENIZER} has {len(tokenizer)} entries and end id "
            f"{tokenizer.eos_token_id}; the weights have {text.vocab_size} entries, and the end must be the last"
        )
    tokenizer.model_max_length = min(tokenizer.model_max_length, text.max_position_embeddings)
    image_processor = CLIP4CirImageProcessor(
        size=model.config.image_size,
        transform=images.transform,
        target_ratio=images.target_ratio,
        official_image_modes=images.official_image_modes,
    )
    processor = CLIP4CirProcessor(
        image_processor, tokenizer, official_raise_on_long_text=official.official_raise_on_long_text
    )
    facts = {
        "model": type(model).__name__,
        "kind": model.config.combiner_type,
        "backbone": backbone_name(model.config),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }
    return model, processor, facts


CONVERTERS = {"clip4cir": convert_clip4cir}


def _card(name: str, model: Any, facts: dict[str, Any], files: dict[str, str]) -> str:
    """A card without figures: nothing was measured yet. `train/publish.py` writes the full one from results."""
    from train.engine.cards import CardFacts, model_card

    lines = [f"- `{Path(path).name}` (SHA-256 `{digest}`)" for path, digest in files.items()]
    size, dim = model.config.image_size, model.config.projection_dim
    card = CardFacts(
        repo_id=name,
        model_type=model.config.model_type,
        kind=facts["kind"],
        class_name=facts["model"],
        parameters=facts["parameters"],
        features={f"get_{kind}_features": [1, dim] for kind in ("image", "text", "query")},
        inputs={"pixel_values": [1, 3, size, size]},
        notes="Converted with `train/convert.py` from:\n\n" + "\n".join(lines),
    )
    return model_card(card, [])


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
