"""The pushed model on onnxruntime: one query's candidates in, class probabilities out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sqidflow.core.errors import SqidflowError
from sqidflow.core.model_files import MAP_FILE, MAPPED_NORM, MODEL_CARD, ONNX_FILE, PROBABILITIES, PUSHED_MARK
from sqidflow.ranking import features


@dataclass(frozen=True)
class Candidates:
    """What the ranker reads of one query and n products; float32, ``query_vec`` [d], the others [n, ...]."""

    query_vec: np.ndarray
    text: np.ndarray
    image: np.ndarray
    has_image: np.ndarray
    mapped_norm: np.ndarray
    lexical: np.ndarray
    relative: np.ndarray

    def __len__(self) -> int:
        return len(self.text)

    def take(self, rows: np.ndarray) -> Candidates:
        parts = {name: getattr(self, name)[rows] for name in self.__dataclass_fields__ if name != "query_vec"}
        return Candidates(self.query_vec, **{name: np.array(values) for name, values in parts.items()})


class Ranker:
    """A pushed model. For use by many threads; each run takes one."""

    def __init__(self, folder: Path) -> None:
        """Load ``ranker.onnx``.

        Raises:
            SqidflowError: there is none, it cannot be read, or it was made for other features than this code's.
        """
        import onnxruntime

        self.version = folder.name
        try:
            self.card: dict[str, Any] = json.loads((folder / MODEL_CARD).read_text(encoding="utf-8"))
            contract, self.dim = self.card["feature_contract"], int(self.card["dim"])
            # The bytes, not the path: the folder may vanish or be replaced while the service runs.
            content = (folder / ONNX_FILE).read_bytes()
        except (OSError, ValueError, KeyError) as error:
            raise SqidflowError(
                f"no model that can be served ({type(error).__name__}: {error})",
                where=folder,
                hint="train and push one: `sqidflow run`",
            ) from error
        if contract != features.contract():
            raise SqidflowError(
                f"the model reads feature contract {contract}, this code computes {features.contract()}",
                where=folder,
                hint="train anew with `sqidflow run`, or use the commit in its sqidflow.json",
            )
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
        self.to_picture = np.load(folder / MAP_FILE) if (folder / MAP_FILE).is_file() else None
        query = next(each for each in self._session.get_inputs() if each.name == features.QUERY_VEC)
        if query.shape[-1] != self.dim:
            raise SqidflowError(
                f"{ONNX_FILE} reads vectors of {query.shape[-1]}, its card says {self.dim}",
                where=folder,
                hint="push the model again: `sqidflow run`",
            )

    @property
    def model(self) -> str:
        return str(self.card["model"])

    def probabilities(self, candidates: Candidates) -> np.ndarray:
        """float32 [n, 4], columns in the order of ``features.CLASSES``."""
        given = {
            features.QUERY_VEC: candidates.query_vec[None, :],
            features.TEXT_VEC: candidates.text,
            features.IMAGE_VEC: candidates.image,
            features.HAS_IMAGE: candidates.has_image[:, None],
            features.LEXICAL: candidates.lexical,
            features.RELATIVE: candidates.relative,
            MAPPED_NORM: candidates.mapped_norm[:, None],
        }
        (found,) = self._session.run([PROBABILITIES], {name: given[name] for name in self._inputs})
        return np.broadcast_to(found, (len(candidates), len(features.CLASSES)))

    def mapped_norm(self, text: np.ndarray) -> np.ndarray:
        """Length of unit text vectors after the map to pictures, float32 [n]; ones for a model without a map."""
        if self.to_picture is None:
            return np.ones(len(text), np.float32)
        return np.linalg.norm(text @ self.to_picture, axis=1).astype(np.float32)


def pushed_models(serving_dir: Path) -> list[Path]:
    """The folders that were pushed whole, the newest first."""
    found = [folder for folder in serving_dir.glob("*") if folder.name.isdigit() and (folder / ONNX_FILE).is_file()]
    marked = [folder for folder in found if (folder / PUSHED_MARK).is_file()]
    return sorted(marked or found, key=lambda folder: int(folder.name), reverse=True)


def newest_model(serving_dir: Path) -> Path | None:
    """The folder that was pushed last and whole, None where there is none."""
    return next(iter(pushed_models(serving_dir)), None)
