"""The words of the prepared products, read once for all steps that need them.

Reading them takes some 20 s for 165,000 products, and FeatureJoin, Trainer and RankingReport each need them. They are
kept in ``artifacts/words/KEY``; the key is of the texts, the language, and the code and libraries
that read them.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from sqidflow.core.code import code_digest
from sqidflow.core.errors import SqidflowError
from sqidflow.indexing.publish import beside
from sqidflow.ranking.bm25 import WordIndex
from sqidflow.ranking.lexical import EncodedTexts
from sqidflow.ranking.served import Products, ReadWords
from sqidflow.search.checksums import Checksum, check_files, checksums_of

FOLDER = "words"
"""Relative to artifacts/."""
_TEXTS, _INDEX, _SEAL = "texts", "bm25", "files.json"
_READERS = ("sqidflow.ranking.lexical", "sqidflow.ranking.bm25")
_LIBRARIES = ("pystemmer", "bm25s")
_LOG = logging.getLogger(__name__)


def kept_words_of(artifacts_dir: Path, products: Products, language: str) -> ReadWords | None:
    """What was kept for these very texts; None where nothing was, or where it cannot be read back."""
    return _kept(_folder(artifacts_dir, products, language), len(products.titles))


def words_of(artifacts_dir: Path, products: Products, language: str) -> ReadWords:
    """The words of products: as they were kept for these very texts, else read, and kept if there is room."""
    target = _folder(artifacts_dir, products, language)
    kept = _kept(target, len(products.titles))
    if kept is not None:
        return kept
    read = ReadWords.of(products, language)
    try:
        _keep(target, read)
    except OSError as error:
        _LOG.warning("%s: not kept (%s); the next step reads the products again", target, error)
    return read


def _kept(target: Path, products: int) -> ReadWords | None:
    try:
        return _load(target, products)
    except (OSError, ValueError, KeyError, TypeError, SqidflowError) as error:
        if target.exists():
            _LOG.warning("%s: read again from the products (%s)", target, error)
    return None


def _folder(artifacts_dir: Path, products: Products, language: str) -> Path:
    libraries = [version(name) for name in _LIBRARIES]
    digest = hashlib.sha256(f"{language}\0{code_digest(_READERS)}\0{libraries}\0{len(products.titles)}\0".encode())
    for column in (products.titles, products.brands, products.colors):
        # The lengths tell where one text ends, whatever characters it has.
        digest.update(json.dumps([-1 if text is None else len(text) for text in column]).encode())
        digest.update("".join(text or "" for text in column).encode("utf-8", "surrogatepass"))
    return artifacts_dir / FOLDER / digest.hexdigest()[:16]


def _load(folder: Path, products: int) -> ReadWords:
    kept = json.loads((folder / _SEAL).read_text(encoding="utf-8"))
    check_files(folder, {name: Checksum(**each) for name, each in kept.items()}, whole=True)
    read = ReadWords(EncodedTexts.load(folder / _TEXTS), WordIndex.load(folder / _INDEX, products, with_terms=True))
    if len(read.texts) != products:
        raise ValueError(f"it has {len(read.texts):,} products, {products:,} are there")
    return read


def _keep(target: Path, read: ReadWords) -> None:
    """Write into a folder beside and rename it: another step sees all of it or nothing. Older words are removed."""
    with beside(target) as folder:
        read.texts.save(folder / _TEXTS)
        read.words.save(folder / _INDEX)
        files = {name: asdict(each) for name, each in checksums_of(folder, _SEAL).items()}
        (folder / _SEAL).write_text(json.dumps(files), encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        folder.rename(target)
    for other in target.parent.iterdir():
        if other != target and not other.name.startswith("."):
            shutil.rmtree(other, ignore_errors=True)
