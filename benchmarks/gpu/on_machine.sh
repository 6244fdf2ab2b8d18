#!/bin/sh
# Runs the checks on a machine with a GPU: needs a Python with JAX, and no network.
# Usage: benchmarks/gpu/on_machine.sh FOLDER [arguments of python -m benchmarks.gpu]
# FOLDER is that of `make gpu-bring`; it is used if this Python lacks something.
set -eu
folder=${1:?usage: on_machine.sh FOLDER [ARGUMENTS]}
shift
[ ! -d "$folder" ] || folder=$(cd "$folder" && pwd)
here=$PWD
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
# relative to where the caller is, as FOLDER; a name is looked up on PATH
case $python in */*) [ "${python#/}" != "$python" ] || python=$here/$python ;; esac

site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH="$site:$PWD${PYTHONPATH:+:$PYTHONPATH}"

lacks() {
    ! "$python" -c "import $1" 2>/dev/null
}

if lacks 'attrs, click, cloudpickle, flatbuffers, graphlay, msgspec, platformdirs, rich, safetensors, trio, pyfuse3, pytest'; then
    wheels=$folder/$("$python" -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
    if [ ! -d "$wheels" ]; then
        echo "$("$python" --version) lacks packages, and $wheels does not exist:" \
            "make gpu-bring GPU_PYTHON=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" >&2
        exit 1
    fi
    "$python" -m pip install -q --no-index --no-deps --disable-pip-version-check --no-input \
        --root-user-action=ignore --target "$site" "$wheels"/*.whl 2>"$site/pip.log" ||
        for wheel in "$wheels"/*.whl; do # a wheel is an archive of what is to be there
            "$python" -m zipfile -e "$wheel" "$site"
        done
    if lacks pyfuse3; then
        export LD_LIBRARY_PATH="$folder/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
        ! lacks pyfuse3 || echo "pyfuse3 cannot be imported: nothing will be mounted" >&2
    fi
fi
"$python" -m benchmarks.gpu "$@"
