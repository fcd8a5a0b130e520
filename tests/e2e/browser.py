"""A headless Chromium, driven over its DevTools pipe: one page, JavaScript
evaluated in it. Nothing but the browser itself is needed."""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time


def program():
    """The browser's path, or None."""
    for name in "chromium", "chromium-browser", "google-chrome":
        path = shutil.which(name)
        if path:
            return path
    return None


class Browser:
    """Messages are JSON texts that end with a zero byte, to the browser on its
    descriptor 3 and from it on 4."""

    def __init__(self, size=(1200, 900), dark=False, user=None):
        self.profile = tempfile.mkdtemp(prefix="marmot-browser-")
        to_read, self.to = os.pipe()
        self.back, back_write = os.pipe()
        # Out of the way of 3 and 4 before they become them.
        to_read, back_write = (fcntl.fcntl(fd, fcntl.F_DUPFD, 20)
                               for fd in (to_read, back_write))

        def descriptors():
            os.setsid()  # to end it with all that it starts
            os.dup2(to_read, 3)
            os.dup2(back_write, 4)

        self.process = subprocess.Popen(
            [program(), "--headless=new", "--no-sandbox", "--disable-gpu",
             "--disable-dev-shm-usage", "--remote-debugging-pipe",
             "--no-first-run", "--disable-background-networking",
             f"--user-data-dir={self.profile}",
             f"--window-size={size[0]},{size[1]}", "about:blank"],
            preexec_fn=descriptors, close_fds=False, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_read)
        os.close(back_write)
        self.numbers, self.bytes, self.events = 0, b"", []
        self.user = user  # name and password for whoever asks
        target = [t for t in self.call("Target.getTargets")["targetInfos"]
                  if t["type"] == "page"][0]
        self.session = None
        self.session = self.call("Target.attachToTarget",
                                 targetId=target["targetId"],
                                 flatten=True)["sessionId"]
        self.call("Page.enable")
        self.call("Runtime.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=size[0],
                  height=size[1], deviceScaleFactor=1, mobile=size[0] < 600)
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme",
             "value": "dark" if dark else "light"}])
        if user:
            self.call("Fetch.enable", handleAuthRequests=True)

    session = None

    def _send(self, method, **params):
        self.numbers += 1
        message = {"id": self.numbers, "method": method, "params": params}
        if self.session and not method.startswith("Target."):
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        return self.numbers

    def _receive(self, end):
        while b"\0" not in self.bytes:
            ready, _, _ = select.select([self.back], [], [],
                                        max(0, end - time.monotonic()))
            if not ready:
                raise TimeoutError("the browser does not answer")
            data = os.read(self.back, 1 << 20)
            if not data:
                raise EOFError("the browser has ended")
            self.bytes += data
        text, self.bytes = self.bytes.split(b"\0", 1)
        message = json.loads(text)
        self._react(message)
        return message

    def _react(self, message):
        method, params = message.get("method"), message.get("params", {})
        if method == "Fetch.requestPaused":
            self._send("Fetch.continueRequest", requestId=params["requestId"])
        elif method == "Fetch.authRequired":
            self._send("Fetch.continueWithAuth", requestId=params["requestId"],
                       authChallengeResponse={
                           "response": "ProvideCredentials",
                           "username": self.user[0], "password": self.user[1]})
        elif method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
            self.events.append(message)

    def call(self, method, timeout=30, **params):
        number = self._send(method, **params)
        end = time.monotonic() + timeout
        while True:
            message = self._receive(end)
            if message.get("id") == number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]

    def open(self, url):
        self.call("Page.navigate", url=url)

    def value(self, expression):
        """What a JavaScript expression gives in the page."""
        result = self.call("Runtime.evaluate", expression=expression,
                           returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(str(result["exceptionDetails"]))
        return result["result"].get("value")

    def wait(self, expression, timeout=20):
        """Poll until the expression is true; returns its last value."""
        end = time.monotonic() + timeout
        while True:
            value = self.value(expression)
            if value or time.monotonic() > end:
                return value
            time.sleep(0.1)

    def click(self, selector):
        """A real click of the mouse in the middle of the element."""
        box = self.value(f"""(() => {{
            const e = document.querySelector({json.dumps(selector)});
            e.scrollIntoView({{block: "center"}});
            const r = e.getBoundingClientRect();
            return [r.x + r.width / 2, r.y + r.height / 2]; }})()""")
        for kind in "mousePressed", "mouseReleased":
            self.call("Input.dispatchMouseEvent", type=kind, x=box[0], y=box[1],
                      button="left", clickCount=1)

    def screenshot(self, path):
        data = self.call("Page.captureScreenshot",
                         captureBeyondViewport=True)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))

    def close(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        os.close(self.to)
        os.close(self.back)
        shutil.rmtree(self.profile, ignore_errors=True)
