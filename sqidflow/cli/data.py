"""``sqidflow data``: write raw data into ``data/``, check it, add missing vectors."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from sqidflow.cli.console import print_json, table
from sqidflow.cli.options import JsonOption, SetOption, WorkdirOption, open_workdir, plain, say
from sqidflow.core.errors import SqidflowError
from sqidflow.core.files import disk_guard

app = typer.Typer(
    help="Raw data in data/: write the sample, fetch or import files, encode missing vectors, check everything. "
    "Next: sqidflow features.",
    no_args_is_help=True,
)

judgements_app = typer.Typer(help="Judgements that people gave on the page.", no_args_is_help=True)
app.add_typer(judgements_app, name="judgements")


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _show_counts(title: str, report: dict[str, Any]) -> None:
    """Print a report's non-zero counts as a table, then its notes."""
    rows = [
        (name.replace("_", " "), f"{count:,}") for name, count in report.items() if isinstance(count, int) and count
    ]
    say(table(title, ("what", "count"), rows, right=(1,)))
    for note in report.get("notes", ()):
        say(plain(f"note: {note}"))


def _report_data(title: str, report: dict[str, Any], version: str | None, following: str, as_json: bool) -> None:
    """Print the report of a verb that changed ``data/``, and the next command."""
    if as_json:
        print_json({**report, "data_hash": version})
        return
    _show_counts(title, report)
    say(f"next: {following}")


@app.command("sample")
def data_sample(
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Do nothing if data/ is not empty.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also replace data that is not a sample.")] = False,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the [bold]synthetic[/] sample into data/: queries, judged pairs, products with pictures and vectors.

    Replaces an older sample and refuses to replace other data. Next: sqidflow features.

    Example: sqidflow data sample --workdir small --set sample.queries=60 --set sample.products=400
    """
    place, options = open_workdir(workdir, settings)
    from sqidflow.data.versions import allow_no_git, record_data

    allow_no_git(place.root)
    if if_missing and place.data.is_dir() and any(place.data.iterdir()):
        say(plain(f"{place.data}: has data already, nothing written"))
        if as_json:
            print_json({"folder": str(place.data), "written": False})
        return
    from sqidflow.data.sample import SampleSpec, write_sample

    try:
        spec = SampleSpec(**options.sample.model_dump())
    except ValueError as error:
        raise SqidflowError(str(error), where="section sample", hint="raise the numbers that are too small") from error
    with place.locked("data sample"), disk_guard(place.root, 200_000_000):
        report = write_sample(place.data, spec, replace=force)
        version = record_data(place)
    if as_json:
        print_json({**asdict(report), "data_hash": version})
        return
    say(
        f"synthetic sample in {place.data}: {report.queries:,} queries, {report.pairs:,} judged pairs, "
        f"{report.products:,} products ({report.products_without_picture:,} without a picture), "
        f"vectors of {report.dim}" + (f"; version {version}" if version else "")
    )
    say("next: sqidflow features")


@app.command("fetch")
def data_fetch(
    from_dir: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Read the published files from this folder; uses no network."),
    ] = None,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Download the [bold]published[/] SQID and ESCI files into data/ (2.1 GB).

    An interrupted download resumes. Every file is checked by size and SHA-256. Reads the settings fetch.*; downloads
    stay in var/downloads. Next: sqidflow features.

    Example: sqidflow data fetch --from ~/Downloads
    """
    from sqidflow.cli.progress import DownloadDisplay
    from sqidflow.data import fetch, formats
    from sqidflow.data.importing import import_files
    from sqidflow.data.versions import record_data

    place, options = open_workdir(workdir, settings)
    downloads, between = place.var / "downloads", place.var / "fetched"
    with place.locked("data fetch"), disk_guard(place.root, 0 if from_dir else fetch.room_bytes(downloads)):
        if from_dir is not None:
            published, report = fetch.from_folder(from_dir)
        else:
            limits = fetch.Limits(attempts=options.fetch.attempts, timeout_s=options.fetch.timeout_s)
            with DownloadDisplay() as display:
                published, report = fetch.fetch(
                    downloads, mirror=options.fetch.mirror, limits=limits, watch=display.progress
                )
        try:
            files = fetch.cut_to_sqid(published, between, report)
            imported = import_files(
                place.data,
                files[formats.EXAMPLES_FILE],
                products=files[formats.PRODUCTS_FILE],
                query_features=files[formats.QUERY_FEATURES_FILE],
                product_features=files[formats.PRODUCT_FEATURES_FILE],
                image_urls=files.get(formats.IMAGE_URLS_FILE),
                supp_image_urls=files.get(formats.SUPP_IMAGE_URLS_FILE),
            )
        finally:
            fetch.forget(between)
        version = record_data(place)
    if not as_json:
        for name in (*report.downloaded, *report.there):
            say(plain(f"{'fetched' if name in report.downloaded else 'already complete'}: {name}"))
        for name, why in report.missing.items():
            say(plain(f"missing: {name} ({why})"))
    title = f"{report.judgements:,} of {report.judgements_published:,} judgements, now in {place.data}"
    document = {**asdict(imported), "fetched": asdict(report)} if as_json else asdict(imported)
    _report_data(title, document, version, "sqidflow features", as_json)


@app.command("import")
def data_import(
    examples: Annotated[
        Path | None,
        typer.Option("--examples", help="Judgements: parquet, CSV, JSON lines, TREC qrels or Quepid's CSV."),
    ] = None,
    products: Annotated[
        Path | None,
        typer.Option(
            "--products",
            help="Products: parquet, CSV, JSON lines, a Google Merchant feed or a Shopify export. Not needed if the "
            "judgements contain the products' texts.",
        ),
    ] = None,
    query_features: Annotated[
        Path | None, typer.Option("--query-features", help="Query vectors: parquet lists or flat f0..fN, .csv[.gz].")
    ] = None,
    product_features: Annotated[
        Path | None, typer.Option("--product-features", help="Product vectors, text and picture.")
    ] = None,
    image_urls: Annotated[Path | None, typer.Option("--image-urls", help="CSV of product_id, image_url.")] = None,
    supp_image_urls: Annotated[
        Path | None, typer.Option("--supp-image-urls", help="SQID's second CSV of product_id, image_url.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option("--images", help="Folder of pictures named <product_id>.png, .jpg, .webp ...")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option("--encoder", metavar="NAME", help="Who made the vectors, where their files do not say so."),
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Add products and judgements to the existing ones, or replace them.")
    ] = False,
    remove: Annotated[
        str | None,
        typer.Option(
            "--remove",
            metavar="IDS",
            help="With --merge: delete these products and all that is theirs. ID,ID or @FILE, one id a line.",
        ),
    ] = None,
    grades: Annotated[
        str | None,
        typer.Option(
            "--grades",
            metavar="RULE",
            help="Labels of the grades in TREC qrels or Quepid's CSV.",
            show_default="0=I,1=C,2=S,3=E",
        ),
    ] = None,
    queries: Annotated[
        Path | None, typer.Option("--queries", help="Texts of the queries of TREC qrels: id, tab, text on each line.")
    ] = None,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Import your own or the published files into data/. All files are checked before anything is replaced.

    With --examples the whole folder is replaced, unless --merge is given. Without it, vectors and pictures are added to
    the existing data. Further columns of products are kept as attributes to filter and sort by; data.attributes and
    data.decimal say how they are read.
    docs/data.md describes the accepted columns. Next: sqidflow data encode, if vectors are missing.

    Example: sqidflow data import --merge --products changed.csv --remove A1,B2
    """
    from sqidflow.data.attributes import AttributeRules
    from sqidflow.data.importing import import_files
    from sqidflow.data.judgement_files import Grading, parse_grades
    from sqidflow.data.merging import ids_to_remove
    from sqidflow.data.versions import record_data

    sources = (examples, products, query_features, product_features, image_urls, supp_image_urls)
    if remove is not None and not merge:
        raise SqidflowError("only works together with --merge", where="--remove", hint="add --merge")
    if not any((*sources, images, remove)):
        raise SqidflowError("no file given", where="data import", hint="name at least --products FILE (see --help)")
    grading = Grading(parse_grades(grades) if grades is not None else None, queries)
    removed = ids_to_remove(remove) if remove is not None else ()
    place, options = open_workdir(workdir, settings)
    needed = sum(file.stat().st_size for file in sources if file and file.is_file()) * 3
    with place.locked("data import"), disk_guard(place.root, needed):
        report = import_files(
            place.data,
            examples,
            products=products,
            query_features=query_features,
            product_features=product_features,
            image_urls=image_urls,
            supp_image_urls=supp_image_urls,
            images_dir=images,
            encoder=encoder,
            merge=merge,
            remove=removed,
            grading=grading,
            rules=AttributeRules(options.data.attributes, options.data.decimal),
        )
        version = record_data(place)
    following = "sqidflow data encode (adds missing vectors), then sqidflow features"
    _report_data(f"imported into {place.data}", asdict(report), version, following, as_json)


@app.command("encode")
def data_encode(
    encoder: Annotated[
        str,
        typer.Option("--encoder", help="offline (no download), clip, or sentence-transformers (texts only)."),
    ] = "offline",
    model: Annotated[
        str | None,
        typer.Option("--model", help="Folder or hub name of the encoder's model.", show_default="the encoder's own"),
    ] = None,
    dim: Annotated[
        int | None, typer.Option("--dim", min=8, help="Length of the offline encoder's vectors.", show_default="768")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also replace existing vectors.")] = False,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Encode the queries and products in data/ that have no vectors, from their texts and pictures.

    clip and sentence-transformers need `make encoders` first. Next: sqidflow features.

    Example: sqidflow data encode --encoder clip
    """
    from sqidflow.data.encode import encode_missing
    from sqidflow.data.versions import record_data
    from sqidflow.encoders.registry import get_encoder

    place, options = open_workdir(workdir, settings)
    try:
        chosen = {"dim": dim, "model": model}
        model_encoder = get_encoder(encoder, **{name: value for name, value in chosen.items() if value is not None})
    except ValueError as error:
        raise SqidflowError(str(error), where="--encoder", hint="see `sqidflow data encode --help`") from error
    with place.locked("data encode"), disk_guard(place.root, 50_000_000):
        asked = any(setting.partition("=")[0].strip() == "data.locale" for setting in settings or ())
        report = encode_missing(
            place.data,
            model_encoder,
            images=model_encoder.sees_pictures,
            force=force,
            locale=options.data.locale,
            locale_was_asked_for=asked,
        )
        version = record_data(place)
    _report_data(
        f"vectors in {place.data}, new ones by {model_encoder.name}",
        asdict(report),
        version,
        "sqidflow features",
        as_json,
    )


@app.command("pictures")
def data_pictures(
    again: Annotated[bool, typer.Option("--again", help="Also fetch the pictures of products that have one.")] = False,
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch the pictures of products from their addresses, as imported from a feed or with --image-urls.

    Only from public addresses, redirects included; size and time of each are bounded (settings fetch.*). Products that
    have a picture are passed over. What was interrupted or failed is tried again by the next call;
    var/pictures/failed.csv has address and reason of each failure. Next: sqidflow data encode.

    Example: sqidflow data pictures --set fetch.picture_workers=8
    """
    from sqidflow.data import fetch_pictures
    from sqidflow.data.importing import import_files
    from sqidflow.data.versions import record_data

    place, options = open_workdir(workdir, settings)
    limits = fetch_pictures.Limits(
        most_bytes=options.fetch.picture_bytes,
        timeout_s=options.fetch.picture_timeout_s,
        workers=options.fetch.picture_workers,
        allowed_networks=options.fetch.allowed_networks,
    )
    folder = place.var / "pictures"

    def watch(done: int, of: int) -> None:
        if not as_json:
            say(f"{done:,} of {of:,}")

    with place.locked("data pictures"), disk_guard(place.root, 100_000_000):
        report = fetch_pictures.fetch_pictures(place.data, folder, limits, again=again, watch=watch)
        version = None
        if fetch_pictures.has_files(folder):
            import_files(place.data, images_dir=folder / fetch_pictures.FILES_FOLDER)
            fetch_pictures.forget(folder)
            version = record_data(place)
    if not as_json:
        for reason, count in report.reasons.items():
            say(plain(f"failed, {count:,}: {reason}"))
        if report.failed:
            say(plain(f"each with its address: {folder / fetch_pictures.FAILED_FILE}; the next call tries them again"))
    _report_data(f"pictures in {place.data}", asdict(report), version, "sqidflow data encode", as_json)


@app.command("check")
def data_check(workdir: WorkdirOption = None, settings: SetOption = None, as_json: JsonOption = False) -> None:
    """Validate all files in data/; print a table and every problem.

    Writes nothing. Exit code 2 if a file is missing or invalid. Reads the settings data.*.
    """
    from sqidflow.data.check import check_folder

    place, options = open_workdir(workdir, settings)
    reports = check_folder(place.data, **options.data.filters(), attributes=options.data.attributes)
    problems = [problem for report in reports for problem in report.problems]
    if as_json:
        print_json({"files": [asdict(report) for report in reports], "ok": not problems})
    else:
        rows = [
            (
                report.file,
                f"{report.rows:,}" if report.rows is not None else "",
                _size(report.bytes),
                ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in report.counts.items()),
                "[red]invalid[/]" if report.problems else "[green]ok[/]",
            )
            for report in reports
        ]
        say(table(f"data in {place.data}", ("file", "rows", "size", "content", ""), rows, right=(1, 2)))
        for note in (note for report in reports for note in report.notes):
            say(plain(f"note: {note}"))
        for problem in problems:
            say("[red]problem[/]: " + plain(problem))
    if problems:
        raise typer.Exit(2)


@judgements_app.command("export")
def judgements_export(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="File to write, .csv or .parquet; is replaced.")],
    workdir: WorkdirOption = None,
    settings: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the judgements that people gave on the page as an examples file for [bold]data import --examples[/].

    The newest judgement of a client stands. Where clients disagree, the label of most is written; without one the pair
    is left out. Judgements of searches by picture and of deleted products are left out too. Every such case is counted.

    Example: sqidflow data judgements export --out judgements.csv
    """
    from sqidflow.data import formats, readers
    from sqidflow.search.experiments import Experiments
    from sqidflow.search.judgements import export, write

    place, options = open_workdir(workdir, settings)
    file = place.var / "search" / "experiments.db"
    if not file.is_file():
        raise SqidflowError(
            "no judgements have been made", where=file, hint="start `sqidflow serve` and judge products on its page"
        )
    experiments = Experiments(file)
    try:
        judgements, _ = experiments.judgements()
    finally:
        experiments.close()
    locales: dict[str, str] = {}
    products = place.data / formats.PRODUCTS_FILE
    if products.is_file():
        for batch in readers.read_products(products, lenient=True):
            for product, locale in zip(batch["product_id"].to_pylist(), batch["product_locale"].to_pylist()):
                locales.setdefault(product, locale)
    known = locales if products.is_file() else None
    result = export(judgements, lambda product: locales.get(product, options.data.locale or "us"), known)
    write(result.rows, out)
    report = {"rows": len(result.rows), **{name: value for name, value in asdict(result).items() if name != "rows"}}
    if as_json:
        print_json({"file": str(out), **report})
        return
    _show_counts(f"judgements in {out}", report)
    say(f"next: sqidflow data import --examples {out} --products FILE")
