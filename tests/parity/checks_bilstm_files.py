"""The 2017 project's files, read without TensorFlow: a checkpoint, its variables' names, feature pickles, records."""

import io
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from data_scripts.polyvore import read_vocabulary
from data_scripts.polyvore_records import (
    OutfitRecord,
    encode_outfit,
    outfit_record,
    python2_shuffle,
    read_outfit_records,
    write_outfit_records,
)
from data_scripts.tfrecords import write_records
from modeling.bilstm import BiLSTMImageProcessor
from modeling.bilstm.convert_bilstm import model_from_official
from modeling.bilstm.feature_files import read_features
from modeling.bilstm.names import canonical_names, inception_modules, model_variables, torch_layout, torch_name
from modeling.bilstm.tensorflow_files import read_checkpoint, write_v1_checkpoint, write_v2_checkpoint
from tests.parity.golden import GoldenCase, close

IMAGE_SIDE = 299


def check_checkpoint(case: GoldenCase) -> None:
    """Variables to the bit, the file written again to the byte, and what the model makes of them."""
    file = case.dir / case.json["checkpoint_file"]
    variables = read_checkpoint(file)
    assert len(variables) == case.json["num_variables"]
    expected = {name: tensor.numpy() for name, tensor in case.group("expected.variable").items()}
    for name, wanted in expected.items():
        assert (variables[name].dtype, variables[name].shape) == (wanted.dtype, wanted.shape), name
        assert variables[name].tobytes() == wanted.tobytes(), name
    assert expected.keys() == variables.keys() or all(
        name.startswith("InceptionV3/") for name in variables.keys() - expected
    )
    with tempfile.TemporaryDirectory() as folder:
        write_v1_checkpoint(Path(folder) / "v1", variables)
        assert (Path(folder) / "v1").read_bytes() == file.read_bytes()
        write_v2_checkpoint(Path(folder) / "v2", variables)
        again = read_checkpoint(Path(folder) / "v2")
    assert again.keys() == variables.keys()
    assert all(again[name].tobytes() == array.tobytes() for name, array in variables.items())

    names = canonical_names(variables)
    assert names.variables == {name: name for name in variables} and not names.left_out
    _check_model(case, {name: variables[in_file] for name, in_file in names.variables.items()})
    pickled = file.with_name(f"{file.stem}_test_features.pkl")
    if pickled.is_file():
        rows = list(read_features(pickled).values())
        for kind in rows[0]:
            found = torch.from_numpy(np.stack([row[kind] for row in rows]))
            assert torch.equal(found, case.group("expected")[kind][: len(rows)]), kind


def _check_model(case: GoldenCase, variables: dict[str, np.ndarray]) -> None:
    """Features of the case's pictures, and each direction's outputs and states over them, in their order."""
    expected, tolerance = case.group("expected"), case.json["tolerances"]
    model = model_from_official(variables).eval()
    state = model.vision_model.state_dict()
    for name, array in variables.items():
        if name.startswith("InceptionV3/"):
            assert torch.equal(state[torch_name(name)], torch.from_numpy(torch_layout(name, array))), name
    inputs = case.group("inputs")
    count = len(expected["image_feat"])
    pictures = [Image.fromarray(inputs[f"image_{k}"].numpy()) for k in range(count)]
    pixels = BiLSTMImageProcessor(size=IMAGE_SIDE)(pictures, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        items = model.get_item_features(pixels)
        close(model.get_image_features(pixels), expected["image_feat"], tolerance, "image_feat")
        close(items, expected["image_rnn_feat"], tolerance, "image_rnn_feat")
        for letter, direction in (("f", "forward"), ("b", "backward")):
            past = None
            for k, item in enumerate(expected["image_rnn_feat"]):
                output, past = model.step(item[None], past, direction)
                close(output[0], expected[f"{letter}_step_outputs"][k], tolerance, f"{direction} output {k}")
                wanted = expected[f"{letter}_step_states_c_then_h"][k]
                close(torch.cat(past[::-1], 1)[0], wanted, tolerance, f"{direction} state {k}")


def check_names(case: GoldenCase) -> None:
    """Every model's variables by rule, and their modules in torch."""
    assert inception_modules() == case.json["torchvision_module"]
    inception = case.json["inception"]
    for name in inception:
        module, _, part = torch_name(name).rpartition(".conv." if name.endswith("/weights") else ".bn.")
        assert (
            module == case.json["torchvision_module"][name.split("/", 1)[1].rsplit("/", 1 + ("BatchNorm" in name))[0]]
        )
        assert part == {"weights": "weight", "beta": "bias", "moving_mean": "running_mean"}.get(
            name.rsplit("/", 1)[1], "running_var"
        )
    models = {"bi_lstm": ("bilstm", "lstm"), "bi_gru": ("bilstm", "gru"), "bi_rnn": ("bilstm", "rnn")}
    models |= {"vse": ("vse", None), "siamese": ("siamese", None)}
    compared = 0
    for key, (model, cell) in models.items():
        if key in case.json:
            wanted = sorted([*inception, *case.json[key]])
            assert model_variables(model, cell) == wanted, key
            found = canonical_names(wanted)
            assert (found.model, found.cell, sorted(found.variables)) == (model, cell, wanted), key
            compared += 1
    assert compared


def check_data_prep(case: GoldenCase) -> None:
    """TensorFlow's record file to ids, masks and pictures; and the same file from the outfits, to the byte."""
    expected, outfits = case.group("expected"), case.json["outfits"]
    original = case.tensors["inputs.tfrecord"].numpy().tobytes()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "records").write_bytes(original)
        (folder / "words").write_bytes(case.tensors["inputs.word_dict"].numpy().tobytes())
        records = list(read_outfit_records([folder / "records"]))
        words = read_vocabulary(folder / "words")
        assert list(words) == case.json["words"] and len(words) + 1 == case.json["unk_id"]
        by_id = {record.set_id: record for record in records}
        for outfit in outfits:
            for item, data in zip(outfit["items"], by_id[outfit["set_id"]].images, strict=False):
                file = folder / "images" / outfit["set_id"] / f"{item['index']}.jpg"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
        # The original gives unknown words a number outside its table.
        ours = {o["set_id"]: outfit_record(o, folder / "images", words, case.json["unk_id"]) for o in outfits}
        assert ours == by_id
        write_records(folder / "again", [encode_outfit(record) for record in records])
        assert list(read_outfit_records([folder / "again"])) == records
        report = write_outfit_records(
            outfits, folder / "images", words, folder / "shards", "valid", official_unknown_words=True
        )
        order = [outfits[row]["set_id"] for row in python2_shuffle(len(outfits))]
        assert [record.set_id for record in read_outfit_records(report.files)] == order
    _check_batch(case, [by_id[set_id] for set_id in case.json["set_ids"]], expected)
    for count, first in case.json["shuffle_order_first_20"].items():
        assert python2_shuffle(int(count))[:20] == first, count


def _check_batch(case: GoldenCase, records: list[OutfitRecord], expected: dict[str, torch.Tensor]) -> None:
    """What the original's reader makes of the records: padded to the longest of the batch."""
    items = max(len(record.image_index) for record in records)
    width = max(len(ids) for record in records for ids in record.caption_ids)
    batch = {name: np.zeros((len(records), items), np.int64) for name in ("image_index", "input_mask", "loss_mask")}
    batch["caption_ids"] = np.zeros((len(records), items, width), np.int64)
    for row, record in enumerate(records):
        count = len(record.image_index)
        batch["image_index"][row, :count] = record.image_index
        batch["input_mask"][row, :count] = batch["loss_mask"][row, :count] = 1
        for item, ids in enumerate(record.caption_ids):
            batch["caption_ids"][row, item, : len(ids)] = ids
    batch["cap_mask"] = batch["caption_ids"] != 0
    batch["likes"] = np.array([record.likes for record in records])
    for name, array in batch.items():
        assert np.array_equal(array, expected[name].numpy()), name
    crop, processor = case.json["crop"], BiLSTMImageProcessor(size=IMAGE_SIDE)
    first = (IMAGE_SIDE - crop) // 2
    for row, record in enumerate(records):
        assert len(record.images) == expected["images"].shape[1]
        pictures = [Image.open(io.BytesIO(data)).convert("RGB") for data in record.images]
        pixels = processor(pictures, return_tensors="pt")["pixel_values"].permute(0, 2, 3, 1)
        found = pixels[:, first : first + crop, first : first + crop]
        # TensorFlow decodes JPEG with libjpeg's fast transform, Pillow with the accurate one: a few levels of 255 apart.
        difference = (found - expected["images"][row]).abs() * 127.5
        assert difference.max() <= 8 and difference.mean() <= 2, f"pictures of outfit {record.set_id}"


CHECKS = {
    "tf_v1_checkpoint": check_checkpoint,
    "checkpoint_variables": check_names,
    "data_prep": check_data_prep,
}
