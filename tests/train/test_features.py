from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from stylize_video_train.features import IMAGENET_MEAN, IMAGENET_STD, FeatureError, FeatureModel, node_name
from stylize_video_train.recipe import PRESETS

SQUEEZE_LAYERS = ("features.1", "features.4")


def random_model(name: str, *layers: str) -> FeatureModel:
    torch.manual_seed(0)
    return FeatureModel(name, layers, random_weights=True)


@pytest.fixture(scope="module")
def squeeze() -> FeatureModel:
    return random_model("squeezenet1_1", *SQUEEZE_LAYERS)


@pytest.fixture
def weights_file(squeeze: FeatureModel, tmp_path: Path) -> Path:
    path = tmp_path / "squeeze.pth"
    torch.save(squeeze.trunk.state_dict(), path)
    return path


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_give_the_layers_asked_for(name: str) -> None:
    preset = PRESETS[name]
    layers = (*preset.style_layers, preset.content_layer)
    with torch.no_grad():
        features = random_model(name, *layers)(torch.rand(2, 3, 64, 64))
    assert set(features) == set(layers)
    for layer, values in features.items():
        assert values.ndim == 4, layer
        assert len(values) == 2, layer
        assert torch.isfinite(values).all(), layer


@pytest.mark.parametrize("name", ["vgg19", "resnet50", "squeezenet1_1"])
def test_shapes_are_known_before_anything_is_computed(name: str) -> None:
    preset = PRESETS[name]
    model = random_model(name, *preset.style_layers)
    with torch.no_grad():
        features = model(torch.rand(1, 3, 48, 80))
    assert model.shapes(48, 80) == {layer: values.shape for layer, values in features.items()}
    with pytest.raises(FeatureError, match=f"{name} cannot look at pictures of 1x0 pixels"):
        model.shapes(0, 1)


@pytest.mark.parametrize("name", ["vgg19", "resnet50", "squeezenet1_1", "mobilenet_v3_small"])
def test_a_shallower_part_gives_the_same_and_shares_its_weights(name: str) -> None:
    preset = PRESETS.get(name)
    layers = (*preset.style_layers, preset.content_layer) if preset else ("features.1", "features.3")
    model = random_model(name, *layers)
    layer = preset.content_layer if preset else "features.1"
    part = model.up_to(layer)
    pictures = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert list(part(pictures)) == [layer]
        assert torch.equal(part(pictures)[layer], model(pictures)[layer])
    assert len(list(part.trunk.graph.nodes)) < len(list(model.trunk.graph.nodes))
    ours = {p.data_ptr() for p in model.parameters()}
    assert {p.data_ptr() for p in part.parameters()} <= ours
    assert set(model(pictures)) == set(layers), "the model itself is as it was"


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("mobilenet_v3_small", ("features.1", "features.3")),
        ("efficientnet_b0", ("features.2.0.block.0",)),
        ("densenet121", ("features.denseblock1.denselayer1.conv1",)),
    ],
)
def test_any_torchvision_model_by_node_name(name: str, layers: tuple[str, ...]) -> None:
    with torch.no_grad():
        assert set(random_model(name, *layers)(torch.rand(1, 3, 64, 64))) == set(layers)


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
def test_friendly_vgg_names_are_the_modules_they_say(name: str) -> None:
    with torch.device("meta"):
        modules = torchvision.models.get_model(name).features
    block, index = 1, 0
    for position, module in enumerate(modules):
        if isinstance(module, nn.MaxPool2d):
            block, index = block + 1, 0
        elif isinstance(module, nn.Conv2d):
            index += 1
            assert node_name(name, f"conv{block}_{index}") == f"features.{position}"
        else:
            assert node_name(name, f"relu{block}_{index}") == f"features.{position}"
    assert block == 6


def test_other_names_are_nodes_already() -> None:
    assert node_name("vgg19", "features.3") == "features.3"
    assert node_name("resnet50", "relu") == "relu"


@pytest.mark.parametrize("layer", ["relu3_5", "relu0_1", "relu6_1", "relu3", "conv1_x"])
def test_a_wrong_vgg_name_shows_what_they_look_like(layer: str) -> None:
    with pytest.raises(FeatureError, match="relu3_2"):
        FeatureModel("vgg16", [layer], random_weights=True)


@pytest.mark.parametrize(
    ("name", "layers", "words"),
    [
        ("no_such_net", ["x"], "unknown feature model"),
        ("squeezenet1_1", ["features.99"], "no layer"),
        ("squeezenet1_1", [], "no layers"),
    ],
)
def test_unknown_models_and_layers_are_errors(name: str, layers: list[str], words: str) -> None:
    with pytest.raises(FeatureError, match=words):
        FeatureModel(name, layers, random_weights=True)


def test_weights_from_a_file_give_torchvisions_own_activations(weights_file: Path) -> None:
    model = FeatureModel("squeezenet1_1", SQUEEZE_LAYERS, weights_file=weights_file)
    reference = torchvision.models.squeezenet1_1().features[:5].eval()
    state = torch.load(weights_file, weights_only=True)
    reference.load_state_dict({k.removeprefix("features."): v for k, v in state.items()})
    pictures = torch.rand(2, 3, 48, 40)
    mean, std = (torch.tensor(v)[None, :, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        expected = reference((pictures - mean) / std)
        torch.testing.assert_close(model(pictures)["features.4"], expected)


def test_half_precision_weights_are_computed_in_full(weights_file: Path) -> None:
    half = {k: v.half() for k, v in torch.load(weights_file, weights_only=True).items()}
    torch.save(half, weights_file)
    model = FeatureModel("squeezenet1_1", SQUEEZE_LAYERS, weights_file=weights_file)
    assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_a_file_that_stops_too_early_names_what_it_lacks(weights_file: Path) -> None:
    with pytest.raises(FeatureError, match=r"lacks features\.\d.*features\.7"):
        FeatureModel("squeezenet1_1", ["features.7"], weights_file=weights_file)


def test_weights_of_another_model_are_refused(weights_file: Path) -> None:
    state = torch.load(weights_file, weights_only=True)
    state["features.0.weight"] = torch.zeros(64, 3, 5, 5)
    torch.save(state, weights_file)
    with pytest.raises(FeatureError, match=r"features\.0\.weight has shape \(64, 3, 5, 5\)"):
        FeatureModel("squeezenet1_1", SQUEEZE_LAYERS, weights_file=weights_file)


class Bomb:
    """Creates a file when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.path,)


def test_weights_that_need_code_are_not_loaded(tmp_path: Path) -> None:
    target = tmp_path / "exploded"
    file = tmp_path / "bomb.pth"
    torch.save({"features.0.weight": Bomb(target)}, file)
    with pytest.raises(FeatureError, match="needs pickle code"):
        FeatureModel("squeezenet1_1", SQUEEZE_LAYERS, weights_file=file)
    assert not target.exists()


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"a": "b"}])
def test_a_file_without_a_state_dict_is_refused(content: object, tmp_path: Path) -> None:
    file = tmp_path / "list.pth"
    torch.save(content, file)
    with pytest.raises(FeatureError, match="no state dict"):
        FeatureModel("squeezenet1_1", SQUEEZE_LAYERS, weights_file=file)


def test_a_missing_weights_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=r"the weights file .*none\.pth does not exist"):
        FeatureModel("squeezenet1_1", SQUEEZE_LAYERS, weights_file=tmp_path / "none.pth")


def test_no_weights_and_no_network_names_the_option(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(FeatureError, match="--feature-weights"):
        FeatureModel("squeezenet1_1", SQUEEZE_LAYERS)


def test_statistics_of_a_resnet_never_move() -> None:
    model = random_model("resnet50", "layer1")
    before = {k: v.clone() for k, v in model.trunk.state_dict().items()}
    model.train()
    model(torch.rand(2, 3, 32, 32))
    assert all(torch.equal(v, before[k]) for k, v in model.trunk.state_dict().items())
    assert not any(p.requires_grad for p in model.parameters())


def test_a_convolution_is_not_overwritten_by_its_relu() -> None:
    features = random_model("vgg16", "conv1_1", "relu1_1")(torch.rand(1, 3, 32, 32))
    assert (features["conv1_1"] < 0).any()
    assert torch.equal(features["conv1_1"].relu(), features["relu1_1"])


def test_gradients_reach_the_picture(squeeze: FeatureModel) -> None:
    picture = torch.rand(1, 3, 32, 32, requires_grad=True)
    squeeze(picture)["features.4"].square().mean().backward()
    assert picture.grad is not None
    assert picture.grad.abs().sum() > 0
