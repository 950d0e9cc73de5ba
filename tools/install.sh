#!/bin/sh
# Make the environment that `make demo` and `make test` use: sh tools/install.sh VENV
# PYTHON names an interpreter; without it the first fitting one on the PATH is taken, else one that uv fetches.
set -eu
venv=${1:-.venv}
given=${PYTHON:-}
wanted="Python 3.10, 3.11 or 3.12"

fits() {  # runs, and is one of these; a shim of pyenv is on the PATH though it may not run
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1
}
as_root() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null
}
from_debian() {
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$@" >/dev/null
}
say() {
    echo "install: $*"
}
stop() {
    echo "error: $*" >&2
    exit 2
}

missing=""
for pair in libEGL.so.1:libegl1 libGL.so.1:libgl1 libgomp.so.1:libgomp1 libusb-1.0.so.0:libusb-1.0-0; do
    /sbin/ldconfig -p 2>/dev/null | grep -q "${pair%%:*}" || missing="$missing ${pair##*:}"
done
if [ -n "$missing" ]; then
    if as_root; then
        from_debian $missing
    else
        echo "missing system libraries for pictures; install them with: apt-get install$missing" >&2
    fi
fi

if "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    fits "$venv/bin/python" || stop "$venv has $("$venv/bin/python" --version 2>&1); occflow needs $wanted (make clean)"
    say "$venv is there, with $("$venv/bin/python" --version 2>&1)"
else
    python=""
    if [ -n "$given" ]; then
        command -v "$given" >/dev/null || stop "$given not found; occflow needs $wanted (make PYTHON=...)"
        fits "$given" || stop "$given does not fit ($("$given" --version 2>&1 | head -n 1)); occflow needs $wanted (make PYTHON=...)"
        python=$given
    else
        for name in python3.11 python3.12 python3.10; do
            if fits "$name"; then
                python=$name
                break
            fi
        done
    fi
    if [ -n "$python" ]; then
        if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then  # Debian ships them apart
            package=python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv
            as_root || stop "$python has no venv module; install it with: apt-get install $package"
            from_debian "$package"
        fi
        say "$("$python" --version 2>&1) ($(command -v "$python")) for $venv"
        "$python" -m venv "$venv"
    elif command -v uv >/dev/null; then
        say "no $wanted on the PATH: uv takes or fetches 3.11 for $venv"
        uv venv --quiet --seed --python 3.11 "$venv"
    else
        stop "no $wanted on the PATH: install one (Debian: apt-get install python3.11 python3.11-venv) or uv, which" \
            "fetches one, or name yours: make PYTHON=/path/to/python"
    fi
fi

say "packages into $venv (minutes at first)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt \
    -e ".[dev,viewing,nuscenes,simulation,export]"
"$venv/bin/python" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("spconv") is None)' ||
    say "no spconv for this machine: sparse convolutions run by torch alone, slower on a CPU"
