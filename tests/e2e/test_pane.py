"""The control pane: what it tells, what it does, and whom it serves."""

import http.client
import json
import re
import socket
import time

import marmot
from case import Case, SharedCase
from marmot import eventually
from pane import ask, basic, command, leaders, status

ROWS = "CREATE TABLE rows(tag, n)"


class Telling(SharedCase):
    """Three nodes, two databases, one of which nobody has brought yet."""

    databases = ("main", "empty")
    prepared = {"main": ROWS}

    def test_status_tells_the_whole_node(self):
        """The documented keys, with values that agree with the node."""
        node = self.shared[2]
        with marmot.Session(node.path()) as session:
            session.sql("INSERT INTO rows VALUES('status', 1)")
            position = session.value("PRAGMA marmot_position")
            said = status(node)
            self.assertEqual(said["node"]["id"], 2)
            self.assertEqual(said["node"]["role"], "voter")
            self.assertGreater(said["node"]["uptime_seconds"], 0)
            self.assertRegex(said["node"]["cluster"], r"^[0-9a-f-]{36}$")
            self.assertEqual([p["id"] for p in said["peers"]], [1, 2, 3])
            self.assertEqual([p["self"] for p in said["peers"]],
                             [False, True, False])
            self.assertTrue(all(p["connected"] for p in said["peers"]))
            self.assertEqual(len(said["groups"]), 16)
            main = said["databases"][0]
            self.assertEqual(main["name"], "main")
            self.assertEqual(main["path"], node.path())
            self.assertEqual(main["position"], position)
            self.assertEqual(main["copy"]["position"], position)
            self.assertEqual(main["copy"]["state"], "ready")
            self.assertEqual(main["lag"], 0)
            self.assertEqual(main["writing"]["sessions"], 1)
            self.assertTrue(main["writing"]["lease_here"])
            self.assertGreaterEqual(main["counts"]["commits"], 1)
            empty = said["databases"][1]
            self.assertIsNone(empty["position"])
            self.assertEqual(empty["copy"]["state"], "empty")

    def test_nodes_agree_on_positions_and_checksums(self):
        """The same database has the same position and checksum everywhere."""
        with marmot.Session(self.shared[1].path()) as session:
            session.sql("INSERT INTO rows VALUES('agree', 1)")

        def copies():
            said = [status(n)["databases"][0] for n in self.shared.nodes]
            return {(d["copy"]["position"], d["copy"]["checksum"],
                     d["uuid"]) for d in said}

        eventually(lambda: len(copies()) == 1)
        self.assertEqual(len(copies()), 1, copies())

    def test_health_of_a_leader(self):
        """200 and a word."""
        def said():
            answers = [ask(n, "/health") for n in self.shared.nodes]
            return {(a.status, a.json()["status"]) for a in answers}

        eventually(lambda: said() == {(200, "leader")})
        self.assertEqual(said(), {(200, "leader")})

    def test_info_is_the_node_of_status(self):
        """The seed's route."""
        info = ask(self.shared[1], "/info").json()
        node = status(self.shared[1])["node"]
        self.assertEqual(info.keys(), node.keys())
        self.assertEqual(info["store"], node["store"])

    def test_metrics_are_what_prometheus_reads(self):
        """Each family once, with HELP and TYPE before its samples; buckets
        rise; names and types follow the conventions."""
        with marmot.Session(self.shared[1].path()) as session:
            session.sql("INSERT INTO rows VALUES('metrics', 1)")
        answer = ask(self.shared[1], "/metrics")
        self.assertIn("version=0.0.4", answer.headers["Content-Type"])
        types, values = self.parse_metrics(answer.body.decode())
        for name, kind in types.items():
            self.assertEqual(kind == "counter", name.endswith("_total"), name)
        self.assertGreaterEqual(values["marmot_commit_seconds_count"], 1)
        self.assertEqual(values['marmot_commit_seconds_bucket{le="+Inf"}'],
                         values["marmot_commit_seconds_count"])
        self.assertGreater(values["marmot_store_sync_seconds_sum"], 0)
        self.assertEqual(values['marmot_database_lag_transactions{db="main"}'],
                         0)
        self.assertEqual(values['marmot_peer_connected{peer="2"}'], 1)
        self.assertGreater(values['marmot_peer_sent_bytes_total{peer="2"}'], 0)
        self.assertGreater(
            values['marmot_peer_received_bytes_total{peer="3"}'], 0)
        self.assertEqual(values['marmot_health{state="leader"}'], 1)

    def parse_metrics(self, text):
        types, values, current = {}, {}, None
        sample = re.compile(r'^([a-z_]+)(\{[a-z]+="[^"]*"'
                            r'(,[a-z]+="[^"]*")*\})? (\S+)$')
        for line in text.splitlines():
            if line.startswith("# HELP "):
                current = line.split()[2]
                self.assertNotIn(current, types)
                self.assertGreater(len(line.split(None, 3)[3]), 10)
            elif line.startswith("# TYPE "):
                self.assertEqual(line.split()[2], current)
                types[current] = line.split()[3]
            else:
                found = sample.match(line)
                self.assertIsNotNone(found, line)
                self.assertTrue(found[1].startswith(current), line)
                values[found[1] + (found[2] or "")] = float(found[4])
        for name, kind in types.items():
            buckets = [v for k, v in values.items()
                       if k.startswith(name + "_bucket")]
            if kind == "histogram":
                self.assertEqual(buckets, sorted(buckets), name)
        return types, values

    def test_a_lease_that_changes_hands_is_counted(self):
        """By the leader of the group."""
        def handovers():
            return sum(g["lease_handovers"] for n in self.shared.nodes
                       for g in status(n)["groups"])

        before = handovers()
        for node_id in 1, 2, 3, 1:
            with marmot.Session(self.shared[node_id].path()) as session:
                session.sql("INSERT INTO rows VALUES('lease', ?)", node_id)
        self.assertGreaterEqual(handovers() - before, 3)

    def test_events_come_at_once_and_after_a_change(self):
        """Server-sent events, each a whole status document."""
        connection = http.client.HTTPConnection("127.0.0.1",
                                                self.shared[3].pane,
                                                timeout=20)
        self.addCleanup(connection.close)
        connection.request("GET", "/events")
        response = connection.getresponse()
        self.assertEqual(response.headers["Content-Type"], "text/event-stream")

        def event():
            while True:
                line = response.readline().decode()
                self.assertTrue(line, "the stream has ended")
                if line.startswith("data: "):
                    return json.loads(line[6:])

        txid = int(event()["databases"][0]["position"].split(":")[0])
        with marmot.Session(self.shared[1].path()) as session:
            session.sql("INSERT INTO rows VALUES('event', 1)")
        end = time.monotonic() + 10
        while time.monotonic() < end:
            position = event()["databases"][0]["position"]
            if int(position.split(":")[0]) > txid:
                return
        self.fail("no event told of the transaction")

    def test_many_may_listen_but_not_any_number(self):
        """Beyond 32 streams a 503 says so; when some end, there is room."""
        held = []
        for _ in range(32):
            connection = http.client.HTTPConnection(
                "127.0.0.1", self.shared[2].pane, timeout=20)
            connection.request("GET", "/events")
            self.assertEqual(connection.getresponse().status, 200)
            held.append(connection)
        refused = ask(self.shared[2], "/events")
        self.assertEqual(refused.status, 503)
        self.assertEqual(status(self.shared[2])["node"]["id"], 2)
        for connection in held:
            connection.sock.close()
            connection.close()
        with marmot.Session(self.shared[1].path()) as session:
            session.sql("INSERT INTO rows VALUES('listen', 1)")

        def has_room():
            connection = http.client.HTTPConnection(
                "127.0.0.1", self.shared[2].pane, timeout=20)
            connection.request("GET", "/events")
            code = connection.getresponse().status
            connection.close()
            return code == 200

        self.assertTrue(eventually(has_room, timeout=25, every=0.5))

    def test_wrong_requests_get_a_message_and_a_status(self):
        """404, 400, 405, 413, never anything else, and always in words."""
        node = self.shared[1]
        for path, method, body, expected in (
                ("/nothing", "GET", None, 404),
                ("/status/", "GET", None, 404),
                ("/move/cluster/1", "POST", None, 404),
                ("/move/cluster/99/node/1", "POST", None, 404),
                ("/move/cluster/0/node/9", "POST", None, 404),
                ("/move/cluster/x/node/1", "POST", None, 400),
                ("/move/cluster/1/node/-1", "POST", None, 400),
                ("/backup/a%20b", "GET", None, 400),
                ("/backup/" + "x" * 129, "GET", None, 400),
                ("/status", "POST", None, 405),
                ("/status", "DELETE", None, 405),
                ("/status", "OPTIONS", None, 405),
                ("/shuffle", "GET", None, 405),
                ("/move/cluster/0/node/1", "GET", None, 405),
                ("/shuffle", "PUT", None, 405),
                ("/shuffle", "POST", b"x" * 70000, 413)):
            with self.subTest(path=path, method=method):
                answer = ask(node, path, method, body=body)
                self.assertEqual(answer.status, expected, answer.body)
                said = answer.json()
                self.assertEqual(said["status"], expected)
                self.assertGreater(len(said["error"]), 10)
                if expected == 405:
                    self.assertIn(answer.headers["Allow"],
                                  ("GET, HEAD", "POST"))

    def test_a_body_without_a_length_is_bounded(self):
        """Chunks without end: 413, and the node goes on."""
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.shared[1].pane, timeout=20)
        connection.request("POST", "/shuffle", iter([b"y" * 1000] * 100),
                           encode_chunked=True,
                           headers={"Transfer-Encoding": "chunked"})
        self.assertEqual(connection.getresponse().status, 413)
        connection.close()
        self.assertEqual(ask(self.shared[1], "/health").status, 200)

    def test_head_has_no_body(self):
        """As a load balancer may ask."""
        answer = ask(self.shared[1], "/health", "HEAD")
        self.assertEqual((answer.status, answer.body), (200, b""))

    def test_garbage_does_no_harm(self):
        """Bytes that are no HTTP, headers beyond measure."""
        for garbage in (b"\0\1\2\3\r\n\r\n", b"GET\r\n\r\n",
                        b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
                        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 20000 + b"\r\n",
                        b"POST /shuffle HTTP/1.1\r\nHost: localhost\r\n"
                        b"Content-Length: -5\r\n\r\n"):
            with socket.create_connection(
                    ("127.0.0.1", self.shared[1].pane), timeout=1) as raw:
                try:
                    raw.sendall(garbage)
                    raw.shutdown(socket.SHUT_WR)
                    while raw.recv(65536):
                        pass
                except OSError:
                    pass  # it may hang up early, or wait for the rest
        self.assertEqual(ask(self.shared[1], "/health").status, 200)

    def test_a_page_of_another_site_changes_nothing(self):
        """Origin, Sec-Fetch-Site and Host are looked at."""
        node = self.shared[1]
        here = f"127.0.0.1:{node.pane}"
        for headers, expected in (
                ({"Origin": f"http://{here}"}, 202),
                ({"Origin": "http://evil.example"}, 403),
                ({"Origin": "null"}, 403),
                ({"Sec-Fetch-Site": "cross-site"}, 403),
                ({"Host": f"evil.example:{node.pane}"}, 403),
                ({"Host": f"evil.example:{node.pane}",
                  "Origin": f"http://evil.example:{node.pane}"}, 403)):
            with self.subTest(headers=headers):
                answer = ask(node, "/shuffle", "POST", headers)
                self.assertEqual(answer.status, expected, answer.body)
        rebound = ask(node, "/status",
                      headers={"Host": f"evil.example:{node.pane}"})
        self.assertEqual(rebound.status, 403)
        self.assertNotIn(b"databases", rebound.body)

    def test_status_and_list_are_tables(self):
        """For people; -json gives the documents."""
        done = command("status", node=self.shared[1])
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, r"(?m)^health: leader$")
        self.assertRegex(done.stdout, r"(?m)^main +\d+ +ready +0 ")
        self.assertRegex(done.stdout, r"(?m)^2 +127.0.0.1:\d+ +voter +connected")
        done = command("list", node=self.shared[1])
        self.assertRegex(done.stdout,
                         rf"(?m)^main +ready .* {self.shared[1].path()}$")
        said = json.loads(command("status", "-json",
                                  node=self.shared[1]).stdout)
        self.assertEqual(said["node"]["id"], 1)
        said = json.loads(command("info", "-json", node=self.shared[3]).stdout)
        self.assertEqual(said["id"], 3)
        said = json.loads(command("list", "-json", node=self.shared[3]).stdout)
        self.assertEqual([d["name"] for d in said], ["main", "empty"])

    def test_wrong_commands_get_a_message_and_a_status(self):
        """2 for usage, 1 for what failed."""
        for words, expected, said in (
                (["nothing"], 2, "no such command"),
                (["status", "-nothing"], 2, "-nothing"),
                (["status", "-pane"], 2, "needs a value"),
                (["status", "main"], 2, "usage"),
                (["status", "-timeout", "x"], 2, "-timeout x"),
                (["move"], 2, "usage"),
                (["move", "1", "b"], 2, "usage"),
                (["shuffle", "1"], 2, "usage"),
                (["status", "-pane", "127.0.0.1:1"], 1, "127.0.0.1:1"),
                (["status", "-pane", "ftp://127.0.0.1"], 1, "ftp:"),
                (["move", "99", "1"], 1, "no shard 99"),
                (["move", "0", "77"], 1, "no node 77")):
            with self.subTest(words=words):
                node = None if "-pane" in words else self.shared[1]
                done = command(*words, node=node)
                self.assertEqual(done.returncode, expected, done.stdout)
                self.assertIn(said, done.stdout)
                self.assertEqual(done.stdout.count("\n"), 1, done.stdout)


class Leading(Case):
    def home(self, node):
        """Who leads what, once every group has a leader."""
        self.assertTrue(eventually(
            lambda: None not in leaders(node).values()))
        return leaders(node)

    def test_a_move_by_hand_stays_until_the_next_shuffle(self):
        """Asked at a node that leads nothing of it."""
        cluster = self.rows_cluster(3)
        home = self.home(cluster[1])
        to = home[0] % 3 + 1
        asked = cluster[(to % 3) + 1]
        done = command("move", "0", to, node=asked)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn(f"node {to} leads", done.stdout)
        time.sleep(4)  # balancing would have taken a second or two
        for node in cluster.nodes:
            self.assertEqual(leaders(node)[0], to)
        self.writes(cluster.session(1), "INSERT INTO rows VALUES('moved', 1)")
        done = command("shuffle", node=asked)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertTrue(eventually(lambda: leaders(cluster[1]) == home))

    def test_shuffle_spreads_the_groups_of_a_dead_node(self):
        """Evenly over those that are left; it gets them back when it
        returns."""
        cluster = self.rows_cluster(3)
        home = self.home(cluster[1])
        cluster[3].kill()
        self.assertTrue(eventually(
            lambda: set(leaders(cluster[1]).values()) == {1, 2}))
        done = command("shuffle", node=cluster[1])
        self.assertEqual(done.returncode, 0, done.stdout)
        led = list(leaders(cluster[2]).values())
        self.assertEqual(sorted([led.count(1), led.count(2)]), [8, 8])
        cluster[3].start().wait_ready()
        self.assertTrue(eventually(lambda: leaders(cluster[2]) == home))

    def test_what_cannot_be_moved(self):
        """A replica never leads; a node that is away cannot now; without a
        majority nothing moves."""
        cluster = self.cluster(3, replicas=1)
        answer = ask(cluster[1], "/move/cluster/0/node/4", "POST")
        self.assertEqual(answer.status, 409, answer.body)
        self.assertIn("replica", answer.json()["error"])
        self.assertTrue(eventually(
            lambda: ask(cluster[4], "/health").json()["status"] == "replica"))
        cluster[3].kill()
        self.assertTrue(eventually(
            lambda: None not in leaders(cluster[1]).values()
            and 3 not in leaders(cluster[1]).values()))
        answer = ask(cluster[1], "/move/cluster/0/node/3", "POST")
        self.assertEqual(answer.status, 503, answer.body)
        cluster[2].kill()
        self.assertTrue(eventually(
            lambda: ask(cluster[1], "/health").status == 503))
        said = ask(cluster[1], "/health").json()
        self.assertEqual(said["status"], "no-quorum")
        self.assertIn("1 of 3 reachable", said["why"])
        self.assertTrue(eventually(
            lambda: ask(cluster[1], "/move/cluster/0/node/2", "POST").status
            == 503))

    def test_get_moves_only_with_pane_compat(self):
        """The seed's forms."""
        cluster = self.cluster(1, flags=["-pane-compat"])
        answer = ask(cluster[1], "/move/cluster/3/node/1")
        self.assertEqual((answer.status, answer.json()),
                         (202, {"shard": 3, "from": 1, "to": 1}))
        self.assertEqual(ask(cluster[1], "/shuffle").status, 202)
        self.assertEqual(ask(cluster[1], "/shuffle", "POST").status, 202)
        crossed = ask(cluster[1], "/shuffle",
                      headers={"Sec-Fetch-Site": "cross-site"})
        self.assertEqual(crossed.status, 403)


def own_address():
    """An address of this host that is not loopback, or None."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            return probe.getsockname()[0]
        except OSError:
            return None


class Keys(Case):
    def node(self, key, bind="127.0.0.1"):
        node = self.cluster(1, start=False)[1]
        if key is not None:
            node.env = {"AUTH_KEY": key}
        command_line = [str(word) for word in node.command()]
        command_line[command_line.index("-bind-pane") + 1] = \
            f"{bind}:{node.pane}"
        return node.start_command(command_line).wait_ready()

    def test_a_key_in_either_form(self):
        """user:password, or the header as it is; 401 without."""
        for key, good, bad in (
                ("joe:secret", basic("joe:secret"), basic("joe:wrong")),
                ("Basic " + "am9lOnNlY3JldA==", basic("joe:secret"),
                 basic("joe:wrong")),
                ("opaque", {"Authorization": "opaque"},
                 {"Authorization": "opaqu"})):
            with self.subTest(key=key):
                node = self.node(key)
                for path in "/", "/health", "/status", "/metrics", "/events", \
                        "/nothing":
                    for headers in {}, bad:
                        answer = ask(node, path, headers=headers)
                        self.assertEqual(answer.status, 401, path)
                        self.assertIn("Basic", answer.headers[
                            "WWW-Authenticate"])
                self.assertEqual(ask(node, "/shuffle", "POST").status, 401)
                self.assertEqual(ask(node, "/status", headers=good).status, 200)
                self.assertEqual(
                    ask(node, "/shuffle", "POST", headers=good).status, 202)
                node.kill()

    def test_the_command_line_brings_the_key(self):
        """From AUTH_KEY in its own environment."""
        for key in "joe:se cret", "Bearer abc":
            node = self.node(key)
            done = command("info", node=node)
            self.assertEqual(done.returncode, 1)
            self.assertIn("AUTH_KEY", done.stdout)
            done = command("info", node=node, env={"AUTH_KEY": key})
            self.assertEqual(done.returncode, 0, done.stdout)
            node.kill()

    def test_another_address_needs_a_key(self):
        """Bound to all addresses: without a key only loopback is served."""
        address = own_address()
        if address is None:
            self.skipTest("this host has no address but loopback")
        node = self.node(None, "0.0.0.0")
        self.assertEqual(ask(node, "/status").status, 200)
        for path, method in (("/", "GET"), ("/status", "GET"),
                             ("/shuffle", "POST"), ("/nothing", "GET")):
            answer = ask(node, path, method, host=address)
            self.assertEqual(answer.status, 403, path)
            self.assertIn("AUTH_KEY", answer.json()["error"])
        node.kill()
        node = self.node("joe:secret", "0.0.0.0")
        self.assertEqual(ask(node, "/status", host=address).status, 401)
        self.assertEqual(ask(node, "/status", host=address,
                             headers=basic("joe:secret")).status, 200)


class Ports(Case):
    def test_a_given_port_that_is_in_use_is_an_error(self):
        """The node says which, and exits before it touches anything."""
        cluster = self.cluster(1, start=False)
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", cluster[1].pane))
            taken.listen()
            cluster[1].start()
            self.assertExits(cluster[1], rf"-bind-pane \S*:{cluster[1].pane}.*"
                                         "in use")
        self.assertFalse(cluster[1].raft.exists())

    def start_without_pane(self, node):
        words = [str(word) for word in node.command()]
        at = words.index("-bind-pane")
        return node.start_command(words[:at] + words[at + 2:]).wait_ready()

    def test_the_default_port_in_use_is_no_error(self):
        """Two nodes on one host without flags: the second has no pane, which
        its log says."""
        with socket.socket() as taken:
            try:
                taken.bind(("127.0.0.1", 6010))
            except OSError:
                pass  # somebody else has it, which serves as well
            taken.listen()
            node = self.start_without_pane(self.cluster(1, start=False)[1])
        self.assertRegex(node.log(), r"no_pane localhost:6010 is in use")
        self.assertEqual(node.stop(), 0)

    def test_none_means_no_pane(self):
        """-bind-pane none."""
        node = self.cluster(1, start=False)[1]
        words = [str(word) for word in node.command()]
        words[words.index("-bind-pane") + 1] = "none"
        node.start_command(words).wait_ready()
        self.assertNotRegex(node.log(), r"\bpane\b")

    def test_a_name_that_is_none(self):
        """What the resolver says is said."""
        node = self.cluster(1, start=False)[1]
        words = [str(word) for word in node.command()]
        words[words.index("-bind-pane") + 1] = "no-such-host.invalid:6010"
        node.start_command(words)
        self.assertExits(node, "-bind-pane no-such-host.invalid:6010")

    def test_the_pane_tells_that_the_node_stops(self):
        """Until it is gone; and an open stream does not keep it."""
        cluster = self.rows_cluster(3)
        connection = http.client.HTTPConnection(
            "127.0.0.1", cluster[1].pane, timeout=20)
        connection.request("GET", "/events")
        response = connection.getresponse()
        self.assertEqual(cluster[1].stop(), 0)
        response.read()
        connection.close()
        with self.assertRaises(OSError):
            ask(cluster[1], "/health")
