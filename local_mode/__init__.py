"""The whole loop on one machine: retraining, the demo, a dev server.

Composes what the other packages do, with the local class of each store; it holds no logic that a deployment would
need. The CLI calls it.
"""
