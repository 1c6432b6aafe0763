"""Pictures of items for the Bi-LSTM: stretched to a square as TensorFlow's first resize did it, values in [-1, 1].

Pillow and numpy only, so that the same picture gives the same numbers on every machine.
"""

import numpy as np
import torch
from PIL import Image, ImageOps
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

RESIZES = ("legacy", "bicubic")


class BiLSTMImageProcessor(BaseImageProcessor):
    """Turns pictures into the input of [`BiLSTMModel`].

    Args:
        size: d, height and width of the result in pixels: the model's `config.image_size`.
        resize: "legacy" (TensorFlow 0.x bilinear: corners aligned to the first pixel, no smoothing) as the published
            models need it, or "bicubic" (Pillow's, smoothing) for other image networks.
        pad: True pads to a square with white before, so that the item keeps its shape. The original stretches it.
        image_mean, image_std: of the red, green and blue channel in [0, 1]; 0.5 each gives [-1, 1].
        official_image_modes: True only replicates grey pictures and drops transparency, as the original does. Deviation:
            by default a picture is first made what a viewer shows: turned by its EXIF tag, 16 bits scaled to 8,
            transparency laid on white. RGB pictures without an EXIF tag come out the same either way.

    Raises:
        ValueError: a size below 1, an unknown resize, or not three means and deviations.
    """

    model_input_names = ["pixel_values"]

    def __init__(
        self,
        size: int | dict[str, int] = 299,
        resize: str = "legacy",
        pad: bool = False,
        image_mean: tuple[float, ...] | list[float] = (0.5, 0.5, 0.5),
        image_std: tuple[float, ...] | list[float] = (0.5, 0.5, 0.5),
        official_image_modes: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.size = _as_pixels(size)
        self.resize_type = kwargs.get("resize_type", resize)
        self.pad = bool(pad)
        self.image_mean = [float(value) for value in image_mean]
        self.image_std = [float(value) for value in image_std]
        self.official_image_modes = bool(official_image_modes)
        if self.resize_type not in RESIZES:
            raise ValueError(f"resize must be one of {RESIZES}; got {self.resize_type!r}.")
        if len(self.image_mean) != 3 or len(self.image_std) != 3 or min(self.image_std) <= 0:
            raise ValueError(
                f"image_mean and image_std need three values each, deviations above 0; got {image_mean}, {image_std}."
            )

    def __call__(self, images, return_tensors: str | None = None, **kwargs) -> BatchFeature:
        return self.preprocess(images, return_tensors=return_tensors, **kwargs)

    def preprocess(self, images, return_tensors: str | None = None, **kwargs) -> BatchFeature:
        """Pictures to model input.

        Args:
            images: a picture or a list of pictures: Pillow images, or uint8 / uint16 arrays (height, width) or
                (height, width, channels), or torch tensors (channels, height, width).
            return_tensors: "pt", "np" or None (a list of arrays).
            kwargs: other values of the constructor's arguments, for this call only.

        Returns:
            `pixel_values`: (batch, 3, d, d) float32.
        """
        processor = self._with(kwargs) if kwargs else self
        if not isinstance(images, (list, tuple)):
            images = list(images) if getattr(images, "ndim", 0) == 4 else [images]
        if not images:
            raise ValueError("No image was given.")
        pixel_values = processor.normalize(np.stack([processor.prepare(image) for image in images]))
        if return_tensors is None:
            return BatchFeature({"pixel_values": list(pixel_values.numpy())})
        return BatchFeature({"pixel_values": pixel_values.numpy()}, tensor_type=return_tensors)

    def _with(self, changes: dict) -> "BiLSTMImageProcessor":
        names = ("size", "resize_type", "pad", "image_mean", "image_std", "official_image_modes")
        changes = {"resize_type" if name == "resize" else name: value for name, value in changes.items()}
        unknown = sorted(set(changes) - set(names))
        if unknown:
            raise ValueError(f"The image processor doesn't know {unknown}; it takes {', '.join(names)}.")
        return type(self)(**{**{name: getattr(self, name) for name in names}, **changes})

    def prepare(self, image) -> np.ndarray:
        """Everything but the normalisation: one picture -> (d, d, 3) float32 in [0, 255].

        Raises:
            ValueError: something that isn't a picture, or a picture without pixels.
        """
        image = as_pil(image)
        image = image.convert("RGB") if self.official_image_modes else as_displayed(image)
        if self.pad:
            side = max(image.size)
            image = ImageOps.pad(image, (side, side), color="white")
        if self.resize_type == "bicubic":
            image = image.resize((self.size, self.size), Image.Resampling.BICUBIC)
            return np.asarray(image, dtype=np.float32)
        return legacy_resize(np.asarray(image), self.size, self.size)

    def normalize(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """(batch, d, d, 3) in [0, 255] -> (batch, 3, d, d) float32 on the same device."""
        pixels = torch.as_tensor(images)
        if pixels.ndim != 4 or pixels.shape[-1] != 3:
            raise ValueError(f"normalize takes (batch, height, width, 3); got {tuple(pixels.shape)}.")
        pixels = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format, copy=True)
        mean = torch.tensor(self.image_mean, dtype=torch.float32, device=pixels.device).view(3, 1, 1)
        std = torch.tensor(self.image_std, dtype=torch.float32, device=pixels.device).view(3, 1, 1)
        return pixels.div_(255).sub_(mean).div_(std)


def legacy_resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """TensorFlow's `resize_bilinear` without aligned corners and without half-pixel centres.

    Row y of the result lies at y * (rows / height) of the source, between the row at or above and the one below it (the
    last one again at the border); columns alike. Shrinking does not smooth.

    Args:
        image: (rows, columns, channels) of any number type.

    Returns:
        (height, width, channels) float32.
    """

    def places(count: int, source: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        at = np.arange(count, dtype=np.float32) * np.float32(source / count)
        low = np.minimum(at.astype(np.int64), source - 1)
        return low, np.minimum(low + 1, source - 1), (at - low).astype(np.float32)

    top, bottom, down = places(height, image.shape[0])
    left, right, across = places(width, image.shape[1])
    down, across = down[:, None, None], across[None, :, None]
    # Columns first within each of the two rows, as the original's kernel adds them.
    upper, lower = (image[rows].astype(np.float32) for rows in (top, bottom))
    upper = upper[:, left] + (upper[:, right] - upper[:, left]) * across
    lower = lower[:, left] + (lower[:, right] - lower[:, left]) * across
    return upper + (lower - upper) * down


def crop_or_pad(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of (rows, columns, channels), or the whole with zeros around it, as TensorFlow's crop-or-pad: odd margins
    are smaller above and on the left."""
    for axis, size in enumerate((height, width)):
        spare = image.shape[axis] - size
        if spare >= 0:
            image = image.take(range(spare // 2, spare // 2 + size), axis=axis)
        else:
            margins = [(0, 0)] * image.ndim
            margins[axis] = (-spare // 2, -spare - -spare // 2)
            image = np.pad(image, margins)
    return image


def as_pil(image) -> Image.Image:
    """A Pillow image from a Pillow image, an array (h, w[, c]) of uint8 or uint16, or a torch tensor (c, h, w)."""
    if isinstance(image, torch.Tensor):
        if image.ndim == 3:
            image = image.permute(1, 2, 0)
        image = image.cpu().numpy()
    if isinstance(image, np.ndarray):
        if image.ndim == 3 and image.shape[2] not in (1, 2, 3, 4) and image.shape[0] in (1, 3):
            image = np.moveaxis(image, 0, 2)
        if image.ndim == 3 and image.shape[2] == 1:
            image = image[..., 0]
        if image.dtype == np.bool_:
            image = image.astype(np.uint8) * 255
        known = image.dtype == np.uint8 and (image.ndim == 2 or (image.ndim == 3 and image.shape[2] in (2, 3, 4)))
        known = known or (image.dtype == np.uint16 and image.ndim == 2)
        if not known or 0 in image.shape:
            raise ValueError(
                "An image array must be uint8 (height, width) or (height, width, 2, 3 or 4 channels), or uint16 "
                f"(height, width); got {image.shape} {image.dtype}."
            )
        image = Image.fromarray(np.ascontiguousarray(image))
    if not isinstance(image, Image.Image):
        raise ValueError(f"Expected a Pillow image, an array or a tensor; got {type(image).__name__}.")
    if 0 in image.size:
        raise ValueError(f"The image has no pixels: its size is {image.size}.")
    return image


def as_displayed(image: Image.Image) -> Image.Image:
    """The picture as a viewer shows it, in RGB: upright, in 8 bits, on white where it is transparent."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        # Pillow would clip 16-bit values at 255; "I" is how it opens 16-bit files of some formats.
        values = np.asarray(image).astype(np.float64) / 257
        return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("La", "RGBa"):
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def _as_pixels(size: int | dict[str, int]) -> int:
    if isinstance(size, dict):
        values = set(size.values())
        size = values.pop() if len(values) == 1 else size
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"size must be one positive number of pixels for height and width; got {size!r}.")
    return size


BiLSTMImageProcessor.register_for_auto_class("AutoImageProcessor")

__all__ = ["BiLSTMImageProcessor"]
