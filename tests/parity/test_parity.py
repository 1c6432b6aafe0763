"""Every number that the original systems produced, reproduced: one test per golden case."""

import json

import pytest

from tests.parity.golden import GoldenCase, choose_check, find_cases, load_checks


def test_golden_case_is_reproduced(golden_case: GoldenCase) -> None:
    choose_check(golden_case.name, load_checks(golden_case.system))(golden_case)


def test_the_longest_known_prefix_chooses_the_check() -> None:
    checks = {"fitb": lambda case: None, "fitb_gru": lambda case: None}
    assert choose_check("fitb_pooled", checks) is checks["fitb"]
    assert choose_check("fitb_gru_seed3", checks) is checks["fitb_gru"]


def test_a_case_that_no_check_understands_is_an_error() -> None:
    with pytest.raises(LookupError, match="no_such_case"):
        choose_check("no_such_case", load_checks("clip4cir"))


def test_attachments_are_no_cases_and_unbuilt_systems_wait(tmp_path) -> None:
    for system in ("built", "unbuilt"):
        (tmp_path / system).mkdir()
        (tmp_path / system / "one.json").write_text(json.dumps({"description": "a case"}))
        (tmp_path / system / "one.ranking.json").write_text(json.dumps([1, 2]))
        (tmp_path / system / "two.json").write_text(json.dumps({"version": "rc2"}))
    cases, waiting = find_cases([tmp_path], {"built"})
    assert [(case.system, case.name) for case in cases] == [("built", "one")]
    assert waiting == ["unbuilt"]


def test_a_golden_folder_without_cases_is_an_error(tmp_path) -> None:
    with pytest.raises(ValueError, match="no such folder"):
        find_cases([tmp_path / "nowhere"], {"clip4cir"})
    with pytest.raises(ValueError, match="no case in it"):
        find_cases([tmp_path], {"clip4cir"})
