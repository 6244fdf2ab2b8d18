"""What the data of a refused request is, where it is no format of ``formats``, and what to do.

Text is the format of whatever begins like no other, so that a picture or a spreadsheet would be
refused as words that are no numbers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from jaxfs.errors import Invalid

_SHOWN_BYTES = 1 << 12  # of the data are looked at
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_IMAGE = "read it with PIL or imageio, and write its pixels as .npy"
_TABLE = "read it with pandas or pyarrow, and write its numbers as .npy"
_UTF8 = "write UTF-8, in PowerShell with -Encoding utf8"
_UNPACK = "unpack it first, or write .npz, which may be deflated"
_LISTS = "write lists in brackets, [[1, 2], [3, 4]], or .npy"
# by the first bytes: what it is, and what to do
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"\x89PNG", "a PNG image", _IMAGE),
    (b"\xff\xd8\xff", "a JPEG image", _IMAGE),
    (b"GIF8", "a GIF image", _IMAGE),
    (b"BM", "a BMP image", _IMAGE),
    (b"II*\0", "a TIFF image", _IMAGE),
    (b"MM\0*", "a TIFF image", _IMAGE),
    (b"RIFF", "a RIFF file, as .wav and .webp are", "decode it, and write its samples as .npy"),
    (b"%PDF", "a PDF document", "write its numbers as .npy"),
    (b"\x89HDF", "an HDF5 file", "read it with h5py, and write its arrays as .npz"),
    (b"CDF", "a NetCDF file", "read it with xarray or scipy, and write its arrays as .npz"),
    (b"PAR1", "a Parquet file", _TABLE),
    (b"ARROW1", "an Arrow file", _TABLE),
    (b"MATLAB 5.0", "a file of MATLAB", "read it with scipy.io.loadmat, and write .npz"),
    (b"\x80\x02", "a pickle", "write its arrays as .npy or .npz: inputs are not unpickled"),
    (b"\x80\x03", "a pickle", "write its arrays as .npy or .npz: inputs are not unpickled"),
    (b"\x80\x04", "a pickle", "write its arrays as .npy or .npz: inputs are not unpickled"),
    (b"\x80\x05", "a pickle", "write its arrays as .npy or .npz: inputs are not unpickled"),
    (b"\x1f\x8b", "a gzip file", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd file", _UNPACK),
    (b"BZh", "a bzip2 file", _UNPACK),
    (b"\xfd7zXZ", "an xz file", _UNPACK),
    (b"\xff\xfe", "text in UTF-16", _UTF8),
    (b"\xfe\xff", "text in UTF-16", _UTF8),
    (b"ML\xefR", "bytecode of MLIR", "a program is written to programs/"),
    (b"<", "HTML or XML", "write the numbers: a download may have been an error page"),
)
# by a member: whose archive it is, and what to do
_ARCHIVES: tuple[tuple[str, str, str], ...] = (
    ("data.pkl", "a checkpoint of PyTorch", "save its tensors with safetensors.torch.save_file"),
    ("[Content_Types].xml", "an office document", _TABLE),
    ("META-INF/MANIFEST.MF", "a Java archive", "write its numbers as .npy"),
)
# by the first lines: what it seems to be, and what to do
_TEXT: tuple[tuple[re.Pattern[bytes], str, str], ...] = (
    (
        re.compile(rb".{4}\0{4}\s*+\{", re.DOTALL),
        "a .safetensors file",
        "write it to call.safetensors, or to a name that ends in .safetensors",
    ),
    (
        re.compile(rb'\s*+\{\s*+["}]'),
        "a JSON object",
        "write a value for each input, in their order",
    ),
    (
        re.compile(rb"[^\[\]{},;\n]*+[,;][^\[\]{}\n]*+\n(?:[^\[\]{},;\n]*+[,;]|\s*+\Z)"),
        "CSV",
        'write .npy, made with np.loadtxt(file, delimiter=",") or pandas.read_csv(file).to_numpy()',
    ),
    (re.compile(rb"\s*+[#%]"), "text with comments", f"leave them out, and {_LISTS}"),
    (
        re.compile(rb"\s*+\[[\[\s]*+[-+\d.e]++\s++[-+\d.]"),
        "a list without commas, as numpy prints it",
        "write .npy, or json.dumps(x.tolist())",
    ),
    (
        re.compile(rb"[ \t]*+[-+\d.eE]++[ \t]++[-+\d.][-+\d.eE \t\r]*+\n\s*+[-+\d.]"),
        "rows of numbers",
        _LISTS,
    ),
)


def check_archive(names: Iterable[str]) -> None:
    """Checks that a zip archive may be a .npz.

    Args:
        names: The names of its members.

    Raises:
        Invalid: It is the archive of another tool.
    """
    for name in names:
        for member, what, remedy in _ARCHIVES:
            if name == member or name.endswith(f"/{member}"):
                raise Invalid(f"{what} is no input: {remedy}")


def explained(error: Invalid, data: memoryview) -> Invalid:
    r"""Returns the error of text, with what the data is instead, if its beginning shows it.

    A number that is out of range was read as it was meant.

    >>> explained(Invalid("got 8 inputs"), memoryview(b"1,2\n3,4\n")).reason.partition(":")[0]
    'got 8 inputs; it looks like CSV'
    """
    start = bytes(data[:_SHOWN_BYTES])
    for magic, what, remedy in _MAGIC:
        if start.startswith(magic):
            return Invalid(f"{what} is no input: {remedy}")
    if error.reason.endswith("out of range"):
        return error
    for pattern, what, remedy in _TEXT:
        if pattern.match(start) is not None:
            return Invalid(f"{error.reason}; it looks like {what}: {remedy}")
    return error
