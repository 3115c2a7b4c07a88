"""Strict settings: where values come from, and every way to get them wrong."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

import pytest
from pydantic import model_validator

from electra_cli import config
from electra_cli.config import MAX_FILE_BYTES, Settings, execution, flatten, resolve, setting, shaping, table
from electra_cli.errors import UsageError


class Rate(Settings):
    """How fast."""

    peak: float = setting(1e-3, "Peak learning rate; above 0.", gt=0)
    warmup: int = setting(10, "Steps of warm-up; at least 0.", ge=0)
    betas: tuple[float, float] = setting((0.9, 0.999), "Adam's betas.")


class Training(Settings):
    """What a stage would have."""

    preset_folder: ClassVar[str | None] = "pretrain"

    steps: int = setting(100, "Steps; at least 1.", ge=1)
    name: str = setting("run", "A name.")
    mode: Literal["fast", "slow"] = setting("fast", "How.")
    limit: int | None = setting(None, "At most so many, or no limit.")
    workers: int = setting(2, "Processes; at least 1.", shapes=False, ge=1)
    shuffle: bool = setting(True, "Whether to shuffle.")
    rate: Rate = table(Rate, "The learning rate.")
    logging: Rate = table(Rate, "A table that does not shape the result.", shapes=False)

    @model_validator(mode="after")
    def _fits(self):
        if self.rate.warmup > self.steps:
            raise ValueError("rate.warmup is more than steps")
        return self


def problem(**options):
    with pytest.raises(UsageError) as caught:
        resolve(Training, **options)
    assert caught.value.exit_code == 2 and caught.value.hint
    return str(caught.value)


def test_defaults_are_the_settings_of_nobody():
    resolved = resolve(Training)
    assert resolved.settings == Training()
    assert set(resolved.sources.values()) == {"default"}
    assert "rate.betas" in resolved.sources and "rate" not in resolved.sources


def test_the_later_source_wins_and_is_named(tmp_path):
    file = tmp_path / "my.toml"
    file.write_text('steps = 20\nname = "file"\nmode = "slow"\n[rate]\npeak = 0.5\n')
    resolved = resolve(
        Training, file=file, sets=["name=set", "mode=fast", "rate.warmup=3"], flags={"mode": "slow", "workers": None}
    )
    settings = resolved.settings
    assert (settings.steps, settings.name, settings.mode, settings.rate.peak) == (20, "set", "slow", 0.5)
    assert {key: source for key, source in resolved.sources.items() if source != "default"} == {
        "steps": str(file),
        "rate.peak": str(file),
        "name": "--set",
        "rate.warmup": "--set",
        "mode": "flag",
    }


def test_a_preset_is_below_a_file(tmp_path, monkeypatch):
    folder = tmp_path / "presets" / "pretrain"
    folder.mkdir(parents=True)
    (folder / "tiny.toml").write_text("steps = 11\nworkers = 5\n")
    monkeypatch.setattr(config, "__file__", str(tmp_path / "config.py"))
    (tmp_path / "my.toml").write_text("steps = 12\n")
    resolved = resolve(Training, preset="tiny", file=tmp_path / "my.toml")
    assert (resolved.settings.steps, resolved.settings.workers) == (12, 5)
    assert resolved.sources["workers"] == "preset tiny"
    assert "did you mean tiny?" in problem(preset="tinny")
    assert "unknown preset '../tiny'" in problem(preset="../tiny")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("steps=17", {"steps": 17}),
        ("steps = 17", {"steps": 17}),
        ("rate.peak=1e-4", {"rate.peak": 1e-4}),
        ("rate.peak=1", {"rate.peak": 1.0}),
        ("shuffle=false", {"shuffle": False}),
        ("name=bare words = here", {"name": "bare words = here"}),
        ('name="quoted"', {"name": "quoted"}),
        ("name=", {"name": ""}),
        ("name=2020-01-01", {"name": "2020-01-01"}),
        ("name=a\nsteps = 3", {"name": "a\nsteps = 3"}),
        ("name=1\nsteps = 3", {"name": "1\nsteps = 3"}),
        ("rate.betas=[0.5, 0.6]", {"rate.betas": (0.5, 0.6)}),
        ("rate={peak = 2.0, warmup = 4}", {"rate.peak": 2.0, "rate.warmup": 4}),
        ("limit=3", {"limit": 3}),
        ("mode=slow", {"mode": "slow"}),
    ],
)
def test_set_takes_a_toml_value_or_bare_text(text, expected):
    settings = resolve(Training, sets=[text]).settings
    for key, value in expected.items():
        found = settings
        for part in key.split("."):
            found = getattr(found, part)
        assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("stps=1", "stps (--set): unknown key; did you mean steps?"),
        ("peak=1", "peak (--set): unknown key; did you mean rate.peak or logging.peak?"),
        ("rat.peak=1", "rat.peak (--set): unknown key; did you mean rate.peak"),
        ("rate.paek=1", "rate.paek (--set): unknown key; did you mean rate.peak"),
        ("training.steps=1", "did you mean steps?"),
        ("zzz=1", "known keys: steps, name,"),
        ("steps.deeper=1", "unknown key"),
        ("rate=1", "rate (--set): is a table with the keys peak, warmup, betas"),
        ("steps=true", "steps = true (--set): input should be a valid integer"),
        ("steps=1.0", "steps = 1.0 (--set)"),
        ("steps=1e9", "steps = 1000000000.0 (--set)"),
        ("steps='3'", 'steps = "3" (--set)'),
        ("steps=-1", "greater than or equal to 1"),
        ("steps=0", "greater than or equal to 1"),
        ("steps=99999999999999999999999", "does not fit"),
        ("rate.peak=nan", "finite"),
        ("rate.peak=inf", "finite"),
        ("rate.peak=0", "greater than 0"),
        ("rate.peak=true", "rate.peak = true"),
        ("rate.betas=[1, 2, 3]", "rate.betas"),
        ("rate.betas=[1, 2020-01-01]", "cannot be a date"),
        ("shuffle=1", "shuffle = 1"),
        ("mode=other", "'fast' or 'slow'"),
        ("name=3", "valid string"),
        ("steps=1", "rate.warmup is more than steps"),
        ("novalue", "key=value"),
        ("=1", "key=value"),
        ("a b=1", "key=value"),
        ("model_config=1", "unknown key"),
        ("preset_folder=x", "unknown key"),
    ],
)
def test_a_wrong_setting_says_key_source_and_what_would_be_right(text, words):
    assert words in problem(sets=[text])


def test_all_problems_are_told_at_once(tmp_path):
    (tmp_path / "my.toml").write_text("stps = 1\nsteps = 0\n[rate]\npeak = -1.0\n")
    text = problem(file=tmp_path / "my.toml", sets=["mode=x"], flags={"workers": 0})
    assert text.startswith("5 problems:") and len(text.splitlines()) == 6
    for key in ("stps", "steps = 0", "rate.peak = -1.0", "mode", "workers"):
        assert key in text
    assert text.count(str(tmp_path / "my.toml")) == 3


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"steps = 1\nsteps = 2\n", "2:10"),
        (b"steps = \n", "1:9"),
        (b"[rate\n", "1:6"),
        (b"a = 1\nb = [1,\n", "2:8"),
        (b'name = "\xc3\xa9\xff"', "1:10"),
        (b"ok = 1\n\xff", "2:1"),
        (b"name = 'x", "1:10"),
        (b"a = " + b"[" * 5000, "1:"),
    ],
)
def test_a_broken_file_is_told_with_line_and_column(tmp_path, data, place):
    (tmp_path / "my.toml").write_bytes(data)
    assert f"my.toml:{place}" in problem(file=tmp_path / "my.toml")


def test_a_file_that_is_no_settings_file(tmp_path):
    (tmp_path / "empty.toml").write_text(" \n")
    (tmp_path / "big.toml").write_bytes(b"#" * (MAX_FILE_BYTES + 1))
    assert "is empty" in problem(file=tmp_path / "empty.toml")
    assert "larger than" in problem(file=tmp_path / "big.toml")
    assert "no such file" in problem(file=tmp_path / "none.toml")
    assert "not a file" in problem(file=tmp_path)


def test_a_byte_order_mark_and_windows_lines_are_no_problem(tmp_path):
    (tmp_path / "my.toml").write_bytes(b"\xef\xbb\xbfsteps = 12\r\nname = 'x'\r\n")
    assert resolve(Training, file=tmp_path / "my.toml").settings.steps == 12


def test_a_file_cannot_name_code(tmp_path):
    (tmp_path / "my.toml").write_text('name = "os:system"\n')
    assert resolve(Training, file=tmp_path / "my.toml").settings.name == "os:system"


def test_the_two_halves_are_ready_for_json_and_share_nothing():
    settings = resolve(Training).settings
    shapes, runs = shaping(settings), execution(settings)
    assert shapes["rate"] == {"peak": 1e-3, "warmup": 10, "betas": [0.9, 0.999]}
    assert "workers" not in shapes and "logging" not in shapes
    assert runs == {"workers": 2, "logging": {"peak": 1e-3, "warmup": 10, "betas": [0.9, 0.999]}}
    every = {key for key, _ in flatten(shapes)} | {key for key, _ in flatten(runs)}
    assert every == set(resolve(Training).sources)


def test_settings_are_frozen_and_described():
    settings = Training()
    with pytest.raises(Exception, match="frozen"):
        settings.steps = 3
    assert Training.model_fields["steps"].description == "Steps; at least 1."
    with pytest.raises(ValueError):
        Training(steps=0)


def test_a_setting_that_must_be_given_says_how():
    class Demanding(Settings):
        """It wants one."""

        size: int = setting(..., "Size.")

    with pytest.raises(UsageError, match=re.escape("size: must be given: --set size=")):
        resolve(Demanding)
    assert resolve(Demanding, flags={"size": 3}).settings.size == 3
