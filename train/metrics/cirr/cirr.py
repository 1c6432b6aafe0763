"""CIRR validation figures from ranks."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """\
CIRR composed retrieval: recall@1, 5, 10, 50 over the whole gallery and recall_subset@1, 2, 3 inside each query's group
of six, both with the reference image removed; the mean of R@5 and R_subset@1; and the arithmetic, harmonic and
geometric mean of the seven recalls. All in percent.
"""

_CITATION = """\
@inproceedings{liu2021cirr,
  title={Image Retrieval on Real-life Images with Pre-trained Vision-and-Language Models},
  author={Liu, Zheyuan and Rodriguez-Opazo, Cristian and Teney, Damien and Gould, Stephen},
  booktitle={ICCV},
  year={2021}
}
"""

_INPUTS = """\
Args:
    ranks: one 0-based rank of the target per query, reference removed.
    group_ranks: its 0-based rank among the query's other five group members.
Returns:
    group_recall_at1, 2, 3; recall_at1, 5, 10, 50; mean(R@5+R_s@1); arithmetic_mean, harmonic_mean, geometric_mean of
    the seven recalls (percent).
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class CIRR(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"ranks": datasets.Value("int64"), "group_ranks": datasets.Value("int64")}),
        )

    def _compute(self, ranks, group_ranks) -> dict[str, float]:
        ranks, group_ranks = np.asarray(ranks), np.asarray(group_ranks)
        if len(ranks) == 0:
            raise ValueError("no ranks: add at least one query before compute()")
        if min(ranks.min(), group_ranks.min()) < 0:
            raise ValueError("ranks are 0-based and never negative")
        result = {f"group_recall_at{k}": 100 * float(np.mean(group_ranks < k)) for k in (1, 2, 3)}
        result |= {f"recall_at{k}": 100 * float(np.mean(ranks < k)) for k in (1, 5, 10, 50)}
        seven = np.array(list(result.values()))
        result["mean(R@5+R_s@1)"] = (result["recall_at5"] + result["group_recall_at1"]) / 2
        result["arithmetic_mean"] = float(seven.mean())
        # Deviation: the original stops with an error when one of the seven recalls is 0; both means then tend to 0.
        positive = seven.min() > 0
        result["harmonic_mean"] = float(len(seven) / np.sum(1 / seven)) if positive else 0.0
        result["geometric_mean"] = float(np.exp(np.mean(np.log(seven)))) if positive else 0.0
        return result
