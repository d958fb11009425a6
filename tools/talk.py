# SPDX-License-Identifier: MIT
"""Talking to a guest: the serial line as a socket, the terminal at its other end, or a script."""
import os
import re
import socket
import sys
import termios

LEAVE = b"\x1d"  # Ctrl-]


class TalkError(Exception):
    """The guest did not do what the script asks of it; the text says what."""


class Line:
    """The machine's COM1: the emulator connects to it, bytes go both ways."""

    def __init__(self, path):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.peer = None
        self.file = open(path, "wb")
        self.waiting = b""  # to be sent

    def sources(self):
        return [self.peer or self.server] if self.server else []

    def sinks(self):
        return [self.peer] if self.peer and self.waiting else []

    def read(self):
        """What has come; call it when a source is ready."""
        if not self.peer:
            self.peer, _ = self.server.accept()
            self.peer.setblocking(False)
            return b""
        try:
            data = self.peer.recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self.hang_up()
        self.file.write(data)
        self.file.flush()
        return data

    def write(self):
        """Sends what the peer takes now: it takes no more than its receiver has read."""
        try:
            self.waiting = self.waiting[self.peer.send(self.waiting):]
        except BlockingIOError:
            pass
        except ConnectionError:
            self.hang_up()

    def hang_up(self):
        for end in (self.peer, self.server):
            if end:
                end.close()
        self.peer = self.server = None

    def close(self):
        self.hang_up()
        self.file.close()


class Terminal:
    """Standard input, key by key where it is a terminal. Use it as a context: it restores what it
    changed."""

    def __init__(self):
        self.fd = sys.stdin.fileno()
        self.before = None
        self.ended = False

    def __enter__(self):
        if os.isatty(self.fd):
            self.before = termios.tcgetattr(self.fd)
            raw = termios.tcgetattr(self.fd)
            # Every key is the guest's, Ctrl-C too. Output stays as it is: Corbel ends lines with
            # a line feed alone.
            raw[0] &= ~(termios.ICRNL | termios.INLCR | termios.IXON | termios.ISTRIP)
            raw[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
            raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self.fd, termios.TCSANOW, raw)
        return self

    def __exit__(self, *_):
        if self.before:
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self.before)

    def sources(self):
        return [] if self.ended else [self.fd]

    def read(self):
        data = os.read(self.fd, 4096)
        self.ended = not data
        return data


class Talk:
    """A script's side of a conversation.

    A script is a generator function. It is given the Talk; it says something with send(), and
    waits by yielding a regular expression, which gives the match once the guest has said that. It
    never waits for time. It raises TalkError where it is not content.
    """
    LOOK_BACK = 2000  # no pattern's match is longer
    LONGEST = 80 - len("linux# ; echo ::$?") - 1

    def __init__(self, script, files=None):
        self.files = files  # where the guest's files are, for scripts that know what is in them
        self.text = ""
        self.searched = 0  # where the next match may begin
        self.sending = b""
        self.failure = ""
        self.script = script(self)
        self.awaited = None
        self._go_on(None)

    @property
    def done(self):
        return self.awaited is None

    def send(self, text):
        self.sending += text.encode()

    def take(self):
        """What is to be sent now."""
        data, self.sending = self.sending, b""
        return data

    def hear(self, data):
        new = len(self.text)
        # One character a byte: a sequence of UTF-8 may be cut anywhere.
        self.text += data.decode("latin-1")
        while self.awaited:
            start = max(self.searched, new - self.LOOK_BACK)
            match = self.awaited.search(self.text, start)
            if not match:
                return
            self.searched = new = match.end()
            self._go_on(match)

    def _go_on(self, match):
        try:
            self.awaited = re.compile(self.script.send(match), re.M)
        except StopIteration:
            self.awaited = None
        except TalkError as error:
            self.awaited = None
            self.failure = str(error)

    def command(self, line):
        """For scripts: output = yield from talk.command("ls"). The status must be 0."""
        output, status = yield from self.try_command(line)
        if status:
            raise TalkError(f"{line!r} ended with {status}: {output.strip()[-200:]!r}")
        return output

    def try_command(self, line):
        """The same, giving output and status."""
        assert len(line) <= self.LONGEST, f"{line!r} takes more than one line of the terminal"
        start = self.searched
        # The mark is not to be found in the line itself, which the guest's terminal repeats.
        self.send(line + "; echo ::$?\n")
        match = yield r"::(\d+)\r?$"
        text = self.text[start:match.start()].replace("\r", "")
        return text.partition("echo ::$?\n")[2], int(match.group(1))
