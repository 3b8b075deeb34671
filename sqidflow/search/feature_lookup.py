"""A product's features as Feast's online store has them; kept apart from searching, which needs no store.

Feast takes seconds and hundreds of megabytes to import, so a process of its own does that and ends when it has nothing
to do: ``python -m sqidflow.search.feature_lookup ARTIFACTS`` answers lines of JSON.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from pydantic import SecretStr

from sqidflow.core.errors import SqidflowError

if TYPE_CHECKING:
    from feast import FeatureStore

_REDIS_TIMEOUT_S = 2.0
_IDLE_S = 300.0
_ANSWER_S = 90.0
"""Most that a look-up may take, with the imports of the first."""
_URL_VARIABLE = "SQIDFLOW_REDIS_URL"


@dataclass(frozen=True)
class ProductFeatures:
    """``text``: None where the store has no such product; ``image``: None where it has no picture vector."""

    text: list[float] | None
    image: list[float] | None


class FeatureLookup:
    """The feature store of a workdir, read by a process that the first look-up starts; for one thread."""

    def __init__(self, artifacts_dir: Path, redis_url: SecretStr | None, idle_s: float = _IDLE_S) -> None:
        self._artifacts, self._idle_s = artifacts_dir, idle_s
        self._redis_url = bounded(redis_url.get_secret_value()) if redis_url else None
        self._process: subprocess.Popen[str] | None = None

    @property
    def process(self) -> int | None:
        """The id of the process that reads the store, None where there is none now."""
        alive = self._process is not None and self._process.poll() is None
        return self._process.pid if alive else None  # type: ignore[union-attr]

    def read(self, product_id: str) -> ProductFeatures:
        """The latest features of a product.

        Raises:
            SqidflowError: the store is not applied or not materialized, or does not answer.
        """
        for _ in (1, 2):
            if self.process is None:
                self._start()
            answer = self._ask(product_id)
            if answer is not None:
                break
            self.close()  # it ended as idle between two look-ups, or died
        else:
            raise SqidflowError("the process that reads the feature store ended", where=self._artifacts)
        if "error" in answer:
            raise SqidflowError(answer["error"], where=self._artifacts)
        return ProductFeatures(answer["text"], answer["image"])

    def close(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    continue

    def _start(self) -> None:
        self.close()
        environment = {name: value for name, value in os.environ.items() if name != _URL_VARIABLE}
        if self._redis_url:
            environment[_URL_VARIABLE] = self._redis_url  # not an argument, which every user of the machine can read
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(self._artifacts), str(self._idle_s)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1,
            env=environment,
        )  # fmt: skip

    def _ask(self, product_id: str) -> dict[str, Any] | None:
        """The answer; None where the process ended. Raises SqidflowError where it takes too long."""
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(product_id) + "\n")
            process.stdin.flush()
        except OSError:
            return None
        ready, _, _ = select.select([process.stdout], [], [], _ANSWER_S)
        if not ready:
            self.close()
            raise SqidflowError(f"the feature store gave no answer in {_ANSWER_S:g} s", where=self._artifacts)
        line = process.stdout.readline()
        return json.loads(line) if line.endswith("\n") else None


class _Store:
    """The store as it is now: opened again where its files were written beside and renamed."""

    def __init__(self, artifacts_dir: Path, redis_url: str | None) -> None:
        self._artifacts, self._redis_url = artifacts_dir, redis_url
        self._store: FeatureStore | None = None
        self._opened: tuple[tuple[int, int] | None, ...] = ()

    def read(self, product_id: str) -> dict[str, Any]:
        from sqidflow.feature_store import names, store
        from sqidflow.ranking import features

        stamp = tuple(_stamp(store.feast_dir(self._artifacts) / name) for name in ("online.db", "registry.db"))
        if self._store is None or stamp != self._opened:
            self._store = store.open_store(self._artifacts, redis_url=self._redis_url)
            self._opened = stamp
        row = store.online_features(self._store, names.PRODUCT_VIEW, [product_id])
        has_image = bool(row.present[features.IMAGE_VEC][0])
        return {
            "text": row.vectors[features.TEXT_VEC][0].tolist() if row.found[0] else None,
            "image": row.vectors[features.IMAGE_VEC][0].tolist() if row.found[0] and has_image else None,
        }


def _stamp(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def bounded(url: str) -> str:
    """A Redis URL with a time limit for each answer, unless it has one."""
    parts = urlsplit(url)
    if "socket_timeout" in parse_qs(parts.query):
        return url
    return urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, f"socket_timeout={_REDIS_TIMEOUT_S}")))))


def answer(artifacts_dir: Path, idle_s: float, asked: IO[str], answers: IO[str]) -> None:
    """Read product ids, a line of JSON each, until the stream ends or nothing was asked for ``idle_s``."""
    store = _Store(artifacts_dir, os.environ.get(_URL_VARIABLE))
    while select.select([asked], [], [], idle_s)[0]:
        line = asked.readline()
        if not line:
            return
        try:
            document = store.read(json.loads(line))
        except SqidflowError as error:
            document = {"error": f"{type(error).__name__}: {error.message}"}
            store = _Store(artifacts_dir, os.environ.get(_URL_VARIABLE))
        answers.write(json.dumps(document) + "\n")
        answers.flush()


def main(arguments: list[str]) -> None:
    """What runs in the process: Feast's own prints go to stderr, and its folder of measures is removed at the end."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with tempfile.TemporaryDirectory(prefix="sqidflow-lookup-") as folder:
        os.environ["PROMETHEUS_MULTIPROCESS_DIR"] = os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        answer(Path(arguments[0]), float(arguments[1]), sys.stdin, answers)


if __name__ == "__main__":
    main(sys.argv[1:])
