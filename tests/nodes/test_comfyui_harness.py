import pytest
import torch
from support.comfy import Listener, graph

pytestmark = pytest.mark.comfyui

SOUND = {"kind": "lazy", "seconds": 0.5, "sample_rate": 16000, "channels": 2, "batch": 1}


def test_a_worker_runs_prompts_and_gives_back_what_was_captured(comfy):
    result = comfy.run(
        graph(a=("TestSound", SOUND), b=("TestCapture", {"value": ["a", 0], "name": "x"}))
    )
    assert result.ok
    assert result.captured["x"]["waveform"].shape == (1, 2, 8000)
    assert result.captured["x"]["waveform"].dtype == torch.float32
    assert result.executed == ["a", "b"]


def test_a_worker_tells_which_node_refused_and_why(comfy):
    result = comfy.run(graph(b=("TestCapture", {"name": "x"})))
    assert not result.ok
    assert result.error[0] == "b"
    assert "Required input is missing: value" in result.error[1]


def test_code_runs_beside_the_pack(comfy):
    assert comfy.code("result = [pack.__name__.count('wavflow') > 0, n + 1]", n=1) == [True, 2]


def test_a_server_runs_prompts_and_tells_their_events(comfy_server):
    listener = Listener(comfy_server)
    result = comfy_server.run(
        graph(a=("TestSound", SOUND), b=("PreviewAudio", {"audio": ["a", 0]}))
    )
    listener.close()
    assert result.ok
    assert [path.exists() for path in comfy_server.files(result)] == [True]
    assert listener.wait_for(lambda event, _: event == "execution_success")
