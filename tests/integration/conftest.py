import pytest
from support import recipe

from wavflow_core.checkpoint import Checkpoint, write_checkpoint
from wavflow_core.cli import main
from wavflow_core.model import WavFlow
from wavflow_core.presets import get_preset


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """A folder with tiny encoders and a tiny model whose weights make a sound."""
    folder = tmp_path_factory.mktemp("models")
    for preset in ("clip_tiny", "synchformer_tiny"):
        assert main(["init", "--preset", preset, "-o", str(folder / f"{preset}.safetensors")]) == 0
    config = get_preset("tiny")
    model = recipe.fill(WavFlow(config.model))
    checkpoint = Checkpoint(config=config, tensors=model.state_dict())
    write_checkpoint(checkpoint, folder / "model.safetensors")
    return folder


@pytest.fixture
def wavflow(models, capsys, caplog):
    """Run a command; gives the exit code and what it wrote to standard error."""
    files = {
        "--checkpoint": "model.safetensors",
        "--clip": "clip_tiny.safetensors",
        "--synchformer": "synchformer_tiny.safetensors",
    }

    def run(command, *arguments, **replaced):
        given = {"--" + name: str(value) for name, value in replaced.items()}
        if command == "generate":
            weights = {option: str(models / name) for option, name in files.items()}
            given = {**weights, "--steps": "2", "--device": "cpu", **given}
        pairs = [part for pair in given.items() for part in pair]
        capsys.readouterr()
        caplog.clear()
        code = main([command, *map(str, arguments), *pairs])
        return code, capsys.readouterr().err + caplog.text

    return run
