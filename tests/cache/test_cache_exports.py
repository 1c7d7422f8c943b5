import subprocess
import sys

import ragopt.cache


def test_every_exported_name_is_there_once():
    exported = ragopt.cache.__all__
    assert len(set(exported)) == len(exported)
    assert all(hasattr(ragopt.cache, name) for name in exported)


def test_default_guards_have_distinct_names():
    names = [guard.name for guard in ragopt.cache.DEFAULT_GUARDS]
    assert sorted(set(names)) == sorted(names)
    assert {"numbers", "polarity", "entities", "reversal", "content_words"} <= set(names)


def test_importing_the_cache_loads_nothing_heavy():
    script = (
        "import sys, ragopt.cache; "
        "print(sorted({'scipy', 'faiss', 'torch', 'sklearn', 'pickle'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = done.stdout.strip()
    assert loaded in ("[]", "['pickle']")  # numpy itself imports pickle
