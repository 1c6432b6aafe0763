"""Losses, gradients, Inception, preprocessing and training steps of the outfit models against the original's numbers."""

import copy
import io

import numpy as np
import torch
from PIL import Image

from modeling.bilstm import BiLSTMInceptionConfig, BiLSTMModel
from modeling.bilstm.convert_bilstm import (
    model_from_official,
    to_official_variables,
)
from modeling.bilstm.image_processing_bilstm import BiLSTMImageProcessor, crop_or_pad, legacy_resize
from modeling.bilstm.inception_bilstm import InceptionV3, ShiftedBatchNorm
from modeling.bilstm.losses_bilstm import unit, vse_loss
from modeling.bilstm.names import IN_TORCH, inception_modules
from modeling.bilstm.recurrent_bilstm import reversed_within
from tests.parity.golden import GoldenCase, close

SKIPPED_OUTPUTS = {"global_norm_reported"}  # of the training program, see checks_bilstm_training


def official_model(case: GoldenCase, **options) -> BiLSTMModel:
    """The case's weights in a model with the original's quirks."""
    weights = {name: value.numpy() for name, value in case.group("weights").items()}
    if "f_logits/weights" in weights:  # cases about scoring leave out what it doesn't use
        size = weights["f_logits/weights"].shape[1]
        for name in ("image_embedding/weights", "rnn_image_embedding/weights"):
            weights.setdefault(name, np.eye(size, dtype=np.float32))
        weights.setdefault("seq_embedding/map", np.zeros((1, size), dtype=np.float32))
    config = case.json.get("config", {})
    known = {
        "vse_factor": "emb_loss_factor",
        "forward_factor": "f_rnn_loss_factor",
        "backward_factor": "b_rnn_loss_factor",
        "vse_margin": "emb_margin",
        "max_items": "number_set_images",
    }
    options = {ours: config[theirs] for ours, theirs in known.items() if theirs in config} | options
    options |= {"official_end_columns": True, "official_siamese_pairs": True}
    return model_from_official(weights, **options)


def batch_of(inputs: dict[str, torch.Tensor], step: int | None = None) -> dict[str, torch.Tensor]:
    """Model inputs; masks and captions narrower than the number of pictures are filled up."""
    inputs = {name: value if step is None else value[step] for name, value in inputs.items()}
    items = inputs["features"].shape[1]
    batch = {"image_features": inputs["features"], "item_mask": widened(inputs["input_mask"], items).bool()}
    if "cap_seqs" in inputs:
        batch["input_ids"] = widened(inputs["cap_seqs"].long(), items)
        batch["attention_mask"] = widened(inputs["cap_mask"].long(), items)
    return batch


def widened(x: torch.Tensor, items: int) -> torch.Tensor:
    """(B, L, ...) with zeros up to (B, items, ...)."""
    missing = items - x.shape[1]
    return torch.cat([x, x.new_zeros(len(x), missing, *x.shape[2:])], 1) if missing else x


def check_losses(case: GoldenCase) -> None:
    """All intermediate values, losses and gradients."""
    expected, tolerance = case.group("expected"), case.json["tolerances"]
    model = official_model(case)
    batch = batch_of(case.group("inputs"))
    output = model(**batch)
    output.loss.backward()
    seen = _values(model, batch, output)
    for name, value in seen.items():
        if name in expected:
            if expected[name].ndim == 3:  # texts are as wide as the longest outfit of the batch
                value = value[:, : expected[name].shape[1]]
            close(value, expected[name], tolerance, name)
    gradients = {name.removeprefix("grad."): value for name, value in expected.items() if name.startswith("grad.")}
    ours = official_gradients(model)
    for name, value in gradients.items():
        close(torch.from_numpy(ours[name]), value, tolerance, f"gradient of {name}")
    others = {name for name, value in ours.items() if name not in gradients and np.abs(value).max() > 0}
    assert not others, f"gradients that the original doesn't have: {others}"
    unread = {name for name in expected if not name.startswith("grad.")} - seen.keys() - SKIPPED_OUTPUTS
    assert not unread, f"nothing compares {unread}"
    back = to_official_variables(model)
    weights = case.group("weights")
    assert back.keys() == weights.keys()
    assert all(np.array_equal(back[name], weights[name].numpy()) for name in weights)


def _values(model: BiLSTMModel, batch: dict, output) -> dict[str, torch.Tensor]:
    """The model's values by the original's names."""
    seen = {"total_loss": output.loss, "image_embeddings": output.image_embeds}
    mask = batch["item_mask"]
    if model.config.variant == "siamese":
        images = unit(output.image_embeds.flatten(0, 1))
        return seen | {"scores": images @ images.T}
    if output.text_embeds is not None:
        kept = batch["attention_mask"].sum(-1) > 1
        images, texts = unit(output.image_embeds), unit(output.text_embeds)
        seen |= {
            "seq_embeddings": output.text_embeds,
            "norm_image_embeddings": images,
            "norm_seq_embeddings_padded": texts,
            "vse_scores": texts[kept] @ images[kept].T,
            "emb_loss_mask": kept.flatten(),
        }
    if output.vse_loss is not None:
        seen["emb_batch_loss"] = output.vse_loss
    elif output.text_embeds is not None:
        seen["emb_batch_loss"] = vse_loss(output.image_embeds, output.text_embeds, kept, model.config.vse_margin)
    if not model.config.has_recurrent:
        return seen
    lengths = mask.sum(1)
    seen |= {
        "rnn_image_embeddings": output.item_embeds,
        "lstm_outputs_fw": output.forward_outputs,
        "lstm_outputs_bw_natural_order": reversed_within(output.backward_outputs, lengths),
        "lstm_losses": output.forward_loss + output.backward_loss,
    }
    config = model.config
    seen["lstm_losses"] = sum(
        factor * loss
        for factor, loss in (
            (config.forward_factor, output.forward_loss),
            (config.backward_factor, output.backward_loss),
        )
        if factor > 0
    )
    for letter, direction in (("f", "forward"), ("b", "backward")):
        predictions = output[f"{direction}_predictions"]
        read = output.item_embeds if letter == "f" else reversed_within(output.item_embeds, lengths)
        following = torch.cat([read[:, 1:], torch.zeros_like(read[:, :1])], 1)
        is_next = torch.cat([mask[:, 1:], torch.zeros_like(mask[:, :1])], 1)
        targets = (following * is_next[..., None])[mask]
        seen |= {
            f"{letter}_pred_all": predictions.flatten(0, 1),
            f"{letter}_pred": predictions[mask],
            f"{letter}_targets": targets,
            f"{letter}_scores": predictions[mask] @ targets.T,
            f"{letter}_lstm_loss": output[f"{direction}_loss"],
        }
    return seen


def official_gradients(model: BiLSTMModel) -> dict[str, np.ndarray]:
    """Gradients in the original's names and layouts: the conversion of a model whose weights are its gradients."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for ours, theirs in zip(twin.parameters(), model.parameters(), strict=True):
            ours.copy_(torch.zeros_like(theirs) if theirs.grad is None else theirs.grad)
    return to_official_variables(twin)


def check_inception(case: GoldenCase) -> None:
    """Features, statistics of the end points, L2 term, with stored weights or those of the rule."""
    d = case.json
    expected, tolerance = case.group("expected"), d["tolerances"]
    config = BiLSTMInceptionConfig(depth_multiplier=d["depth_multiplier"], min_depth=d["min_depth"])
    network = InceptionV3(config).eval()
    variables = {name: value.numpy() for name, value in case.group("weights").items()}
    names = sorted(_variable_names())
    assert len(names) == d["num_variables"]
    for k, name in enumerate(names):
        if name not in variables:
            shape = _shape_of(name, network)
            random = np.random.RandomState(d["seed"] + k)
            scale = np.sqrt(2 / np.prod(shape[:-1])) if len(shape) == 4 else 0.1
            variables[name] = (random.standard_normal(shape) * scale).astype(np.float32)
    for name, first in d["first_weights"].items():
        np.testing.assert_allclose(variables[name].ravel()[: len(first)], first, rtol=1e-6)
    network.load_state_dict(_inception_state(variables))
    count, size = d["image_shape"][0], d["image_shape"][1]
    cells = np.random.RandomState(d["input_seed"]).randint(0, 256, (count, 13, 13, 3)).astype(np.uint8)
    pictures = cells.repeat(size // 13, 1).repeat(size // 13, 2)
    pixels = BiLSTMImageProcessor(size=size)(list(pictures), return_tensors="pt")["pixel_values"]
    points: dict[str, torch.Tensor] = {}
    for name, layer in network.named_children():
        layer.register_forward_hook(lambda _, __, out, name=name: points.update({name: out.detach().clone()}))
    with torch.no_grad():
        close(network(pixels), expected["features"], tolerance, "features")
        penalty = 4e-5 * network.convolution_penalty()
    np.testing.assert_allclose(float(penalty), d["l2_regularization_loss"], rtol=1e-4)
    compared = 0
    for name, statistics in d["end_points"].items():
        if name not in points:
            continue  # max pools, which are no layers of ours
        value = points[name].double()
        batch, high, wide, channels = statistics["shape"]
        assert tuple(value.shape) == (batch, channels, high, wide), name
        for key, found in (("mean", value.mean()), ("abs_mean", value.abs().mean()), ("std", value.std(correction=0))):
            np.testing.assert_allclose(float(found), statistics[key], rtol=2e-3, err_msg=f"{name} {key}")
        compared += 1
    assert compared == 16


def _variable_names() -> list[str]:
    parts = ("weights", "BatchNorm/beta", "BatchNorm/moving_mean", "BatchNorm/moving_variance")
    return [f"InceptionV3/{layer}/{part}" for layer in inception_modules() for part in parts]


def _shape_of(name: str, network: InceptionV3) -> tuple[int, ...]:
    """HWIO shape of a kernel or (channels,) of a vector."""
    layer, part = name.removeprefix("InceptionV3/"), "conv.weight"
    for end, ours in (("/weights", "conv.weight"), ("/BatchNorm/beta", "bn.bias")):
        if layer.endswith(end):
            layer, part = layer.removesuffix(end), ours
            break
    value = network.state_dict()[f"{inception_modules()[layer]}.{part}"]
    return tuple(value.permute(2, 3, 1, 0).shape) if value.ndim == 4 else tuple(value.shape)


def _inception_state(variables: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    state = {}
    for layer, module in inception_modules().items():
        for part, ours in IN_TORCH.items():
            value = torch.from_numpy(variables[f"InceptionV3/{layer}/{part}"])
            state[f"{module}.{ours}"] = value.permute(3, 2, 0, 1) if value.ndim == 4 else value
    return state


def check_conv_batchnorm(case: GoldenCase) -> None:
    """One layer in training mode: output, gradients, moving statistics, L2 term."""
    d, tolerance = case.json, case.json["tolerances"]
    weights, expected, inputs = case.group("weights"), case.group("expected"), case.group("inputs")
    kernel = weights["Conv/weights"].permute(3, 2, 0, 1).clone().requires_grad_()
    norm = ShiftedBatchNorm(kernel.shape[0], d["epsilon"], d["decay"])
    norm.load_state_dict(
        {
            "bias": weights["Conv/BatchNorm/beta"],
            "running_mean": weights["Conv/BatchNorm/moving_mean"],
            "running_var": weights["Conv/BatchNorm/moving_variance"],
        }
    )
    norm.train()
    x = inputs["x"].permute(0, 3, 1, 2)
    output = torch.relu(norm(torch.nn.functional.conv2d(x, kernel, padding=kernel.shape[-1] // 2)))
    penalty = d["l2"] * kernel.square().sum() / 2
    # Beside the penalty, the case's loss is the sum of squares over a number that stands in no field.
    divisor = float(expected["y"].square().sum()) / (d["loss"] - d["regularization_loss"])
    loss = output.square().sum() / round(divisor, 3) + penalty
    loss.backward()
    seen = {
        "y": output.permute(0, 2, 3, 1),
        "grad.Conv/weights": kernel.grad.permute(2, 3, 1, 0),
        "grad.Conv/BatchNorm/beta": norm.bias.grad,
        "after.Conv/BatchNorm/moving_mean": norm.running_mean,
        "after.Conv/BatchNorm/moving_variance": norm.running_var,
    }
    unread = set(expected) - seen.keys()
    assert not unread, f"nothing compares {unread}"
    for name, value in expected.items():
        atol = tolerance["moving_atol"] if name.startswith("after.") else tolerance["atol"]
        close(seen[name], value, {"atol": atol, "rtol": tolerance["rtol"]}, name)
    np.testing.assert_allclose(float(loss.detach()), d["loss"], rtol=1e-4)
    np.testing.assert_allclose(float(d["l2"] * kernel.detach().square().sum() / 2), d["regularization_loss"], rtol=1e-4)


def check_preprocess(case: GoldenCase) -> None:
    """Resize, crop and scaling of each picture, from the pixels and (within the decoder's freedom) from the file."""
    expected, inputs, tolerance = case.group("expected"), case.group("inputs"), case.json["tolerances"]
    for k, picture in enumerate(case.json["images"]):
        decoded = inputs[f"decoded_{k}"].numpy()
        if decoded.dtype != np.uint8:
            decoded = np.rint(decoded * (255 if decoded.max() <= 1 else 1)).astype(np.uint8)
        side = picture["resize"]
        resized = legacy_resize(decoded, side, side)
        close(torch.from_numpy(resized / 127.5 - 1), expected[f"resized_{k}"], tolerance, f"picture {k} resized")
        crop = crop_or_pad(resized, picture["crop_height"], picture["crop_width"])
        close(torch.from_numpy(crop / 127.5 - 1), expected[f"crop_{k}"], tolerance, f"picture {k} cropped")
        pixels = BiLSTMImageProcessor(size=299)(decoded, return_tensors="pt")["pixel_values"][0]
        close(pixels.permute(1, 2, 0)[::13, ::13], expected[f"out299_every13_{k}"], tolerance, f"picture {k} at 299")
        jpeg = Image.open(io.BytesIO(inputs[f"jpeg_{k}"].numpy().astype(np.uint8).tobytes())).convert("RGB")
        # Decoders differ by a few levels, and more where they enlarge colour.
        assert np.abs(np.asarray(jpeg).astype(int) - decoded.astype(int)).mean() <= 3, f"picture {k} from its file"


CHECKS = {
    "bilstm_losses": check_losses,
    "vse_only_losses": check_losses,
    "siamese_losses": check_losses,
    "inception_v3": check_inception,
    "conv_batchnorm": check_conv_batchnorm,
    "preprocess": check_preprocess,
}
