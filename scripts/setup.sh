#!/bin/sh
# Create .venv from nothing but Python >= 3.11 and install the named groups of pyproject.toml into it, at the versions
# of constraints.txt. Does nothing when they are installed already. Usage: scripts/setup.sh local [test lint ...]
set -eu
cd "$(dirname "$0")/.."

# Trust the certificates that the machine trusts: behind a company's proxy, uv's own list knows no issuer.
export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}"
UV_VERSION=0.13.9 # resolves and links the whole set from its cache in seconds, where pip takes minutes
groups=$(printf '%s,' "$@" | sed 's/,$//')

fail() {
    printf 'setup: %s\n' "$1" >&2
    exit 1
}

find_python() {
    for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3 python; do
        [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s' "$candidate"
            return
        fi
    done
}

if [ ! -x .venv/bin/python ]; then
    python=$(find_python)
    [ -n "$python" ] || fail "no Python >= 3.11 on the PATH. Install one (e.g. 'apt-get install python3' or 'brew install python'), or name it: PYTHON=/path/to/python3 make demo"
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "$python has no venv module. On Debian and Ubuntu: 'apt-get install python3-venv'."
    printf 'setup: creating .venv with %s\n' "$("$python" --version)" >&2
    "$python" -m venv .venv || fail "could not create .venv (see above)."
fi

# An installation is known by what it was made from; any change of either file installs again.
wanted=$(cat pyproject.toml constraints.txt scripts/setup.sh | cksum | tr ' ' '-')
stamp=".venv/.installed-$groups"
[ "$(cat "$stamp" 2>/dev/null || true)" = "$wanted" ] && exit 0

[ -x .venv/bin/uv ] && .venv/bin/uv --version | grep -q " $UV_VERSION" ||
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION" ||
    fail "pip could not install uv $UV_VERSION. Is the package index reachable (proxy, PIP_INDEX_URL)?"

install() {
    .venv/bin/uv pip install --quiet --python .venv/bin/python -c constraints.txt "$@" -e ".[$groups]"
}

# PyTorch from the default index brings 4.5 GB of CUDA on Linux; without an NVIDIA card its own index has a CPU build
# of 200 MB. Where that index cannot be reached, the large one works just as well.
printf 'setup: installing %s (the first time this can take a few minutes)\n' "$groups" >&2
cpu_build_done=no
case "$groups" in
*local* | *training*)
    if [ "$(uname -s)" = Linux ] && [ ! -e /proc/driver/nvidia/version ] &&
        ! .venv/bin/python -c 'import importlib.metadata as m; m.version("torch")' 2>/dev/null; then
        if UV_HTTP_RETRIES=0 UV_HTTP_TIMEOUT=20 install --torch-backend=cpu 2>.venv/cpu-build.log; then
            cpu_build_done=yes
        else
            printf 'setup: the CPU build of PyTorch is not reachable (.venv/cpu-build.log), taking the default one\n' >&2
        fi
    fi
    ;;
esac
[ "$cpu_build_done" = yes ] || install ||
    fail "the packages could not be installed (see above). Check the network, then run the same command again; 'rm -rf .venv' starts afresh."
printf '%s' "$wanted" >"$stamp"
