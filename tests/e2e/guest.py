"""A guest that speaks the session protocol by hand (docs/FORMATS.md), and not
always as it should."""

import os
import socket
import struct

HELLO, LOCK, PARK, PROPOSE, UNLOCK, STATUS = range(1, 7)
WELCOME, REFUSED, GRANT, PARKED, OFFER = range(64, 69)
COMMITTED, CONFLICT, UNKNOWN, FAILED, TEXT = range(69, 74)


class Guest:
    def __init__(self, path, timeout=20):
        self.path, self.buffer, self.sequence = path, b"", 0
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout)
        self.socket.connect(path + "-marmot")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.socket.close()

    def send(self, kind, payload=b""):
        self.socket.sendall(struct.pack("<IBBH", len(payload), 1, kind, 0)
                            + payload)

    def receive(self):
        """Kind and payload of the next message; None when the node hung up."""
        while True:
            if len(self.buffer) >= 8:
                length, _, kind, _ = struct.unpack("<IBBH", self.buffer[:8])
                if len(self.buffer) >= 8 + length:
                    payload = self.buffer[8:8 + length]
                    self.buffer = self.buffer[8 + length:]
                    return kind, payload
            more = self.socket.recv(65536)
            if not more:
                return None, b""
            self.buffer += more

    def call(self, kind, payload=b""):
        self.send(kind, payload)
        return self.receive()[0]

    def hello(self):
        st = os.stat(self.path)
        return self.call(HELLO, struct.pack("<QQII", st.st_dev, st.st_ino,
                                            os.getpid(), 0))

    def propose(self, pages, db_pages, number=0, last=True, same=False):
        """Pages are (number, image); `same`: the last transaction's number."""
        self.sequence += number == 0 and not same
        head = struct.pack("<IIIIIQ", len(pages[0][1]), db_pages if last else 0,
                           len(pages), number, last, self.sequence)
        self.send(PROPOSE, head + b"".join(struct.pack("<I", n)
                                           for n, _ in pages)
                  + b"".join(image for _, image in pages))

    def unlock(self):
        self.send(UNLOCK, struct.pack("<I", 1) + bytes(20))
