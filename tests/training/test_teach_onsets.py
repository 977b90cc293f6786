import collections
import contextlib

import pytest
import torch
from safetensors.torch import load_file
from support import recipe
from support.training import RATE, features, one_process, run_config

from training import teach_onsets
from training.config import OptimConfig
from training.data import Clips, collate
from training.encoders import fit
from training.manifest import Row, read_manifest, write_manifest
from training.run import set_up
from training.settings import write_config
from training.sources import read_rows
from training.teach_onsets import KEEP, OnsetTeacher, main, onset_targets, teach
from wavflow_core.config import AudioConfig
from wavflow_core.errors import WavFlowError
from wavflow_core.features.store import save_features
from wavflow_core.media.audio import AudioClip, write_audio
from wavflow_core.model import WavFlow
from wavflow_core.model.init import initialize

PARTS = {"token_rate": 80.0, "sync_parts": 4, "hidden_dim": 16, "depth": 2, "fused_depth": 1}


def clicks(*moments):
    """Noise that fades after each moment (1, T), of one second."""
    sound = torch.zeros(1, RATE)
    for moment in moments:
        start = round(moment * RATE)
        sound[:, start : start + 400] = recipe.tensor("click", (1, 400)) * torch.linspace(1, 0, 400)
    return sound


@pytest.fixture
def struck(tmp_path):
    """Clips of one click, of whose moment the Synchformer token tells in which quarter it is."""
    rows = []
    for i in range(12):
        token, quarter = 1 + i % 6, i % 4
        sound = clicks(0.08 * token + 0.02 * quarter + 0.01)
        row = Row(
            id=f"clip{i}",
            audio=tmp_path / f"clip{i}.wav",
            features=tmp_path / f"clip{i}.features.safetensors",
            caption="a click",
            has_video=True,
            has_text=True,
        )
        write_audio(AudioClip(waveform=sound, sample_rate=RATE), row.audio, subtype="32f")
        shown = features(row.id)
        shown.sync.zero_()
        shown.sync[token, quarter] = 5.0
        save_features(shown, row.features)
        rows.append(row)
    write_manifest(rows, tmp_path / "struck.csv")
    return tmp_path / "struck.csv"


def settings(manifest, *, repeat=(), **sections):
    data = {"drop_video": 0.0, "repeat": repeat}
    return run_config(manifest, model=PARTS, data=data, **sections)


def optim(steps, lr=1e-2):
    return OptimConfig(steps=steps, batch_size=6, lr=lr, warmup_steps=2, schedule="cosine")


def taught(manifest, *, steps, keep=KEEP):
    """A teacher after so many steps on all clips, and the clips."""
    config = settings(manifest)
    clips = Clips(read_rows(config.data.train, max_failures=0.0)[0], config)
    batch = collate([clips.at(i, i) for i in range(12)])
    torch.manual_seed(0)
    model = initialize(WavFlow(config.model), generator=torch.Generator().manual_seed(0))
    teacher = OnsetTeacher(model, config.audio, keep=keep)
    adam = torch.optim.Adam([p for p in teacher.parameters() if p.requires_grad], lr=5e-3)
    for _ in range(steps):
        adam.zero_grad()
        teacher.loss(batch)[0].backward()
        adam.step()
    return teacher, batch


def test_targets_stand_where_the_sound_has_its_onsets():
    audio = AudioConfig()
    sounds = torch.stack([clicks(0.2, 0.7), clicks()]).view(2, 80, 200) * audio.amplitude_scale
    targets = onset_targets(sounds, audio)
    assert (targets[0] > 0.5).nonzero().flatten().tolist() == [15, 16, 55, 56]
    assert targets[0].max() <= 1
    assert not targets[1].any()


def test_the_moment_is_found_within_a_synchformer_token(struck):
    untaught, batch = taught(struck, steps=0)
    teacher, _ = taught(struck, steps=150, keep=0)
    assert teacher.loss(batch)[0] < 0.5 * untaught.loss(batch)[0]
    found = teacher(batch)[0].argmax(1)
    wanted = onset_targets(batch.x_1, AudioConfig()).argmax(1)
    assert (found - wanted).abs().max() <= 2  # audio tokens, of which a Synchformer token has 6.4


def test_what_the_layers_tell_does_not_drown_the_rest(struck):
    grown, _ = taught(struck, steps=150, keep=0)
    teacher, batch = taught(struck, steps=150)
    assert teacher.loss(batch)[1]["change"] < 1
    assert grown.loss(batch)[1]["change"] > 3


def test_keeping_keeps_what_the_layers_tell(struck):
    loose, firm = (
        teacher.loss(batch)[1]["change"]
        for teacher, batch in (taught(struck, steps=30, keep=keep) for keep in (0.001, 10.0))
    )
    assert firm < 0.3 * loose


def test_only_the_synchformer_layers_change_and_a_training_begins_with_them(struck, tmp_path):
    config = settings(struck)
    weights = []
    for name, steps in (("one", 1), ("more", 8)):
        assert teach(config, tmp_path / f"{name}.safetensors", optim=optim(steps))
        weights.append(load_file(tmp_path / f"{name}.safetensors"))
    changed = {name for name in weights[0] if not torch.equal(weights[0][name], weights[1][name])}
    assert changed == {name for name in weights[0] if name.startswith("sync_")}

    (tmp_path / "run").mkdir()
    begun = settings(struck, start={"weights": str(tmp_path / "more.safetensors")})
    run, _ = set_up(begun, tmp_path / "run", one_process())
    run.log.close()
    for name, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, weights[1][name]), name


class StopAfterThree:
    """A request that is made after three steps, each of which looks twice."""

    looks = 0

    @property
    def made(self):
        self.looks += 1
        return self.looks >= 5


def test_it_goes_on_where_it_was_stopped(struck, tmp_path, monkeypatch):
    config = settings(struck)
    assert teach(config, tmp_path / "whole.safetensors", optim=optim(6))
    part = tmp_path / "part.safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(fit, "stop_on_signals", lambda: contextlib.nullcontext(StopAfterThree()))
        assert not teach(config, part, optim=optim(6))
    assert not part.exists()
    other = settings(struck, start={"weights": str(tmp_path / "whole.safetensors")})
    with pytest.raises(WavFlowError, match="start.weights None, now '.*whole.safetensors'"):
        teach(other, part, optim=optim(6))
    assert teach(config, part, optim=optim(6))
    whole, resumed = load_file(tmp_path / "whole.safetensors"), load_file(part)
    for name, tensor in whole.items():
        assert torch.equal(tensor, resumed[name]), name


def test_clips_to_repeat_come_more_often(struck, tmp_path, monkeypatch):
    seen = collections.Counter()

    def note(examples):
        batch = collate(examples)
        seen.update(batch.ids)
        return batch

    rows, _ = read_manifest(struck)
    often = tmp_path / "often.csv"
    write_manifest(rows[:6], often)
    monkeypatch.setattr(teach_onsets, "collate", note)
    config = settings(struck, repeat=[str(often)] * 2)
    assert teach(config, tmp_path / "taught.safetensors", optim=optim(4))
    assert seen == {row.id: 3 if row in rows[:6] else 1 for row in rows}


def test_the_program_says_what_cannot_be_used(struck, tmp_path, capsys):
    write_config(settings(struck), tmp_path / "run.yaml")
    output = tmp_path / "out.safetensors"
    given = [str(tmp_path / "run.yaml"), "-o", str(output), "--steps", "2", "--batch-size", "4"]
    assert main([*given, "--keep", "-1"]) == 2
    assert "--keep is -1.0; it must be 0 or more." in capsys.readouterr().err
    assert not output.exists()
    assert main(given) == 0
    assert output.is_file()
