"""Damage in the state directory: no wrong answer, no failed mount, healed by the next use."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from jaxfs.errors import RunFailed
from jaxfs.options import Options
from jaxfs.posix import cpu_features, durable_files
from jaxfs.programs.store import Store
from jaxfs.programs.stored_records import LinkRecord, ProgramRecord
from jaxfs.testing import InProcessMount, open_vfs
from tests.unmounted import ADD, DOUBLE

REQUEST, SUM = "[1, 2] [3, 4]", b"[4.0, 6.0]\n"
KEEP = Options(keep_arrays=True)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "a").write_text("a")


def link_out(path: Path) -> None:
    moved = path.rename(path.with_name("elsewhere"))
    path.symlink_to(moved)


def make_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def found(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a flipped bit": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-5]),
    "empty": lambda path: path.write_bytes(b""),
    "other bytes": lambda path: path.write_bytes(b"\xff\x00" * 50),
    "lost": Path.unlink,
    "a folder": make_folder,
    "a link": link_out,
    "a pipe": make_pipe,
}
FILES = {
    "executables": ("executable", "hlo.txt", "info.json"),
    "artifacts": ("artifact", "stablehlo.mlir", "info.json", "graph-1.svg"),
}
PLACES = [(kind, name) for kind, files in FILES.items() for name in files]


async def fill(state: Path) -> None:
    async with open_vfs(state_dir=state) as mount:
        await mount.client.write("programs/add.mlir", ADD)
        await mount.client.read("programs/add/graph.svg")


async def assert_serves(mount: InProcessMount) -> None:
    assert await mount.client.ask("programs/add/call", REQUEST) == SUM
    for name in ("hlo.txt", "stablehlo.mlir"):
        assert (await mount.client.text(f"programs/add/{name}")).startswith("add(")
    assert (await mount.client.text("programs/add/graph.svg")).startswith("<svg>")
    await mount.client.write("programs/add/check", "random")
    assert "max_abs_difference=0 " in await mount.client.text("programs/add/check")


def made(mount: InProcessMount) -> list[str]:
    return [job.kind for job in mount.compiler.jobs if job.kind != "interpret"]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize(("kind", "name"), PLACES)
async def test_a_damaged_file_is_made_again_at_its_next_use(
    kind: str, name: str, damage: str, tmp_path: Path
) -> None:
    await fill(tmp_path)
    (entry,) = (tmp_path / kind).iterdir()
    DAMAGE[damage](entry / name)
    async with open_vfs(state_dir=tmp_path) as mount:
        await assert_serves(mount)
        assert made(mount)
    async with open_vfs(state_dir=tmp_path) as mount:
        await assert_serves(mount)
        assert set(made(mount)) <= {"draw"}  # a picture goes with its artifact


@pytest.mark.parametrize("kind", FILES)
async def test_two_entries_that_changed_places_are_made_again(kind: str, tmp_path: Path) -> None:
    async with open_vfs(state_dir=tmp_path) as mount:
        await mount.client.write("programs/add.mlir", ADD)
        await mount.client.write("programs/saxpy.mlir", ADD.replace("add", "saxpy"))
    one, two = (tmp_path / kind).iterdir()
    one.rename(tmp_path / "aside")
    two.rename(one)
    (tmp_path / "aside").rename(two)
    async with open_vfs(state_dir=tmp_path) as mount:
        assert await mount.client.ask("programs/add/call", REQUEST) == SUM
        assert await mount.client.ask("programs/saxpy/call", REQUEST) == b"[5.0, 8.0]\n"


async def test_an_executable_damaged_under_a_mount_is_made_again_when_it_is_loaded_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_vfs(state_dir=tmp_path) as mount:
        await mount.client.write("programs/add.mlir", ADD)
        assert await mount.client.ask("programs/add/call", REQUEST) == SUM
        (path,) = (tmp_path / "executables").glob("*/executable")
        flip(path)
        mount.engine.die()
        mount.engine.restart()
        assert await mount.client.ask("programs/add/call", REQUEST) == SUM
        assert mount.compiler.count("compile") == 2
        assert "is damaged and is made again" in caplog.text


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_program_with_a_damaged_source_runs_and_writing_it_again_heals_it(
    damage: str, tmp_path: Path
) -> None:
    await fill(tmp_path)
    (source,) = (tmp_path / "sources").iterdir()
    DAMAGE[damage](source)
    async with open_vfs(state_dir=tmp_path) as mount:
        assert await mount.client.ask("programs/add/call", REQUEST) == SUM

        async def error() -> str:
            return await mount.client.text("programs/add/error")

        for _ in range(1000):
            if await error() != "ok\n":
                break
            await trio.sleep(0.01)
        assert source.name in await error()
        assert "write" in await error()
        if damage not in ("lost", "a link"):  # where that led to is gone
            with pytest.raises(RunFailed, match=r"write programs/add\.mlir again"):
                await mount.client.read("programs/add.mlir")
        await mount.client.write("programs/add.mlir", ADD)
        assert await mount.client.text("programs/add.mlir") == ADD
        assert await error() == "ok\n"
    async with open_vfs(state_dir=tmp_path) as mount:
        assert await mount.client.text("programs/add.mlir") == ADD


async def test_a_damaged_source_is_never_compiled(tmp_path: Path) -> None:
    await fill(tmp_path)
    for kind in FILES:
        shutil.rmtree(tmp_path / kind)
    (source,) = (tmp_path / "sources").iterdir()
    source.write_text(ADD.replace("add", "saxpy"))
    async with open_vfs(state_dir=tmp_path) as mount:
        with pytest.raises(Exception, match="no version that works"):
            await mount.client.ask("programs/add/call", REQUEST)
        assert "its source is damaged" in await mount.client.text("programs/add/error")
        await mount.client.write("programs/add.mlir", ADD)
        assert await mount.client.ask("programs/add/call", REQUEST) == SUM


# Records

BAD_FIELDS: dict[str, dict[str, Any]] = {
    "another name": {"name": "other"},
    "a name with a slash": {"name": "a/b"},
    "an extension": {"extension": "txt"},
    "a negative uid": {"uid": -1},
    "a uid of 64 bits": {"uid": 1 << 40},
    "a gid of 64 bits": {"gid": 1 << 40},
    "a mode of a directory": {"mode": 0o40755},
    "a negative mode": {"mode": -1},
    "a mode of a file": {"modes": {"call": 1 << 40}},
    "a time of 128 bits": {"mtime_ns": 1 << 100},
    "a time": {"mtime_ns": 1 << 63},
    "a hash with a path": {"sha256": "../lock"},
    "a device": {"device": "cpu:0\n"},
    "a list of options": {"options": []},
    "options that are no text": {"options": {"a": 1}},
    "a surrogate": {"device": "\ud800"},
    "a binding without a target": {"bindings": [{"steps": [], "key": "x"}]},
}


def change_record(path: Path, fields: dict[str, Any]) -> None:
    """Writes a record as a version without checksums would have."""
    record = json.loads(path.read_bytes())
    del record["checksum"]
    path.write_text(json.dumps({**record, **fields}))


@pytest.mark.parametrize("fields", BAD_FIELDS)
async def test_a_record_that_makes_no_sense_is_left_out_and_the_rest_is_served(
    fields: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_vfs(state_dir=tmp_path) as mount:
        await mount.client.write("programs/add.mlir", ADD)
        await mount.client.write("programs/bad.mlir", DOUBLE)
    change_record(tmp_path / "programs/bad.json", BAD_FIELDS[fields])
    async with open_vfs(state_dir=tmp_path) as mount:
        assert mount.client.ls("programs") == ["add", "add.mlir"]
        assert mount.client.listing("programs")["add"]
        assert "bad.json is damaged and is left out" in caplog.text
        assert len(list((tmp_path / "sources").iterdir())) == 2  # the bad one may have used it
        assert (await mount.client.keyed("health"))["damaged_records"] == "1"
        await mount.client.write("programs/bad.mlir", DOUBLE)
    async with open_vfs(state_dir=tmp_path) as mount:
        assert mount.client.ls("programs") == ["add", "add.mlir", "bad", "bad.mlir"]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("folder", ["programs", "links"])
async def test_a_damaged_record_is_left_out_and_writing_its_name_again_heals_it(
    folder: str, damage: str, tmp_path: Path
) -> None:
    async with open_vfs(state_dir=tmp_path) as mount:
        await mount.client.write("programs/add.mlir", ADD)
        await mount.client.write("programs/good.mlir", ADD)
        mount.client.symlink("good", "programs/link")
    (path,) = (tmp_path / folder).glob("[al]*.json")
    DAMAGE[damage](path)
    async with open_vfs(state_dir=tmp_path) as mount:
        assert {"good", "good.mlir"} <= set(mount.client.ls("programs"))
        if folder == "programs":
            await mount.client.write("programs/add.mlir", ADD)
        else:
            mount.client.symlink("good", "programs/link")
    async with open_vfs(state_dir=tmp_path) as mount:
        everything = ["add", "add.mlir", "good", "good.mlir", "link"]
        assert mount.client.ls("programs") == everything
        assert await mount.client.ask("programs/add/call", REQUEST) == SUM


BAD_LINKS: dict[str, dict[str, Any]] = {
    "no target": {"target": ""},
    "a NUL": {"target": "a\0b"},
    "a long target": {"target": "a" * 5000},
    "a uid": {"uid": -5},
    "the name of a program": {"name": "add"},
    "the name of a source": {"name": "add.mlir"},
    "a transformation": {"name": "vmap"},
    "a name of a staging file": {"name": ".link"},
}


@pytest.mark.parametrize("fields", BAD_LINKS)
async def test_a_link_that_makes_no_sense_is_left_out(fields: str, tmp_path: Path) -> None:
    await fill(tmp_path)
    record = {"name": "link", "target": "add", "uid": 0, "gid": 0, **BAD_LINKS[fields]}
    (tmp_path / f"links/{record['name']}.json").write_text(json.dumps(record))
    async with open_vfs(state_dir=tmp_path) as mount:
        assert mount.client.ls("programs") == ["add", "add.mlir"]
        assert await mount.client.ask("programs/add/call", REQUEST) == SUM


BAD_BINDINGS: dict[str, list[dict[str, Any]]] = {
    "no transformation": [{"steps": ["nothing"], "key": "x", "target": "a"}],
    "bound twice": [{"steps": [], "key": "x", "target": "a"}] * 2,
    "a key with a slash": [{"steps": [], "key": "x/y", "target": "a"}],
    "no target": [{"steps": [], "key": "x", "target": ""}],
}


@pytest.mark.parametrize("name", BAD_BINDINGS)
async def test_a_binding_that_makes_no_sense_is_left_out(name: str, tmp_path: Path) -> None:
    await fill(tmp_path)
    good = {"steps": [], "key": "y", "target": "../../../arrays/y"}
    change_record(tmp_path / "programs/add.json", {"bindings": [*BAD_BINDINGS[name], good]})
    async with open_vfs(state_dir=tmp_path) as mount:
        assert "y" in mount.client.ls("programs/add/inputs")
        assert set(mount.client.ls("programs/add/inputs")) <= {"x", "y"}


# The folders


async def test_a_daemon_that_was_killed_before_a_record_was_in_its_place_loses_nothing(
    tmp_path: Path,
) -> None:
    await fill(tmp_path)
    place = tmp_path / "programs/add.json"
    place.rename(durable_files.scratch_beside(place))
    (tmp_path / "programs/.new-1-000000001-torn.json").write_bytes(b'{"name": "torn"')
    (tmp_path / "artifacts/.new-abc").mkdir()
    (tmp_path / "sources/.new-1-2-3").write_text("")
    async with open_vfs(state_dir=tmp_path) as mount:
        assert mount.client.ls("programs") == ["add", "add.mlir"]
    for folder in ("programs", "artifacts", "sources"):
        assert not [path for path in (tmp_path / folder).iterdir() if path.name.startswith(".")]


def test_a_file_is_on_the_disk_before_it_has_its_name_and_so_is_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = list[str]()
    fsync, replace = os.fsync, Path.replace

    def synced(fd: int) -> None:
        path = os.readlink(f"/proc/self/fd/{fd}")
        events.append("folder" if os.path.isdir(path) else "file")
        fsync(fd)

    def replaced(path: Path, target: Path) -> Path:
        events.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", replaced)
    store = Store(tmp_path)
    store.put_source(b"source")
    assert events == ["file", "rename", "folder"]
    events.clear()
    store.put_link(LinkRecord("link", "target", 0, 0))
    store.close()
    assert events == ["file", "rename", "folder"]
    events.clear()
    store = Store(tmp_path)
    store.put_entry("artifacts", "ab", LinkRecord("a", "b", 0, 0), {"file": b"data"})
    store.close()
    assert events == ["file", "file", "folder", "rename", "folder"]


@pytest.mark.parametrize("name", ["lock", "programs", "links", "sources", "artifacts"])
@pytest.mark.parametrize("damage", ["file", "folder", "pipe"])
async def test_what_lies_in_the_place_of_a_folder_or_the_lock_is_no_obstacle(
    name: str, damage: str, tmp_path: Path
) -> None:
    await fill(tmp_path)
    durable_files.remove_left_over(tmp_path / name)
    if damage == "folder":
        (tmp_path / name / "deep").mkdir(parents=True)
    else:
        make: dict[str, Callable[[Path], object]] = {"file": Path.touch, "pipe": os.mkfifo}
        make[damage](tmp_path / name)
    async with open_vfs(state_dir=tmp_path) as mount:
        await mount.client.write("programs/add.mlir", ADD)
        assert await mount.client.ask("programs/add/call", REQUEST) == SUM


def test_records_last_written_win_and_removed_ones_stay_removed(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(50):
        store.put_link(LinkRecord("a", f"target{number}", 0, 0))
        store.put_link(LinkRecord("b", "target", 0, 0))
    store.drop_link("b")
    assert store.links() == [LinkRecord("a", "target49", 0, 0)]
    store.close()
    assert os.listdir(tmp_path / "links") == ["a.json"]


# Earlier versions, other machines


async def test_entries_without_checksums_are_taken_once_and_sealed(tmp_path: Path) -> None:
    await fill(tmp_path)
    for info in found(tmp_path, "*/*/info.json"):
        fields = json.loads(info.read_bytes())
        info.write_text(
            json.dumps({k: v for k, v in fields.items() if k not in ("files", "checksum")})
        )
    change_record(tmp_path / "programs/add.json", {})
    async with open_vfs(state_dir=tmp_path) as mount:
        await assert_serves(mount)
        assert made(mount) == []
    for path in (*found(tmp_path, "*/*/info.json"), tmp_path / "programs/add.json"):
        assert "checksum" in json.loads(path.read_bytes())
    (executable,) = found(tmp_path, "executables/*/executable")
    flip(executable)
    async with open_vfs(state_dir=tmp_path) as mount:
        await assert_serves(mount)
        assert mount.compiler.count("compile") == 1


async def test_executables_are_found_on_the_same_kind_of_machine_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(tmp_path)
    flags = cpu_features.cpu_flags()

    async def compiles() -> int:
        async with open_vfs(state_dir=tmp_path) as mount:
            assert await mount.client.ask("programs/add/call", REQUEST) == SUM
            assert mount.compiler.count("trace") == 0
            return mount.compiler.count("compile")

    assert await compiles() == 0
    with monkeypatch.context() as patch:
        patch.setattr(cpu_features, "cpu_flags", lambda: flags | {"avx512_fp16"} ^ {"avx512_bf16"})
        assert await compiles() == 1
        assert await compiles() == 0
    assert await compiles() == 0  # the others are there still
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=SSE4_2")
    assert await compiles() == 1


def test_a_record_of_a_later_version_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    record = ProgramRecord("add", "mlir", "ab" * 32, 0, 0, 0o644, 0, "")
    store.put_record(record)
    store.close()
    change_record(tmp_path / "programs/add.json", {"field_of_the_future": 1})
    store = Store(tmp_path)
    assert store.records() == [record]
    store.close()


# Arrays


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("length", [2, 100_000])
async def test_a_damaged_array_is_left_out_and_writing_it_again_heals_it(
    length: int, damage: str, tmp_path: Path
) -> None:
    data = json.dumps([float(n % 7) for n in range(length)])
    async with open_vfs(KEEP, state_dir=tmp_path) as mount:
        await mount.client.write("arrays/w", data)
        await mount.client.write("arrays/v", "[1.0]")
    path = tmp_path / "arrays/w.array"
    if damage == "a flipped bit":
        content = bytearray(path.read_bytes())
        content[-3] ^= 4
        path.write_bytes(content)
    else:
        DAMAGE[damage](path)
    async with open_vfs(KEEP, state_dir=tmp_path) as mount:
        assert mount.client.ls("arrays") == ["v"]
        damaged = (await mount.client.keyed("health"))["damaged_records"]
        assert damaged == ("0" if damage == "lost" else "1")
        await mount.client.write("arrays/w", data)
    async with open_vfs(KEEP, state_dir=tmp_path) as mount:
        assert mount.client.ls("arrays") == ["v", "w"]
        assert json.loads(await mount.client.read("arrays/w.json")) == json.loads(data)


BAD_HEADERS: dict[str, dict[str, Any]] = {
    "an unknown type": {"params": [["", "q32[2]"]]},
    "another type": {"params": [["", "f32[2000000000]"]]},
    "a length": {"nbytes": 1 << 50},
    "a negative length": {"nbytes": -8},
    "a uid": {"uid": -1},
    "a mode": {"mode": 1 << 40},
    "a time": {"mtime_ns": 1 << 70},
}


@pytest.mark.parametrize("fields", BAD_HEADERS)
async def test_an_array_that_makes_no_sense_is_left_out(fields: str, tmp_path: Path) -> None:
    async with open_vfs(KEEP, state_dir=tmp_path) as mount:
        await mount.client.write("arrays/v", "[1.0]")
    header: dict[str, Any] = {"uid": 0, "gid": 0, "mode": 420, "mtime_ns": 0, "nbytes": 8}
    header |= {"params": [["", "f32[2]"]], **BAD_HEADERS[fields]}
    line = json.dumps(header).encode() + b"\n"
    (tmp_path / "arrays/w.array").write_bytes(line + bytes(4096 - len(line)) + bytes(8))
    async with open_vfs(KEEP, state_dir=tmp_path) as mount:
        assert mount.client.ls("arrays") == ["v"]
        assert mount.client.listing("arrays")["v"]
