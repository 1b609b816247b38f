"""Networks that are published as ONNX, computed by onnxruntime (the extras `onnx` and `speak`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mtasr.arrays import Float32Array
from mtasr.errors import ModelIntegrityError
from mtasr.extras import extras
from mtasr.threads import before_exit

#: onnxruntime's number for errors; its warnings are about graphs that it could not make faster.
_ERRORS = 3


class OnnxSession:
    """A graph from a file. `what` it should be ends the messages: "path is damaged or not ..."."""

    @before_exit()
    def __init__(self, path: Path, what: str, *, threads: int = 1) -> None:
        """Raises `MissingExtraError` without onnxruntime, `ModelIntegrityError` for a file that it cannot read."""
        with extras():
            import onnxruntime
        self._path, self._what = path, what
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = _ERRORS
        try:
            self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            #: The types of its inputs by name, and those of its outputs, as in "tensor(float)".
            self.inputs: dict[str, str] = {each.name: each.type for each in self._session.get_inputs()}
            self.outputs: list[str] = [each.type for each in self._session.get_outputs()]
        except Exception as exc:  # onnxruntime's own have no common base
            raise self.unfit(exc) from exc

    @before_exit()
    def run(self, values: Mapping[str, npt.NDArray[np.generic]]) -> Float32Array:
        """The first output, given the inputs by name. Raises `ModelIntegrityError` if they do not fit the graph."""
        try:
            output: Float32Array = self._session.run(None, dict(values))[0]
        except Exception as exc:  # onnxruntime's own have no common base
            raise self.unfit(exc) from exc
        return output

    def unfit(self, reason: object) -> ModelIntegrityError:
        """The error that the file is not what it should be; of the reason, the first line is told."""
        line = f"{reason}".strip().partition("\n")[0]
        return ModelIntegrityError(f"{self._path} is damaged or not {self._what}: {line}")
