"""The things that are stored, one file each: releases and the pointer, the vector index, profiles.

A file holds the protocol and its classes side by side, the local one and (as it comes) the AWS one; local mode differs
by the class, not by a second code path. Stores know formats and atomicity, nothing of models or requests. Retrieval,
the index loader, the Lambda edge and training call them.
"""
