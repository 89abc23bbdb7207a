"""An ONNX graph under construction: neutral names, constants stored once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 21
IR_VERSION = 10
CONTRIB = "com.microsoft"


class GraphBuilder:
    """Collects nodes and constants; every name is a number, so that a graph tells nothing but its operators."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._count = 0

    def _fresh(self) -> str:
        self._count += 1
        return f"n{self._count}"

    def constant(self, array: NDArray[Any]) -> str:
        """Name of a constant; equal arrays share one."""
        held = np.ascontiguousarray(array)
        key = hashlib.sha256(held.tobytes() + f"{held.dtype}{held.shape}".encode()).hexdigest()
        if key not in self._constants:
            self._constants[key] = numpy_helper.from_array(held, self._fresh())
        return self._constants[key].name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, dtype=np.int64))

    def node(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add an operator with one output, and return the output's name."""
        return self.nodes(op, 1, *inputs, domain=domain, **attributes)[0]

    def nodes(self, op: str, outputs: int, *inputs: str, domain: str = "", **attributes: Any) -> list[str]:
        """Add an operator with ``outputs`` outputs."""
        names = [self._fresh() for _ in range(outputs)]
        self._nodes.append(helper.make_node(op, list(inputs), names, domain=domain, **attributes))
        return names

    def reshape(self, x: str, *shape: int) -> str:
        return self.node("Reshape", x, self.integers(*shape))

    def input(self, name: str, dtype: int, shape: Sequence[int | str]) -> str:
        self._inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, value: str, name: str, shape: Sequence[int | str]) -> None:
        """Give ``value`` (float32) a public name. Renames the node's output: no copy is made."""
        for node in self._nodes:
            for names in (node.input, node.output):
                for index, found in enumerate(names):
                    if found == value:
                        names[index] = name
        self._outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))

    def model(self) -> onnx.ModelProto:
        """The finished model."""
        graph = helper.make_graph(
            self._nodes, "g", self._inputs, self._outputs, initializer=list(self._constants.values())
        )
        opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(CONTRIB, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
