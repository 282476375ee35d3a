#!/bin/sh
# Usage: install.sh PYTHON VENV REQUIREMENTS. Installs once for each state of the requirement files.
set -e
python=$1 venv=$2 requirements=$3
stamp="$venv/$(basename "$requirements" .txt).stamp"
state=$(cat requirements.txt "$requirements" constraints.txt | sha256sum)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$state" ] && exit 0

command -v "$python" > /dev/null || { echo "Blindspot needs Python 3.11: install it, or run make PYTHON=/path/to/python3.11." >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { echo "Blindspot needs Python 3.11, but $python is $("$python" --version)." >&2; exit 1; }
echo "Installing Python packages of $requirements into $venv (several GB; a few minutes, once)."
"$venv/bin/python" -m pip --version > /dev/null 2>&1 || "$python" -m venv --clear "$venv" || {
    rm -rf "$venv"
    echo "Python's venv module is missing: install it, on Debian with apt-get install python3.11-venv." >&2
    exit 1
}
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
printf '%s\n' "$state" > "$stamp"
