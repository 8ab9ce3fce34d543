"""The light steps of a night in AWS: a lease, a sealed release, its index, what serves, and how the night ended.

Each step reads the artifacts of those before it (`contracts/night.py`) and writes its own; none remembers anything.
`handler.py` has the functions that AWS calls; the heavy steps are jobs of `training_job` and `batch_job`.
"""
