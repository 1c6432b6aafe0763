"""Fill in the blank from ranks: percent of questions whose right answer is best, ties shared."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """\
Accuracy of fill-in-the-blank questions in percent. A right answer that shares the best score with others counts 1/n, so that
an answer's place in the list is worth nothing: in the official files the right one stands first.
"""

_INPUTS = """\
Args:
    ranks: for every question, how many answers score strictly higher than the right one.
    ties: for every question, how many answers have the right one's score, itself included.
Returns:
    fill_in_blank_accuracy (percent).
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
class FillInBlank(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"ranks": datasets.Value("int64"), "ties": datasets.Value("int64")}),
        )

    def _compute(self, ranks, ties) -> dict[str, float]:
        ranks, ties = np.asarray(ranks), np.asarray(ties)
        if len(ranks) == 0:
            raise ValueError("no ranks: add at least one question before compute()")
        if ranks.min() < 0:
            raise ValueError(f"ranks are 0-based and never negative, got {ranks.min()}")
        if ties.min() < 1:
            raise ValueError(f"ties count the right answer itself, so they are 1 or more, got {ties.min()}")
        return {"fill_in_blank_accuracy": 100 * float(np.mean((ranks == 0) / ties))}
