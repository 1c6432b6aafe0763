"""Gradio demo of search: a picture, a sentence, or, where the model can compose them, both, and the pictures that fit best.

Stands alone: a Space has `transformers` and this file, not the project. The model and the index (a folder written by
`train/search.py index`, or a data set repository that holds one) are named by the environment variables LOOKBOOK_MODEL
and LOOKBOOK_INDEX. `answer` does the work and knows nothing of Gradio.
"""

import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import safe_open
from torch.nn.functional import normalize
from transformers import AutoModel, AutoProcessor


@dataclass
class Demo:
    """Model, processor and catalogue: everything that answers need."""

    model: Any
    processor: Any
    ids: list[str]
    features: torch.Tensor  # (n, D), rows of length one
    folder: Path
    part_sizes: list[int]

    @property
    def composes(self) -> bool:
        """Whether the model answers a picture together with a sentence about what should be different."""
        return hasattr(self.model, "get_query_features")

    def picture(self, row: int) -> Image.Image | None:
        """The thumbnail of a row; None when the index was made without."""
        for part, size in enumerate(self.part_sizes):
            if row < size:
                with safe_open(self.folder / "thumbnails" / f"part-{part:05d}.safetensors", "np") as file:
                    ends = file.get_tensor("ends")
                    start = int(ends[row - 1]) if row else 0
                    content = file.get_slice("bytes")[start : int(ends[row])]
                return Image.open(io.BytesIO(content.tobytes())).convert("RGB")
            row -= size
        return None


def load(model: str, index: str) -> Demo:
    """Load a model (folder or Hub id) and an index (folder, or id of a data set repository).

    Raises:
        FileNotFoundError: there is no index at that place.
        ValueError: model and index have features of different sizes.
    """
    folder = Path(index)
    if not folder.is_dir() and "/" in index:
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(index, repo_type="dataset"))
    if not (folder / "index.json").is_file():
        raise FileNotFoundError(f"no index at {index!r}; set LOOKBOOK_INDEX to what `train/search.py index` wrote")
    about = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    ids = [json.loads(line)["id"] for line in (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()]
    with safe_open(folder / "features.safetensors", "pt") as file:
        features = file.get_tensor("features")
    loaded = AutoModel.from_pretrained(model, trust_remote_code=True).eval()
    processor = AutoProcessor.from_pretrained(model, trust_remote_code=True)
    if loaded.config.projection_dim != features.shape[1]:
        raise ValueError(
            f"{model} makes features of size {loaded.config.projection_dim}, the index was made by "
            f"{about['model']['name']} and has {features.shape[1]}; take the model that made the index"
        )
    return Demo(loaded, processor, ids, features, folder, about["thumbnail_parts"])


def answer(
    demo: Demo, reference: Image.Image | None, text: str | None, top_k: int = 12
) -> list[tuple[Image.Image | None, str]]:
    """The best pictures for a picture, a text, or both.

    Args:
        demo: from `load`.
        reference: a picture, or None. text: what should be different; alone: what to find; may be empty.
        top_k: answers wanted.

    Returns:
        (picture, label) with the best first; the label is id and score.

    Raises:
        ValueError: neither a picture nor a text was given, or both to a model that cannot compose them.
    """
    text = (text or "").strip()
    if reference is None and not text:
        raise ValueError("Give a picture, a sentence, or both." if demo.composes else "Give a picture or a sentence.")
    if reference is not None and text and not demo.composes:
        raise ValueError("This model searches by a picture or by a sentence, not by both: clear one of them.")
    given: dict[str, Any] = {}
    if reference is not None:
        given["images"] = [reference]
    if text:
        given["text"] = [text]
    inputs = demo.processor(return_tensors="pt", **given)
    with torch.no_grad():
        if len(given) == 2:
            query = demo.model.get_query_features(**inputs)
        elif text:
            query = demo.model.get_text_features(**inputs)
        else:
            query = demo.model.get_image_features(**inputs)
    scores = (normalize(query.float(), dim=-1) @ demo.features.T)[0]
    # Equal scores: the earlier row first, as everywhere in the project.
    best = scores.sort(descending=True, stable=True).indices[:top_k].tolist()
    return [(demo.picture(row), f"{demo.ids[row]}  {scores[row]:.2f}") for row in best]


def interface(demo: Demo) -> Any:
    """The page. Gradio is imported here, so that the rest can be used without it.

    Raises:
        ImportError: Gradio is not installed.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        import gradio as gr
    except ImportError as error:
        raise ImportError("the demo needs Gradio, which is not installed: pip install 'lookbook[demo]'") from error

    def respond(reference: Image.Image | None, text: str, top_k: float) -> list[tuple[Image.Image, str]]:
        try:
            found = answer(demo, reference, text, int(top_k))
        except ValueError as error:
            raise gr.Error(str(error)) from error
        return [(picture or Image.new("RGB", (64, 64), "white"), label) for picture, label in found]

    if demo.composes:
        title, about = "Composed fashion search", "A picture, and what should be different."
        labels, example = ("Reference (optional)", "What should be different"), "make it red, with shorter sleeves"
    else:
        title, about = "Fashion search", "What it should be, or a picture of something like it."
        labels, example = ("A picture, or below a sentence", "What to find"), "navy cotton coat"
    with gr.Blocks(title=title) as page:
        gr.Markdown(f"# {title}\n{about} {len(demo.ids):,} products.")
        with gr.Row():
            with gr.Column(scale=1):
                reference = gr.Image(type="pil", label=labels[0])
                text = gr.Textbox(label=labels[1], placeholder=example)
                top_k = gr.Slider(4, 40, value=12, step=4, label="Answers")
                button = gr.Button("Search", variant="primary")
            gallery = gr.Gallery(label="Answers", columns=4, object_fit="contain", scale=2)
        inputs = [reference, text, top_k]
        button.click(respond, inputs, gallery)
        text.submit(respond, inputs, gallery)
    return page


def main() -> None:
    names = ("LOOKBOOK_MODEL", "LOOKBOOK_INDEX")
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        raise SystemExit(
            f"set {' and '.join(missing)}: the model, and the index that `train/search.py index` made with it"
        )
    interface(load(*(os.environ[name] for name in names))).launch()


if __name__ == "__main__":
    main()
