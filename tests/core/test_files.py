"""A file is there whole or not at all, whatever happens while it is written."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from checkout import checkout

from d3torch.files import aside, check_output, written_aside


@pytest.mark.parametrize("before", [None, "old"])
def test_a_file_takes_its_name_at_the_end(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "file.txt"
    if before is not None:
        path.write_text(before)
    with written_aside(path) as partial:
        partial.write_text("new")
        assert partial.parent == tmp_path
        assert (path.read_text() if path.exists() else None) == before
    assert path.read_text() == "new"
    assert [*tmp_path.iterdir()] == [path]


def test_threads_do_not_write_into_each_others_files(tmp_path: Path) -> None:
    """Two at once under one name: the last to end stands there, whole."""
    path, both = tmp_path / "file.txt", threading.Barrier(2)

    def write(text: str) -> None:
        with written_aside(path) as partial:
            both.wait(10.0)
            partial.write_text(text)
            both.wait(10.0)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(write, ("one", "two")))
    assert path.read_text() in ("one", "two")
    assert [*tmp_path.iterdir()] == [path]


def _write_half(path: Path, error: BaseException) -> None:
    with written_aside(path) as partial:
        partial.write_text("half")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_stood_there_stays_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(error):
        _write_half(path, error())
    assert path.read_text() == "old"
    assert [*tmp_path.iterdir()] == [path]


def test_an_empty_file_takes_no_name_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    with written_aside(tmp_path / "empty") as partial:
        partial.touch()
    with pytest.raises(FileNotFoundError), written_aside(tmp_path / "missing"):
        pass
    assert [*tmp_path.iterdir()] == []


def test_an_output_is_refused_before_it_is_computed(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    check_output(path, overwrite=False)
    path.touch()
    check_output(path, overwrite=True)
    with pytest.raises(FileExistsError, match=r"expected no file at .*file.txt, got one"):
        check_output(path, overwrite=False)
    with pytest.raises(FileNotFoundError, match=r"expected a folder to write to, got .*none"):
        check_output(tmp_path / "none" / "file.txt", overwrite=False)


def test_a_link_stays_and_a_file_keeps_its_permissions(tmp_path: Path) -> None:
    target, link = tmp_path / "folder" / "file.txt", tmp_path / "link.txt"
    target.parent.mkdir()
    link.symlink_to(target)
    with pytest.raises(FileExistsError, match="expected no file at"):
        check_output(link, overwrite=False)  # although it leads nowhere yet
    for text in ("one", "two"):
        with written_aside(link) as partial:
            partial.write_text(text)
        assert link.is_symlink()
        assert target.read_text() == text
        target.chmod(0o600)
    assert target.stat().st_mode & 0o777 == 0o600
    assert [*target.parent.iterdir()] == [target]


HOMES = {"d3torch/files.py", "studies/glass/d3torch_glass/files.py"}
"""Where it is written; the study runs without d3torch."""


def test_writing_aside_is_written_once() -> None:
    root, found = checkout(), set()
    for folder in ("d3torch", "plugins", "studies", "benchmarks", "scripts"):
        for path in (root / folder).rglob("*.py"):
            if "build" in path.relative_to(root).parts:  # copies that pip leaves
                continue
            text = path.read_text(encoding="utf-8")
            if re.search(
                r"os\.replace\(|os\.rename\(|\b(partial|temporary)\.(replace|rename)\(", text
            ):
                found.add(str(path.relative_to(root)))
    assert found == HOMES
    assert aside("a/b.pt").name.startswith(".b.pt.")
