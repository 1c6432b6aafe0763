"""From a model folder or Hub id to model and processor, and what a results file says about where they came from."""

from __future__ import annotations

import hashlib
import importlib
from pathlib import Path
from typing import Any

# Model types of this repository: importing the package registers its classes with transformers' auto classes, which
# then take them and never the code in a stranger's folder.
SYSTEMS = {
    "bilstm": "modeling.bilstm",
    "clip4cir": "modeling.clip4cir",
    "fashionklip": "modeling.fashionklip",
    "fashionvil": "modeling.fashionvil",
    "fashionvil_image_tokenizer": "modeling.fashionvil",
}


def load_model(
    name: str, revision: str | None = None, trust_remote_code: bool = False, device: Any = "cpu"
) -> tuple[Any, Any]:
    """Model in evaluation mode on a device, and its processor, through `AutoModel` and `AutoProcessor`.

    Args:
        name: folder written by `save_pretrained`, or Hub id.
        revision: branch, tag or commit on the Hub.
        trust_remote_code: allow the code in the folder, for model types that neither this repository nor transformers
            has. This repository's own types always run its own code.
        device: where the model goes.

    Raises:
        ValueError: a folder whose type needs its own code, without `trust_remote_code`; weights that are incomplete or
            of other sizes than the configuration says; a tokenizer without words.
        FileNotFoundError: a folder that is not there or holds no model.
    """
    from transformers import AutoModel, AutoProcessor, PreTrainedConfig

    from train.engine.weights import check_name, whole_model

    check_name(name)
    try:
        settings, _ = PreTrainedConfig.get_config_dict(name, revision=revision)
    except OSError as error:
        raise FileNotFoundError(f"no model at {name!r}, neither a folder nor a Hub repository: {error}") from error
    kind = settings.get("model_type")
    if kind in SYSTEMS:
        importlib.import_module(SYSTEMS[kind])
    elif "auto_map" in settings and not trust_remote_code:
        raise ValueError(
            f"{name} is of type {kind!r}, whose code is not in this repository ({', '.join(SYSTEMS)}); "
            "to run the code in its folder pass --trust_remote_code"
        )
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    model = whole_model(AutoModel, name, **options)
    return model.to(device).eval(), AutoProcessor.from_pretrained(name, **options)


def require(model: Any, name: str, use: str, parts: tuple[str, ...], classes: str) -> None:
    """Refuse a model that can't do what is asked of it.

    Args:
        model, name: as loaded. use: what needs it, e.g. a protocol.
        parts: methods or attributes, all of which it must have. classes: names of classes that have them.

    Raises:
        ValueError: names the model's class, what it lacks and the classes.
    """
    lacking = [part for part in parts if not hasattr(model, part)]
    if lacking:
        raise ValueError(
            f"{use} needs {classes}; {name} is a {type(model).__name__}, which has no {' and no '.join(lacking)}"
        )


def describe_model(name: str, model: Any) -> dict[str, Any]:
    """What identifies the weights: Hub commit, or the SHA-256 of a local folder's weight files."""
    described: dict[str, Any] = {"name": name, "class": type(model).__name__, "model_type": model.config.model_type}
    commit = getattr(model.config, "_commit_hash", None)
    if commit:
        described["revision"] = commit
    folder = Path(name)
    if folder.is_dir():
        described["name"] = folder.resolve().name  # the path is this machine's business
        digest = hashlib.sha256()
        for path in sorted(folder.glob("*.safetensors")):
            with open(path, "rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        described["weights_sha256"] = digest.hexdigest()
    return described
