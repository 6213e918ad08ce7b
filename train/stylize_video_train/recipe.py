"""The recipe of a training: every number that decides what comes out.

Plain values only; torch is not imported, so that commands can show defaults at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from stylize_video.errors import StylizeError

NetworkKind = Literal["realtime", "transformer"]
Precision = Literal["auto", "fp32", "bf16"]
OptimizerKind = Literal["muon", "adam"]
Schedule = Literal["cosine", "constant"]
StyleStatistics = Literal["moments", "gram"]

_CHOICES = {
    "precision": Precision,
    "style_statistics": StyleStatistics,
    "optimizer": OptimizerKind,
    "schedule": Schedule,
}

_NONE = ("auto", "none")
_NUMBERS_OR_NONE = frozenset({"style_weight", "style_memory", "identity_share", "content_scale"})
LISTS_OF_TEXT = frozenset({"style_layers"})
LISTS_OF_NUMBERS = frozenset({"layer_weights", "style_scales", "zoom", "contrast"})

_MOST_CHANNELS, _MOST_BLOCKS = 1024, 128
_MOST_STEPS, _MOST_PICTURES = 10**7, 2**12
"""What is beyond is the work of a slip, or of a file that wants all memory."""


class RecipeError(StylizeError):
    """A recipe's values do not make a training."""


@dataclass(frozen=True)
class NetworkConfig:
    """What it takes to rebuild a network before its weights are loaded.

    ``width`` is the number of channels of the first convolution of the
    ``transformer`` and of the whole body of ``realtime``; ``blocks`` counts the
    residual blocks (Johnson et al. have five); ``head`` is the number of channels at a quarter
    and at half of the size in ``realtime``. ``pixel_range`` is 1, or 255 for checkpoints
    trained on 0..255.
    """

    kind: NetworkKind = "realtime"
    width: int = 32
    blocks: int = 4
    head: int = 16
    pixel_range: int = 1

    def __post_init__(self) -> None:
        if self.kind not in get_args(NetworkKind):
            raise RecipeError(f"unknown network {self.kind!r}; known: {', '.join(get_args(NetworkKind))}")
        sizes = {"width": _MOST_CHANNELS, "blocks": _MOST_BLOCKS, "head": _MOST_CHANNELS}
        for name, most in sizes.items():
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= most:
                raise RecipeError(
                    f"{name} must be a whole number of at least 1 and at most {most}, got {value}"
                )
        if self.pixel_range not in (1, 255):
            raise RecipeError(f"pixel_range must be 1 or 255, got {self.pixel_range}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class FeaturePreset:
    """Layers that give good pictures with a model: content layer and style set J."""

    content_layer: str
    style_layers: tuple[str, ...]


PRESETS: Mapping[str, FeaturePreset] = {
    "vgg16": FeaturePreset("relu2_2", ("relu1_2", "relu2_2", "relu3_3", "relu4_3")),
    "vgg19": FeaturePreset("relu2_2", ("relu1_2", "relu2_2", "relu3_2")),
    "resnet50": FeaturePreset("layer2", ("relu", "layer1", "layer2", "layer3")),
    "resnet101": FeaturePreset("layer2", ("relu", "layer1", "layer2", "layer3")),
    "squeezenet1_1": FeaturePreset("features.6", ("features.1", "features.4", "features.7", "features.12")),
}
"""Defaults for the models that were tried; any other torchvision model needs its layers named."""


AUTO_START, BUNDLED_START, NO_START = "auto", "bundled", "none"

_IDENTITY_SHARE = 0.1
_LARGEST_ZOOM = 16
SHARP_ZOOM = (1.1, 1.8)
"""Photos of a few hundred pixels, hardly larger than a crop, stay as sharp as they are."""

BEFORE_CHOICES: Mapping[str, Any] = {
    "style_statistics": "gram",
    "optimizer": "adam",
    "zoom": SHARP_ZOOM,
    "contrast": (1.0, 1.0),
    "brightness": 0.0,
    "noise": 4 / 255,
    "grain": 1,
    "ema_decay": 0.0,
    "range_weight": 0.0,
}
"""What recipes were trained with that lack these fields: they were written before the fields existed."""


@dataclass(frozen=True)
class Recipe:
    """Everything a training depends on besides its pictures.

    Losses are fractions of their targets' energy (see :mod:`stylize_video_train.losses`),
    so the weights mean the same for every feature model and painting.
    """

    network: NetworkConfig = field(default_factory=NetworkConfig)
    features: str = "vgg19"
    content_layer: str = ""
    """Empty: the feature model's preset."""
    style_layers: tuple[str, ...] = ()
    """The set J; empty: the feature model's preset."""
    layer_weights: tuple[float, ...] = ()
    """One a style layer; empty: all equal."""
    style_scales: tuple[float, ...] = (1.0, 0.5)
    content_scale: float | None = None
    """The one of ``style_scales`` at which content is compared; None: the smallest. Half size
    holds what is depicted and leaves the strokes free; full size keeps a photo's detail."""
    window: float = 0.5
    """At the first style scale, look at a random part of each picture with this fraction of its
    sides: a quarter of the cost for fine strokes, which are alike everywhere."""
    style_size: int = 400
    """Short side, in pixels, of the style picture: smaller gives finer strokes."""
    style_statistics: StyleStatistics = "moments"
    """What style is at a layer: ``moments``, the mean and the covariance of its activations, which
    gives a painting's colours and strokes their due; or ``gram``, the Gram matrix of the paper."""
    style_memory: float | None = 0.0
    """Style is compared over the whole batch, plus this share of earlier batches; None compares picture
    by picture. See :class:`stylize_video_train.losses.PooledStatistic`."""
    content_weight: float = 1.0
    style_weight: float | None = None
    """None: calibrated to ``style_balance`` before the training, and then written here."""
    style_balance: float = 6.0
    """How much the style of an untouched photo is to cost, where 1 is the cost of a lost photo.
    A painting far from photos (night, ink on paper) gets a lower style weight by it, so that
    its style does not drown the picture."""
    tv_weight: float = 0.5
    range_weight: float = 200.0
    """Of :func:`stylize_video_train.losses.out_of_range`. Bright paintings ask for lights beyond white."""
    steadiness_weight: float = 50.0
    noise: float = 8 / 255
    """Largest standard deviation of the noise that a style must not answer to, of pixels from 0 to 1."""
    grain: int = 32
    """That noise has grains of up to so many pixels: a sensor's are one pixel, but what compression and
    flickering light leave is coarser."""
    zoom: tuple[float, float] = (1.1, 4.0)
    """The short side of a photo is scaled to between these multiples of a crop's. Beyond its own
    size a photo is as soft as footage, and has as large plain areas: what has learnt on sharp
    photos alone leaves both without strokes."""
    contrast: tuple[float, float] = (0.45, 1.1)
    """The contrast of a crop is scaled to between these multiples: footage is often flat."""
    brightness: float = 0.12
    """A crop gets at most so much darker or lighter, on 0..1."""
    image_size: int = 176
    batch: int = 4
    """Pictures in a step, over all processes and parts."""
    accumulate: int = 1
    """Compute a step in this many parts, to save memory. Batch normalisation, pooled style and the energy
    of the content then see one part at a time."""
    steps: int = 1800
    start: str = AUTO_START
    """The weights to start from: a checkpoint, ``bundled`` or ``none``; ``auto`` takes the bundled
    ones where they fit the network. A network that has one style already learns another in a
    fraction of the steps."""
    teacher: str = ""
    """A style (file or bundled name) that the first steps imitate; empty: the photo itself."""
    identity_share: float | None = None
    """The first steps (this fraction) teach the network to give its input back (or what the
    teacher makes of it), at a tenth of the cost; style is then learnt from a network that
    keeps light and shade. None: a tenth for a fresh network, nothing for one that has learnt."""
    optimizer: OptimizerKind = "muon"
    """``muon`` for convolution kernels with ``adam`` for the rest, or ``adam`` for all: see
    :mod:`stylize_video_train.optimizer`."""
    learning_rate: float = 2e-3
    """Adam's, at most."""
    muon_learning_rate: float = 7e-3
    """Muon's, at most. Up to three times as much makes more of few steps, and flickers more."""
    schedule: Schedule = "cosine"
    """After a short warm-up: ``cosine`` down to a twentieth, or ``constant``."""
    ema_decay: float = 0.99
    """The network that comes out has the exponential moving average of the weights that the steps went
    through: this much of it stays from step to step, less at the start. 0: the last step's weights."""
    freeze_norm_at: float = 0.6
    """Fraction of the steps after which batch normalisation uses its running statistics,
    as it will in use; the rest of the training makes up for the difference."""
    precision: Precision = "auto"
    """Arithmetic of the feature model; the network itself always trains in float32. ``auto``:
    bf16 where the device computes it in hardware, else fp32; the one used is then written here."""
    seed: int = 0

    def resolved(self) -> Recipe:
        """The same recipe with the feature model's preset filled in; checks every value.

        Raises:
            RecipeError: a value is out of range, or layers are missing.
        """
        preset = PRESETS.get(self.features)
        if preset is None and not (self.content_layer and self.style_layers):
            raise RecipeError(
                f"there is no layer preset for {self.features}: pass --content-layer and --style-layers"
            )
        start = self.start
        if start == AUTO_START:
            start = BUNDLED_START if self.network == NetworkConfig() else NO_START
        identity_share = self.identity_share
        if identity_share is None:
            identity_share = _IDENTITY_SHARE if self.teacher or start == NO_START else 0.0
        recipe = replace(
            self,
            start=start,
            identity_share=identity_share,
            content_layer=self.content_layer or (preset.content_layer if preset else ""),
            style_layers=self.style_layers or (preset.style_layers if preset else ()),
            content_scale=min(self.style_scales, default=None)
            if self.content_scale is None
            else self.content_scale,
        )
        if recipe.layer_weights and len(recipe.layer_weights) != len(recipe.style_layers):
            raise RecipeError(
                f"{len(recipe.style_layers)} style layers need as many layer weights,"
                f" got {len(recipe.layer_weights)}"
            )
        recipe._check_ranges()
        return recipe

    def _check_ranges(self) -> None:
        for name, value in self._floats():
            if not math.isfinite(value):
                raise RecipeError(f"{name} must be finite, got {value}")
        rates = ("learning_rate", "muon_learning_rate")
        for name in ("steps", "batch", "accumulate", "style_size", "style_balance", "grain", *rates):
            if not getattr(self, name) > 0:
                raise RecipeError(f"{name} must be above 0, got {getattr(self, name)}")
        for name, most in (("steps", _MOST_STEPS), ("batch", _MOST_PICTURES)):
            if getattr(self, name) > most:
                raise RecipeError(f"{name} must be at most {most}, got {getattr(self, name)}")
        for name in ("content_weight", "style_weight", "tv_weight", "range_weight", "steadiness_weight"):
            if not (getattr(self, name) or 0) >= 0:
                raise RecipeError(f"{name} must be 0 or more, got {getattr(self, name)}")
        for name in ("identity_share", "freeze_norm_at"):
            if not 0 <= (getattr(self, name) or 0) <= 1:
                raise RecipeError(f"{name} must be between 0 and 1, got {getattr(self, name)}")
        if self.style_memory is not None and not 0 <= self.style_memory < 1:
            raise RecipeError(f"style_memory must be from 0 to below 1, got {self.style_memory}")
        for name in ("zoom", "contrast"):
            limits = getattr(self, name)
            if len(limits) != 2 or not 0 < limits[0] <= limits[1]:
                raise RecipeError(f"{name} must be two numbers above 0, the lower one first, got {limits}")
        if self.zoom[0] < 1 or self.zoom[1] > _LARGEST_ZOOM:
            raise RecipeError(f"zoom must be from 1 to {_LARGEST_ZOOM}, got {self.zoom}")
        if not 0 <= self.seed < 2**32:
            raise RecipeError(f"seed must be from 0 to 2^32 - 1, got {self.seed}")
        if len(set(self.style_layers)) < len(self.style_layers):
            raise RecipeError(f"a style layer is named twice: {', '.join(self.style_layers)}")
        if not 0 <= self.noise <= 1:
            raise RecipeError(f"noise must be from 0 to 1, got {self.noise}")
        if not 0 <= self.ema_decay < 1:
            raise RecipeError(f"ema_decay must be from 0 to below 1, got {self.ema_decay}")
        if not 0 <= self.brightness < 1:
            raise RecipeError(f"brightness must be from 0 to below 1, got {self.brightness}")
        if not 0 < self.window <= 1:
            raise RecipeError(f"window must be above 0 and at most 1, got {self.window}")
        scales = set(self.style_scales)
        if not scales or len(scales) < len(self.style_scales) or not all(0 < scale <= 1 for scale in scales):
            raise RecipeError(f"style_scales must differ, be above 0 and at most 1, got {self.style_scales}")
        if self.content_scale not in self.style_scales:
            raise RecipeError(
                f"content_scale must be one of style_scales {self.style_scales}, got {self.content_scale}"
            )
        if any(not weight >= 0 for weight in self.layer_weights) or (
            self.layer_weights and not 0 < sum(self.layer_weights) < math.inf
        ):
            raise RecipeError(
                f"layer_weights must be 0 or more with a finite sum above 0, got {self.layer_weights}"
            )
        for name, kind in _CHOICES.items():
            *others, last = get_args(kind)
            if getattr(self, name) not in get_args(kind):
                raise RecipeError(f"{name} must be {', '.join(others)} or {last}, got {getattr(self, name)}")
        if self.batch % self.accumulate:
            raise RecipeError(f"a batch of {self.batch} cannot be split into {self.accumulate} equal parts")
        if self.image_size < 64:
            raise RecipeError(f"image_size must be at least 64, got {self.image_size}")

    def _floats(self) -> Iterator[tuple[str, float]]:
        """Every float of the recipe, those in lists too, with its field's name."""
        for name, value in asdict(self).items():
            for number in value if isinstance(value, tuple) else (value,):
                if isinstance(number, float):
                    yield name, number

    def to_dict(self) -> dict[str, Any]:
        """Plain values only, as checkpoints and ONNX metadata hold them."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], *, source: str = "the recipe") -> Recipe:
        """A recipe from what :meth:`to_dict` gave, or from a style's metadata; ``source`` names it in errors.

        Those of an interrupted training hold ``steps_taken`` too, which is no choice.

        Raises:
            RecipeError: a setting is unknown or of the wrong type, or the network is missing.
        """
        given = {name: value for name, value in values.items() if name not in ("network", "steps_taken")}
        if unknown := sorted(map(str, given.keys() - {field.name for field in fields(cls)})):
            raise RecipeError(f"{source} has settings that this release does not know: {', '.join(unknown)}")
        if "network" not in values:
            raise RecipeError(f"{source} does not say which network it is for")
        with errors_named(f"{source} cannot be used"):
            try:
                network = NetworkConfig(**values["network"])
            except TypeError as error:
                raise RecipeError(str(error)) from error
            return cls(network=network, **{**BEFORE_CHOICES, **typed_settings(given)})


@contextmanager
def errors_named(source: str) -> Iterator[None]:
    """Put ``source`` before the sentence of every RecipeError."""
    try:
        yield
    except RecipeError as error:
        raise RecipeError(f"{source}: {error}") from error


def typed_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``values`` that are settings of a :class:`Recipe`, each as its type; not the network.

    Raises:
        RecipeError: one is of another type.
    """
    known = {field.name: field.default for field in fields(Recipe) if field.name != "network"}
    return {name: typed(name, values[name], known[name]) for name in values if name in known}


def typed(name: str, value: object, default: object) -> Any:
    """``value`` as the type of the field ``name``; numbers may lack their decimal point.

    Raises:
        RecipeError: it is of another type.
    """
    if name in LISTS_OF_TEXT or name in LISTS_OF_NUMBERS:
        text = name in LISTS_OF_TEXT
        if isinstance(value, list | tuple) and all(
            isinstance(v, str) if text else _is_number(v) for v in value
        ):
            return tuple(value) if text else tuple(_float(name, v) for v in value)
        wanted = "a list of " + ("names" if text else "numbers")
    elif name in _NUMBERS_OR_NONE:
        if value is None or value in _NONE:
            return None
        if _is_number(value):
            return _float(name, value)
        wanted = f"a number or {_NONE[0]!r}"
    elif isinstance(default, float):
        if _is_number(value):
            return _float(name, value)
        wanted = "a number"
    elif isinstance(default, int):
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        wanted = "a whole number"
    else:
        if isinstance(value, str):
            return value
        wanted = "text in quotes"
    raise RecipeError(f"{name} must be {wanted}, got {value!r}")


def _float(name: str, value: Any) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise RecipeError(f"{name} has a number that is too large to compute with") from error


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
