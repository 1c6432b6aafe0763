"""The outfit models' mathematics against slow code: cells, losses, scores; what inputs give; initial values; errors."""

import math

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from modeling.bilstm import BiLSTMConfig, BiLSTMInceptionConfig, BiLSTMModel
from modeling.bilstm.inception_bilstm import ConvNorm, InceptionV3, ShiftedBatchNorm
from modeling.bilstm.losses_bilstm import sequence_loss, siamese_loss, unit, vse_loss
from modeling.bilstm.recurrent_bilstm import RecurrentCell, reversed_within
from tests.modeling.bilstm_examples import BACKBONES, tiny_config, tiny_inputs, tiny_model

CELLS = ["lstm", "gru", "rnn"]
LENGTHS = torch.tensor([3, 1, 4, 2])
MASK = torch.arange(4)[None] < LENGTHS[:, None]


def cell(kind: str) -> RecurrentCell:
    made = RecurrentCell(kind, 5, 6)
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    return made


# --- recurrent cells -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["lstm", "rnn"])
def test_cells_are_torchs_with_the_forget_bias_added(kind: str) -> None:
    ours, x = cell(kind), torch.randn(3, 7, 5)
    theirs = (nn.LSTM if kind == "lstm" else nn.RNN)(5, 6, batch_first=True)
    with torch.no_grad():
        theirs.weight_ih_l0.copy_(ours.weight_ih)
        theirs.weight_hh_l0.copy_(ours.weight_hh)
        theirs.bias_ih_l0.copy_(ours.bias)
        theirs.bias_hh_l0.zero_()
        if kind == "lstm":
            theirs.bias_hh_l0[6:12] = 1
    outputs, _ = theirs(x)
    torch.testing.assert_close(ours(x), outputs)


def test_a_gru_resets_before_its_product() -> None:
    ours, x = cell("gru"), torch.randn(2, 4, 5)
    hidden = torch.zeros(2, 6)
    (wr, wu, wc), (vr, vu, vc), (br, bu, bc) = (part.chunk(3) for part in (ours.weight_ih, ours.weight_hh, ours.bias))
    for number, output in enumerate(ours(x).unbind(1)):
        step = x[:, number]
        reset = torch.sigmoid(step @ wr.T + hidden @ vr.T + br)
        update = torch.sigmoid(step @ wu.T + hidden @ vu.T + bu)
        hidden = update * hidden + (1 - update) * torch.tanh(step @ wc.T + (reset * hidden) @ vc.T + bc)
        torch.testing.assert_close(output, hidden)


@pytest.mark.parametrize("kind", CELLS)
def test_steps_are_the_whole_sequence(kind: str) -> None:
    ours, x = cell(kind), torch.randn(3, 5, 5)
    whole, state = ours(x), ours.start(x)
    for number in range(5):
        output, state = ours.step(x[:, number], state)
        torch.testing.assert_close(output, whole[:, number])
    assert ours(x[:, :0]).shape == (3, 0, 6) and ours(x[:0]).shape == (0, 5, 6)


def test_only_the_items_are_reversed() -> None:
    x = torch.arange(24).reshape(4, 3, 2)
    found = reversed_within(x, torch.tensor([3, 1, 0, 2]))
    wanted = torch.stack([x[0].flip(0), x[1], x[2], torch.stack([x[3, 1], x[3, 0], x[3, 2]])])
    assert torch.equal(found, wanted)
    assert reversed_within(x[..., 0], torch.tensor([2, 2, 2, 2])).tolist()[0] == [2, 0, 4]


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_reading_is_stepping_over_each_outfit_alone(kind: str, direction: str) -> None:
    model, items = tiny_model(None, cell=kind), torch.randn(4, 4, 12)
    outputs, predictions = model.read(items, LENGTHS, direction)
    assert outputs.shape == (4, 4, 10) and predictions.shape == (4, 4, 12)
    for row, length in enumerate(LENGTHS.tolist()):
        order = range(length) if direction == "forward" else range(length - 1, -1, -1)
        state = None
        for place, item in enumerate(order):
            prediction, state = model.step(items[row, item][None], state, direction)
            torch.testing.assert_close(predictions[row, place], prediction[0])
            torch.testing.assert_close(outputs[row, place], state[0][0])
        assert not outputs[row, length:].any()


# --- losses --------------------------------------------------------------------------------------------------------


def _cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(a @ b / a.norm() / b.norm())


def test_the_visual_semantic_loss_is_that_of_loops() -> None:
    images, texts = torch.randn(2, 2, 4, 6, dtype=torch.float64)
    kept = torch.tensor([[1, 0, 1, 1], [0, 1, 0, 1]]).bool()
    pairs, total = list(zip(images[kept], texts[kept], strict=True)), 0.0
    for i, (image, text) in enumerate(pairs):
        for j, (other_image, other_text) in enumerate(pairs):
            if i != j:
                total += max(0, 0.4 - _cosine(text, image) + _cosine(text, other_image))
                total += max(0, 0.4 - _cosine(text, image) + _cosine(other_text, image))
    assert vse_loss(images, texts, kept, 0.4).item() == pytest.approx(total / len(pairs) ** 2)
    assert total > 0 and vse_loss(images, texts, kept, 0.2) != vse_loss(images, texts, kept, 0.4)
    assert vse_loss(images, texts, torch.zeros_like(kept), 0.4) == 0
    assert not unit(torch.zeros(3)).any()


def _slow_sequence_loss(predictions, items, lengths, official_end_columns, identities=None) -> float:
    """Every item read against every next item of the batch and the end, one number at a time."""
    columns = [(row, place) for row, length in enumerate(lengths) for place in range(1, length)]
    ends = len(lengths) if official_end_columns else 1
    terms = []
    for row, length in enumerate(lengths):
        for place in range(length):
            prediction = predictions[row, place]
            right, exponents = 0.0, [0.0] * ends
            for column in columns:
                score = float(prediction @ items[column])
                if column == (row, place + 1):
                    right = score
                elif identities is not None and place + 1 < length and identities[column] == identities[row, place + 1]:
                    continue
                exponents.append(score)
            terms.append(math.log(sum(map(math.exp, exponents))) - right)
    return sum(terms) / len(terms)


@pytest.mark.parametrize("official", [False, True])
def test_the_loss_of_sequences_is_that_of_loops(official: bool) -> None:
    predictions, items = torch.randn(2, 4, 4, 6)
    found = sequence_loss(predictions, items, MASK, official).item()
    assert found == pytest.approx(_slow_sequence_loss(predictions, items, LENGTHS.tolist(), official), abs=1e-5)
    assert found != pytest.approx(_slow_sequence_loss(predictions, items, LENGTHS.tolist(), not official), abs=1e-3)
    changed = torch.where(MASK[..., None], items, 1e3)
    assert sequence_loss(predictions, changed, MASK, official).item() == found


def test_a_product_is_no_wrong_answer_of_itself() -> None:
    predictions, items = torch.randn(2, 4, 4, 6)
    # 7 is the second item of three outfits, and the first one of another, where it is nobody's next item.
    identities = torch.tensor([[0, 7, 5, 9], [7, 9, 9, 9], [1, 7, 2, 3], [4, 7, 9, 9]])
    found = sequence_loss(predictions, items, MASK, False, identities).item()
    lengths = LENGTHS.tolist()
    assert found == pytest.approx(_slow_sequence_loss(predictions, items, lengths, False, identities), abs=1e-5)
    assert found < sequence_loss(predictions, items, MASK, False).item() - 1e-3
    alone = torch.arange(16).reshape(4, 4)
    assert sequence_loss(predictions, items, MASK, False, alone).item() == pytest.approx(
        _slow_sequence_loss(predictions, items, lengths, False), abs=1e-5
    )


def test_an_end_costs_the_logarithm_of_the_batch_in_the_original_only() -> None:
    # Every prediction is far from all items, so the end is certain, and the ends of the original share it.
    items = torch.ones(4, 1, 6)
    mask = torch.ones(4, 1).bool()
    assert sequence_loss(-items, items, mask, True).item() == pytest.approx(math.log(4))
    assert sequence_loss(-items, items, mask, False).item() == pytest.approx(0)
    assert sequence_loss(items, items, torch.zeros_like(mask), False) == 0


@pytest.mark.parametrize("official", [False, True])
def test_the_siamese_loss_is_that_of_loops(official: bool) -> None:
    images = torch.randn(4, 4, 3)
    places = [(row, place) for row in range(4) for place in range(4 if official else int(LENGTHS[row]))]
    apart, alike = [], []
    for first in places:
        for second in places:
            cosine = _cosine(images[first], images[second])
            if first[0] != second[0]:
                apart.append(max(0, cosine - 0.3))
            elif official or first != second:
                alike.append(cosine)
    wanted = sum(apart) / len(apart) - sum(alike) / len(alike)
    assert siamese_loss(images, MASK, 0.3, official).item() == pytest.approx(wanted, abs=1e-5)
    single = siamese_loss(images[:1], MASK[1:2], 0.3, False)
    assert single == 0, "one item of one outfit has no pairs"


def test_factors_weigh_the_losses_and_switch_them_off() -> None:
    inputs = tiny_inputs(tiny_model("vit"))
    for factors in ((0.5, 2.0, 0.25), (0.0, 1.0, 1.0), (1.0, 0.0, 0.0)):
        model = tiny_model(
            "vit", **dict(zip(("vse_factor", "forward_factor", "backward_factor"), factors, strict=True))
        )
        output = model(**inputs)
        losses = [output.vse_loss, output.forward_loss, output.backward_loss]
        wanted = sum(factor * loss for factor, loss in zip(factors, losses, strict=True) if factor)
        torch.testing.assert_close(output.loss, wanted)
        assert (output.vse_loss is None) == (not factors[0])
        assert all(loss.item() > 0 for loss in losses if loss is not None)


def test_the_visual_semantic_loss_reads_names_of_two_words() -> None:
    model = tiny_model("vit")
    inputs = tiny_inputs(model)
    output = model(**inputs)
    counts = inputs["attention_mask"].sum(-1)
    kept = (counts > 1) & inputs["item_mask"].bool()
    # "blue" has one word and others none; "is blue" of the last outfit counts; nothing beyond the outfits does.
    assert kept.int().tolist() == [[1, 0, 1], [1, 0, 0], [0, 1, 0]]
    torch.testing.assert_close(output.vse_loss, vse_loss(output.image_embeds, output.text_embeds, kept, 0.2))


# --- scores --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CELLS)
@torch.no_grad()
def test_outfits_score_as_one_at_a_time(kind: str) -> None:
    model, items, bank = tiny_model(None, cell=kind), torch.randn(4, 4, 12), torch.randn(9, 12)
    wanted = {"forward": [], "backward": []}
    for row, length in enumerate(LENGTHS.tolist()):
        for direction in wanted:
            outfit = list(items[row, :length])
            outfit = outfit if direction == "forward" else outfit[::-1]
            state, terms = None, []
            for item, after in zip(outfit, [*outfit[1:], torch.zeros(12)], strict=True):
                prediction, state = model.step(item[None], state, direction)
                scores = torch.cat([bank, torch.zeros(1, 12)]).double() @ prediction[0].double()
                terms.append(float(prediction[0].double() @ after.double() - scores.logsumexp(0)))
            wanted[direction].append(sum(terms) / length)
    for block in (1, 4, 9, 4096):
        found = model.score_outfits(items, LENGTHS, bank, block)
        for direction, scores in wanted.items():
            assert found[direction].tolist() == pytest.approx(scores, abs=1e-5), (direction, block)
    padded = torch.where(MASK[..., None], items, 1e4)
    torch.testing.assert_close(model.score_outfits(padded, LENGTHS, bank)["backward"], found["backward"])


@pytest.mark.parametrize("direction", ["both", "forward", "backward"])
def test_candidates_score_as_one_at_a_time(direction: str) -> None:
    model, items, candidates = tiny_model(None), torch.randn(4, 4, 12), torch.randn(4, 3, 12)
    # A blank in the middle, at the end of one item, in front, at the end.
    blanks = torch.tensor([2, 2, 1, 3])
    found = model.score_candidates(items, LENGTHS, blanks, candidates, direction)
    assert found.dtype == torch.float64
    for row, (length, blank) in enumerate(zip(LENGTHS.tolist(), blanks.tolist(), strict=True)):
        before, after = items[row, : blank - 1], items[row, blank - 1 : length].flip(0)
        parts = []
        for name, read in (("forward", before), ("backward", after)):
            state = None
            for item in read:
                prediction, state = model.step(item[None], state, name)
            if len(read) and direction in ("both", name):
                parts.append((candidates[row] @ prediction[0]).softmax(0))
        if parts:
            assert found[row].tolist() == pytest.approx((sum(parts) / len(parts)).tolist(), abs=1e-5), row
        else:
            assert found[row].isnan().all(), row
    assert found.isnan().any() == (direction != "both")


def test_pooled_scores_are_cosines_with_the_mean() -> None:
    model, images, candidates = tiny_model("vit", variant="vse"), torch.randn(4, 4, 12), torch.randn(4, 3, 12)
    found = model.score_pooled(torch.where(MASK[..., None], images, 1e3), LENGTHS, candidates)
    for row, length in enumerate(LENGTHS.tolist()):
        mean = images[row, :length].mean(0)
        wanted = [(_cosine(mean, candidate) + 1) / 2 for candidate in candidates[row]]
        assert found[row].tolist() == pytest.approx(wanted, abs=1e-5)


# --- inputs and outputs --------------------------------------------------------------------------------------------


def test_features_are_those_of_forward() -> None:
    for item_inputs in ("image", "text", "both"):
        variant = "bilstm-no-vse" if item_inputs == "text" else "bilstm"
        model = tiny_model("vit", item_inputs=item_inputs, variant=variant)
        inputs = tiny_inputs(model)
        texts = {name: inputs[name].flatten(0, 1) for name in ("input_ids", "attention_mask")}
        with torch.no_grad():
            output = model(**inputs)
            given = texts if item_inputs != "image" else {}
            if item_inputs != "text":
                pixels = inputs["pixel_values"].flatten(0, 1)
                torch.testing.assert_close(model.get_image_features(pixels), output.image_embeds.flatten(0, 1))
                pooled = model.get_pooled_features(pixels)
                torch.testing.assert_close(
                    model.get_image_features(image_features=pooled), output.image_embeds.flatten(0, 1)
                )
                given = given | {"pixel_values": pixels}
            torch.testing.assert_close(model.get_item_features(**given), output.item_embeds.flatten(0, 1))
            torch.testing.assert_close(model.get_text_features(**texts), output.text_embeds.flatten(0, 1))
        assert (output.vse_loss is None) == (variant == "bilstm-no-vse")


def test_texts_are_sums_and_items_means_of_words() -> None:
    model = tiny_model(None, variant="bilstm-no-vse", item_inputs="text")
    ids, mask = torch.tensor([[2, 5, 0], [7, 0, 0], [0, 0, 0]]), torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]])
    table, own = model.word_embedding.weight, model.item_word_embedding.weight
    for given in ({"input_ids": ids}, {"input_ids": ids, "attention_mask": mask}):
        zero = torch.zeros(12)
        torch.testing.assert_close(model.get_text_features(**given), torch.stack([table[2] + table[5], table[7], zero]))
        torch.testing.assert_close(model.get_item_features(**given), torch.stack([(own[2] + own[5]) / 2, own[7], zero]))


def test_one_item_is_an_outfit_of_one() -> None:
    model = tiny_model("vit", item_inputs="both")
    inputs = tiny_inputs(model)
    first = {name: value[:, :1] for name, value in inputs.items()}
    single = {name: value[:, 0] for name, value in first.items() if name != "item_mask"}
    torch.testing.assert_close(model(**single).loss, model(**first).loss)
    output = model(**inputs, return_loss=False)
    assert output.loss is None and output.item_embeds is not None
    assert isinstance(model(**inputs, return_dict=False), tuple)


def test_dropout_is_that_of_training() -> None:
    model = tiny_model(None, recurrent_dropout=0.5)
    inputs = tiny_inputs(model)
    assert model(**inputs).loss == model(**inputs).loss
    model.train()
    outputs = model(**inputs).forward_outputs
    zeros = (outputs[inputs["item_mask"].bool()] == 0).float().mean()
    assert 0.25 < zeros < 0.75
    pictures = tiny_model("vit", train_batch_norm=True, image_dropout=0.5, recurrent_dropout=0.0)
    inputs = tiny_inputs(pictures)
    assert pictures(**inputs).loss == pictures(**inputs).loss
    pictures.train()
    assert pictures(**inputs).loss != pictures(**inputs).loss
    frozen = tiny_model("vit", image_dropout=0.5, recurrent_dropout=0.0).train()
    assert frozen(**inputs).loss == frozen(**inputs).loss, "features of a frozen network are whole"


@pytest.mark.parametrize("train_batch_norm", [False, True])
def test_batch_norm_follows_the_batches_only_if_told(train_batch_norm: bool) -> None:
    for vision in ("inception", "mobilenet"):
        model = tiny_model(vision, train_batch_norm=train_batch_norm)
        before = {name: value.clone() for name, value in model.named_buffers() if "running" in name}
        assert before
        model.train()(**tiny_inputs(model))
        moved = [name for name, value in model.named_buffers() if name in before and not value.equal(before[name])]
        assert bool(moved) == train_batch_norm


def test_batch_norm_keeps_the_biased_variance() -> None:
    norm, x = ShiftedBatchNorm(2, 1e-3, 0.9).train(), torch.randn(3, 2, 2, 2) * 3 + 1
    norm(x)
    for channel in range(2):
        values = x[:, channel].flatten()
        assert norm.running_mean[channel].item() == pytest.approx(0.1 * values.mean().item(), abs=1e-6)
        biased = ((values - values.mean()) ** 2).mean().item()
        assert norm.running_var[channel].item() == pytest.approx(0.9 + 0.1 * biased, abs=1e-6)
    norm.eval()
    wanted = (x - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + 1e-3).sqrt()
    torch.testing.assert_close(norm(x), wanted + norm.bias[:, None, None])


def test_the_penalty_is_half_the_squared_kernels() -> None:
    network = tiny_model("inception").vision_model
    kernels = [layer.conv.weight for layer in network.modules() if isinstance(layer, ConvNorm)]
    assert len(kernels) == 94
    wanted = sum(float((kernel.detach().double() ** 2).sum()) for kernel in kernels) / 2
    assert network.convolution_penalty().item() == pytest.approx(wanted, rel=1e-5)


# --- construction --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CELLS)
def test_fresh_weights_are_the_originals(kind: str) -> None:
    # Memory that was used before, so that weights nobody sets don't happen to be zero.
    for _ in range(50):
        torch.full((30, 12), 1e20)
    sizes = {"embedding_dim": 40, "hidden_size": 30, "vocab_size": 50, "item_inputs": "both", "cell": kind}
    model = BiLSTMModel(tiny_config("inception", **sizes))
    for name, parameter in model.named_parameters():
        if name.startswith("vision_model."):
            continue
        if name.endswith("bias"):
            gates = parameter[:60] if kind == "gru" and "cell" in name else parameter[:0]
            assert (gates == 1).all() and not parameter[len(gates) :].any(), name
        elif name == "item_word_embedding.weight":  # the original has none
            assert 0.28 < parameter.std() < 0.32
        else:
            assert 0.07 < parameter.abs().max() <= 0.08, name
            assert parameter.std().item() == pytest.approx(0.08 / math.sqrt(3), rel=0.1), name
    for norm in (module for module in model.modules() if isinstance(module, ShiftedBatchNorm)):
        assert not norm.bias.any() and not norm.running_mean.any() and (norm.running_var == 1).all()
    kernel = model.vision_model.Mixed_6e.branch7x7_2.conv.weight
    assert kernel.std().item() == pytest.approx(math.sqrt(2 / kernel[0].numel()), rel=0.3)
    narrow = BiLSTMModel(tiny_config(None, initializer_range=0.01, cell=kind))
    assert 0.005 < narrow.forward_cell.weight_hh.abs().max() <= 0.01


def test_loading_fills_what_is_missing_with_fresh_weights(tmp_path) -> None:
    from safetensors.torch import load_file, save_file

    model = tiny_model(None, cell="gru")
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["forward_cell.weight_hh"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    again = BiLSTMModel.from_pretrained(tmp_path)
    assert 0 < again.forward_cell.weight_hh.abs().max() <= 0.08
    assert torch.equal(again.forward_cell.bias, model.forward_cell.bias), "what was loaded stays"


def test_variants_have_their_parts() -> None:
    parts = {"image_embedding", "word_embedding"}
    recurrent = {"item_embedding", "forward_cell", "forward_head", "backward_cell", "backward_head"}
    wanted = {"bilstm": parts | recurrent, "bilstm-no-vse": parts | recurrent, "vse": parts}
    wanted["siamese"] = {"image_embedding"}
    for variant, names in wanted.items():
        model = tiny_model(None, variant=variant)
        assert {name for name, _ in model.named_children()} == names, variant
        assert model.input_modalities == (("text",) if model.config.has_text else ())
    assert tiny_model("vit", variant="siamese").input_modalities == ("image",)
    assert tiny_model("vit").input_modalities == ("image", "text")
    text = tiny_model(None, vision_feature_dim=None, variant="bilstm-no-vse", item_inputs="text")
    assert not hasattr(text, "image_embedding") and text.get_input_embeddings() is text.word_embedding
    with pytest.raises(NotImplementedError, match="'siamese' has no word table"):
        tiny_model("vit", variant="siamese").get_input_embeddings()


def test_the_released_size_is_that_of_the_paper() -> None:
    with torch.device("meta"):
        model = BiLSTMModel(BiLSTMConfig(vision_config={"model_type": "bilstm_inception_v3"}))
    count = sum(value.numel() for value in model.state_dict().values())
    assert count == 30_035_233 - 1, "the released file holds the step too"
    assert model.vision_model.channels == model.config.vision_feature_dim == 2048


@pytest.mark.parametrize("vision", [None, *BACKBONES])
def test_configurations_survive_json(vision: str | None, tmp_path) -> None:
    config = tiny_config(vision, cell="gru", official_end_columns=True)
    model = BiLSTMModel(config)
    model.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert type(again) is BiLSTMConfig and type(again.vision_config) is type(config.vision_config)
    assert again.has_inception == (vision == "inception") and again.official_end_columns and again.cell == "gru"
    assert again.vision_feature_dim == config.vision_feature_dim == model.image_embedding.in_features
    assert again.image_size == {"inception": 75, "vit": 32, "mobilenet": 32}.get(vision, 224)
    assert type(AutoModel.from_pretrained(tmp_path)) is BiLSTMModel


@pytest.mark.parametrize("size", [75, 100, 139])
def test_inception_takes_pictures_of_any_size_from_75(size: int) -> None:
    network = InceptionV3(BiLSTMInceptionConfig(depth_multiplier=1 / 32, min_depth=2, image_size=size))
    assert network(torch.randn(2, 3, size, size)).shape == (2, network.channels)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"variant": "lstm"}, "variant must be one of"),
        ({"cell": "LSTM"}, "cell must be one of"),
        ({"item_inputs": "words"}, "item_inputs must be one of"),
        ({"item_inputs": "text"}, "the variant is \"bilstm-no-vse\", not 'bilstm'"),
        ({"hidden_size": 0}, "hidden_size must be a positive whole number; got 0"),
        ({"embedding_dim": 1.5}, "embedding_dim must be a positive"),
        ({"max_items": True}, "max_items must be a positive"),
        ({"recurrent_dropout": 1.0}, r"recurrent_dropout must lie in \[0, 1\); got 1.0"),
        ({"image_dropout": -0.1}, "image_dropout must lie"),
        ({"vision_config": None}, "give their width as vision_feature_dim"),
        ({"vision_config": {"model_type": "no_such_model"}}, "no_such_model"),
        ({"vision_config": {"model_type": "bilstm_inception_v3", "image_size": 74}}, "75 pixels or more.*got 74"),
        ({"vision_config": {"depth_multiplier": 0}}, "depth_multiplier must be above 0"),
        ({"vision_config": {"min_depth": 0}}, "min_depth must be a positive"),
    ],
)
def test_impossible_configurations_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_config("vit", **changes)


def test_wrong_inputs_are_named() -> None:
    model, plain = tiny_model("vit", item_inputs="both"), tiny_model(None)
    siamese, text = tiny_model("vit", variant="siamese"), tiny_model(None, variant="bilstm-no-vse", item_inputs="text")
    inputs = tiny_inputs(model)
    pixels, features = inputs["pixel_values"][:, 0], torch.randn(2, 6)
    calls = [
        (lambda: model(), "pixel_values or image_features, one of the two"),
        (lambda: model.get_image_features(), "pixel_values or image_features, one of the two"),
        (lambda: plain(pixel_values=pixels), "no image network: it reads image_features"),
        (lambda: plain(pixel_values=pixels, image_features=features), "one of the two"),
        (lambda: model(pixel_values=inputs["pixel_values"]), 'item_inputs is "both": give the items\' input_ids'),
        (lambda: model.get_text_features(torch.tensor([[10]])), "holds 10; the word table has 10 rows"),
        (lambda: siamese.get_text_features(torch.tensor([[1]])), "'siamese' has no word table"),
        (lambda: siamese.get_item_features(pixels), "get_item_features needs recurrent networks"),
        (lambda: siamese.score_outfits(None, None, None), "score_outfits needs recurrent networks"),
        (lambda: siamese.score_candidates(None, None, None, None), "score_candidates needs recurrent networks"),
        (lambda: text.get_image_features(image_features=features), "the model reads no pictures"),
    ]
    for call, message in calls:
        with pytest.raises(ValueError, match=message):
            call()
    mask = inputs["item_mask"].clone()
    mask[1] = 0
    with pytest.raises(ValueError, match="Outfit 1 of the batch has no items"):
        model(**inputs | {"item_mask": mask})
    items, candidates = torch.randn(2, 3, 12), torch.randn(2, 4, 12)
    lengths = torch.tensor([3, 2])
    for blank in (0, 4):
        with pytest.raises(ValueError, match=f"question 1: the blank is at {blank} of 3 items"):
            plain.score_candidates(items, lengths, torch.tensor([4, blank]), candidates)
    with pytest.raises(ValueError, match="must be both, forward or backward; got 'left'"):
        plain.score_candidates(items, lengths, torch.tensor([1, 1]), candidates, "left")
