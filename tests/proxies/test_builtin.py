"""Text that arrives as packages."""

from functools import cache
from importlib.metadata import PackageNotFoundError, distribution

import pytest

from proxies.builtin import registry
from proxies.builtin.registry import BUILTIN, Package
from proxies.corpora import Source, read


def needs(name: str) -> None:
    package = BUILTIN[name].package
    if package:
        try:
            distribution(package.name)
        except PackageNotFoundError:
            pytest.skip(f"{package.name} isn't installed: pip install 'mixopt[demo]'")


@cache
def loaded(name: str) -> list[str]:
    return BUILTIN[name].load()


@pytest.mark.parametrize("name", BUILTIN)
def test_a_builtin_text_is_about_as_long_as_it_says_and_free_of_problems(name):
    needs(name)
    documents = read(Source(builtin=name))
    texts = list(documents)
    counts = documents.counts
    # Python's own text and the docstrings change with the installed versions.
    assert counts.bytes == pytest.approx(BUILTIN[name].bytes, rel=0.1 if BUILTIN[name].package else 0.5)
    assert counts.bad_utf8 == counts.empty == 0
    assert "\ufffd" not in "".join(texts[:100])
    assert documents.versions
    assert len(set(texts)) > 0.98 * len(texts)


@pytest.mark.parametrize("name", ["scripture", "medical", "reference"])
def test_a_builtin_text_is_the_same_every_time(name):
    needs(name)
    assert BUILTIN[name].load() == loaded(name)


def test_known_passages_stand_where_they_should():
    known = {
        "encyclopedia": "2001: A Space Odyssey is a 1968 epic science fiction film",
        "scripture": "In the beginning God created the heavens and the earth.\nAnd the earth was without form",
        "medical": "A00.1 Cholera due to Vibrio cholerae 01, biovar eltor\n  Cholera eltor",
        "legal": 'THE SOFTWARE IS PROVIDED "AS IS"',
        "quotes": "limerick",
        "reference": 'The "assert" statement',
    }
    for name, passage in known.items():
        needs(name)
        assert any(passage in text for text in loaded(name)), name


def test_scripture_has_its_1189_chapters():
    needs("scripture")
    assert len(loaded("scripture")) == 1189


def test_offensive_fortunes_are_left_out():
    needs("quotes")
    package = BUILTIN["quotes"].package
    assert package
    names = [path.name for path in package.files()]
    assert "fortunes" in names
    assert not [name for name in names if name.endswith(("-o", ".dat"))]


def test_licences_share_few_paragraphs():
    needs("legal")
    paragraphs = [p for text in loaded("legal") for p in text.split("\n\n") if len(p) > 300]
    assert len(set(paragraphs)) > 0.99 * len(paragraphs)


def test_an_unknown_name_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match="there are encyclopedia, french"):
        read(Source(builtin="encyclopaedia"))


def test_an_absent_package_is_refused_with_the_extra_to_install():
    with pytest.raises(ValueError, match=r"pip install 'mixopt\[demo\]'"):
        Package("no-such-package-here", "1", "x", "0").files()


def test_another_version_is_refused_with_both_versions():
    found = distribution("numpy").version
    with pytest.raises(ValueError, match=f"numpy 0.0.1 is expected, {found} is installed"):
        Package("numpy", "0.0.1", "x", "0").files()


def test_changed_files_are_refused():
    with pytest.raises(ValueError, match="its files were changed"):
        Package("numpy", distribution("numpy").version, r"^numpy/__init__\.py$", "0" * 64).files()


def test_the_fingerprint_tells_contents_and_names_apart(tmp_path):
    def of(name, data):
        (tmp_path / name).write_bytes(data)
        return registry.fingerprint([tmp_path / name])

    assert len({of("a", b"1"), of("a", b"2"), of("b", b"1"), registry.fingerprint([tmp_path / "gone"])}) == 4
