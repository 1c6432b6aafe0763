"""FashionViL's model and tasks against loops and closed forms, its edge cases, its starting values, its configuration."""

import math

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoConfig, AutoModel, BertForPreTraining, BertModel, ResNetModel

from modeling.fashionvil import (
    MODELS,
    TASKS,
    FashionViLConfig,
    FashionViLImageTokenizerConfig,
    contrastive_loss,
    draw_dropped,
    hardest_texts,
    query_loss,
    soft_cross_entropy,
    start_from_backbones,
    supervised_contrastive_loss,
)
from modeling.fashionvil.pretraining_fashionvil import in_evaluation_mode
from tests.modeling.fashionvil_examples import (
    SIZE,
    TOKENIZER,
    pictures,
    task_inputs,
    tiny_config,
    tiny_image_tokenizer,
    tiny_inputs,
    tiny_model,
)

PRETRAINING = "FashionViLForPreTraining"
OUTFITS = "FashionViLForOutfitRetrieval"


def test_any_part_of_the_inputs_gives_what_it_can() -> None:
    model, inputs = tiny_model(), tiny_inputs()
    texts = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    image_fields, text_fields = {"image_features", "image_tokens"}, {"text_features", "text_tokens"}
    with torch.no_grad():
        whole = model(**inputs)
        assert set(model(pixel_values=inputs["pixel_values"])) == image_fields
        assert set(model(**texts)) == text_fields
        assert set(whole) == image_fields | text_fields | {"query_features", "fused_features", "fused_tokens"}
        # Two pictures and four texts are no pairs.
        assert set(model(pixel_values=inputs["pixel_values"][:2], **texts)) == image_fields | text_fields
        assert isinstance(model(**inputs, return_dict=False), tuple)
        for name in ("query", "fused"):
            feature = getattr(model, f"get_{name}_features")(**inputs)
            torch.testing.assert_close(feature, whole[f"{name}_features"])
        torch.testing.assert_close(model.get_image_features(inputs["pixel_values"]), whole.image_features)
        torch.testing.assert_close(model.get_text_features(**texts), whole.text_features)
    with pytest.raises(ValueError, match="pixel_values, input_ids or both"):
        model()
    with pytest.raises(ValueError, match="2 pictures and 4 texts"):
        model.get_query_features(inputs["pixel_values"][:2], **texts)
    with pytest.raises(ValueError, match="81 word pieces, and the model has 80"):
        model.get_text_features(torch.ones(1, 81, dtype=torch.long))


def test_features_are_means_over_what_is_there() -> None:
    model, inputs = tiny_model(), tiny_inputs()
    with torch.no_grad():
        output = model(**inputs)
        for row, mask in enumerate(inputs["attention_mask"].bool()):
            torch.testing.assert_close(output.text_features[row], output.text_tokens[row][mask].mean(0))
        grid = model.image_encoder(pixel_values=inputs["pixel_values"]).last_hidden_state
        top_right = grid[:, :, 0, 1]
        torch.testing.assert_close(output.image_tokens[:, 1], model.bert.embeddings.projection(top_right))
        torch.testing.assert_close(output.query_features, output.fused_tokens[:, -4:].mean(1))


def test_any_vision_model_with_a_grid_will_do() -> None:
    vit = tiny_model(vision="vit")
    # Four patches and a class token, which is left out.
    assert vit.grid(pictures()).shape == (4, 4, 16)
    states = vit.image_encoder(pixel_values=pictures()).last_hidden_state
    assert torch.equal(vit.grid(pictures()), states[:, 1:])


def test_batch_norm_trains_unless_the_configuration_says_otherwise() -> None:
    for trains in (True, False):
        model = tiny_model(PRETRAINING, train_batch_norm=trains).train()
        norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
        assert norms and all(norm.training == trains for norm in norms)
    outfits = tiny_model(OUTFITS, outfit_frozen_stages=[4]).train()
    assert not any(m.training for m in outfits.modules() if isinstance(m, torch.nn.BatchNorm2d))


def test_losses_over_processes_average_to_the_loss_of_the_whole_batch() -> None:
    queries, targets = torch.randn(2, 6, 5)
    for loss in (contrastive_loss, query_loss):
        parts = []
        for rows in (slice(0, 2), slice(2, 4), slice(4, 6)):
            everything = {"all_targets": targets, "offset": rows.start}
            if loss is contrastive_loss:
                everything["all_queries"] = queries
            parts.append(loss(queries[rows], targets[rows], **everything))
        torch.testing.assert_close(torch.stack(parts).mean(), loss(queries, targets))
    by_hand = [math.log(sum(math.exp(q @ t) for t in targets)) - q @ targets[i] for i, q in enumerate(queries)]
    torch.testing.assert_close(query_loss(queries, targets), torch.stack(by_hand).mean())
    assert contrastive_loss(queries, targets[:3]).item() == 0


def test_soft_labels_are_counted_by_row() -> None:
    logits = torch.randn(3, 4)
    targets = torch.tensor([[0.5, 0.5, 0, 0], [0, 0, 0, 0], [0, 0, 2.0, 0]])
    log_p = logits.log_softmax(-1)
    expected = -(log_p[0, :2].mean() + log_p[2, 2]) / 2
    torch.testing.assert_close(soft_cross_entropy(logits, targets), expected)
    assert soft_cross_entropy(logits, torch.zeros(3, 4)).item() == 0


def test_supervised_contrast_against_a_loop() -> None:
    features, labels = torch.randn(5, 3), torch.tensor([0, 1, 0, 0, 2])
    terms = []
    for i in range(5):
        others = [j for j in range(5) if j != i]
        right = [j for j in others if labels[j] == labels[i]]
        total = math.log(sum(math.exp(features[i] @ features[j]) for j in others))
        terms.append(sum(total - float(features[i] @ features[j]) for j in right) / max(len(right), 1))
    assert supervised_contrastive_loss(features, labels).item() == pytest.approx(sum(terms) / 5, abs=1e-5)
    smoothed = supervised_contrastive_loss(features * 9, labels, official_smoothing=True)
    assert smoothed < supervised_contrastive_loss(features * 9, labels)


def test_dropped_tokens_are_neither_seen_nor_averaged() -> None:
    model, inputs = tiny_model(PRETRAINING), task_inputs("mvc")
    length = inputs["input_ids"].shape[1]
    with torch.no_grad():
        found = model(**inputs).target_embeds
        # The same by leaving positions out by hand: 17 lies beyond the text, 4 was drawn twice.
        mask = inputs["attention_mask"].clone()
        mask[:, [0, 1, 4]] = 0
        grid = model.model.grid(inputs["second_pixel_values"])
        whole = torch.cat([mask, torch.tensor([[1, 1, 0, 1]]).expand(4, 4)], 1)
        states = model.model.bert(inputs["input_ids"], whole, grid)[:, length:]
        composed = (states[:, 0] + states[:, 1] + states[:, 3]) / 3
        torch.testing.assert_close(found, 4 * F.normalize(composed, dim=-1))
    with pytest.raises(ValueError, match="drops 4 of 4"):
        model(**inputs | {"dropped_image": torch.tensor([0, 0, 1, 2])})


def test_a_place_that_is_drawn_twice_counts_twice() -> None:
    model, inputs = tiny_model(PRETRAINING), task_inputs("mvc")
    once, twice = ({"dropped_image": torch.tensor(places)} for places in ([2], [2, 2]))
    with torch.no_grad():
        # The features have length s whatever the denominator, so it's seen in what comes before.
        norm, model.contrastive_norm = model.contrastive_norm, torch.nn.Identity()
        first, second = (model(**inputs | dropped).target_embeds for dropped in (once, twice))
    torch.testing.assert_close(second, first * 3 / 2)
    assert norm.norm_s.item() == 4


def test_positions_are_drawn_over_the_configured_length() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([draw_dropped(75, 0.25, generator) for _ in range(400)])
    assert drawn.shape == (400, 18)
    assert drawn.min() == 0 and drawn.max() == 74
    assert any(len(row.unique()) < 18 for row in drawn)
    assert draw_dropped(49, 0.25).shape == (12,) and draw_dropped(1, 0.25).shape == (0,)
    model, inputs = tiny_model(PRETRAINING), task_inputs("mvc")
    del inputs["dropped_text"], inputs["dropped_image"]
    with torch.no_grad():
        first, again, other = (
            model(**inputs, generator=torch.Generator().manual_seed(seed)).loss for seed in (5, 5, 6)
        )
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_hardest_wrong_text() -> None:
    similarity = torch.tensor([[9.0, 1.0, 2.0], [3.0, 4.0, 1.0], [-2.0, -3.0, 5.0]])
    negatives, exist = hardest_texts(similarity)
    assert negatives.tolist() == [2, 0, 0] and exist.all()
    # All others are below -1, and the original takes the true text.
    assert hardest_texts(similarity, official_fill=True)[0].tolist() == [2, 0, 2]
    negatives, exist = hardest_texts(similarity, torch.tensor([7, 8, 7]))
    assert negatives[:2].tolist() == [1, 0] and negatives[2] == 1 and exist.all()
    assert not hardest_texts(similarity, torch.tensor([7, 7, 7]))[1].any()
    assert hardest_texts(torch.ones(1, 1))[1].tolist() == [False]


def test_matching_replaces_texts_only_where_there_is_a_wrong_one() -> None:
    model, inputs = tiny_model(PRETRAINING), task_inputs("itm")
    with torch.no_grad():
        output = model(**inputs)
        assert output.labels.tolist() == [0, 1, 0, 1]
        rows = torch.tensor([output.negatives[0], 1, output.negatives[2], 3])
        texts = {name: inputs[name][rows] for name in ("input_ids", "attention_mask")}
        pooled = model.get_fused_features(inputs["pixel_values"], **texts)
        torch.testing.assert_close(output.logits, model.heads["itm"](pooled))
        same = model(**inputs, product_ids=torch.tensor([3, 3, 3, 3]))
        assert same.labels.tolist() == [1, 1, 1, 1]
        one = {name: value[:1] if isinstance(value, torch.Tensor) else value for name, value in inputs.items()}
        assert model(**one).labels.tolist() == [1]
        official = tiny_model(PRETRAINING, official_itm_fill=True)
        assert official(**one | {"replace_text": torch.tensor([True])}).labels.tolist() == [0]
        del inputs["replace_text"]
        draws = [model(**inputs, generator=torch.Generator().manual_seed(seed)).labels for seed in range(40)]
    assert 0.35 < torch.stack(draws).float().mean() < 0.65


def test_negatives_are_sought_without_dropout_and_every_mode_comes_back() -> None:
    model = tiny_model(PRETRAINING).train()
    model.model.bert.pooler.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    torch.manual_seed(0)
    first = model(**task_inputs("itm")).similarity
    assert torch.equal(model(**task_inputs("itm")).similarity, first)
    assert {name: module.training for name, module in model.named_modules()} == modes
    with pytest.raises(RuntimeError), in_evaluation_mode(model):
        assert not model.model.bert.training
        raise RuntimeError
    assert {name: module.training for name, module in model.named_modules()} == modes


@pytest.mark.parametrize(
    "task, field, other",
    [
        ("itm", "replace_text", lambda value: value.to(torch.uint8)),
        ("itm", "replace_text", lambda value: value.float()),
        ("mpfc", "image_codes", lambda value: value.to(torch.int16)),
        ("mpfc", "patch_mask", lambda value: value.long()),
        ("mlm", "mlm_labels", lambda value: value.masked_fill(value < 0, -1)),  # the original's mark
        ("mvc", "dropped_text", lambda value: value.tolist()),
        ("mvc", "dropped_image", lambda value: value.to(torch.int32)),
    ],
)
def test_inputs_of_another_type_say_the_same(task: str, field: str, other) -> None:
    model, inputs = tiny_model(PRETRAINING), task_inputs(task)
    expected = model(**inputs).loss
    torch.testing.assert_close(model(**inputs | {field: other(inputs[field])}).loss, expected)


def test_nothing_need_be_dropped() -> None:
    nothing = {"dropped_text": [], "dropped_image": torch.tensor([])}
    assert torch.isfinite(tiny_model(PRETRAINING)(**task_inputs("mvc") | nothing).loss)


@pytest.mark.parametrize("task, field", [("mlm", "mlm_labels"), ("mpfc", "patch_mask"), ("pac", "attribute_targets")])
def test_a_batch_without_anything_to_learn_has_loss_0_and_gradients(task: str, field: str) -> None:
    model, inputs = tiny_model(PRETRAINING), task_inputs(task)
    inputs[field] = torch.full_like(inputs[field], -100 if task == "mlm" else 0)
    loss = model(**inputs).loss
    loss.backward()
    assert loss.item() == 0
    gradients = [p.grad for p in model.model.image_encoder.parameters()]
    assert all(gradient is not None and not gradient.any() for gradient in gradients)


def test_masked_cells_are_classified_into_the_tokenizers_codes() -> None:
    model, inputs = tiny_model(PRETRAINING), task_inputs("mpfc")
    del inputs["image_codes"]
    with torch.no_grad():
        output = model(**inputs)
        codes = model.image_tokenizer.encode(inputs["pixel_values"])
        assert torch.equal(output.labels, codes[inputs["patch_mask"]])
        # What stood in masked cells plays no part.
        grid = model.model.grid(inputs["pixel_values"])
        other = torch.where(inputs["patch_mask"][:, :, None], torch.randn_like(grid), grid)
        model.model.grid = lambda pixel_values: other
        torch.testing.assert_close(model(**inputs).logits, output.logits)


def test_what_a_task_needs_and_does_not_get_is_named() -> None:
    model = tiny_model(PRETRAINING)
    for task, name in {
        "mvc": "second_pixel_values",
        "pac": "attribute_targets",
        "mpfc": "patch_mask",
        "mlm": "mlm_labels",
    }.items():
        inputs = task_inputs(task)
        inputs[name] = None
        with pytest.raises(ValueError, match=f"task {task} needs {name}"):
            model(**inputs)
    with pytest.raises(ValueError, match="task must be one of itc, mvc"):
        model(**task_inputs("itc") | {"task": "icc"})
    with pytest.raises(ValueError, match=r"attribute_targets must be \(4, 20\)"):
        model(**task_inputs("pac") | {"attribute_targets": torch.ones(4, 3)})
    with pytest.raises(ValueError, match="patch_mask is"):
        model(**task_inputs("mpfc") | {"patch_mask": torch.ones(4, 9).bool()})
    with pytest.raises(ValueError, match="use a tokenizer of the same grid"):
        model(**task_inputs("mpfc") | {"image_codes": torch.ones(4, 9).long()})
    bare = tiny_model(PRETRAINING, tokenizer_config=None)
    with pytest.raises(ValueError, match="mpfc needs image_codes, or a model with an image tokenizer"):
        bare(**task_inputs("mpfc") | {"image_codes": None})


def test_attributes_are_cosines_and_can_be_scaled() -> None:
    logits = {}
    for scale in (None, 10):
        torch.manual_seed(0)
        model = tiny_model(PRETRAINING, attribute_scale=scale)
        logits[scale] = model(**task_inputs("pac")).logits
    assert logits[None].abs().max() <= 1
    torch.testing.assert_close(logits[10], 10 * logits[None])


@pytest.mark.parametrize("task", TASKS)
def test_every_task_runs_in_bfloat16_under_autocast(task: str) -> None:
    model = tiny_model(PRETRAINING).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(**task_inputs(task))
    assert output.loss.dtype == torch.float32
    if task in ("itc", "mvc"):
        assert output.query_embeds.dtype == output.logits.dtype == torch.float32
    output.loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_heads_start_as_published() -> None:
    torch.manual_seed(0)
    model = MODELS[PRETRAINING](tiny_config(tokenizer_config={**TOKENIZER, "has_decoder": False}, num_attributes=900))
    assert model.contrastive_norm.norm_s.tolist() == [4.0]
    assert model.heads["pac"].projection.std().item() == pytest.approx(1, abs=0.03)
    # PyTorch's uniform values have a deviation of 1 / sqrt(3 H), BERT's normal ones of 0.02.
    assert model.heads["itm"].seq_relationship.weight.std().item() == pytest.approx((3 * 32) ** -0.5, rel=0.25)
    assert model.model.bert.embeddings.projection.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert not model.model.bert.embeddings.projection.bias.any()
    assert not any(p.requires_grad for p in model.image_tokenizer.parameters())
    outfits = MODELS[OUTFITS](tiny_config(outfit_embedding_dim=600))
    assert outfits.fusion_module.masks.weight.std().item() == pytest.approx(1, abs=0.05)
    fresh = MODELS["FashionViLForRetrieval"](tiny_config(norm_scale_init_value=2))
    assert fresh.norm_layer.norm_s.tolist() == [2.0]


def test_backbones_are_copied_as_the_original_does() -> None:
    config = tiny_config(share_encoders=False)
    bert, vision = BertForPreTraining(config.text_config), ResNetModel(config.vision_config)
    with torch.no_grad():
        for parameter in bert.parameters():
            parameter.normal_()
    model = MODELS[PRETRAINING](config)
    projection = model.model.bert.embeddings.projection.weight.clone()
    start_from_backbones(model, bert, vision)
    for transformer in (model.model.bert, model.model.bert_2):
        ours, theirs = transformer.embeddings, bert.bert.embeddings
        assert torch.equal(ours.position_embeddings_visual.weight, theirs.position_embeddings.weight)
        assert torch.equal(ours.token_type_embeddings_visual.weight, theirs.token_type_embeddings.weight)
        assert torch.equal(transformer.pooler.dense.weight, bert.bert.pooler.dense.weight)
    assert torch.equal(model.heads["mlm"].bias, bert.cls.predictions.bias)
    assert torch.equal(model.model.bert.embeddings.projection.weight, projection)
    # The transformer is BERT: the same states from the same ids.
    model.eval(), bert.eval(), vision.eval()
    inputs = tiny_inputs()
    texts = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        kept = inputs["attention_mask"].bool()
        states = bert.bert(**texts).last_hidden_state
        torch.testing.assert_close(model.model.encode_text(**texts)[kept], states[kept], atol=1e-4, rtol=1e-4)
        logits = model.heads["mlm"](states, model.get_input_embeddings().weight)
        torch.testing.assert_close(logits, bert(**texts).prediction_logits, atol=1e-3, rtol=1e-3)
        grid = vision(pixel_values=inputs["pixel_values"]).last_hidden_state.flatten(2).transpose(1, 2)
        torch.testing.assert_close(model.model.grid(inputs["pixel_values"]), grid)
    start_from_backbones(tiny_model("FashionViLForRetrieval"), BertModel(config.text_config, add_pooling_layer=False))
    start_from_backbones(tiny_model(OUTFITS), vision=vision)
    wide = tiny_config(text_config={**config.text_config.to_dict(), "hidden_size": 64}).text_config
    with pytest.raises(ValueError, match="doesn't fit word_embeddings"):
        start_from_backbones(model, BertModel(wide))


def test_outfits_are_means_over_items_in_their_own_subspaces() -> None:
    model = tiny_model(OUTFITS)
    items, targets = pictures(count=3), pictures(4, count=2)
    pairs, index = torch.tensor([[0, 1], [2, 1], [3, 0]]), torch.tensor([0, 0, 1])
    with torch.no_grad():
        output = model(items, targets, pairs, outfit_index=index)
        features, target_features = model.get_image_features(items), model.get_image_features(targets)
        embeds = model.item_embeds(features, pairs)
        torch.testing.assert_close(output.query_embeds[0], embeds[:2].mean(0))
        torch.testing.assert_close(embeds.norm(dim=-1), torch.full((3,), 4.0))
        weights = model.fusion_module.weights(pairs)
        by_hand = sum(
            features * m * w[:, None] for m, w in zip(model.fusion_module.masks.weight, weights.T, strict=True)
        )
        torch.testing.assert_close(embeds, 4 * F.normalize(by_hand, dim=-1))
        scores = model.score_candidates(features[:2], pairs[:2, 0], target_features, torch.tensor([1, 0]))
        for number, category in enumerate((1, 0)):
            beside = torch.stack([pairs[:2, 0], torch.full((2,), category)], 1)
            mine = model.item_embeds(features[:2], beside)
            theirs = model.target_embeds(target_features[number].expand(2, -1), beside)
            torch.testing.assert_close(scores[number], (mine * theirs).sum(-1).mean())
    official = tiny_model(OUTFITS, official_outfit_target=True)
    with torch.no_grad():
        raw = official.get_image_features(targets)
        torch.testing.assert_close(official(items, targets, pairs, index).target_embeds, 4 * F.normalize(raw, dim=-1))
    triplet = model(items[:2], targets, pairs[:2], negative_pixel_values=targets)
    # Target and negative are the same, so what is left is the margin.
    assert triplet.loss.item() == pytest.approx(0.3, abs=1e-4)


def test_outfits_that_do_not_fit_are_refused() -> None:
    model, pairs = tiny_model(OUTFITS), torch.tensor([[0, 1], [2, 1]])
    with pytest.raises(ValueError, match="numbered 0 to 3; got 0 to 4"):
        model(pictures(count=2), pictures(count=2), torch.tensor([[0, 1], [4, 1]]))
    with pytest.raises(ValueError, match="each item needs a pair and a target"):
        model(pictures(count=2), pictures(count=2), pairs, outfit_index=torch.tensor([0, 2]))
    with pytest.raises(ValueError, match="Outfit 1 has no items"):
        model(pictures(count=2), pictures(count=2), pairs, outfit_index=torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="at least one item"):
        model.score_candidates(torch.ones(0, 12), torch.ones(0), torch.ones(1, 12), torch.ones(1))
    with pytest.raises(ValueError, match="names stage 5"):
        tiny_model(OUTFITS, outfit_frozen_stages=[5])


def test_frozen_stages_stay_frozen_through_saving(tmp_path) -> None:
    model = tiny_model(OUTFITS, outfit_frozen_stages=[4])
    model.save_pretrained(tmp_path)
    for each in (model, MODELS[OUTFITS].from_pretrained(tmp_path).train()):
        frozen = {name for name, p in each.named_parameters() if not p.requires_grad}
        assert all("normalization" in name or ".stages.3." in name for name in frozen) and len(frozen) > 20
        assert "image_encoder.encoder.stages.2.layers.0.layer.0.convolution.weight" not in frozen


def test_the_image_tokenizer_finds_the_nearest_code_and_learns() -> None:
    model = tiny_image_tokenizer()
    images = pictures()
    with torch.no_grad():
        latents, codes = model.latents(images), model.encode(images)
        distances = torch.cdist(latents.flatten(0, 1), model.quantize.embedding.weight)
        assert torch.equal(codes.flatten(), distances.argmin(-1)) and codes.shape == (4, 4)
        output = model(images)
        torch.testing.assert_close(output.reconstruction, model.decode(codes), atol=1e-4, rtol=1e-4)
        for chunk in (1, 3):
            model.config.chunk_size = chunk
            assert torch.equal(model.encode(images), codes)
        assert model.encode(images[:0]).shape == (0, 4)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        output = model(images)
        output.loss.backward()
        optimizer.step()
        losses.append(output.reconstruction_loss.item())
    assert losses[-1] < 0.95 * losses[0]
    with pytest.raises(ValueError, match="has no decoder"):
        tiny_image_tokenizer(has_decoder=False)(images)


def test_the_codebook_follows_running_means() -> None:
    book = tiny_image_tokenizer().quantize.embedding
    weight = book.weight.clone()
    latents = torch.randn(2, 3, 6)
    codes = torch.tensor([[0, 0, 1], [0, 1, 1]])
    book.update(latents, codes)
    for code in (0, 1):
        mean = 0.99 * weight[code] + 0.01 * latents[codes == code].sum(0)
        torch.testing.assert_close(book.weight[code], mean / (0.99 + 0.03), atol=1e-3, rtol=1e-3)
    # A code that nothing is near to stays where it is.
    torch.testing.assert_close(book.weight[2:], weight[2:], atol=1e-3, rtol=1e-3)


def test_pictures_are_converted_to_the_range_that_a_tokenizer_was_trained_with() -> None:
    torch.manual_seed(0)
    plain = tiny_image_tokenizer()
    own = tiny_image_tokenizer(input_mean=[0.5] * 3, input_std=[0.5] * 3)
    own.load_state_dict(plain.state_dict())
    raw = torch.rand(2, 3, SIZE, SIZE)
    mean, std = (
        torch.tensor(v).view(3, 1, 1)
        for v in ((0.46777044, 0.44531429, 0.40661017), (0.12221994, 0.12145835, 0.14380469))
    )
    with torch.no_grad():
        torch.testing.assert_close(
            own.latents((raw - mean) / std), plain.latents((raw - 0.5) / 0.5), atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"num_attributes": 0}, "num_attributes must be a positive whole number"),
        ({"norm_scale_init_value": -1}, "norm_scale_init_value must be a number above 0"),
        ({"mvc_drop_rate": 1.0}, "mvc_drop_rate is a share"),
        ({"num_codes": 5, "tokenizer_config": TOKENIZER}, "tokenizer has 12 codes and the head"),
    ],
)
def test_impossible_configurations_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_config(**fields)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"image_size": 50}, "can't be halved 5 times"),
        ({"group_norm_groups": 3}, "must divide into 3 groups"),
        ({"input_mean": [0.5] * 3}, "together, or neither"),
        ({"chunk_size": 0}, "chunk_size must be a positive"),
    ],
)
def test_impossible_tokenizers_are_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FashionViLImageTokenizerConfig(**TOKENIZER | fields)


def test_the_defaults_are_the_published_sizes() -> None:
    config = FashionViLConfig(tokenizer_config={})
    with torch.device("meta"):
        model = MODELS[PRETRAINING](config)
    assert sum(p.numel() for p in model.image_tokenizer.encoder.parameters()) == 41_101_312
    assert sum(p.numel() for p in model.model.image_encoder.parameters()) == 23_508_032
    assert sum(p.numel() for p in model.model.bert.parameters()) == 111_450_624
    assert config.hidden_size == 768 and config.image_size == 224 and config.tokenizer_config.grid_size == 7
    assert AutoModel.from_config(tiny_config()).__class__ is MODELS["FashionViLModel"]
    assert AutoConfig.for_model("fashionvil").mvc_text_length == 75
