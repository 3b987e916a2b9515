"""The page in a headless Chromium: pick, drop, paste, errors, narrow and wide."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time

import pytest
from ppclas_deploy.proof import proof_photos

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine"),
]
PHOTOS = proof_photos()


class Browser:
    """A headless Chromium, told what to do through its debugging pipe."""

    def __init__(self, folder):
        # Chromium reads commands from 3 and writes answers to 4.
        read_there, self._write = os.pipe()
        self._read, write_there = os.pipe()

        def hand_over():
            # Out of the way first: one of the four may be 3 or 4 itself.
            source, sink = os.dup(read_there), os.dup(write_there)
            os.dup2(source, 3)
            os.dup2(sink, 4)

        self._process = subprocess.Popen(
            [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic",
             "--no-first-run", "--disable-background-networking", "--disable-component-update",
             "--disable-sync", "--remote-debugging-pipe", f"--user-data-dir={folder}",
             "about:blank"],
            preexec_fn=hand_over, close_fds=False, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(read_there)
        os.close(write_there)
        self._number, self._buffer, self._session = 0, b"", None
        self.messages = []
        targets = self._send("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        self._session = self._send(
            "Target.attachToTarget", targetId=page["targetId"], flatten=True
        )["sessionId"]
        for domain in ("Page", "Runtime", "DOM", "Log", "Network"):
            self._send(f"{domain}.enable")

    def _receive(self):
        while b"\0" not in self._buffer:
            self._buffer += os.read(self._read, 1 << 16)
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _send(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.messages.append(answer)

    def open(self, url, width=1280, height=900, dark=False):
        self._send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._send("Emulation.setEmulatedMedia", features=[scheme])
        self._send("Page.navigate", url=url)

    def run(self, script):
        answer = self._send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait(self, script, seconds=20):
        deadline = time.monotonic() + seconds
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, f"{script}: {self.run('document.body.innerText')}"
            time.sleep(0.05)
        return value

    def pick(self, files):
        root = self._send("DOM.getDocument")["root"]["nodeId"]
        found = self._send("DOM.querySelector", nodeId=root, selector="#files")["nodeId"]
        self._send("DOM.setFileInputFiles", nodeId=found, files=[str(file) for file in files])

    def key(self, name):
        for kind in ("keyDown", "keyUp"):
            self._send("Input.dispatchKeyEvent", type=kind, key=name, code=name,
                       windowsVirtualKeyCode={"Tab": 9, "Enter": 13}[name])  # fmt: skip

    def shot(self, path):
        content = self._send("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(content))

    def complaints(self):
        """What the browser's console says: refused scripts and styles, errors."""
        return [
            m["params"] for m in self.messages
            if m["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")
        ]  # fmt: skip

    def close(self):
        with contextlib.suppress(OSError):
            self._send("Browser.close")
        self._process.wait(20)
        os.close(self._write)
        os.close(self._read)


@pytest.fixture
def browser(tmp_path):
    found = Browser(tmp_path / "profile")
    yield found
    found.close()


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
    assert reached == ["pick", "camera", "SUMMARY", "SUMMARY", "BODY"]
    nameless = browser.run(
        '[...document.querySelectorAll("button, input, select")]'
        ".filter((e) => !e.hidden && !e.textContent && !e.labels?.length).map((e) => e.id)"
    )
    assert nameless == []


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
