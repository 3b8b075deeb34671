"""The verb `quickstart`: from a products file to an index that can be served, without judgements or training."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqidflow.core.files import disk_guard
from sqidflow.core.model_files import ZERO_SHOT_VERSION
from sqidflow.core.quiet import quiet
from sqidflow.core.settings import Settings
from sqidflow.core.workdir import Workdir

if TYPE_CHECKING:
    from sqidflow.data.importing import ImportReport
    from sqidflow.data.prepare import PrepareReport
    from sqidflow.indexing.make import IndexMade


@dataclass(frozen=True)
class Started:
    """What the verb came to; ``seconds`` of each step, in order."""

    imported: ImportReport
    prepared: PrepareReport
    index: IndexMade
    seconds: dict[str, float]

    def as_dict(self) -> dict[str, Any]:
        return {
            "imported": asdict(self.imported),
            "prepared": asdict(self.prepared),
            "index": self.index.as_dict(),
            "seconds": {step: round(seconds, 2) for step, seconds in self.seconds.items()},
        }


def make_searchable(
    workdir: Workdir, settings: Settings, products: Path, images: Path | None, say: Callable[[str], None]
) -> Started:
    """Import a catalogue, encode it, prepare it and build its index; each step says what it did.

    Raises:
        DataError: a bad file, or judgements are in the workdir already, which products alone would drop.
        SqidflowError: as the steps say.
    """
    from sqidflow.data.attributes import AttributeRules
    from sqidflow.data.encode import encode_missing
    from sqidflow.data.importing import import_files
    from sqidflow.data.prepare import prepare
    from sqidflow.data.versions import record_data
    from sqidflow.encoders.offline import OfflineEncoder
    from sqidflow.indexing.make import make_index

    seconds: dict[str, float] = {}
    started = time.monotonic()

    def done(step: str, what: str) -> None:
        nonlocal started
        now = time.monotonic()
        seconds[step], started = now - started, now
        say(f"{step}: {what} ({seconds[step]:.1f} s)")

    needed_bytes = 3 * products.stat().st_size + 50_000_000 if products.is_file() else 0
    with workdir.locked("quickstart"), disk_guard(workdir.root, needed_bytes):
        rules = AttributeRules(settings.data.attributes, settings.data.decimal)
        imported = import_files(workdir.data, products=products, images_dir=images, rules=rules)
        pictures = f", {imported.pictures:,} pictures" if imported.pictures else ""
        done("import", f"{imported.products:,} products{pictures}")
        for count, what in (
            (imported.repeated_products_dropped, "rows repeat a product and were left out"),
            (imported.pictures_of_no_product, "pictures are of no product"),
        ):
            if count:
                say(f"  {count:,} {what}")
        encoded = encode_missing(workdir.data, OfflineEncoder(), images=images is not None)
        record_data(workdir)
        done("encode", f"{encoded.product_texts_encoded:,} titles with the encoder {encoded.encoder}, no download")
        prepared = prepare(workdir.data, workdir.artifacts, **settings.preparation())
        done("prepare", f"{prepared.products:,} products of locale {settings.data.locale or 'any'}")
        with quiet(workdir.logs / "quickstart.log"):
            index = make_index(workdir, settings, version=ZERO_SHOT_VERSION)
        done("index", f"{index.meta.products:,} products, ranker {index.meta.model}")
    return Started(imported, prepared, index, seconds)
