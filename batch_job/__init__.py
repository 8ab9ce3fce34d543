"""Work for all users at once, outside of requests: profiles from the events of a dataset.

Knows datasets and stores, nothing of judging. The nightly run calls it. Recommendations to files and forgetting a user
join here.
"""
