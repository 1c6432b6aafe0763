"""Encoding of galleries and texts: once per id, in any batch size, on one process or two, without side effects."""

import pytest
import torch

from train.engine.images import PixelStore
from train.retrieval.composed_data import load_composed_set
from train.retrieval.encode import composer, encode_images, encode_pixels, encode_texts


@pytest.fixture(scope="module")
def pictures(fashioniq_dir):
    data = load_composed_set("fashioniq", fashioniq_dir)
    return data.gallery_ids, dict(zip(data.gallery_ids, data.images, strict=True))


def encode(loaded, ids, sources, **options):
    return encode_images(*loaded, ids, sources, progress=False, **options)


def test_features_are_those_of_the_model_and_ids_are_encoded_once(loaded, pictures, monkeypatch):
    model, processor = loaded
    ids, sources = pictures
    seen = 0
    whole = type(model).get_image_features

    def counted(self, pixel_values):
        nonlocal seen
        seen += len(pixel_values)
        return whole(self, pixel_values)

    monkeypatch.setattr(type(model), "get_image_features", counted)
    distinct, features = encode(loaded, ids[:7] + ids[:3], sources, batch_size=3)
    assert distinct == ids[:7] and seen == 7
    from data_scripts.images import open_image

    with torch.no_grad():
        pixels = processor(images=[open_image(sources[i]) for i in ids[:7]], return_tensors="pt")["pixel_values"]
        expected = whole(model, pixels)
    torch.testing.assert_close(features, expected, atol=1e-6, rtol=1e-5)
    assert features.dtype == torch.float32 and not features.requires_grad


def test_batch_size_and_threads_do_not_change_features(loaded, pictures):
    ids, sources = pictures
    whole = encode(loaded, ids, sources, batch_size=64)[1]
    for options in ({"batch_size": 1}, {"batch_size": 9, "num_workers": 1}):
        torch.testing.assert_close(encode(loaded, ids, sources, **options)[1], whole, atol=1e-6, rtol=1e-5)
    store = PixelStore.build(None, sources, loaded[1].image_processor, progress=False)
    again = encode_pixels(loaded[0], store, ids[::-1], batch_size=64)
    torch.testing.assert_close(again.flip(0), whole, atol=1e-6, rtol=1e-5)


def test_texts_of_any_length_and_order_get_their_own_features(loaded):
    model, processor = loaded
    texts = ["is red", "is longer and is more striped than that one with the many words", "is red", "plain", ""]
    features = encode_texts(model, processor, texts, batch_size=2, progress=False)
    for text, row in zip(texts, features, strict=True):
        with torch.no_grad():
            alone = model.get_text_features(**processor(text=[text], return_tensors="pt"))[0]
        torch.testing.assert_close(row, alone, atol=1e-6, rtol=1e-5)
    assert torch.equal(features[0], features[2])


def test_each_batch_of_texts_is_padded_to_its_own_longest(loaded, monkeypatch):
    model, processor = loaded
    widths = []
    whole = type(model).get_text_features

    def watched(self, input_ids, attention_mask=None):
        widths.append((input_ids.shape[1], int(attention_mask.sum(dim=1).max())))
        return whole(self, input_ids, attention_mask)

    monkeypatch.setattr(type(model), "get_text_features", watched)
    encode_texts(model, processor, ["a b c d e f g h", "a", "b", "a b c d"], batch_size=2, progress=False)
    assert len(widths) == 2 and all(width == longest for width, longest in widths)
    assert widths[0][0] < widths[1][0]


def test_the_model_comes_back_as_it_was(loaded, pictures):
    model, processor = loaded
    ids, sources = pictures
    model.train()
    try:
        training = encode(loaded, ids[:2], sources)[1]
        assert model.training and model.combiner.training
        queries = composer(model)(training, training)
        assert model.training
    finally:
        model.eval()
    assert torch.equal(training, encode(loaded, ids[:2], sources)[1])
    assert torch.equal(queries, composer(model)(training, training))  # no dropout in training mode either


def test_composed_queries_do_not_depend_on_the_batch(loaded):
    images, texts = torch.randn(50, 12), torch.randn(50, 12)
    with torch.no_grad():
        expected = loaded[0].compose(images, texts)
    for size in (7, 1000):
        torch.testing.assert_close(composer(loaded[0], size)(images, texts), expected, atol=1e-6, rtol=1e-5)


def test_bfloat16_features_are_close_and_stored_as_float32(loaded, pictures):
    ids, sources = pictures
    full, half = (encode(loaded, ids[:8], sources, precision=p)[1] for p in ("no", "bf16"))
    assert half.dtype == torch.float32
    assert not torch.equal(full, half)
    assert torch.nn.functional.cosine_similarity(full, half).min() > 0.999
    with pytest.raises(ValueError, match="precision must be one of no, bf16, fp16, got 'half'"):
        encode(loaded, ids[:1], sources, precision="half")


def test_every_bad_picture_is_named_in_one_error(loaded, pictures, tmp_path):
    ids, sources = pictures
    bad = dict(sources)
    (tmp_path / "empty.jpg").touch()
    good = sources[ids[0]]["path"]
    (tmp_path / "cut.jpg").write_bytes(open(good, "rb").read()[:200])
    bad |= {ids[1]: str(tmp_path / "empty.jpg"), ids[12]: str(tmp_path / "cut.jpg"), ids[13]: str(tmp_path / "no.jpg")}
    with pytest.raises(ValueError, match="3 of 20 images cannot be used") as error:
        encode(loaded, ids[:20], bad, batch_size=4)
    assert all(i in str(error.value) for i in (ids[1], ids[12], ids[13]))
    with pytest.raises(ValueError, match="1 images have no file, first: nobody"):
        encode(loaded, ["nobody"], sources)
    with pytest.raises(ValueError, match="nothing to encode"):
        encode(loaded, [], sources)


def test_a_processor_of_another_system_works_too(loaded, pictures):
    from transformers import CLIPImageProcessor

    ids, sources = pictures
    plain = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    features = encode_images(loaded[0], plain, ids[:3], sources, progress=False)[1]
    assert features.shape == (3, 12) and torch.isfinite(features).all()
