"""Cards hold the figures of runs, all of them, and no others."""

import json
from types import SimpleNamespace

import pytest
import yaml
from huggingface_hub import ModelCard

from train.engine.cards import (
    CardFacts,
    check_figures,
    check_weights,
    eval_results_files,
    figures_of,
    model_card,
    origin_of,
    read_results,
    results_section,
    weights_sha256,
)
from train.retrieval.loading import describe_model

RESULT = {
    "protocol": "fashioniq/val-split",
    "data": {
        "name": "Atelier",
        "fingerprint": "0123456789abcdef0123",
        "queries": 320,
        "gallery": {"dress": 500, "shirt": 1200},
    },
    "split": "val",
    "seed": 0,
    "figures": {
        "average/recall@10": {"value": 41.256, "low": 38.5, "high": 44.0, "unit": "percent"},
        "average/recall@50": {"value": 70.0, "low": 67.25, "high": 72.75, "unit": "percent"},
    },
    "controls": {"image_only": {"average/recall@10": {"value": 7.5, "low": 6.0, "high": 9.0, "unit": "percent"}}},
}
OTHER = RESULT | {"protocol": "fashioniq/original-split", "figures": {"average/recall@10": {"value": 35.125}}}
FACTS = CardFacts("org/combiner", "clip4cir", "combiner", base_model=["openai/clip"], features={"get_x": [1, 8]})


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def test_one_result_and_several_are_read_alike(tmp_path):
    single = read_results(write(tmp_path / "one.json", RESULT))
    several = read_results(write(tmp_path / "two.json", {"results": [RESULT, OTHER]}))
    assert single == several[:1]
    assert [f.value for f in figures_of(several)] == [41.256, 70.0, 35.125]
    assert figures_of(single)[0].low == 38.5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"protocol": "p"', "is not JSON"),
        ('{"protocol": "p", "figures": {}}', "has no data"),
        ('{"data": "d", "protocol": "p", "figures": {"recall@10": {"low": 1}}}', "recall@10"),
        ("[3]", "expected one result"),
    ],
)
def test_a_results_file_that_cannot_be_trusted_is_refused(tmp_path, content, message):
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_results(tmp_path / "results.json")


def test_metadata_keeps_protocols_of_one_data_set_apart(tmp_path):
    (tmp_path / "README.md").write_text(model_card(FACTS, [RESULT, OTHER]))
    card = ModelCard.load(tmp_path / "README.md")
    read = {(r.dataset_config, r.metric_type): r.metric_value for r in card.data.eval_results}
    assert read == {
        ("fashioniq/val-split", "average/recall@10"): 41.256,
        ("fashioniq/val-split", "average/recall@50"): 70.0,
        ("fashioniq/original-split", "average/recall@10"): 35.125,
    }
    assert {r.dataset_name for r in card.data.eval_results} == {"Atelier"}
    assert card.data.license == "apache-2.0" and card.data.base_model == ["openai/clip"]
    assert card.data.library_name == "transformers" and card.data.language == ["en"]


def test_table_shows_the_model_beside_its_controls_with_intervals():
    table = results_section([RESULT])
    assert "| metric | this model | image only |" in table
    assert "| average/recall@10 | 41.26 [38.50, 44.00] | 7.50 [6.00, 9.00] |" in table
    assert "| average/recall@50 | 70.00 [67.25, 72.75] | - |" in table
    assert (
        "320 queries, galleries of 500 (dress), 1,200 (shirt)" in table
        and "0123456789abcdef" in table
        and "seed 0" in table
    )


def test_data_in_an_official_layout_is_not_called_by_the_official_name():
    unnamed = RESULT | {"data": {"fingerprint": "ff"}}
    assert figures_of([unnamed])[0].data == "data in the FashionIQ layout"


def test_eval_results_hold_every_figure_once_per_protocol():
    files = eval_results_files([RESULT, OTHER])
    assert sorted(files) == [
        ".eval_results/fashioniq_original-split-val.yaml",
        ".eval_results/fashioniq_val-split-val.yaml",
    ]
    entries = yaml.safe_load(files[".eval_results/fashioniq_val-split-val.yaml"])
    assert [entry["value"] for entry in entries] == [41.256, 70.0]
    assert entries[0]["dataset"] == {"id": "atelier", "task_id": "fashioniq/val-split/val/average/recall@10"}


def test_card_without_a_run_says_not_evaluated_and_claims_nothing():
    card = model_card(FACTS, [])
    assert "Not evaluated" in card and "model-index" not in card
    assert eval_results_files([]) == {}


@pytest.mark.parametrize(
    "line",
    ["Reaches a recall of 41.27.", "R@10 is 44.1 here", "It finds 52 % of the targets.", "accuracy: 99.9%"],
)
def test_hand_written_figure_without_a_run_is_refused(line):
    with pytest.raises(ValueError, match="no run behind"):
        check_figures(f"First line.\n{line}", [RESULT], "notes.md")
    with pytest.raises(ValueError, match="--notes, line 1"):
        model_card(CardFacts("org/x", "clip4cir", "sum", notes=line), [RESULT])


@pytest.mark.parametrize(
    "line",
    [
        "Recall@10 is 41.3, rounded, and 41.26 in full; image only gets 7.5 %.",
        "Its 95 % interval ends at a recall of 44.0.",
        "Trained at a learning rate of 0.00002 for 30 epochs on transformers 5.23.",
        "`recall 12.5` in a code span is an example",
    ],
)
def test_figures_of_the_run_and_other_numbers_may_be_written(line):
    check_figures(line, [RESULT], "notes.md")


def test_training_arguments_are_shown_without_the_paths_of_the_machine():
    arguments = {
        "program": "train/clip4cir_combiner.py",
        "learning_rate": 2e-5,
        "data_dir": "/home/me/secret/fashioniq",
    }
    card = model_card(CardFacts("org/x", "clip4cir", "combiner", arguments=arguments), [])
    assert "accelerate launch train/clip4cir_combiner.py --config arguments.yaml" in card
    assert "data_dir: path/to/fashioniq" in card and "secret" not in card


def test_an_unknown_kind_of_model_names_the_text_to_write():
    with pytest.raises(FileNotFoundError, match="no_such_model.md"):
        model_card(CardFacts("org/x", "no_such_model"), [])


def test_adapter_card_takes_the_processor_from_the_base_model():
    card = model_card(CardFacts("org/lora", "clip4cir", "sum", adapter=True, base_model=["org/base"]), [])
    assert 'AutoModel.from_pretrained("org/lora"' in card
    assert 'AutoProcessor.from_pretrained("org/base"' in card
    assert "library_name: peft" in card


def test_figures_of_other_weights_are_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    result = RESULT | {"model": {"weights_sha256": weights_sha256(tmp_path)}}
    check_weights([result], tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(ValueError, match="measured on weights"):
        check_weights([result], tmp_path)
    with pytest.raises(ValueError, match="fashioniq/val-split"):
        check_weights([RESULT], tmp_path)


def test_weights_digest_is_the_one_that_evaluation_writes(tmp_path):
    for name in ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"):
        (tmp_path / name).write_bytes(name.encode())
    config = SimpleNamespace(model_type="clip4cir", _commit_hash=None)
    described = describe_model(str(tmp_path), SimpleNamespace(config=config))
    assert described["weights_sha256"] == weights_sha256(tmp_path)


def test_two_results_that_metadata_cannot_tell_apart_are_refused():
    same_name = RESULT | {"data": {"name": "Atelier", "fingerprint": "ffff"}}
    with pytest.raises(ValueError, match="--data_name"):
        model_card(FACTS, [RESULT, same_name])
    other_name = RESULT | {"data": {"name": "Shop", "fingerprint": "ffff"}}
    assert "on Shop" in model_card(FACTS, [RESULT, other_name])
    (text,) = eval_results_files([RESULT, other_name]).values()
    assert len(yaml.safe_load(text)) == 4


def test_the_origin_of_a_converted_model_stays_when_its_card_is_written_anew(tmp_path):
    notes = "Converted with `train/convert.py` from:\n\n- `combiner.pt` (SHA-256 `ab12`)"
    first = model_card(CardFacts("org/x", "clip4cir", "combiner", notes=notes), [])
    (tmp_path / "README.md").write_text(first)
    again = model_card(CardFacts("org/x", "clip4cir", "combiner", origin=origin_of(tmp_path)), [RESULT])
    assert notes in again and "holds no training arguments" not in again
    (tmp_path / "README.md").write_text("# Someone else's\n## How it was made\nby hand")
    assert origin_of(tmp_path) == ""
