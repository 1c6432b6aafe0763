"""The feature bank equals encoding on the fly, encodes nothing twice, and notices whatever changes a feature."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPVisionConfig

from modeling.clip4cir.configuration_clip4cir import CLIP4CirConfig, CLIP4CirResNetConfig
from modeling.clip4cir.image_processing_clip4cir import CLIP4CirImageProcessor
from modeling.clip4cir.modeling_clip4cir import CLIP4CirModel
from modeling.clip4cir.processing_clip4cir import CLIP4CirProcessor, caption_forms
from tests.engine.processes import accelerator_of, relative_difference, run_workers, save
from train.engine import feature_bank, images
from train.engine.feature_bank import FeatureBank, encoder_digest
from train.engine.images import PixelStore
from train.engine.vocabulary import train_tokenizer

WORDS = ["is red", "has longer sleeves.", "more formal, and blue", "shorter", "with a floral print", "no collar"]


def picture_bytes(seed: int) -> bytes:
    """A block of one colour on another, so that even random towers tell pictures apart."""
    rng = np.random.default_rng(seed)
    pixels = np.tile(rng.integers(0, 256, 3, dtype=np.uint8), (30 + seed, 40, 1))
    pixels[5:20, 8:25] = rng.integers(0, 256, 3, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def image_sources(count: int = 11) -> dict[str, bytes]:
    return {f"B{number:03d}": picture_bytes(number) for number in range(count)}


def captions(count: int = 9) -> list[tuple[str, ...]]:
    return [caption_forms(WORDS[i % len(WORDS)], WORDS[(2 * i + 1) % len(WORDS)]) for i in range(count)]


def make_model(kind: str = "resnet", combiner: str = "combiner") -> CLIP4CirModel:
    vision = (
        CLIP4CirResNetConfig(layers=(1, 1, 1, 1), width=4, image_size=32)
        if kind == "resnet"
        else CLIPVisionConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            image_size=32,
            patch_size=8,
        )
    )
    text = CLIPTextConfig(
        vocab_size=600,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        bos_token_id=512,
        eos_token_id=513,
    )
    torch.manual_seed(0)
    return CLIP4CirModel(
        CLIP4CirConfig(
            vision_config=vision,
            text_config=text,
            projection_dim=16,
            combiner_type=combiner,
            combiner_projection_dim=24,
            combiner_hidden_dim=32,
        )
    ).eval()


def make_processor(size: int = 32) -> CLIP4CirProcessor:
    return CLIP4CirProcessor(CLIP4CirImageProcessor(size=size), train_tokenizer(WORDS, vocab_size=514))


@pytest.fixture(scope="module")
def model() -> CLIP4CirModel:
    return make_model()


@pytest.fixture(scope="module")
def processor() -> CLIP4CirProcessor:
    return make_processor()


def encode_images(model, processor, sources, ids) -> torch.Tensor:
    opened = [Image.open(io.BytesIO(sources[image_id])) for image_id in ids]
    with torch.no_grad():
        return model.get_image_features(processor(images=opened, return_tensors="pt")["pixel_values"])


def encode_texts(model, processor, texts) -> torch.Tensor:
    inputs = processor(text=texts, return_tensors="pt")
    with torch.no_grad():
        return model.get_text_features(inputs["input_ids"], inputs["attention_mask"])


def build(folder, model, processor, **changes) -> FeatureBank:
    arguments = {
        "image_sources": image_sources(),
        "captions": captions(),
        "progress": False,
        "batch_size": 4,
        **changes,
    }
    return FeatureBank.build(folder, model, processor, **arguments)


def work(folder: Path) -> None:
    accelerator = accelerator_of(2)
    model, processor = make_model(), make_processor()
    bank = build(folder / "bank", model, processor, rows_per_shard=2)
    results = {"images": bank.images(bank.image_ids), "texts": bank._text_features.clone(), "encoded": bank.encoded}
    results["key"] = bank.key
    bad = {**image_sources(), "bad1": b"", "bad2": b"no picture"}
    try:
        build(folder / "bank", model, processor, image_sources=bad)
    except ValueError as error:
        results["error"] = str(error)
    if accelerator.process_index == 1:  # only one process breaks
        model.get_image_features = lambda pixels: torch.full((len(pixels), 16), float("nan"))
    try:
        build(folder / "broken", model, processor)
    except (ValueError, RuntimeError) as error:
        results["crash"] = f"{type(error).__name__}: {error}"
    save(accelerator, folder, results)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory) -> list[dict]:
    return run_workers(__file__, tmp_path_factory.mktemp("bank"))


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_stored_features_equal_encoding_on_the_fly(tmp_path, processor, kind):
    model = make_model(kind)
    bank = build(tmp_path, model, processor)
    ids = ["B007", "B000", "B007", "B010"]
    assert relative_difference(bank.images(ids), encode_images(model, processor, image_sources(), ids)) < 1e-6
    rows, forms = [0, 8, 3, 3, 5], [0, 1, 2, 3, 3]
    texts = [captions()[row][form] for row, form in zip(rows, forms, strict=True)]
    assert relative_difference(bank.texts(rows, forms), encode_texts(model, processor, texts)) < 1e-6
    assert torch.equal(bank.texts(torch.tensor([2, 1]), 3), bank.texts([2, 1], [3, 3]))
    assert (len(bank), bank.forms, bank.dim) == (9, 4, 16)
    assert bank.images(ids).dtype == torch.float32 and not bank.images(ids).requires_grad


def test_one_form_per_caption_serves_cirr(tmp_path, model, processor):
    bank = build(tmp_path, model, processor, captions=[(word,) for word in WORDS])
    assert (len(bank), bank.forms) == (6, 1)
    assert relative_difference(bank.texts(range(6)), encode_texts(model, processor, WORDS)) < 1e-6


def test_combiner_training_from_the_bank_follows_the_online_trajectory(tmp_path, processor):
    bank = build(tmp_path, make_model("vit"), processor)
    triplets = [(f"B{i:03d}", f"B{i + 1:03d}", i) for i in range(9)]

    def losses(features_of) -> list[float]:
        model = make_model("vit")
        model.combiner.train()
        optimizer = torch.optim.Adam(model.combiner.parameters(), lr=1e-2)
        torch.manual_seed(4)  # dropout
        order, trajectory = np.random.default_rng(1), []
        for _ in range(15):
            chosen = order.permutation(9)[:6]
            forms = order.integers(0, 4, 6)
            references, targets, rows = zip(*[triplets[i] for i in chosen], strict=True)
            inputs = features_of(model, references, targets, rows, forms)
            loss = model(**inputs).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            trajectory.append(loss.item())
        return trajectory

    def online(model, references, targets, rows, forms):
        texts = [captions()[row][form] for row, form in zip(rows, forms, strict=True)]
        return {
            "image_features": encode_images(model, processor, image_sources(), references),
            "target_features": encode_images(model, processor, image_sources(), targets),
            "text_features": encode_texts(model, processor, texts),
        }

    def stored(model, references, targets, rows, forms):
        return {
            "image_features": bank.images(references),
            "target_features": bank.images(targets),
            "text_features": bank.texts(rows, forms),
        }

    expected = losses(online)
    assert losses(stored) == pytest.approx(expected, rel=1e-5)
    assert expected[-1] < 0.7 * expected[0]  # it trains, so the agreement says something


def test_equal_texts_and_pictures_are_encoded_once(tmp_path, model, processor):
    sources = {**image_sources(3), "copy": picture_bytes(1)}
    bank = build(tmp_path, model, processor, image_sources=sources, captions=captions(60))
    distinct = {form.lower() for forms in captions(60) for form in forms}
    assert bank.encoded == {"images": 3, "texts": len(distinct)}
    assert torch.equal(bank.images(["copy"]), bank.images(["B001"]))


def test_a_second_build_encodes_nothing_and_has_the_same_key(tmp_path, model, processor):
    first = build(tmp_path, model, processor)
    again = build(tmp_path, model, processor)
    assert again.encoded == {"images": 0, "texts": 0}
    assert first.key == again.key == FeatureBank.load(tmp_path).key
    assert torch.equal(first.images(first.image_ids), again.images(first.image_ids))


def test_only_what_is_new_is_encoded(tmp_path, model, processor):
    before = build(tmp_path, model, processor, name="before")
    sources = {**image_sources(13), "B002": picture_bytes(40)}  # two more and one changed
    bank = build(tmp_path, model, processor, image_sources=sources, captions=[("a new text",), ("shorter",)])
    assert bank.encoded == {"images": 3, "texts": 1}
    expected = encode_images(model, processor, sources, list(sources))
    assert relative_difference(bank.images(list(sources)), expected) < 1e-6
    reopened = FeatureBank.load(tmp_path, name="before")  # its rows kept their places
    assert reopened.key == before.key != bank.key
    assert torch.equal(reopened.images(before.image_ids), before.images(before.image_ids))
    assert torch.equal(reopened.texts(range(9), 1), before.texts(range(9), 1))


@pytest.mark.parametrize("change", ["image weights", "text weights", "transform", "vocabulary", "autocast"])
def test_whatever_changes_a_feature_changes_the_bank(tmp_path, processor, change):
    before = build(tmp_path, make_model(), processor)
    model, encoded = make_model(), {"images": 11, "texts": before.encoded["texts"]}
    options = {}
    if change == "image weights":
        next(model.vision_model.parameters()).data.mul_(1.01)
    elif change == "text weights":
        model.text_projection.weight.data.mul_(1.01)
    elif change == "transform":
        processor = CLIP4CirProcessor(CLIP4CirImageProcessor(size=32, transform="clip"), processor.tokenizer)
        encoded["texts"] = 0
    elif change == "vocabulary":
        processor = CLIP4CirProcessor(processor.image_processor, train_tokenizer(["other words"], vocab_size=560))
        encoded["images"] = 0
    elif change == "autocast":
        options["autocast"] = torch.bfloat16
    bank = build(tmp_path, model, processor, **options)
    assert bank.key != before.key
    assert bank.encoded == encoded
    if change != "autocast":
        ids = bank.image_ids
        assert relative_difference(bank.images(ids), encode_images(model, processor, image_sources(), ids)) < 1e-6
        texts = [forms[1] for forms in captions()]
        assert relative_difference(bank.texts(range(9), 1), encode_texts(model, processor, texts)) < 1e-6


def test_the_combiner_does_not_change_the_bank(tmp_path, processor):
    stage1, stage2 = make_model(combiner="sum"), make_model()
    stage2.load_state_dict(stage1.state_dict(), strict=False)
    stage2.logit_scale.data.add_(1)
    assert encoder_digest(stage1) == encoder_digest(stage2)
    build(tmp_path, stage1, processor)
    assert build(tmp_path, stage2, processor).encoded == {"images": 0, "texts": 0}


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_a_saved_and_reloaded_model_finds_its_bank(tmp_path, processor, kind):
    model = make_model(kind)
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    before = build(tmp_path / "bank", model, processor)
    again = CLIP4CirModel.from_pretrained(tmp_path / "model"), CLIP4CirProcessor.from_pretrained(tmp_path / "model")
    assert build(tmp_path / "bank", *again).encoded == {"images": 0, "texts": 0}
    assert FeatureBank.load(tmp_path / "bank").key == before.key


def test_a_killed_build_continues_with_its_shards(tmp_path, model, processor, monkeypatch):
    def killed(self, token_ids):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(feature_bank._Encoder, "texts", killed)
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path, model, processor, rows_per_shard=4)
    assert not list(tmp_path.glob("images-*.safetensors"))
    with pytest.raises(FileNotFoundError, match=r"no feature bank .*bank\.json"):
        FeatureBank.load(tmp_path)

    calls = {"left": 1}
    encode = feature_bank._Encoder.texts

    def killed_later(self, token_ids):
        calls["left"] -= 1
        if calls["left"] < 0:
            raise KeyboardInterrupt
        return encode(self, token_ids)

    with monkeypatch.context() as patch:
        patch.setattr(feature_bank._Encoder, "texts", killed_later)
        with pytest.raises(KeyboardInterrupt):
            build(tmp_path, model, processor, rows_per_shard=4, batch_size=1)
    bank = build(tmp_path, model, processor)
    assert bank.encoded["images"] == 0
    assert 0 < bank.encoded["texts"] < len({form for forms in captions() for form in forms})
    assert not list(tmp_path.glob("*.parts"))
    fresh = build(tmp_path / "fresh", model, processor)
    assert relative_difference(bank.images(bank.image_ids), fresh.images(bank.image_ids)) < 1e-6
    for form in range(4):
        assert relative_difference(bank.texts(range(9), form), fresh.texts(range(9), form)) < 1e-6
    assert bank.key == fresh.key


def test_bad_pictures_are_listed_together_and_the_others_are_kept(tmp_path, model, processor):
    bad = {**image_sources(), "empty": b"", "cut": picture_bytes(3)[:60]}
    with pytest.raises(ValueError) as caught:
        build(tmp_path, model, processor, image_sources=bad)
    assert "2 of 13 images cannot be used" in str(caught.value)
    assert "  empty: " in str(caught.value) and "  cut: " in str(caught.value)
    mended = {**bad, "empty": picture_bytes(20), "cut": picture_bytes(3)}
    assert build(tmp_path, model, processor, image_sources=mended).encoded == {"images": 1, "texts": 0}


def test_a_pixel_store_gives_the_same_bank(tmp_path, model, processor, monkeypatch):
    store = PixelStore.build(None, image_sources(), processor.image_processor, progress=False)
    direct = build(tmp_path / "direct", model, processor)
    monkeypatch.setattr(images, "open_image", lambda source: pytest.fail("decoded again"))
    bank = build(tmp_path / "stored", model, processor, pixel_store=store)
    assert torch.equal(bank.images(bank.image_ids), direct.images(bank.image_ids))
    other = CLIP4CirProcessor(CLIP4CirImageProcessor(size=32, transform="clip"), processor.tokenizer)
    with pytest.raises(ValueError, match="other settings"):
        build(tmp_path / "stored", model, other, pixel_store=store)


def test_building_leaves_the_model_in_its_modes(tmp_path, processor):
    model = make_model()
    model.combiner.train()
    modes = {name: module.training for name, module in model.named_modules()}
    build(tmp_path, model, processor)
    assert {name: module.training for name, module in model.named_modules()} == modes


def test_tables_are_plain_safetensors_files(tmp_path, model, processor):
    bank = build(tmp_path, model, processor, rows_per_shard=3)
    (path,) = tmp_path.glob("images-*.safetensors")
    table = load_file(path)
    assert table["features"].shape == (11, 16) and table["keys"].shape == (11, 16)
    assert torch.equal(table["features"].sort(0)[0], bank.images(bank.image_ids).sort(0)[0])


def test_a_bank_whose_rows_are_not_its_own_is_refused(tmp_path, model, processor):
    build(tmp_path, model, processor)
    (path,) = tmp_path.glob("images-*.safetensors")
    path.unlink()
    build(tmp_path, model, processor, image_sources=image_sources(13), name="other")
    FeatureBank.load(tmp_path)  # the first eleven are in their places again
    path.unlink()
    reverse = dict(reversed(image_sources(13).items()))
    build(tmp_path, model, processor, image_sources=reverse, name="other")
    with pytest.raises(ValueError, match="rows hold other pictures or texts"):
        FeatureBank.load(tmp_path)
    path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match="cannot be read .* build it again"):
        FeatureBank.load(tmp_path)


def test_lookups_that_do_not_exist_are_refused(tmp_path, model, processor):
    bank = build(tmp_path, model, processor)
    with pytest.raises(ValueError, match=r"1 images are not in the bank, the first are \['nobody'\]"):
        bank.images(["B001", "nobody"])
    with pytest.raises(ValueError, match="triplet numbers from 0 to 9, the bank has 9"):
        bank.texts([0, 9])
    with pytest.raises(ValueError, match="caption form numbers from -1 to 0, the bank has 4"):
        bank.texts([0, 1], [-1, 0])
    with pytest.raises(ValueError, match=r"same number of caption forms, at least one; found \[1, 2\]"):
        build(tmp_path, model, processor, captions=[("a", "b"), ("c",)])
    with pytest.raises(ValueError, match="batch_size is 0"):
        build(tmp_path, model, processor, batch_size=0)


def test_two_processes_build_the_bank_of_one(tmp_path, model, processor, ranks):
    bank = build(tmp_path, model, processor)
    for result in ranks:
        assert result["key"] == bank.key
        assert relative_difference(result["images"], bank.images(bank.image_ids)) < 1e-6
        assert len(result["texts"]) == bank.encoded["texts"]
    shares = [result["encoded"] for result in ranks]
    assert all(share["images"] > 0 and share["texts"] > 0 for share in shares)
    assert {kind: shares[0][kind] + shares[1][kind] for kind in shares[0]} == bank.encoded


def test_every_process_reports_what_went_wrong_on_any(ranks):
    for result in ranks:
        assert "2 of 13 images cannot be used" in result["error"]
        assert "  bad1: " in result["error"] and "  bad2: " in result["error"]
    assert "failed on process 1" in ranks[0]["crash"] and "not finite" in ranks[0]["crash"]
    assert "not finite" in ranks[1]["crash"]


if __name__ == "__main__":
    work(Path(sys.argv[1]))
