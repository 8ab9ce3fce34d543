"""An OpenSearch with k-NN for one machine: found, started and stopped without anybody installing a server.

`server.py` chooses where it comes from and is what the CLI and the tests call; `containers.py` runs it in Docker,
`java.py` from jars of Maven Central that `jars.py` names and `local_mode/jars.py` fetches and checks; `record.py`
remembers what runs. Nothing here
knows of releases or of what is stored in the server.
"""
