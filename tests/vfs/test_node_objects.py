"""Each object that is shown as files decides about their owner, modes and links."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jaxfs.arrays.array_refs import ArrayRef
from jaxfs.arrays.bindings import Binding
from jaxfs.arrays.named_array import NamedArray
from jaxfs.arrays.producers import WrittenArrays
from jaxfs.arrays.views import View, make_view
from jaxfs.calls.call import Call
from jaxfs.errors import NotPermitted
from jaxfs.posix.credentials import InodeAttr
from jaxfs.posix.node_object import NodeObject
from jaxfs.programs.links import Link
from jaxfs.programs.program import DerivedProgram, SourceProgram
from jaxfs.programs.staged_file import StagedFile
from jaxfs.types.avals import parse_aval
from jaxfs.types.signature import Param
from jaxfs.vfs.files import arrays, calls, inputs, programs, results
from jaxfs.vfs.mount import TransformPath
from jaxfs.vfs.node_specs import NodeSpec
from jaxfs.vfs.node_table import NUMBERS, SPECS, STATIC_CHILDREN

ALICE, BOB = 20001, 20002


def attr(mode: int = 0o644) -> InodeAttr:
    return InodeAttr(ALICE, ALICE, mode)


def program(mode: int = 0o644) -> SourceProgram:
    return SourceProgram(name="saxpy", extension="mlir", owner=attr(mode))


def derived(mode: int = 0o644) -> DerivedProgram:
    return DerivedProgram(base=program(mode), steps=("grad",), start=lambda _: None)


def call(mode: int = 0o644) -> Call:
    return Call("job1", program(), attr(mode))


def written() -> ArrayRef:
    return ArrayRef(WrittenArrays((Param("", parse_aval("f32[2]")),), bytes(8)), "arrays/w")


def array(mode: int = 0o644) -> NamedArray:
    found = NamedArray("w", attr(mode))
    found.point_to(written())
    return found


def binding(mode: int = 0o644, target: str = "") -> Binding:
    own = None if target else array(0o600)
    return Binding(program(mode), "0", target=target, array=own)


def link() -> Link:
    return Link("name", "saxpy", attr(0o777))


def spec_of(pattern: str) -> NodeSpec:
    return SPECS[NUMBERS[pattern]]


STATUS = "programs/<program>/status"
CALL = "programs/<program>/call"


@pytest.mark.parametrize(
    ("node_object", "spec", "mode"),
    [
        (program(0o640), programs.SOURCE, 0o640),
        (program(0o640), spec_of(STATUS), 0o440),
        (program(0o600), spec_of(CALL), 0o600),
        (program(0o600), spec_of("programs/<program>"), 0o700),
        (derived(0o640), spec_of(CALL), 0o660),
        (StagedFile(".new", attr(0o640)), programs.STAGING, 0o640),
        (link(), programs.LINK, 0o777),
        (call(0o640), calls.CALL, 0o640),
        (call(0o640), spec_of("results/<id>.status"), 0o440),
        (array(0o640), arrays.ARRAY, 0o640),
        (array(0o640), spec_of("arrays/<name>.status"), 0o440),
        (make_view(array(0o640), "raw"), arrays.FORMAT, 0o640),
        (make_view(array(0o640), "txt"), arrays.VIEW, 0o440),
        (binding(0o640), inputs.ARRAY, 0o640),
        (binding(0o600, target="../../../arrays/w"), inputs.LINK, 0o777),
        (TransformPath(("grad",), attr()), spec_of("transformations/<transformation>/help"), 0o444),
    ],
)
def test_the_mode_of_a_file(node_object: NodeObject, spec: NodeSpec, mode: int) -> None:
    assert node_object.mode_of(spec) == mode


def result_of(mode: int) -> tuple[Call, View]:
    owner = call(mode)
    return owner, View(owner, ArrayRef(owner, "results/job1"), "", "npy")


def test_a_result_has_the_mode_of_its_call_less_the_write_bits() -> None:
    _, view = result_of(0o640)
    assert view.mode_of(results.RESULT) == 0o440


def test_chmod_of_one_file_of_a_result_is_for_all_of_them_and_not_for_the_call() -> None:
    owner, view = result_of(0o640)
    view.set_mode(results.RESULT, 0o666)
    assert view.mode_of(results.RESULT) == 0o444
    assert owner.mode_of(spec_of("results/<id>.error")) == 0o444
    assert owner.result_mode == 0o444
    assert owner.mode_of(calls.CALL) == 0o640


def test_chmod_of_a_programs_file_leaves_the_source_alone() -> None:
    saxpy = program(0o644)
    saxpy.set_mode(spec_of(CALL), 0o777)
    assert saxpy.mode_of(spec_of(CALL)) == 0o666
    assert saxpy.mode_of(programs.SOURCE) == 0o644


def test_chmod_of_a_source_is_seen_by_what_is_made_from_it() -> None:
    transformed = derived(0o644)
    transformed.base.set_mode(programs.SOURCE, 0o600)
    assert transformed.mode_of(spec_of(STATUS)) == 0o400


def test_chmod_of_an_array_or_of_one_of_its_views_is_for_the_array() -> None:
    w = array(0o600)
    make_view(w, "txt").set_mode(arrays.VIEW, 0o777)
    assert w.attr.mode == 0o666
    w.set_mode(arrays.ARRAY, 0o640)
    assert make_view(w, "txt").mode_of(arrays.VIEW) == 0o440


OWNED: tuple[Callable[[], Any], ...] = (
    program,
    derived,
    lambda: StagedFile(".new", attr()),
    link,
    call,
    array,
    lambda: make_view(array(), "txt"),
    lambda: result_of(0o644)[1],
)
FIXED: tuple[Callable[[], Any], ...] = (
    binding,
    lambda: binding(target="../../../arrays/w"),
    lambda: TransformPath(("grad",), attr()),
)


@pytest.mark.parametrize("make", OWNED)
def test_chown_of_what_belongs_to_a_user(make: Callable[[], NodeObject]) -> None:
    node_object = make()
    node_object.set_owner(BOB, None)
    assert (node_object.attr.uid, node_object.attr.gid) == (BOB, ALICE)
    node_object.set_owner(None, BOB)
    assert (node_object.attr.uid, node_object.attr.gid) == (BOB, BOB)


@pytest.mark.parametrize("make", FIXED)
def test_chown_and_chmod_of_what_belongs_to_the_mount(make: Callable[[], NodeObject]) -> None:
    with pytest.raises(NotPermitted, match="keep their owner"):
        make().set_owner(BOB, BOB)
    with pytest.raises(NotPermitted, match="keep their modes"):
        make().set_mode(inputs.ARRAY, 0o600)


def test_the_mode_of_a_symbolic_link_is_fixed() -> None:
    with pytest.raises(NotPermitted, match="keep their modes"):
        link().set_mode(programs.LINK, 0o600)


def test_what_disappears_together_has_one_owner_id() -> None:
    saxpy, w, job = program(), array(), call()
    grad = DerivedProgram(base=saxpy, steps=("grad",), start=lambda _: None)
    twice = DerivedProgram(base=grad, steps=("grad",), start=lambda _: None)
    bound = Binding(twice, "0", array=w)
    assert grad.owner_id == twice.owner_id == bound.owner_id == saxpy.owner_id == saxpy.serial
    assert make_view(w, "txt").owner_id == w.owner_id
    assert View(job, ArrayRef(job, "results/job1"), "", "npy").owner_id == job.serial


def test_an_array_keeps_its_owner_id_with_new_content() -> None:
    w = array()
    before = w.owner_id, w.serial
    w.point_to(written())
    assert w.owner_id == before[0]
    assert w.serial != before[1]


def test_links_are_counted_by_content() -> None:
    w = array()
    other = NamedArray("v", attr())
    assert other.nlink == 1
    other.point_to(w.content())
    assert w.nlink == other.nlink == make_view(w, "txt").nlink == 2
    assert program().nlink == call().nlink == link().nlink == 1


def test_a_view_is_replaced_with_its_array() -> None:
    w = array()
    view = make_view(w, "txt")
    assert not view.is_replaced
    w.point_to(written())
    assert view.is_replaced
    assert not make_view(w, "txt").is_replaced


def test_the_view_of_a_removed_call_is_not_replaced() -> None:
    owner, view = result_of(0o644)
    owner.drop()
    assert not view.is_replaced


def test_exactly_the_objects_own_files_are_primary() -> None:
    assert {spec.pattern for spec in SPECS if spec.is_primary} == {
        "programs/<program>.<ext>",
        "programs/.<name>",
        "programs/<program>/calls/<id>",
        "programs/<program>/calls/.<name>",
        "arrays/<name>",
        "arrays/.<name>",
    }


def test_every_name_that_is_always_there_is_found_below_its_directory() -> None:
    found = [
        f"{parent}/{name}".removeprefix("/")
        for parent, names in STATIC_CHILDREN.items()
        for name in names
    ]
    assert sorted(found) == sorted(
        spec.pattern
        for spec in SPECS
        if spec.pattern and "<" not in spec.pattern.rpartition("/")[2]
    )
