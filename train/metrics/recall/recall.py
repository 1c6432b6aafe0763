"""Recall at k, median rank and mean reciprocal rank from ranks."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """\
Retrieval figures from the 0-based rank of each query's best right answer: recall@k in percent, median rank (1 is best)
and mean reciprocal rank. It never sees features or scores, so any gallery size costs the same.
"""

_INPUTS = """\
Args:
    ranks: one 0-based rank per query; 0 means the first retrieved item was right.
    ks: cut-offs, default (1, 5, 10, 50).
Returns:
    recall_at<k> for each k (percent), median_rank (1-based), mean_reciprocal_rank (0..1).
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class Recall(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_INPUTS,
            features=datasets.Features({"ranks": datasets.Value("int64")}),
        )

    def _compute(self, ranks, ks=(1, 5, 10, 50)) -> dict[str, float]:
        ranks = np.asarray(ranks)
        if len(ranks) == 0:
            raise ValueError("no ranks: add at least one query before compute()")
        if ranks.min() < 0:
            raise ValueError(f"ranks are 0-based and never negative, got {ranks.min()}")
        result = {f"recall_at{k}": 100 * float(np.mean(ranks < k)) for k in ks}
        result["median_rank"] = float(np.median(ranks)) + 1
        result["mean_reciprocal_rank"] = float(np.mean(1 / (ranks + 1)))
        return result
