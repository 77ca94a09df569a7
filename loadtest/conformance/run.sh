#!/bin/sh
# Drives the vendors' own SDKs against the simulators: what an SDK accepts here, it would accept from the vendor.
# Needs Python 3.10 or newer and PyPI. VENV names a directory to keep the SDKs in between runs.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=${VENV:-$here/.venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
cd "$here/../.."
cargo build --quiet --package loadtest --bin simulators
simulators=${CARGO_TARGET_DIR:-target}/debug/simulators
output=$(mktemp)
"$simulators" --listen 127.0.0.1:0 --api-key sim-key --stt-final-ms 50 --llm-first-token-ms 50 --tts-first-audio-ms 20 \
    --tts-speed 40 --stt-idle-ms 1500 --jitter 0 > "$output" &
pid=$!
trap 'kill $pid; rm -f "$output"' EXIT
until grep -q listening "$output"; do sleep 0.1; done
"$venv/bin/python" "$here/conformance.py" "$(sed 's/listening on //' "$output")"
