"""Code that lies in several systems' folders, because each folder travels alone, is the same everywhere."""

import ast
from pathlib import Path

import pytest

MODELING = Path(__file__).resolve().parents[2] / "modeling"


def _definitions(path: Path) -> dict[str, str]:
    """Name -> code of every function and class at the top of a file, without comments and docstrings."""
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:]
            found[node.name] = ast.unparse(node)
    return found


def test_checkpoints_are_read_by_the_same_code_everywhere() -> None:
    copies = {path: path.read_bytes() for path in sorted(MODELING.glob("*/checkpoint_reading.py"))}
    assert len(copies) >= 2 and len(set(copies.values())) == 1, f"change all of {[str(path) for path in copies]}"


def test_fashionklip_prepares_pictures_with_clip4cirs_code() -> None:
    # The one difference: FashionKLIP's original doesn't pad.
    theirs = (MODELING / "clip4cir/image_processing_clip4cir.py").read_text(encoding="utf-8")
    ours = (MODELING / "fashionklip/image_processing_fashionklip.py").read_text(encoding="utf-8")
    padded, unpadded = 'transform: str = "targetpad"', 'transform: str = "clip"'
    assert padded in theirs
    assert ours == theirs.replace("CLIP4Cir", "FashionKLIP").replace(padded, unpadded)


@pytest.mark.parametrize(
    "file, names",
    [
        ("convert", ["_check_keys", "_as_float32", "_tensors", "_shape", "_count", "_grid", "_some"]),
        ("convert", ["round_to_half"]),
        ("modeling", ["normalise", "_pooled", "_feature_dim"]),
        ("processing", ["clean_text"]),
    ],
    ids=lambda value: value if isinstance(value, str) else value[0],
)
def test_functions_that_fashionklip_shares_with_clip4cir_are_the_same(file: str, names: list[str]) -> None:
    theirs = _definitions(MODELING / f"clip4cir/{file}_clip4cir.py")
    ours = _definitions(MODELING / f"fashionklip/{file}_fashionklip.py")
    for name in names:
        assert ours[name] == theirs[name].replace("CLIP4Cir", "FashionKLIP"), name


def test_the_two_systems_map_openais_names_alike() -> None:
    tables = []
    for system in ("clip4cir", "fashionklip"):
        tree = ast.parse((MODELING / f"{system}/convert_{system}.py").read_text(encoding="utf-8"))
        assigned = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
        tables.append({name: ast.literal_eval(assigned[name]) for name in ("BLOCK_NAMES", "WHOLE_NAMES")})
    clip4cir, fashionklip = tables
    assert fashionklip["BLOCK_NAMES"] == clip4cir["BLOCK_NAMES"]
    # CLIP4Cir's ResNets have a `visual.conv1.weight` too, so it isn't in its table.
    patches = {"visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight"}
    assert fashionklip["WHOLE_NAMES"] == clip4cir["WHOLE_NAMES"] | patches


@pytest.mark.parametrize(
    "file, names",
    [("image_processing", ["as_pil", "as_displayed", "_as_pixels"]), ("modeling", ["_pooled", "_feature_dim"])],
    ids=["image_processing", "modeling"],
)
def test_functions_that_bilstm_shares_with_clip4cir_are_the_same(file: str, names: list[str]) -> None:
    theirs = _definitions(MODELING / f"clip4cir/{file}_clip4cir.py")
    ours = _definitions(MODELING / f"bilstm/{file}_bilstm.py")
    for name in names:
        assert ours[name] == theirs[name].replace("CLIP4Cir", "BiLSTM"), name


@pytest.mark.parametrize(
    "file, names",
    [
        ("image_processing", ["as_pil", "as_displayed", "_as_pixels"]),
        ("convert", ["_check_keys", "_as_float32", "_shape", "_count", "_some"]),
    ],
    ids=["image_processing", "convert"],
)
def test_functions_that_fashionvil_shares_with_fashionklip_are_the_same(file: str, names: list[str]) -> None:
    theirs = _definitions(MODELING / f"fashionklip/{file}_fashionklip.py")
    ours = _definitions(MODELING / f"fashionvil/{file}_fashionvil.py")
    for name in names:
        assert ours[name] == theirs[name].replace("FashionKLIP", "FashionViL"), name
