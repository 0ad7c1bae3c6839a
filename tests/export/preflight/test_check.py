"""Preflight: every rule on an operator that it objects to and on one that it does not; real files where there are."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwnas.devices.profile import DELEGATES as KNOWN_TO_PROFILES
from hwnas.devices.profile import load_profile
from hwnas.errors import ConfigError, ExportError, MissingExtraError
from hwnas.export.node import Node
from hwnas.export.preflight import DELEGATES, check_file, preflight
from hwnas.export.preflight.nodes import nodes_of
from hwnas.export.preflight.rules import SEVERITIES
from hwnas.export.preflight.suggestions import suggestion
from hwnas.export.synthetic import onnx as synthetic_onnx
from hwnas.export.synthetic import tflite as synthetic_tflite
from hwnas.export.tflite.flatbuffer import pack, unpack
from hwnas.export.tflite.operators import operator_names
from hwnas.operators import Bottleneck, MBConv, Operator
from hwnas.spaces import OfaMbv3Config, OfaMbv3Space, OfaProxylessConfig, OfaProxylessSpace, Space
from tests.export.conftest import SMALL

SPACE = OfaMbv3Space(replace(SMALL, resolution=(25, 32)))
LARGEST = SPACE.extreme(largest=True)


@dataclass(frozen=True)
class Device:
    """What preflight reads of a profile."""

    delegates: tuple[str, ...] = ()
    max_file_mib: float | None = None
    memory_mib: int | None = None
    name: str = "device"


def found(delegate: str, node: Node) -> str | None:
    return DELEGATES[delegate].objection(node)


FLOAT: dict[str, Any] = {"layer": "block0", "type": "float32"}
INT8: dict[str, Any] = {"layer": "block0", "type": "int8"}


@pytest.mark.parametrize(
    ("delegate", "good", "bad", "reason"),
    [
        ("xnnpack", Node(operator="HARD_SWISH", **FLOAT), Node(operator="HARD_SWISH", **INT8), "not on int8"),
        ("xnnpack", Node(operator="AVERAGE_POOL_2D", **FLOAT), Node(operator="AVERAGE_POOL_2D", **INT8), "not on int8"),
        ("xnnpack", Node(operator="MAX_POOL_2D", **INT8), Node(operator="PADV2", **INT8), "has no PADV2"),
        ("xnnpack", Node(operator="CONV_2D", weights="int8", **FLOAT),
         Node(operator="DEPTHWISE_CONV_2D", weights="int8", **FLOAT), "weights of float16 or float32"),
        ("xnnpack", Node(operator="ADD", activation="RELU6", **INT8), Node(operator="ADD", activation="TANH", **INT8),
         "no fused activation but ReLUs, got TANH"),
        ("gpu", Node(operator="HARD_SWISH", **FLOAT), Node(operator="L2_NORMALIZATION", **FLOAT), "has no L2_NORM"),
        ("gpu", Node(operator="CONV_2D", activation="TANH", **FLOAT),
         Node(operator="CONV_2D", activation="SIGN_BIT", **FLOAT), "got SIGN_BIT"),
        ("nnapi", Node(operator="ADD", **INT8), Node(operator="ADD", rank=5, **INT8), "at most four axes, got 5"),
        ("nnapi", Node(operator="HARD_SWISH", **INT8), Node(operator="GELU", **INT8), "has no GELU"),
        ("edge_tpu", Node(operator="MUL", **INT8), Node(operator="HARD_SWISH", **INT8), "has no HARD_SWISH"),
        ("edge_tpu", Node(operator="CONV_2D", **INT8), Node(operator="CONV_2D", batch=2, **INT8), "one image"),
        ("edge_tpu", Node(operator="CONV_2D", **INT8), Node(operator="CONV_2D", batch=0, **INT8), "constant"),
        ("edge_tpu", Node(operator="MAX_POOL_2D", **INT8), Node(operator="MAX_POOL_2D", activation="RELU", **INT8),
         "no fused activation here"),
    ],
)  # fmt: skip
def test_every_limit_objects_to_what_breaks_it_alone(delegate: str, good: Node, bad: Node, reason: str) -> None:
    assert found(delegate, good) is None
    assert reason in (found(delegate, bad) or "")


@pytest.mark.parametrize(
    ("delegate", "good", "bad"),
    [
        ("gpu", Node(operator="CONV_2D", **FLOAT), Node(operator="CONV_2D", **INT8)),
        ("onnxruntime_cpu", Node(operator="Conv", **INT8), Node(operator="HardSwish", **INT8)),
        ("onnxruntime_cpu", Node(operator="Conv", **FLOAT), Node(operator="Conv", layer="x", type="float16")),
    ],
)
def test_what_runs_slowly_is_told_from_what_does_not(delegate: str, good: Node, bad: Node) -> None:
    assert DELEGATES[delegate].slowness(good) is None
    assert DELEGATES[delegate].slowness(bad)
    assert DELEGATES[delegate].objection(bad) is None


def test_every_delegate_says_where_its_rules_are_from() -> None:
    assert set(DELEGATES) == set(KNOWN_TO_PROFILES)
    for delegate in DELEGATES.values():
        assert delegate.sources
        assert all(source.startswith("https://") for source in delegate.sources)


# ---- a space's networks ---------------------------------------------------------------------------------------------


def test_an_int8_network_fits_xnnpack_and_the_edge_tpu() -> None:
    assert preflight(SPACE, LARGEST, "int8", "litert", Device(("xnnpack", "edge_tpu"))) == []
    assert preflight(SPACE, LARGEST, "fp32", "litert", Device()) == []


def test_the_edge_tpu_refuses_float_files() -> None:
    (finding,) = preflight(SPACE, LARGEST, "fp32", "litert", Device(("edge_tpu",)))
    assert (finding.severity, finding.delegate) == ("unsupported", "edge_tpu")
    assert finding.layer.startswith("stem and")
    assert finding.suggestion == "choose precisions=[int8]"
    assert "\n" not in str(finding)
    (beside,) = preflight(SPACE, LARGEST, "fp32", "litert", Device(("edge_tpu", "xnnpack")))
    assert beside.severity == "falls back"


def test_tvm_refuses_int8() -> None:
    (finding,) = preflight(SPACE, LARGEST, "int8", "tvm", Device())
    assert (finding.severity, finding.suggestion) == ("unsupported", "choose precisions=[fp32]")
    assert preflight(SPACE, LARGEST, "fp32", "tvm", Device()) == []


def test_suggestions_are_keys_of_the_space_that_help() -> None:
    findings = preflight(SPACE, LARGEST, "int8", "onnxruntime", Device())
    suggested = {finding.operator: finding.suggestion for finding in findings if finding.layer.startswith("block")}
    assert suggested["HardSwish"] == "choose space.activations=[relu,relu,relu6,relu6]"
    gate = Node(layer="block3", operator="HardSigmoid", type="int8")
    assert suggestion(gate, DELEGATES["onnxruntime_cpu"], "int8", SPACE) == "choose space.se=[false,false,false,false]"
    mended = replace(SMALL, activations=("relu", "relu", "relu6", "relu6"), se=(False,) * 4)
    left = preflight(OfaMbv3Space(mended), LARGEST, "int8", "onnxruntime", Device())
    assert {finding.layer for finding in left} == {"stem", "final_expand", "feature_mix"}
    assert {one.suggestion for one in left if one.operator == "HardSwish"} == {
        "choose a space whose stem and head have ReLU6, such as space=ofa_proxyless"
    }
    proxyless = OfaProxylessSpace(OfaProxylessConfig(resolution=(32,), classes=10))
    rest = preflight(proxyless, proxyless.extreme(largest=False), "int8", "onnxruntime", Device())
    assert rest == []


def test_several_networks_name_a_layer_once_and_the_worst_first() -> None:
    device = Device(("gpu", "xnnpack"), max_file_mib=0.001)
    rows = np.stack([LARGEST, SPACE.extreme(largest=False), LARGEST])
    findings = preflight(SPACE, rows, "int8", "litert", device)
    assert len(set(findings)) == len(findings)
    places = [SEVERITIES.index(finding.severity) for finding in findings]
    assert places == sorted(places)
    assert findings[0].layer == "weights"
    assert "0.001 MiB" in findings[0].reason


@pytest.mark.parametrize(("limits", "expected"), [({"memory_mib": 1}, 1), ({"memory_mib": 64}, 0), ({}, 0)])
def test_memory_limits(limits: dict[str, int], expected: int) -> None:
    space = OfaMbv3Space(OfaMbv3Config(resolution=(96,)))
    findings = preflight(space, space.extreme(largest=True), "fp32", "litert", Device(**limits))  # type: ignore[arg-type]
    assert len(findings) == expected
    assert all((one.layer, one.severity) == ("weights and activations", "unsupported") for one in findings)


def test_bad_requests_are_named() -> None:
    with pytest.raises(ConfigError, match="did you mean 'int8'"):
        preflight(SPACE, LARGEST, "int9", "litert", Device())
    with pytest.raises(ConfigError, match="no preflight for runtime 'coreml'"):
        preflight(SPACE, LARGEST, "int8", "coreml", Device())
    with pytest.raises(ConfigError, match=r"delegate 'edgetpu' unknown.*did you mean 'edge_tpu'"):
        preflight(SPACE, LARGEST, "int8", "litert", Device(("edgetpu",)))


def test_shipped_profiles_pass_as_they_are() -> None:
    coral = load_profile("coral_dev_board")
    assert coral.delegates == ("edge_tpu", "xnnpack")
    assert preflight(SPACE, LARGEST, "int8", "litert", coral) == []
    assert {one.severity for one in preflight(SPACE, LARGEST, "int8", "litert", load_profile("pixel_8"))} == {"slow"}


def test_preflight_of_a_space_imports_neither_torch_nor_a_runtime() -> None:
    code = (
        "import sys; from hwnas.export.preflight import preflight; from hwnas.devices.profile import load_profile;"
        "from hwnas.spaces import *; space = OfaMbv3Space(OfaMbv3Config());"
        "preflight(space, space.extreme(largest=True), 'int8', 'litert', load_profile('local'));"
        "print([m for m in 'torch onnx onnxruntime ai_edge_litert flatbuffers'.split() if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- what it says of spaces against what files hold -----------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("space", [SPACE, OfaProxylessSpace(OfaProxylessConfig(resolution=(48,), classes=10))])
def test_operators_are_those_of_the_files(space: Space, precision: str, tmp_path: Path) -> None:
    for row in space.sample(2, np.random.default_rng(0)):
        layers = space.named_operators(row)
        tflite = synthetic_tflite.write(list(layers.values()), tmp_path / "x.tflite", precision=precision)
        ours = Counter(node.operator for node in nodes_of(layers.items(), "litert", precision))
        theirs = Counter(operator_names(tflite.read_bytes()))
        # A h-swish that is added as well as convolved has a product of its own in int8.
        assert theirs - ours in (Counter(), Counter(MUL=1))
        assert not ours - theirs
        path = synthetic_onnx.write(list(layers.values()), tmp_path / "x.onnx")
        nodes = Counter(node.operator for node in nodes_of(layers.items(), "onnxruntime", "fp32"))
        assert nodes == Counter(node.op_type for node in onnx.load(path).graph.node)


# ---- files ----------------------------------------------------------------------------------------------------------

POOLED = Bottleneck(9, 9, 8, 16, mid_channels=8, kernel=3, stride=2, activation="relu")
BLOCK = MBConv(12, 12, 8, 8, mid_channels=16, kernel=3, se=True, activation="h_swish")


@pytest.mark.parametrize(
    ("operator", "precision", "delegate", "expected"),
    [
        (BLOCK, "fp32", "xnnpack", set()),
        (BLOCK, "int8", "xnnpack", set()),
        (BLOCK, "int8", "edge_tpu", set()),
        (BLOCK, "int8", "nnapi", set()),
        (POOLED, "fp32", "xnnpack", set()),
        (POOLED, "int8", "xnnpack", {"AVERAGE_POOL_2D"}),
    ],
)
def test_tflite_files(operator: Operator, precision: str, delegate: str, expected: set[str], tmp_path: Path) -> None:
    path = synthetic_tflite.write([operator], tmp_path / "x.tflite", precision=precision)
    findings = check_file(path, precision, "litert", Device((delegate,)))
    assert {finding.operator for finding in findings} == expected
    assert all(finding.severity == "falls back" for finding in findings)


def test_what_xnnpack_leaves_is_what_preflight_says(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    path = synthetic_tflite.write([POOLED], tmp_path / "x.tflite", precision="int8")
    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    parts = sum(operator["op_name"] == "DELEGATE" for operator in interpreter._get_ops_details())
    assert parts == 1 + len(check_file(path, "int8", "litert", Device()))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"shapeSignature": [-1, 12, 12, 8]}, "sizes that are constant"), ({"shape": [3, 12, 12, 8]}, "one image")],
)
def test_sizes_of_a_file_are_looked_at(changes: dict[str, list[int]], reason: str, tmp_path: Path) -> None:
    path = synthetic_tflite.write([replace(BLOCK, se=False)], tmp_path / "x.tflite", precision="int8")
    model = unpack(path.read_bytes())
    tensor = model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]]
    for key, value in changes.items():
        setattr(tensor, key, value)
    path.write_bytes(pack(model))
    findings = check_file(path, "int8", "litert", Device(("edge_tpu",)))
    assert any(reason in finding.reason for finding in findings)


def between_integers(operator: str) -> onnx.ModelProto:
    """An operator as quantisers leave it that know no integer form of it."""
    constants = [
        numpy_helper.from_array(value, name)
        for value, name in ((np.array(0.1, np.float32), "s"), (np.array(7, np.uint8), "z"))
    ]
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["a"]),
        helper.make_node(operator, ["a"], ["b"]),
        helper.make_node("QuantizeLinear", ["b", "s", "z"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.UINT8, [1, 4, 8, 8]) for name in ("x", "y")]
    return helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], constants))


def test_onnx_files_in_int8_and_float16(tmp_path: Path) -> None:
    path = synthetic_onnx.write([BLOCK], tmp_path / "x.onnx", precision="int8")
    assert check_file(path, "int8", "onnxruntime", Device()) == []
    onnx.save(between_integers("HardSigmoid"), tmp_path / "others.onnx")
    (finding,) = check_file(tmp_path / "others.onnx", "int8", "onnxruntime", Device())
    assert (finding.operator, finding.severity) == ("HardSigmoid", "slow")
    assert check_file(synthetic_onnx.write([BLOCK], tmp_path / "y.onnx"), "fp32", "onnxruntime", Device()) == []
    weight = numpy_helper.from_array(np.ones((4, 4, 1, 1), dtype=np.float16), "w")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT16, [1, 4, 8, 8]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"])], "g", values[:1], values[1:], [weight])
    onnx.save(helper.make_model(graph), tmp_path / "half.onnx")
    (finding,) = check_file(tmp_path / "half.onnx", "fp16", "onnxruntime", Device())
    assert (finding.operator, finding.severity) == ("Conv", "slow")


def test_a_file_over_the_limit_names_both_sizes(tmp_path: Path) -> None:
    path = synthetic_tflite.write([BLOCK], tmp_path / "x.tflite")
    size = path.stat().st_size / (1 << 20)
    assert check_file(path, "fp32", "litert", Device(max_file_mib=size)) == []
    with pytest.raises(ExportError, match=rf"has {size:.2f} MiB, and device takes 0\.001 MiB"):
        check_file(path, "fp32", "litert", Device(max_file_mib=0.001))


@pytest.mark.parametrize("suffix", ["tflite", "onnx"])
def test_files_that_are_no_models_are_named(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"x.{suffix}"
    with pytest.raises(ExportError, match="no such file"):
        check_file(path, "fp32", "litert", Device())
    path.write_bytes(b"not a model at all")
    with pytest.raises(ExportError, match="export it again") as caught:
        check_file(path, "fp32", "litert", Device())
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="did you mean"):
        check_file(path.with_suffix(f".{suffix}x"), "fp32", "litert", Device())
    monkeypatch.setitem(sys.modules, "onnx" if suffix == "onnx" else "ai_edge_litert", None)
    with pytest.raises(MissingExtraError):
        check_file(path, "fp32", "litert", Device())
