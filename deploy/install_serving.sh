#!/bin/sh
# Install the base package, at the versions of requirements.lock, into a new virtual environment.
#
# usage: deploy/install_serving.sh TARGET
#
# deploy/Dockerfile.serve and deploy/rehearse_serving.py run this same file. The checkout may be read-only.
set -eu
[ $# -eq 1 ] || { echo "usage: $0 TARGET" >&2; exit 2; }
target=$1
checkout=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3.11}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$python" -m venv "$target"
# pip writes build files beside the sources, so it gets a copy.
mkdir "$scratch/src"
(cd "$checkout" && tar -cf - pyproject.toml README.md LICENSE params.yaml sqidflow pipeline components modules \
    feature_repo schema deploy $([ -d web/dist ] && echo web/dist)) | tar -xf - -C "$scratch/src"
chmod -R u+w "$scratch/src"
"$target/bin/python" -m pip install --quiet --no-cache-dir --disable-pip-version-check --no-warn-conflicts \
    --constraint "$checkout/requirements.lock" "$scratch/src"
# Only needed to install.
"$target/bin/python" -m pip uninstall --quiet --yes setuptools pip
