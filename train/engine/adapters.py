"""Low-rank adapters: putting them on, keeping the model that they belong to, saving both."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from train.engine.checkpoint import write_folder

TOWERS = {"both": "(vision|text)_model", "text": "text_model", "image": "vision_model"}


def add_adapters(model: Any, targets: list[str], rank: int, alpha: float, tower: str = "both") -> Any:
    """The model with low-rank adapters on the chosen layers; everything else is frozen.

    Args:
        model: has `vision_model` and `text_model`.
        targets: names of layers, such as q_proj.
        rank, alpha: size and scale of the adapters.
        tower: both, text or image.

    Raises:
        ValueError: no layer bears any of the names.
    """
    from peft import LoraConfig, get_peft_model

    pattern = rf".*{TOWERS[tower]}\..*\.?({'|'.join(targets)})"
    try:
        return get_peft_model(model, LoraConfig(r=rank, lora_alpha=alpha, target_modules=pattern))
    except ValueError as error:
        raise ValueError(f"--lora_targets {' '.join(targets)}: no such layers in this model") from error


def save_base(run: Any, model: Any, processor: Any) -> None:
    """Keep the model that the adapter belongs to, and let the adapter's configuration name it."""
    base = run.folder / "base"
    if not base.exists():
        write_folder(
            base,
            lambda path: save_model(model, processor, path) if run.is_main else None,
            is_main=run.is_main,
            barrier=run.accelerator.wait_for_everyone,
        )
    model.name_or_path = str(base)


def save_model(model: Any, processor: Any, path: Path) -> None:
    """A complete model folder; with adapters, the merged model and the adapter itself in `adapter/`."""
    if hasattr(model, "merge_and_unload"):
        model.save_pretrained(path / "adapter")
        model = copy.deepcopy(model).merge_and_unload()
    model.save_pretrained(path)
    processor.save_pretrained(path)
