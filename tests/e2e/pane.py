"""The control pane as a test sees it: one HTTP request, one answer."""

import base64
import http.client
import json

import marmot


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    def json(self):
        return json.loads(self.body)


def ask(node, path, method="GET", headers=(), body=None, host="127.0.0.1"):
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(host, node.pane, timeout=20)
    try:
        connection.request(method, path, body=body, headers=dict(headers))
        return Answer(connection.getresponse())
    finally:
        connection.close()


def status(node):
    return ask(node, "/status").json()


def leaders(node):
    """{shard: leader or None} as this node sees it."""
    return {g["shard"]: g["leader"] for g in status(node)["groups"]}


def basic(text):
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def command(*words, node=None, env=None, timeout=60):
    """Run `marmot WORD...`, against a node's pane."""
    words = [marmot.MARMOT, *words]
    if node is not None:
        words += ["-pane", f"127.0.0.1:{node.pane}"]
    library = marmot.BUILD / "libmarmot.so"  # MARMOT may lie elsewhere
    return marmot.run(words, timeout=timeout,
                      env={"MARMOT_LIBRARY": library, **(env or {})})
