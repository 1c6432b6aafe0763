"""Images for FashionViL: resize without regard to the ratio of the sides, crop the centre, normalise.

Pillow and numpy only, so that the same picture gives the same numbers on every machine.
"""

import numpy as np
import torch
from PIL import Image, ImageOps
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

from .configuration_fashionvil import FASHION_MEAN, FASHION_STD


class FashionViLImageProcessor(BaseImageProcessor):
    """Turns pictures into the input of [`FashionViLModel`].

    Args:
        size: d, height and width of the result in pixels: the model's `config.image_size`.
        resize: height and width in pixels that a picture is stretched to before its centre is cut out, at least `size`.
            None: size * 8 / 7 (256 for 224), as for FashionGen and in pre-training; equal to `size`: no crop, as for
            FashionIQ and Polyvore.
        image_mean, image_std: of the red, green and blue channel in [0, 1].
        official_image_modes: True makes every picture RGB by Pillow's rules and ignores its EXIF orientation, as the
            original does. Deviation: by default a picture is first made what a viewer shows: turned by its EXIF tag, 16
            bits scaled to 8, transparency laid on white, then RGB. RGB pictures without an EXIF tag come out the same
            either way.

    Raises:
        ValueError: a size below 1, a crop larger than the picture, or not three means and deviations.
    """

    model_input_names = ["pixel_values"]

    def __init__(
        self,
        size: int | dict[str, int] = 224,
        resize: int | dict[str, int] | None = None,
        image_mean: tuple[float, ...] | list[float] = FASHION_MEAN,
        image_std: tuple[float, ...] | list[float] = FASHION_STD,
        official_image_modes: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.size = _as_pixels(size)
        self.resize = round(self.size * 8 / 7) if resize is None else _as_pixels(resize)
        self.image_mean = [float(value) for value in image_mean]
        self.image_std = [float(value) for value in image_std]
        self.official_image_modes = bool(official_image_modes)
        if self.resize < self.size:
            raise ValueError(f"A crop of {self.size} pixels doesn't fit a picture resized to {self.resize}.")
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
        prepared = np.stack([processor.prepare(image) for image in images])
        pixel_values = processor.normalize(prepared)
        if return_tensors is None:
            return BatchFeature({"pixel_values": list(pixel_values.numpy())})
        return BatchFeature({"pixel_values": pixel_values.numpy()}, tensor_type=return_tensors)

    def _with(self, changes: dict) -> "FashionViLImageProcessor":
        names = ("size", "resize", "image_mean", "image_std", "official_image_modes")
        unknown = sorted(set(changes) - set(names))
        if unknown:
            raise ValueError(f"The image processor doesn't know {unknown}; it takes {', '.join(names)}.")
        kept = {name: getattr(self, name) for name in names}
        if "size" in changes and "resize" not in changes:
            # The crop keeps its share of the picture.
            kept["resize"] = round(_as_pixels(changes["size"]) * self.resize / self.size)
        return type(self)(**{**kept, **changes})

    def prepare(self, image) -> np.ndarray:
        """Everything but the normalisation: one picture -> (d, d, 3) uint8.

        What this returns can be stored: `normalize` of it is the model's input.

        Raises:
            ValueError: something that isn't a picture, or a picture without pixels.
        """
        image = self.as_rgb(image)
        if image.size != (self.resize, self.resize):
            image = image.resize((self.resize, self.resize), Image.Resampling.BILINEAR)
        offset = round((self.resize - self.size) / 2)
        image = image.crop((offset, offset, offset + self.size, offset + self.size))
        return np.asarray(image, dtype=np.uint8)

    def as_rgb(self, image) -> Image.Image:
        """A picture of any kind in RGB, as `official_image_modes` says."""
        image = as_pil(image)
        return image.convert("RGB") if self.official_image_modes else as_displayed(image)

    def normalize(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """(batch, d, d, 3) uint8 -> (batch, 3, d, d) float32 on the same device."""
        pixels = torch.as_tensor(images)
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[-1] != 3:
            raise ValueError(
                f"normalize takes (batch, height, width, 3) uint8; got {tuple(pixels.shape)} {pixels.dtype}."
            )
        pixels = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
        mean = torch.tensor(self.image_mean, dtype=torch.float32, device=pixels.device).view(3, 1, 1)
        std = torch.tensor(self.image_std, dtype=torch.float32, device=pixels.device).view(3, 1, 1)
        return pixels.div_(255).sub_(mean).div_(std)


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


FashionViLImageProcessor.register_for_auto_class("AutoImageProcessor")

__all__ = ["FashionViLImageProcessor"]
