"""Saved weights, all of them or an error."""

from typing import Any


def whole_model(model_class: Any, name: str, **options: Any) -> Any:
    """`model_class.from_pretrained`, but weights that are not all there are an error.

    transformers fills missing tensors with random numbers and only warns. The counters of batch norm may be missing, as in
    files of older programs: they start at 0 and no output depends on them.

    Raises:
        ValueError: weights that cannot be read, are incomplete, or are of other sizes than the configuration says.
    """
    from safetensors import SafetensorError

    try:
        model, report = model_class.from_pretrained(name, output_loading_info=True, **options)
    except SafetensorError as error:
        raise ValueError(f"{name}: the weights cannot be read ({error}); copy or fetch them again") from error
    lost = {*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])}
    lost = sorted(key for key in lost if not key.endswith(".num_batches_tracked"))
    if lost:
        raise ValueError(
            f"{name}: {len(lost)} tensors of the configuration are not among the weights, or have another size, e.g. "
            f"{', '.join(lost[:3])}; weights and config.json must be of one model, copy or fetch both again"
        )
    return model
