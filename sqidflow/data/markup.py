"""Texts of feeds: HTML entities decoded, tags turned into text."""

from __future__ import annotations

import html
import re
from html.entities import html5
from html.parser import HTMLParser

import pyarrow as pa
import pyarrow.compute as pc

# With its semicolon alone: without one "salt&region" would hold "&reg".
_ENTITY = r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});"
_TAGS = (
    "a|abbr|address|article|b|big|blockquote|br|center|cite|code|col|dd|del|div|dl|dt|em|figcaption|figure|font|footer|"
    "h1|h2|h3|h4|h5|h6|header|hr|i|iframe|img|ins|label|li|link|main|mark|meta|nav|object|ol|p|pre|q|s|script|section|"
    "small|span|strike|strong|style|sub|summary|sup|table|tbody|td|tfoot|th|thead|time|tr|tt|u|ul|var|video|wbr"
)
_INLINE = "a|abbr|b|big|cite|code|em|font|i|ins|label|mark|q|s|small|span|strike|strong|sub|sup|time|tt|u|var|wbr"
_TAG = rf"(?i)</?(?:{_TAGS})(?:\s[^<>]*)?/?>|<!--"
_MARKUP = f"{_ENTITY}|{_TAG}"
_KNOWN, _WITHIN_A_LINE = frozenset(_TAGS.split("|")), frozenset(_INLINE.split("|"))
_HIDDEN = frozenset(("script", "style"))
_ENTITY_COMPILED = re.compile(_ENTITY)
_TAG_COMPILED = re.compile(_TAG)
_ROUNDS = 3  # "&amp;amp;lt;" is seldom more than twice encoded


def plain_text(text: str) -> str:
    """``text`` without HTML: entities decoded, what tags enclose kept, a blank where a block begins or ends.

    Scripts, styles and comments are left out. A text without entities and known tags comes back as it is.
    """
    for _ in range(_ROUNDS):
        decoded = _ENTITY_COMPILED.sub(_decoded, text)
        if decoded == text:
            break
        text = decoded
    if not _TAG_COMPILED.search(text):
        return text
    return _without_tags(text)


def _decoded(entity: re.Match[str]) -> str:
    known = entity[0][1] == "#" or entity[0][1:] in html5  # "&region;" is none, though it begins like "&reg"
    return html.unescape(entity[0]) if known else entity[0]


class _Text(HTMLParser):
    """Collects what stands between known tags; an unknown one (``<2 m>``) is text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=False)  # entities are decoded already
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag not in _KNOWN:
            self.handle_data(self.get_starttag_text() or "")
        elif tag in _HIDDEN:
            self._hidden += 1
        elif tag not in _WITHIN_A_LINE:
            self.parts.append(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in _HIDDEN:
            self._hidden = max(self._hidden - 1, 0)
        elif tag in _KNOWN and tag not in _WITHIN_A_LINE:
            self.parts.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data)

    def handle_entityref(self, name: str) -> None:
        self.handle_data(f"&{name}")

    def handle_charref(self, name: str) -> None:
        self.handle_data(f"&#{name}")


def _without_tags(text: str) -> str:
    parser = _Text()
    parser.feed(text)
    parser.close()
    return " ".join("".join(parser.parts).split())


def without_markup(batch: pa.RecordBatch, columns: tuple[str, ...]) -> tuple[pa.RecordBatch, int]:
    """The batch with plain text in ``columns``, and how many texts were changed."""
    changed = 0
    for name in columns:
        if name not in batch.schema.names:
            continue
        texts = batch[name]
        suspects = pc.fill_null(pc.match_substring_regex(texts, r"[<&]"), False)
        suspects = pc.and_(suspects, pc.fill_null(pc.match_substring_regex(texts, _MARKUP), False))
        if not pc.any(suspects).as_py():
            continue
        plain = [plain_text(text) for text in texts.filter(suspects).to_pylist()]
        changed += sum(new != old for new, old in zip(plain, texts.filter(suspects).to_pylist(), strict=True))
        replaced = pc.replace_with_mask(texts, suspects, pa.array([text or None for text in plain], pa.string()))
        batch = batch.set_column(batch.schema.get_field_index(name), batch.schema.field(name), replaced)
    return batch, changed
