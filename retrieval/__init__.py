"""From a profile to candidates: arrays in, arrays out.

The user tower's forward pass, the ALS fold-in, the cold-start routes of decision 6, popular and similar items, request
filters and eligibility. It knows no files, no HTTP and no slate: an index is reached only through its protocol, and
ordering what it finds is `reranking`'s work. The Lambda edge, the batch job and the offline evaluation call it.
"""
