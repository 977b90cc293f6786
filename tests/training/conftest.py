"""What several tests of the training need."""

import pytest
import torch


@pytest.fixture
def said(caplog, capsys):
    """What was said since it was last asked, in the log and on standard error."""

    def text():
        return caplog.text + capsys.readouterr().err

    return text


@pytest.fixture
def compiled_modules(monkeypatch):
    """The modules compiled since, without their kernels, which take a minute on a CPU."""
    compile_module, modules = torch.nn.Module.compile, []

    def compile_quickly(module):
        modules.append(module)
        compile_module(module, backend="aot_eager")

    monkeypatch.setattr(torch.nn.Module, "compile", compile_quickly)
    return modules
