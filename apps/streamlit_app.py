"""The search as a Streamlit page, with the service's search code in this process.

Start it with `streamlit run apps/streamlit_app.py`. It is a prototype; `make web` builds the full page. It reads the
checkout, or the folder in SQIDFLOW_WORKDIR, and needs a pushed model and its index.
"""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import streamlit as st

from sqidflow.core.errors import SqidflowError
from sqidflow.core.settings import default_workdir, load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.encoders.pictures import picture_types
from sqidflow.ranking import features
from sqidflow.search.attributes import AttributeFilter, UnfitRequest
from sqidflow.search.engine import RELEVANCE, Hit, PictureError, Request, SearchCore
from sqidflow.search.schemas import DEFAULT_RESULTS, MAX_QUERY_CHARS, MAX_RESULTS
from sqidflow.search.state import Service, open_service


@st.cache_resource(show_spinner="Opening the model and the index")
def service(root: str, model: str) -> Service:
    """The service, opened once for all sessions. ``model`` is a cache key, so that a newly pushed model is opened."""
    return open_service(Workdir(Path(root)), load_settings(Path(root)), dict(os.environ))


def newest(root: Path) -> str:
    serving = Workdir(root).serving
    return max((folder.name for folder in serving.iterdir()), default="") if serving.is_dir() else ""


def show(core: SearchCore, request: Request, rank: int, hit: Hit) -> None:
    picture, text, chances = st.columns([1, 4, 2])
    image = core.index.picture(hit.row)
    if image is not None:
        picture.image(image, width=96)
    text.markdown(f"**{rank}.**")
    text.text(core.index.cell("title", hit.row) or hit.product_id)
    about = [core.index.cell("brand", hit.row), core.index.cell("color", hit.row), hit.product_id]
    text.caption(" · ".join(part for part in about if part))
    text.caption(" · ".join(f"{name} {value}" for name, value in core.index.attributes.of_row(hit.row, True).items()))
    chances.metric("score", f"{hit.score:.3f}")
    shares = dict(zip(features.CLASSES, hit.probabilities))
    chances.caption("  ".join(f"{label} {shares[label]:.0%}" for label in reversed(features.CLASSES)))
    if text.toggle("Why", key=f"why {hit.product_id}"):
        explained = core.explain(request, hit.product_id)
        if explained is not None:
            parts = {"part": [], "value": [], "in the score": []}
            for part in explained.parts:
                for column, value in zip(parts, (part.label, part.value, part.contribution)):
                    parts[column].append(value)
            st.dataframe(pd.DataFrame(parts), hide_index=True)
            st.caption(f"The parts add up to the score {hit.score:.3f} less the baseline's {explained.baseline:.3f}.")


def filters_and_order(core: SearchCore) -> tuple[tuple[AttributeFilter, ...], str]:
    filters, orders = [], [RELEVANCE]
    for name, column in core.index.attributes.columns.items():
        if column.kind in ("number", "date"):
            orders += [f"{name}:asc", f"{name}:desc"]
            if text := st.text_input(name, placeholder="10..20"):
                filters.append(AttributeFilter(name, (text,)))
        elif column.facet:
            values = ["true", "false"] if column.kind == "boolean" else map(column.label, range(len(column.labels)))
            if chosen := st.multiselect({"color": "colour"}.get(name, name), list(values)):
                filters.append(AttributeFilter(name, tuple(chosen)))
    return tuple(filters), st.selectbox("Sort by", orders)


def main() -> None:
    st.set_page_config(page_title="sqidflow", layout="wide")
    st.title("Product search")
    root = default_workdir()
    try:
        opened = service(str(root), newest(root))
    except SqidflowError as error:
        st.error(error.message)
        st.stop()
    with st.sidebar:
        names = {name: f"{name}: {one.core.description}" for name, one in opened.variants.items()}
        variant = st.radio("Variant", list(names), format_func=names.__getitem__)
        core = opened.variants[variant].core
        k = st.slider("Maximum number of results", 1, MAX_RESULTS, DEFAULT_RESULTS)
        own = st.checkbox("Set the cut-off", help="Otherwise the calibrated cut-off is used.")
        threshold = st.slider("Lowest score", 0.0, 1.0, 0.5) if own else None
        with_picture = st.checkbox("Only with a picture")
        filters, sort = filters_and_order(core)
    if core.index.meta.synthetic:
        st.info("Synthetic sample: products, pictures and judgements are invented.")
    query = st.text_input("Words", max_chars=MAX_QUERY_CHARS, placeholder="red trail running shoes")
    upload = st.file_uploader("Picture", type=[suffix[1:] for each in picture_types() for suffix in each.suffixes])
    if not query.strip() and upload is None:
        return
    image = upload.getvalue() if upload is not None else None
    try:
        request = Request(query, image, k, threshold, (), (), with_picture, filters=filters, sort=sort)
        outcome = core.search(request)
    except (PictureError, UnfitRequest) as error:
        st.error(str(error))
        return
    if outcome.refusal is not None:
        st.warning(outcome.refusal.message)
        return
    if outcome.uncertain:
        st.warning("No good match. Try fewer or other words, or a picture.")
    if outcome.unmet:
        wishes = " and ".join(f"“{wish.wish}”" for wish in outcome.unmet)
        st.warning(f"Nothing of this kind is {wishes}; these products match the rest.")
    st.caption(f"{len(outcome.hits)} of {outcome.candidates} candidates, searched for “{outcome.rewritten}”")
    for rank, hit in enumerate(outcome.hits, 1):
        show(core, request, rank, hit)


if __name__ == "__main__":  # Streamlit runs the file as a script
    main()
