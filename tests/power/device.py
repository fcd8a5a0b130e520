"""A disk whose power can be cut: an ext4 file system on a loop device over
nbdfuse over nbdkit, whose cache filter keeps in a file of its own what was not
flushed yet. Killing nbdkit loses just that, as a disk's own cache would be
lost. Needs root, nbdkit, nbdfuse and loop devices.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
import marmot  # noqa: E402

BYTES = 768 << 20  # sparse


def missing():
    """Why there is no such device on this machine, or None."""
    if os.geteuid() != 0:
        return "mounting takes root"
    for tool in "nbdkit", "nbdfuse", "mkfs.ext4", "mount":
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    for node in "/dev/fuse", "/dev/loop-control":
        if not os.path.exists(node):
            return f"there is no {node}"
    return None


class Device:
    """`mount`: where its file system appears; `folder`: for what it needs."""

    def __init__(self, folder, mount):
        self.folder, self.mount = pathlib.Path(folder), pathlib.Path(mount)
        self.image = self.folder / "disk"
        self.fuse = self.folder / "fuse"
        self.server = self.bridge = None
        self.fuse.mkdir(parents=True)
        self.mount.mkdir(exist_ok=True)
        with open(self.image, "wb") as image:
            image.truncate(BYTES)
        self.call("mkfs.ext4", "-q", self.image)
        self.attach()

    def call(self, *args):
        done = subprocess.run([str(a) for a in args], capture_output=True,
                              stdin=subprocess.DEVNULL, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(f"{args}: {done.stdout}{done.stderr}")

    def attach(self):
        """The power is on; ext4 recovers from its journal."""
        socket = self.folder / "socket"
        socket.unlink(missing_ok=True)
        output = open(self.folder / "nbd.log", "a")
        self.server = marmot.spawn(
            ["nbdkit", "-f", "-U", socket, "--filter=cache", "file",
             self.image, "cache=writeback"], stdin=subprocess.DEVNULL,
            stdout=output, stderr=output)
        if not marmot.eventually(socket.exists, 10):
            raise RuntimeError("nbdkit does not start")
        self.bridge = marmot.spawn(
            ["nbdfuse", self.fuse, f"nbd+unix:///?socket={socket}"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        output.close()
        if not marmot.eventually((self.fuse / "nbd").exists, 10):
            raise RuntimeError("nbdfuse does not start")
        self.call("mount", "-o", "loop", self.fuse / "nbd", self.mount)

    def cut(self):
        """The power goes. Programs on the file system now get errors."""
        self.server.kill()
        self.server.wait()

    def detach(self):
        """Take away what is left; nothing may have a file open."""
        end = time.monotonic() + 20
        while os.path.ismount(self.mount):
            if subprocess.run(["umount", self.mount], check=False,
                              capture_output=True).returncode == 0:
                break
            if time.monotonic() > end:
                raise RuntimeError(f"{self.mount} cannot be unmounted")
            time.sleep(0.1)
        self.bridge.terminate()
        self.bridge.wait()
        # It may have seen to that itself.
        subprocess.run(["umount", "-l", self.fuse], check=False,
                       capture_output=True)
        if self.server.poll() is None:
            self.server.terminate()  # it writes back what it holds
            self.server.wait()

    def restore(self):
        """The power comes back."""
        self.detach()
        self.attach()
