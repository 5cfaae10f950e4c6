"""Uses the dashboard as a person would, in headless Chromium, and prints what it found as JSON.

dashboard.py URL TOKEN [FOLDER FOR SCREENSHOTS]
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request

PATIENCE = 20
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1200,800",
]
STRANGE = '<img src=x onerror="document.title=1">'


class Browser:
    def __init__(self, port, profile):
        self.base = f"http://127.0.0.1:{port}/session"
        options = {"binary": "/usr/bin/chromium", "args": ARGUMENTS + [f"--user-data-dir={profile}"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        session = self.ask("POST", "", {"capabilities": {"alwaysMatch": wanted}})
        self.base += "/" + session["sessionId"]

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def run(self, script, *arguments):
        return self.ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def until(self, what, script, *arguments):
        """Waits until the script returns something true, and returns it."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            found = self.run(script, *arguments)
            if found:
                return found
            time.sleep(0.02)
        sys.exit(f"did not come true: {what}\n{self.run('return document.body.innerText')}")

    def element(self, selector):
        return self.ask("POST", "/element", {"using": "css selector", "value": selector})[ELEMENT]

    def type(self, selector, text):
        element = self.element(selector)
        self.ask("POST", f"/element/{element}/clear", {})
        self.ask("POST", f"/element/{element}/value", {"text": text})

    def click(self, selector):
        self.ask("POST", f"/element/{self.element(selector)}/click", {})

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def width(self):
        return self.run("return document.documentElement.scrollWidth")


def sees(browser, selector):
    return browser.until(f"{selector} is seen", "return document.querySelector(arguments[0])?.checkVisibility()", selector)


def sign_in(browser, token):
    sees(browser, "#sign-in")
    browser.type("#token", token)
    browser.click("#sign-in button")


def create(browser, name):
    """Returns the text of the key, as it was shown this once."""
    browser.click("#new-key")
    sees(browser, "#edit[open]")
    browser.type("[name=name]", name)
    # Twice, as an impatient person does: one key all the same.
    browser.run("const form = document.querySelector('#edit-form'); form.requestSubmit(); form.requestSubmit()")
    sees(browser, "#fresh[open]")
    key = browser.text("#fresh-key")
    browser.click("#fresh [data-close]")
    browser.until("the key is gone", "return !document.querySelector('#fresh').open && !document.body.textContent.includes(arguments[0])", key)
    return key


def revoke(browser, key_id):
    rows = "[...document.querySelectorAll('#key-list article')]"
    browser.click(f"[data-key={key_id}] .actions button:last-child")
    sees(browser, "#sure[open]")
    asked = browser.text("#sure-title")
    browser.click("#sure-yes")
    browser.until("it is revoked", f"return {rows}.find(row => row.dataset.key === arguments[0]).innerText.includes('inactive')", key_id)
    return asked


def use(browser, url, token, shots):
    browser.ask("POST", "/url", {"url": url})
    sign_in(browser, "a wrong token")
    told = browser.until("the refusal is told", "return document.querySelector('#sign-in-problem').innerText")
    sign_in(browser, token)
    browser.until("no key is told", "return document.querySelector('#key-list .empty')?.innerText")
    names = ["first", STRANGE, "second"]
    keys = [create(browser, name) for name in names]
    listed = browser.run("return [...document.querySelectorAll('#key-list h3')].map(title => title.firstChild.data)")
    browser.type("#search", "second admin")
    browser.until("the search narrows", "return document.querySelectorAll('#key-list article').length === 1")
    key_id = browser.run("return document.querySelector('#key-list article').dataset.key")
    shots("keys")
    asked = revoke(browser, key_id)
    # Of everything, on a phone.
    browser.ask("POST", "/window/rect", {"width": 500, "height": 900})
    browser.run("document.querySelector('#search').value = ''; document.querySelector('#search').dispatchEvent(new Event('input'))")
    widths = [browser.width()]
    shots("keys-phone")
    browser.click("[data-key] .actions button:first-child")
    browser.until("its hour is told", "return document.querySelector('#detail-body .tile')")
    shots("detail-phone")
    browser.click("#detail [data-close]")
    for view, fact in [("usage", "#usage-body svg"), ("health", "#health-body .good")]:
        browser.run("location.hash = arguments[0]", view)
        sees(browser, fact)
        widths.append(browser.width())
        shots(view)
    title = browser.run("return document.title")
    browser.click("#sign-out")
    sign_in(browser, keys[0])
    mistaken = browser.until("a key is told to be no token", "return document.querySelector('#sign-in-problem').innerText")
    browser.ask("POST", "/refresh", {})
    sees(browser, "#sign-in")
    log = [entry["message"] for entry in browser.ask("POST", "/se/log", {"type": "browser"}) if entry["level"] == "SEVERE"]
    # The refusals of the wrong token and of the key are among them.
    log = [line for line in log if "status of 401" not in line and "status of 403" not in line]
    return {
        "told": told, "mistaken": mistaken, "keys": keys, "listed": listed, "names": names, "revoked": keys[2], "asked": asked, "title": title,
        "widest": max(widths), "log": log, "kept": browser.run("return sessionStorage.length"),
    }


def main():
    url, token = sys.argv[1:3]
    folder = sys.argv[3] if len(sys.argv) > 3 else None
    driver = subprocess.Popen(["/usr/bin/chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
    browser = None
    try:
        line = next(line for line in driver.stdout if "started successfully on port" in line)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
            browser = Browser(int(line.rstrip(".\n").split()[-1]), profile)

            def shots(name):
                if folder:
                    with open(os.path.join(folder, f"{name}.png"), "wb") as file:
                        file.write(base64.b64decode(browser.ask("GET", "/screenshot")))

            print(json.dumps(use(browser, url, token, shots)))
            browser.ask("DELETE", "")
    finally:
        driver.terminate()
        driver.wait()


main()
