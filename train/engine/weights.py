"""Saved weights, all of them or an error."""

import re
from pathlib import Path
from typing import Any


def check_name(name: str) -> None:
    """Refuse what is neither a folder with a model nor a name that a Hub repository can have.

    Raises:
        FileNotFoundError: with the folder that was probably meant, where there is one.
    """
    folder = Path(name)
    if folder.is_dir() and not (folder / "config.json").is_file():
        beside = f", such as {folder / 'model'}" if (folder / "model" / "config.json").is_file() else ""
        raise FileNotFoundError(f"{name} holds no config.json: give a folder that save_pretrained wrote{beside}")
    if not folder.is_dir() and not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise FileNotFoundError(f"no model at {name!r}, neither a folder nor the name of a Hub repository")


def whole_model(model_class: Any, name: str, **options: Any) -> Any:
    """`model_class.from_pretrained`, but weights that are not all there are an error.

    transformers fills missing tensors with random numbers and only warns. The counters of batch norm may be missing, as in
    files of older programs: they start at 0 and no output depends on them.

    Raises:
        FileNotFoundError: a folder that is not there or holds no model.
        ValueError: weights that cannot be read, are incomplete, or are of other sizes than the configuration says.
    """
    from safetensors import SafetensorError

    check_name(name)
    try:
        model, report = model_class.from_pretrained(name, output_loading_info=True, **options)
    except SafetensorError as error:
        raise ValueError(f"{name}: the weights cannot be read ({error}); copy or fetch them again") from error
    lost = {*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}
    lost = sorted(key for key in lost if not key.endswith(".num_batches_tracked"))
    if lost:
        raise ValueError(
            f"{name}: {len(lost)} tensors of the configuration are not among the weights, or have another size, e.g. "
            f"{', '.join(lost[:3])}; weights and config.json must be of one model, copy or fetch both again"
        )
    return model
