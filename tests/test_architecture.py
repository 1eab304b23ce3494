"""Imports point one way, Ray stays at the edge, and every folder says what lives there."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def imports(path):
    """Every module a file imports, anywhere in it, as dotted names."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def users_of(package, folder):
    """Files of a folder that import a package."""
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    return {str(file.relative_to(ROOT)) for file in files if any(n == package or n.startswith(f"{package}.") for n in imports(file))}


def test_one_file_of_the_trainer_knows_ray():
    assert users_of("ray", "trainer") == {"trainer/ray_worker.py"}
    assert users_of("ray", "studies") <= {
        "studies/cluster_token.py", "studies/connection.py", "studies/driver.py", "studies/tune_adapters.py", "studies/ray_errors.py", "studies/doctor/cluster_probe.py",
    }  # fmt: skip


def test_imports_point_one_way():
    for package in ("studies", "analysis", "search_spaces"):
        assert users_of(package, "trainer") == set()
    assert users_of("analysis", "studies") == {"studies/cli.py"}  # calls the report at the end
    for package in ("studies", "search_spaces", "torch", "ray"):
        assert users_of(package, "analysis") == set()
    allowed = {
        "trainer", "trainer.records", "trainer.record_lines", "trainer.decision_lines", "trainer.errors", "trainer.cli", "trainer.terminal",
    }  # fmt: skip
    for file in (ROOT / "analysis").glob("*.py"):
        used = {n for n in imports(file) if n.startswith("trainer")}
        assert all(any(n == a or n.startswith(f"{a}.") for a in allowed - {"trainer"}) or n == "trainer" for n in used), (file, used)
    for lower, upper in (("models", "probes"), ("losses", "models"), ("data", "models"), ("losses", "probes"), ("models", "loop"), ("probes", "loop")):
        assert users_of(f"trainer.{upper}", f"trainer/{lower}") == set()


def test_clusters_stand_beside_the_product():
    """Renting knows the command line's manners only, nothing knows renting, and Ray is met in its two interfaces only."""
    for folder in ("trainer", "studies", "search_spaces", "analysis"):
        assert users_of("clusters", folder) == set()
    assert users_of("ray", "clusters") == {"clusters/vast/provider.py", "clusters/vast/runner.py"}
    for package in ("torch", "studies", "analysis", "search_spaces"):
        assert users_of(package, "clusters") == set()
    used = {n for file in (ROOT / "clusters").rglob("*.py") for n in imports(file) if n.startswith("trainer.")}
    assert all(n.startswith(("trainer.cli", "trainer.errors", "trainer.lock")) for n in used), used


def test_planning_and_records_import_neither_torch_nor_optuna():
    light = ["trainer/config/run.py", "trainer/config/data.py", "trainer/identity.py", "trainer/records.py", "trainer/gates.py", "studies/plan.py", "studies/cli.py", "studies/options.py", "studies/halving.py", "studies/search.py"]
    for name in light:
        assert not {n.partition(".")[0] for n in imports(ROOT / name)} & {"torch", "ray", "optuna"}, name


def test_every_folder_says_what_lives_there_and_the_first_page_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 800
    for folder in ("trainer", "studies", "search_spaces", "clusters", "analysis", "tests", "studies/replay"):
        page = (ROOT / folder / "README.md").read_text(encoding="utf-8")
        assert len(page.splitlines()) <= 60, folder


def test_links_and_files_that_the_pages_name_are_there():
    pages = [ROOT / "README.md", *(page for top in ("trainer", "studies", "search_spaces", "clusters", "analysis", "tests") for page in (ROOT / top).rglob("*.md"))]
    missing = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        names = [name.partition("#")[0] for name in re.findall(r"\]\(([^)\s]+)\)", text) if not name.startswith(("http", "#"))]
        missing += [f"{page.relative_to(ROOT)}: {name}" for name in names if not (page.parent / name).exists()]
        files = re.findall(r"`((?:tests|trainer|studies|analysis|search_spaces)/[\w/.-]+\.\w+|\w+\.py)`", text)
        missing += [f"{page.relative_to(ROOT)}: {name}" for name in files if not ((ROOT / name).exists() or list(page.parent.rglob(name)))]
    assert missing == []
