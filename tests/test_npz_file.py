"""Archives of arrays from anybody: what they claim is known before it is believed."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from occflow.npz_file import REAL, TEXT, WHOLE, open_npz

MOST = 1 << 20


def write_entry(path, header: bytes, body: bytes = b"", version: int = 1, method: int = zipfile.ZIP_STORED):
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("a.npy", b"\x93NUMPY" + bytes([version, 0]) + length + header + body)
    return path


def claim(kind: str, shape: str) -> bytes:
    return f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode()


@pytest.mark.parametrize("values", [np.arange(6).reshape(2, 3), np.asfortranarray(np.eye(3)[:2]), np.array(2.5),
                                    np.array(["a", "bc"]), np.zeros((0, 4), np.uint8), np.array([True, False]),
                                    np.arange(3, dtype=">i4")])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_what_numpy_wrote_comes_back(tmp_path, values, save):
    save(tmp_path / "a.npz", a=values, b=values)
    with open_npz(tmp_path / "a.npz", MOST) as arrays:
        assert arrays.names == ["a", "b"] and arrays.header("a").shape == values.shape
        found = arrays.read("a", TEXT if values.dtype.kind == "U" else REAL, values.shape)
    assert found.dtype == values.dtype and np.array_equal(found, values)


@pytest.mark.parametrize("header", [
    claim("|O", "(1,)"), claim("<f8", "(-1,)"), claim("<f8", "(1.0,)"), claim("<f8", "(True,)"), claim("<U0", "(5,)"),
    claim("<f8", "(2,)"), claim("<f8", "(10000000000,)"), claim("<f8", "(1000000, 1000000, 1000000)"),
    claim("<f8", "1"), claim("f8,f8", "(1,)"), claim("<M8[s]", "(1,)"), b"{" * 900, b"[1]", b"{'descr': '<f8'}",
    b"\xff" * 9, b"1is 2", b"9" * 4000, claim("<f8", "(1,)") + b" " * 5000])
@pytest.mark.filterwarnings("error")
def test_a_header_that_claims_something_else_is_refused(tmp_path, header):
    path = write_entry(tmp_path / "a.npz", header, bytes(8))
    with open_npz(path, MOST) as arrays, pytest.raises(ValueError) as refused:
        arrays.read("a")
    assert str(refused.value).startswith("a: ") and len(str(refused.value).splitlines()) == 1


def test_nothing_inflates_beyond_what_was_granted(tmp_path):
    """64 MiB of zeros are 64 kB on the disk; and a small entry that claims 400 GB takes no memory at all."""
    np.savez_compressed(tmp_path / "bomb.npz", a=np.zeros(64 << 20, np.uint8))
    write_entry(tmp_path / "claim.npz", claim("|u1", "(400000000000,)"), bytes(9))
    for name in ("bomb", "claim"):
        tracemalloc.start()
        with open_npz(tmp_path / f"{name}.npz", MOST) as arrays, pytest.raises(ValueError):
            arrays.read("a", WHOLE, (None,))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
        tracemalloc.stop()


def test_the_grant_is_for_all_arrays_together(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros(600), b=np.zeros(600))
    with open_npz(tmp_path / "a.npz", 5000) as arrays:
        arrays.read("a")
        with pytest.raises(ValueError, match="would inflate beyond 200 bytes"):
            arrays.read("b")


def test_what_is_encrypted_or_packed_otherwise_or_there_twice_is_refused(tmp_path):
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path = write_entry(tmp_path / "a.npz", claim("<f8", "(1,)"), bytes(8), method=method)
        with open_npz(path, MOST) as arrays, pytest.raises(ValueError, match="compressed in a way"):
            arrays.read("a")
    content = bytearray(write_entry(tmp_path / "a.npz", claim("<f8", "(1,)"), bytes(8)).read_bytes())
    for start in (content.index(b"PK\3\4") + 6, content.index(b"PK\1\2") + 8):
        content[start] |= 1  # the flag of an encrypted entry, in both places
    (tmp_path / "a.npz").write_bytes(content)
    with open_npz(tmp_path / "a.npz", MOST) as arrays, pytest.raises(ValueError, match="is encrypted"):
        arrays.read("a")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive, pytest.warns(UserWarning, match="Duplicate"):
        for _ in range(2):
            archive.writestr("a.npy", b"")
    (tmp_path / "a.npz").write_bytes(buffer.getvalue())
    with pytest.raises(ValueError, match="two arrays have one name"), open_npz(tmp_path / "a.npz", MOST):
        pass


def test_an_array_whose_name_was_damaged_is_not_taken_for_one_that_is_absent(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.zeros(3), mask=np.zeros(3))
    content = path.read_bytes()
    place = content.rindex(b"mask")  # in the directory; the entry itself has the name, too
    comment = content.index(b"PK\1\2") + 32  # length of what is said of the first array: all of the second
    for start, damaged in ((place, b"mosk"), (place, b"\xff"), (comment, b"\x36")):
        path.write_bytes(content[:start] + damaged + content[start + len(damaged):])
        with pytest.raises(ValueError), open_npz(path, MOST):
            pass


def test_other_shapes_and_kinds_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros((2, 3)))
    with open_npz(tmp_path / "a.npz", MOST) as arrays:
        for kinds, shape in ((WHOLE, (2, 3)), (REAL, (2,)), (REAL, (None, 4)), (TEXT, (None, None))):
            with pytest.raises(ValueError, match=r"a: has shape \(2, 3\) and type float64, not \("):
                arrays.read("a", kinds, shape)
        assert arrays.read("a", REAL, (None, 3)).shape == (2, 3)
        with pytest.raises(ValueError, match="no array 'b'"):
            arrays.read("b")
