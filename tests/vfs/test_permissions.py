"""Who may do what."""

from __future__ import annotations

import pytest

from jaxfs.errors import AccessDenied, NotPermitted
from tests.unmounted import ADD, ALICE, BOB, serving


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
