"""Who may import whom, and what the Hub's copying of code can follow."""

import ast
import functools
import re
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = {"modeling", "data_scripts", "train", "tests"}

# Beside the standard library and the own folder. A system's code travels to machines that have only these.
MODELING_MAY = {"torch", "numpy", "PIL", "transformers", "safetensors", "huggingface_hub.dataclasses"}
# Where an original repairs text with it, and only inside a `try`.
MODELING_MAY_TRY = {"ftfy"}


def _sources(folder: str) -> list[Path]:
    return sorted((REPOSITORY / folder).rglob("*.py"))


def imports_of(source: str) -> list[tuple[str, int, bool]]:
    """(module, relative level, inside a `try`) of every import statement, at any depth."""
    found = []

    def walk(node: ast.AST, guarded: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend((alias.name, 0, guarded) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.level, guarded))
        elif isinstance(node, ast.Try):
            handled = any(
                isinstance(name, ast.Name) and name.id in ("ImportError", "ModuleNotFoundError")
                for handler in node.handlers
                for name in ast.walk(handler.type or ast.Pass())
            )
            for child in node.body:
                walk(child, guarded or handled)
            for child in (*node.handlers, *node.orelse, *node.finalbody):
                walk(child, guarded)
            return
        for child in ast.iter_child_nodes(node):
            walk(child, guarded)

    walk(ast.parse(source), False)
    return found


def forbidden_in_modeling(source: str, siblings: set[str]) -> list[str]:
    """Imports of a file under modeling/<system>/ that a Hub user could not follow."""
    problems = []
    for module, level, guarded in imports_of(source):
        name = "." * level + module
        top = module.partition(".")[0]
        if level == 1 and module in siblings:
            continue
        if level:
            problems.append(f"{name}: only `from .sibling import name` is copied to the Hub")
        elif any(module == allowed or module.startswith(allowed + ".") for allowed in MODELING_MAY):
            continue
        elif top in sys.stdlib_module_names or (guarded and top in MODELING_MAY_TRY):
            continue
        else:
            problems.append(f"{name}: not among what a Hub user has")
    return problems


def forbidden_text(source: str, siblings: set[str]) -> list[str]:
    """Text that transformers' scan for files to copy stumbles over: it reads strings and comments as code."""
    found = re.findall(r"^\s*(?:from|import)\s+(\.[.\w]*)(?:\s+import|\s*$)", source, flags=re.MULTILINE)
    return [name for name in found if not (re.fullmatch(r"\.\w+", name) and name[1:] in siblings)]


def forbidden_between_parts(source: str, may_not: set[str]) -> list[str]:
    return [module for module, level, _ in imports_of(source) if not level and module.partition(".")[0] in may_not]


def test_a_system_imports_only_what_travels_with_it() -> None:
    files = [path for path in _sources("modeling") if path.parent.name != "modeling"]
    assert files
    for path in files:
        siblings = {other.stem for other in path.parent.glob("*.py")}
        source = path.read_text(encoding="utf-8")
        assert forbidden_in_modeling(source, siblings) == [], path
        assert forbidden_text(source, siblings) == [], path


def test_data_scripts_import_neither_models_nor_programs() -> None:
    for path in _sources("data_scripts"):
        assert forbidden_between_parts(path.read_text(encoding="utf-8"), {"modeling", "train", "tests"}) == [], path


def test_programs_do_not_import_tests() -> None:
    for path in [*_sources("train"), *_sources("modeling")]:
        assert forbidden_between_parts(path.read_text(encoding="utf-8"), {"tests"}) == [], path


def test_no_part_needs_torchvision_timm_or_open_clip() -> None:
    for folder in PROJECT:
        for path in _sources(folder):
            names = {module.partition(".")[0] for module, level, _ in imports_of(path.read_text("utf-8")) if not level}
            assert not names & {"torchvision", "timm", "open_clip"}, path


def test_no_program_hides_a_library() -> None:
    # A program's folder comes first on its path, so train/evaluate.py would be found in the place of `evaluate`.
    names = {path.stem for path in (REPOSITORY / "train").iterdir() if path.suffix == ".py" or path.is_dir()}
    libraries = {
        "evaluate",
        "datasets",
        "accelerate",
        "transformers",
        "torch",
        "peft",
        "tokenizers",
        "safetensors",
        "yaml",
    }
    assert not names & (libraries | sys.stdlib_module_names)


def test_files_of_one_system_have_names_of_their_own() -> None:
    # All files of a saved model lie in one folder, so a base name may occur once below a system.
    for system in (path for path in (REPOSITORY / "modeling").iterdir() if (path / "__init__.py").exists()):
        names = [path.name for path in system.rglob("*.py")]
        assert len(names) == len(set(names)), system


@pytest.mark.parametrize(
    "line, allowed",
    [
        ("from .sibling import f", True),
        ("import torch.nn", True),
        ("from huggingface_hub.dataclasses import strict", True),
        ("try:\n    import ftfy\nexcept ImportError:\n    ftfy = None", True),
        ("import ftfy", False),
        ("try:\n    import ftfy\nfinally:\n    pass", False),
        ("def f():\n    import scipy", False),
        ("from . import sibling", False),
        ("from ..other import f", False),
        ("from .layers.sibling import f", False),
        ("from .ghost import f", False),
        ("from modeling.clip4cir import x", False),
        ("from huggingface_hub import hf_hub_download", False),
    ],
)
def test_the_walker_tells_allowed_imports_from_others(line: str, allowed: bool) -> None:
    assert (forbidden_in_modeling(line, {"sibling"}) == []) == allowed


def test_the_walker_reads_strings_as_the_hub_does() -> None:
    assert forbidden_text('"""\n    from .ghost import x\n"""', {"sibling"}) == [".ghost"]
    assert forbidden_text("# nothing\nfrom .sibling import (\n    x,\n)", {"sibling"}) == []
    assert forbidden_text("from . import sibling", {"sibling"}) == ["."]


@functools.cache
def _defined_in(path: Path) -> set[str]:
    """Names that a module binds at its top level, in whatever branch."""
    names: set[str] = set()

    def walk(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(child.name)
                continue
            if isinstance(child, ast.Import | ast.ImportFrom):
                names.update((alias.asname or alias.name).split(".")[0] for alias in child.names)
            elif isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store):
                names.add(child.id)
            walk(child)

    walk(ast.parse(path.read_text(encoding="utf-8")))
    return names


@pytest.mark.parametrize("folder", sorted(PROJECT))
def test_what_is_imported_from_the_project_exists(folder: str) -> None:
    """Programs import inside functions, where a name that has moved would be found only when it is needed."""
    lost = []
    for source in _sources(folder):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            module = node.module or "" if isinstance(node, ast.ImportFrom) and not node.level else ""
            if module.partition(".")[0] not in PROJECT:
                continue
            place = REPOSITORY.joinpath(*module.split("."))
            file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
            known = _defined_in(file) if file.is_file() else set()
            known |= {path.stem for path in place.iterdir()} if place.is_dir() else set()
            where = f"{source.relative_to(REPOSITORY)}:{node.lineno}"
            lost += [f"{where}: {module}.{alias.name}" for alias in node.names if alias.name not in known]
    assert not lost
