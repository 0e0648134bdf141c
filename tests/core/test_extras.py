"""What is not installed is named as pip can install it, in a checkout as from an index."""

from __future__ import annotations

import re
import sys

import pytest
from checkout import checkout

from d3torch.extras import EXTRAS, import_extra

PROJECT = checkout() / "pyproject.toml"
HOSTS = {
    "d3torch.integrations.ase": ("ase", "ase", "'ase>=3.23'"),
    "d3torch.integrations.torchsim": ("torchsim", "torch_sim", "'torch-sim-atomistic>=0.3'"),
    "d3torch.integrations.mace.model": ("mace", "mace", "'mace-torch>=0.3.15'"),
}
"""Integrations: the extra, the module that is missing, and what to install."""


def _listed(extra: str) -> set[str]:
    """Requirements of an extra in pyproject.toml, those of extras in it too, without markers."""
    line = re.search(rf"^{extra} = \[(.*)\]$", PROJECT.read_text(encoding="utf-8"), re.M)
    assert line is not None
    found: set[str] = set()
    for text in re.findall(r'"([^"]+)"', line[1]):
        nested = re.fullmatch(r"d3torch\[(.*)\]", text)
        several = nested[1].split(",") if nested else []
        found |= set().union(*map(_listed, several)) if nested else {text.split(";")[0]}
    return found


@pytest.mark.parametrize("extra", EXTRAS)
def test_packages_are_those_of_the_project(extra: str) -> None:
    named = {*EXTRAS[extra].values()}
    assert named <= _listed(extra) if extra == "benchmark" else named == _listed(extra)


def _hide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for module in modules:
        for name in [m for m in sys.modules if m.startswith(f"{module}.")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, module, None)


def test_all_that_is_missing_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, "tqdm", "tabulate")
    with pytest.raises(ImportError) as caught:
        import_extra("tabulate", "cli")
    assert str(caught.value) == (
        "expected tabulate to be installed: run `pip install tqdm tabulate`"
    )
    assert caught.value.name == "tabulate"


def test_what_a_package_itself_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    _hide(monkeypatch, "nowhere")
    with pytest.raises(ImportError, match=r"nowhere.far to be .*: run `pip install nowhere`$"):
        import_extra("nowhere.far", "ase")


@pytest.mark.parametrize("host", HOSTS)
def test_every_integration_names_its_packages(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    extra, module, package = HOSTS[host]
    _hide(monkeypatch, module)
    monkeypatch.delitem(sys.modules, host, raising=False)
    with pytest.raises(ImportError) as caught:
        import_extra(host, extra)
    assert f"to be installed: run `pip install {package}`" in str(caught.value)
    assert "\n" not in str(caught.value)
