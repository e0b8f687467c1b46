"""A headless Chromium, driven by chromedriver over its HTTP API (WebDriver)."""

import base64
import http.client
import json
import subprocess
import tempfile
import time

FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--lang=en",
]
PATIENCE_S = 30


class Browser:
    def __init__(self, port):
        self._port = port
        self._profile = tempfile.TemporaryDirectory(prefix="larder-chromium-", ignore_cleanup_errors=True)
        self._driver = subprocess.Popen(["chromedriver", f"--port={port}"], stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                if self._call("GET", "/status")["ready"]:
                    break
            except OSError:
                pass
            if time.monotonic() > until or self._driver.poll() is not None:
                raise RuntimeError("chromedriver does not answer")
            time.sleep(0.1)
        capabilities = {"browserName": "chrome", "goog:loggingPrefs": {"browser": "ALL"},
                        "goog:chromeOptions": {"args": [*FLAGS, f"--user-data-dir={self._profile.name}"]}}
        answer = self._call("POST", "/session", {"capabilities": {"alwaysMatch": capabilities}})
        self._session = f"/session/{answer['sessionId']}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self._call("DELETE", self._session)
        except (OSError, RuntimeError):
            pass
        self._driver.terminate()
        self._driver.wait(PATIENCE_S)
        self._profile.cleanup()

    def _call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            connection.request(method, path, None if body is None else json.dumps(body),
                               {"Content-Type": "application/json"})
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise RuntimeError(f"{path}: {value['error']}: {value['message']}")
        return value

    def go(self, url):
        self._call("POST", self._session + "/url", {"url": url})

    def run(self, script, *args):
        """What the function body `script` returns in the page."""
        return self._call("POST", self._session + "/execute/sync", {"script": script, "args": list(args)})

    def run_async(self, script, *args):
        """The same for one that calls its last argument with the result."""
        return self._call("POST", self._session + "/execute/async", {"script": script, "args": list(args)})

    def wait_for(self, what, expression, patience_s=PATIENCE_S):
        """Waits until the expression is true in the page, and returns it; says so when that does not happen."""
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            value = self.run(f"return {expression};")
            if value:
                return value
            time.sleep(0.1)
        raise AssertionError(f"{what}: not within {patience_s} s: {expression}\n" + self.run("return document.body.innerText;"))

    def window(self, width, height):
        self._call("POST", self._session + "/window/rect", {"width": width, "height": height})

    def devtools(self, command, **parameters):
        return self._call("POST", self._session + "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def complaints(self):
        """What the browser wrote to its console since the last call."""
        return [entry["message"] for entry in self._call("POST", self._session + "/se/log", {"type": "browser"})]

    def screenshot(self, path):
        with open(path, "wb") as file:
            file.write(base64.b64decode(self._call("GET", self._session + "/screenshot")))
