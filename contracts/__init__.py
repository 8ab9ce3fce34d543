"""What crosses a boundary: the shapes that stages of Tandem hand to each other.

Schema, feature encoder, fitted arrays, release manifest, publication, profile, request, slate, errors: pure data and
numpy, no I/O, nothing of ours imported. Everybody calls it; it calls nobody. A change here is a change of a stored
format, so each stored thing carries a version and says the oldest that the code still reads.
"""
