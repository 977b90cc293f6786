"""What is learned of events: the truth of a window, sounds that come otherwise, the program."""

import json

import pytest
import torch
from safetensors.torch import load_file

from training.event_network import load_event_network
from training.foley_world import __main__ as cli
from training.foley_world import event_detector as program
from training.foley_world.classifier_model import NAMES
from training.foley_world.event_detector import changed, main, read_told, truth_of
from wavflow_core.errors import ConfigError

BELL, RAIN, DRUM = (NAMES.index(name) for name in ("bell", "rain", "drum"))


def truth(*events, start=1.0):
    rows = [(kind, begin, begin if end is None else end) for kind, begin, end in events]
    return truth_of(torch.tensor(rows), start, 101)


def test_an_onset_lies_in_its_frame_and_a_little_beside_it():
    onsets, classes, known = truth((BELL, 1.4, None))
    assert onsets[BELL, 18:23].tolist() == pytest.approx([0, 0.3, 1, 0.3, 0])
    assert onsets.sum() == pytest.approx(1.6)
    assert classes.nonzero().flatten().tolist() == [BELL]
    assert known.all()


def test_what_lasts_is_heard_and_what_rang_before_may_be():
    onsets, classes, known = truth((RAIN, 0.2, 3.9), (DRUM, 0.5, None), (BELL, 3.5, None))
    assert onsets.sum() == 0
    assert classes.nonzero().flatten().tolist() == [RAIN]
    assert (~known).nonzero().flatten().tolist() == [DRUM]


def test_changed_sounds_are_other_ones_of_about_their_level_and_the_same_for_a_seed():
    sounds = torch.randn(3, 8000, generator=torch.Generator().manual_seed(0))
    one, again = (changed(sounds, torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.equal(one, again)
    assert one.isfinite().all()
    ratio = one.std(1) / sounds.std(1)
    assert ((ratio > 0.2) & (ratio < 5)).all()
    quiet = changed(torch.zeros(1, 8000), torch.Generator().manual_seed(1))
    assert quiet.abs().max() < 1e-3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("foley") / "clips"
    small = ["--size", "48", "--fps", "10", "--rate", "16000", "--seconds", "2.5"]
    assert cli.main([str(out), "--count", "4", *small]) == 0
    return out


def test_sounds_come_with_their_events_and_one_level(folder):
    told = read_told([folder])
    assert told.sounds.shape == (4, 40000)
    assert told.sounds.float().square().mean(1).sqrt().tolist() == pytest.approx(
        [0.1] * 4, rel=0.01
    )
    lines = [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]
    assert [len(rows) for rows in told.events] == [len(line["events"]) for line in lines]
    with pytest.raises(ConfigError, match="holds no clips"):
        read_told([folder / "elsewhere"])


def test_a_run_does_not_go_on_with_other_clips(folder, tmp_path, capsys, monkeypatch):
    options = ["--steps", "4", "--batch-size", "2", "-o", str(tmp_path / "e.safetensors")]
    assert main([str(folder), *options]) == 0
    told = read_told([folder])
    others = program.Told(sounds=told.sounds, events=[rows + 0.01 for rows in told.events])
    monkeypatch.setattr(program, "read_told", lambda _: others)
    assert main([str(folder), *options]) == 2
    assert "was made with events" in capsys.readouterr().err


def test_the_program_gives_the_same_network_again_also_when_it_was_stopped(
    folder, tmp_path, monkeypatch
):
    options = [str(folder), "--steps", "4", "--batch-size", "4", "--check", str(folder)]
    first, second = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    assert main([*options, "-o", str(first)]) == 0
    assert load_event_network(first).names == NAMES
    whole = program.EventsLoss.__call__

    def stopping(self, step):
        if step == 2:
            raise KeyboardInterrupt
        return whole(self, step)

    monkeypatch.setattr("training.encoders.fit.SAVE_EVERY", 2)
    monkeypatch.setattr(program.EventsLoss, "__call__", stopping)
    assert main([*options, "-o", str(second)]) == 130
    assert not second.exists()
    monkeypatch.setattr(program.EventsLoss, "__call__", whole)
    assert main([*options, "-o", str(second)]) == 0
    one, two = load_file(first), load_file(second)
    assert all(torch.equal(two[name], value) for name, value in one.items())
