"""The figures of style: what counts, and what fails the check."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import dedent

import pytest
from click.testing import CliRunner

from docs.tools.style import callers, imports, signatures, sizes
from docs.tools.style.imports import ALL_TIMES, LOADED
from docs.tools.style.measured import Measured
from docs.tools.style_figures import FIGURES, Project, main, read_project, source_rows

LAYERS = """
[[tool.importlinter.contracts]]
type = "layers"
containers = ["jaxfs"]
layers = ["top", "left | right", "bottom"]
"""


def project(root: Path, **modules: str) -> Project:
    """Returns ``jaxfs`` with the modules, by their paths without ``.py``."""
    for name, text in modules.items():
        path = root / "jaxfs" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    (root / "pyproject.toml").write_text(LAYERS)
    return read_project(root)


def single(root: Path, **modules: str) -> set[str]:
    """Returns the functions that are called in one place."""
    found = callers.single_call_share(project(root, **modules).callers, "jaxfs")
    return {line.split()[1] for line in found.offenders}


def called(root: Path, **modules: str) -> set[str]:
    """Returns the functions that are called by name, in one place or more."""
    many = project(root, **modules).callers
    return {
        function.name.removeprefix("jaxfs.")
        for function in many.code.functions_of("jaxfs")
        if many.is_by_name(function) and many.uses.calls[function.name]
    }


def measured(found: Project, key: str) -> Measured:
    """Returns the figure of jaxfs."""
    return next(row.measured[0] for row in source_rows(found) if row.figure_key == key)


def test_function_length_counts_the_docstring_and_not_decorators(tmp_path: Path) -> None:
    found = project(
        tmp_path,
        a='''
            @decorated
            @twice
            def f():
                """One.

                Two.
                """
                def inside():
                    return 1
                return inside
        ''',
    )
    assert sizes.median_length(found.code, "jaxfs").value == 8
    assert sizes.median_length_without_docstring(found.code, "jaxfs").value == 4


def test_p90_is_a_length_that_nine_of_ten_do_not_exceed(tmp_path: Path) -> None:
    lengths = [2] * 9 + [40]
    text = "\n".join(
        f"def f{number}():\n" + "    pass\n" * (length - 1) for number, length in enumerate(lengths)
    )
    found = sizes.p90_length(project(tmp_path, a=text).code, "jaxfs")
    assert found.value == 2
    assert found.offenders == ("jaxfs/a.py:28: a.f9 (40 lines)",)


def test_an_init_with_only_a_docstring_is_no_short_file(tmp_path: Path) -> None:
    found = project(tmp_path, __init__='"""A package."""', a="x = 1\n" * 60)
    assert sizes.short_file_share(found.code, "jaxfs").value == 0
    assert sizes.short_file_share_of_all(found.code, "jaxfs").value == 50


def test_calls_are_found_through_imports_modules_and_reexports(tmp_path: Path) -> None:
    found = single(
        tmp_path,
        **{
            "part/__init__": "from jaxfs.part.inner import shown",
            "part/inner": "def shown(): ...\ndef twice(): ...\ndef inner(): ...",
        },
        user="""
            from . import part
            from jaxfs.part import inner as module
            from jaxfs.part.inner import twice as again

            def use():
                part.shown()
                again()
                return module.twice() + module.inner()
        """,
    )
    assert found == {"part.inner.shown", "part.inner.inner"}


def test_methods_are_found_by_class_and_else_by_name(tmp_path: Path) -> None:
    found = single(
        tmp_path,
        a="""
            class One:
                def begin(self):
                    self.step()
                def step(self): ...
                @property
                def size(self): ...

            class Other:
                def step(self): ...
                def close(self): ...

            def use(other, file):
                One().begin()
                other.close()
                file.close()
                return other.size
        """,
    )
    assert found == {"a.One.begin", "a.One.step", "a.One.size"}


def test_an_import_in_a_function_binds_only_there(tmp_path: Path) -> None:
    found = single(
        tmp_path,
        a="def run(): ...",
        b="def run(): ...",
        c="""
            def first():
                from jaxfs import a as command
                command.run()
            def second():
                from jaxfs import b as command
                command.run()
        """,
    )
    assert found == {"a.run", "b.run"}


def test_a_variable_hides_the_function_of_its_name(tmp_path: Path) -> None:
    found = called(
        tmp_path,
        a="""
            def row(): ...
            def use(rows):
                for row in rows:
                    row()
        """,
    )
    assert found == set()


@pytest.mark.parametrize(
    "text",
    [
        "def f(): ...\nTABLE = {'f': f}\nf()",
        "def f(): ...\ndef g(run): run(f)\nf()",
        "@rule('add')\ndef f(): ...\nf()",
        "def f(): f()",
        "def f(): ...\nif __name__ == '__main__':\n    f()",
        "class C:\n    def __len__(self): ...\nC().__len__()",
        "class C(Protocol):\n    def f(self): ...\nclass D:\n    def f(self): ...\nD().f()",
        "class C:\n    def f(self): ...\nclass D(C):\n    def f(self): ...\nD().f()",
        "import pyfuse3\nclass C(pyfuse3.Operations):\n    def f(self): ...\nC().f()",
        "class C:\n    def f(self): ...\ngetattr(C(), 'f')()\nC().f()",
    ],
)
def test_values_and_registered_functions_are_not_called_by_name(tmp_path: Path, text: str) -> None:
    assert "a.f" not in called(tmp_path, a=text)
    assert not any(name.startswith("a.C") for name in called(tmp_path, a=text))


def test_a_helper_called_twice_by_one_function_is_counted_apart(tmp_path: Path) -> None:
    found = project(tmp_path, a="def f(): ...\ndef g():\n    f()\n    f()").callers
    assert callers.single_call_share(found, "jaxfs").value == 0
    assert callers.one_caller_share(found, "jaxfs").value == 100


def test_functions_without_any_use_are_listed(tmp_path: Path) -> None:
    found = callers.uncalled(project(tmp_path, a="def f(): ...").callers, "jaxfs")
    assert found.offenders == ("jaxfs/a.py:1: a.f (1 lines)",)


def test_stems_may_repeat_in_process_folders(tmp_path: Path) -> None:
    found = project(
        tmp_path, **dict.fromkeys(["codecs/text", "vfs/text", "front/main", "vfs/files/main"], "")
    )
    assert measured(found, "stems").offenders == ("text: jaxfs/codecs/text.py, jaxfs/vfs/text.py",)


def test_class_names_may_not_repeat(tmp_path: Path) -> None:
    found = project(tmp_path, a="class C: ...", b="class C: ...")
    assert measured(found, "classes").offenders == ("C: jaxfs/a.py:1, jaxfs/b.py:1",)


def test_circles_of_modules_and_packages_differ(tmp_path: Path) -> None:
    modules = {"p/a": "import jaxfs.q.b", "q/b": "x = 1", "q/c": "from jaxfs.p import d", "p/d": ""}
    graph = project(tmp_path, **modules).graph
    assert imports.module_circles(graph, "jaxfs", LOADED).value == 0
    assert imports.package_circles(graph, "jaxfs", LOADED).value == 1


@pytest.mark.parametrize(
    "text",
    [
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from jaxfs import b",
        "def f():\n    from jaxfs import b",
    ],
)
def test_hidden_circles_are_counted_apart(tmp_path: Path, text: str) -> None:
    graph = project(tmp_path, a=text, b="from jaxfs import a").graph
    assert imports.module_circles(graph, "jaxfs", LOADED).value == 0
    assert imports.module_circles(graph, "jaxfs", ALL_TIMES).value == 1


def test_imports_may_not_point_up_or_between_independent_layers(tmp_path: Path) -> None:
    graph = project(
        tmp_path,
        top="from jaxfs import left",
        left="from jaxfs import right, bottom",
        right="",
        **{"bottom/low": "from jaxfs import top"},
    ).graph
    assert imports.upward_arrows(graph, "jaxfs").offenders == (
        "jaxfs/bottom/low.py:1: jaxfs.bottom.low imports jaxfs.top",
        "jaxfs/left.py:1: jaxfs.left imports jaxfs.right",
    )


def test_any_is_found_in_public_signatures_under_other_names_too(tmp_path: Path) -> None:
    names = project(
        tmp_path,
        nodes="from typing import Any\nSubject = Any",
        a="""
            import typing
            from typing import Any
            from jaxfs.nodes import Subject

            def plain(x: dict[str, Any]): ...
            def dotted() -> typing.Any: ...
            def other(*args: Subject): ...
            def text(x: "Any"): ...
            def _private(x: Any): ...
            def fine(x: int, y: object): ...
            class _C:
                def method(self, x: Any): ...
        """,
        **{"stablehlo/b": "from typing import Any\ndef near_mlir(x: Any): ..."},
    ).names
    found = signatures.any_in_signatures(names, "jaxfs", ["jaxfs.stablehlo"])
    words = [line.partition("(")[0].rpartition(".")[2] for line in found.offenders]
    assert words == ["plain", "dotted", "other", "text"]
    assert signatures.object_in_signatures(names, "jaxfs", []).value == 1


def test_any_in_fields_of_records_is_counted(tmp_path: Path) -> None:
    text = "from typing import Any\n@attrs.frozen\nclass C:\n    x: Any\n    _y: Any"
    names = project(tmp_path, a=text).names
    assert signatures.any_in_records(names, "jaxfs", []).value == 1


def test_check_fails_and_lists_the_places(tmp_path: Path) -> None:
    project(tmp_path, a="class C: ...", b="class C: ...")
    arguments = ["--root", str(tmp_path)]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    checked = CliRunner().invoke(main, [*arguments, "--check"])
    assert checked.exit_code == 1
    assert "class names that occur twice [classes]:\n  C: jaxfs/a.py:1" in checked.stderr
    listed = CliRunner().invoke(main, [*arguments, "--list", "classes"])
    assert listed.stdout == "C: jaxfs/a.py:1, jaxfs/b.py:1\n"


def test_an_unknown_figure_names_those_there_are(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--root", str(tmp_path), "--list", "nonsense"])
    assert result.exit_code == 2
    assert "single-caller" in result.stderr


def test_branch_coverage_is_read_from_a_report(tmp_path: Path) -> None:
    summary = {
        "num_branches": 10,
        "covered_branches": 8,
        "num_statements": 20,
        "covered_lines": 19,
    }
    files = {"jaxfs/vfs/vfs.py": {"summary": summary, "missing_branches": [[1, 2], [3, 4]]}}
    report = tmp_path / "coverage.json"
    report.write_text(json.dumps({"files": files}))
    (tmp_path / "jaxfs").mkdir()
    arguments = ["--root", str(tmp_path), "--coverage", str(report)]
    shown = CliRunner().invoke(main, arguments).stdout
    assert any(line.split()[-2:] == ["80", "missed"] for line in shown.splitlines())
    listed = CliRunner().invoke(main, [*arguments, "--list", "branches-vfs"])
    assert listed.stdout == "jaxfs/vfs/vfs.py: 2 branches\n"


def test_every_figure_has_a_key_of_its_own() -> None:
    assert len({figure.key for figure in FIGURES}) == len(FIGURES)
