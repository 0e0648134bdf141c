"""Frames as text: what is found in them is what ASE finds, and nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from ase.io.extxyz import key_val_str_to_dict
from training_sets import BY_HAND, TWO

from d3torch.cli.extxyz import TextFrame, read_text_frames


@pytest.mark.parametrize(
    "comment",
    [
        BY_HAND.splitlines()[1],
        'a=1 b = 2 c= "3 4" d={5 6} e=[7, 8] f g=T "h i"=9 j=\'k "l"\' m="n \\"o\\" p"',
        '  x="a=1 b=2" REF_energy=-1e3 REF_energy=-2e3',
        "no keys at all, just text",
    ],
)
def test_keys_are_found_where_ase_finds_them(comment):
    frame = TextFrame("1\n", f"{comment}\n", ["H 0 0 0\n"])
    assert frame.text() == f"1\n{comment}\nH 0 0 0\n"
    expected = key_val_str_to_dict(comment)
    assert {*frame._fields()} == {*expected}
    for key, value in expected.items():
        if isinstance(value, (int, float, np.number)) and not isinstance(value, bool):
            assert frame.values(key).tolist() == [value]


def test_line_ends_and_bytes_are_kept(tmp_path):
    data = (
        TWO.replace("REF_energy", "who=J\xfcrgen REF_energy")
        .replace("\n", "\r\n")
        .encode("latin-1")
    )
    (tmp_path / "dos.xyz").write_bytes(data)
    (frame,) = read_text_frames(str(tmp_path / "dos.xyz"))
    frame.tag({"a": "1"})
    frame.change_columns("REF_forces", np.ones((2, 3)))
    new = frame.text().encode("utf-8", "surrogateescape")
    assert new == data.replace(b"-1.0", b"-1.0 a=1").replace(b"0 0 0\r", b"1.0 1.0 1.0\r")


def test_blank_lines_between_frames_are_kept(tmp_path):
    text = f"\n \n{TWO}\r\n\n{TWO}\n"
    (tmp_path / "blank.xyz").write_text(text, newline="")
    frames = list(read_text_frames(str(tmp_path / "blank.xyz")))
    assert "".join(frame.text() for frame in frames) == text[:-1]
    assert [len(frame.atoms()) for frame in frames] == [2, 2]


def test_lattice_vectors_below_the_atoms_belong_to_the_frame(tmp_path):
    text = f"{TWO}VEC1 5 0 0\nVEC2 0 5 0\n"
    (tmp_path / "vec.xyz").write_text(text + TWO)
    first, second = read_text_frames(str(tmp_path / "vec.xyz"))
    assert (first.text(), second.text()) == (text, TWO)


@pytest.mark.parametrize("properties", ["species::S:1", "species:S:1:pos:R", "pos:R:x", "a:Q:1"])
def test_properties_that_are_none_are_refused_in_a_sentence(properties):
    frame = TextFrame("1\n", f"Properties={properties}\n", ["H 0 0 0\n"])
    with pytest.raises(ValueError, match="expected Properties as name:R:3 and so on, got"):
        frame.atoms()


def test_frames_are_read_one_by_one(tmp_path):
    (tmp_path / "broken.xyz").write_text(TWO * 2 + "two\n")
    frames = read_text_frames(str(tmp_path / "broken.xyz"))
    assert [next(frames).text(), next(frames).text()] == [TWO, TWO]
    with pytest.raises(ValueError, match="frame 2: expected a number of atoms, got 'two'"):
        next(frames)
