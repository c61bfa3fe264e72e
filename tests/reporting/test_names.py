import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from daf_pipelines.reporting.names import drawable, fonts, readable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("Kratzer, größer", "Kratzer, größer"),
        ("划痕 🙂", "划痕 🙂"),
        ("two\nlines\tand a tab", "two lines and a tab"),
        ("bell\a, right-to-left \u202e, half \udcff", "bell�, right-to-left �, half �"),
    ],
)
def test_readable(name, shown):
    assert readable(name) == shown


@given(st.text(st.characters()))
def test_readable_texts_are_one_line_and_can_be_encoded(name):
    shown = readable(name)
    assert len(shown) == len(name)
    assert shown.isprintable()
    shown.encode("utf-8")


class TestDrawable:
    @pytest.mark.parametrize("name", [r"$\frac$", "$x$", r"\$ 5", "$", "100 % _a_ ^b {c}"])
    def test_formulas_are_drawn_as_they_are_written(self, name):
        text = Figure().text(0, 0, drawable(name))
        shown, is_formula = text._preprocess_math(text.get_text())
        assert (shown, bool(is_formula)) == (name, False)

    def test_characters_of_the_default_font_stay(self):
        assert drawable("größer · ✓ Ω") == "größer · ✓ Ω"

    @pytest.mark.parametrize("name", ["划痕", "🙂", "\udcff", "한국", r"$\frac{", "a\nb\0"])
    def test_any_name_is_drawn_without_a_warning(self, name, tmp_path):
        figure = Figure()
        figure.text(0, 0, drawable(name), fontfamily=fonts())
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            figure.savefig(tmp_path / "figure.png")
