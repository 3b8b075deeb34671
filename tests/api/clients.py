"""Clients that search side by side while something changes."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from tests.api.test_server import Server
from tests.command_line import wait_until


def answer_of(server: Server, **asked: Any) -> Callable[[str], dict[str, Any]]:
    """A search over HTTP; it fails where the answer has another status than 200."""

    def search(query: str) -> dict[str, Any]:
        status, answer = server.search(query, **asked)
        assert status == 200, answer
        return answer

    return search


class Clients:
    """Clients that search until they are stopped.

    ``answers``: how many came, by the version (of ``by``, "model" or "index") that answered. ``results``: by version
    and query the lists that came, of each product the ``fields``. ``failed``: what came instead of an answer.
    ``seen``: the pairs of model and index that answered.
    """

    def __init__(
        self,
        search: Callable[[str], dict[str, Any]],
        queries: Sequence[str],
        *,
        count: int,
        by: str,
        fields: tuple[str, ...],
        pause_s: float = 0.0,
    ) -> None:
        self._search_for, self._queries, self._by, self._fields, self._pause_s = search, queries, by, fields, pause_s
        self._stopped, self._lock = threading.Event(), threading.Lock()
        self.answers: Counter[str] = Counter()
        self.failed: list[str] = []
        self.results: dict[tuple[str, str], set[tuple[tuple[Any, ...], ...]]] = {}
        self.seen: set[tuple[str, str]] = set()
        self._threads = [threading.Thread(target=self._run, args=(seed,)) for seed in range(count)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _run(self, seed: int) -> None:
        rng = random.Random(seed)
        while not self._stopped.is_set():
            query = rng.choice(self._queries)
            try:
                answer = self._search_for(query)
                versions = answer["versions"]
                shown = tuple(tuple(hit[field] for field in self._fields) for hit in answer["results"])
            except Exception as error:
                self.failed.append(f"{query}: {error!r}")
                continue
            with self._lock:
                self.answers[versions[self._by]] += 1
                self.results.setdefault((versions[self._by], query), set()).add(shown)
                self.seen.add((versions["model"], versions["index"]))
            time.sleep(self._pause_s)

    def wait_for(self, version: str, more: int) -> None:
        """Until so many more answers of a version came."""
        already = self.answers[version]
        wait_until(lambda: self.answers[version] > already + more, f"{more} more answers of {version}")

    def results_of(self, version: str) -> dict[str, set[tuple[tuple[Any, ...], ...]]]:
        """Query -> the lists that a version gave."""
        return {query: shown for (of, query), shown in self.results.items() if of == version}
