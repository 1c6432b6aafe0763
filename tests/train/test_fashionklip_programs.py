"""FashionKLIP's training program: exact resume with its prototypes, many processes, switches, adapters, bad input."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from data_scripts.fashionklip_files import KlipLayout, NpzImages, read_captions, write_captions, write_npz
from tests.conftest import GOLDEN
from tests.train.test_fashionklip_graph import make_catalogue
from train import fashionklip_graph, fashionklip_train
from train.engine.caption_pairs import CaptionPairs, ConceptTable, PairRows, load_pairs
from train.engine.fashionklip import EpochPrototypes, Slots, parameter_groups
from train.engine.fashionklip_arguments import PairArguments

from .conftest import finish, killed_run, losses, records, run_here, start, validations

PROGRAM = "train/fashionklip_train.py"
TREE = GOLDEN / "fashionklip" / "data_small"
ARCHITECTURE = """
projection_dim: 16
vision_config: {model_type: clip_vision_model, hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1,
                num_attention_heads: 2, image_size: 16, patch_size: 8, hidden_act: quick_gelu}
text_config: {hidden_size: 32, intermediate_size: 64, num_hidden_layers: 1, num_attention_heads: 2, vocab_size: 600,
              max_position_embeddings: 40, hidden_act: quick_gelu}
"""


@pytest.fixture(scope="module")
def flags(tmp_path_factory) -> list[str]:
    path = tmp_path_factory.mktemp("architecture") / "tiny.yaml"
    path.write_text(ARCHITECTURE)
    flags = ["--data_dir", str(TREE), "--architecture", str(path), "--epochs", "2", "--batch_size", "8"]
    return [*flags, "--warmup", "2", "--learning_rate", "1e-3", "--cpu"]


@pytest.fixture(scope="module")
def finished(flags, tmp_path_factory):
    """A run on one process with the defaults: both lists of concepts against prototypes."""
    return run_here(fashionklip_train, *flags, "--output_dir", str(tmp_path_factory.mktemp("runs") / "klip"))


def steps(folder) -> list[dict]:
    return [r for r in records(folder) if "loss" in r]


def test_a_run_logs_its_losses_and_leaves_a_model_that_loads(finished):
    logged = steps(finished)
    assert len(logged) == 6
    for record in logged:
        share = record["concept_share"]
        assert 0 <= share <= 1 and record["active_slots"] <= 10
        total = (1 - share) * record["caption_loss"] + share * record["concept_loss"]
        assert record["loss"] == pytest.approx(total, rel=1e-4)
    assert all(np.isfinite(v["validation/mean_recall"]) for v in validations(finished))
    from transformers import AutoModel, AutoProcessor

    model = AutoModel.from_pretrained(finished / "model")
    processor = AutoProcessor.from_pretrained(finished / "model")
    assert model.get_text_features(**processor(text=["a coat"], return_tensors="pt")).shape == (1, 16)


def test_captions_alone_concepts_and_live_images_start_from_the_same_captions_loss(flags, finished, tmp_path):
    for number, extra in enumerate((["--concepts", "none"], ["--concept_target", "images", "--concept_weight", "0.5"])):
        folder = run_here(fashionklip_train, *flags, *extra, "--output_dir", str(tmp_path / str(number)))
        first = steps(folder)[0]
        assert first["caption_loss"] == pytest.approx(steps(finished)[0]["caption_loss"], rel=1e-6)
        assert ("concept_loss" in first) == (number == 1)
        if number == 1:
            assert first["loss"] == pytest.approx(first["caption_loss"] + 0.5 * first["concept_loss"], rel=1e-5)


def test_first_epochs_can_go_without_concepts(flags, tmp_path):
    folder = run_here(fashionklip_train, *flags, "--caption_only_epochs", "1", "--output_dir", str(tmp_path / "run"))
    with_concepts = ["concept_loss" in record for record in steps(folder)]
    assert with_concepts == [False] * 3 + [True] * 3


def test_concepts_of_the_knowledge_base_enter_the_loss(flags, finished, tmp_path):
    folder = run_here(fashionklip_train, *flags, "--concepts", "data", "--output_dir", str(tmp_path / "run"))
    assert max(record["active_slots"] for record in steps(folder)) <= 5
    assert max(record["active_slots"] for record in steps(finished)) > 5
    assert steps(folder)[0]["concept_loss"] != pytest.approx(steps(finished)[0]["concept_loss"], rel=1e-3)


def test_a_run_killed_inside_an_epoch_resumes_to_the_same_bits_with_the_same_prototypes(flags, tmp_path):
    """The epoch's prototypes come from the weights at its start, which a resumed run no longer has."""
    flags = [*flags, "--epochs", "20", "--checkpoint_steps", "2", "--checkpoint_seconds", "1000"]
    whole = run_here(fashionklip_train, *flags, "--output_dir", str(tmp_path / "whole"))
    cut = killed_run(PROGRAM, flags, tmp_path / "cut", at_step=5, steps=len(losses(whole)))
    run_here(fashionklip_train, *flags, "--output_dir", str(cut), "--resume")
    assert losses(cut) == losses(whole)
    assert validations(cut) == validations(whole)
    assert (cut / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()


# Every step is taken from the same weights, see test_clip4cir_programs.
STILL = ["--epochs", "1", "--learning_rate", "1e-12", "--max_grad_norm", "1e9"]


@pytest.mark.parametrize("target", ["prototypes", "images"])
def test_two_processes_train_like_one(target, flags, tmp_path):
    flags = [*flags, *STILL, "--concept_target", target]
    one = run_here(fashionklip_train, *flags, "--output_dir", str(tmp_path / "one"))
    two = tmp_path / "two"
    finish(start(PROGRAM, *flags, "--output_dir", two, processes=2))
    names = ("loss", "caption_loss", "concept_loss", "grad_norm")
    for first, second in zip(steps(one), steps(two), strict=True):
        assert [second[n] for n in names] == pytest.approx([first[n] for n in names], rel=1e-5)
    assert validations(two)[0] == pytest.approx(validations(one)[0], rel=1e-5)
    if target == "prototypes":  # the state of both holds what was chosen
        chosen = [newest_prototypes(folder) for folder in (one, two)]
        assert torch.equal(chosen[0]["indices"], chosen[1]["indices"])
        torch.testing.assert_close(chosen[0]["features"], chosen[1]["features"], atol=1e-5, rtol=0)


def newest_prototypes(folder) -> dict:
    """What the run saved of its prototypes with the last checkpoint."""
    states = [torch.load(p, weights_only=True) for p in folder.glob("checkpoints/step-*/custom_checkpoint_*.pkl")]
    (state,) = [s for s in states if isinstance(s, dict) and "indices" in s]
    return state


def test_adapters_train_and_the_saved_model_is_merged(flags, tmp_path):
    base = run_here(fashionklip_train, *flags, "--epochs", "1", "--output_dir", str(tmp_path / "base"))
    flags = [f for f in flags if f not in ("--architecture", flags[flags.index("--architecture") + 1])]
    flags += ["--model", str(base / "model"), "--lora", "--lora_rank", "2", "--epochs", "1"]
    tuned = run_here(fashionklip_train, *flags, "--output_dir", str(tmp_path / "tuned"))
    assert (tuned / "model" / "adapter" / "adapter_model.safetensors").is_file()
    before, after = (load_file(folder / "model" / "model.safetensors") for folder in (base, tuned))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.split(".")[-2] in ("q_proj", "v_proj") for name in changed)


def test_prototypes_can_be_kept_for_several_epochs(flags, finished, tmp_path):
    assert newest_prototypes(finished)["epoch"] == 1
    kept = run_here(fashionklip_train, *flags, "--prototype_frequency", "2", "--output_dir", str(tmp_path / "run"))
    assert newest_prototypes(kept)["epoch"] == 0
    assert losses(kept)[:3] == losses(finished)[:3] and losses(kept)[3:] != losses(finished)[3:]


def test_recomputed_activations_train_alike(flags, finished, tmp_path):
    folder = run_here(fashionklip_train, *flags, "--gradient_checkpointing", "--output_dir", str(tmp_path / "run"))
    assert losses(folder) == pytest.approx(losses(finished), rel=1e-5)


@pytest.mark.parametrize("target", ["prototypes", "images"])
def test_a_catalogue_with_its_graph_trains_with_augmented_pictures(target, flags, tmp_path):
    shop, graph = tmp_path / "shop", tmp_path / "graph"
    make_catalogue(shop)
    make_catalogue(shop, "valid", 12, seed=1)
    fashionklip_graph.main(["build", "--data_dir", str(shop), "--output_dir", str(graph), "--min_frequency", "3"])
    flags = [str(shop) if flag == str(TREE) else flag for flag in flags]
    flags += ["--dataset", "catalogue", "--graph", str(graph), "--concept_target", target, "--epochs", "1"]
    flags += ["--flip", "0.5", "--min_crop_area", "0.8", "--word_dropout", "0.2"]
    folder = run_here(fashionklip_train, *flags, "--output_dir", str(tmp_path / "run"))
    assert len(steps(folder)) == 6 and all(record["concept_loss"] > 0 for record in steps(folder))
    if target == "prototypes":  # chosen among the training photos
        assert newest_prototypes(folder)["indices"].shape[1] == 10
    without = [f for f in flags if f not in ("--graph", str(graph))]
    with pytest.raises(FileNotFoundError, match="has no concepts of its own: give --graph"):
        run_here(fashionklip_train, *without, "--output_dir", str(tmp_path / "no"))
    others = [*flags, "--caption", "title", "description"]
    with pytest.raises(ValueError, match="does not know .* of the training captions"):
        run_here(fashionklip_train, *others, "--output_dir", str(tmp_path / "other"))


def test_equal_titles_are_no_wrong_answers_unless_the_original_is_asked_for(flags, tmp_path):
    """One batch holds the whole tree, in which some captions have several pictures."""
    flags = [*flags, "--batch_size", "27", "--epochs", "1", "--concepts", "none"]
    sane = run_here(fashionklip_train, *flags, "--output_dir", str(tmp_path / "sane"))
    official = run_here(
        fashionklip_train, *flags, "--official_false_negatives", "--output_dir", str(tmp_path / "official")
    )
    assert len(losses(sane)) == 1 and losses(official)[0] > losses(sane)[0] + 0.002


def test_the_logit_scale_stays_below_its_limit(flags, tmp_path):
    folder = run_here(fashionklip_train, *flags, "--max_logit_scale", "10", "--output_dir", str(tmp_path / "run"))
    assert all(record["logit_scale"] <= 10.001 for record in steps(folder)[1:])


def test_official_switches_run_together(flags, tmp_path):
    names = ["truncation", "false_negatives", "gather", "concept_loss", "lambda", "slots", "sharded_search"]
    official = [f"--official_{name}" for name in names]
    folder = tmp_path / "run"
    output = start(PROGRAM, *flags, *official, "--concepts", "data", "--output_dir", folder).communicate(timeout=240)[0]
    # An empty slot is nan in the original, and then training can't go on: the run says so.
    assert len(steps(folder)) == 6 or "the loss is nan" in output


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--official_concept_loss"], "--concepts data --slots 5 --ranks 5"),
        (["--official_gather"], "--official_false_negatives"),
        (["--official_slots", "--slots", "4"], "leave --slots at 5"),
        (["--candidates", "5"], "below --prototypes"),
        (["--official_slots", "--resume"], "allow neither --resume"),
        (["--flip", "0.5"], "finished arrays"),
        (["--graph", "nowhere"], "make the graph again with train/fashionklip_graph.py"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(extra, message, flags, tmp_path):
    process = start(PROGRAM, *flags, *extra, "--output_dir", tmp_path / "run")
    output = process.communicate(timeout=240)[0]
    assert process.returncode != 0 and message in output and "Traceback" not in output


@pytest.fixture
def tree(tmp_path):
    """A copy of the tree to spoil."""
    return shutil.copytree(TREE, tmp_path / "tree")


def error_of(flags, tree, folder, *extra) -> str:
    flags = [str(tree) if flag == str(TREE) else flag for flag in flags]
    process = start(PROGRAM, *flags, *extra, "--output_dir", folder)
    output = process.communicate(timeout=240)[0]
    assert process.returncode != 0 and "Traceback" not in output, output[-2000:]
    return output


def test_a_damaged_picture_is_named(flags, tree, tmp_path):
    path = KlipLayout.find(tree).train_images[0]
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[2000] ^= 0xFF  # inside the first arrays
    path.write_bytes(bytes(data))
    assert "is damaged" in error_of(flags, tree, tmp_path / "run")


def test_pictures_of_another_size_are_named(flags, tree, tmp_path):
    path = KlipLayout.find(tree).train_images[0]
    images = NpzImages(path)
    ids = images.ids
    path.unlink()
    write_npz(path, [(i, np.zeros((3, 32, 32), np.float32)) for i in ids])
    assert "holds images of 32 pixels and the model takes 16" in error_of(flags, tree, tmp_path / "run")


def test_a_caption_without_its_picture_is_named_or_counted(flags, tree, tmp_path):
    path = KlipLayout.find(tree).train_captions
    captions = read_captions(path)
    path.chmod(0o644)
    write_captions(path, [*captions, type(captions[0])("9999", "a coat", ["nowhere"], [], [])])
    assert "query 9999: image nowhere" in error_of(flags, tree, tmp_path / "run")
    arguments = PairArguments(data_dir=str(tree), missing_images="skip")
    assert len(load_pairs(arguments, "train")) == len(load_pairs(PairArguments(data_dir=str(TREE)), "train"))


def test_missing_files_of_the_tree_are_named(flags, tree, tmp_path):
    layout = KlipLayout.find(tree)
    layout.kb_fathers.unlink()
    assert "--kb_concept_fathers" in error_of(flags, tree, tmp_path / "one")
    shutil.rmtree(layout.val_captions.parent)
    assert "no val captions found" in error_of(flags, tree, tmp_path / "two")


def test_a_pool_smaller_than_the_prototypes_is_used_whole(flags, tree, tmp_path):
    path = KlipLayout.find(tree).kb_images[0]
    images = NpzImages(path)
    few = [(i, images[i]) for i in images.ids[:4]]
    path.unlink()
    write_npz(path, few)
    flags = [str(tree) if flag == str(TREE) else flag for flag in flags]
    folder = run_here(fashionklip_train, *flags, "--output_dir", str(tmp_path / "run"))
    assert newest_prototypes(folder)["indices"].shape[1] == 4


def test_slots_survive_the_way_to_a_loader_process():
    import pickle

    table = ConceptTable({"red coat": 0, "coat": 1}, ["", ""], {"red coat": "coat", "coat": ""})
    pairs = CaptionPairs(["a", "b"], ["1", "2"], [["red coat"]] * 2, [["coat"]] * 2, {})
    rows = PairRows(pairs, Slots(pairs, table, table, 2, True, 2, False))
    again = pickle.loads(pickle.dumps(rows))
    assert again[1] == rows[1] and rows[1]["phrases"] == ["red coat", "coat", "coat", ""]
    assert rows[1]["numbers"] == [0, 1, 3, -1]


def test_dropped_words_depend_on_seed_epoch_and_pair_alone():
    pairs = CaptionPairs(["one two three four five six"] * 2, ["1", "2"], [[]] * 2, [[]] * 2, {})
    rows, again = (PairRows(pairs, word_dropout=0.5, seed=3) for _ in range(2))
    again.set_epoch(1)
    first, later = [rows[i]["text"] for i in (0, 1)], [again[i]["text"] for i in (0, 1)]
    assert len({*first, *later}) > 2 and first == [rows[i]["text"] for i in (0, 1)]
    assert all(set(text.split()) <= set(pairs.texts[0].split()) for text in (*first, *later))


def test_prototypes_are_chosen_once_an_epoch_and_travel_with_the_checkpoint():
    calls = []

    def choose():
        calls.append(1)
        return torch.eye(6), torch.tensor([[4, 1, -1], [1, 2, 3]])

    state = EpochPrototypes(choose)
    state.refresh(0)
    state.refresh(0)
    assert len(calls) == 1 and len(state.features) == 5  # the pool's last image stands for nothing and is let go
    found = state.lookup(torch.tensor([[0, -1], [1, 0]]))
    assert torch.equal(found[0, 0], torch.stack([torch.eye(6)[4], torch.eye(6)[1], torch.zeros(6)]))
    assert not found[0, 1].any() and torch.equal(found[1, 0], torch.eye(6)[1:4])
    other = EpochPrototypes(choose)
    other.load_state_dict(state.state_dict())
    other.refresh(0)
    assert len(calls) == 1 and torch.equal(other.lookup(torch.tensor([[1]])), state.lookup(torch.tensor([[1]])))
    other.refresh(1)
    assert len(calls) == 2


def test_norms_biases_and_scale_do_not_decay():
    from modeling.fashionklip import FashionKLIPModel
    from tests.modeling.fashionklip_examples import tiny_config

    model = FashionKLIPModel(tiny_config())
    names = {id(p): n for n, p in model.named_parameters()}
    free, decayed = ([names[id(p)] for p in group["params"]] for group in parameter_groups(model, 0.1))
    assert len(free) + len(decayed) == len(names)
    assert "logit_scale" in free and all(n.endswith(".bias") or "norm" in n or n == "logit_scale" for n in free)
    assert not any("norm" in n.rsplit(".", 2)[-2] or n.endswith("bias") for n in decayed)
    assert any("position_embedding" in n for n in decayed)


def test_the_last_line_is_json(flags, tmp_path):
    output = finish(start(PROGRAM, *flags, "--max_steps", "1", "--output_dir", tmp_path / "run"))
    assert json.loads(output.strip().splitlines()[-1])["steps"] == 1
