"""A stand-in for the `docker` command: runs a process that greets like OpenSearch, and keeps the words of `run`.

Called with its own folder before docker's words.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path


def main(folder: Path, words: list[str]) -> int:
    """One docker command; its exit status."""
    pid_file = folder / "container.pid"
    if words[0] == "serve":
        _serve(int(words[1]), words[2])
    if words[0] == "run":
        (folder / "run.txt").write_text("\n".join(words))
        port = words[words.index("-p") + 1].split(":")[1]
        cluster = next(word.split("=")[1] for word in words if word.startswith("cluster.name="))
        command = [sys.executable, __file__, str(folder), "serve", port, cluster]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet, start_new_session=True)
        pid_file.write_text(str(process.pid))
    if words[0] == "inspect":
        sys.stdout.write("true\n" if pid_file.exists() else "false\n")
    if words[0] == "stop" and pid_file.exists():
        os.kill(int(pid_file.read_text()), signal.SIGTERM)
        pid_file.unlink()
    return 0


def _serve(port: int, cluster: str) -> None:
    class Greeter(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"cluster_name": cluster, "version": {"number": "3.5.0"}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    HTTPServer(("127.0.0.1", port), Greeter).serve_forever()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
