import sys

import pytest

from ringfort.core.errors import MissingExtra
from ringfort.core.extras import extra


def test_a_library_that_is_not_there_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tenseal", None)
    wanted = r"seals need it: pip install -c constraints.txt 'ringfort\[he\]'$"
    with pytest.raises(MissingExtra, match=wanted), extra("he", "seals need it"):
        import tenseal  # noqa: F401


def test_a_broken_installation_is_one_that_must_be_made_again(tmp_path, monkeypatch):
    (tmp_path / "half_there.py").write_text("from json import no_such_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingExtra), extra("he", "seals need it"):
        import half_there  # noqa: F401


@pytest.mark.parametrize("code", ["import ringfort.none", "from ringfort.core.extras import none"])
def test_a_fault_of_our_own_is_not_taken_for_a_missing_library(code):
    with pytest.raises(ImportError), extra("he", "seals need it"):
        exec(code)  # noqa: S102


def test_other_errors_pass():
    with pytest.raises(ZeroDivisionError), extra("he", "seals need it"):
        1 / 0  # noqa: B018
