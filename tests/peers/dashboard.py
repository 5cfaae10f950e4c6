"""Uses the dashboard as a person would, in headless Chromium, and prints what it found as JSON.

dashboard.py URL TRAFFIC_URL TOKEN [FOLDER FOR SCREENSHOTS]
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

PATIENCE = 20
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1200,800",
]
ESCAPE = "\ue00c"
USED = "document.querySelector('#detail-body .tile strong')?.innerText"
# Asks again until the hour has what was used of it.
USED_HOUR = f"const used = {USED}; if (used === '0') document.querySelector('[aria-label=\"Usage first\"]').click(); return used > '0'"
# Reports know of a request a moment after it.
SEEN_AFRESH = """
const found = document.querySelector(arguments[0])?.checkVisibility();
if (!found) document.querySelector('#since').dispatchEvent(new Event('change'));
return found"""
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

    def press(self, key):
        keys = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self.ask("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": keys}]})

    def devtools(self, command, parameters):
        self.ask("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

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
    close_fresh(browser, key)
    return key


def close_fresh(browser, key):
    browser.click("#fresh [data-close]")
    browser.until("the key is gone", "return !document.querySelector('#fresh').open && !document.body.textContent.includes(arguments[0])", key)


def rotate_pressing_escape(browser, name):
    """Returns what is told to one who presses Escape before the new key is kept, and where the focus is in the end."""
    browser.run("[...document.querySelectorAll('[data-action=Rotate]')].find(button => button.ariaLabel === arguments[0]).click()", f"Rotate {name}")
    sees(browser, "#sure[open]")
    browser.click("#sure-yes")
    sees(browser, "#fresh[open]")
    browser.until("it is no more asked", "return !document.querySelector('#sure').open")
    browser.press(ESCAPE)
    browser.press(ESCAPE)
    told = browser.until("it is asked", "return document.querySelector('#fresh').open && document.querySelector('#fresh-ask').innerText")
    close_fresh(browser, browser.text("#fresh-key"))
    browser.until("the focus is back", "return document.activeElement !== document.body")
    return told, browser.run("return document.activeElement.ariaLabel")


def status(url, key):
    request = urllib.request.Request(url + "some/path", headers={"Authorization": f"Bearer {key}"})
    try:
        return urllib.request.urlopen(request, timeout=10).status
    except urllib.error.HTTPError as refusal:
        return refusal.code


def decisions(browser, shots):
    """Returns what is told of the refusals, and how many there are of one kind alone."""
    browser.run("location.hash = '#/decisions'")
    refused = browser.until("the refusal is told", "const text = document.querySelector('#decision-list').innerText; return text.includes('revoked') && text")
    shots("decisions")
    choose = "const why = document.querySelector('#reason'); why.value = arguments[0]; why.dispatchEvent(new Event('change', { bubbles: true }))"
    browser.run(choose, "missing_key")
    browser.until("there is none of it", "return document.querySelector('#decision-list .empty')")
    browser.run(choose, "revoked")
    browser.until("it is there again", "return document.querySelector('#decision-list tbody tr')")
    return refused, browser.run("return document.querySelectorAll('#decision-list tbody tr').length")


def live(browser, refuse):
    """Returns how many refusals are shown after another one, after one while it is paused, and after that."""
    count = "document.querySelectorAll('#decision-list tbody tr').length"
    refuse()
    browser.until("the next is told by itself", f"return {count} === 2")
    shown = [browser.run(f"return {count}")]
    browser.click("#pause")
    # Nobody asks while it is paused: what would be asked at once is held against it.
    browser.run("window.asked = 0; window.whole = fetch; window.fetch = (...what) => { asked += 1; return whole(...what); }")
    refuse()
    browser.run("document.dispatchEvent(new Event('visibilitychange'))")
    shown.append(browser.run(f"return asked === 0 ? {count} : 'it asked'"))
    browser.click("#pause")
    browser.until("it goes on", f"return {count} === 3")
    browser.run("window.fetch = whole")
    return [*shown, browser.run(f"return {count}")]


def saved(browser, format):
    """Returns the file that the button brings."""
    with tempfile.TemporaryDirectory() as folder:
        browser.devtools("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": folder})
        browser.click(f"[data-export={format}]")
        file = os.path.join(folder, f"usage.{format}")
        deadline = time.monotonic() + PATIENCE
        while not os.path.exists(file):
            if time.monotonic() > deadline:
                sys.exit(f"nothing was saved: {os.listdir(folder)}")
            time.sleep(0.02)
        with open(file) as rows:
            return rows.read()


def half_of_usage(browser):
    """Returns what is told when one report fails; the others are there all the same."""
    browser.run(
        "window.whole = fetch; window.fetch = (url, init) => url.includes('/usage/top') ? Promise.reject(new TypeError()) : whole(url, init);"
        "document.querySelector('#since').dispatchEvent(new Event('change'))")
    told = browser.until("it is told", "return document.querySelector('#usage-body .chart') && document.querySelector('#usage-body .problem')?.innerText")
    browser.run("window.fetch = whole; document.querySelector('#since').dispatchEvent(new Event('change'))")
    browser.until("it is whole again", "return document.querySelector('#usage-body table') && !document.querySelector('#usage-body .problem')")
    return told


def revoke(browser, key_id):
    rows = "[...document.querySelectorAll('#key-list article')]"
    browser.click(f"[data-key={key_id}] .actions button:last-child")
    sees(browser, "#sure[open]")
    asked = browser.text("#sure-title")
    browser.click("#sure-yes")
    browser.until("it is revoked", f"return {rows}.find(row => row.dataset.key === arguments[0]).innerText.includes('revoked')", key_id)
    return asked


def use(browser, url, traffic, token, shots):
    browser.ask("POST", "/url", {"url": url})
    sign_in(browser, "\u0142")
    unsendable = browser.until("it is told", "return document.querySelector('#sign-in-problem').innerText")
    sign_in(browser, "a wrong token")
    told = browser.until("the refusal is told", "return document.querySelector('#sign-in-problem').innerText.includes('good') && document.querySelector('#sign-in-problem').innerText")
    sign_in(browser, token)
    browser.until("no key is told", "return document.querySelector('#key-list .empty')?.innerText")
    names = ["first", STRANGE, "second"]
    keys = [create(browser, name) for name in names]
    listed = browser.run("return [...document.querySelectorAll('#key-list h3')].map(title => title.firstChild.data)")
    kept_by_escape, focus = rotate_pressing_escape(browser, "first")
    browser.type("#search", "second admin")
    browser.until("the search narrows", "return document.querySelectorAll('#key-list article').length === 1")
    key_id = browser.run("return document.querySelector('#key-list article').dataset.key")
    shots("keys")
    asked = revoke(browser, key_id)
    deadline = time.monotonic() + PATIENCE
    while status(traffic, keys[2]) != 401:
        if time.monotonic() > deadline:
            sys.exit("the revoked key still works")
        time.sleep(0.02)
    status(traffic, keys[0])
    # Of everything, on a phone.
    browser.devtools("Emulation.setDeviceMetricsOverride", {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True})
    browser.run("document.querySelector('#search').value = ''; document.querySelector('#search').dispatchEvent(new Event('input'))")
    widths = [browser.width()]
    shots("keys-phone")
    browser.click("[aria-label='Usage first']")
    browser.until("its hour is told as used", USED_HOUR)
    shots("detail-phone")
    browser.run("document.querySelector('#detail .spaced button').click()")
    sees(browser, "#sure[open]")
    browser.click("#sure-yes")
    reset = browser.until("the hour begins anew", "return !document.querySelector('#sure').open && " + f"{USED} === '0'")
    browser.click("#detail [data-close]")
    for view, fact in [("usage", "#usage-body .lines"), ("health", "#health-body .good")]:
        browser.run("location.hash = arguments[0]", f"#/{view}")
        browser.until(f"{fact} is seen", SEEN_AFRESH, fact)
        widths.append(browser.width())
        shots(f"{view}-phone")
    refused, filtered = decisions(browser, shots)
    widths.append(browser.width())
    told_live, paused, resumed = live(browser, lambda: status(traffic, keys[2]))
    browser.devtools("Emulation.setDeviceMetricsOverride", {"width": 1200, "height": 800, "deviceScaleFactor": 1, "mobile": False})
    browser.run("location.hash = '#/usage'")
    half = half_of_usage(browser)
    rows = saved(browser, "csv")
    scrolled = browser.run("return scrollY")
    shots("usage")
    browser.devtools("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    for view, fact in [("decisions", "#decision-list tr"), ("usage", "#usage-body .chart"), ("keys", "#key-list article")]:
        browser.run("location.hash = arguments[0]", f"#/{view}")
        sees(browser, fact)
        shots(f"{view}-dark")
    title = browser.run("return document.title")
    browser.click("#sign-out")
    left_in_page = browser.run("return document.querySelectorAll('#key-list article, #decision-list tr, #usage-body > *, #detail-body > *').length")
    sign_in(browser, keys[0])
    mistaken = browser.until("a key is told to be no token", "return document.querySelector('#sign-in-problem').innerText")
    browser.ask("POST", "/refresh", {})
    sees(browser, "#sign-in")
    log = [entry["message"] for entry in browser.ask("POST", "/se/log", {"type": "browser"}) if entry["level"] == "SEVERE"]
    # The refusals of the wrong token and of the key are among them.
    log = [line for line in log if "status of 401" not in line and "status of 403" not in line]
    return {
        "told": told, "mistaken": mistaken, "keys": keys, "listed": listed, "names": names, "revoked": keys[2], "asked": asked, "title": title,
        "unsendable": unsendable, "kept_by_escape": kept_by_escape, "focus": focus, "reset": reset, "refused": refused, "filtered": filtered,
        "live": told_live, "paused": paused, "resumed": resumed, "saved": rows, "half": half, "scrolled": scrolled, "left_in_page": left_in_page, "widest": max(widths), "log": log, "kept": browser.run("return sessionStorage.length"),
    }


def main():
    url, traffic, token = sys.argv[1:4]
    folder = sys.argv[4] if len(sys.argv) > 4 else None
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

            print(json.dumps(use(browser, url, traffic, token, shots)))
            browser.ask("DELETE", "")
    finally:
        driver.terminate()
        driver.wait()


main()
