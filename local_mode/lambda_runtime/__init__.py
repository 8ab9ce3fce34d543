"""AWS Lambda on this machine: the runtime client that AWS itself runs functions with, behind a small Runtime API.

A function starts from its bundle and nothing else, in a process of its own, and is called, frozen, thawed, timed out
and restored as Lambda does it. What cannot be had here is said where it is missing: CPU shares, memory limits, the
snapshot of a memory. It knows nothing of what a function does. `tandem aws rehearse-serving`, the benchmarks and the
tests call it.
"""
