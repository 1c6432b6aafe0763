"""Training of the image tokenizer: a codebook that starts in use and stays so, figures, learning, resume."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from modeling.fashionvil import FashionViLImageProcessor
from tests.modeling.fashionvil_examples import tiny_image_tokenizer
from tests.train.conftest import killed_run, losses, records, run_here, validations
from train import fashionvil_tokenizer
from train.engine.image_tokenizer import (
    CHECK_EVERY,
    PictureRows,
    PicturesCollate,
    TokenizerValidation,
    revive_codes,
    start_codebook,
    starting_tokenizer,
)
from train.engine.images import PixelStore
from train.engine.product_views import RandomCrop

PROGRAM = "train/fashionvil_tokenizer.py"
SIZE = 16
TINY = {"image_size": SIZE, "channel_multipliers": [1, 1, 2], "attention_resolutions": [], "latent_dim": 6}


def tiny(**changes):
    return tiny_image_tokenizer(**(TINY | changes))


def plain_pictures(count: int = 24, seed: int = 0) -> np.ndarray:
    """(count, 16, 16, 3) of one colour each, with a darker half."""
    draw = np.random.default_rng(seed)
    pictures = np.repeat(draw.integers(80, 255, (count, 1, 1, 3)), SIZE, axis=1).repeat(SIZE, axis=2)
    pictures[: count // 2, : SIZE // 2] //= 3
    return pictures.astype(np.uint8)


@pytest.fixture
def pixels() -> PixelStore:
    pictures = plain_pictures()
    return PixelStore([str(n) for n in range(len(pictures))], pictures, FashionViLImageProcessor(size=SIZE))


@torch.no_grad()
def nearest_latents(model, pixel_values) -> torch.Tensor:
    """(codes,) largest difference of each code from the latent of the pictures that is nearest to it."""
    latents = model.latents(pixel_values).flatten(0, 1)
    return (model.quantize.embedding.weight[:, None] - latents).abs().amax(dim=2).amin(dim=1)


def test_a_codebook_starts_as_latents_of_the_pictures(pixels):
    model = tiny()
    again, other = tiny(), tiny()
    for fresh in (again, other):
        fresh.load_state_dict(model.state_dict())
    for fresh, seed in ((model, 3), (again, 3), (other, 4)):
        start_codebook(fresh, pixels, None, seed=seed)
        assert nearest_latents(fresh, pixels.batch(pixels.ids)).max() < 1e-5
    codebook = model.quantize.embedding
    assert torch.equal(codebook.embed_avg, codebook.weight) and codebook.cluster_size.eq(1).all()
    assert torch.equal(codebook.weight, again.quantize.embedding.weight)
    assert not torch.equal(codebook.weight, other.quantize.embedding.weight)


def test_few_latents_serve_more_codes_than_they_are(pixels):
    few = PixelStore(pixels.ids[:1], plain_pictures()[:1], pixels.image_processor)
    model = tiny(num_codes=40)
    start_codebook(model, few, None, seed=0)
    assert nearest_latents(model, few.batch(few.ids)).max() < 1e-5


def test_idle_codes_move_to_latents_of_the_batch_and_used_ones_stay(pixels):
    model = tiny(ema_decay=0.5).train()
    codebook = model.quantize.embedding
    with torch.no_grad():
        codebook.cluster_size.copy_(torch.tensor([0.5**9] * 4 + [0.5**7] * 8))
    before = codebook.weight.clone()
    batch = {"step": CHECK_EVERY, "pixel_values": pixels.batch(pixels.ids[:4])}
    assert revive_codes(model, batch | {"step": CHECK_EVERY + 1}, after=8, seed=0) == 0
    assert revive_codes(model, batch, after=0, seed=0) == 0 and torch.equal(codebook.weight, before)
    assert revive_codes(model, batch, after=8, seed=0) == 4 and model.training
    assert nearest_latents(model, batch["pixel_values"])[:4].max() < 1e-5
    assert torch.equal(codebook.weight[4:], before[4:]) and codebook.cluster_size[:4].eq(1).all()
    assert revive_codes(model, batch, after=8, seed=0) == 0


class Echo(torch.nn.Module):
    """Returns pictures with a known error, and codes that are all used equally often, or all the same."""

    def __init__(self, shift: float, spread: bool) -> None:
        super().__init__()
        self.shift, self.spread = shift, spread
        self.config, self.device = SimpleNamespace(num_codes=12), torch.device("cpu")

    def forward(self, pixel_values):
        codes = (
            torch.arange(len(pixel_values) * 4).view(-1, 4) % 4 if self.spread else torch.zeros(len(pixel_values), 4)
        )
        return SimpleNamespace(reconstruction=pixel_values + self.shift, codes=codes.long())


def test_figures_are_shares_of_the_variance_and_codes_in_use(pixels, tmp_path):
    check = TokenizerValidation(pixels, batch_size=5)
    values = pixels.batch(pixels.ids).double()
    variance = float((values - values.mean(dim=(0, 2, 3), keepdim=True)).square().mean())
    exact = check.figures(Echo(0.0, spread=True))
    assert exact == pytest.approx({"explained": 1, "error": 0, "perplexity": 4, "codes_in_use": 4}, abs=1e-6)
    shifted = check.figures(Echo(0.5, spread=False), tmp_path)
    assert shifted["error"] == pytest.approx(0.25, rel=1e-4) and shifted["perplexity"] == pytest.approx(1)
    assert shifted["explained"] == pytest.approx(1 - 0.25 / variance, rel=1e-4)
    with Image.open(tmp_path / "reconstructions.png") as sheet:  # five pictures over what was made of them
        assert sheet.size == (5 * SIZE, 2 * SIZE)
        assert np.abs(np.asarray(sheet)[:SIZE, :SIZE].astype(int) - plain_pictures()[0]).max() <= 1


def test_simple_pictures_are_soon_explained(pixels):
    model = tiny(num_codes=24).train()
    start_codebook(model, pixels, None, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3, betas=(0.5, 0.9))
    check = TokenizerValidation(pixels)
    before, losses_seen = check.figures(model), []
    values = pixels.batch(pixels.ids)
    for step in range(80):
        output = model(values)
        optimizer.zero_grad()
        output.loss.backward()
        revive_codes(model, {"step": step, "pixel_values": values}, after=32, seed=0)
        optimizer.step()
        losses_seen.append(float(output.reconstruction_loss.detach()))
    assert losses_seen[-1] < losses_seen[0] / 2
    after = check.figures(model)
    assert before["explained"] < 0.3 < 0.5 < after["explained"] and after["perplexity"] > 6


def test_a_view_depends_on_epoch_and_row(pixels):
    rows = PictureRows(pixels.ids)
    small = PixelStore(pixels.ids, plain_pictures(), FashionViLImageProcessor(size=12))
    collate = PicturesCollate(small, RandomCrop(12, seed=0))
    first = collate([rows[7, row] for row in range(12)])
    assert first["step"] == 7 and first["pixel_values"].shape == (12, 3, 12, 12)
    assert torch.equal(first["pixel_values"], collate([rows[9, row] for row in range(12)])["pixel_values"])
    rows.set_epoch(1)
    assert not torch.equal(first["pixel_values"], collate([rows[7, row] for row in range(12)])["pixel_values"])


def test_a_tokenizer_without_decoder_is_no_start(tmp_path):
    tiny(has_decoder=False).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has no decoder, so there is nothing to train it by; start anew"):
        starting_tokenizer(SimpleNamespace(model=str(tmp_path)))


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> list[str]:
    """Of the program, on a shop of 24 pictures."""
    shop = tmp_path_factory.mktemp("shop")
    (shop / "images").mkdir()
    for number, picture in enumerate(plain_pictures()):
        Image.fromarray(picture).save(shop / "images" / f"{number}.png")
    titles = [f'{{"id": "{number}", "title": "thing {number}"}}\n' for number in range(24)]
    (shop / "products.jsonl").write_text("".join(titles))
    flags = ["--data_dir", str(shop), "--datasets", "catalogue", "--validation_dataset", "catalogue", "--cpu"]
    flags += ["--validation_split", "train", "--image_size", str(SIZE), "--num_codes", "64", "--code_dim", "6"]
    flags += ["--hidden_dim", "8", "--channel_multipliers", "1", "1", "2", "--num_res_blocks", "1"]
    return [*flags, "--group_norm_groups", "4", "--batch_size", "8", "--revive_after", "4"]


def test_a_killed_run_resumes_to_the_same_bits(flags, tmp_path):
    flags = [*flags, "--steps", "40", "--learning_rate", "1e-2", "--validation_steps", "20"]
    flags += ["--checkpoint_steps", "2", "--checkpoint_seconds", "1000"]
    whole = run_here(fashionvil_tokenizer, *flags, "--output_dir", str(tmp_path / "whole"))
    assert any(record.get("revived_codes") for record in records(whole))
    cut = killed_run(PROGRAM, flags, tmp_path / "cut", at_step=11, steps=40)
    run_here(fashionvil_tokenizer, *flags, "--output_dir", str(cut), "--resume")
    assert losses(cut) == losses(whole) and validations(cut) == validations(whole)
    assert (cut / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()
