"""The bundle: the one folder, and its zip, that every deployed function runs from.

`python -m infra.bundle` builds it (`make build`): the libraries of the extra `lambda` for the machine that AWS runs
them on, our packages beside them, without what no request ever reads, checked, and only then moved into place. The
same recipe builds it for this machine, and that is what the tests run. It knows no CDK and no Docker.
"""
