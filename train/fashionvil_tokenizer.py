"""Train FashionViL's image tokenizer, a VQ-VAE, on products: pictures to a grid of codes, for the task mpfc.

    accelerate launch train/fashionvil_tokenizer.py --data_dir datasets --datasets fashiongen --output_dir runs/tokenizer

Loss: squared error of the reconstructed picture, and the distance of latents to their codes; the codebook follows the
latents as a running mean. Deviation: the original adds a perceptual loss, which needs a VGG with published weights.
Beside the model the run keeps reconstructions.png, validation pictures over what the codes make of them.
"""

import dataclasses
import json
from typing import Any

from train.engine.arguments import argument, parse_arguments, run_program
from train.engine.fashionvil_arguments import ProductData
from train.engine.run import RunArguments

SIZES = ("image_size", "num_codes", "code_dim", "hidden_dim", "channel_multipliers", "num_res_blocks")
SIZES += ("group_norm_groups",)


def default_of(field: dataclasses.Field) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


@dataclasses.dataclass
class TokenizerArguments:
    """Sizes and training. Default sizes are the published ones."""

    model: str | None = argument(None, "folder or Hub id of an image tokenizer with a decoder, to go on from")
    image_size: int = argument(224, "side of the pictures; halved once per level after the first", minimum=8)
    num_codes: int = argument(1024, "entries of the codebook", minimum=2)
    code_dim: int = argument(256, "numbers per entry", minimum=1)
    hidden_dim: int = argument(128, "channels of the first level", minimum=1)
    channel_multipliers: list[int] = argument([1, 1, 2, 2, 4, 4], "channels of every level over --hidden_dim")
    num_res_blocks: int = argument(2, "residual blocks per level", minimum=1)
    group_norm_groups: int = argument(32, "groups of every group norm", minimum=1)
    steps: int = argument(100_000, "optimizer steps", minimum=1)
    batch_size: int = argument(32, "pictures per step, over all processes", minimum=1)
    learning_rate: float = argument(4.5e-6 * 32, "step size of Adam (betas 0.5 and 0.9)", above=0)
    flip: float = argument(0.5, "probability of a mirror image", minimum=0, maximum=1)
    revive_after: int = argument(
        256, "steps after which a code that nothing is near to moves to a latent of the batch; 0: never", minimum=0
    )
    validation_steps: int = argument(1000, "validate every so many steps", minimum=1)

    def __post_init__(self) -> None:
        own = [f.name for f in dataclasses.fields(self) if f.name in SIZES and getattr(self, f.name) != default_of(f)]
        if self.model and own:
            raise ValueError(f"--model has sizes of its own: leave out --{', --'.join(own)}")


def main() -> None:
    data, training, run_arguments = parse_arguments(ProductData, TokenizerArguments, RunArguments, description=__doc__)
    import torch

    from train.engine.image_tokenizer import (
        PictureRows,
        PicturesCollate,
        TokenizerValidation,
        revive_codes,
        save_tokenizer,
        start_codebook,
        starting_tokenizer,
    )
    from train.engine.images import PixelStore
    from train.engine.loop import Schedule, fit
    from train.engine.product_views import RandomCrop
    from train.engine.products import load_products
    from train.engine.run import Run

    with Run(run_arguments, data, training) as run:
        accelerator = run.accelerator
        with accelerator.main_process_first():
            products = load_products(data.datasets, data.data_dir, data.train_split, data.missing_images)
            validation = load_products(
                [data.validation_dataset], data.data_dir, data.validation_split, data.missing_images
            )
        model, images = starting_tokenizer(training)
        resized = type(images)(size=images.resize, resize=images.resize)
        cache = data.pixel_cache or run.folder / "cache"
        with accelerator.local_main_process_first():
            pixels = PixelStore.build(cache, products.sources, resized, name="train")
            check = TokenizerValidation(PixelStore.build(cache, validation.sources, images, name="validation"))
        model.to(accelerator.device)
        rows = PictureRows(pixels.ids)
        views = RandomCrop(images.size, training.flip, run_arguments.seed)
        if not training.model:
            start_codebook(model, pixels, views, run_arguments.seed)
        optimizer = torch.optim.Adam(model.parameters(), lr=training.learning_rate, betas=(0.5, 0.9))
        model, optimizer = accelerator.prepare(model, optimizer)
        plain_model = accelerator.unwrap_model(model)

        def training_step(batch: dict[str, Any]) -> tuple[Any, dict[str, float]]:
            output = model(batch["pixel_values"].to(accelerator.device, non_blocking=True))
            accelerator.backward(output.loss)
            moved = revive_codes(plain_model, batch, training.revive_after, run_arguments.seed)
            return output.loss.detach(), {
                "revived_codes": moved,
                "reconstruction_loss": float(output.reconstruction_loss.detach()),
                "commitment_loss": float(output.commitment_loss.detach()),
            }

        progress = fit(
            run,
            model,
            optimizer,
            None,
            rows,
            PicturesCollate(pixels, views),
            training.batch_size,
            training_step,
            Schedule(
                -(-training.steps // max(1, len(rows) // training.batch_size)),
                best_metrics=("explained",),
                steps=training.steps,
                validation_steps=training.validation_steps,
            ),
            validate=lambda: check.figures(plain_model, run.folder if run.is_main else None),
            save_model=lambda path: save_tokenizer(plain_model, images, path),
            before_epoch=model.train,
        )
        summary = {"output_dir": str(run.folder), "steps": progress.step, **progress.best}
    if run.is_main:
        print(json.dumps(summary))


if __name__ == "__main__":
    run_program(main)
