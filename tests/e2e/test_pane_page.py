"""The dashboard in a real browser.

The screenshots are kept: build/dashboard-*.png."""

import unittest

import browser
import marmot
import pane
from case import Case

ROWS = "CREATE TABLE rows(tag, n)"


@unittest.skipUnless(browser.program(), "chromium is not installed")
class Page(Case):
    def open(self, node, **options):
        page = browser.Browser(**options)
        self.addCleanup(page.close)
        page.open(f"http://127.0.0.1:{node.pane}/")
        self.assertTrue(page.wait(
            "document.getElementById('live')?.textContent === 'live'"),
            page.events)
        return page

    def shown_leader(self, page, shard):
        return page.value(
            f"document.querySelector('[data-key^=\"move-{shard}-\"].leads')"
            "?.textContent")

    def screenshot(self, page, name):
        marmot.BUILD.mkdir(exist_ok=True)
        page.screenshot(marmot.BUILD / f"dashboard-{name}.png")

    def test_the_page_lives_and_moves_a_leader(self):
        """It loads; a transaction appears; a click moves a leader; after the
        death of a leader the new one appears, without a reload."""
        cluster = self.rows_cluster(3)
        session = cluster.session(1)
        session.sql("INSERT INTO rows VALUES('page', 1)")
        page = self.open(cluster[1])
        text = page.value("document.body.innerText")
        for part in ("node 1", "leader", "main", "ready", "connected",
                     f"127.0.0.1:{cluster[2].port}"):
            self.assertIn(part, text)
        self.assertEqual(page.value(
            "document.querySelectorAll('#groups tbody tr').length"), 16)

        session.sql("INSERT INTO rows VALUES('page', 2)")
        position = session.value("PRAGMA marmot_position")
        self.assertTrue(page.wait(
            f"document.body.innerText.includes('{position}')"), position)

        home = pane.leaders(cluster[1])[0]
        to = home % 3 + 1
        page.click(f"[data-key='move-0-{to}']")
        self.assertTrue(marmot.eventually(
            lambda: pane.leaders(cluster[1])[0] == to))
        self.assertTrue(page.wait(
            f"document.querySelector('[data-key=\"move-0-{to}\"]')"
            ".classList.contains('leads')"))
        self.screenshot(page, "light")

        dead = next(n for n in (2, 3)
                    if n in pane.leaders(cluster[1]).values())
        group = next(shard for shard, leader
                     in pane.leaders(cluster[1]).items() if leader == dead)
        cluster[dead].kill()
        self.assertTrue(page.wait(
            "document.getElementById('peers').innerText"
            ".includes('not connected')"))
        self.assertTrue(page.wait(
            f"![undefined, '{dead}'].includes(document.querySelector("
            f"'[data-key^=\"move-{group}-\"].leads')?.textContent)"))
        self.assertNotEqual(self.shown_leader(page, group), str(dead))
        self.assertEqual(page.events, [])

    def test_it_says_when_its_node_is_gone_and_comes_back(self):
        """The page itself notices both."""
        cluster = self.cluster(1)
        page = self.open(cluster[1])
        cluster[1].kill()
        self.assertTrue(page.wait(
            "document.getElementById('live').textContent"
            ".includes('no connection')"))
        cluster[1].start().wait_ready()
        self.assertTrue(page.wait(
            "document.getElementById('live').textContent === 'live'"))

    def test_shuffle_and_a_refusal_are_told(self):
        """The button works, and what the node answers is shown."""
        cluster = self.cluster(3)
        page = self.open(cluster[1])
        page.click("#shuffle")
        self.assertTrue(page.wait("document.getElementById('said').innerText"
                                  ".includes('spread')"))
        page.value("change('/move/cluster/99/node/1', 'x')")
        self.assertIn("no shard 99", page.value(
            "document.getElementById('said').innerText"))

    def test_it_fits_a_phone_and_the_dark(self):
        """Nothing is wider than a narrow window; colours follow the system."""
        cluster = self.rows_cluster(3)
        light = self.open(cluster[1], size=(360, 740))
        dark = self.open(cluster[2], size=(360, 740), dark=True)
        for page in light, dark:
            self.assertLessEqual(page.value(
                "document.documentElement.scrollWidth"), 360)
        colours = [page.value("getComputedStyle(document.body).backgroundColor")
                   for page in (light, dark)]
        self.assertNotEqual(colours[0], colours[1])
        self.screenshot(light, "phone")
        self.screenshot(dark, "phone-dark")

    def test_a_browser_brings_the_key_with_everything(self):
        """The page, the events and a change, after one question for name and
        password."""
        node = self.cluster(1, start=False)[1]
        node.env = {"AUTH_KEY": "joe:secret"}
        node.start().wait_ready()
        page = self.open(node, user=("joe", "secret"))
        page.click("#shuffle")
        self.assertTrue(marmot.eventually(
            lambda: page.value("true") and "shuffle moving=0" in node.log()))
