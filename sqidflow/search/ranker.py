"""A pushed model on onnxruntime, and how a ranker is found by its version."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from sqidflow.core.errors import SqidflowError
from sqidflow.core.model_files import MAP_FILE, MAPPED_NORM, MODEL_CARD, ONNX_FILE, PROBABILITIES, ZERO_SHOT_VERSION
from sqidflow.core.pushes import newest_model
from sqidflow.core.quiet import QUIET_LIBRARIES
from sqidflow.ranking import features
from sqidflow.ranking.rankers import Candidates, Provenance, Ranker, ZeroShotRanker
from sqidflow.ranking.retrieval import Fusion

_FIELD_OF_INPUT = {
    features.QUERY_VEC: "query_vec",
    features.TEXT_VEC: "text",
    features.IMAGE_VEC: "image",
    features.HAS_IMAGE: "has_image",
    features.LEXICAL: "lexical",
    features.RELATIVE: "relative",
    features.RETRIEVAL: "retrieval",
    MAPPED_NORM: "mapped_norm",
}


class OnnxRanker:
    """A pushed model. For use by many threads; each run takes one."""

    trained = True

    def __init__(self, folder: Path) -> None:
        """Load ``ranker.onnx``.

        Raises:
            SqidflowError: there is none, it cannot be read, or it was made for other features than this code's.
        """
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", QUIET_LIBRARIES["ORT_DISABLE_TELEMETRY"])  # read at its import
        import onnxruntime

        self.version = folder.name
        try:
            self.card: dict[str, Any] = json.loads((folder / MODEL_CARD).read_text(encoding="utf-8"))
            contract, self.dim = self.card["feature_contract"], int(self.card["dim"])
            if contract != features.contract():
                raise SqidflowError(
                    f"the model reads feature contract {contract}, this code computes {features.contract()}",
                    where=folder,
                    hint="train anew with `sqidflow run`, or use the commit in its sqidflow.json",
                )
            # The bytes, not the path: the folder may vanish or be replaced while the service runs.
            content = (folder / ONNX_FILE).read_bytes()
            self.fusion: Fusion | None = Fusion.read(self.card["fusion"])
            self.class_rule = tuple(float(each) for each in self.card["class_rule"])
        except (OSError, ValueError, KeyError) as error:
            raise SqidflowError(
                f"no model that can be served ({type(error).__name__}: {error})",
                where=folder,
                hint="train and push one: `sqidflow run`",
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime raises classes of its own for each kind of damage
            raise SqidflowError(
                f"{ONNX_FILE} cannot be read: {(str(error).splitlines() or [repr(error)])[0][:200]}",
                where=folder,
                hint="push the model again: `sqidflow run`",
            ) from error
        self._inputs = [each.name for each in self._session.get_inputs()]
        self.reads = frozenset(_FIELD_OF_INPUT[name] for name in self._inputs)
        self.to_picture = np.load(folder / MAP_FILE) if (folder / MAP_FILE).is_file() else None
        query = next(each for each in self._session.get_inputs() if each.name == features.QUERY_VEC)
        if query.shape[-1] != self.dim:
            raise SqidflowError(
                f"{ONNX_FILE} reads vectors of {query.shape[-1]}, its card says {self.dim}",
                where=folder,
                hint="push the model again: `sqidflow run`",
            )

    @property
    def name(self) -> str:
        return str(self.card["model"])

    @property
    def provenance(self) -> Provenance:
        card = self.card
        return Provenance(
            card["feature_contract"],
            card["feature_service"],
            card.get("data_hash"),
            card.get("git_commit"),
            card.get("mlflow_run_id"),
        )

    def probabilities(self, candidates: Candidates) -> np.ndarray:
        """float32 [n, 4], columns in the order of ``features.CLASSES``."""
        given = {
            features.QUERY_VEC: candidates.query_vec[None, :],
            features.TEXT_VEC: candidates.text,
            features.IMAGE_VEC: candidates.image,
            features.HAS_IMAGE: candidates.has_image[:, None],
            features.LEXICAL: candidates.lexical,
            features.RELATIVE: candidates.relative,
            features.RETRIEVAL: candidates.retrieval,
            MAPPED_NORM: candidates.mapped_norm[:, None],
        }
        (found,) = self._session.run([PROBABILITIES], {name: given[name] for name in self._inputs})
        return np.broadcast_to(found, (len(candidates), len(features.CLASSES)))

    def mapped_norm(self, text: np.ndarray) -> np.ndarray:
        """Length of unit text vectors after the map to pictures, float32 [n]; ones for a model without a map."""
        if self.to_picture is None:
            return np.ones(len(text), np.float32)
        norms: np.ndarray = np.linalg.norm(text @ self.to_picture, axis=1).astype(np.float32)
        return norms


def model_folder(serving_dir: Path, version: str | None) -> Path:
    """The pushed model of a version, the newest where None.

    Raises:
        SqidflowError: there is none.
    """
    folder = serving_dir / version if version else newest_model(serving_dir)
    if folder is None or not folder.is_dir():
        known = sorted(path.name for path in serving_dir.glob("[!.]*") if path.is_dir())
        raise SqidflowError(
            f"there is no pushed model {version or 'with an ONNX file'}",
            where=serving_dir,
            hint=f"pushed: {', '.join(known)}"
            if known and version
            else f"train and push one: `sqidflow run`, or search without one: --version {ZERO_SHOT_VERSION}",
        )
    return folder


def load_ranker(serving_dir: Path, version: str | None, dim: int) -> Ranker:
    """A ranker by its version: a pushed model, the newest where None, or the one that needs no training.

    Args:
        dim: length of the vectors that the untrained one is to read.

    Raises:
        SqidflowError: there is no such model, or it cannot be served.
    """
    if version == ZERO_SHOT_VERSION:
        return ZeroShotRanker(dim)
    return OnnxRanker(model_folder(serving_dir, version))
