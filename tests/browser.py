"""A real browser, without a window: Chromium, spoken to by its DevTools protocol."""

import asyncio
import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import aiohttp

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--remote-debugging-port=0", "--remote-allow-origins=*",
)  # fmt: skip


def find_chromium():
    """Return the browser's program, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next(filter(None, map(shutil.which, names)), None)


class Browser:
    """A page of Chromium.

    Attributes:
        complaints: errors of the console, exceptions, refused addresses and dialogs, as they came.
    """

    def __init__(self, program):
        self._directory = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._process = subprocess.Popen(
            [program, *_FLAGS, f"--user-data-dir={self._directory.name}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._loop = asyncio.new_event_loop()
        self._numbers = itertools.count(1)
        self._waiting = {}
        self._loaded = asyncio.Event()
        self.complaints = []
        self._loop.run_until_complete(self._connect())

    def open(self, path):
        """Show a file, or an address; return when it has loaded."""
        self._loaded.clear()
        is_address = str(path).startswith("http:")
        self("Page.navigate", url=path if is_address else Path(path).resolve().as_uri())
        self._loop.run_until_complete(asyncio.wait_for(self._loaded.wait(), 60))

    def run(self, script):
        """Return the value of an expression of JavaScript; what it throws is raised."""
        done = self(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True,
            userGesture=True,
        )  # fmt: skip
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def click(self, selector, number=0):
        """Click in the middle of an element, as a hand does."""
        x, y = self.run(
            f"(() => {{ const e = document.querySelectorAll({json.dumps(selector)})[{number}];"
            "e.scrollIntoView({block: 'center', inline: 'center'}); const b = e.getBoundingClientRect();"
            "return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def choose(self, selector, *files):
        """Choose files in an input, as by the window that it opens."""
        root = self("DOM.getDocument")["root"]["nodeId"]
        node = self("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def press(self, key, code):
        """Press a key."""
        text = {"text": "\r"} if key == "Enter" else {}
        self("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
        self("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def size(self, width, height):
        """Give the page another size, in CSS pixels."""
        self(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
            mobile=width < 600,
        )  # fmt: skip

    def media(self, scheme="light", kind=""):
        """Look at the page in `light` or `dark`, on the screen or in `print`."""
        self(
            "Emulation.setEmulatedMedia", media=kind,
            features=[{"name": "prefers-color-scheme", "value": scheme}],
        )  # fmt: skip

    def screenshot(self, whole=False):
        """Return what is seen, or the whole page, as a PNG."""
        return base64.b64decode(
            self("Page.captureScreenshot", format="png", captureBeyondViewport=whole,
                 **({"clip": self._clip()} if whole else {}))["data"]
        )  # fmt: skip

    def pdf(self):
        """Return the printed page."""
        return base64.b64decode(self("Page.printToPDF", printBackground=True)["data"])

    def close(self):
        """End the browser."""
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._reading)
        self._loop.run_until_complete(self._socket.close())
        self._loop.run_until_complete(self._session.close())
        self._loop.close()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        self._process.kill()
        self._process.wait()
        self._directory.cleanup()

    def __call__(self, method, **parameters):
        """Send a command of the protocol; return its result."""
        return self._loop.run_until_complete(asyncio.wait_for(self._send(method, parameters), 120))

    def _clip(self):
        box = self("Page.getLayoutMetrics")["cssContentSize"]
        return {"x": 0, "y": 0, "width": box["width"], "height": box["height"], "scale": 1}

    async def _send(self, method, parameters):
        number = next(self._numbers)
        self._waiting[number] = self._loop.create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        return await self._waiting[number]

    async def _connect(self):
        self._session = aiohttp.ClientSession()
        port = await self._until(self._port)
        page = await self._until(lambda: self._page(port))
        self._socket = await self._session.ws_connect(page, max_msg_size=0)
        self._reading = self._loop.create_task(self._read())
        for domain in ("Page", "Runtime", "Log"):
            await self._send(f"{domain}.enable", {})
        # Else its end may be taken for that of the first page that is opened.
        state = {"expression": "document.readyState"}
        while (await self._send("Runtime.evaluate", state))["result"]["value"] != "complete":
            await asyncio.sleep(0.02)

    async def _port(self):
        """Return the port, once it is there."""
        file = Path(self._directory.name) / "DevToolsActivePort"
        words = file.read_text().split() if file.is_file() else []
        return int(words[0]) if len(words) > 1 else None  # the second is a path

    async def _page(self, port):
        """Return the address of the empty page, which may come later than the port."""
        async with self._session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            pages = [one for one in await answer.json() if one["type"] == "page"]
        return pages[0]["webSocketDebuggerUrl"] if pages else None

    async def _until(self, look):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            found = await look()
            if found:
                return found
            assert self._process.poll() is None, "Chromium has ended"
            await asyncio.sleep(0.05)
        raise TimeoutError("Chromium did not start")

    async def _read(self):
        async for message in self._socket:
            content = json.loads(message.data)
            if "id" in content:
                future = self._waiting.pop(content["id"])
                if "error" in content:
                    future.set_exception(RuntimeError(content["error"]["message"]))
                else:
                    future.set_result(content["result"])
                continue
            self._note(content["method"], content.get("params", {}))

    def _note(self, event, facts):
        if event == "Page.loadEventFired":
            self._loaded.set()
        elif event == "Runtime.exceptionThrown":
            self.complaints.append(facts["exceptionDetails"])
        elif event == "Runtime.consoleAPICalled" and facts["type"] in ("error", "warning"):
            self.complaints.append(facts["args"])
        elif event == "Log.entryAdded" and facts["entry"]["level"] in ("error", "warning"):
            self.complaints.append(facts["entry"]["text"])
        elif event == "Page.javascriptDialogOpening":
            self.complaints.append(facts["message"])
            self._loop.create_task(self._send("Page.handleJavaScriptDialog", {"accept": True}))
