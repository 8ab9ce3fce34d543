"""Release → what serves: verified first, then published with one write, and back again.

Knows releases and an index by its protocol; nothing of data files, training or judging (the verdict of the gate is
handed to it). The CLI and the nightly run call it. The embedded index of a small catalogue needs no loading; the
steps that fill a search engine join here; `night/` has them as functions.
"""
