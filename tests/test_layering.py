import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Each module belongs to the longest prefix; a module imports its own layer and lower ones.
CORE = (
    "errors",
    "features",
    "files",
    "flow",
    "guidance",
    "predictor",
    "resize",
    "rng",
    "sampler",
    "schedule",
    "spectra",
)
LAYERS = {
    **{f"swd.{name}": 0 for name in CORE},
    "swd.losses": 1,
    "swd.kernels": 1,
    "swd.lora": 2,
    "swd.backbones": 3,
    "swd.pipelines": 3,
    "swd.cost": 4,
    "swd.data": 5,
    "swd.training": 6,
    "swd.train": 7,
    "swd.cache": 7,
}
# Third-party packages by the lowest layer that may meet them.
FROM_LAYER = {"peft": 2, "diffusers": 3, "transformers": 3, "tqdm": 5, "accelerate": 6, "tyro": 7}
# One family of networks: its folder, the door for users, and its line in the registry may name it.
FAMILY = re.compile(r"SD3(?!\.5)|StableDiffusion3|TextCondition|\bsd3\b")
FAMILY_DOORS = {"swd.pipelines", "swd.backbones"}
HARNESS_LIBRARIES = {"numpy", "pandas", "scipy", "matplotlib", "repro"} | sys.stdlib_module_names
HARNESS_LIBRARIES |= {"swd.schedule", "swd.errors", "swd.training.config"}  # declarations name their options
TABLE_LIBRARIES = {"repro.harness", "swd.schedule"} | sys.stdlib_module_names


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, whole_file: bool = True) -> Iterator[tuple[int, str]]:
    """Imported modules with their lines; only those that run when the module is imported, unless ``whole_file``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree) if whole_file else _at_import(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            source = str(node.module)
            for alias in node.names:
                deeper = (ROOT / source.replace(".", "/") / alias.name).with_suffix("")
                is_module = deeper.is_dir() or deeper.with_suffix(".py").is_file()
                yield node.lineno, f"{source}.{alias.name}" if is_module else source


def _at_import(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        typing_only = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not typing_only and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield child
            yield from _at_import(child)


def within(module: str, prefix: str) -> bool:
    return module == prefix or module.startswith(f"{prefix}.")


def layer(module: str) -> int:
    return LAYERS[max((prefix for prefix in LAYERS if within(module, prefix)), key=len)]


def offences(path: Path, allowed: set[str]) -> list[str]:
    return [
        f"{path.name}:{line} imports {module}"
        for line, module in imports(path)
        if not any(within(module, name) for name in allowed)
    ]


def id_of(path: Path) -> str:
    return name_of(path)


SWD = [path for path in modules("swd") if name_of(path) != "swd"]


@pytest.mark.parametrize("path", SWD, ids=id_of)
def test_swd_imports_downwards(path: Path) -> None:
    own = layer(name_of(path))
    for line, module in imports(path):
        top = module.partition(".")[0]
        assert top not in {"repro", "benchmarks", "tests"}, f"{path}:{line} imports {module}"
        if within(module, "swd") and module != "swd":
            assert layer(module) <= own, f"{path}:{line}: layer {own} imports {module} of layer {layer(module)}"
        assert own >= FROM_LAYER.get(top, 0), f"{path}:{line}: {top} belongs to layer {FROM_LAYER.get(top)} and above"


def test_the_package_itself_imports_nothing() -> None:
    assert not [
        module for _, module in imports(ROOT / "swd" / "__init__.py", whole_file=False) if within(module, "swd")
    ]


def test_no_two_folders_of_swd_import_each_other() -> None:
    folders = {name_of(path.parent / "__init__.py") for path in SWD} - {"swd"}

    def folder(module: str) -> str:
        return max((known for known in folders if within(module, known)), key=len, default="")

    edges = {(folder(name_of(path)), folder(module)) for path in SWD for _, module in imports(path)}
    both = {tuple(sorted(edge)) for edge in edges if edge[::-1] in edges and edge[0] != edge[1] and "" not in edge}
    assert not both


@pytest.mark.parametrize("path", SWD, ids=id_of)
def test_one_family_is_named_in_its_folder_alone(path: Path) -> None:
    name = name_of(path)
    if name in FAMILY_DOORS or within(name, "swd.backbones.sd3"):
        assert FAMILY.search(path.read_text(encoding="utf-8"))
        return
    lines = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    named = [f"{path}:{number}: {line.strip()}" for number, line in lines if FAMILY.search(line)]
    assert not named, "ask the Backbone instead:\n" + "\n".join(named)


@pytest.mark.parametrize("path", [path for path in modules("repro/harness") if path.stem != "runner"], ids=id_of)
def test_harness_renders_without_torch(path: Path) -> None:
    assert not offences(path, HARNESS_LIBRARIES)
    inside = {module for _, module in imports(path) if within(module, "repro")}
    assert all(within(module, "repro.harness") for module in inside), inside
    assert "repro.kinds.scores.measure" not in inside


TABLES = [
    path
    for path in modules("repro")
    if path.parent.name == "repro" and path.stem.startswith(("table", "figure", "benchmarks", "training_cost"))
]


@pytest.mark.parametrize("path", TABLES, ids=id_of)
def test_tables_declare_and_never_meet(path: Path) -> None:
    assert not offences(path, TABLE_LIBRARIES)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    loops = [node.lineno for node in tree.body if isinstance(node, ast.For | ast.While | ast.With)]
    assert not loops, f"{path}: a table declares, but has statements at lines {loops}"


@pytest.mark.parametrize(
    ("code", "absent"),
    [
        ("import repro.__main__, repro.harness.render, repro.profiles", "torch"),
        ("from repro import EXPERIMENTS, load_experiment; [load_experiment(name) for name in EXPERIMENTS]", "torch"),
        ("import swd", "torch"),
        ("import swd; swd.ScaleSchedule, swd.sample", "diffusers"),
        ("import swd.backbones", "torch"),
        ("from swd.backbones import backbone_named; backbone_named('sd3')", "diffusers"),
        ("import swd.losses", "diffusers"),
    ],
)
def test_light_imports_stay_light(code: str, absent: str) -> None:
    check = f"{code}; import sys; sys.exit({absent!r} in sys.modules)"
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True, timeout=120)


def test_the_rules_can_fail(tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text("import json\ndef late():\n    import torch.nn\n    from repro.worlds.mini.scenes import oracle\n")
    assert offences(path, HARNESS_LIBRARIES - {"repro"}) == [
        "bad.py:3 imports torch.nn",
        "bad.py:4 imports repro.worlds.mini.scenes.oracle",
    ]
    assert [module for _, module in imports(path, whole_file=False)] == ["json"]
