#!/usr/bin/env bash
# A short form of the tests where users are, from fresh clones: in a path with a space, without any PYTHON* variable,
# with a single interpreter on PATH, and, where we are root, as an ordinary user.
#
#   tools/elsewhere.sh
#
# What was downloaded for this checkout is lent to the clones; what they install, they install for themselves.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
chmod 755 "$folder"

# clone NAME: a clone of this checkout's HEAD, with a HOME of its own beside it.
clone() {
    mkdir -p "$folder/$1/home"
    git clone --quiet "$here" "$folder/$1/a checkout"
    mkdir -p "$folder/$1/a checkout/.cache"
    for downloaded in wheels rie ric packages; do
        [ ! -e "$here/.cache/$downloaded" ] || cp -r "$here/.cache/$downloaded" "$folder/$1/a checkout/.cache/"
    done
}

# try NAME PATH COMMAND...: run the short form in that clone, with nothing in the environment but HOME and PATH.
try() {
    local name=$1 path=$2
    shift 2
    echo "== $name =="
    (cd "$folder/$name/a checkout" && "$@" env -i HOME="$folder/$name/home" PATH="$path" make test-short)
}

# One interpreter on PATH, which is the one that .venv is made from; make and git are where they are on every machine.
python=$("$here/.venv/bin/python" -c 'import os, sys; print(os.path.realpath(sys.executable))')
mkdir "$folder/bin"
ln -s "$python" "$folder/bin/python3"
clone one-interpreter
try one-interpreter "$folder/bin:/usr/bin:/bin"

if [ "$(id -u)" = 0 ] && [ -x /usr/bin/setpriv ]; then
    clone ordinary-user
    chown -R nobody "$folder/ordinary-user"
    try ordinary-user /usr/local/bin:/usr/bin:/bin setpriv --reuid=nobody --regid=nogroup --clear-groups
fi
