"""From candidates to a slate: pure functions over the arrays of one request.

One scale, recency, diversity, caps, promotions, eligibility last. It does no I/O, does not know how the candidates
were found, and imports nothing of ours but contracts. The Lambda edge, the batch job and the offline evaluation call
`rerank.rerank`.
"""
