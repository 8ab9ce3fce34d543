"""Who sees which variant, what a variant may change, and whether it mattered.

Assignment is light (contracts and GrowthBook's SDK) and runs in every request; what judges logs afterwards is in
`analysis` and brings libraries that a function must not load.
"""
