"""What several tests of the training need."""

import pytest


@pytest.fixture
def said(caplog, capsys):
    """What was said since it was last asked, in the log and on standard error."""

    def text():
        return caplog.text + capsys.readouterr().err

    return text
