"""Training of FashionViL's image tokenizer: pictures in, a codebook that stays in use, reconstructions to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from train.engine.gather import gather_rows_no_grad
from train.engine.weights import whole_model

CHECK_EVERY = 16  # steps between two looks for idle codes


def starting_tokenizer(arguments: Any) -> tuple[Any, Any]:
    """Model with a decoder, and the image processor of its pictures.

    Raises:
        ValueError: a model without a decoder.
    """
    from modeling.fashionvil import (
        FashionViLImageProcessor,
        FashionViLImageTokenizer,
        FashionViLImageTokenizerConfig,
    )

    if arguments.model:
        model = whole_model(FashionViLImageTokenizer, arguments.model)
        if not model.config.has_decoder:
            raise ValueError(
                f"--model {arguments.model} has no decoder, so there is nothing to train it by; start anew"
            )
    else:
        names = ("image_size", "num_codes", "code_dim", "hidden_dim", "channel_multipliers", "num_res_blocks")
        settings = {name: getattr(arguments, name) for name in (*names, "group_norm_groups")}
        model = FashionViLImageTokenizer(FashionViLImageTokenizerConfig(has_decoder=True, **settings))
    return model, FashionViLImageProcessor(size=model.config.image_size)


class PictureRows:
    """Map-style data set of picture ids; a row is asked for as (step, row)."""

    with_steps = True

    def __init__(self, ids: list[str]) -> None:
        self.ids, self.epoch = ids, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, place: tuple[int, int]) -> dict[str, Any]:
        step, row = place
        return {"step": step, "row": row, "epoch": self.epoch, "view": self.ids[row]}


class PicturesCollate:
    """From rows to augmented pictures and the number of the step."""

    def __init__(self, pixels: Any, augmentation: Any) -> None:
        self.pixels, self.augmentation = pixels, augmentation

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        pixel_values = self.pixels.batch(
            [row["view"] for row in rows],
            augmentation=self.augmentation,
            epoch=rows[0]["epoch"],
            indices=[row["row"] for row in rows],
        )
        return {"step": rows[0]["step"], "pixel_values": pixel_values}


@torch.no_grad()
def start_codebook(model: Any, pixels: Any, augmentation: Any, seed: int, pictures: int = 512) -> None:
    """Codes begin as latents of training pictures: random ones lie where no latent is, and few would ever be used."""
    draw = np.random.default_rng(seed)
    chosen = draw.choice(len(pixels.ids), min(pictures, len(pixels.ids)), replace=False).tolist()
    found = []
    for start in range(0, len(chosen), 32):
        part = chosen[start : start + 32]
        batch = pixels.batch([pixels.ids[i] for i in part], augmentation=augmentation, indices=part)
        found.append(model.latents(batch.to(model.device)).flatten(0, 1).float().cpu())
    latents, codes = torch.cat(found), model.config.num_codes
    rows = torch.from_numpy(draw.choice(len(latents), codes, replace=len(latents) < codes))
    _place(model.quantize.embedding, torch.arange(codes), latents[rows].to(model.device))


@torch.no_grad()
def revive_codes(model: Any, batch: dict[str, Any], after: int, seed: int) -> int:
    """Move codes that nothing was near to for about `after` steps to latents of the batch; returns how many moved.

    The running count of a code that is not used shrinks by the codebook's decay in every step, from 1 when it was placed.
    """
    if not after or batch["step"] % CHECK_EVERY:
        return 0
    codebook = model.quantize.embedding
    idle = (codebook.cluster_size < model.config.ema_decay**after).nonzero()[:, 0]
    if not len(idle):
        return 0
    was_training = model.training
    model.eval()
    # All processes see all latents, and so move the same codes to the same places.
    latents = gather_rows_no_grad(model.latents(batch["pixel_values"].to(model.device)).flatten(0, 1).float())
    model.train(was_training)
    rows = np.random.default_rng((seed, batch["step"])).integers(len(latents), size=len(idle))
    _place(codebook, idle, latents[torch.from_numpy(rows).to(latents.device)])
    return len(idle)


def _place(codebook: Any, codes: torch.Tensor, latents: torch.Tensor) -> None:
    codes = codes.to(codebook.weight.device)
    codebook.weight[codes] = latents.to(codebook.weight.dtype)
    codebook.embed_avg[codes] = latents.to(codebook.embed_avg.dtype)
    codebook.cluster_size[codes] = 1


class TokenizerValidation:
    """How well codes keep pictures they were not trained on, and how many of the codes are in use."""

    def __init__(self, pixels: Any, batch_size: int = 32, shown: int = 8) -> None:
        self.pixels, self.batch_size, self.shown = pixels, batch_size, shown

    @torch.no_grad()
    def figures(self, model: Any, folder: Path | None = None) -> dict[str, float]:
        """Squared error over the variance of the pictures (`explained` is 1 minus that), perplexity of the codes.

        With a folder, writes reconstructions.png.
        """
        was_training = model.training
        model.eval()
        error = total = squares = 0.0
        sums = torch.zeros(3, dtype=torch.float64)
        counts = torch.zeros(model.config.num_codes, dtype=torch.float64)
        seen = 0
        for start in range(0, len(self.pixels.ids), self.batch_size):
            pixel_values = self.pixels.batch(self.pixels.ids[start : start + self.batch_size]).to(model.device)
            output = model(pixel_values)
            if not start and folder is not None:
                self._draw(pixel_values[: self.shown], output.reconstruction[: self.shown], folder)
            error += float((output.reconstruction.float() - pixel_values.float()).square().sum())
            squares += float(pixel_values.double().square().sum())
            sums += pixel_values.double().sum((0, 2, 3)).cpu()
            total += pixel_values.numel()
            seen += pixel_values.numel() // 3
            counts += torch.bincount(output.codes.flatten().cpu(), minlength=len(counts)).double()
        model.train(was_training)
        variance = squares / total - float((sums / seen).square().mean())
        shares = counts / counts.sum()
        return {
            "explained": 1 - error / total / variance,
            "error": error / total,
            "perplexity": float((-(shares * shares.clamp(min=1e-12).log()).sum()).exp()),
            "codes_in_use": float((counts > 0).sum()),
        }

    def _draw(self, pictures: torch.Tensor, made: torch.Tensor, folder: Path) -> None:
        images = self.pixels.image_processor
        mean, std = (
            torch.tensor(v, device=pictures.device).view(3, 1, 1) for v in (images.image_mean, images.image_std)
        )
        rows = [torch.cat([(row * std + mean).clamp(0, 1) for row in part.float()], dim=2) for part in (pictures, made)]
        sheet = (torch.cat(rows, dim=1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        Image.fromarray(sheet).save(folder / "reconstructions.png")


def save_tokenizer(model: Any, images: Any, path: Path) -> None:
    """A complete model folder."""
    model.save_pretrained(path)
    images.save_pretrained(path)
