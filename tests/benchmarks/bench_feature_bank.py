"""A Combiner epoch from the feature bank against encoding on the fly, at the size of the paper's best model.

The baseline follows the description of the original: every step decodes and preprocesses both pictures of every
    triplet,
pads every caption to 77 tokens, and runs the frozen CLIP on them, then the same Combiner step. One epoch of it takes
hours on a CPU, so its encoding is timed on a sample of triplets and scaled; the sample is named in the row.
"""

from __future__ import annotations

import io
import math
import sys
import tempfile
import zlib

import numpy as np
import torch
from PIL import Image

from tests.benchmarks.measure import Stopwatch, clip_model, padded, report, row, run_child, sampled_captions

MODULE = "tests.benchmarks.bench_feature_bank"
TRIPLETS, IMAGES, TEXTS = 18_000, 25_136, 60_017  # FashionIQ train: triplets, distinct pictures, distinct caption forms
SAMPLE, BATCH, STEPS = 8, 1024, 2


def photo(seed: int) -> bytes:
    """A JPEG of 300 x 400 pixels with smooth content, about as large as a product photo."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (40, 30, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    small.resize((300, 400), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def preprocess(data: bytes, side: int = 288, ratio: float = 1.25) -> torch.Tensor:
    """Target pad, resize, centre crop, normalise: the steps of the original, one picture at a time."""
    image = Image.open(io.BytesIO(data))
    width, height = image.size
    if max(width, height) / min(width, height) >= ratio:
        longest = max(width, height) / ratio
        across, down = max(int((longest - width) / 2), 0), max(int((longest - height) / 2), 0)
        wide = Image.new(image.mode, (width + 2 * across, height + 2 * down), 0)
        wide.paste(image, (across, down))
        image = wide
    width, height = image.size
    factor = side / min(width, height)
    size = (side, int(height * factor)) if width <= height else (int(width * factor), side)
    image = image.resize(size, Image.Resampling.BICUBIC)
    left, top = round((image.width - side) / 2), round((image.height - side) / 2)
    image = image.crop((left, top, left + side, top + side)).convert("RGB")
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
    mean = torch.tensor((0.48145466, 0.4578275, 0.40821073)).view(3, 1, 1)
    deviation = torch.tensor((0.26862954, 0.26130258, 0.27577711)).view(3, 1, 1)
    return (pixels - mean) / deviation


class WordIds:
    """Stands in for the processor: CLIP's picture steps, and one id per word instead of CLIP's vocabulary file."""

    class tokenizer:
        pad_token_id = 0

    def __init__(self):
        from modeling.clip4cir.image_processing_clip4cir import CLIP4CirImageProcessor

        self.image_processor = CLIP4CirImageProcessor(size=288)

    def __call__(self, text):
        ids = [[49406, *(1 + zlib.crc32(word.encode()) % 49405 for word in entry.split()), 49407] for entry in text]
        return {"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids]}


def online_child() -> None:
    """Encoding of a sample of triplets as the original does it in every step."""
    model = clip_model("RN50x4")
    photos = [photo(seed) for seed in range(2 * SAMPLE)]
    captions = sampled_captions(SAMPLE, seed=0)

    @torch.no_grad()
    def encode(count: int) -> list[torch.Tensor]:
        reference = torch.stack([preprocess(data) for data in photos[:count]])
        target = torch.stack([preprocess(data) for data in photos[SAMPLE : SAMPLE + count]])
        texts = model.get_text_features(padded(captions[:count], 77))
        return [model.get_image_features(reference), model.get_image_features(target), texts]

    encode(1)
    watch = Stopwatch()
    encode(SAMPLE)
    report(**watch.read(SAMPLE))


def build_child() -> None:
    """Building a bank of the sample's pictures and of four forms per triplet; texts and pictures timed apart."""
    from train.engine.feature_bank import FeatureBank

    model, processor = clip_model("RN50x4"), WordIds()
    sources = {str(seed): photo(seed) for seed in range(2 * SAMPLE)}
    lengths = [len(ids) - 2 for ids in sampled_captions(16 * SAMPLE, seed=0)]
    texts = [" ".join(f"w{number}x{place}" for place in range(length)) for number, length in enumerate(lengths)]
    captions = [tuple(texts[first : first + 4]) for first in range(0, len(texts), 4)]
    with tempfile.TemporaryDirectory() as folder:
        FeatureBank.build(folder, model, processor, {"warm": photo(99)}, [("warm up",)], progress=False)
        watch = Stopwatch()
        FeatureBank.build(folder, model, processor, sources, [("warm up",)], progress=False, batch_size=SAMPLE)
        with_images, watch = watch.read(), Stopwatch()
        bank = FeatureBank.build(folder, model, processor, sources, captions, progress=False)
        with_texts, watch = watch.read(), Stopwatch()
        FeatureBank.build(folder, model, processor, sources, captions, progress=False)
        nothing_new = watch.read()
        with torch.no_grad():
            pixels = torch.stack([preprocess(sources[image_id]) for image_id in ("0", "5")])
            expected = model.get_image_features(pixels)
        difference = ((bank.images(["0", "5"]) - expected).abs().max() / expected.abs().max()).item()
    # Both builds hash the weights and look through the folder, which a build of nothing times.
    report(
        image={name: (with_images[name] - nothing_new[name]) / len(sources) for name in nothing_new},
        text={name: (with_texts[name] - nothing_new[name]) / bank.encoded["texts"] for name in nothing_new},
        nothing_new=nothing_new,
        difference=difference,
    )


def combiner_child(with_lookups: bool) -> None:
    """Combiner steps (forward, backward, Adam) at the published size, features from a bank of full size or given."""
    from modeling.clip4cir.modeling_clip4cir import Combiner
    from train.engine.feature_bank import FeatureBank
    from train.engine.losses import query_target_loss

    torch.manual_seed(0)
    combiner = Combiner(640, 2560, 5120, 0.5)
    optimizer = torch.optim.Adam(combiner.parameters(), lr=2e-5)
    ids, draw = [str(number) for number in range(IMAGES)], np.random.default_rng(0)
    if with_lookups:
        text_rows = torch.from_numpy(draw.integers(0, TEXTS, (TRIPLETS, 4)))
        places = {image_id: place for place, image_id in enumerate(ids)}
        bank = FeatureBank(torch.randn(IMAGES, 640), places, torch.randn(TEXTS, 640), text_rows, "", {})

    def features() -> tuple[torch.Tensor, ...]:
        if not with_lookups:
            return tuple(torch.randn(BATCH, 640) for _ in range(3))
        chosen = draw.integers(0, IMAGES, (2, BATCH))
        reference, target = (bank.images([ids[place] for place in row]) for row in chosen)
        return reference, bank.texts(draw.integers(0, TRIPLETS, BATCH), draw.integers(0, 4, BATCH)), target

    def step() -> None:
        reference, text, target = features()
        target = torch.nn.functional.normalize(target, dim=1)
        loss = query_target_loss(combiner(reference, text), target, 100.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    step()
    watch = Stopwatch()
    for _ in range(STEPS):
        step()
    report(**watch.read(STEPS))


def run() -> list[dict]:
    """The epoch, the build, and the epoch at which the build has paid for itself."""
    online, built = run_child(MODULE, "online"), run_child(MODULE, "build")
    stored, given = run_child(MODULE, "bank-steps"), run_child(MODULE, "given-steps")
    steps = TRIPLETS // BATCH
    bank_epoch, online_epoch, build = {}, {}, {}
    for clock in ("seconds", "wall"):
        bank_epoch[clock] = steps * stored[clock]
        online_epoch[clock] = steps * (BATCH * online[clock] + given[clock])
        build[clock] = IMAGES * built["image"][clock] + TEXTS * built["text"][clock] + built["nothing_new"][clock]
    pays_off = math.floor(build["seconds"] / (online_epoch["seconds"] - bank_epoch["seconds"])) + 1

    size = f"RN50x4, D 640, P 2560, H 5120, {TRIPLETS} triplets in batches of {BATCH}"
    scaled = (
        f"encoding timed on {SAMPLE} triplets ({online['seconds']:.3f} s each), Combiner on {STEPS} steps "
        f"({stored['seconds']:.2f} s from the bank, {given['seconds']:.2f} s given features), scaled; ratio of wall "
        f"times {online_epoch['wall'] / bank_epoch['wall']:.0f}"
    )
    memory = {"ours": stored["peak_mib"], "baseline": max(online["peak_mib"], given["peak_mib"])}
    name, seconds = "Combiner epoch from the bank", (bank_epoch["seconds"], online_epoch["seconds"])
    epoch = row(name, f"{size}; {scaled}", *seconds, "CPU s per epoch", memory)
    parts = (
        f"{IMAGES} pictures at {built['image']['seconds']:.3f} s, {TEXTS} texts at {built['text']['seconds']:.4f} s, "
        f"timed on {2 * SAMPLE} and {16 * SAMPLE}, scaled; opening it again {built['nothing_new']['seconds']:.2f} s; "
        f"features differ by {built['difference']:.1e} (relative) from those of the baseline; baseline: one epoch "
        f"on-line; ahead after epoch {pays_off}; ratio of wall times {online_epoch['wall'] / build['wall']:.2f}"
    )
    memory = {"ours": built["peak_mib"], "baseline": online["peak_mib"]}
    cost = row(
        "building the bank, against one epoch on-line",
        parts,
        build["seconds"],
        online_epoch["seconds"],
        "CPU s",
        memory,
    )
    total = 300
    run_memory = {"ours": max(built["peak_mib"], stored["peak_mib"]), "baseline": epoch["memory"]["baseline"]}
    whole = row(
        f"Combiner training of {total} epochs, bank built first",
        f"{size}; from the figures of the two rows above",
        build["seconds"] + total * bank_epoch["seconds"],
        total * online_epoch["seconds"],
        "CPU s",
        run_memory,
    )
    return [epoch, cost, whole]


if __name__ == "__main__":
    {
        "online": online_child,
        "build": build_child,
        "bank-steps": lambda: combiner_child(with_lookups=True),
        "given-steps": lambda: combiner_child(with_lookups=False),
    }[sys.argv[1]]()
