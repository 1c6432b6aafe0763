"""The local Hub answers the real `huggingface_hub` client as the real Hub does.

Each test runs the client in a fresh process against the server of this process and looks at both sides.
"""

import os
import subprocess
import urllib.error
import urllib.request

import pytest

UPLOAD = """
    import os
    from pathlib import Path
    from huggingface_hub import HfApi
    api = HfApi()
    folder = Path("up"); (folder / "sub").mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text("# hello")
    (folder / "sub" / "note.txt").write_text("a note")
    (folder / "weights.bin").write_bytes(bytes(range(256)) * 40)
    api.create_repo("org/thing", exist_ok=True)
    commit = api.upload_folder(repo_id="org/thing", folder_path=folder, commit_message="add all")
"""


def test_folder_is_uploaded_in_one_commit_with_binaries_over_lfs(hub, run_client):
    oid = run_client(UPLOAD + "\n    result = commit.oid")
    repository = hub.repository("org/thing")
    assert [commit.title for commit in repository.history("main")] == ["add all", "initial commit"]
    assert repository.branches["main"] == oid
    stored = repository.at("main").files
    assert {path: file.lfs for path, file in stored.items()} == {
        "README.md": False,
        "sub/note.txt": False,
        "weights.bin": True,
    }
    assert stored["weights.bin"].content == bytes(range(256)) * 40
    assert any(method == "PUT" for method, _ in hub.log)


def test_uploading_the_same_folder_again_sends_no_bytes(hub, run_client):
    run_client(UPLOAD + "\n    result = 0")
    already = len(hub.log)
    run_client(UPLOAD + "\n    result = 0")
    assert not any(method == "PUT" for method, _ in hub.log[already:])
    assert len(hub.repository("org/thing").history("main")) == 2  # unchanged: the client makes no empty commit


def test_snapshot_and_single_files_come_back_byte_for_byte(hub, run_client):
    code = """
    from huggingface_hub import hf_hub_download, snapshot_download
    root = Path(snapshot_download("org/thing"))
    one = Path(hf_hub_download("org/thing", "weights.bin", local_dir="again"))
    result = [sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()),
              one.read_bytes() == (folder / "weights.bin").read_bytes() == (root / "weights.bin").read_bytes()]
    """
    names, equal = run_client(UPLOAD + code)
    assert names == ["README.md", "sub/note.txt", "weights.bin"] and equal


def test_client_raises_its_own_exceptions_for_what_is_missing(hub, run_client):
    code = """
    from huggingface_hub import hf_hub_download
    result = []
    for repo, file, revision in (("org/none", "a", "main"), ("org/thing", "a", "main"), ("org/thing", "a", "nope")):
        try:
            hf_hub_download(repo, file, revision=revision)
        except Exception as error:
            result.append(type(error).__name__)
    """
    names = run_client(UPLOAD + code)
    assert names == ["RepositoryNotFoundError", "RemoteEntryNotFoundError", "RevisionNotFoundError"]


def test_listing_existence_and_deletion(hub, run_client):
    code = """
    before = [api.repo_exists("org/thing"), api.repo_exists("org/none"), api.file_exists("org/thing", "sub/note.txt"),
              sorted(api.list_repo_files("org/thing")),
              [entry.path for entry in api.list_repo_tree("org/thing")],
              [entry.path for entry in api.list_repo_tree("org/thing", recursive=True)],
              [(entry.path, entry.size, entry.lfs is not None)
               for entry in api.get_paths_info("org/thing", ["weights.bin", "ghost"])]]
    api.delete_file("weights.bin", "org/thing")
    api.delete_folder("sub", "org/thing")
    result = [before, sorted(api.list_repo_files("org/thing")), [c.title for c in api.list_repo_commits("org/thing")]]
    """
    before, after, titles = run_client(UPLOAD + code)
    assert before == [
        True,
        False,
        True,
        ["README.md", "sub/note.txt", "weights.bin"],
        ["sub", "README.md", "weights.bin"],
        ["sub", "README.md", "sub/note.txt", "weights.bin"],
        [["weights.bin", 10240, True]],
    ]
    assert after == ["README.md"]
    assert len(titles) == 4 and titles[-2:] == ["add all", "initial commit"]


def test_a_commit_on_a_branch_leaves_main_alone(hub, run_client):
    code = """
    api.create_branch("org/thing", branch="try/one")
    api.upload_file(path_or_fileobj=b"new", path_in_repo="extra.txt", repo_id="org/thing", revision="try/one")
    result = [api.file_exists("org/thing", "extra.txt", revision=r) for r in ("main", "try/one")]
    result.append(sorted(b.name for b in api.list_repo_refs("org/thing").branches))
    """
    assert run_client(UPLOAD + code) == [False, True, ["main", "try/one"]]


def test_writing_without_a_token_is_refused(hub, run_client):
    code = """
    from huggingface_hub import HfApi
    try:
        HfApi().create_repo("org/thing")
        result = "created"
    except Exception as error:
        result = type(error).__name__
    """
    assert run_client(code, token=None) != "created"
    assert hub.repositories == {}


def test_private_repository_is_hidden_from_strangers(hub, run_client):
    make = """
    from huggingface_hub import HfApi
    HfApi().create_repo("org/p", private=True)
    result = 0
    """
    run_client(make)
    look = 'from huggingface_hub import HfApi\nresult = HfApi().repo_exists("org/p")'
    assert run_client(look) is True
    assert run_client(look, token=None) is False


def test_ranges_give_exactly_the_asked_bytes(hub, run_client):
    run_client(UPLOAD + "\n    result = 0")
    content = bytes(range(256)) * 40

    def get(asked):
        request = urllib.request.Request(f"{hub.url}/org/thing/resolve/main/weights.bin", headers={"Range": asked})
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers["Content-Range"], answer.read()

    assert get("bytes=10-19") == (206, "bytes 10-19/10240", content[10:20])
    assert get("bytes=10230-") == (206, "bytes 10230-10239/10240", content[10230:])
    assert get("bytes=10000-99999") == (206, "bytes 10000-10239/10240", content[10000:])
    with pytest.raises(urllib.error.HTTPError) as refused:
        get("bytes=10240-")
    assert refused.value.code == 416


def test_an_lfs_object_that_is_not_what_it_claims_is_refused(hub):
    request = urllib.request.Request(f"{hub.url}/lfs-store/{'0' * 64}", data=b"other bytes", method="PUT")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request)
    assert refused.value.code == 400 and hub.lfs_objects == {}


def test_an_address_outside_the_protocol_is_404(hub):
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{hub.url}/api/agent-harnesses")
    assert refused.value.code == 404


def test_git_names_of_files_are_those_of_git(tmp_path, hub, run_client):
    (tmp_path / "a.txt").write_text("a note")
    environment = os.environ | {"GIT_CONFIG_NOSYSTEM": "1", "HOME": str(tmp_path)}
    done = subprocess.run(
        ["git", "hash-object", "a.txt"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    run_client(UPLOAD + "\n    result = 0")
    assert hub.repository("org/thing").at("main").files["sub/note.txt"].git_oid == done.stdout.strip()
