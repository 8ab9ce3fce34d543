"""Offline truth: splits, metrics, intervals, report.

It judges fitted arrays that it is given, through the same retrieval and re-ranking that serve; every metric is computed
in one place. It does not know how a model was trained. `training_job` (backtest and gate) and the CLI call it.
"""
