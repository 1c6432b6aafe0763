"""Outfit complementary item retrieval from ranks: recall at 10, 30, 50, averaged over the categories."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """\
Recall@10, 30, 50 in percent of the item that completes an outfit among the items of its category, computed per category and
averaged over the categories without weights, and the mean of the three.
"""

_INPUTS = """\
Args:
    ranks: one 0-based rank per question, of the missing item.
    categories: the missing item's category, per question.
Returns:
    recall_at10, recall_at30, recall_at50, average_recall (percent).
"""

_CITATION = """\
@inproceedings{lin2020fashion,
  title = {Fashion Outfit Complementary Item Retrieval},
  author = {Lin, Yen-Liang and Tran, Son and Davis, Larry S.},
  booktitle = {CVPR},
  year = {2020}
}
"""

CUTOFFS = (10, 30, 50)


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class OCIR(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"ranks": datasets.Value("int64"), "categories": datasets.Value("string")}),
        )

    def _compute(self, ranks, categories) -> dict[str, float]:
        ranks, categories = np.asarray(ranks), np.asarray(categories)
        if len(ranks) == 0:
            raise ValueError("no ranks: add at least one question before compute()")
        if ranks.min() < 0:
            raise ValueError(f"ranks are 0-based and never negative, got {ranks.min()}")
        groups = [ranks[categories == category] for category in dict.fromkeys(categories.tolist())]
        figures = {f"recall_at{k}": 100 * float(np.mean([np.mean(own < k) for own in groups])) for k in CUTOFFS}
        return figures | {"average_recall": float(np.mean(list(figures.values())))}
