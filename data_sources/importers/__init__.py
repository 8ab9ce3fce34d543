"""The formats that public data sets come in become datasets: one module a format, `lines` and `imported` under them.

An importer reads lines, tells apart rows and what is none, and hands tables to `imported`, which writes a dataset or
nothing. Knows the formats' own files and nothing of training. The CLI calls it.
"""
