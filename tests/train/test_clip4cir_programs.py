"""Both stages of CLIP4Cir as programs: what they write, exact resume, many processes, large batches, adapters."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.modeling.clip4cir_examples import official_clip
from train import clip4cir_combiner, clip4cir_finetune
from train.engine.clip4cir import BackboneArguments, load_tokenizer, starting_model

from .conftest import finish, killed_run, losses, records, run_here, start, validations

FINETUNE, COMBINER = "train/clip4cir_finetune.py", "train/clip4cir_combiner.py"


@pytest.fixture(scope="session")
def stage1(stage1_flags, tmp_path_factory):
    """A finished run of stage 1 on one process."""
    folder = tmp_path_factory.mktemp("runs") / "stage1"
    return run_here(clip4cir_finetune, *stage1_flags, "--output_dir", str(folder))


@pytest.fixture(scope="session")
def stage2_flags(stage1, world, cache):
    return [
        *["--dataset", "fashioniq", "--data_dir", str(world), "--pixel_cache", str(cache)],
        *["--model", str(stage1 / "model"), "--epochs", "3", "--batch_size", "32", "--learning_rate", "1e-3", "--cpu"],
        *["--projection_dim", "32", "--hidden_dim", "48", "--validation_frequency", "1", "--dropout", "0"],
    ]


@pytest.fixture(scope="session")
def stage2(stage2_flags, tmp_path_factory):
    """A finished run of stage 2 on one process."""
    folder = tmp_path_factory.mktemp("runs") / "stage2"
    return run_here(clip4cir_combiner, *stage2_flags, "--output_dir", str(folder))


def test_a_run_leaves_a_complete_folder(stage1):
    names = {p.name for p in stage1.iterdir()}
    assert {
        "arguments.json",
        "metrics.jsonl",
        "train_metrics.csv",
        "validation_metrics.csv",
        "model",
        "checkpoints",
    } <= names
    saved = {p.name for p in (stage1 / "model").iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "modeling_clip4cir.py",
        "processor_config.json",
        "tokenizer.json",
    } <= saved
    header = (stage1 / "validation_metrics.csv").read_text().splitlines()[0]
    assert header.startswith("epoch,") and "dress_recall_at10" in header and header.endswith("average_recall")
    assert len(losses(stage1)) == 2 * (92 // 16)


def test_stage_2_trains_only_the_combiner(stage1, stage2):
    before, after = (load_file(folder / "model" / "model.safetensors") for folder in (stage1, stage2))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {name.split(".")[0] for name in after.keys() - before.keys()} == {"combiner"}


def test_stage_1_learns_its_training_rows(stage1_flags, tmp_path):
    flags = [*stage1_flags, "--train_batch_norm", "--epochs", "12", "--validation_frequency", "12"]
    found = losses(run_here(clip4cir_finetune, *flags, "--output_dir", str(tmp_path / "run")))
    assert sum(found[-5:]) < 0.3 * sum(found[:5])


@pytest.mark.parametrize("batches", ["triplets", "photos"])
def test_a_killed_run_resumes_to_the_same_bits(batches, stage1_flags, tmp_path):
    flags = [*stage1_flags, "--batches", batches, "--flip", "0.5", "--min_crop_area", "0.8", "--schedule", "cosine"]
    flags += ["--train_batch_norm", "--checkpoint_steps", "2", "--checkpoint_seconds", "0", "--epochs", "3"]
    whole = run_here(clip4cir_finetune, *flags, "--output_dir", str(tmp_path / "whole"))
    cut = killed_run(FINETUNE, flags, tmp_path / "cut", at_step=7, steps=len(losses(whole)))
    run_here(clip4cir_finetune, *flags, "--output_dir", str(cut), "--resume")
    assert losses(cut) == losses(whole)
    assert validations(cut) == validations(whole)
    for name in ("model/model.safetensors", "train_metrics.csv", "validation_metrics.csv"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_killed_combiner_run_resumes_to_the_same_bits(stage2_flags, tmp_path):
    flags = [
        *stage2_flags,
        "--dropout",
        "0.5",
        "--epochs",
        "40",
        "--checkpoint_seconds",
        "0",
        "--gallery_negatives",
        "20",
    ]
    whole = run_here(clip4cir_combiner, *flags, "--output_dir", str(tmp_path / "whole"))
    cut = killed_run(COMBINER, flags, tmp_path / "cut", at_step=9, steps=len(losses(whole)))
    run_here(clip4cir_combiner, *flags, "--output_dir", str(cut), "--resume")
    assert losses(cut) == losses(whole)
    assert (cut / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()


# With a learning rate of next to nothing every step is taken from the same weights, so that losses, gradient norms and
# figures can be compared to the last digits: Adam would blow rounding up to whole steps.
STILL = ["--epochs", "1", "--learning_rate", "1e-12", "--max_grad_norm", "1e9", "--logit_scale", "5"]


@pytest.mark.parametrize("batches", ["triplets", "photos"])
def test_two_processes_train_like_one(batches, stage1_flags, tmp_path):
    flags = [*stage1_flags, *STILL, "--batches", batches, "--symmetric"]
    one = run_here(clip4cir_finetune, *flags, "--output_dir", str(tmp_path / "one"))
    two = tmp_path / "two"
    finish(start(FINETUNE, *flags, "--output_dir", two, processes=2))
    check_equal(one, two)


def test_two_processes_train_the_combiner_like_one(stage2_flags, tmp_path):
    flags = [*stage2_flags, *STILL]
    one = run_here(clip4cir_combiner, *flags, "--output_dir", str(tmp_path / "one"))
    two = tmp_path / "two"
    output = finish(start(COMBINER, *flags, "--output_dir", two, processes=2))
    check_equal(one, two)
    assert json.loads(output.strip().splitlines()[-1])["steps"] == len(losses(two))


def check_equal(one, two):
    np.testing.assert_allclose(losses(two), losses(one), rtol=1e-6)
    norms = [[r["grad_norm"] for r in records(folder) if "grad_norm" in r] for folder in (one, two)]
    assert norms[0]
    np.testing.assert_allclose(norms[1], norms[0], rtol=1e-5)
    assert validations(two) == validations(one)


def test_the_bank_trains_like_encoding_online(stage2_flags, stage2, tmp_path):
    online = run_here(clip4cir_combiner, *stage2_flags, "--online", "--output_dir", str(tmp_path / "online"))
    np.testing.assert_allclose(losses(online), losses(stage2), rtol=1e-4)
    assert not (online / "bank").exists()


def test_chunks_train_like_the_whole_batch(stage1_flags, stage1, tmp_path):
    chunked = run_here(clip4cir_finetune, *stage1_flags, "--rows_per_chunk", "5", "--output_dir", str(tmp_path / "c"))
    np.testing.assert_allclose(losses(chunked)[:1], losses(stage1)[:1], rtol=1e-6)
    np.testing.assert_allclose(losses(chunked), losses(stage1), rtol=1e-3)


def test_max_steps_stops_and_a_longer_run_goes_on(stage1_flags, stage1, tmp_path):
    folder = str(tmp_path / "short")
    run_here(clip4cir_finetune, *stage1_flags, "--max_steps", "3", "--output_dir", folder)
    assert losses(tmp_path / "short") == losses(stage1)[:3]
    run_here(clip4cir_finetune, *stage1_flags, "--output_dir", folder, "--resume")
    assert losses(tmp_path / "short") == losses(stage1)


def test_a_damaged_checkpoint_is_named_and_other_threads_are_said(stage1_flags, tmp_path, capsys):
    folder = tmp_path / "short"
    run_here(clip4cir_finetune, *stage1_flags, "--max_steps", "2", "--output_dir", str(folder))
    torch.set_num_threads(2)
    run_here(clip4cir_finetune, *stage1_flags, "--max_steps", "3", "--output_dir", str(folder), "--resume")
    assert "written with 1 processes of 1 threads, now there are 1 of 2" in capsys.readouterr().out
    (weights,) = folder.glob("checkpoints/step-3/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match="step-3 cannot be read .* damaged or not of this run"):
        run_here(clip4cir_finetune, *stage1_flags, "--output_dir", str(folder), "--resume")


def test_an_adapter_is_saved_reloaded_and_merged(stage1, world, cache, tmp_path):
    from peft import PeftModel

    from modeling.clip4cir import CLIP4CirModel

    folder = run_here(
        clip4cir_finetune,
        *["--dataset", "fashioniq", "--data_dir", str(world), "--pixel_cache", str(cache), "--cpu"],
        *["--model", str(stage1 / "model"), "--epochs", "1", "--batch_size", "16", "--learning_rate", "1e-3"],
        *["--lora", "--lora_rank", "4", "--output_dir", str(tmp_path / "lora")],
    )
    base = CLIP4CirModel.from_pretrained(stage1 / "model")
    ids = torch.tensor([[5, 6, 7, 598]])
    plain = base.eval().get_text_features(ids)
    adapted = PeftModel.from_pretrained(base, folder / "model" / "adapter").eval()
    merged = CLIP4CirModel.from_pretrained(folder / "model").eval()
    with torch.no_grad():
        torch.testing.assert_close(adapted.get_text_features(ids), merged.get_text_features(ids), rtol=1e-4, atol=1e-5)
        assert not torch.allclose(plain, merged.get_text_features(ids), atol=1e-5)
    adapter = load_file(folder / "model" / "adapter" / "adapter_model.safetensors")
    assert adapter and all("lora_" in name for name in adapter)


def test_cirr_trains_and_keeps_a_model_for_each_mean(world, cache, architecture, tmp_path):
    folder = run_here(
        clip4cir_finetune,
        *["--dataset", "cirr", "--data_dir", str(world), "--pixel_cache", str(cache), "--cpu"],
        *["--architecture", str(architecture), "--epochs", "1", "--batch_size", "16", "--learning_rate", "1e-3"],
        *["--output_dir", str(tmp_path / "cirr")],
    )
    assert {"model", "model_harmonic_mean", "model_geometric_mean"} <= {p.name for p in folder.iterdir()}
    assert "group_recall_at1" in (folder / "validation_metrics.csv").read_text()


def test_save_last_keeps_the_last_model(stage1_flags, stage1, tmp_path):
    folder = run_here(clip4cir_finetune, *stage1_flags, "--save", "last", "--output_dir", str(tmp_path / "last"))
    assert [p.name for p in folder.glob("model*")] == ["model"]
    every = run_here(clip4cir_finetune, *stage1_flags, "--save", "every", "--output_dir", str(tmp_path / "all"))
    last = (folder / "model" / "model.safetensors").read_bytes()
    assert last == (every / "model_1" / "model.safetensors").read_bytes()
    assert last != (every / "model_0" / "model.safetensors").read_bytes()


def test_save_none_keeps_no_model(stage1_flags, tmp_path):
    folder = run_here(clip4cir_finetune, *stage1_flags, "--save", "none", "--output_dir", str(tmp_path / "none"))
    assert not (folder / "model").exists()


@pytest.mark.parametrize(
    "encoder, moves, stays", [("text", "text_model", "vision_model"), ("image", "vision_model", "text_model")]
)
def test_one_encoder_trains_alone(encoder, moves, stays, stage1, world, cache, tmp_path):
    folder = run_here(
        clip4cir_finetune,
        *["--dataset", "fashioniq", "--data_dir", str(world), "--pixel_cache", str(cache), "--cpu"],
        *["--model", str(stage1 / "model"), "--epochs", "1", "--batch_size", "16", "--learning_rate", "1e-2"],
        *["--encoder", encoder, "--output_dir", str(tmp_path / "one")],
    )
    before, after = (load_file(path / "model" / "model.safetensors") for path in (stage1, folder))
    assert all(torch.equal(before[n], after[n]) for n in before if n.startswith(stays) or n == "logit_scale")
    assert any(not torch.equal(before[n], after[n]) for n in before if n.startswith(moves))


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--batch_size", "5000"], "92 training rows are fewer than one batch of 5000; use --batch_size 92 or less"),
        (["--backbone", "RN50x4"], "give exactly one starting point"),
        (["--best_metrics", "recall_at7"], "--best_metrics recall_at7: the validation gives"),
        (["--freeze", "nothing"], "--freeze nothing: no parameter begins like this"),
        (["--protocol", "fashioniq/original"], "unknown protocol 'fashioniq/original'"),
        (["--train_split", "training"], "no split 'training'"),
    ],
)
def test_what_cannot_work_says_why(flags, message, stage1_flags, tmp_path):
    with pytest.raises(ValueError, match=message):
        run_here(clip4cir_finetune, *stage1_flags, "--output_dir", str(tmp_path / "run"), *flags)


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--backbone", "RN50x4"], "--backbone RN50x4 needs --clip_checkpoint FILE"),
        (["--backbone", "ViT-B32"], "did you mean ViT-B/32"),
        (["--backbone", "RN50", "--clip_checkpoint", "no.pt"], "no.pt: no such file"),
        ([], "got none"),
    ],
)
def test_a_wrong_starting_point_says_why(flags, message, world, tmp_path):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        run_here(
            clip4cir_finetune,
            *[
                "--dataset",
                "fashioniq",
                "--data_dir",
                str(world),
                "--cpu",
                "--output_dir",
                str(tmp_path / "run"),
                *flags,
            ],
        )


def test_padding_is_that_of_the_model_unless_another_is_asked_for(stage1):
    model = str(stage1 / "model")
    own = starting_model(BackboneArguments(model=model), [])[1].image_processor.to_dict()
    assert (own["transform"], own["target_ratio"]) == ("targetpad", 1.25)
    other = starting_model(BackboneArguments(model=model, transform="squarepad", target_ratio=1.5), [])[1]
    assert other.image_processor.to_dict() == {**own, "transform": "squarepad", "target_ratio": 1.5}
    with pytest.raises(ValueError, match="--image_size cannot be changed: --model has its own"):
        BackboneArguments(model=model, image_size=48)


def test_a_tokenizer_without_words_or_of_other_weights_is_refused(stage1, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match="no tokenizer at .*empty, its vocabulary is missing: check the name"):
        load_tokenizer(str(tmp_path / "empty"))
    with pytest.raises(OSError, match="no tokenizer at .*nowhere .*--tokenizer a folder"):
        load_tokenizer(str(tmp_path / "nowhere"))
    torch.save({"epoch": 1, "CLIP": official_clip("vit")}, tmp_path / "clip.pt")
    with pytest.raises(ValueError, match="entries and end id .* the end must be the last"):
        starting_model(
            BackboneArguments(clip_checkpoint=str(tmp_path / "clip.pt"), tokenizer=str(stage1 / "model")), []
        )


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(stage1_flags, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(FloatingPointError, match="Lower --learning_rate"):
        run_here(clip4cir_finetune, *stage1_flags, "--learning_rate", "1e25", "--output_dir", str(folder))
    assert all(np.isfinite(r["loss"]) for r in records(folder) if "loss" in r)
