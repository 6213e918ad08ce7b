"""Seeded damage: to any bytes, and to the fields of an ONNX model, where bytes alone seldom get far."""

from __future__ import annotations

import random

import onnx
from google.protobuf.message import DecodeError

_EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**63 - 1, 2**64 - 1)
_SIZES = (0, 1, -1, 2, 3, 17, 2**15, 2**16, 2**20, 2**31 - 1, 2**31, 2**40, 2**62, -(2**63))
_OPERATORS = (
    "Conv", "ConvTranspose", "Expand", "Tile", "ConstantOfShape", "Resize", "Pad", "Reshape", "Loop", "Scan",
    "If", "Gather", "Range", "OneHot", "MatMul", "Concat", "Identity", "Relu", "InstanceNormalization",
    "NonZero", "Upsample", "EyeLike", "RandomNormal", "Unsqueeze", "Einsum", "TopK", "GRU", "MaxPool",
)  # fmt: skip


def damage(content: bytes, rng: random.Random) -> bytes:
    """``content`` with one to eight kinds of damage that disks, networks and attackers do."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        if not data:
            break
        # Headers are where sizes and counts stand: half of the damage goes there.
        at = rng.randrange(min(len(data), 600) if rng.random() < 0.5 else len(data))
        kind = rng.randrange(7)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.randrange(256)
        elif kind == 2:
            width = rng.choice((1, 2, 4, 8))
            value = rng.choice(_EDGES) % 256**width
            data[at : at + width] = value.to_bytes(width, rng.choice(("big", "little")))
        elif kind == 3:
            del data[at:]
        elif kind == 4:
            del data[at : at + rng.randrange(1, 64)]
        elif kind == 5:
            data[at:at] = data[at : at + rng.randrange(1, 256)]
        else:
            end = at + rng.randrange(1, 64)
            data[at:end] = rng.randbytes(len(data[at:end]))
    return bytes(data)


def damage_onnx(content: bytes, rng: random.Random) -> bytes:
    """An ONNX file whose fields were changed, and a few bytes of one file in four."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        return damage(content, rng)
    for _ in range(rng.choice((1, 1, 2, 4))):
        rng.choice(
            (_damage_node, _damage_node, _damage_attribute, _damage_tensor, _damage_shape, _damage_rest)
        )(model, rng)
    changed = model.SerializeToString()
    return damage(changed, rng) if rng.random() < 0.25 else changed


def _damage_node(model: onnx.ModelProto, rng: random.Random) -> None:
    nodes = model.graph.node
    if not nodes:
        return
    node = rng.choice(nodes)
    kind = rng.randrange(5)
    names = [name for other in nodes for name in (*other.input, *other.output)]
    if kind == 0:
        node.op_type = rng.choice(_OPERATORS)
    elif kind == 1 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(names)
    elif kind == 2 and node.input:
        del node.input[rng.randrange(len(node.input))]
    elif kind == 3:
        nodes.remove(node)
    else:
        nodes.add().CopyFrom(node)


def _damage_attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    found = [attribute for node in model.graph.node for attribute in node.attribute]
    if not found:
        return
    attribute = rng.choice(found)
    size = rng.choice(_SIZES)
    if attribute.ints:
        attribute.ints[rng.randrange(len(attribute.ints))] = size
    else:
        attribute.i = size
    if rng.random() < 0.2:
        attribute.type = rng.randrange(1, 15)  # type: ignore[assignment]  # any number will do
    if rng.random() < 0.1:
        attribute.ints.extend([size] * rng.randrange(1, 9))


def _damage_tensor(model: onnx.ModelProto, rng: random.Random) -> None:
    if not model.graph.initializer:
        return
    tensor = rng.choice(model.graph.initializer)
    kind = rng.randrange(5)
    if kind == 0 and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(_SIZES)
    elif kind == 1:
        tensor.dims.append(rng.choice(_SIZES))
    elif kind == 2:
        tensor.data_type = rng.randrange(24)
    elif kind == 3:
        tensor.raw_data = damage(tensor.raw_data, rng)
    else:
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=rng.choice(("../../../etc/passwd", "/dev/zero", "x")))


def _damage_shape(model: onnx.ModelProto, rng: random.Random) -> None:
    values = [*model.graph.input, *model.graph.output]
    if not values:
        return
    dims = rng.choice(values).type.tensor_type.shape.dim
    if dims and rng.random() < 0.8:
        rng.choice(dims).dim_value = rng.choice(_SIZES)
    else:
        dims.add().dim_value = rng.choice(_SIZES)


def _damage_rest(model: onnx.ModelProto, rng: random.Random) -> None:
    kind = rng.randrange(4)
    if kind == 0 and model.opset_import:
        model.opset_import[0].version = rng.choice((0, 1, 6, 7, 13, 18, 99, -1))
    elif kind == 1:
        model.ir_version = rng.choice((0, 3, 8, 10, 99))
    elif kind == 2 and model.metadata_props:
        prop = rng.choice(model.metadata_props)
        prop.value = rng.choice(
            ("", "-1", "1e999", "[" * 5000, '{"height": 1000000000}', "\x1b]0;x\x07", "A" * 10**6)
        )
    elif model.graph.output:
        model.graph.output[0].name = rng.choice(("", "frames", "x" * 300))
