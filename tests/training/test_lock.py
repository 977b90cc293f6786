"""A folder is held by one run at a time, and by nobody when that run is dead."""

import os
import re
import signal
import socket
import time

import pytest

from training import lock
from training.lock import NAME, only_run_in
from wavflow_core.errors import WavFlowError

pytest.importorskip("fcntl")


def test_a_second_run_is_refused_and_the_first_is_named(tmp_path):
    holder = re.escape(f"(process {os.getpid()} on {socket.gethostname()})")
    with (
        only_run_in(tmp_path),
        pytest.raises(WavFlowError, match=f"Another run works in .*{holder}; wait for it"),
        only_run_in(tmp_path),
    ):
        pass
    with only_run_in(tmp_path):  # the one that was refused holds nothing
        assert (tmp_path / NAME).read_text().startswith("process ")


def test_a_run_that_failed_lets_go(tmp_path):
    with pytest.raises(KeyboardInterrupt), only_run_in(tmp_path):
        raise KeyboardInterrupt
    with only_run_in(tmp_path):
        pass


def test_where_there_are_no_locks_it_is_said(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(lock, "fcntl", None)
    with only_run_in(tmp_path):
        assert "cannot be locked on this system; start one run alone" in caplog.text


def test_two_folders_are_held_at_once(tmp_path):
    (tmp_path / "a").mkdir()
    with only_run_in(tmp_path), only_run_in(tmp_path / "a"):
        pass


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_process_that_was_forked_meanwhile_does_not_hold_the_folder(tmp_path):
    """As workers that read data do: they live on for a while when their run is killed."""
    with only_run_in(tmp_path):
        child = os.fork()
        if not child:
            time.sleep(60)
            os._exit(0)
        with pytest.raises(WavFlowError), only_run_in(tmp_path):  # it has not let go for us
            pass
    try:
        for _ in range(100):  # until the child had time to begin
            try:
                with only_run_in(tmp_path):
                    return
            except WavFlowError:
                time.sleep(0.05)
        pytest.fail("the child holds the folder")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with (
        pytest.raises(WavFlowError, match="Cannot write to .*No such file"),
        only_run_in(tmp_path / "none"),
    ):
        pass
