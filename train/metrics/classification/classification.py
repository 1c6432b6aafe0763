"""Product classification from predictions: accuracy and macro F1."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """\
Accuracy and macro F1 in percent of predicted classes. Macro F1 is the unweighted mean over the classes that occur among the
predictions or the references; a class that is only predicted has F1 0.
"""

_INPUTS = """\
Args:
    predictions: predicted class per row.
    references: right class per row.
Returns:
    accuracy, macro_f1 (percent).
"""

_CITATION = """\
@inproceedings{han2022fashionvil,
  title = {FashionViL: Fashion-Focused Vision-and-Language Representation Learning},
  author = {Han, Xiao and Yu, Licheng and Zhu, Xiatian and Zhang, Li and Song, Yi-Zhe and Xiang, Tao},
  booktitle = {ECCV},
  year = {2022}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class Classification(evaluate.Metric):
    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features({"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}),
        )

    def _compute(self, predictions, references) -> dict[str, float]:
        predictions, references = np.asarray(predictions), np.asarray(references)
        if len(references) == 0:
            raise ValueError("no rows: add at least one prediction before compute()")
        scores = []
        for label in np.union1d(predictions, references):
            right = np.sum((predictions == label) & (references == label))
            scores.append(2 * right / (np.sum(predictions == label) + np.sum(references == label)))
        accuracy = float(np.mean(predictions == references))
        return {"accuracy": 100 * accuracy, "macro_f1": 100 * float(np.mean(scores))}
