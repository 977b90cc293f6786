#!/usr/bin/env bash
# Install the pack as a user would and show that the environment keeps its torch and numpy.
#
#   COMFYUI_DIR=... COMFYUI_PYTHON=... tests/nodes/fresh_install.sh [REPOSITORY]
#
# Clones the repository (default: this one) into a temporary custom_nodes, installs its requirements
# into COMFYUI_PYTHON's environment, starts the server and asks it for the pack's nodes.
set -euo pipefail
: "${COMFYUI_DIR:?a ComfyUI checkout}" "${COMFYUI_PYTHON:?the Python of its environment}"
repository=${1:-$(git -C "$(dirname "$0")" rev-parse --show-toplevel)}
base=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$base"' EXIT
kept='^(torch|torchvision|torchaudio|numpy)=='

git clone --quiet "$repository" "$base/custom_nodes/wavflow"
"$COMFYUI_PYTHON" -m pip freeze >"$base/before.txt"
"$COMFYUI_PYTHON" -m pip install --quiet -r "$base/custom_nodes/wavflow/requirements.txt"
"$COMFYUI_PYTHON" -m pip freeze >"$base/after.txt"
echo "before: $(grep -E "$kept" "$base/before.txt" | tr '\n' ' ')"
echo "after:  $(grep -E "$kept" "$base/after.txt" | tr '\n' ' ')"
echo "other changes:"
diff "$base/before.txt" "$base/after.txt" | grep '^[<>]' || true
diff <(grep -E "$kept" "$base/before.txt") <(grep -E "$kept" "$base/after.txt")

port=$("$COMFYUI_PYTHON" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
(cd "$COMFYUI_DIR" && exec "$COMFYUI_PYTHON" main.py --cpu --base-directory "$base" --port "$port" \
    --listen 127.0.0.1 --disable-api-nodes --database-url "sqlite:///$base/comfyui.db") >"$base/log.txt" 2>&1 &
server=$!
for _ in $(seq 120); do
    curl -sf "http://127.0.0.1:$port/object_info" >"$base/object_info.json" && break
    kill -0 "$server" || { tail -30 "$base/log.txt"; exit 1; }
    sleep 1
done
"$COMFYUI_PYTHON" - "$base/object_info.json" <<'PYTHON'
import json, sys
names = sorted(name for name in json.load(open(sys.argv[1])) if name.startswith("WavFlow"))
print(len(names), "nodes:", *names)
sys.exit(not names)
PYTHON
if grep -iE 'IMPORT FAILED|Cannot import|wavflow.*(warning|error)' "$base/log.txt"; then exit 1; fi
echo "no import warning"
