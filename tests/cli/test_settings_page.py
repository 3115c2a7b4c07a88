"""`--print-config` prints what `--config` takes."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from electra_cli.cli.settings_page import as_toml, toml_value
from electra_cli.cli.ui import session
from electra_cli.config import Settings, resolve, setting, table


class Inner(Settings):
    """A table."""

    rate: float = setting(1e-12, "A rate.")
    names: tuple[str, ...] = setting(("a", 'b"c'), "Names.")
    limit: int | None = setting(None, "A limit.")


class Outer(Settings):
    """A tree."""

    steps: int = setting(5, "Steps.")
    inner: Inner = table(Inner, "A table.")
    deep: bool = setting(False, "After the table, but printed before it.")


def test_it_reads_back_to_the_same_settings(tmp_path):
    resolved = resolve(Outer, sets=["inner.rate=1e-5", "deep=true"])
    text = as_toml(resolved)
    assert text.splitlines() == [
        "steps = 5    # default",
        "deep = true  # --set",
        "",
        "[inner]",
        "rate = 1.0e-05         # --set",
        'names = ["a", "b\\"c"]  # default',
        "# limit =              # default",
    ]
    (tmp_path / "again.toml").write_text(text)
    assert resolve(Outer, file=tmp_path / "again.toml").settings == resolved.settings


simple = st.text() | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)


@given(st.recursive(simple, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)))
def test_every_value_reads_back(value):
    assert tomllib.loads(f"x = {toml_value(value)}")["x"] == value


def test_print_config_is_the_product(capfd):
    with session("x") as ui:
        ui.print_config(resolve(Outer))
    out, err = capfd.readouterr()
    assert tomllib.loads(out)["steps"] == 5 and err == ""
