"""Validation between epochs: the figures of a protocol for the model as it is now."""

from pathlib import Path
from typing import Any

from train.engine.triplets import DataArguments

DEFAULT_PROTOCOLS = {
    "fashioniq": "fashioniq/original-split",
    "cirr": "cirr/val",
    "catalogue": "catalogue/same-title",
}
# What decides which model is kept: average recall on FashionIQ, three means on CIRR, as in the original.
BEST_METRICS = {
    "fashioniq/original-split": ("average_recall",),
    "fashioniq/val-split": ("average_recall",),
    "cirr/val": ("arithmetic_mean", "harmonic_mean", "geometric_mean"),
    "composed/pooled-noref": ("mean_recall",),
    "catalogue/same-title": ("mean_recall",),
}


class ComposedValidation:
    """Queries and gallery of the validation split, with the gallery's pictures decoded once.

    Args:
        data: the program's data arguments.
        processor: the model's processor.
        cache: folder for decoded pictures.
    """

    def __init__(self, data: DataArguments, processor: Any, cache: str | Path) -> None:
        from train.engine.images import PixelStore
        from train.retrieval.composed import find_protocol
        from train.retrieval.composed_data import default_split, load_composed_set

        self.protocol = data.protocol or DEFAULT_PROTOCOLS[data.dataset]
        find_protocol(self.protocol)
        if self.protocol not in BEST_METRICS:
            raise ValueError(f"--protocol {self.protocol}: training validates with {', '.join(BEST_METRICS)}")
        split = data.validation_split or default_split(self.protocol, data.dataset)
        self.set = load_composed_set(data.dataset, data.data_dir, split, missing_images=data.missing_images)
        self.processor = processor
        sources = dict(zip(self.set.gallery_ids, self.set.images, strict=True))
        self.pixels = PixelStore.build(cache, sources, processor.image_processor, name=f"validation-{split}")
        self._frozen: tuple[Any, Any] | None = None

    @property
    def default_best(self) -> tuple[str, ...]:
        """Figures to choose the best model by, where the user names none."""
        return BEST_METRICS[self.protocol]

    def freeze_encoders(self, model: Any) -> None:
        """Encode gallery and captions now and keep the features: for models whose encoders do not train."""
        self._frozen = self._encode(model)

    def figures(self, model: Any) -> dict[str, float]:
        """Named figures in percent of the composed queries; every process gets the same.

        Pooled protocols also get `mean_recall`, the mean of R@1, R@5 and R@10, to choose models by.
        """
        from train.retrieval.composed import MODEL, protocol_figures
        from train.retrieval.encode import composer

        images, texts = self._frozen or self._encode(model)
        queries = composer(model)(images[self.set.reference], texts)
        figures = protocol_figures(self.protocol, self.set, images, {MODEL: queries})[MODEL]
        if "recall_at1" in figures and "group_recall_at1" not in figures:
            figures["mean_recall"] = sum(figures[f"recall_at{k}"] for k in (1, 5, 10)) / 3
        return figures

    def _encode(self, model: Any) -> tuple[Any, Any]:
        from train.retrieval.encode import encode_pixels, encode_texts

        images = encode_pixels(model, self.pixels, self.set.gallery_ids)
        return images, encode_texts(model, self.processor, self.set.captions, progress=False)
