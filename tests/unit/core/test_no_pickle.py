"""Read every source file and refuse the ways in which bytes become code."""

import ast
from pathlib import Path

import pytest

import ringfort

ROOT = Path(ringfort.__file__).parent
SOURCES = {str(path.relative_to(ROOT)): path for path in sorted(ROOT.rglob("*.py"))}
MODULES = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "jsonpickle"}
MODULES |= {"multiprocessing", "concurrent.futures.process"}
NAMES = {"eval", "exec", "compile", "__import__"}
ATTRIBUTES = {"yaml.load", "torch.load", "yaml.unsafe_load", "torch.save", "torch.jit.load", "builtins.eval"}
ATTRIBUTES |= {"builtins.exec", "numpy.fromfile", "os.system", "os.popen"}


def dangers(source):
    """Everything in `source` that can turn bytes into code, as (line, what)."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            names = []
        found += [(node.lineno, name) for name in names if name in MODULES or name.split(".")[0] in MODULES]
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in NAMES | ATTRIBUTES or called.split(".")[0] in MODULES:
            found.append((node.lineno, called))
        for keyword in node.keywords:
            loose = {"allow_pickle": True, "weights_only": False, "shell": True}
            if keyword.arg in loose and getattr(keyword.value, "value", None) is not (not loose[keyword.arg]):
                found.append((node.lineno, f"{keyword.arg}={ast.unparse(keyword.value)}"))
        if called in {"np.load", "numpy.load"} and "allow_pickle" not in {k.arg for k in node.keywords}:
            found.append((node.lineno, "np.load without allow_pickle=False"))
    return found


@pytest.mark.parametrize("name", SOURCES)
def test_no_module_can_turn_bytes_into_code(name):
    assert dangers(SOURCES[name].read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import dill as json",
        "from pickle import loads",
        "from multiprocessing import Pool",
        "from concurrent.futures import process",
        "import shelve, os",
        "def f():\n    import marshal",
        "eval('1')",
        "exec(code)",
        "yaml.load(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=flag)",
        "np.load(path)",
        "subprocess.run(line, shell=True)",
    ],
)
def test_the_check_itself_sees_each_of_them(source):
    assert dangers(source)


def test_the_check_lets_harmless_code_pass():
    assert dangers("import re\nre.compile('x')\nmodel.eval()\nnp.load(p, allow_pickle=False)\njson.loads(t)") == []
