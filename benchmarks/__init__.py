"""Speed, memory and quality, each beside what it is compared to, in one run.

Every module prints one JSON object with `--json`; `python -m benchmarks` runs the quick ones and keeps their output in
`.bench/`. Absolute times depend on the machine and its neighbours: quote the ratios.
"""
