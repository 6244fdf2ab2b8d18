"""Who may do what."""

from __future__ import annotations

import os

import pytest

from jaxfs.errors import AccessDenied, NameTaken, NotPermitted
from jaxfs.testing import InProcessMount
from jaxfs.testing.vfs_client import VfsClient
from tests.unmounted import ADD, ALICE, BOB, DOUBLE, serving


@pytest.mark.parametrize(
    ("source_mode", "call", "status", "device"),
    [
        (0o644, 0o666, 0o444, 0o644),
        (0o640, 0o660, 0o440, 0o640),
        (0o600, 0o600, 0o400, 0o600),
        (0o666, 0o666, 0o444, 0o644),
    ],
)
async def test_who_may_read_a_source_may_call_the_program(
    source_mode: int, call: int, status: int, device: int
) -> None:
    async with serving(add=ADD) as mount:
        await mount.client.chmod("programs/add.mlir", source_mode)
        modes = [
            mount.client.stat(f"programs/add/{name}").mode & 0o777
            for name in ("call", "status", "device")
        ]
        assert modes == [call, status, device]


async def test_another_user_calls_a_program_and_does_not_change_it() -> None:
    async with serving(add=ADD) as mount:
        alice = mount.user(ALICE)
        assert await alice.ask("programs/add/call", "[1, 2] [3, 4]") == b"[4.0, 6.0]\n"
        for path in ("programs/add.mlir", "programs/add/device", "programs/add/signature"):
            with pytest.raises(AccessDenied):
                await alice.write(path, "x")


async def test_a_private_program_is_not_called_by_others() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.chmod("programs/add.mlir", 0o600)
        with pytest.raises(AccessDenied):
            await mount.user(ALICE).ask("programs/add/call", "[1, 2] [3, 4]")


async def test_the_sticky_bit_protects_programs_results_and_arrays_of_others() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("programs/add/calls/1", "[1, 2] [3, 4]")
        await mount.client.write("arrays/w", "1")
        for path in ("programs/add.mlir", "results/1", "arrays/w", "programs/add/calls/1"):
            with pytest.raises(NotPermitted):
                mount.user(ALICE).unlink(path)
        mount.user(0).unlink("results/1")


async def test_a_private_result_is_read_by_its_caller_only() -> None:
    async with serving(add=ADD) as mount:
        alice = mount.user(ALICE)
        await alice.write("programs/add/calls/1", "[1, 2] [3, 4]", mode=0o600)
        assert await alice.read("results/1.json") == b"[4.0, 6.0]\n"
        with pytest.raises(AccessDenied):
            await mount.user(BOB).read("results/1.json")
        with pytest.raises(AccessDenied, match="may not read results/1"):
            await mount.user(BOB).write("programs/add/calls/2", "results/1 [3, 4]")


async def test_a_reference_needs_the_right_to_read() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("arrays/w", "[1.0, 2.0]", mode=0o600)
        with pytest.raises(AccessDenied, match="may not read arrays/w"):
            await mount.user(ALICE).ask("programs/add/call", "arrays/w [3, 4]")
        await mount.client.chmod("arrays/w", 0o644)
        assert await mount.user(ALICE).ask("programs/add/call", "arrays/w [3, 4]")


async def test_a_binding_is_read_with_the_rights_of_the_caller() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.write("arrays/w", "[1.0, 2.0]", mode=0o600)
        mount.client.symlink("../../../arrays/w", "programs/add/inputs/x")
        assert await mount.client.ask("programs/add/call", "[3, 4]") == b"[4.0, 6.0]\n"
        with pytest.raises(AccessDenied, match="programs/add/inputs/x"):
            await mount.user(ALICE).ask("programs/add/call", "[3, 4]")


async def test_a_file_is_created_with_the_mode_its_umask_leaves() -> None:
    async with serving() as mount:
        await mount.client.write("programs/.new", "x", mode=0o666)
        assert mount.client.stat("programs/.new").mode & 0o777 == 0o644


async def test_members_of_the_group_have_the_groups_rights() -> None:
    async with serving(add=ADD) as mount:
        await mount.client.chmod("programs/add.mlir", 0o640)
        member = mount.user(ALICE, 1000)
        assert await member.ask("programs/add/call", "[1, 2] [3, 4]")
        await mount.client.write("arrays/w", "[1.0, 2.0]", mode=0o640)
        assert await member.ask("programs/add/call", "arrays/w [3, 4]")


PRIVATE = "[1.0, 2.0]"


async def secret_of(mount: InProcessMount, uid: int, mode: int = 0o600) -> VfsClient:
    """Returns a user who has ``arrays/secret``, which nobody else may read with this mode."""
    user = mount.user(uid)
    await user.write("arrays/secret", PRIVATE, mode=mode)
    return user


@pytest.mark.parametrize(
    "target", ["../../../arrays/secret", "/mnt/jax/arrays/secret", "../../../results/1.0"]
)
async def test_a_binding_counts_only_if_the_programs_owner_may_read_its_target(target: str) -> None:
    async with serving(add=ADD, double=DOUBLE) as mount:
        alice = await secret_of(mount, ALICE)
        await alice.write("programs/double/calls/1", "[0.5, 1.0]", mode=0o600)
        mount.client.symlink(target, "programs/add/inputs/x")
        refused = "inputs/x: user 1000, the owner of the program, may not read"
        with pytest.raises(AccessDenied, match=refused):
            await alice.ask("programs/add/call", "[3, 4]")
        with pytest.raises(AccessDenied, match=refused):
            await alice.write("programs/add/calls/2", "[3, 4]")
        with pytest.raises(AccessDenied, match=refused):
            await alice.write("programs/add/check", "[3, 4]")
        await alice.chmod("arrays/secret", 0o644)
        await alice.chmod("results/1", 0o444)
        assert await alice.ask("programs/add/call", "[3, 4]") == b"[4.0, 6.0]\n"


@pytest.mark.parametrize("path", ["transformations/jit/add", "programs/sums"])
async def test_bindings_of_derived_and_untyped_programs_need_their_owners_right(path: str) -> None:
    async with serving(add=ADD, sums="add(x, y)") as mount:
        alice = await secret_of(mount, ALICE)
        mount.client.symlink("/mnt/jax/arrays/secret", f"{path}/inputs/x")
        with pytest.raises(AccessDenied, match="user 1000, the owner of the program"):
            await alice.ask(f"{path}/call", "[3.0, 4.0]")


async def test_a_binding_ends_when_its_target_becomes_private_or_anothers() -> None:
    async with serving(add=ADD) as mount:
        alice = await secret_of(mount, ALICE, mode=0o644)
        mount.client.symlink("../../../arrays/secret", "programs/add/inputs/x")
        assert await alice.ask("programs/add/call", "[3, 4]") == b"[4.0, 6.0]\n"
        await alice.chmod("arrays/secret", 0o600)
        with pytest.raises(AccessDenied, match="the owner of the program"):
            await alice.ask("programs/add/call", "[3, 4]")
        alice.unlink("arrays/secret")
        await mount.client.write("arrays/secret", PRIVATE)
        assert await alice.ask("programs/add/call", "[3, 4]") == b"[4.0, 6.0]\n"
        mount.client.unlink("arrays/secret")
        await secret_of(mount, BOB)
        with pytest.raises(AccessDenied):
            await mount.user(BOB).ask("programs/add/call", "[3, 4]")


async def test_a_program_of_root_is_bound_to_what_its_caller_may_read() -> None:
    async with serving() as mount:
        await mount.user(0).write("programs/add.mlir", ADD)
        alice = await secret_of(mount, ALICE)
        mount.user(0).symlink("../../../arrays/secret", "programs/add/inputs/x")
        assert await alice.ask("programs/add/call", "[3, 4]") == b"[4.0, 6.0]\n"
        with pytest.raises(AccessDenied, match=f"user {BOB} may not read"):
            await mount.user(BOB).ask("programs/add/call", "[3, 4]")


async def test_a_report_of_check_is_shown_to_the_user_that_asked() -> None:
    async with serving(add=ADD) as mount:
        alice = mount.user(ALICE)
        await alice.write("programs/add/check", "[1234, 2] [0, 4]")
        assert b"max_abs_value=1234" in await alice.read("programs/add/check")
        assert await mount.client.read("programs/add/check") == b""


@pytest.mark.parametrize("name", ["secret.json", "secret.npy", "secret.safetensors"])
async def test_no_rename_takes_an_array_that_another_user_has_not_written_yet(name: str) -> None:
    """The kernel finds nothing by this name, and so does not look whose array it is."""
    async with serving() as mount:
        alice, bob = mount.user(ALICE), mount.user(BOB)
        file = await alice.open_file("arrays/secret", os.O_CREAT | os.O_WRONLY, 0o600)
        await bob.write("arrays/.x", "[7]")
        await bob.write("arrays/other", "[7]")
        for own in ("arrays/.x", "arrays/other"):
            with pytest.raises(NameTaken):
                await bob.rename(own, f"arrays/{name}")
        await file.write(PRIVATE.encode())
        await file.close()
        assert mount.client.stat("arrays/secret").uid == ALICE
        assert await alice.read("arrays/secret.json") == b"[1.0, 2.0]\n"


@pytest.mark.parametrize("inputs", ["[5, 6]", "[5, 6] [7, 8]"])
async def test_no_rename_takes_a_call_that_another_user_has_not_written_yet(inputs: str) -> None:
    async with serving(add=ADD) as mount:
        alice, bob = mount.user(ALICE), mount.user(BOB)
        calls = "programs/add/calls"
        file = await alice.open_file(f"{calls}/1", os.O_CREAT | os.O_WRONLY, 0o600)
        await bob.write(f"{calls}/.x", inputs)
        with pytest.raises(NameTaken):
            await bob.rename(f"{calls}/.x", f"{calls}/1.json")
        await file.write(b"[1, 2] [3, 4]")
        await file.close()
        assert await alice.read("results/1.json") == b"[4.0, 6.0]\n"
        with pytest.raises(AccessDenied):
            await bob.read("results/1.json")
