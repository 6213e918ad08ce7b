"""What int8 is made with: the ranges of activations, and weights rounded for their sum."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from stylize_video_export.parity import Pixels, session_options
from stylize_video_export.request import ExportError

WEIGHT_LEVELS = 63
"""Weights are whole multiples of a step, at most so many: 7 of 8 bits."""

_SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02)
"""How much of all that was seen a range may hold."""

_BINS = 4096
_PATCH_SHARE = 1 / 500
"""Of the places that a convolution of a picture's size has, how many are looked at."""

_DAMPING = 0.01
"""Of the mean variance: what keeps directions that hardly occur from taking any error."""

Range = tuple[float, float]
_Values = NDArray[np.float32]


@dataclass(frozen=True)
class ActivationLosses:
    """What each range of a graph's values loses on each of some pictures.

    A wide range has coarse levels, and a narrow one cuts off: a range is one of a few shares of all that
    occurs. ``errors`` are mean squares ``[values, shares]`` for each picture, ``sizes`` the pictures' sizes.
    """

    names: Sequence[str]
    lowest: NDArray[np.float64]
    highest: NDArray[np.float64]
    sizes: Sequence[int]
    errors: Sequence[NDArray[np.float64]]

    @classmethod
    def measure(
        cls, model: onnx.ModelProto, names: Sequence[str], pictures: Sequence[Pixels]
    ) -> ActivationLosses:
        """Of the values called ``names`` of ``model``.

        Raises:
            ExportError: a value is no number.
        """
        run = _watching(model, names)
        lowest, highest = np.zeros(len(names)), np.zeros(len(names))  # 0 is always a level
        for picture in pictures:
            for index, values in enumerate(run(picture)):
                lowest[index] = np.minimum(lowest[index], values.min())  # a NaN stays
                highest[index] = np.maximum(highest[index], values.max())
        if not np.isfinite([lowest, highest]).all():
            raise ExportError("pictures come out with values that are no numbers")
        widths = np.maximum(highest - lowest, 1e-9) / (_BINS - 1)
        levels = lowest[:, None] + widths[:, None] * np.arange(_BINS)
        low, high = (np.outer(ends, _SHARES)[..., None] for ends in (lowest, highest))
        squares = (levels[:, None] - np.clip(levels[:, None], low, high)) ** 2
        rounding = (((high - low) / 255) ** 2 / 12)[..., 0] + 1e-12
        errors = []
        for picture in pictures:
            errors.append(rounding.copy())
            for index, values in enumerate(run(picture)):
                places = np.rint((values.ravel() - lowest[index]) / widths[index]).astype(np.int64)
                errors[-1][index] += squares[index] @ np.bincount(places, minlength=_BINS) / values.size
        return cls(names, lowest, highest, [picture.size for picture in pictures], errors)

    def ranges(self, *, power: float) -> dict[str, Range]:
        """For each value the range whose 256 levels lose least.

        By each picture's squared error to the power of ``power``: 1 is the mean squared error, to which the
        pictures with the largest values contribute most; near 0 each picture's decibels count alike.
        """
        total = np.zeros((len(self.names), len(_SHARES)))
        for size, errors in zip(self.sizes, self.errors, strict=True):
            total += size * errors**power
        best = np.array(_SHARES)[total.argmin(axis=1)]
        return {
            name: (float(low), float(high))
            for name, low, high in zip(self.names, best * self.lowest, best * self.highest, strict=True)
        }


def round_weights(
    model: onnx.ModelProto, left_out: Collection[str], pictures: Sequence[Pixels]
) -> tuple[onnx.ModelProto, dict[str, _Values]]:
    """A copy whose convolutions have weights of few levels, and the step of each output channel by weight.

    Each weight is rounded in turn, and those that are left make up for it, as far as what they
    are multiplied with goes together (OPTQ, Frantar et al. 2023). What the rounding does to
    the mean goes into the bias. Rounded each for itself, weights have errors that add up: one to five
    decibels, and in smooth parts the four phases of a pixel shuffle come out as a grid.

    Args:
        model: an fp32 style.
        left_out: names of convolutions that stay in float.
        pictures: what the convolutions' inputs are taken from.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    tensors = {tensor.name: tensor for tensor in result.graph.initializer}
    convolutions = [n for n in model.graph.node if n.op_type == "Conv" and n.name not in left_out]
    steps = {}
    for node, (mean, covariance) in zip(
        convolutions, _statistics(model, convolutions, pictures), strict=True
    ):
        name = node.input[1]
        weight = numpy_helper.to_array(tensors[name])
        flat = weight.reshape(len(weight), -1).astype(np.float64)
        step = np.abs(flat).max(axis=1) / WEIGHT_LEVELS
        step[step == 0] = 1  # a channel of zeros
        rounded = _rounded(flat, step, covariance)
        tensors[name].CopyFrom(
            numpy_helper.from_array(rounded.reshape(weight.shape).astype(np.float32), name)
        )
        if len(node.input) > 2:
            bias = numpy_helper.to_array(tensors[node.input[2]]) + (flat - rounded) @ mean
            tensors[node.input[2]].CopyFrom(numpy_helper.from_array(bias.astype(np.float32), node.input[2]))
        steps[name] = step.astype(np.float32)
    return result, steps


def _rounded(
    weight: NDArray[np.float64], step: NDArray[np.float64], covariance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """``weight`` ``[out, in]`` in multiples of ``step``, one column after the other, the liveliest first."""
    damping = _DAMPING * float(np.diag(covariance).mean()) + 1e-12
    damped = covariance + damping * np.eye(len(covariance))
    order = np.argsort(-np.diag(damped), kind="stable")
    factor = np.linalg.cholesky(np.linalg.inv(damped[np.ix_(order, order)])).T
    left, rounded = weight[:, order].copy(), np.empty_like(weight)
    for column, place in enumerate(order):
        levels = np.clip(np.round(left[:, column] / step), -WEIGHT_LEVELS, WEIGHT_LEVELS)
        rounded[:, place] = levels * step
        error = (left[:, column] - rounded[:, place]) / factor[column, column]
        left[:, column + 1 :] -= np.outer(error, factor[column, column + 1 :])
    return rounded


def _statistics(
    model: onnx.ModelProto, convolutions: Sequence[onnx.NodeProto], pictures: Sequence[Pixels]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Mean and covariance of what each convolution multiplies its weights with, at random places."""
    dims = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    sizes = [int(np.prod(dims[node.input[1]][1:])) for node in convolutions]
    sums = [np.zeros(size) for size in sizes]
    products = [np.zeros((size, size)) for size in sizes]
    run, rng = _watching(model, [node.input[0] for node in convolutions]), np.random.default_rng(0)
    count = 0
    for picture in pictures:
        number = max(1, round(_PATCH_SHARE * picture.size / 3))
        count += number
        for index, (node, values) in enumerate(zip(convolutions, run(picture), strict=True)):
            patches = _patches(values, dims[node.input[1]][2:], number, rng)
            sums[index] += patches.sum(axis=0)
            products[index] += patches.T @ patches
    for total, product in zip(sums, products, strict=True):
        yield total / count, product / count - np.outer(total, total) / count**2


def _patches(
    values: _Values, kernel: tuple[int, ...], count: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Parts of ``values`` ``[N, C, H, W]`` as large as the kernel, ``[count, C * height * width]``."""
    windows = np.lib.stride_tricks.sliding_window_view(values, kernel, axis=(2, 3))
    which, rows, columns = (rng.integers(windows.shape[axis], size=count) for axis in (0, 2, 3))
    return windows[which, :, rows, columns].reshape(count, -1).astype(np.float64)


def _watching(model: onnx.ModelProto, names: Iterable[str]) -> Callable[[Pixels], list[_Values]]:
    """``model`` as a function of pixels that gives the values called ``names``."""
    wanted = list(names)
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    given = {value.name for value in model.graph.input}
    computed = sorted(set(wanted) - given) or [model.graph.output[0].name]
    watched.graph.output.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in computed)
    session = ort.InferenceSession(
        watched.SerializeToString(), session_options(), providers=["CPUExecutionProvider"]
    )

    def run(pixels: Pixels) -> list[_Values]:
        values: Mapping[str, _Values] = dict.fromkeys(given, pixels) | dict(
            zip(computed, session.run(computed, dict.fromkeys(given, pixels)), strict=True)
        )
        return [values[name] for name in wanted]

    return run
