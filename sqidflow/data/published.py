"""The published files: addresses, sizes and checksums."""

from __future__ import annotations

from dataclasses import dataclass

from sqidflow.data import formats

HUGGING_FACE_DATASET = "crossingminds/shopping-queries-image-dataset"
_SQID = ("Crossing-Minds/shopping-queries-image-dataset", "2514ba83e413ee8979798c1ef82d13f737535b04")
_ESCI = ("amazon-science/esci-data", "7916cdf6ab75a462e77f20ab40428a10923998d5")

LOCALE = "us"
SPLIT = "test"
"""SQID is ESCI's US test split of the small version."""


@dataclass(frozen=True)
class PublishedFile:
    """One published file.

    ``path`` is its path in the GitHub repository, and below a mirror; ``size_bytes`` and ``sha256`` are None where none
    are known (small files that are in git themselves, not in Git LFS). ``hub_path``: in the Hugging Face dataset.
    """

    path: str
    repository: str
    commit: str
    size_bytes: int | None = None
    sha256: str | None = None
    hub_path: str | None = None
    optional: bool = False

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    def urls(self, mirror: str | None = None) -> list[str]:
        """Where to get it, in this order; from the mirror alone where there is one."""
        if mirror:
            return [f"{mirror.rstrip('/')}/{self.path}"]
        # Git LFS objects have a host of their own; what is in git itself is served raw.
        host = "media.githubusercontent.com/media" if self.sha256 else "raw.githubusercontent.com"
        found = [f"https://{host}/{self.repository}/{self.commit}/{self.path}"]
        if self.hub_path:
            from huggingface_hub import hf_hub_url

            found.append(hf_hub_url(HUGGING_FACE_DATASET, self.hub_path, repo_type="dataset"))
        return found


FILES = (
    PublishedFile(
        f"shopping_queries_dataset/{formats.EXAMPLES_FILE}",
        *_ESCI,
        51_286_808,
        "4a735b693b4a424a6fc67f5be6e4c811495c488bbf66d02a602d308b2744263a",
    ),
    PublishedFile(
        f"shopping_queries_dataset/{formats.PRODUCTS_FILE}",
        *_ESCI,
        1_108_857_465,
        "25124442d064d64b26f74082d6fa09438d679efc0c183cf28d19064a2b65a265",
    ),
    PublishedFile(
        f"sqid/{formats.QUERY_FEATURES_FILE}",
        *_SQID,
        26_121_602,
        "270c7152d8fe0aefab23f4daa381d5eda71437eafe9a772d9b70d2ce300154e0",
        hub_path=f"data/{formats.QUERY_FEATURES_FILE}",
    ),
    PublishedFile(
        f"sqid/{formats.PRODUCT_FEATURES_FILE}",
        *_SQID,
        914_932_556,
        "4eac4d3f79c05e004f61e82a346f31cba421015c2b4c7ca6b43ed8f248143d18",
        hub_path=f"data/{formats.PRODUCT_FEATURES_FILE}",
    ),
    PublishedFile(f"sqid/{formats.IMAGE_URLS_FILE}", *_SQID, optional=True),
    PublishedFile(f"sqid/{formats.SUPP_IMAGE_URLS_FILE}", *_SQID, optional=True),
)
