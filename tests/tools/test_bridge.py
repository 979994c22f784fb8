from pathlib import Path

import pytest

from tools.bridge import Source, newer_sources

DEBIAN_SOURCES = """\
Types: deb deb-src
# where this image was made from
URIs: mirror+file:///etc/apt/mirrors/debian.list
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main
"""


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


def test_a_deb822_source_is_changed_to_the_next_release_and_keeps_its_key(apt: Path) -> None:
    (apt / "sources.list.d" / "debian.sources").write_text(DEBIAN_SOURCES)
    (source,) = newer_sources(apt)
    assert (source.suite, source.suffix) == ("trixie", ".sources")
    assert source.text.splitlines() == [
        "types: deb",
        "uris: mirror+file:///etc/apt/mirrors/debian.list",
        "suites: trixie",
        "components: main",
        "signed-by: /usr/share/keyrings/debian-archive-keyring.gpg",
    ]


def test_a_key_inside_a_source_is_kept_whole(apt: Path) -> None:
    key = (
        "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n -----END PGP PUBLIC KEY BLOCK-----"
    )
    text = DEBIAN_SOURCES.split("\n\n")[0].partition("Signed-By:")[0] + f"Signed-By:{key}\n"
    (apt / "sources.list.d" / "debian.sources").write_text(text)
    (source,) = newer_sources(apt)
    assert source.text.endswith(f"signed-by: {key.lstrip()}\n")


def test_one_line_sources_keep_their_options(apt: Path) -> None:
    (apt / "sources.list").write_text(
        "# deb http://off.example/ubuntu jammy main\n"
        "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/ubuntu/ jammy main restricted\n"
        "deb http://mirror.example/ubuntu/ jammy-updates main # fixes\n"
        "deb http://mirror.example/ubuntu/ jammy universe\n"
        "deb-src http://mirror.example/ubuntu/ jammy main\n"
    )
    line = "deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/ubuntu/ noble main\n"
    assert newer_sources(apt) == [Source("noble", ".list", line)]


def test_the_distribution_comes_before_others_who_publish_for_it(apt: Path) -> None:
    (apt / "sources.list").write_text("deb http://ppa.example/them/python jammy main\n")
    ours = "deb http://mirror.example/ubuntu jammy main\n"
    (apt / "sources.list.d" / "ubuntu.list").write_text(ours)
    assert [source.text.split()[1] for source in newer_sources(apt)] == [
        "http://mirror.example/ubuntu",
        "http://ppa.example/them/python",
    ]


@pytest.mark.parametrize(
    "text",
    [
        DEBIAN_SOURCES.replace("Types", "Enabled: no\nTypes"),
        DEBIAN_SOURCES.replace("deb deb-src", "deb-src"),
        DEBIAN_SOURCES.replace("bookworm ", "trixie "),
        DEBIAN_SOURCES.replace("main contrib", "contrib"),
    ],
)
def test_sources_that_do_not_hold_the_old_release_are_left_out(apt: Path, text: str) -> None:
    (apt / "sources.list.d" / "debian.sources").write_text(text)
    assert newer_sources(apt) == []
