"""FashionViL's model, heads, losses, checkpoints and preprocessing against the original's numbers."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from transformers import BertTokenizer, PreTrainedModel

from modeling.fashionvil import (
    FashionViLImageProcessor,
    FashionViLProcessor,
    contrastive_loss,
    query_loss,
    soft_cross_entropy,
    supervised_contrastive_loss,
    triplet_loss,
)
from modeling.fashionvil.convert_fashionvil import (
    COPIES,
    MODEL_CLASSES,
    config_from_official,
    model_from_official,
    model_key,
)
from modeling.fashionvil.modeling_fashionvil import masked_mean
from tests.parity.golden import GoldenCase, close


class Comparison:
    """The expected tensors of a case, each compared once; what nothing compared is a failure."""

    def __init__(self, case: GoldenCase, tolerance: dict[str, Any] | None = None) -> None:
        self.left = case.group("expected")
        self.tolerance = case.json["tolerances"] if tolerance is None else tolerance

    def __call__(self, name: str, actual: torch.Tensor) -> None:
        expected = self.left.pop(name)
        if expected.dtype.is_floating_point:
            close(actual.detach().reshape(expected.shape), expected, self.tolerance, name)
        else:
            assert torch.equal(actual.to(expected.dtype), expected), f"{name}: {actual} != {expected}"

    def done(self) -> None:
        assert not self.left, f"nothing compares {sorted(self.left)}"


def tensors_of(case: GoldenCase) -> dict[str, torch.Tensor]:
    """Tensors of all files that a case names, its own last."""
    merged = {}
    for name in case.json.get("files", []):
        merged |= _load(case.dir / name)
    return merged | case.tensors


@functools.lru_cache(maxsize=4)
def _load(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)


def group(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def pixels(images: torch.Tensor) -> torch.Tensor:
    """(batch, 3, size, size) uint8 -> float32, normalised by the processor's constants."""
    return FashionViLImageProcessor().normalize(images.permute(0, 2, 3, 1))


def texts(inputs: dict[str, torch.Tensor], rows: slice = slice(None)) -> dict[str, torch.Tensor]:
    names = {"input_ids": "input_ids", "attention_mask": "input_mask", "token_type_ids": "segment_ids"}
    return {ours: inputs[theirs][rows] for ours, theirs in names.items()}


def build(case: GoldenCase, kind: str, **changes: Any) -> tuple[PreTrainedModel, dict[str, torch.Tensor]]:
    """A model of the case's weights through the converter, in evaluation mode, and the case's inputs."""
    config, tensors = case.json["config"], tensors_of(case)
    weights, inputs = group(tensors, "weights."), group(tensors, "inputs.")
    keep = {
        "classification": ("image_encoder.", "model.bert.", "model.classifier."),
        "retrieval": ("image_encoder.", "model.bert.", "model.norm_layer."),
        "composition": ("image_encoder.", "model.bert.", "model.norm_layer."),
    }.get(kind)
    if keep:
        # These cases name a file with the pre-training heads as well.
        weights = {name: value for name, value in weights.items() if name.startswith(keep)}
    tokenizer = config.get("image_tokenizer", {})
    model = model_from_official(
        weights,
        kind,
        text_heads=config["bert"]["num_attention_heads"],
        tokenizer={"image_size": tokenizer.get("resolution", 224), "group_norm_groups": _groups(tokenizer)},
        image_size=inputs["image_u8"].shape[-1],
        **{"bypass_transformer": config.get("bypass_transformer", True), **changes},
    )
    for name, size in config["bert"].items():
        if name != "hidden_act" and hasattr(model.config.text_config, name):
            assert getattr(model.config.text_config, name) == size, name
    assert model.config.vision_feature_dim == config["visual_embedding_dim"]
    return model, inputs


def _groups(tokenizer: dict[str, Any]) -> int:
    assert tokenizer.get("group_norm_eps", 1e-6) == 1e-6
    return tokenizer.get("group_norm_groups", 32)


def in_training(model: PreTrainedModel) -> PreTrainedModel:
    """The model in training mode without dropout, and without gradients of a step before."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    model.zero_grad()
    return model


def check_gradients(case: GoldenCase, model: PreTrainedModel, kind: str) -> None:
    """Norm of every parameter's gradient, by the official names; parameters that are not listed have none."""
    tolerance = case.json["gradient_tolerances"]
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    norms = case.json["gradient_l2_norms_train"]
    for key, expected in norms.items():
        gradient = gradients.pop(model_key(key, kind))
        actual = torch.zeros(()) if gradient is None else gradient.norm()
        close(actual, torch.tensor(expected), tolerance, f"gradient of {key}")
    for key in [*case.json.get("parameters_without_gradient", []), *case.json.get("frozen_parameters", [])]:
        gradient = gradients.pop(model_key(key, kind), None)
        assert gradient is None or not gradient.any(), f"a gradient reaches {key}"
    unlisted = [name for name, gradient in gradients.items() if gradient is not None and gradient.any()]
    assert not unlisted, f"gradients that the original doesn't have: {unlisted}"


def check_pretrain_model(case: GoldenCase) -> None:
    """The shared weights alone: every entry has its place."""
    model, inputs = build(case, "pretraining")
    sizes = case.json.get("pretraining_config", {})
    assert model.config.num_attributes == sizes.get("pac_classes", model.config.num_attributes)
    assert model.config.num_codes == sizes.get("mpfc_classes", model.config.num_codes)
    for name in ("image_u8", "dv_image_u8"):
        with torch.no_grad():
            assert model(pixels(inputs[name]), **texts(inputs)).loss.isfinite()


def check_encoders(case: GoldenCase) -> None:
    comparison = Comparison(case)
    model, inputs = build(case, "pretraining", bypass_transformer=True)
    images, text = pixels(inputs["image_u8"]), texts(inputs)
    inner, bert, norm = model.model, model.model.bert, model.contrastive_norm
    with torch.no_grad():
        grid = inner.grid(images)
        comparison("grid_tokens", grid)
        comparison("image_embedding_output", bert.embeddings(grid=grid))
        comparison("text_embedding_output", bert.embeddings(text["input_ids"], token_type_ids=text["token_type_ids"]))
        comparison("image_tokens_bypass", inner.encode_image(grid))
        comparison("image_mean_bypass", model.get_image_features(images))
        comparison("image_feature_bypass", norm(model.get_image_features(images)))
        states = inner.encode_text(**text)
        # What the original gives for padding is given too, though nothing reads it.
        comparison("text_tokens", states)
        comparison("text_pooled", bert.pooler(states))
        comparison("text_mean", masked_mean(states, text["attention_mask"]))
        comparison("text_feature", norm(model.get_text_features(**text)))
        fused = inner(images, **text)
        comparison("joint_tokens", fused.fused_tokens)
        comparison("joint_pooled", fused.fused_features)
        comparison("composed_feature", norm(model.get_query_features(images, **text)))
        through, _ = build(case, "pretraining", bypass_transformer=False)
        states = through.model.encode_image(grid)
        comparison("image_tokens_transformer", states)
        comparison("image_pooled_transformer", through.model.bert.pooler(states))
        comparison("image_feature_transformer", through.contrastive_norm(through.get_image_features(images)))
    comparison.done()


def check_vqvae_tokenizer(case: GoldenCase) -> None:
    tensors, sizes = tensors_of(case), case.json["config"]
    prefix = "weights.model.image_tokenizer."
    weights = group(tensors, prefix) or group(case.tensors, "weights.")
    model = model_from_official(
        weights, "tokenizer", tokenizer={"image_size": sizes["resolution"], "group_norm_groups": _groups(sizes)}
    )
    config = model.config
    told = {
        "num_codes": sizes["num_tokens"],
        "code_dim": sizes["codebook_dim"],
        "hidden_dim": sizes["hidden_dim"],
        "channel_multipliers": sizes["ch_mult"],
        "num_res_blocks": sizes["num_res_blocks"],
        "latent_dim": sizes["z_channels"],
        "attention_resolutions": sizes["attn_resolutions"],
    }
    assert {name: getattr(config, name) for name in told} == told
    images = pixels(tensors["inputs.image_u8"])
    comparison = Comparison(case)
    with torch.no_grad():
        comparison("z", model.latents(images))
        codes = model.encode(images)
        comparison("z_q", model.quantize.vectors(codes))
        comparison("indices", codes)
        for size in (1, 3, len(images)):
            # The original takes multiples of eight only.
            config.chunk_size = size
            assert torch.equal(model.encode(images), codes)
    comparison.done()


def _compare_task(
    case: GoldenCase, kind: str, inputs_of: Callable[[dict], dict], more: Callable, **options: Any
) -> None:
    """A task in evaluation mode, then in training mode with its gradients.

    Args:
        inputs_of: the case's inputs -> the arguments of `forward`.
        more: compares what else the case expects, from (comparison, output in evaluation, in training).
        options: fields of the configuration.
    """
    model, inputs = build(case, kind, **options)
    arguments = inputs_of(inputs)
    comparison = Comparison(case)
    with torch.no_grad():
        evaluated = model(**arguments)
    comparison("loss_eval" if "loss_eval" in comparison.left else "loss", evaluated.loss)
    trained = in_training(model)(**arguments)
    trained.loss.backward()
    comparison("loss_train", trained.loss)
    check_gradients(case, model, kind)
    if "grad_projection_bias" in comparison.left:
        comparison("grad_projection_bias", model.model.bert.embeddings.projection.bias.grad)
    if "grad_norm_s" in comparison.left:
        comparison("grad_norm_s", model.contrastive_norm.norm_s.grad)
    more(comparison, evaluated, trained)
    comparison.done()


def _contrast(comparison: Comparison, evaluated, trained) -> None:
    comparison("scores", evaluated.query_embeds)
    comparison("targets", evaluated.target_embeds)


def check_pretrain_itc(case: GoldenCase) -> None:
    def arguments(inputs: dict) -> dict:
        return {"task": "itc", "pixel_values": pixels(inputs["image_u8"]), **texts(inputs)}

    _compare_task(case, "pretraining", arguments, _contrast)


def check_pretrain_icc(case: GoldenCase) -> None:
    def arguments(inputs: dict) -> dict:
        return {
            "task": "mvc",
            "pixel_values": pixels(inputs["image_u8"]),
            "second_pixel_values": pixels(inputs["dv_image_u8"]),
            "dropped_text": inputs["text_drop_index"],
            "dropped_image": inputs["patch_drop_index"],
            **texts(inputs),
        }

    _compare_task(case, "pretraining", arguments, _contrast)


def check_pretrain_pac(case: GoldenCase) -> None:
    def arguments(inputs: dict) -> dict:
        places = inputs["attribute_labels_nonzero"].T
        size = (len(inputs["image_u8"]), group(tensors_of(case), "weights.")["model.heads.pac.projection"].shape[1])
        targets = torch.zeros(size).index_put(tuple(places), inputs["attribute_labels_values"])
        return {
            "task": "pac",
            "pixel_values": pixels(inputs["image_u8"]),
            "attribute_targets": targets,
            **texts(inputs),
        }

    def more(comparison: Comparison, evaluated, trained) -> None:
        comparison("image_logits_first16", evaluated.logits[:, :16])
        comparison("text_logits_first16", evaluated.text_logits[:, :16])
        comparison("loss_image", evaluated.image_loss)
        comparison("loss_text", evaluated.text_loss)

    _compare_task(case, "pretraining", arguments, more)


def check_pretrain_mpfc(case: GoldenCase) -> None:
    def arguments(inputs: dict) -> dict:
        return {
            "task": "mpfc",
            "pixel_values": pixels(inputs["image_u8"]),
            "patch_mask": inputs["image_masks"].bool(),
            **texts(inputs),
        }

    def more(comparison: Comparison, evaluated, trained) -> None:
        comparison("logits", evaluated.logits)
        comparison("targets", evaluated.labels)

    _compare_task(case, "pretraining", arguments, more)


def check_pretrain_mlm(case: GoldenCase) -> None:
    def arguments(inputs: dict) -> dict:
        labels = inputs["lm_label_ids"]
        return {
            "task": "mlm",
            "pixel_values": pixels(inputs["image_u8"]),
            "masked_input_ids": inputs["input_ids_masked"],
            # The original marks the others with -1.
            "mlm_labels": labels.masked_fill(labels == -1, -100),
            **texts(inputs),
        }

    def more(comparison: Comparison, evaluated, trained) -> None:
        comparison("logits_at_labels", evaluated.logits)

    _compare_task(case, "pretraining", arguments, more)


def check_pretrain_itm(case: GoldenCase) -> None:
    fill = case.json.get("diagonal_fill_value", -1)
    assert fill == -1, f"the original fills the diagonal with -1; the case says {fill}"

    def arguments(inputs: dict) -> dict:
        return {
            "task": "itm",
            "pixel_values": pixels(inputs["image_u8"]),
            "replace_text": inputs["replace_uniform"] > 0.5,
            **texts(inputs),
        }

    def more(comparison: Comparison, evaluated, trained) -> None:
        comparison("similarity_scaled", evaluated.similarity)
        comparison("hard_text_index", evaluated.negatives)
        comparison("logits", evaluated.logits)
        comparison("targets", evaluated.labels)
        comparison("logits_train", trained.logits)
        comparison("targets_train", trained.labels)

    _compare_task(case, "pretraining", arguments, more, official_itm_fill=True)


def check_downstream_contrastive(case: GoldenCase) -> None:
    model, inputs = build(case, "retrieval")
    images = pixels(inputs["image_u8"])
    comparison = Comparison(case)
    with torch.no_grad():
        output = model(images, **texts(inputs))
        several = model(images, **texts(inputs, slice(len(images) // 2)))
    comparison("scores", output.query_embeds)
    comparison("targets", output.target_embeds)
    comparison("loss", output.loss)
    comparison("multi_scores", several.query_embeds)
    comparison("multi_targets", several.target_embeds)
    comparison("multi_loss", several.loss)
    comparison.done()


def check_downstream_composition(case: GoldenCase) -> None:
    def arguments(inputs: dict) -> dict:
        return {
            "pixel_values": pixels(inputs["image_u8"]),
            "target_pixel_values": pixels(inputs["dv_image_u8"]),
            **texts(inputs),
        }

    _compare_task(case, "composition", arguments, _contrast)


def check_downstream_classification(case: GoldenCase) -> None:
    targets = case.group("inputs")["targets"]

    def arguments(inputs: dict) -> dict:
        return {"pixel_values": pixels(inputs["image_u8"]), "labels": targets, **texts(inputs)}

    def more(comparison: Comparison, evaluated, trained) -> None:
        assert evaluated.logits.shape[1] == case.json["num_labels"]
        comparison("logits", evaluated.logits)
        predictions = evaluated.logits.argmax(dim=1)
        comparison("accuracy", (predictions == targets).float().mean())
        scores = []
        for label in sorted({*predictions.tolist(), *targets.tolist()}):
            hits = ((predictions == label) & (targets == label)).sum()
            scores.append(2 * hits / ((predictions == label).sum() + (targets == label).sum()))
        comparison("macro_f1", torch.stack(scores).mean())

    _compare_task(case, "classification", arguments, more)


def check_csa_net(case: GoldenCase) -> None:
    config, inputs = case.json["config"], case.group("inputs")
    model = model_from_official(case.group("weights"), image_size=inputs["question_image_u8"].shape[-1])
    sizes = {"outfit_embedding_dim": "feature_dim", "outfit_categories": "n_categories"}
    sizes |= {"outfit_conditions": "n_conditions", "vision_feature_dim": "image_channel"}
    for ours, theirs in sizes.items():
        assert getattr(model.config, ours) == config[theirs], theirs
    comparison = Comparison(case)
    pairs = inputs["category_pair"]
    output = in_training(model)(pixels(inputs["question_image_u8"]), pixels(inputs["blank_image_u8"]), pairs)
    output.loss.backward()
    comparison("loss_train", output.loss)
    comparison("projected_question", output.item_features)
    comparison("subspace_attention", output.subspace_weights)
    comparison("fused_question_before_norm", model.fusion_module(output.item_features, output.subspace_weights))
    comparison("scores", output.query_embeds)
    comparison("targets", output.target_embeds)
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert sorted(frozen) == sorted(model_key(key, "outfits") for key in case.json["frozen_parameters"])
    check_gradients(case, model, "outfits")

    model.eval()
    questions, blanks = pixels(inputs["eval_question_image_u8"]), pixels(inputs["eval_blank_image_u8"])
    # Runs of one number are an outfit.
    index = inputs["eval_outfit_index"].unique_consecutive(return_inverse=True)[1]
    pairs = inputs["eval_category_pair"]
    with torch.no_grad():
        output = model(questions, blanks, pairs, outfit_index=index)
        comparison("eval_scores", output.query_embeds)
        comparison("eval_targets", output.target_embeds)
        # One outfit against its target, from features made before.
        rows = index == 0
        items, targets = model.get_image_features(questions[rows]), model.get_image_features(blanks[:1])
        score = model.score_candidates(items, pairs[rows, 0], targets, pairs[rows, 1][:1])
    close(score, output.logits[0, :1], case.json["tolerances"], "score of one outfit", factor=10)
    comparison.done()


def check_losses(case: GoldenCase) -> None:
    inputs = case.group("inputs")
    a, b, c, logits = (inputs[name] for name in ("a", "b", "c", "logits"))
    comparison = Comparison(case)
    comparison("contrastive_t1", contrastive_loss(a, b))
    comparison("contrastive_t0p07", contrastive_loss(a, b, temperature=0.07))
    comparison("bbc", query_loss(a, b))
    comparison("soft_label_ce", soft_cross_entropy(logits, inputs["soft_targets"]))
    comparison("soft_label_ce_all_zero_targets", soft_cross_entropy(logits, torch.zeros_like(logits)))
    both, labels = torch.cat([a, b]), inputs["labels"].repeat(2)
    comparison("supcon_t1", supervised_contrastive_loss(both, labels, official_smoothing=True))
    comparison("triplet_margin0p3", triplet_loss(a, b, c, margin=0.3))
    if "ce_ignore_minus1" in comparison.left:
        comparison("ce_ignore_minus1", F.cross_entropy(logits, inputs["hard_targets"], ignore_index=-1))
    comparison.done()


# Sections of the layout -> the checkpoint that they make up, and its number of parameters' name.
LAYOUTS = {
    "pretraining": (("image_encoder", "bert", "pretraining_rest", "image_tokenizer"), "pretraining_total"),
    "retrieval": (("image_encoder", "bert", "contrastive_rest"), "contrastive_total"),
    "composition": (("image_encoder", "bert", "composition_rest"), "composition_total"),
    "classification": (("image_encoder", "bert", "classification_rest"), "classification_total"),
    "outfits": (("image_encoder", "csa_net_rest"), "csa_net_total"),
    "tokenizer": (("image_tokenizer",), "image_tokenizer"),
    "encoders": (("image_encoder", "bert"), None),
}


def check_checkpoint_layout(case: GoldenCase) -> None:
    """Names and shapes of every full-size checkpoint, and its number of parameters, without their memory."""
    sections, counts = case.json["sections"], case.json["parameter_counts"]
    assert {name for parts, _ in LAYOUTS.values() for name in parts} >= sections.keys()
    for kind, (parts, total) in LAYOUTS.items():
        entries = {name: entry for part in parts for name, entry in sections[part].items()}
        if kind == "tokenizer":
            entries = {name.removeprefix("model.image_tokenizer."): entry for name, entry in entries.items()}
        state = {
            name: torch.empty(shape, dtype=getattr(torch, dtype), device="meta")
            for name, (shape, dtype) in entries.items()
        }
        config = config_from_official(state, kind)
        with torch.device("meta"):
            model = MODEL_CLASSES[kind](config)
        wanted = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        found = {
            model_key(name, kind): tuple(tensor.shape)
            for name, tensor in state.items()
            if not name.endswith("position_ids") and name not in COPIES
        }
        assert found == wanted, kind
        parameters = sum(parameter.numel() for parameter in model.parameters())
        assert total is None or parameters == counts[total], kind
        if kind == "outfits":
            trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
            assert trained == counts["csa_net_trainable"]


def check_image_preprocess(case: GoldenCase) -> None:
    image = case.group("inputs")["image_hwc_u8"].numpy()
    comparison = Comparison(case)
    stretched = {
        "resize256_crop224_every8": FashionViLImageProcessor(size=224, resize=256),
        "resize224_every8": FashionViLImageProcessor(size=224, resize=224),
    }
    means = []
    for name, processor in stretched.items():
        values = processor(image, return_tensors="pt")["pixel_values"][0]
        comparison(name, values[:, ::8, ::8])
        means.append(values.mean(dim=(1, 2)))
    comparison("means", torch.stack(means))
    comparison.done()


def check_text_tokenisation(case: GoldenCase) -> None:
    length = case.json["max_seq_length"]
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(case.json["vocab"])})
    processor = FashionViLProcessor(FashionViLImageProcessor(), tokenizer, max_text_length=length)
    rows = case.json["expected"]
    batch = processor(text=[row["text"] for row in rows], padding="max_length")
    trimmed = processor(text=[row["text"] for row in rows])
    for number, row in enumerate(rows):
        assert batch["input_ids"][number] == row["input_ids"], row["text"]
        assert batch["attention_mask"][number] == row["input_mask"], row["text"]
        # The model reads no types as zeros.
        assert not any(row["segment_ids"]), row["text"]
        kept = sum(row["input_mask"])
        assert tokenizer.convert_ids_to_tokens(row["input_ids"])[:kept] == row["tokens"][:kept], row["text"]
        width = len(trimmed["input_ids"][number])
        assert trimmed["input_ids"][number] == row["input_ids"][:width] and not any(row["input_ids"][width:])


CHECKS = {
    "pretrain_model": check_pretrain_model,
    "encoders": check_encoders,
    "vqvae_tokenizer": check_vqvae_tokenizer,
    "pretrain_itc": check_pretrain_itc,
    "pretrain_icc": check_pretrain_icc,
    "pretrain_pac": check_pretrain_pac,
    "pretrain_mpfc": check_pretrain_mpfc,
    "pretrain_mlm": check_pretrain_mlm,
    "pretrain_itm": check_pretrain_itm,
    "downstream_contrastive": check_downstream_contrastive,
    "downstream_composition": check_downstream_composition,
    "downstream_classification": check_downstream_classification,
    "csa_net": check_csa_net,
    "losses": check_losses,
    "checkpoint_layout": check_checkpoint_layout,
    "image_preprocess": check_image_preprocess,
    "text_tokenisation": check_text_tokenisation,
}
