"""Images for FashionKLIP: pad, resize the short side, crop the centre, normalise.

Pillow and numpy only, so that the same picture gives the same numbers on every machine; equal to the original pipeline
(which used torchvision on Pillow images) bit for bit when `official_image_modes` is set.
"""

import numpy as np
import torch
from PIL import Image, ImageOps
from transformers import BatchFeature
from transformers.image_processing_utils import BaseImageProcessor

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
TRANSFORMS = ("targetpad", "squarepad", "clip")

# Intermediate pictures stay below this, where Pillow begins to warn of decompression bombs. Only pictures hundreds of
# times longer than wide come near it.
MAX_PIXELS = 89_478_485


class FashionKLIPImageProcessor(BaseImageProcessor):
    """Turns pictures into the input of [`FashionKLIPModel`].

    Args:
        size: d, height and width of the result in pixels: the model's `config.image_size`.
        transform: "targetpad" pads until the ratio of the sides is about `target_ratio`, "squarepad" pads to a square,
            "clip" doesn't pad, so the crop cuts off the ends of a long picture.
        target_ratio: long side over short side above which "targetpad" pads, at least 1.
        image_mean, image_std: of the red, green and blue channel in [0, 1].
        official_image_modes: True leaves the picture in its own mode until after the crop and ignores its EXIF
            orientation, as the original does. Deviation: by default a picture is first made what a viewer shows:
            turned by its EXIF tag, 16 bits scaled to 8, transparency laid on white, then RGB. RGB pictures without an
            EXIF tag come out the same either way.

    Raises:
        ValueError: a size below 1, an unknown transform, a ratio below 1, or not three means and deviations.
    """

    model_input_names = ["pixel_values"]

    def __init__(
        self,
        size: int | dict[str, int] = 224,
        transform: str = "clip",
        target_ratio: float = 1.25,
        image_mean: tuple[float, ...] | list[float] = CLIP_MEAN,
        image_std: tuple[float, ...] | list[float] = CLIP_STD,
        official_image_modes: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        self.size = _as_pixels(size)
        self.transform = transform
        self.target_ratio = float(target_ratio)
        self.image_mean = [float(value) for value in image_mean]
        self.image_std = [float(value) for value in image_std]
        self.official_image_modes = bool(official_image_modes)
        if transform not in TRANSFORMS:
            raise ValueError(f"transform must be one of {TRANSFORMS}; got {transform!r}.")
        if not 1 <= self.target_ratio < float("inf"):
            raise ValueError(f"target_ratio is the long side over the short one, so at least 1; got {target_ratio}.")
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

    def _with(self, changes: dict) -> "FashionKLIPImageProcessor":
        names = ("size", "transform", "target_ratio", "image_mean", "image_std", "official_image_modes")
        unknown = sorted(set(changes) - set(names))
        if unknown:
            raise ValueError(f"The image processor doesn't know {unknown}; it takes {', '.join(names)}.")
        return type(self)(**{**{name: getattr(self, name) for name in names}, **changes})

    def prepare(self, image) -> np.ndarray:
        """Everything but the normalisation: one picture -> (d, d, 3) uint8.

        What this returns can be stored: `normalize` of it is the model's input.

        Raises:
            ValueError: something that isn't a picture, or a picture without pixels.
        """
        image = as_pil(image)
        if not self.official_image_modes:
            image = as_displayed(image)
        image = self._pad(image)
        image = self._resize_and_crop(image)
        return np.asarray(image.convert("RGB"), dtype=np.uint8)

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

    def _pad(self, image: Image.Image) -> Image.Image:
        width, height = image.size
        horizontal, vertical = padding(width, height, self.transform, self.target_ratio)
        if not (horizontal or vertical):
            return image
        padded_pixels = (width + 2 * horizontal) * (height + 2 * vertical)
        if padded_pixels > max(MAX_PIXELS, width * height * 4):
            # Deviation: the original runs out of memory here. A strip this thin is shrunk before it is padded.
            scale = (MAX_PIXELS / padded_pixels) ** 0.5
            shrunk = (max(1, int(width * scale)), max(1, int(height * scale)))
            return self._pad(image.resize(shrunk, Image.Resampling.BICUBIC))
        if image.mode == "P":
            # Pillow's border takes palette entry 0; the palette has to be put back whole.
            palette = image.getpalette()
            padded = ImageOps.expand(image, border=(horizontal, vertical), fill=0)
            padded.putpalette(palette)
            return padded
        bands = len(image.getbands())
        fill = 0 if bands == 1 else (0,) * bands
        padded = Image.new(image.mode, (width + 2 * horizontal, height + 2 * vertical), fill)
        padded.paste(image, (horizontal, vertical))
        return padded

    def _resize_and_crop(self, image: Image.Image) -> Image.Image:
        size = self.size
        width, height = image.size
        short, long = min(width, height), max(width, height)
        resized_long = int(size * long / short)
        # Python rounds halves to even here, and so does the original's crop (transformers' own crop floors).
        offset = round((resized_long - size) / 2)
        if size * resized_long > max(MAX_PIXELS, width * height * 4):
            # Deviation: the original runs out of memory here. The same filter, evaluated only where the crop looks;
            # Pillow may take the two axes in another order, which can change pixels a little.
            start, stop = offset * long / resized_long, (offset + size) * long / resized_long
            box = (0, start, width, stop) if width <= height else (start, 0, stop, height)
            return image.resize((size, size), Image.Resampling.BICUBIC, box=box)
        resized = (size, resized_long) if width <= height else (resized_long, size)
        if image.size != resized:
            image = image.resize(resized, Image.Resampling.BICUBIC)
        left, top = (0, offset) if width <= height else (offset, 0)
        return image.crop((left, top, left + size, top + size))


def padding(width: int, height: int, transform: str, target_ratio: float) -> tuple[int, int]:
    """Pixels to add on the left and on the right, and at the top and at the bottom."""
    long = max(width, height)
    if transform == "clip" or (transform == "targetpad" and long / min(width, height) < target_ratio):
        return 0, 0
    side = long / target_ratio if transform == "targetpad" else long
    # Both sides get the same truncated number, so the result can miss the ratio by a pixel, as in the original.
    return max(int((side - width) / 2), 0), max(int((side - height) / 2), 0)


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


FashionKLIPImageProcessor.register_for_auto_class("AutoImageProcessor")

__all__ = ["FashionKLIPImageProcessor"]
