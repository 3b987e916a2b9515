"""The pages' language, and that every word of theirs has a Chinese one."""

import re
from html.parser import HTMLParser
from pathlib import Path

import ppclas_serve
import pytest

PAGE = Path(ppclas_serve.__file__).parent / "http" / "page"
STRING = r'"((?:[^"\\\\]|\\\\.)*)"'
WORDS = dict(re.findall(rf"^  {STRING}:\s+{STRING},$", (PAGE / "words.js").read_text(), re.M))
SAME = {"curl", "Python", "openapi.json", "·", "中文", "/docs"}
"""Not translated: they are the same in both."""


@pytest.fixture(scope="module")
def server(start_server, onnx_export):
    return start_server(onnx_export, names=["fruit"])


@pytest.mark.parametrize(
    ("query", "accepted", "language"),
    [
        ("", None, "en"),
        ("", "de-DE,de;q=0.9", "en"),
        ("", "zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        ("", "en-GB;q=0.7, ZH-hans;q=0.71", "zh-CN"),
        ("", "zh;q=0,en;q=0.1", "en"),
        ("", "zh;q=much", "en"),
        ("?lang=zh", "en", "zh-CN"),
        ("?lang=en", "zh", "en"),
        ("?lang=xx", "zh", "zh-CN"),
    ],
)
def test_the_query_decides_then_the_browser(server, query, accepted, language):
    headers = {"accept-language": accepted} if accepted else {}
    for path in ("/", "/docs"):
        status, body, answered = server.ask("GET", path + query, None, headers)
        assert status == 200
        assert f'<html lang="{language}">' in body.decode()
        assert answered["content-language"] == language
        assert answered["vary"] == "Accept-Language"
        assert answered["content-type"] == "text/html; charset=utf-8"


class Texts(HTMLParser):
    """What a page says, without what needs no JavaScript or is code."""

    def __init__(self, text):
        super().__init__()
        self.found, self._inside = set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self._inside.append(tag)
        self.found |= {value for name, value in attributes if name == "aria-label"}

    def handle_endtag(self, tag):
        while self._inside and self._inside.pop() != tag:
            pass

    def handle_data(self, data):
        if data.strip() and "noscript" not in self._inside:
            self.found.add(data.strip())


def test_every_word_has_a_chinese_one_and_none_is_left_over():
    scripts = "".join((PAGE / name).read_text() for name in ("page.js", "docs.js"))
    used = set(re.findall(rf"\bt\({STRING}", scripts))
    used |= {
        word for pair in re.findall(rf"\bt\([^\"]*{STRING} : {STRING}", scripts) for word in pair
    }
    facts = re.search(r"const facts = \{(.*?)\n  \};", scripts, re.S)[1]
    used |= set(re.findall(r"^    \"?([A-Z][a-z ]+)\"?:", facts, re.M))
    for name in ("index.html", "docs.html"):
        used |= Texts((PAGE / name).read_text()).found
    assert used - SAME == set(WORDS)
    for english, chinese in WORDS.items():
        assert re.search("[一-龥]", chinese)
        assert sorted(re.findall(r"\{\d\}", english)) == sorted(re.findall(r"\{\d\}", chinese))
