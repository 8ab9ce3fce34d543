"""Hyper-parameter search on the tuning half of the validation slice, for those who want more than the derived recipe.

`search.py` trains the towers once a trial, `study.py` keeps the study in a file and goes on with it, `outcome.py` says
whether anything beats the default. A folder of its own because it alone needs Optuna, which no job in AWS has.
`cli/tune.py` calls it.
"""

from contracts.errors import ExtraMissing

try:
    import optuna  # noqa: F401  # said once for all modules of the folder
except ModuleNotFoundError as error:
    raise ExtraMissing(
        "`tandem tune` needs Optuna, which is not installed.", fix="pip install 'tandem-recommender[tune]'"
    ) from error
