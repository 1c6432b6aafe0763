"""FashionViL's programs from the image tokenizer to five downstream tasks: resume, processes, switches, bad input."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoProcessor

from data_scripts.atelier import WorldSettings, build_world
from tests.train.test_bilstm_programs import make_tree
from train import fashionvil_finetune, fashionvil_pretrain, fashionvil_tokenizer
from train.engine.fashionvil import TASK_SHARES

from .conftest import ROOT, finish, killed_run, losses, records, run_here, start, validations

PRETRAIN, FINETUNE = "train/fashionvil_pretrain.py", "train/fashionvil_finetune.py"
TASKS = ("retrieval", "composition", "category", "subcategory", "outfits")
EVERY_TASK = ["--tasks", *TASK_SHARES, "--task_shares", *("1" for _ in TASK_SHARES)]
ARCHITECTURE = """
vision_config: {model_type: resnet, embedding_size: 4, hidden_sizes: [8, 8, 16, 16], depths: [1, 1, 1, 1], image_size: 64}
text_config: {vocab_size: 300, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 1, num_attention_heads: 2,
              max_position_embeddings: 80, hidden_dropout_prob: DROPOUT, attention_probs_dropout_prob: DROPOUT}
outfit_subspace_dim: 8
"""
LAST_STAGE = "image_encoder.encoder.stages.3.layers.0.layer.0.convolution.weight"
FIRST_STAGE = LAST_STAGE.replace("stages.3", "stages.0")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("atelier") / "world"
    layouts = ("fashioniq", "fashiongen", "polyvore_outfits")
    sizes = {"garments": 200, "outfits": 200, "image_size": 32, "train_pairs": 4, "val_pairs": 4}
    build_world(root, WorldSettings(seed=3, layouts=layouts, **sizes), workers=1, progress=False)
    return root


@pytest.fixture(scope="module")
def architectures(tmp_path_factory):
    """Dropout as in BERT, and none at all."""
    folder = tmp_path_factory.mktemp("architecture")
    for name, dropout in (("dropout", "0.1"), ("plain", "0.0")):
        (folder / f"{name}.yaml").write_text(ARCHITECTURE.replace("DROPOUT", dropout))
    return folder


@pytest.fixture(scope="module")
def common(tmp_path_factory) -> list[str]:
    """Flags of every run but for data and start."""
    flags = ["--batch_size", "8", "--learning_rate", "1e-3", "--lr_multiplier", "1", "--cpu"]
    return [*flags, "--pixel_cache", str(tmp_path_factory.mktemp("pixels"))]


@pytest.fixture(scope="module")
def tokenizer(world, tmp_path_factory):
    sizes = {"image_size": 64, "num_codes": 16, "code_dim": 6, "hidden_dim": 4, "num_res_blocks": 1}
    flags = [part for name, value in sizes.items() for part in (f"--{name}", str(value))]
    flags += ["--group_norm_groups", "2", "--channel_multipliers", "1", "1", "1", "1", "2", "2", "--batch_size", "8"]
    flags += [
        "--data_dir",
        str(world),
        "--steps",
        "4",
        "--learning_rate",
        "1e-3",
        "--validation_split",
        "test",
        "--cpu",
    ]
    return run_here(fashionvil_tokenizer, *flags, "--output_dir", str(tmp_path_factory.mktemp("tokenizer") / "run"))


@pytest.fixture(scope="module")
def flags(world, architectures, common, tokenizer) -> list[str]:
    """Of a pre-training with all six tasks."""
    flags = ["--data_dir", str(world), "--architecture", str(architectures / "dropout.yaml"), *common]
    flags += ["--schedule", "cosine", "--warmup", "2", "--validation_split", "test", *EVERY_TASK]
    return [*flags, "--image_tokenizer", str(tokenizer / "model")]


@pytest.fixture(scope="module")
def pretrained(flags, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pretraining") / "run"
    return run_here(fashionvil_pretrain, *flags, "--steps", "24", "--seed", "1", "--output_dir", str(folder))


@pytest.fixture(scope="module")
def sources(world) -> dict[str, list[str]]:
    """Flags that say which data a task trains on and validates with."""
    products = ["--data_dir", str(world), "--validation_split"]
    return {
        "retrieval": [*products, "test"],
        "composition": ["--data_dir", str(world / "fashionIQ_dataset")],
        # So few training products lack classes that other splits have.
        "category": [*products, "train"],
        "subcategory": [*products, "train"],
        "outfits": ["--data_dir", str(world / "polyvore_outfits"), "--outfit_embedding_dim", "8"],
    }


@pytest.fixture(scope="module")
def start_flags(pretrained, common) -> list[str]:
    """Of a fine-tuning from the pre-trained model."""
    return [*common, "--model", str(pretrained / "model"), "--schedule", "constant"]


@pytest.fixture(scope="module")
def tuned(sources, start_flags, tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("tuned")
    more = ["--steps", "4", "--validation_steps", "2", "--save", "last"]
    return {
        task: run_here(
            *(fashionvil_finetune, "--task", task, *sources[task], *start_flags, *more),
            *("--output_dir", str(folder / task)),
        )
        for task in TASKS
    }


def steps(folder) -> list[dict]:
    return [record for record in records(folder) if "loss" in record]


def test_the_tokenizer_leaves_a_model_that_makes_codes_and_pictures(tokenizer):
    logged = steps(tokenizer)
    assert len(logged) == 4
    for record in logged:
        total = record["reconstruction_loss"] + 0.25 * record["commitment_loss"]
        assert record["loss"] == pytest.approx(total, rel=1e-4)
    assert {"validation/explained", "validation/perplexity"} <= validations(tokenizer)[-1].keys()
    assert (tokenizer / "reconstructions.png").is_file()
    model = AutoModel.from_pretrained(tokenizer / "model")
    codes = model.encode(torch.zeros(2, 3, 64, 64))
    assert codes.shape == (2, 4) and model.decode(codes).shape == (2, 3, 64, 64)


def test_pretraining_draws_all_tasks_and_leaves_a_model_that_loads(pretrained, tokenizer):
    logged = steps(pretrained)
    assert len(logged) == 24 and {record["task"] for record in logged} == set(TASK_SHARES)
    model = AutoModel.from_pretrained(pretrained / "model")
    assert type(model).__name__ == "FashionViLForPreTraining"
    processor = AutoProcessor.from_pretrained(pretrained / "model")
    assert model.get_text_features(**processor(text=["a coat"], return_tensors="pt")).shape == (1, 32)
    # The codes of masked patches are those of the tokenizer that was given, and it isn't trained.
    own = load_file(tokenizer / "model" / "model.safetensors")
    for name, value in model.image_tokenizer.state_dict().items():
        assert torch.equal(value, own[name]), name


def test_every_task_moves_its_own_head_alone(flags, tmp_path):
    parts = {task: f"heads.{task}." for task in ("itm", "pac", "mlm", "mpfc")} | {"itc": "contrastive_norm."}
    flags = [*flags, "--steps", "1", "--learning_rate", "1e-2", "--warmup", "0"]
    saved = {}
    for task in (*parts, "mvc"):
        one = ["--tasks", task, "--task_shares", "1", "--output_dir", str(tmp_path / task)]
        saved[task] = load_file(run_here(fashionvil_pretrain, *flags, *one) / "model" / "model.safetensors")
    for task, part in parts.items():
        own = {name for name in saved[task] if name.startswith(part)}
        # What no other task has moved is still as it began, the same in all of these runs.
        one, *others = (saved[other] for other in parts if other != task)
        assert own and all(torch.equal(one[name], other[name]) for other in others for name in own), task
        assert any(not torch.equal(one[name], saved[task][name]) for name in own), task
    scale = "contrastive_norm.norm_s"  # both contrasts have it
    assert not torch.equal(saved["mvc"][scale], saved["itm"][scale])


def test_codes_made_once_are_those_made_on_the_way(flags, tmp_path):
    """A crop as large as the picture that is never mirrored is no augmentation."""
    flags = [*flags, "--steps", "2", "--tasks", "mpfc", "--task_shares", "1", "--resize", "64"]
    once = run_here(fashionvil_pretrain, *flags, "--no_augment", "--output_dir", str(tmp_path / "once"))
    each = run_here(fashionvil_pretrain, *flags, "--flip", "0", "--output_dir", str(tmp_path / "each"))
    assert losses(once) == losses(each)


def test_pretraining_goes_on_from_a_model_with_its_heads(flags, pretrained, tmp_path):
    place = flags.index("--architecture")
    flags = [*flags[:place], *flags[place + 2 :], "--model", str(pretrained / "model"), "--steps", "1"]
    folder = run_here(
        *(fashionvil_pretrain, *flags, "--learning_rate", "1e-12", "--weight_decay", "0"),
        *("--output_dir", str(tmp_path / "run")),
    )
    before, after = (load_file(f / "model" / "model.safetensors") for f in (pretrained, folder))
    assert before.keys() == after.keys()
    for name in (n for n in before if "running" not in n and "num_batches" not in n):
        torch.testing.assert_close(after[name], before[name], atol=1e-6, rtol=0, msg=name)


def test_separate_encoders_and_other_ways_of_masking(flags, tmp_path):
    more = ["--share_encoders", "false", "--bypass_transformer", "false", "--no_whole_words", "--attribute_scale", "16"]
    more += ["--official_adamw", "--official_zero_gradients", "--official_itm_fill", "--official_false_negatives"]
    flags = [*flags, *more, "--masked_patches", "2", "--steps", "12", "--gradient_checkpointing"]
    folder = run_here(fashionvil_pretrain, *flags, "--output_dir", str(tmp_path / "run"))
    assert len(steps(folder)) == 12 and np.isfinite(losses(folder)).all()
    model = AutoModel.from_pretrained(folder / "model")
    assert hasattr(model.model, "bert_2") and not model.config.bypass_transformer
    assert model.heads["pac"].scale == 16 and model.config.official_itm_fill


def test_a_killed_pretraining_resumes_to_the_same_bits(flags, tmp_path):
    """In the second epoch, with dropout, batch norm, augmented views and the tasks of the steps that were not done."""
    flags = [*flags, "--steps", "36", "--validation_steps", "18", "--checkpoint_steps", "2"]
    flags += ["--checkpoint_seconds", "1000"]
    whole = run_here(fashionvil_pretrain, *flags, "--output_dir", str(tmp_path / "whole"))
    cut = killed_run(PRETRAIN, flags, tmp_path / "cut", at_step=12, steps=36)
    run_here(fashionvil_pretrain, *flags, "--output_dir", str(cut), "--resume")
    assert losses(cut) == losses(whole) and validations(cut) == validations(whole)
    assert [record["task"] for record in steps(cut)] == [record["task"] for record in steps(whole)]
    assert (cut / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()


def test_a_killed_fine_tuning_resumes_to_the_same_bits(sources, start_flags, tmp_path):
    """Pairs of outfits are drawn anew for every epoch, which has 15 steps."""
    flags = ["--task", "outfits", *sources["outfits"], *start_flags, "--steps", "36", "--validation_steps", "18"]
    flags += ["--checkpoint_steps", "2", "--checkpoint_seconds", "1000"]
    whole = run_here(fashionvil_finetune, *flags, "--output_dir", str(tmp_path / "whole"))
    cut = killed_run(FINETUNE, flags, tmp_path / "cut", at_step=18, steps=36)
    run_here(fashionvil_finetune, *flags, "--output_dir", str(cut), "--resume")
    assert losses(cut) == losses(whole) and validations(cut) == validations(whole)
    assert (cut / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()


# Every step is taken from the same weights, see test_clip4cir_programs.
STILL = ["--learning_rate", "1e-12", "--warmup", "0", "--max_grad_norm", "1e9"]


def test_two_processes_pretrain_like_one(flags, architectures, tmp_path):
    """All tasks but itm, whose negatives are those of one process, as in the original."""
    tasks = [task for task in TASK_SHARES if task != "itm"]
    flags = [*flags, "--architecture", str(architectures / "plain.yaml"), "--tasks", *tasks, *STILL, "--sync_batchnorm"]
    flags += ["--task_shares", "1", "1", "1", "1", "1", "--steps", "8"]
    one = run_here(fashionvil_pretrain, *flags, "--output_dir", str(tmp_path / "one"))
    finish(start(PRETRAIN, *flags, "--output_dir", tmp_path / "two", processes=2))
    pairs = list(zip(steps(one), steps(tmp_path / "two"), strict=True))
    assert {first["task"] for first, _ in pairs} == set(tasks)
    for first, second in pairs:
        assert second["task"] == first["task"]
        got, want = ([record[name] for name in ("loss", "grad_norm")] for record in (second, first))
        assert got == pytest.approx(want, rel=1e-5), first["task"]
    assert validations(tmp_path / "two")[-1] == pytest.approx(validations(one)[-1], rel=1e-5)


def test_every_downstream_task_trains_from_the_pretrained_model(tuned):
    heads = {"retrieval": "ForRetrieval", "composition": "ForComposition", "outfits": "ForOutfitRetrieval"}
    for task, folder in tuned.items():
        assert len(steps(folder)) == 4 and len(validations(folder)) == 2
        model = AutoModel.from_pretrained(folder / "model")
        assert type(model).__name__ == f"FashionViL{heads.get(task, 'ForClassification')}"
        # Only products are cropped out of a larger picture.
        images = AutoProcessor.from_pretrained(folder / "model").image_processor
        assert (images.resize > images.size) == (task not in ("composition", "outfits"))
    labels = AutoModel.from_pretrained(tuned["category"] / "model").config.id2label
    assert labels[0] == min(labels.values()) and all(isinstance(label, str) for label in labels.values())


MAIN_FIGURES = {"retrieval": "mean_recall", "composition": "average_recall", "outfits": "average_recall"}


@pytest.mark.parametrize("task", TASKS)
def test_validation_alone_has_the_figures_of_the_last_validation(task, tuned, sources, common, tmp_path):
    flags = ["--task", task, *sources[task], *common, "--model", str(tuned[task] / "model"), "--validate_only"]
    folder = run_here(fashionvil_finetune, *flags, "--output_dir", str(tmp_path / "run"))
    (figures,) = validations(folder)
    assert figures == validations(tuned[task])[-1] and not steps(folder)
    with np.load(folder / "hits.npz") as hits:
        mean = 100 * np.mean([own.mean() for own in hits.values()])
    assert mean == pytest.approx(figures[f"validation/{MAIN_FIGURES.get(task, 'accuracy')}"], rel=1e-6)


def test_the_outfit_head_as_in_the_original_and_with_triplets(sources, start_flags, pretrained, tmp_path):
    flags = ["--task", "outfits", *sources["outfits"], *start_flags, "--steps", "2"]
    names = {"official": ["--official_outfits"], "triplet": ["--outfit_loss", "triplet"]}
    saved = {}
    for name, more in names.items():
        folder = run_here(fashionvil_finetune, *flags, *more, "--output_dir", str(tmp_path / name))
        saved[name] = load_file(folder / "model" / "model.safetensors")
    before = load_file(pretrained / "model" / "model.safetensors")
    moved = {name: not torch.equal(own[LAST_STAGE], before[f"model.{LAST_STAGE}"]) for name, own in saved.items()}
    assert moved == {"official": False, "triplet": True}
    assert not torch.equal(saved["official"][FIRST_STAGE], before[f"model.{FIRST_STAGE}"])
    with pytest.raises(SystemExit):
        run_here(fashionvil_finetune, *flags, *names["official"], *names["triplet"], "--output_dir", "unused")


def test_blanks_of_the_maryland_outfits_validate(start_flags, tmp_path):
    tree = make_tree(tmp_path / "polyvore", {"train": 16, "valid": 8})
    flags = ["--task", "outfits", "--dataset", "polyvore", "--data_dir", str(tree), *start_flags, "--steps", "2"]
    place = flags.index("--pixel_cache")
    folder = run_here(fashionvil_finetune, *flags[:place], *flags[place + 2 :], "--output_dir", str(tmp_path / "run"))
    accuracy = validations(folder)[-1]["validation/fill_in_blank_accuracy"]
    with np.load(folder / "hits.npz") as hits:
        assert hits["all"].shape == (8, 1) and accuracy == pytest.approx(100 * hits["all"].mean())


def test_frozen_parts_and_the_transferred_scale(sources, start_flags, pretrained, tmp_path):
    flags = ["--task", "retrieval", *sources["retrieval"], *start_flags, "--steps", "1", "--learning_rate", "1e-2"]
    flags += ["--freeze", "model.image_encoder", "--no_train_batch_norm", "--save", "last"]
    before = load_file(pretrained / "model" / "model.safetensors")
    scales = []
    for number, more in enumerate(([], ["--transfer_scale"])):
        folder = run_here(fashionvil_finetune, *flags, *more, "--output_dir", str(tmp_path / str(number)))
        after = load_file(folder / "model" / "model.safetensors")
        encoder = [name for name in after if name.startswith("model.image_encoder")]
        assert encoder and all(torch.equal(after[name], before[name]) for name in encoder)
        scales.append(float(after["norm_layer.norm_s"]))
    assert scales[0] == pytest.approx(4, abs=0.02)  # one step from where the original begins
    assert scales[1] - scales[0] == pytest.approx(float(before["contrastive_norm.norm_s"]) - 4, abs=0.021)


def refused(program, flags, capsys) -> str:
    """What a program says that does not start, whether its arguments are wrong or its data."""
    try:
        run_here(program, *flags)
    except ValueError as error:
        return str(error)
    except SystemExit:
        return capsys.readouterr().err
    raise AssertionError("the program ran")


def without(flags: list[str], *names: str) -> list[str]:
    for name in names:
        place = flags.index(name)
        flags = [*flags[:place], *flags[place + 2 :]]
    return flags


def test_tasks_and_their_needs_are_checked(flags, tmp_path, capsys):
    out = ["--output_dir", str(tmp_path / "run")]
    needy = without(flags, "--image_tokenizer")
    assert "give --image_tokenizer" in refused(fashionvil_pretrain, [*needy, *out], capsys)
    uneven = [*flags, "--tasks", "itc", "mlm", "--task_shares", "1", *out]
    assert "--task_shares has 1 numbers for 2 tasks" in refused(fashionvil_pretrain, uneven, capsys)
    for share in ("0", "inf"):
        nothing = [*flags, "--tasks", "itc", "mlm", "--task_shares", "1", share, *out]
        assert "must be numbers above 0" in refused(fashionvil_pretrain, nothing, capsys)
    misspelt = [*flags, "--best_metrics", "mean_recal", *out]
    assert "--best_metrics: each of image_to_text_recall_at1" in refused(fashionvil_pretrain, misspelt, capsys)
    assert "--lr_steps -5: must be at least 1" in refused(
        fashionvil_pretrain, [*flags, "--lr_steps", "-5", *out], capsys
    )
    assert "unknown flag --task" in refused(fashionvil_pretrain, [*flags, "--task", "itc", *out], capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("task", "more", "message"),
    [
        ("outfits", ["--dataset", "fashiongen"], "--task outfits reads --dataset polyvore_outfits, polyvore, not fash"),
        ("composition", ["--dataset", "fashiongen"], "reads --dataset fashioniq, cirr, catalogue, not fashiongen"),
        ("composition", ["--protocol", "fashioniq"], "validates with fashioniq/original-split, fashioniq/val-split,"),
        ("retrieval", ["--protocol", "fashiongen/sampled-100"], "validates with fashiongen/full"),
        ("category", ["--protocol", "fashiongen/subcategory"], "validates with fashiongen/category"),
        (
            "outfits",
            ["--protocol", "polyvore-outfits/nondisjoint-ocir"],
            "--disjoint true validates with polyvore-outfits/oc",
        ),
        ("outfits", ["--dataset", "polyvore", "--protocol", "polyvore/fitb"], "validates with blanks alone"),
    ],
)
def test_data_sets_and_protocols_of_other_tasks_are_refused(
    task, more, message, sources, start_flags, tmp_path, capsys
):
    flags = ["--task", task, *sources[task], *start_flags, *more, "--output_dir", str(tmp_path / "run")]
    assert message in refused(fashionvil_finetune, flags, capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("task", ["retrieval", "composition", "category", "outfits"])
def test_validation_alone_decodes_no_training_pictures(task, tuned, sources, start_flags, tmp_path):
    place = start_flags.index("--pixel_cache")
    flags = [*start_flags[:place], *start_flags[place + 2 :], "--model", str(tuned[task] / "model"), "--validate_only"]
    folder = run_here(
        fashionvil_finetune, "--task", task, *sources[task], *flags, "--output_dir", str(tmp_path / "run")
    )
    assert all(path.name.startswith("validation") for path in (folder / "cache").iterdir())


def test_sizes_of_a_tokenizer_that_goes_on_are_its_own(tokenizer, world, tmp_path, capsys):
    flags = ["--data_dir", str(world), "--model", str(tokenizer / "model"), "--num_codes", "64", "--image_size", "32"]
    found = refused(fashionvil_tokenizer, [*flags, "--output_dir", str(tmp_path / "run")], capsys)
    assert "--model has sizes of its own: leave out --image_size, --num_codes" in found


def test_a_tokenizer_of_another_grid_is_refused_before_training(flags, architectures, tmp_path, capsys):
    wide = tmp_path / "wide.yaml"
    wide.write_text((architectures / "plain.yaml").read_text().replace("image_size: 64", "image_size: 128"))
    flags = [*without(flags, "--architecture"), "--architecture", str(wide), "--output_dir", str(tmp_path / "run")]
    found = refused(fashionvil_pretrain, flags, capsys)
    assert "the image tokenizer makes 4 codes of a picture and the image encoder sees 16 cells" in found


def respoilt(world, folder, attributes) -> str:
    """A copy of the products with other pseudo-attributes."""
    shutil.copytree(world / "FashionGen", folder / "FashionGen")
    for path in (folder / "FashionGen").glob("*_info.json"):
        entries = json.loads(path.read_text())
        for number, entry in enumerate(entries):
            entry["attributes_id"] = attributes(number)
        path.write_text(json.dumps(entries))
    return str(folder)


def test_pseudo_attributes_that_are_not_there_or_not_the_models(world, flags, pretrained, tmp_path, capsys):
    plain = without(flags, "--data_dir")
    none = respoilt(world, tmp_path / "none", lambda number: [])
    found = refused(fashionvil_pretrain, [*plain, "--data_dir", none, "--output_dir", str(tmp_path / "1")], capsys)
    assert f"{none} has no pseudo-attributes: make them first" in found
    # A model brings its number of attributes.
    flags = [*without(plain, "--architecture"), "--model", str(pretrained / "model"), "--task_shares", "1"]
    flags += ["--tasks", "pac", "--output_dir", str(tmp_path / "2")]
    others = respoilt(world, tmp_path / "others", lambda number: [2, 99])
    classes = AutoModel.from_pretrained(pretrained / "model").config.num_attributes
    found = refused(fashionvil_pretrain, [*flags, "--data_dir", others], capsys)
    assert f"pseudo-attribute 99 is outside of the model's {classes}" in found


def test_a_start_that_does_not_fit_is_refused(flags, tokenizer, pretrained, tmp_path, capsys):
    out = ["--output_dir", str(tmp_path / "run"), "--overwrite"]
    wrong = [*without(flags, "--architecture"), "--model", str(tokenizer / "model"), *out]
    found = refused(fashionvil_pretrain, wrong, capsys)
    assert "is a fashionvil_image_tokenizer model; expected a fashionvil one" in found
    both = [*flags, "--model", str(pretrained / "model"), *out]
    assert "--model brings both halves" in refused(fashionvil_pretrain, both, capsys)
    half = tmp_path / "half.yaml"
    half.write_text("text_config: {vocab_size: 300}")
    found = refused(fashionvil_pretrain, [*flags, "--architecture", str(half), *out], capsys)
    assert "nothing says what the model's vision_config is" in found


def test_labels_that_training_lacks_are_named(sources, start_flags, tuned, tmp_path, capsys, caplog):
    flags = ["--task", "subcategory", *sources["subcategory"], "--validation_split", "validation", "--steps", "1"]
    run_here(fashionvil_finetune, *flags, *start_flags, "--output_dir", str(tmp_path / "trained"))
    assert "no training product has the subcategory" in caplog.text
    # A head with other labels must not be exchanged for a random one where nothing trains it.
    flags += ["--validate_only", *without(start_flags, "--model"), "--output_dir", str(tmp_path / "validated")]
    found = refused(fashionvil_finetune, [*flags, "--model", str(tuned["subcategory"] / "model")], capsys)
    assert "has other id2label, label2id than this data" in found
    assert "need a --model" in refused(fashionvil_finetune, flags, capsys)


def test_fewer_products_than_a_batch_are_refused(flags, tmp_path, capsys):
    """What processes cannot share is refused by the same sampler, see test_batches."""
    flags = [*flags, "--batch_size", "100", "--steps", "1", "--output_dir", str(tmp_path / "run")]
    assert "74 training rows are fewer than one batch of 100" in refused(fashionvil_pretrain, flags, capsys)


def test_recipes_name_known_arguments(world, tmp_path):
    """A recipe that serves several tasks leaves the task to the caller."""
    from train.engine.arguments import parse_arguments
    from train.engine.fashionvil_arguments import ProductData, ViLOptimizer, ViLStart
    from train.engine.run import RunArguments

    parts = {
        "tokenizer": (ProductData, fashionvil_tokenizer.TokenizerArguments, RunArguments),
        "pretrain": (ViLStart, ProductData, fashionvil_pretrain.PretrainingArguments, ViLOptimizer, RunArguments),
        "finetune": (
            *(ViLStart, fashionvil_finetune.TaskData, fashionvil_finetune.TaskTraining, ViLOptimizer, RunArguments),
        ),
    }
    for name, classes in parts.items():
        recipes = sorted((ROOT / f"train/recipes/fashionvil_{name}").glob("*.yaml"))
        assert recipes
        for recipe in recipes:
            argv = ["--config", str(recipe), "--data_dir", str(world), "--output_dir", str(tmp_path)]
            argv += ["--image_tokenizer", "some"] if name == "pretrain" else []
            argv += ["--task", "category"] if name == "finetune" and "\ntask:" not in recipe.read_text() else []
            assert parse_arguments(*classes, argv=argv)
