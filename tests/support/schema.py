"""What ComfyUI tells of our nodes, reduced to what a workflow depends on, kept in tests/data."""

import json
from pathlib import Path

SNAPSHOT = Path(__file__).parents[1] / "data" / "object_info.json"
# Their choices are the files of one machine.
FILES = {
    ("WavFlowLoadModel", "checkpoint"),
    ("WavFlowLoadCLIP", "file"),
    ("WavFlowLoadSynchformer", "file"),
    ("WavFlowLoadVideo", "file"),
    ("WavFlowLoadFeatures", "file"),
}


def snapshot():
    return json.loads(SNAPSHOT.read_text())


def reduce(object_info):
    """Ours of a server's ``/object_info``, equal on all versions of ComfyUI."""
    ours = {name: info for name, info in object_info.items() if name.startswith("WavFlow")}
    return {name: _node(name, info) for name, info in sorted(ours.items())}


def _node(name, info):
    inputs = {
        group: {key: _input(name, key, spec) for key, spec in info["input"].get(group, {}).items()}
        for group in ("required", "optional")
    }
    return {
        "display_name": info["display_name"],
        "category": info["category"],
        "output_node": info["output_node"],
        **inputs,
        "outputs": [list(pair) for pair in zip(info["output_name"], info["output"], strict=True)],
    }


def _input(node, key, spec):
    kind, options = spec[0], dict(spec[1])
    if (node, key) in FILES:
        options["options"] = []
    known = ("tooltip", "default", "min", "max", "step", "options", "multiline")
    return [kind, {name: options[name] for name in known if name in options}]


if __name__ == "__main__":  # object_info.json of a server on standard input
    import sys

    SNAPSHOT.write_text(json.dumps(reduce(json.load(sys.stdin)), indent=1) + "\n")
