"""The two files for the CIRR test server, and the check that reads such files."""

import json
from pathlib import Path

import pytest
import torch

from train.retrieval.cirr_submission import (
    MAX_BYTES,
    check_submission,
    submission,
    validate_submission,
    write_submission,
)

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "cirr"


def made_up(queries=7, images=60, seed=0):
    """Arguments of `submission` and the matching annotations."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.nn.functional.normalize(torch.randn(images + queries, 8, generator=generator), dim=1)
    names = [f"test1-{i}-0-img0" for i in range(images)]
    groups = [[names[i] for i in torch.randperm(images, generator=generator)[:6]] for _ in range(queries)]
    pair_ids = list(range(995, 995 + queries))
    rows = [
        {"pairid": pair, "reference": group[3], "img_set": {"members": group}}
        for pair, group in zip(pair_ids, groups, strict=True)
    ]
    return (features[images:], features[:images], names, pair_ids, [g[3] for g in groups], groups), rows


@pytest.mark.parametrize("queries", [1, 32, 33, 65])  # the original crashes when one query is left over after 32s
def test_any_number_of_queries_gives_valid_files(queries, tmp_path):
    arguments, rows = made_up(queries)
    paths = write_submission(submission(*arguments), tmp_path, "mine")
    assert [p.name for p in paths] == ["recall_submission_mine.json", "recall_subset_submission_mine.json"]
    for path in paths:
        assert validate_submission(path, rows) == []
    assert not list(tmp_path.glob("*.tmp"))


def test_names_are_those_of_the_full_sort_without_the_reference():
    arguments, _ = made_up()
    queries, gallery, names, pair_ids, references, groups = arguments
    predictions = submission(*arguments)
    for query, pair_id in enumerate(pair_ids):
        order = sorted(range(60), key=lambda row: -float(queries[query] @ gallery[row]))
        listed = [names[row] for row in order if names[row] != references[query]]
        assert predictions["recall"][str(pair_id)] == listed[:50]
        in_group = [name for name in listed if name in groups[query]]
        assert predictions["recall_subset"][str(pair_id)] == in_group[:3]


def test_files_are_one_line_with_keys_sorted_as_strings(tmp_path):
    arguments, _ = made_up()
    text = write_submission(submission(*arguments), tmp_path, "x")[1].read_bytes().decode()
    assert "\n" not in text and text.startswith('{"1000": ["test1-')
    assert list(json.loads(text)) == ["1000", "1001", "995", "996", "997", "998", "999", "metric", "version"]
    assert text.endswith('"metric": "recall_subset", "version": "rc2"}')


def test_a_gallery_too_small_for_50_names_is_written_and_reported(tmp_path):
    arguments, rows = made_up(queries=3, images=20)
    recall, subset = write_submission(submission(*arguments), tmp_path, "small")
    assert len(json.loads(recall.read_text())["995"]) == 19
    assert validate_submission(recall, rows) == ["3 answers do not list exactly 50 names, first: 995, 996, 997"]
    assert validate_submission(subset, rows) == []


def test_names_outside_the_gallery_and_repeated_pair_ids_are_refused():
    (queries, gallery, names, pair_ids, references, groups), _ = made_up()
    with pytest.raises(ValueError, match="1 image names are not in the gallery, first: nobody"):
        submission(queries, gallery, names, pair_ids, ["nobody", *references[1:]], groups)
    with pytest.raises(ValueError, match="pair id occurs twice"):
        submission(queries, gallery, names, [995] * 7, references, groups)
    with pytest.raises(ValueError, match="7 queries, 6 pair ids"):
        submission(queries, gallery, names, pair_ids[:6], references, groups)
    with pytest.raises(ValueError, match="60 gallery features but 59 names"):
        submission(queries, gallery, names[:59], pair_ids, references, groups)


@pytest.mark.parametrize("name", ["", "a/b", ".."])
def test_a_submission_name_must_be_a_file_name(name, tmp_path):
    with pytest.raises(ValueError, match="submission name"):
        write_submission({}, tmp_path, name)


def test_a_file_above_the_servers_limit_is_not_written(tmp_path):
    answers = {"version": "rc2", "metric": "recall", "1": ["n" * 100] * (MAX_BYTES // 100)}
    with pytest.raises(ValueError, match="the server takes 5,000,000"):
        write_submission({"recall_subset": {"version": "rc2"}, "recall": answers}, tmp_path / "new", "x")
    assert not (tmp_path / "new").exists()


def test_every_fault_of_a_file_is_found(tmp_path):
    arguments, rows = made_up()
    right = submission(*arguments)["recall"]
    subset = submission(*arguments)["recall_subset"]
    reference, outsider = rows[0]["reference"], next(n for n in arguments[2] if n not in arguments[5][0])
    first = right["995"]
    faults = {
        '"version" must be "rc2", got None': {k: v for k, v in right.items() if k != "version"},
        '"metric" must be one of': right | {"metric": "recall@5"},
        "1 queries have no answer, first: 997": {k: v for k, v in right.items() if k != "997"},
        "1 answers are for pair ids that the annotations do not have, first: 5": right | {"5": first},
        "1 answers are not lists of image names, first: 995": right | {"995": "name"},
        "exactly 50 names, first: 995": right | {"995": first[:49]},
        "list a name twice, first: 995": right | {"995": [first[0], *first[:49]]},
        "list the query's reference image, first: 995": right | {"995": [reference, *first[:49]]},
        "outside the query's group, first: 995": subset | {"995": [outsider, *subset["995"][:2]]},
        "expected one JSON object": [right],
    }
    for message, answers in faults.items():
        problems = check_submission(answers, rows)
        assert any(message in problem for problem in problems), (message, problems)
    broken = tmp_path / "broken.json"
    broken.write_text('{"version": ')
    assert validate_submission(broken, rows)[0].startswith("not JSON")


@pytest.mark.skipif(not REAL.is_dir(), reason=f"real CIRR submissions not at {REAL}")
@pytest.mark.parametrize(
    "name",
    [
        "test1_pred_ranks_recall",
        "test1_pred_ranks_recall_subset",
        "blip_combiner_bi_recall",
        "blip_combiner_bi_recall_subset",
    ],
)
def test_real_submissions_that_the_server_accepted_have_no_fault(name):
    annotations = REAL / "captions" / "cap.rc2.test1.json"
    assert validate_submission(REAL / "demo_submissions" / f"{name}.json", annotations) == []


@pytest.mark.skipif(not REAL.is_dir(), reason=f"real CIRR annotations not at {REAL}")
def test_a_submission_for_the_real_test_set_has_the_servers_format(tmp_path):
    from train.retrieval.composed_data import CirrQueries

    names = list(json.loads((REAL / "image_splits" / "split.rc2.test1.json").read_text()))
    rows = json.loads((REAL / "captions" / "cap.rc2.test1.json").read_text())
    asked = CirrQueries(
        names,
        [],
        [str(r["pairid"]) for r in rows],
        [r["reference"] for r in rows],
        [r["caption"] for r in rows],
        [r["img_set"]["members"] for r in rows],
    )
    queries, gallery = torch.randn(len(rows), 16), torch.randn(len(names), 16)
    predictions = submission(queries, gallery, names, asked.pair_ids, asked.references, asked.groups)
    for path in write_submission(predictions, tmp_path, "random"):
        assert validate_submission(path, rows) == []
        assert validate_submission(path, asked.annotations()) == []
        assert path.stat().st_size < MAX_BYTES
