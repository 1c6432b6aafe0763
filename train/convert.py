"""Turn official checkpoints into a complete model folder: weights, configuration, processor, code and card.

    python train/convert.py --system clip4cir --checkpoint RN50x4.pt --output_dir clip-rn50x4
    python train/convert.py --system clip4cir --checkpoint fiq_clip_RN50x4_fullft.pt fiq_comb_RN50x4_fullft.pt \\
        --output_dir clip4cir-fashioniq
    python train/convert.py --system fashionklip --checkpoint epoch_latest.pt --output_dir fashionklip-fashiongen
    python train/convert.py --system fashionklip --checkpoint runs/klip/model --write clip --output_dir plain-clip
    python train/convert.py --system bilstm --checkpoint final_model/model.ckpt-34865 \\
        --vocabulary final_word_dict.txt --output_dir bilstm-polyvore
    python train/convert.py --system bilstm --checkpoint test_features.pkl --write features --output_dir features
    python train/convert.py --system fashionvil --checkpoint fashionvil_final.pth --output_dir fashionvil-pretrained
    python train/convert.py --system fashionvil --checkpoint best.ckpt --variant composition --output_dir fashionvil-fiq

clip4cir takes OpenAI's CLIP archives, fine-tuned CLIP files and Combiner files, one or several together. fashionklip
takes one of: OpenAI's archive, a training checkpoint, a plain state dict, EasyNLP's model folder, a CLIPModel folder of
transformers, and, for the way back (`--write clip`, `--write official`), a FashionKLIP folder. bilstm takes one TensorFlow
checkpoint, of V1 (the released files) or V2 (its prefix, .index or folder), and a file of features (`--write features`);
for the way back a Bi-LSTM folder. fashionvil takes one file of the original's trainer, of any head, or its image tokenizer's.
Sizes are read off the tensors. Nothing in the files is executed, and a tensor that is
missing or unused is an error that names it. Needs memory for the weights twice; seconds on a CPU.
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
System = Literal["bilstm", "clip4cir", "fashionklip", "fashionvil"]


@dataclass
class ConvertArguments:
    """What to convert, and where to."""

    system: System = argument(help="the published system that the files belong to")
    checkpoint: list[str] = argument(help="one or more official files; for fashionklip and bilstm one file or folder")
    output_dir: str = argument(help="folder of the converted model; must be empty or new unless --overwrite")
    overwrite: bool = argument(False, "replace what is in --output_dir")
    tokenizer: str | None = argument(
        None,
        "folder or Hub id of the tokenizer; default: the folder's own, else openai/clip-vit-base-patch32, or for fashionvil "
        "google-bert/bert-base-uncased",
    )
    write: Literal["model", "clip", "official", "features"] = argument(
        "model",
        "model: a folder for AutoModel; fashionklip also clip: a plain CLIPModel folder of transformers; fashionklip and "
        "bilstm official: a checkpoint that the original goes on from; bilstm features: test_features.pkl as safetensors",
    )
    epoch: int = argument(
        0,
        "fashionklip, --write official: number of finished epochs in the checkpoint, after which the original goes on",
        minimum=0,
    )
    step: int = argument(
        0,
        "bilstm, --write official: number of finished steps in the checkpoint, after which the original goes on",
        minimum=0,
    )
    vocabulary: str | None = argument(
        None, "bilstm: the original's final_word_dict.txt, one word a line; needed for models with a word table"
    )
    variant: Literal["auto", "bilstm-no-vse", "composition", "encoders"] = argument(
        "auto",
        "auto tells it by the names of the weights, except for: bilstm-no-vse (model_bi_no_emb.ckpt), which has those of a "
        "whole bilstm; fashionvil's composition, which has those of its image-text retrieval. encoders: fashionvil "
        "without a head, out of any file",
    )

    def __post_init__(self) -> None:
        if self.write not in WRITERS[self.system]:
            takers = [system for system, writers in WRITERS.items() if self.write in writers]
            ways = ", ".join(WRITERS[self.system])
            raise ValueError(f"--write {self.write} is for {' and '.join(takers)}; {self.system} is written as {ways}")
        for name, system in (("epoch", "fashionklip"), ("step", "bilstm")):
            if getattr(self, name) and (self.write != "official" or self.system != system):
                raise ValueError(f"--{name} is an entry of the checkpoint that --write official makes of a {system}")
        if self.system != "bilstm" and self.vocabulary:
            raise ValueError(f"--vocabulary is for bilstm, not for {self.system}")
        if self.variant not in VARIANTS.get(self.system, ("auto",)):
            ways = ", ".join(VARIANTS.get(self.system, ("auto",)))
            raise ValueError(f"--variant {self.variant} is not for {self.system}, which has {ways}")


@dataclass
class ImageArguments:
    """How the processor prepares pictures."""

    transform: Literal["auto", "targetpad", "squarepad", "clip"] = argument(
        "auto",
        "padding before the resize; auto: targetpad for clip4cir, clip (none) for fashionklip; bilstm stretches "
        "pictures (auto) or pads them to a square with white (squarepad); fashionvil stretches them (auto)",
    )
    target_ratio: float = argument(1.25, "ratio of the sides that targetpad pads to", minimum=1.0)
    official_image_modes: bool = argument(
        False, "process pictures in their own mode and ignore EXIF orientation, as the original does"
    )


@dataclass
class OfficialArguments:
    """Peculiarities of the originals that are off by default."""

    official_half_precision_weights: bool = argument(
        False,
        "round the towers' matrices to half precision, as clip4cir's evaluation on a GPU does, and fashionklip's "
        "training when it starts from OpenAI's file",
    )
    official_raise_on_long_text: bool = argument(False, "clip4cir: an error for texts that don't fit, not a cut")
    official_truncation: bool = argument(
        False, "fashionklip: cut long texts without keeping their end, which gives all of them the same feature"
    )
    official_special_tokens: bool = argument(
        False, "fashionklip: <start_of_text> and <end_of_text> in a text become the special ids"
    )


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
        output_dir, system, model, backbone, parameters, files (each with its SHA-256), and what the system adds.

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

    # The parts of a checkpoint that is no single file.
    files = _digests(facts.pop("parts", arguments.checkpoint))
    beside = target.with_name(target.name + ".tmp")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        facts |= WRITERS[arguments.system][arguments.write](beside, arguments, model, processor, facts, files)
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
    from train.engine.clip4cir import DEFAULT_TOKENIZER, fitting_tokenizer

    clip, combiner = read_official(arguments.checkpoint)
    if clip is None:
        raise ValueError(
            f"{', '.join(arguments.checkpoint)}: a Combiner alone is not a model; add the CLIP file that its features "
            "come from, OpenAI's archive or a fine-tuned one"
        )
    model = model_from_official(clip, combiner)
    if official.official_half_precision_weights:
        round_to_half(model)
    image_processor = CLIP4CirImageProcessor(
        size=model.config.image_size,
        transform="targetpad" if images.transform == "auto" else images.transform,
        target_ratio=images.target_ratio,
        official_image_modes=images.official_image_modes,
    )
    processor = CLIP4CirProcessor(
        image_processor,
        fitting_tokenizer(arguments.tokenizer or DEFAULT_TOKENIZER, model.config.text_config),
        official_raise_on_long_text=official.official_raise_on_long_text,
    )
    facts = {"model": type(model).__name__, "kind": model.config.combiner_type}
    return model, processor, facts | _sizes(model, backbone_name(model.config))


def convert_fashionklip(
    arguments: ConvertArguments, images: ImageArguments, official: OfficialArguments
) -> tuple[Any, Any, dict[str, Any]]:
    """(FashionKLIPModel, its processor or None where none is written, facts for the report)."""
    from modeling.fashionklip import FashionKLIPImageProcessor, FashionKLIPModel, FashionKLIPProcessor
    from modeling.fashionklip.convert_fashionklip import (
        backbone_name,
        from_clip,
        model_from_official,
        read_official,
        round_to_half,
    )
    from train.engine.clip4cir import DEFAULT_TOKENIZER, fitting_tokenizer

    if len(arguments.checkpoint) != 1:
        raise ValueError(f"fashionklip is one file or folder; --checkpoint has {len(arguments.checkpoint)}")
    source = Path(arguments.checkpoint[0])
    facts: dict[str, Any] = {"kind": "", "layout": _folder_type(source)}
    own_tokenizer = str(source) if (source / "tokenizer_config.json").is_file() else None
    if facts["layout"] == FashionKLIPModel.config_class.model_type:
        if arguments.write == "model":
            raise ValueError(f"{source} is a FashionKLIP folder already; --write clip or --write official converts it")
        model = _load_whole(FashionKLIPModel, source)
    elif facts["layout"] == "clip":
        from transformers import CLIPModel

        model = from_clip(_load_whole(CLIPModel, source))
    else:
        found = read_official(source)
        model = model_from_official(found.state_dict, found.text_heads)
        facts |= {"layout": found.layout, "epoch": found.epoch, "name": found.name, "ignored": found.ignored}
    if official.official_half_precision_weights:
        round_to_half(model)
    facts |= {"model": type(model).__name__} | _sizes(model, backbone_name(model.config))
    if arguments.write == "official":
        return model, None, facts
    if facts["layout"] == FashionKLIPModel.config_class.model_type:
        return model, FashionKLIPProcessor.from_pretrained(source), facts
    image_processor = FashionKLIPImageProcessor(
        size=model.config.image_size,
        transform="clip" if images.transform == "auto" else images.transform,
        target_ratio=images.target_ratio,
        official_image_modes=images.official_image_modes,
    )
    processor = FashionKLIPProcessor(
        image_processor,
        fitting_tokenizer(arguments.tokenizer or own_tokenizer or DEFAULT_TOKENIZER, model.config.text_config),
        official_truncation=official.official_truncation,
        official_special_tokens=official.official_special_tokens,
    )
    return model, processor, facts


def convert_bilstm(
    arguments: ConvertArguments, images: ImageArguments, official: OfficialArguments
) -> tuple[Any, Any, dict[str, Any]]:
    """(BiLSTMModel, its processor, facts for the report), or (features, None, facts) for `--write features`."""
    from modeling.bilstm import BiLSTMModel, BiLSTMProcessor
    from modeling.bilstm.convert_bilstm import model_from_official
    from modeling.bilstm.feature_files import read_features
    from modeling.bilstm.names import STEP, canonical_names
    from modeling.bilstm.tensorflow_files import checkpoint_files, read_checkpoint

    if len(arguments.checkpoint) != 1:
        raise ValueError(f"bilstm is one file or folder; --checkpoint has {len(arguments.checkpoint)}")
    source = Path(arguments.checkpoint[0])
    if arguments.write == "features":
        features = read_features(source)
        sizes = {kind: len(vector) for kind, vector in next(iter(features.values())).items()}
        return features, None, {"items": len(features), "sizes": sizes}
    if source.suffix in (".pkl", ".pickle"):
        raise ValueError(f"{source} is a file of features, not of a model; --write features converts it")
    facts: dict[str, Any] = {"kind": "", "layout": _folder_type(source)}
    if facts["layout"] == BiLSTMModel.config_class.model_type:
        if arguments.write == "model":
            raise ValueError(f"{source} is a Bi-LSTM folder already; --write official converts it")
        if arguments.vocabulary or arguments.variant != "auto":
            raise ValueError(f"{source} is a Bi-LSTM folder and has its words and its variant; leave the options out")
        model = _load_whole(BiLSTMModel, source)
        if not model.config.has_inception:
            network = getattr(model.config.vision_config, "model_type", "none")
            raise ValueError(
                f"{source}: its image network is {network!r}, and the original restores a model with Inception v3 only"
            )
        processor = BiLSTMProcessor.from_pretrained(source) if (source / "processor_config.json").is_file() else None
    else:
        parts = [str(path) for path in checkpoint_files(source)]
        variables = read_checkpoint(source)
        names = canonical_names(variables)
        if names.model == "inception":
            raise ValueError(
                f"{source} holds the image network alone; train an outfit model from it with train/bilstm_train.py "
                f"--vision_weights {source}"
            )
        options = {} if arguments.variant == "auto" else {"variant": arguments.variant}
        if options and names.model != "bilstm":
            raise ValueError(f"{source} is a {names.model} model, not {arguments.variant}; leave --variant out")
        originals = {name: variables[in_file] for name, in_file in names.variables.items()}
        model = model_from_official(originals, **options)
        renamed = {in_file: name for name, in_file in names.variables.items() if in_file != name}
        facts |= {
            "layout": "V1" if len(parts) == 1 else "V2",
            "step": int(originals[STEP]) if STEP in originals else None,
            "renamed": len(renamed),
            "ignored": names.left_out,
            "parts": parts,
        }
        processor = _outfit_processor(arguments, images, model, source)
    facts |= {"model": type(model).__name__, "kind": model.config.variant, "cell": model.config.cell}
    multiplier = model.config.vision_config.depth_multiplier
    return model, processor, facts | _sizes(model, f"Inception v3, {multiplier:g} of its width")


def _outfit_processor(arguments: ConvertArguments, images: ImageArguments, model: Any, source: Path) -> Any:
    """The processor of converted weights, with the original's words.

    Raises:
        ValueError: no vocabulary for a model that has a word table, or one of another size.
    """
    from data_scripts.polyvore import read_vocabulary
    from modeling.bilstm import BiLSTMImageProcessor, BiLSTMProcessor

    if images.transform not in ("auto", "squarepad"):
        raise ValueError(f"--transform {images.transform} is not for bilstm; auto stretches, squarepad pads with white")
    if not model.config.has_text:
        if arguments.vocabulary:
            raise ValueError(
                f"{source} is a {model.config.variant} model, without a word table; leave --vocabulary out"
            )
        words = []
    elif arguments.vocabulary:
        words = list(read_vocabulary(arguments.vocabulary))
        if len(words) != model.config.vocab_size - 1:
            raise ValueError(
                f"--vocabulary {arguments.vocabulary} has {len(words)} words, and the word table of {source} has rows for "
                f"{model.config.vocab_size - 1} and for padding; give the list that the model was trained with"
            )
    elif arguments.write == "model":
        raise ValueError(
            f"{source} has a word table of {model.config.vocab_size} rows, whose words are not in it: give the original's "
            f"list of {model.config.vocab_size - 1} words with --vocabulary final_word_dict.txt"
        )
    else:
        return None
    image_processor = BiLSTMImageProcessor(
        size=model.config.image_size,
        pad=images.transform == "squarepad",
        official_image_modes=images.official_image_modes,
    )
    return BiLSTMProcessor(image_processor, words)


def convert_fashionvil(
    arguments: ConvertArguments, images: ImageArguments, official: OfficialArguments
) -> tuple[Any, Any, dict[str, Any]]:
    """(one of FashionViL's classes, its processor, facts for the report) from one official file."""
    from modeling.fashionvil import FashionViLImageProcessor, FashionViLProcessor
    from modeling.fashionvil.convert_fashionvil import backbone_name, model_from_official, read_official

    if len(arguments.checkpoint) != 1:
        raise ValueError(f"fashionvil is one file; --checkpoint has {len(arguments.checkpoint)}")
    if images.transform != "auto":
        raise ValueError(f"--transform {images.transform} is not for fashionvil, which stretches pictures (auto)")
    found = read_official(arguments.checkpoint[0])
    kind = found.kind if arguments.variant == "auto" else arguments.variant
    model = model_from_official(found.state_dict, kind)
    size = model.config.image_size
    # The original crops pictures of all data sets but FashionIQ and Polyvore.
    whole = kind in ("composition", "outfits")
    processor = FashionViLImageProcessor(
        size=size, resize=size if whole else None, official_image_modes=images.official_image_modes
    )
    facts = {"model": type(model).__name__, "kind": kind, "updates": found.updates, "ignored": found.ignored}
    if kind == "tokenizer":
        return model, processor, facts | {"dim": model.config.code_dim} | _sizes(model, None)
    facts["dim"] = model.config.outfit_embedding_dim if kind == "outfits" else model.config.hidden_size
    if kind != "outfits":
        tokenizer = _bert_tokenizer(arguments.tokenizer or DEFAULT_BERT, model.config.text_config)
        processor = FashionViLProcessor(processor, tokenizer, max_text_length=50 if kind == "composition" else 75)
    return model, processor, facts | _sizes(model, backbone_name(model.config))


DEFAULT_BERT = "google-bert/bert-base-uncased"


def _bert_tokenizer(name: str, text_config: Any) -> Any:
    """The tokenizer by folder or Hub id, limited to the positions of the weights.

    Raises:
        ValueError: it has another number of entries than the weights.
        OSError: there is none.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(name)
    if len(tokenizer) != text_config.vocab_size:
        raise ValueError(
            f"the tokenizer {name} has {len(tokenizer)} entries and the weights have {text_config.vocab_size}: name "
            "another one with --tokenizer"
        )
    tokenizer.model_max_length = min(tokenizer.model_max_length, text_config.max_position_embeddings)
    return tokenizer


CONVERTERS = {
    "bilstm": convert_bilstm,
    "clip4cir": convert_clip4cir,
    "fashionklip": convert_fashionklip,
    "fashionvil": convert_fashionvil,
}
# System -> what `--variant` can ask for.
VARIANTS = {"bilstm": ("auto", "bilstm-no-vse"), "fashionvil": ("auto", "composition", "encoders")}


def write_model(
    folder: Path, arguments: ConvertArguments, model: Any, processor: Any, facts: dict[str, Any], files: dict[str, str]
) -> dict[str, Any]:
    """Weights, configuration, processor, code and card, for `AutoModel` and `AutoProcessor`."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    card = _card(Path(arguments.output_dir).name, model, facts, files)
    (folder / "README.md").write_text(card, encoding="utf-8")
    return {}


def write_clip(
    folder: Path, arguments: ConvertArguments, model: Any, processor: Any, facts: dict[str, Any], files: dict[str, str]
) -> dict[str, Any]:
    """A plain CLIP folder of transformers; what its processor can't do is said in the card and in the report."""
    from transformers import CLIPImageProcessor, CLIPProcessor

    from modeling.fashionklip.convert_fashionklip import to_clip_model

    clip = to_clip_model(model, processor.tokenizer.eos_token_id)
    clip.save_pretrained(folder)
    ours = processor.image_processor
    image_processor = CLIPImageProcessor(
        size={"shortest_edge": ours.size},
        crop_size={"height": ours.size, "width": ours.size},
        image_mean=ours.image_mean,
        image_std=ours.image_std,
    )
    CLIPProcessor(image_processor, processor.tokenizer).save_pretrained(folder)
    notes = ["CLIP's tokenizer doesn't repair broken characters or HTML in texts; FashionKLIP's processor does."]
    if ours.transform != "clip":
        notes.append(
            f"The model was trained on pictures padded by {ours.transform!r}, which CLIP's processor can't do: pad "
            "pictures before it, or use the FashionKLIP folder."
        )
    for note in notes[1:]:
        print(f"convert: {note}", file=sys.stderr)
    text = CLIP_CARD.format(name=Path(arguments.output_dir).name, files=_file_list(files), notes="\n".join(notes))
    (folder / "README.md").write_text(text, encoding="utf-8")
    return {"written": type(clip).__name__, "notes": notes}


def write_official(
    folder: Path, arguments: ConvertArguments, model: Any, processor: Any, facts: dict[str, Any], files: dict[str, str]
) -> dict[str, Any]:
    """A training checkpoint of the original, under the name that the original gives it."""
    import torch

    from modeling.fashionklip.convert_fashionklip import training_checkpoint

    path = folder / f"epoch_{arguments.epoch}.pt"
    torch.save(training_checkpoint(model, arguments.epoch, Path(arguments.output_dir).name), path)
    return {"written": path.name}


def write_tensorflow(
    folder: Path, arguments: ConvertArguments, model: Any, processor: Any, facts: dict[str, Any], files: dict[str, str]
) -> dict[str, Any]:
    """A V1 checkpoint that the original restores, the note by which TensorFlow finds it, and the list of its words."""
    import numpy as np

    from modeling.bilstm.convert_bilstm import to_official_variables
    from modeling.bilstm.names import STEP
    from modeling.bilstm.tensorflow_files import write_v1_checkpoint

    step = arguments.step or facts.get("step") or 0
    name = f"model.ckpt-{step}"
    variables = to_official_variables(model)
    write_v1_checkpoint(folder / name, variables | {STEP: np.int32(step)})
    (folder / "checkpoint").write_text(
        f'model_checkpoint_path: "{name}"\nall_model_checkpoint_paths: "{name}"\n', encoding="utf-8"
    )
    if processor is not None and processor.vocabulary:
        (folder / "final_word_dict.txt").write_text("\n".join(processor.vocabulary), encoding="utf-8")
    return {"written": name, "variables": len(variables) + 1}


def write_feature_file(
    folder: Path, arguments: ConvertArguments, model: Any, processor: Any, facts: dict[str, Any], files: dict[str, str]
) -> dict[str, Any]:
    """Features as safetensors, under the name of the file they come from."""
    from modeling.bilstm.feature_files import write_features

    path = folder / f"{Path(arguments.checkpoint[0]).stem}.safetensors"
    write_features(path, model)
    return {"written": path.name}


# System -> what `--write` can make of its files.
WRITERS = {
    "bilstm": {"model": write_model, "official": write_tensorflow, "features": write_feature_file},
    "clip4cir": {"model": write_model},
    "fashionklip": {"model": write_model, "clip": write_clip, "official": write_official},
    "fashionvil": {"model": write_model},
}

CLIP_CARD = """---
library_name: transformers
pipeline_tag: zero-shot-image-classification
---
# {name}

A FashionKLIP as a plain CLIP: `CLIPModel.from_pretrained` and `CLIPProcessor.from_pretrained` load it without any other
code. Written by `train/convert.py --write clip` from:

{files}

{notes}
"""


def _card(name: str, model: Any, facts: dict[str, Any], files: dict[str, str]) -> str:
    """A card without figures: nothing was measured yet. `train/publish.py` writes the full one from results."""
    from train.engine.cards import CardFacts, model_card

    size = model.config.image_size
    dim = facts.get("dim") or getattr(model.config, "projection_dim", None) or model.config.embedding_dim
    kinds = [*model.input_modalities, "query"]
    methods = [f"get_{kind}_features" for kind in kinds]
    card = CardFacts(
        repo_id=name,
        model_type=model.config.model_type,
        kind=facts["kind"],
        class_name=facts["model"],
        parameters=facts["parameters"],
        features={method: [1, dim] for method in methods if hasattr(model, method)},
        inputs={"pixel_values": [1, 3, size, size]},
        notes=f"Converted with `train/convert.py` from:\n\n{_file_list(files)}",
    )
    return model_card(card, [])


def _folder_type(folder: Path) -> str | None:
    """The model type that a folder's configuration names; None for a file and for a folder without one."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content.get("model_type") if isinstance(content, dict) else None


def _load_whole(model_class: Any, folder: Path) -> Any:
    """A saved model in float32, every tensor of which was in the folder.

    Raises:
        ValueError: a tensor is missing or unused.
    """
    import torch

    model, report = model_class.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
    problems = {name: sorted(report[name]) for name in ("missing_keys", "unexpected_keys") if report[name]}
    if problems:
        raise ValueError(f"{folder} is no whole {model_class.__name__}: {problems}")
    return model


def _sizes(model: Any, backbone: str | None) -> dict[str, Any]:
    return {"backbone": backbone, "parameters": sum(parameter.numel() for parameter in model.parameters())}


def _digests(paths: list[str]) -> dict[str, str]:
    """SHA-256 of every file, and of the configuration and weights of every folder."""
    found: dict[str, str] = {}
    for path in map(Path, paths):
        inside = [path]
        if path.is_dir():
            kinds = (".json", ".safetensors", ".bin")
            inside = sorted(file for file in path.iterdir() if file.is_file() and file.suffix in kinds)
        for file in inside:
            with file.open("rb") as opened:
                found[str(file)] = hashlib.file_digest(opened, "sha256").hexdigest()
    return found


def _file_list(files: dict[str, str]) -> str:
    return "\n".join(f"- `{Path(path).name}` (SHA-256 `{digest}`)" for path, digest in files.items())


if __name__ == "__main__":
    main()
