from __future__ import annotations

import pyarrow as pa
import pytest

from sqidflow.data.markup import plain_text, without_markup


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("Men&#39;s Poncho &amp; Hood", "Men's Poncho & Hood"),
        ("Dick&amp;Co", "Dick&Co"),
        ("&#x27;caf&eacute;&#x27;", "'café'"),
        ("&amp;amp;quot;", '"'),
        ("<b>Red</b> shoe<br>size 5", "Red shoe size 5"),
        ("<ul><li>one</li><li>two</li></ul>", "one two"),
        ("S<sub>2</sub>", "S2"),
        ("&lt;p&gt;Hello&lt;/p&gt;<script>alert(1)</script> world", "Hello world"),
        ("x <!-- hidden --> <i>y</i>", "x y"),
        ("<p>cable <2 m> & more", "cable <2 m> & more"),
    ],
)
def test_html_becomes_text(text: str, plain: str) -> None:
    assert plain_text(text) == plain


@pytest.mark.parametrize(
    "text",
    ["AT&T R&D", "salt&region", "&copy2 &region;", "1 <3 you", "a < b > c", "cable <2 m>", "x && y", "  two  blanks "],
)
def test_what_is_no_html_stays_as_it_is(text: str) -> None:
    assert plain_text(text) == text


def test_changed_texts_are_counted() -> None:
    batch = pa.record_batch({"a": ["x &amp; y", None, "plain", "<br>"], "b": ["<b>z</b>", "", "&;", "R&D"]})
    plain, changed = without_markup(batch, ("a", "b", "not there"))
    assert plain.to_pydict() == {"a": ["x & y", None, "plain", None], "b": ["z", "", "&;", "R&D"]}
    assert changed == 3
