"""Encoders: what goes in, where weights come from in every case, and features that are never stale."""

import pickle
import time
import urllib.error
import urllib.request
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

import data_registry
from stlearn_lib.errors import ImageError, WeightsError
from stlearn_lib.models import encoders
from stlearn_lib.models.encoders import create_encoder, extract_features

FILE = "mobilenetv2_100_imagenet.safetensors"
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALL = "test_resnet"  # timm's own, of half a million parameters


@pytest.fixture(scope="module")
def registered_path() -> Path:
    try:
        return data_registry.fetch("weights", FILE)[FILE]
    except data_registry.AccessError:
        pytest.skip("needs the registered weights: set STLEARN_DATA_MIRROR to a folder that has them")


@pytest.fixture
def no_registered_file(monkeypatch, tmp_path):
    monkeypatch.delenv("STLEARN_DATA_MIRROR", raising=False)
    monkeypatch.setenv("STLEARN_CACHE", str(tmp_path))


def nothing_on_disk(*args, **kwargs):
    raise huggingface_hub.errors.LocalEntryNotFoundError("nothing on disk")


@pytest.fixture
def no_hub(monkeypatch):
    """The hub has left nothing on disk, and nobody answers."""

    def nobody(*args, **kwargs):
        raise urllib.error.URLError("nobody answers")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", nothing_on_disk)
    monkeypatch.setattr(urllib.request, "urlopen", nobody)


def images(n: int = 3, side: int = 64, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def patches(n: int = 5, side: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


# ------------------------------------------------------------------------------------------------- what it computes


@pytest.mark.parametrize(
    ("name", "kwargs", "n_features", "input_px"),
    [
        ("densenet121", {}, 1024, 224),
        ("resnet18", {}, 512, 224),
        ("mobilenetv2_100", {}, 1280, 224),
        ("mobilenetv3_small_100", {}, 1024, 224),  # where timm's num_features (576) is not the features' width
        ("vit_tiny_patch16_224", {"img_size": 64}, 192, 64),
    ],
)
def test_backbones(name, kwargs, n_features, input_px):
    encoder = create_encoder(name, weights=None, **kwargs).eval()
    with torch.inference_mode():
        features = encoder(images(2))
    assert features.shape == (2, n_features)
    assert (encoder.name, encoder.n_features, encoder.input_px) == (name, n_features, input_px)
    assert encoder.weights_id == "random(seed=0)"
    assert not any(key.startswith(("classifier", "head.", "fc.")) for key in encoder.backbone.state_dict())


@pytest.mark.parametrize(("mean", "std"), [(None, None), ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3)), ((0, 0, 0), (1, 1, 1))])
def test_normalisation_is_inside(mean, std):
    encoder = create_encoder(SMALL, weights=None, mean=mean, std=std).eval()
    mean, std = (mean, std) if mean else (encoder.backbone.pretrained_cfg[key] for key in ("mean", "std"))
    assert (encoder.mean, encoder.std) == (mean, std)
    raw = images()
    with torch.inference_mode():
        by_hand = (raw / 255 - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(std).reshape(3, 1, 1)
        expected = encoder.backbone(by_hand)
        torch.testing.assert_close(encoder(raw), expected)
        torch.testing.assert_close(encoder(raw / 255), expected)


def test_imagenet_weights_are_normalised_as_imagenet():
    assert (create_encoder("resnet18", weights=None).mean, create_encoder("resnet18", weights=None).std) == IMAGENET


def test_raw_values_are_a_standard_deviation():
    encoder = create_encoder(SMALL, weights=None, mean=(0, 0, 0), std=(1 / 255,) * 3)
    torch.testing.assert_close(encoder.normalise(images()), images().float())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.zeros(3, 32, 32), "shape"),
        (torch.zeros(1, 32, 32, 3), "shape"),
        (torch.zeros(1, 3, 32, 32).long(), "int64"),
        (torch.full((1, 3, 32, 32), 200.0), r"0\.\.1, not 200"),
        (torch.full((1, 3, 32, 32), -0.7), r"0\.\.1, not -0\.7"),
    ],
)
def test_what_is_no_image_is_refused(wrong, message):
    with pytest.raises(ImageError, match=message):
        create_encoder(SMALL, weights=None)(wrong)


def test_batch_norms_stay_frozen_if_asked():
    encoder = create_encoder(SMALL, weights=None, freeze_batch_norms=True)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    assert encoder.training
    encoder.train()(images())
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())
    free = create_encoder(SMALL, weights=None)
    free.train()(images())
    assert any(not torch.equal(value, before[key]) for key, value in free.state_dict().items())


# ------------------------------------------------------------------------------------------------ random, and files


def test_random_weights_have_a_seed_of_their_own():
    state = torch.get_rng_state()
    first, same, other = (create_encoder(SMALL, weights=None, seed=seed) for seed in (7, 7, 8))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.fingerprint() == same.fingerprint() != other.fingerprint()
    assert first.weights_id == "random(seed=7)"


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_is_loaded_without_its_classifier(tmp_path, suffix):
    whole = timm.create_model(SMALL, num_classes=1000)
    path = tmp_path / f"weights{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(whole.state_dict(), path)
    encoder = create_encoder(SMALL, weights=path)
    assert encoder.weights_id.startswith(f"file:weights{suffix} sha256:")
    expected = {key: value for key, value in whole.state_dict().items() if not key.startswith("fc.")}
    assert encoder.backbone.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in encoder.backbone.state_dict().items())


def test_a_file_without_the_batch_norms_counters_is_loaded(tmp_path):
    whole = timm.create_model(SMALL, num_classes=0).state_dict()
    torch.save({key: value for key, value in whole.items() if "num_batches" not in key}, tmp_path / "old.pth")
    create_encoder(SMALL, weights=str(tmp_path / "old.pth"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: {f"module.{key}": value for key, value in state.items()},
            r"missing: conv1.*unknown: module\.conv1",
        ),
        (lambda state: {"state_dict": state}, "missing: conv1.*1 unknown: state_dict"),
        (lambda state: state | {"bn1.weight": torch.ones(3)}, r"1 of another shape: bn1\.weight\)"),
        (lambda state: state | {"bn1.weight": "no tensor"}, r"1 of another shape: bn1\.weight\)"),
        (lambda state: torch.ones(3), "missing: conv1"),
    ],
)
def test_a_foreign_checkpoint_is_refused_by_its_keys(tmp_path, change, message):
    state = timm.create_model(SMALL, num_classes=0).state_dict()
    torch.save(change(dict(state)), tmp_path / "foreign.pth")
    with pytest.raises(WeightsError, match=message):
        create_encoder(SMALL, weights=tmp_path / "foreign.pth")


class Trap:
    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.mark.parametrize("write", [torch.save, lambda trap, path: path.write_bytes(pickle.dumps(trap, 2))])
def test_a_pickle_is_never_run(tmp_path, write):
    trap = Trap()
    trap.path = str(tmp_path / "sprung")
    write(trap, tmp_path / "trap.pth")
    with pytest.raises(WeightsError, match="could run what it holds"):
        create_encoder(SMALL, weights=tmp_path / "trap.pth")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.pth", "empty.pth"])
def test_a_broken_file_is_a_weights_error(tmp_path, name):
    (tmp_path / name).write_bytes(b"" if name == "empty.pth" else b"not weights at all")
    with pytest.raises(WeightsError, match="tensors alone"):
        create_encoder(SMALL, weights=tmp_path / name)


@pytest.mark.parametrize("weights", ["imagenet", "", "nowhere/weights.pth"])
def test_what_is_no_file_is_a_weights_error_and_not_random(weights):
    with pytest.raises(WeightsError, match=r"cannot be read.*'auto', a path or None"):
        create_encoder(SMALL, weights=weights)


def test_an_unknown_backbone_names_those_close_to_it():
    with pytest.raises(ValueError, match="resnet18"):
        create_encoder("resnet_18", weights=None)


# -------------------------------------------------------------------------------------------------- the model hub


@pytest.mark.usefixtures("no_registered_file", "no_hub")
@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_100", "hf-hub:owner/model"])
def test_an_unreachable_hub_is_a_quick_error_that_says_what_to_do(name):
    start = time.perf_counter()
    with pytest.raises(WeightsError, match="nobody answers") as caught:
        create_encoder(name)
    assert time.perf_counter() - start < 5
    for advice in ("network", "weights= the path", "STLEARN_DATA_MIRROR", "weights=None"):
        assert advice in str(caught.value)
    assert (FILE in str(caught.value)) == (name == "mobilenetv2_100")


@pytest.mark.usefixtures("no_registered_file", "no_hub")
def test_offline_mode_asks_nobody(monkeypatch):
    monkeypatch.setattr(encoders, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="HF_HUB_OFFLINE is set"):
        create_encoder("resnet18")


@pytest.mark.usefixtures("no_registered_file", "no_hub")
def test_a_backbone_without_weights_anywhere():
    with pytest.raises(WeightsError, match="No pretrained weights exist for resnet200"):
        create_encoder("resnet200")


@pytest.fixture
def hub(httpserver, monkeypatch, tmp_path):
    """A hub on this machine that has the weights of the small backbone; its server has only a door."""
    state = timm.create_model(SMALL).state_dict()
    save_file(state, tmp_path / "model.safetensors")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", nothing_on_disk)
    monkeypatch.setattr(encoders, "ENDPOINT", httpserver.url_for("/"))
    monkeypatch.setattr(timm.models._hub, "hf_hub_download", lambda repo_id, filename, **_: str(tmp_path / filename))
    return state


def test_the_hubs_weights_are_used_and_recorded(hub, httpserver):
    httpserver.expect_request("/").respond_with_data("")
    encoder = create_encoder(SMALL)
    assert encoder.weights_id == timm.get_pretrained_cfg(SMALL).hf_hub_id
    assert encoder.weights_id.startswith("timm/test_resnet")
    assert all(torch.equal(value, hub[key]) for key, value in encoder.backbone.state_dict().items())


@pytest.mark.usefixtures("hub")
def test_a_hub_that_answers_no_at_its_door_is_still_asked(httpserver):
    httpserver.expect_request("/").respond_with_data("", status=403)
    assert create_encoder(SMALL).weights_id.startswith("timm/")


def test_what_the_hub_left_on_disk_needs_no_network(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **kwargs: "folder")
    monkeypatch.setattr(urllib.request, "urlopen", lambda *args, **kwargs: pytest.fail("nobody is to be asked"))
    assert create_encoder(SMALL).weights_id.startswith("timm/")


@pytest.mark.parametrize(
    "error",
    [
        huggingface_hub.errors.LocalEntryNotFoundError("no such entry"),
        huggingface_hub.errors.HTTPError("no such entry"),
        ConnectionError("no such entry"),
    ],
)
def test_a_hub_that_fails_later_is_a_weights_error(hub, httpserver, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    httpserver.expect_request("/").respond_with_data("")
    monkeypatch.setattr(timm.models._hub, "hf_hub_download", fail)
    with pytest.raises(WeightsError, match="no such entry"):
        create_encoder(SMALL)


# ------------------------------------------------------------------------------------------- the registered weights


def test_auto_takes_the_registered_file(registered_path):
    encoder = create_encoder("mobilenetv2_100")
    pin = next(file.pin for file in data_registry.DATASETS["weights"].files if file.name == FILE)
    assert encoder.weights_id == f"mobilenetv2_100 google-coral ptq {pin[: len('sha256:') + 12]}"
    assert encoder.mean == encoder.std == (0.5, 0.5, 0.5)
    assert (encoder.n_features, encoder.input_px) == (1280, 224)
    stored = load_file(registered_path)
    assert all(torch.equal(value, stored[key].float()) for key, value in encoder.backbone.state_dict().items())


def test_its_batch_norms_are_folded_and_stay_frozen(registered_path):
    encoder = create_encoder("mobilenetv2_100")
    norms = [module for module in encoder.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert encoder.frozen_batch_norms and encoder.training and not any(norm.training for norm in norms)
    for norm in norms:
        assert torch.equal(norm.running_mean, torch.zeros_like(norm.running_mean))
        assert torch.equal(norm.weight, torch.ones_like(norm.weight))
    with torch.no_grad():
        torch.testing.assert_close(encoder.train()(images()), encoder.eval()(images()))


def test_its_padding_matters_and_a_strict_load_does_not_notice(registered_path):
    """Why create_encoder sets pad_type: with timm's own padding the same weights load, and give other features."""
    encoder = create_encoder("mobilenetv2_100").eval()
    plain = timm.create_model("mobilenetv2_100", num_classes=0).eval()
    plain.load_state_dict(encoder.backbone.state_dict(), strict=True)
    smooth = functional.interpolate(images(4, 14).float(), size=224, mode="bilinear") / 255
    with torch.inference_mode():
        similarity = functional.cosine_similarity(encoder(smooth), plain(encoder.normalise(smooth)))
    assert similarity.max() < 0.95


def test_its_classifier_knows_a_photograph(registered_path):
    """skimage's cat is a cat: class 281 to 285 of ImageNet, one higher here, for class 0 is the background."""
    from skimage.data import chelsea
    from skimage.transform import resize

    encoder = create_encoder("mobilenetv2_100").eval()
    stored = load_file(registered_path)
    cat = torch.tensor(resize(chelsea()[:, 75:375], (224, 224), anti_aliasing=True)).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        logits = functional.linear(encoder(cat), *(stored[f"classifier.{key}"].float() for key in ("weight", "bias")))
    assert logits.shape == (1, 1001)
    assert logits.argmax().item() in range(282, 287)


def test_settings_make_the_same_encoder_again(registered_path):
    encoder = create_encoder("mobilenetv2_100").eval()
    again = create_encoder(weights=None, **encoder.settings).eval()
    again.load_state_dict(encoder.state_dict())
    assert again.fingerprint() == encoder.fingerprint()
    with torch.inference_mode():
        assert torch.equal(again(images()), encoder(images()))


def test_given_settings_go_before_those_of_the_file(registered_path):
    encoder = create_encoder("mobilenetv2_100", mean=(0.4, 0.5, 0.6))
    assert (encoder.mean, encoder.std) == ((0.4, 0.5, 0.6), (0.5, 0.5, 0.5))
    with pytest.raises(TypeError, match="pad_type"):
        create_encoder("mobilenetv2_100", pad_type="")


def test_a_damaged_registered_file_is_an_error_and_not_the_hub(registered_path, monkeypatch, tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / FILE).write_bytes(registered_path.read_bytes()[:-1] + b"?")
    monkeypatch.setenv("STLEARN_DATA_MIRROR", str(tmp_path))
    with pytest.raises(WeightsError, match="not the file that the registry pins"):
        create_encoder("mobilenetv2_100")


# ----------------------------------------------------------------------------------------------------- all features


@pytest.mark.parametrize("batch_size", [1, 2, 5, 100])
def test_features_are_the_encoders(batch_size):
    encoder = create_encoder(SMALL, weights=None).eval()
    features = extract_features(patches(), encoder, batch_size=batch_size, progress=False)
    with torch.inference_mode():
        expected = encoder(torch.from_numpy(patches()).permute(0, 3, 1, 2))
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_modes_and_layout_are_left_as_they_were():
    encoder = create_encoder(SMALL, weights=None)
    encoder.backbone.layer1.eval()
    modes = [module.training for module in encoder.modules()]
    before = encoder.fingerprint()
    extract_features(patches(), encoder, progress=False)
    assert [module.training for module in encoder.modules()] == modes
    assert encoder.fingerprint() == before
    assert all(parameter.is_contiguous() for parameter in encoder.parameters())


def test_a_read_only_memory_map_is_fine_and_the_cache_gives_the_same(tmp_path, monkeypatch):
    np.save(tmp_path / "patches.npy", patches())
    mapped = np.load(tmp_path / "patches.npy", mmap_mode="r")
    encoder = create_encoder(SMALL, weights=None)
    plain = extract_features(mapped, encoder, progress=False)
    cached = extract_features(mapped, encoder, cache=tmp_path / "features", progress=False)
    np.testing.assert_array_equal(plain, cached)
    assert len(list((tmp_path / "features").iterdir())) == 1
    monkeypatch.setattr(encoders, "_features", lambda *_: pytest.fail("it is in the cache"))
    np.testing.assert_array_equal(extract_features(mapped, encoder, cache=tmp_path / "features"), plain)


def test_whatever_changes_the_features_makes_the_cache_miss(tmp_path):
    def features(array=None, **kwargs):
        array = patches() if array is None else array
        return extract_features(array, create_encoder(weights=None, **kwargs), cache=tmp_path, progress=False)

    one_pixel = patches()
    one_pixel[2, 3, 4, 1] ^= 1
    cases = [
        features(name=SMALL),
        features(one_pixel, name=SMALL),
        features(name=SMALL, seed=1),
        features(name=SMALL, mean=(0.1, 0.1, 0.1)),
        features(name="mobilenetv2_100"),
        features(name="mobilenetv2_100", pad_type="same"),  # the same weights by the same names
    ]
    assert len(list(tmp_path.iterdir())) == len(cases)
    encoder = create_encoder(SMALL, weights=None)
    with torch.no_grad():
        encoder.backbone.conv1[0].weight[0, 0, 0, 0] += 0.5
    changed = extract_features(patches(), encoder, cache=tmp_path, progress=False)
    np.testing.assert_array_equal(changed, extract_features(patches(), encoder, progress=False))
    assert not np.array_equal(changed, cases[0])


def test_a_failure_leaves_no_file(tmp_path):
    encoder = create_encoder("vit_tiny_patch16_224", weights=None, img_size=64)
    with pytest.raises(AssertionError, match="64"):  # timm's: the patches are of 32 px
        extract_features(patches(), encoder, cache=tmp_path, progress=False)
    assert not list(tmp_path.iterdir())
    assert encoder.training


@pytest.mark.parametrize(
    "wrong",
    [patches(0), patches().astype(np.float32), patches()[0], patches().transpose(0, 3, 1, 2)],
    ids=["none", "float", "one", "channels first"],
)
def test_what_are_no_patches_is_refused(wrong):
    with pytest.raises(ImageError, match=r"\(N, H, W, 3\) uint8"):
        extract_features(wrong, create_encoder(SMALL, weights=None))


def test_the_bar_can_be_silenced(capsys):
    encoder = create_encoder(SMALL, weights=None)
    extract_features(patches(), encoder, progress=False)
    assert capsys.readouterr().err == ""
    extract_features(patches(), encoder)
    assert SMALL in capsys.readouterr().err


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_features_on_a_gpu():
    encoder = create_encoder(SMALL, weights=None)
    on_cpu = extract_features(patches(), encoder, progress=False)
    np.testing.assert_allclose(
        extract_features(patches(), encoder.cuda(), progress=False), on_cpu, rtol=1e-2, atol=1e-3
    )
