#!/bin/sh
# Make the environment that `make demo` and `make test` use: sh tools/install.sh VENV
set -eu
venv=${1:-.venv}
python=${PYTHON:-python3.11}

missing=""
for pair in libEGL.so.1:libegl1 libGL.so.1:libgl1 libgomp.so.1:libgomp1 libusb-1.0.so.0:libusb-1.0-0; do
    /sbin/ldconfig -p | grep -q "${pair%%:*}" || missing="$missing ${pair##*:}"
done
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing >/dev/null
    else
        echo "missing system libraries for pictures; install them with: apt-get install$missing" >&2
    fi
fi

if ! command -v "$python" >/dev/null; then
    echo "error: $python not found; occflow needs Python 3.10 or 3.11 (make PYTHON=...)" >&2
    exit 2
fi
"$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 12))' || {
    echo "error: $python is $("$python" --version 2>&1); occflow needs Python 3.10 or 3.11 (make PYTHON=...)" >&2
    exit 2
}
if [ ! -x "$venv/bin/pip" ]; then
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then  # Debian ships them apart
        package=python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package" >/dev/null
        else
            echo "error: $python has no venv module; install it with: apt-get install $package" >&2
            exit 2
        fi
    fi
    "$python" -m venv "$venv"
fi
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,viewing,nuscenes,simulation,export]"
