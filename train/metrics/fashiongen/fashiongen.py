"""FashionGen image-text retrieval from ranks: recall at 1, 5, 10 in both directions and the mean of the six."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """\
Image-text retrieval figures of FashionGen: recall@1, 5, 10 in percent for captions that look for images and for images that
look for captions, and their mean. The ranks say which protocol it is: among the whole gallery (full) or inside each query's
own list of 101 candidates (sampled).
"""

_INPUTS = """\
Args:
    ranks: one 0-based rank per query, of its best right answer.
    directions: "text_to_image" or "image_to_text" per query.
Returns:
    <direction>_recall_at1, 5, 10 (percent) for each direction that occurs, mean_recall over all of them.
"""

_CITATION = """\
@article{rostamzadeh2018fashiongen,
  title = {Fashion-Gen: The Generative Fashion Dataset and Challenge},
  author = {Rostamzadeh, Negar and Hosseini, Seyedarian and Boquet, Thomas and Stokowiec, Wojciech and Zhang, Ying and
            Jauvin, Christian and Pal, Chris},
  journal = {arXiv preprint arXiv:1806.08317},
  year = {2018}
}
"""

DIRECTIONS = ("text_to_image", "image_to_text")
CUTOFFS = (1, 5, 10)


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class FashionGen(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"ranks": datasets.Value("int64"), "directions": datasets.Value("string")}),
        )

    def _compute(self, ranks, directions) -> dict[str, float]:
        ranks, directions = np.asarray(ranks), np.asarray(directions)
        if len(ranks) == 0:
            raise ValueError("no ranks: add at least one query before compute()")
        if ranks.min() < 0:
            raise ValueError(f"ranks are 0-based and never negative, got {ranks.min()}")
        unknown = sorted(set(directions.tolist()) - set(DIRECTIONS))
        if unknown:
            raise ValueError(f"directions are {' and '.join(DIRECTIONS)}, got {unknown[0]!r}")
        figures = {}
        for direction in (d for d in DIRECTIONS if d in directions):
            own = ranks[directions == direction]
            figures |= {f"{direction}_recall_at{k}": 100 * float(np.mean(own < k)) for k in CUTOFFS}
        return figures | {"mean_recall": float(np.mean(list(figures.values())))}
