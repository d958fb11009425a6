#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Screenshots of an emulated machine: from Bochs over RFB, from QEMU over QMP, as PNG.

usage: tools/screenshot.py rfb PORT OUT.png
       tools/screenshot.py qmp SOCKET OUT.png
"""
import json
import pathlib
import re
import socket
import struct
import sys
import threading
import time
import zlib


class Picture:
    """Width x height pixels of three bytes, RGB, rows from the top."""

    def __init__(self, width, height, pixels=None):
        self.width = width
        self.height = height
        self.pixels = pixels if pixels is not None else bytearray(3 * width * height)

    def cropped(self, top, bottom):
        row = 3 * self.width
        return Picture(self.width, bottom - top, self.pixels[top * row:bottom * row])

    def write_png(self, path):
        def chunk(kind, data):
            return (struct.pack(">I", len(data)) + kind + data
                    + struct.pack(">I", zlib.crc32(kind + data)))
        row = 3 * self.width
        rows = b"".join(b"\0" + self.pixels[y * row:(y + 1) * row] for y in range(self.height))
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        pathlib.Path(path).write_bytes(
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows))
            + chunk(b"IEND", b""))

    @staticmethod
    def read_png(path):
        """Reads what write_png() wrote: 8-bit RGB, no row filters."""
        data = pathlib.Path(path).read_bytes()
        width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
        if (depth, colour) != (8, 2):
            raise ValueError(f"{path}: not an 8-bit RGB PNG")
        packed, at = b"", 8
        while at < len(data):
            size, = struct.unpack(">I", data[at:at + 4])
            if data[at + 4:at + 8] == b"IDAT":
                packed += data[at + 8:at + 8 + size]
            at += 12 + size
        rows, step = zlib.decompress(packed), 3 * width + 1
        if any(rows[y * step] for y in range(height)):
            raise ValueError(f"{path}: row filters are not understood here")
        return Picture(width, height, bytearray(b"".join(
            rows[y * step + 1:(y + 1) * step] for y in range(height))))

    @staticmethod
    def from_ppm(data):
        header = re.match(rb"P6\s+(\d+)\s+(\d+)\s+255\s", data)
        width, height = int(header.group(1)), int(header.group(2))
        return Picture(width, height, bytearray(data[header.end():]))


class RfbScreen:
    """Follows a Bochs screen. It sends 8-bit pixels and nothing else. It announces them with blue in
    the top two bits, but puts red in the top three, then green, and blue in the lowest two.

    Bochs puts a bar of buttons above the machine's screen and a status line below it; they are cut
    off.
    """
    TOP_BAR = 32
    STATUS_BAR = 18
    PALETTE = [bytes(((p >> 5) * 255 // 7, (p >> 2 & 7) * 255 // 7, (p & 3) * 255 // 3))
               for p in range(256)]

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=5)
        self.lock = threading.Lock()
        self.updates = 0
        self._handshake()
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()

    def _read(self, size):
        data = bytearray()
        while len(data) < size:
            piece = self.sock.recv(size - len(data))
            if not piece:
                raise ConnectionError("the screen's server hung up")
            data += piece
        return bytes(data)

    def _handshake(self):
        self._read(12)
        self.sock.sendall(b"RFB 003.003\n")
        if struct.unpack(">I", self._read(4)) != (1,):
            raise ConnectionError("the screen wants a password")
        self.sock.sendall(b"\1")  # share it
        self.width, self.height = struct.unpack(">HH", self._read(4))
        self._read(16)
        self._read(struct.unpack(">I", self._read(4))[0])
        self.frame = bytearray(self.width * self.height)
        # Encodings: raw, and DesktopSize so that a change of video mode is told.
        self.sock.sendall(struct.pack(">BBHii", 2, 0, 2, 0, -223))
        self._ask(incremental=False)

    def _ask(self, incremental):
        self.sock.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, self.width, self.height))

    def _follow(self):
        self.sock.settimeout(None)
        try:
            while True:
                kind = self._read(1)[0]
                if kind == 0:
                    self._update()
                    self._ask(incremental=True)
                elif kind == 3:  # cut text
                    _, size = struct.unpack(">3sI", self._read(7))
                    self._read(size)
                # 2 is the bell: nothing follows
        except OSError:
            pass

    def _update(self):
        _, count = struct.unpack(">BH", self._read(3))
        for _ in range(count):
            x, y, width, height, encoding = struct.unpack(">HHHHi", self._read(12))
            if encoding == -223:
                with self.lock:
                    self.width, self.height = width, height
                    self.frame = bytearray(width * height)
                continue
            data = self._read(width * height)
            with self.lock:
                for row in range(height):
                    at = (y + row) * self.width + x
                    self.frame[at:at + width] = data[row * width:(row + 1) * width]
        self.updates += 1

    def picture(self, settle=3):
        """The screen once it has stood still, or after settle seconds whatever it does."""
        end = time.monotonic() + settle
        last = None
        while time.monotonic() < end:
            with self.lock:
                now = bytes(self.frame)
            if now == last:
                break
            last = now
            time.sleep(0.7)
        with self.lock:
            pixels = bytearray(b"".join(map(self.PALETTE.__getitem__, self.frame)))
            whole = Picture(self.width, self.height, pixels)
        return whole.cropped(self.TOP_BAR, self.height - self.STATUS_BAR)

    def close(self):
        self.sock.close()


class Qmp:
    """QEMU's machine protocol on a Unix socket."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(str(path))
        self.file = self.sock.makefile("rw")
        self.file.readline()
        self.command("qmp_capabilities")

    def command(self, name, **arguments):
        self.file.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            answer = json.loads(self.file.readline())
            if "error" in answer:
                raise OSError(answer["error"]["desc"])
            if "return" in answer:
                return answer["return"]

    def monitor(self, line):
        return self.command("human-monitor-command", **{"command-line": line}).replace("\r", "")

    def picture(self, scratch):
        self.command("screendump", filename=str(scratch))
        return Picture.from_ppm(pathlib.Path(scratch).read_bytes())

    def close(self):
        self.sock.close()


def main():
    if len(sys.argv) != 4 or sys.argv[1] not in ("rfb", "qmp"):
        sys.exit(__doc__)
    kind, where, out = sys.argv[1:]
    if kind == "rfb":
        picture = RfbScreen(int(where)).picture()
    else:
        picture = Qmp(where).picture(out + ".ppm")
        pathlib.Path(out + ".ppm").unlink()
    picture.write_png(out)


if __name__ == "__main__":
    main()
