"""FashionIQ validation figures from ranks."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """\
FashionIQ composed retrieval: recall@10 and recall@50 per category, their unweighted means over the categories, and the
mean of those two (average_recall), all in percent. Which gallery the ranks come from is the protocol's business
(original split, or the references and targets only): never compare figures of two galleries. The reference image stays
in the ranking.
"""

_CITATION = """\
@inproceedings{wu2021fashioniq,
  title={Fashion IQ: A New Dataset Towards Retrieving Images by Natural Language Feedback},
  author={Wu, Hui and Gao, Yupeng and Guo, Xiaoxiao and Al-Halah, Ziad and Rennie, Steven and Grauman, Kristen and
          Feris, Rogerio},
  booktitle={CVPR},
  year={2021}
}
"""

_INPUTS = """\
Args:
    ranks: one 0-based rank of the target per query, inside the gallery of its category.
    categories: the query's category, e.g. "dress", "shirt", "toptee".
    ks: cut-offs, default (10, 50).
Returns:
    <category>_recall_at<k>, average_recall_at<k>, average_recall (percent).
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class FashionIQ(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"ranks": datasets.Value("int64"), "categories": datasets.Value("string")}),
        )

    def _compute(self, ranks, categories, ks=(10, 50)) -> dict[str, float]:
        ranks, categories = np.asarray(ranks), np.asarray(categories)
        if len(ranks) == 0:
            raise ValueError("no ranks: add at least one query before compute()")
        if ranks.min() < 0:
            raise ValueError(f"ranks are 0-based and never negative, got {ranks.min()}")
        names = list(dict.fromkeys(categories.tolist()))
        result = {}
        for name in names:
            of_category = ranks[categories == name]
            for k in ks:
                result[f"{name}_recall_at{k}"] = 100 * float(np.mean(of_category < k))
        for k in ks:
            result[f"average_recall_at{k}"] = float(np.mean([result[f"{name}_recall_at{k}"] for name in names]))
        result["average_recall"] = float(np.mean([result[f"average_recall_at{k}"] for k in ks]))
        return result
