"""The network between the nodes: a TCP proxy with faults, as a process.

    proxy.py        reads one JSON command a line from stdin, ends at its end

    {"link": [a, b], "listen": port, "to": port}    node a dials node b here
    {"rules": [{"from": a, "to": b, ...}]}          replaces all rules
    {"reset": true}                                 cuts all connections, once

A rule is about the bytes that one node sends another, on whatever connection:

    drop     true: nothing arrives; what was sent arrives when the rule ends
    lose     true: nothing arrives, and connections of that time are cut when
             the rule ends, as after a partition longer than TCP's patience
    delay    seconds, for every chunk
    stall    probability that a chunk comes 0.2 to 1 s late (a lost segment)
    garble   probability that one byte of a chunk is changed
    cut      probability that the connection is cut within a chunk

Needs no root: packets are not touched, only what TCP makes of them.
"""

import asyncio
import json
import random
import sys

CHUNK = 1 << 16


class Network:
    def __init__(self):
        self.rules, self.changed = {}, asyncio.Event()
        self.pipes = set()

    def rule(self, source, target):
        return self.rules.get((source, target), {})

    def blocked(self, source, target):
        rule = self.rule(source, target)
        return bool(rule.get("drop") or rule.get("lose"))

    async def passable(self, *pairs):
        while any(self.blocked(*pair) for pair in pairs):
            await self.changed.wait()

    def set_rules(self, rules):
        before = self.rules
        self.rules = {(r["from"], r["to"]): r for r in rules}
        over = {pair for pair, r in before.items()
                if r.get("lose") and not self.blocked(*pair)}
        for pipe in list(self.pipes):
            if pipe.pairs & over:
                pipe.abort()
        self.changed.set()
        self.changed = asyncio.Event()

    def reset(self):
        for pipe in list(self.pipes):
            pipe.abort()


class Pipe:
    """One connection: from node `a`, who dialled, to node `b`."""

    def __init__(self, network, a, b, port):
        self.network, self.a, self.b, self.port = network, a, b, port
        self.pairs = {(a, b), (b, a)}
        self.writers, self.task = [], None

    def abort(self):
        for writer in self.writers:
            writer.transport.abort()
        if self.task is not None:
            self.task.cancel()

    async def run(self, reader, writer):
        self.task = asyncio.current_task()
        self.writers.append(writer)
        self.network.pipes.add(self)
        try:
            await self.network.passable((self.a, self.b), (self.b, self.a))
            far_reader, far_writer = await asyncio.open_connection(
                "127.0.0.1", self.port)
            self.writers.append(far_writer)
            pumps = [asyncio.ensure_future(pump) for pump in (
                self.pump(reader, far_writer, self.a, self.b),
                self.pump(far_reader, writer, self.b, self.a))]
            try:
                await asyncio.wait(pumps,
                                   return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self.network.pipes.discard(self)
            for w in self.writers:
                w.transport.abort()

    async def pump(self, reader, writer, source, target):
        while data := await reader.read(CHUNK):
            if self.network.rule(source, target):
                data = await self.suffer(data, source, target)
            writer.write(data)
            await writer.drain()

    async def suffer(self, data, source, target):
        rule = self.network.rule(source, target)
        if rule.get("delay"):
            await asyncio.sleep(rule["delay"] * random.uniform(0.5, 1.5))
        if random.random() < rule.get("stall", 0):
            await asyncio.sleep(random.uniform(0.2, 1))
        await self.network.passable((source, target))
        if random.random() < rule.get("garble", 0):
            i = random.randrange(len(data))
            data = data[:i] + bytes([data[i] ^ 1 << random.randrange(8)]) \
                + data[i + 1:]
        if random.random() < rule.get("cut", 0):
            self.abort()
        return data


async def main():
    network = Network()
    loop = asyncio.get_running_loop()
    stdin = asyncio.StreamReader()
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    servers = []
    while line := await stdin.readline():
        command = json.loads(line)
        if "link" in command:
            a, b = command["link"]
            port = command["to"]
            servers.append(await asyncio.start_server(
                lambda r, w, a=a, b=b, port=port:
                Pipe(network, a, b, port).run(r, w),
                "127.0.0.1", command["listen"]))
        elif "rules" in command:
            network.set_rules(command["rules"])
        else:
            network.reset()
        print("{}", flush=True)


asyncio.run(main())
