"""The page in a headless Chromium: pick, drop, paste, errors, narrow and wide."""

import base64
import json
import re

import pytest
from ppclas_deploy.proof import proof_photos

pytestmark = pytest.mark.slow
PHOTOS = proof_photos()


@pytest.fixture(scope="module")
def server(start_server, onnx_export):
    return start_server(onnx_export, names=["fruit"])


def files_of(photos):
    """JavaScript: a DataTransfer with the photos."""
    encoded = [[path.name, base64.b64encode(path.read_bytes()).decode()] for path in photos]
    return f"""(() => {{
      const held = new DataTransfer();
      for (const [name, text] of {json.dumps(encoded)}) {{
        const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
        held.items.add(new File([bytes], name, {{ type: "image/jpeg" }}));
      }}
      return held;
    }})()"""


ANSWERED = 'document.querySelectorAll("#answers > li:not([aria-busy])").length'
HEADS = '[...document.querySelectorAll("#answers h2")].map((h) => h.textContent)'


def right(server, photos):
    found = []
    for photo in photos:
        _, content = server.json("POST", "/v1/predict", photo.read_bytes())
        found.append(content["predictions"][0]["label"])
    return found


def test_photos_are_picked_dropped_and_pasted(browser, server):
    browser.open(f"http://127.0.0.1:{server.port}/")
    browser.wait('document.getElementById("state")?.textContent === "Ready"')
    browser.pick(PHOTOS[:3])
    browser.wait(f"{ANSWERED} === 3")
    assert browser.run(HEADS) == right(server, PHOTOS[:3])
    browser.run(
        f'document.dispatchEvent(new DragEvent("drop", {{ bubbles: true, cancelable: true, '
        f"dataTransfer: {files_of(PHOTOS[3:5])} }}))"
    )
    browser.wait(f"{ANSWERED} === 5")
    browser.run(
        f'document.dispatchEvent(new ClipboardEvent("paste", {{ bubbles: true, '
        f"clipboardData: {files_of(PHOTOS[5:6])} }}))"
    )
    browser.wait(f"{ANSWERED} === 6")
    # The newest come first.
    newest = [*PHOTOS[5:6], *PHOTOS[3:5], *PHOTOS[:3]]
    assert browser.run(HEADS) == right(server, newest)
    assert browser.run('document.getElementById("said").textContent') == "1 of 1 photo answered."
    # Nothing was refused by the content policy, and nothing came from elsewhere.
    assert browser.complaints() == []
    asked = [
        m["params"]["request"]["url"] for m in browser.messages
        if m["method"] == "Network.requestWillBeSent"
    ]  # fmt: skip
    assert asked
    assert all(url.startswith((f"http://127.0.0.1:{server.port}/", "blob:")) for url in asked)


def test_what_is_no_photo_is_said_beside_it(browser, server, tmp_path):
    (tmp_path / "notes.jpg").write_text("no photo")
    browser.open(f"http://127.0.0.1:{server.port}/")
    browser.wait('document.getElementById("state")?.textContent === "Ready"')
    browser.pick([tmp_path / "notes.jpg", PHOTOS[0]])
    browser.wait(f"{ANSWERED} === 2")
    bad = browser.run('document.querySelector("#answers li.bad").textContent')
    assert "No answer" in bad
    assert "it looks like text" in bad
    assert browser.run('document.getElementById("said").textContent') == "1 of 2 photos answered."


@pytest.mark.parametrize(
    ("metrics", "classes", "said"),
    [
        ({"epoch": 0, "loss": 0.04, "top1": 1.0, "top5": 1.0, "ece": 0.03, "num_images": 40}, 5,
         "top-1 100.00%, on 40 validation photos"),
        ({"top1": 0.71234, "top5": 0.9, "macro_f1": 0.7, "num_images": 500}, 1000,
         "top-1 71.23%, top-5 90.00%, macro F1 70.00%, on 500 validation photos"),
        ({"epoch": 3, "loss": 0.5, "map": 0.8125}, 8, "mAP 81.25%"),
        ({"epoch": 3, "loss": 0.5}, 8, None),
    ],
)  # fmt: skip
def test_accuracy_is_per_cent_and_other_numbers_are_not_called_so(
    browser, server, metrics, classes, said
):
    browser.open(f"http://127.0.0.1:{server.port}/")
    browser.wait('document.getElementById("state")?.textContent === "Ready"')
    known = json.dumps({"metrics": metrics, "classes": classes})
    browser.run(f"Object.assign(chosen(), {known}); showModel()")
    facts = browser.run(
        'Object.fromEntries([...document.querySelectorAll("#card dt")]'
        ".map((name) => [name.textContent, name.nextSibling.textContent]))"
    )
    assert facts.get("Accuracy") == said
    assert facts["Classes"] == str(classes)


def test_a_token_is_asked_for_once(browser, start_server, onnx_export):
    server = start_server(onnx_export, token="geheim", names=["fruit"])
    browser.open(f"http://127.0.0.1:{server.port}/")
    browser.wait('document.getElementById("ask")?.open')
    browser.run('document.getElementById("token").value = "geheim"')
    browser.run('document.querySelector("#ask button").click()')
    browser.wait('document.getElementById("state")?.textContent === "Ready"')
    browser.pick(PHOTOS[:1])
    browser.wait(f"{ANSWERED} === 1")
    assert browser.run('document.querySelectorAll("#answers li.bad").length') == 0


def test_the_keyboard_reaches_everything_that_can_be_done(browser, server):
    browser.open(f"http://127.0.0.1:{server.port}/")
    browser.wait('document.getElementById("state")?.textContent === "Ready"')
    reached = []
    for _ in range(5):
        browser.key("Tab")
        reached.append(browser.run("document.activeElement.id || document.activeElement.tagName"))
    assert reached == ["language", "pick", "camera", "SUMMARY", "SUMMARY"]
    nameless = browser.run(
        '[...document.querySelectorAll("button, input, select")]'
        ".filter((e) => !e.hidden && !e.textContent && !e.labels?.length).map((e) => e.id)"
    )
    assert nameless == []


def test_the_evidence_is_shown_and_the_photo_again(browser, server, tmp_path):
    browser.open(f"http://127.0.0.1:{server.port}/")
    browser.wait('document.getElementById("state")?.textContent === "Ready"')
    browser.pick(PHOTOS[:1])
    browser.wait(f"{ANSWERED} === 1")
    button = 'document.querySelector(".heat")'
    assert browser.run(f"{button}.textContent") == "Show the evidence"
    browser.run(f"{button}.click()")
    shown = 'document.querySelector(".map")'
    browser.wait(f"!{shown}.hidden")
    # The map has the size of what the model sees.
    browser.wait(f'{shown}.naturalWidth + "x" + {shown}.naturalHeight === "64x48"')
    (label,) = right(server, PHOTOS[:1])
    said = browser.run('document.querySelector(".where").textContent')
    assert said == f"Red: where covering the photo makes “{label}” less likely."
    browser.shot(tmp_path / "heat.png")
    browser.run(f"{button}.click()")
    assert browser.run('document.querySelector(".map").hidden') is True
    assert browser.run('document.querySelector(".photo").hidden') is False
    assert browser.complaints() == []


@pytest.mark.parametrize("width", [400, 1280])
def test_the_page_speaks_chinese(browser, server, tmp_path, width):
    browser.open(f"http://127.0.0.1:{server.port}/?lang=zh", width=width)
    browser.wait('document.getElementById("state")?.textContent === "就绪"')
    (tmp_path / "notes.jpg").write_text("no photo")
    browser.pick([*PHOTOS[:2], tmp_path / "notes.jpg"])
    browser.wait(f"{ANSWERED} === 3")
    said = browser.run('document.getElementById("said").textContent')
    assert said == "3 张照片中有 2 张得到结果。"
    assert browser.run(HEADS) == [*right(server, PHOTOS[:2]), "没有结果"]
    # What is left of English: names, and what the server itself says.
    own = browser.run(
        '[...document.querySelectorAll("h1, dt, button, summary, strong, #drop p, .answer .time")]'
        ".filter((e) => !e.closest('.bad')).map((e) => e.textContent)"
    )
    assert [text for text in own if not re.search("[一-龥]", text)] == []
    assert browser.run("document.documentElement.scrollWidth") <= width
    browser.shot(tmp_path / "chinese.png")
    browser.run('document.querySelector("a.page").click()')
    browser.wait('document.querySelectorAll("#paths details").length')
    assert browser.run("document.title") == "API 说明"
    browser.run('document.getElementById("language").click()')
    browser.wait('document.title === "The API"')


@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_window_and_text_can_be_read(
    browser, server, tmp_path, width, dark
):
    browser.open(f"http://127.0.0.1:{server.port}/", width=width, dark=dark)
    browser.wait('document.getElementById("state")?.textContent === "Ready"')
    browser.pick(PHOTOS[:2])
    browser.wait(f"{ANSWERED} === 2")
    assert browser.run("document.documentElement.scrollWidth") <= width
    contrast = browser.run("""(() => {
      const light = (colour) => {
        const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((v) => v / 255)
          .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
      };
      const ground = (e) => {
        for (; e; e = e.parentElement) {
          const colour = getComputedStyle(e).backgroundColor;
          if (!/, 0\\)$/.test(colour)) return colour;
        }
        return "rgb(255, 255, 255)";
      };
      const worst = [...document.querySelectorAll("h1,h2,p,button,dt,dd,.name,.share,summary,pre")]
        .filter((e) => e.offsetParent).map((e) => {
          const [a, b] = [light(getComputedStyle(e).color), light(ground(e))];
          return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        });
      return Math.min(...worst);
    })()""")
    assert contrast >= 4.5  # WCAG AA
    browser.shot(tmp_path / "page.png")


def test_the_api_page_lists_every_path_of_the_description(browser, server):
    browser.open(f"http://127.0.0.1:{server.port}/docs", width=400)
    browser.wait('document.querySelectorAll("#paths details").length')
    shown = browser.run(
        '[...document.querySelectorAll("#paths summary code")].map((e) => e.textContent)'
    )
    paths = json.loads(server.ask("GET", "/openapi.json")[1])["paths"]
    assert sorted(shown) == sorted(path for path, methods in paths.items() for _ in methods)
    assert browser.run("document.documentElement.scrollWidth") <= 400
    assert browser.complaints() == []
