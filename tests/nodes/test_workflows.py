"""The workflow files and help pages, checked without ComfyUI against a snapshot of the schemas."""

import json
import re
from pathlib import Path

import pytest
from support import schema

from wavflow_core.weights import BUNDLED

ROOT = Path(__file__).parents[2]
API = sorted((ROOT / "workflows" / "api").glob("*.json"))
UI = sorted((ROOT / "workflows").glob("*.json"))
NODES = schema.snapshot()
# Core nodes that workflows use: inputs that are sockets, and outputs.
CORE = {"SaveVideo": ({"video": "VIDEO"}, []), "PreviewImage": ({"images": "IMAGE"}, [])}
BUNDLED_NAMES = {
    Path(item.filename).name if kind == "video" else Path(item.filename).stem
    for kind, item in BUNDLED.items()
}
FRONTEND = {"audioUI", "upload"}  # widgets that the frontend lists as inputs on some versions
WIDGETS = {"INT": (int,), "FLOAT": (int, float), "STRING": (str,), "COMBO": (str,)}


def by_name(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def read(path):
    return json.loads(path.read_text())


def inputs_of(kind):
    node = NODES[kind]
    return {**node["required"], **node["optional"]}


def outputs_of(kind):
    return [output for _, output in NODES[kind]["outputs"]] if kind in NODES else CORE[kind][1]


def test_there_are_five_workflows_each_in_both_forms_and_with_a_picture():
    assert len(UI) == 5
    assert [path.stem for path in UI] == [path.stem for path in API]
    assert all(path.with_suffix(".jpg").exists() for path in UI)


@by_name([*UI, *API])
def test_a_workflow_names_no_place_of_a_machine(path):
    strings = re.findall(r'"((?:[^"\\]|\\.)*)"', path.read_text())
    assert not [text for text in strings if re.match(r"/|~|[A-Za-z]:\\|.*\\Users|\.\./", text)]


@by_name(API)
def test_an_api_workflow_gives_each_node_what_its_schema_asks_for(path):
    prompt = read(path)
    for id, item in prompt.items():
        kind, given = item["class_type"], item["inputs"]
        assert kind in NODES or kind in CORE, f"{id}: unknown node {kind}"
        for name, value in given.items():
            if isinstance(value, list):
                output = outputs_of(prompt[value[0]]["class_type"])[value[1]]
                wanted = inputs_of(kind)[name][0] if kind in NODES else CORE[kind][0][name]
                assert output == wanted, f"{id}.{name}"
        if kind in NODES:
            assert set(NODES[kind]["required"]) <= set(given) <= set(inputs_of(kind)), f"{id}"


@by_name(API)
def test_every_value_of_an_api_workflow_is_one_that_its_input_takes(path):
    for id, item in read(path).items():
        if item["class_type"] not in NODES:
            continue
        for name, value in item["inputs"].items():
            if isinstance(value, list):
                continue
            kind, options = inputs_of(item["class_type"])[name]
            assert isinstance(value, WIDGETS[kind]), f"{id}.{name}"
            assert value >= options["min"] if "min" in options else True, f"{id}.{name}"
            assert value <= options["max"] if "max" in options else True, f"{id}.{name}"
            assert value in options["options"] if options.get("options") else True, f"{id}.{name}"


@by_name(API)
def test_an_api_workflow_runs_with_nothing_but_what_is_bundled(path):
    first = {"WavFlowLoadModel": "checkpoint"}
    for item in read(path).values():
        if item["class_type"].startswith("WavFlowLoad"):
            choice = item["inputs"][first.get(item["class_type"], "file")]
            assert choice.endswith(" (bundled)")
            assert choice.removesuffix(" (bundled)") in BUNDLED_NAMES


@by_name(UI)
def test_both_forms_of_a_workflow_hold_the_same_values(path):
    prompt = read(path.parent / "api" / path.name)
    for node in read(path)["nodes"]:
        given = prompt[str(node["id"])]["inputs"].values()
        shown = [value for value in node.get("widgets_values") or [] if value != "fixed"]
        plain = [value for value in given if not isinstance(value, list)]
        assert shown[: len(plain)] == plain or node["type"] in CORE, node["type"]


@by_name(UI)
def test_the_links_of_a_workflow_join_sockets_of_one_type(path):
    graph = read(path)
    nodes = {node["id"]: node for node in graph["nodes"]}
    for link, source, out, target, into, kind in graph["links"]:
        assert nodes[source]["outputs"][out]["type"] == kind
        assert link in nodes[source]["outputs"][out]["links"]
        assert nodes[target]["inputs"][into]["type"] == kind
        assert nodes[target]["inputs"][into]["link"] == link


@by_name(UI)
def test_a_workflow_has_the_inputs_and_outputs_of_the_schema(path):
    for node in read(path)["nodes"]:
        if node["type"] not in NODES:
            assert node["type"] in CORE
            continue
        names = [item["name"] for item in node["inputs"]]
        assert set(names) - FRONTEND == set(inputs_of(node["type"])) - FRONTEND
        outputs = [[item["name"], item["type"]] for item in node["outputs"]]
        assert outputs == NODES[node["type"]]["outputs"]


@by_name(UI)
def test_both_forms_of_a_workflow_hold_the_same_nodes_and_wires(path):
    graph, prompt = read(path), read(path.parent / "api" / path.name)
    assert {str(node["id"]): node["type"] for node in graph["nodes"]} == {
        id: item["class_type"] for id, item in prompt.items()
    }
    nodes = {node["id"]: node for node in graph["nodes"]}
    wires = {
        (str(target), nodes[target]["inputs"][into]["name"], str(source), out)
        for _, source, out, target, into, _ in graph["links"]
    }
    assert wires == {
        (id, name, *value)
        for id, item in prompt.items()
        for name, value in item["inputs"].items()
        if isinstance(value, list)
    }


@pytest.mark.parametrize("node", NODES)
def test_every_node_has_a_help_page_that_names_its_inputs(node):
    text = (ROOT / "web" / "docs" / f"{node}.md").read_text()
    assert len(text) > 200
    missing = [name for name in inputs_of(node) if name != "audioUI" and name not in text]
    assert not missing


def test_no_help_page_is_for_a_node_that_does_not_exist():
    assert {path.stem for path in (ROOT / "web" / "docs").glob("*.md")} == set(NODES)


@pytest.mark.parametrize("node", NODES)
def test_every_input_has_a_tooltip_and_every_number_a_range(node):
    for name, (kind, options) in inputs_of(node).items():
        assert options.get("tooltip"), name
        if kind in ("INT", "FLOAT"):
            assert options["min"] < options["max"], name
