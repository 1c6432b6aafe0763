"""Outfit compatibility from scores: area under the ROC curve, ties half."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """\
Area under the ROC curve of outfits that somebody made (label 1) against made-up ones (label 0): the share of pairs of one
outfit of each kind in which the real one scores higher, ties counting half.
"""

_INPUTS = """\
Args:
    scores: one number per outfit, higher for better outfits.
    labels: 1 or 0 per outfit.
Returns:
    compatibility_auc (0 to 1).
"""

_CITATION = """\
@inproceedings{han2017learning,
  title = {Learning Fashion Compatibility with Bidirectional LSTMs},
  author = {Han, Xintong and Wu, Zuxuan and Jiang, Yu-Gang and Davis, Larry S.},
  booktitle = {ACM Multimedia},
  year = {2017}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class OutfitCompatibility(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"scores": datasets.Value("float64"), "labels": datasets.Value("int64")}),
        )

    def _compute(self, scores, labels) -> dict[str, float]:
        scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels)
        unknown = sorted(set(labels.tolist()) - {0, 1})
        if unknown:
            raise ValueError(f"labels are 1 and 0, got {unknown[0]}")
        if not np.isfinite(scores).all():
            raise ValueError("scores must be finite numbers; leave out outfits that could not be scored")
        real, made_up = scores[labels == 1], np.sort(scores[labels == 0])
        if not len(real) or not len(made_up):
            raise ValueError(f"both labels are needed; there are {len(real)} of 1 and {len(made_up)} of 0")
        won = np.searchsorted(made_up, real, "left") + np.searchsorted(made_up, real, "right")
        return {"compatibility_auc": float(won.sum() / 2 / (len(real) * len(made_up)))}
