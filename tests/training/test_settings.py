import pytest
from support.training import run_settings

from training.settings import build_config, dump_config, load_config
from wavflow_core.errors import ConfigError


@pytest.fixture
def settings_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("preset: tiny\noptim:\n  lr: 1e-4\n  betas: [0.8, 0.9]\ndata:\n  train: [a]\n")
    return path


def test_a_file_changes_the_preset_and_the_command_line_changes_the_file(settings_file):
    config = load_config(settings_file, ["optim.lr=3e-4", "audio.window=2", "data.train=[x, y]"])
    assert config.model.hidden_dim == 32
    assert config.audio.window == 2.0
    assert config.optim.lr == pytest.approx(3e-4)
    assert config.optim.betas == (0.8, 0.9)
    assert config.data.train == ("x", "y")


@pytest.mark.parametrize("text", ["1e-4", "1.5e-4", "1E-4", "0.0001", "+1e-4", ".5e-3"])
def test_numbers_with_exponents_are_numbers(settings_file, text):
    assert load_config(settings_file, [f"optim.lr={text}"]).optim.lr == float(text)


def test_what_is_dumped_is_read_back_the_same(settings_file, tmp_path):
    config = load_config(settings_file)
    again = tmp_path / "again.yaml"
    again.write_text(dump_config(config))
    assert load_config(again) == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optim.learning_rate=1", "OptimConfig has no setting 'learning_rate'"),
        ("optim.stepz=1", "no setting 'stepz'. Did you mean 'steps'"),
        ("optm.steps=1", "TrainConfig has no setting 'optm'. Did you mean 'optim'"),
        ("optim.steps=many", "OptimConfig.steps is 'many'; it must be int"),
        ("optim.steps=0", "optim.steps is 0; allowed: 1 or more"),
        ("optim.lr=-1", "optim.lr is -1"),
        ("optim.betas=[0.9]", "optim.betas is .*two numbers"),
        ("optim.betas=0.9", "betas is 0.9; it must be a list"),
        ("optim.betas=[a, b]", r"betas\[0\] is 'a'; it must be float"),
        ("optim.schedule=linear", "optim.schedule is 'linear'; allowed: constant, cosine, step"),
        ("optim.clip_norm=0", "optim.clip_norm is 0"),
        ("data.crop=end", "data.crop is 'end'; allowed: random, start"),
        ("data.drop_text=2", "data.drop_text is 2.0; allowed: 0 to 1"),
        ("execution.precision=fp16", "execution.precision is 'fp16'; allowed: fp32, bf16"),
        ("execution.strategy=zero", "execution.strategy is 'zero'; allowed: ddp, fsdp"),
        ("ema.decays=[0.9, 0.9]", "ema.decays is .*different numbers"),
        ("output.keep=0", "output.keep is 0"),
        ("output.sample_cfg=.nan", "output.sample_cfg is nan"),
        ("optim.eps=0", "optim.eps is 0.0; allowed: a number above 0"),
        ("start.choice=best", "start.choice is 'best'; allowed: auto, live, ema, ema2"),
        ("data.train=STORE", r"must be a list, as in \[STORE\]"),
        ("preset=huge", "no preset 'huge'; presets: medium_16k"),
        ("optim.lr", "'optim.lr' is no setting; write section.name=value"),
        ("optim.lr={", "is no YAML"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(settings_file, override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(settings_file, [override])


def test_a_file_that_is_missing_or_no_yaml_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.yaml.*cannot be read"):
        load_config(tmp_path / "none.yaml")
    path = tmp_path / "list.yaml"
    path.write_text("- a\n")
    with pytest.raises(ConfigError, match="holds no settings"):
        load_config(path)


def test_yaml_that_would_make_objects_is_refused(tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text("preset: !!python/object/apply:os.system ['touch never']\n")
    with pytest.raises(ConfigError, match="is no YAML"):
        load_config(path)


def test_the_rate_can_follow_the_batch_size(tmp_path):
    settings = run_settings(tmp_path, optim={"base_lr": 1e-4, "batch_size": 512})
    assert build_config(settings).optim.peak_lr == pytest.approx(2e-4)
