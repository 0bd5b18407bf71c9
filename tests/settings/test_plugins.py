"""Methods and backbones by name and by reference."""

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fewshot.errors import UsageError
from fewshot.methods.build import build_method
from fewshot.project.fingerprints import code_hashes
from fewshot.settings.plugins import code_entries, find, names, plugin_sources, warn_of_changed_sources
from fewshot.settings.presets import load_settings
from fewshot.settings.schema import Settings, setting_names, settings_from

COSINE_NET = """
from typing import ClassVar

from pydantic import Field
from torch.nn.functional import normalize

from fewshot.methods.embedding import EmbeddingMethod, class_means
from fewshot.settings.base import MethodSettings
from helper import times


class CosineSettings(MethodSettings):
    scale: float = Field(10.0, gt=0)


class CosineNet(EmbeddingMethod):
    Settings: ClassVar = CosineSettings

    @classmethod
    def build(cls, context):
        method = cls(context.backbone)
        method.scale = context.settings.scale
        return method

    def adapt(self, support, shots):
        return {"means": class_means(support, shots)}

    def classify(self, adapted, query):
        return times(self.scale, normalize(query, dim=-1) @ normalize(adapted["means"], dim=-1).mT)


class Half(EmbeddingMethod):
    def adapt(self, support, shots):
        return {}


class Other:
    pass
"""
FLAT = """
from fewshot.backbones.base import Backbone


class Flat(Backbone):
    def __init__(self, image_shape, settings):
        super().__init__()
        self.map_shape = image_shape

    def maps(self, images):
        return images
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's folder, in which commands are run."""
    for name, text in {"my_net": COSINE_NET, "helper": "def times(a, b):\n    return a * b\n", "flat": FLAT}.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "helper", raising=False)
    return tmp_path


def test_the_lists_of_names_import_no_torch() -> None:
    code = (
        "import sys, fewshot.methods, fewshot.backbones\nfrom fewshot.settings.plugins import names\n"
        "assert names('method')[0] == 'protonet' and names('backbone')[0] == 'conv4'\n"
        "assert not {'torch', 'pydantic'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_each_name_stands_for_a_class_whose_settings_are_listed() -> None:
    for kind in ("method", "backbone"):
        for name in names(kind):
            assert {f"{kind}.{key}" for key in find(kind, name).Settings.model_fields} <= set(setting_names())


@pytest.mark.parametrize("reference", ["my_net.py:CosineNet", "my_net:CosineNet", "./my_net.py:CosineNet"])
def test_a_method_of_ones_own_is_named_by_module_or_file(folder: Path, reference: str) -> None:
    settings = load_settings(overrides=[f"method.name={reference}", "method.scale=2", "backbone.name=flat.py:Flat"])
    assert settings_from(settings.plain()) == settings
    method = build_method(settings, (1, 4, 4)).eval()
    head = method.fit([torch.eye(4)[None, None], torch.ones(1, 1, 4, 4)])
    assert head.method == "CosineNet"
    torch.testing.assert_close(method.predict(head, torch.ones(1, 1, 4, 4)), torch.tensor([[1.0, 2.0]]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("method.name=gone.py:Net", r"method\.name=gone\.py:Net: there is no file .*gone\.py; write the path"),
        ("method.name=gone.nets:Net", r"method\.name=gone\.nets:Net: no module gone\.nets can be imported; write"),
        ("method.name=my_net.py:CosinNet", r"my_net\.py has no class CosinNet; it defines CosineSettings, CosineNet"),
        ("method.name=my_net.py:Other", r"Other is no subclass of fewshot\.methods\.base\.Method"),
        ("backbone.name=my_net.py:CosineNet", r"CosineNet is no subclass of fewshot\.backbones\.base\.Backbone"),
        ("method.name=my_net.py:Half", r"Half does not define classify"),
        ("method.name=broken.py:Net", r"broken\.py can't be imported: ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_a_reference_that_leads_nowhere_is_named(folder: Path, override: str, message: str) -> None:
    (folder / "broken.py").write_text("import nowhere\n")
    with pytest.raises(UsageError, match=message):
        load_settings(overrides=[override])


def test_a_wrong_setting_of_ones_own_method_is_named(folder: Path) -> None:
    own = "method.name=my_net.py:CosineNet"
    with pytest.raises(UsageError, match=r"unknown setting 'method\.scala'; did you mean 'method\.scale'"):
        load_settings(overrides=[own, "method.scala=2"])
    with pytest.raises(UsageError, match=r"setting method\.scale = -1: input should be greater than 0"):
        load_settings(overrides=[own, "method.scale=-1"])
    (folder / "wrong.py").write_text(re.sub(r"Field\([\d.]+", 'Field("much"', COSINE_NET))
    with pytest.raises(UsageError, match=r"setting method\.scale = 'much': input should be a valid number"):
        load_settings(overrides=["method.name=wrong.py:CosineNet"])


def test_a_change_of_the_source_is_reported(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings = load_settings(overrides=["method.name=my_net.py:CosineNet"])
    recorded = plugin_sources(settings)
    assert list(recorded) == ["my_net.py:CosineNet"]
    assert warn_of_changed_sources(recorded, settings) == []
    (folder / "my_net.py").write_text(COSINE_NET + "\n# changed\n")
    with caplog.at_level(logging.WARNING):
        assert warn_of_changed_sources(recorded, settings) == ["my_net.py:CosineNet"]
    assert "my_net.py:CosineNet has changed since this model was trained with it" in caplog.text
    assert plugin_sources(Settings()) == {}


def test_the_code_of_ones_own_method_is_followed_to_the_modules_beside_it(folder: Path) -> None:
    settings = load_settings(overrides=["method.name=my_net.py:CosineNet"])
    entries = code_entries(settings)
    assert entries == ("my_net.py", "fewshot.backbones.conv4")
    before = code_hashes(entries[0])
    assert {"my_net", "helper", "fewshot.methods.embedding"} <= set(before)
    assert "flat" not in before
    (folder / "helper.py").write_text("def times(a, b):\n    return b * a\n")
    after = code_hashes(entries[0])
    assert {name for name in before if before[name] != after[name]} == {"helper"}


def test_a_module_of_an_installed_package_is_followed_within_its_package(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = folder / "their_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text("X = 1\n")
    (package / "nets.py").write_text("from . import parts\n" + FLAT)
    monkeypatch.syspath_prepend(str(folder))
    settings = load_settings(overrides=["backbone.name=their_package.nets:Flat"])
    reached = code_hashes(code_entries(settings)[1])
    assert {"their_package", "their_package.nets", "their_package.parts"} <= set(reached)


def test_a_training_reaches_the_chosen_method_and_backbone_and_no_other() -> None:
    def reached(*overrides: str) -> set[str]:
        entries = ("fewshot.training.loop", *code_entries(load_settings(overrides=[*overrides])))
        return {module for entry in entries for module in code_hashes(entry)}

    protonet, maml = reached(), reached("method.name=maml", "backbone.name=resnet12")
    assert {"fewshot.methods.protonet", "fewshot.backbones.conv4", "fewshot.methods.build"} <= protonet
    assert not {"fewshot.methods.maml", "fewshot.methods.inner_loop", "fewshot.backbones.resnet12"} & protonet
    assert {"fewshot.methods.maml", "fewshot.methods.inner_loop", "fewshot.backbones.resnet12"} <= maml
    assert not {"fewshot.methods.protonet", "fewshot.methods.anil", "fewshot.backbones.conv4"} & maml
