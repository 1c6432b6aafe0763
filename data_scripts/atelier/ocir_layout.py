"""Questions of complementary item retrieval (OCIR) about a finished Polyvore Outfits tree.

    polyvore_outfits/ocir_<disjoint|nondisjoint>_{train,test}.json      [{"question", "blank", "fake_data"}, ...]

They are made as those of the real outfits are: `data_scripts/ocir_questions.py` has the rule of questions and gallery.
"""

from __future__ import annotations

from pathlib import Path

from .outfit_layouts import POLYVORE_OUTFITS_ROOT, VERSIONS

#: Candidates of the published protocol, and the share of the outfits' number that a smaller world has instead. Ten of the
#: fifteen categories have as many garments.
PUBLISHED_CANDIDATES, CANDIDATE_SHARE = 3000, 10


def candidates_of(outfits: int) -> int:
    """Items of a category's gallery in a world of so many outfits."""
    return min(PUBLISHED_CANDIDATES, outfits // CANDIDATE_SHARE)


def ocir_files() -> list[str]:
    """Relative path of every file of questions."""
    return [
        f"{POLYVORE_OUTFITS_ROOT}/ocir_{version}_{split}.json" for version in VERSIONS for split in ("train", "test")
    ]


def write_ocir_files(world: Path, outfits: int, seed: int) -> None:
    """Write all of `ocir_files` from the world's Polyvore Outfits tree; every file gets its name when it is complete.

    Raises:
        FileNotFoundError: the tree is not there.
        OSError: a file cannot be written.
    """
    # Loaded here: it brings all builders, which drawing does not need.
    from data_scripts.derive import derive_ocir

    for version in VERSIONS:
        derive_ocir(world / POLYVORE_OUTFITS_ROOT, None, version, candidates_of(outfits), seed)
