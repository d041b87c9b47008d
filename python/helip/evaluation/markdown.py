"""Results of evaluations as Markdown, such as for the card of a model."""

from __future__ import annotations

import os

from helip.evaluation.suite import read_results
from helip.evaluation.table import Results, tables, tables_as_markdown

_NO_CONTROL = (
    "None of the models is called control, so what hard pairs gain over plain batches was not "
    "measured."
)


def results_as_markdown(
    results: Results | str | os.PathLike[str], *, baseline: str | None = None
) -> str:
    """Headline figures of models on data sets, a table a set, with paired differences.

    Args:
        results: what :func:`evaluate_all` returns, data set to model to result, or the folder that
            it wrote.
        baseline: what models are compared with; None: the one called "control", where there is
            one. Where there is none, the text says so.

    Raises:
        InvalidArgumentError: no results; ``baseline`` is none of the models.
    """
    if isinstance(results, (str, os.PathLike)):
        results = read_results(results)
    text = tables_as_markdown(tables(results, baseline=baseline)).strip()
    names = {model.lower() for models in results.values() for model in models}
    controlled = baseline is not None or "control" in names
    return text if controlled else f"{text}\n\n{_NO_CONTROL}"
