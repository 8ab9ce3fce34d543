"""Metrics of ranked lists, one family a file, each with its formula and where it comes from.

Lists are rows [B, k] of item numbers, best first, padded with -1; what is relevant comes as `Hits`. A value that is not
defined for a user (nothing to find, too short a list) is NaN and left out of means. `evaluation.judge` calls them all.
"""
