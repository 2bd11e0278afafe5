"""A program of the exercise, as others have built it: text messages over UDP, one hash after another.

It knows its peers by their IP addresses, leads while no lower id answers, and otherwise works for the leader. What it does is
written to standard output, a JSON object a line. Needs Python 3.8 and nothing else.
"""

import argparse
import hashlib
import json
import select
import socket
import subprocess
import time
import urllib.parse
import urllib.request


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument("--id", type=int, required=True)
    parser.add_argument("--listen", required=True, help="IP address")
    parser.add_argument("--port", type=int, required=True, help="of everybody")
    parser.add_argument("--peer", action="append", default=[], help="ID=IP")
    parser.add_argument("--dialect", choices="ab", default="a")
    parser.add_argument("--hashing", choices=["single", "double"], default="double")
    parser.add_argument("--zeros-in", choices=["hex", "bits", "bytes"], default="hex")
    parser.add_argument("--heartbeat", type=float, default=0.5)
    parser.add_argument("--source", help="the web service; without one it makes blocks by itself")
    parser.add_argument("--zeros", type=int, default=4, help="of the blocks that it makes by itself")
    parser.add_argument("--solver", help="headframe, which then searches in its place")
    return parser.parse_args()


class Program:
    def __init__(self, args):
        self.args = args
        self.peers = dict(pair.split("=") for pair in args.peer)
        self.peers = {int(number): ip for number, ip in self.peers.items()}
        self.ids = {ip: number for number, ip in self.peers.items()}
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((args.listen, args.port))
        self.answered = {}
        self.leader = None
        self.beat = 0
        self.work = None  # (start, end, timestamp, hash, zeros) and the next nonce
        self.block = None  # what is searched, as a leader
        self.solving = None
        self.started = time.monotonic()

    def tell(self, what, **more):
        print(json.dumps({"event": what, **more}), flush=True)

    def say(self, number, text):
        self.socket.sendto(text.encode("ascii"), (self.peers[number], self.args.port))

    def name(self, text):
        return text.replace("Heartbeat", "Heartbeat ") if self.args.dialect == "b" else text

    def digest(self, prev, nonce, timestamp):
        digest = hashlib.sha256(f"{prev}{nonce}{timestamp}".encode("ascii")).digest()
        return hashlib.sha256(digest).digest() if self.args.hashing == "double" else digest

    def is_good(self, digest, zeros):
        width = {"hex": 4, "bits": 1, "bytes": 8}[self.args.zeros_in]
        return int.from_bytes(digest, "big") >> max(256 - width * zeros, 0) == 0 or zeros == 0

    def run(self):
        while True:
            now = time.monotonic()
            if now >= self.beat:
                self.beat = now + self.args.heartbeat
                self.heartbeat(now)
            wait = max(0, self.beat - now)
            if self.work:
                wait = min(wait, 0.005) if self.args.solver else 0
            while select.select([self.socket], [], [], wait)[0]:
                data, (ip, _) = self.socket.recvfrom(65535)
                assert len(data) >= 8, "it would crash this program"
                self.hear(self.ids.get(ip), data.decode("ascii"))
                wait = 0
            if self.work:
                self.search()

    def heartbeat(self, now):
        lower = [number for number in self.peers if number < self.args.id]
        alive = [number for number in lower if now - self.answered.get(number, -99) < 2.2 * self.args.heartbeat]
        if not alive and lower and now < self.started + self.args.heartbeat:
            leader = None  # lower ids have the time of one answer
        else:
            leader = min(alive, default=self.args.id)
        if leader not in (None, self.leader):
            self.stop()
            self.leader, self.block = leader, None
            self.tell("leader", leader=leader)
        for number in self.peers:
            self.say(number, self.name("HeartbeatRequest"))
        if self.leader == self.args.id and self.block is None:
            self.next_block()

    def hear(self, number, text):
        if number is None:
            return
        name, *fields = "".join(text.split()).split(";")
        name = name.lower()
        if name == "heartbeatrequest":
            assert text == self.name("HeartbeatRequest"), text
            self.say(number, self.name("HeartbeatReply"))
            if number == self.leader and self.work is None:
                self.say(number, "ProcessRequest")
        elif name == "heartbeatreply":
            assert text == self.name("HeartbeatReply"), text
            self.answered[number] = time.monotonic()
        elif name == "process" and number == self.leader:
            start, end, timestamp, prev, zeros = fields
            self.stop()
            self.work = [int(start), int(end), timestamp, prev, int(zeros)]
            self.tell("work", start=int(start), end=int(end), zeros=int(zeros))
        elif name.startswith("processinterrupt"):
            self.stop()
            self.tell("interrupted")
        elif self.leader == self.args.id and self.block:
            self.lead(number, name, fields)

    # ---- as a worker

    def search(self):
        start, end, timestamp, prev, zeros = self.work
        if self.args.solver:
            return self.solve(max(start, 1), min(end, 2_000_000_000), timestamp, prev, zeros)
        last = min(end, start + 2000)
        for nonce in range(max(start, 1), last + 1):
            if self.is_good(self.digest(prev, nonce, timestamp), zeros):
                return self.answer(f"ProcessAnswerYes;{nonce}")
        self.work[0] = last + 1
        if last == end:
            self.answer("ProcessAnswerNo")

    def solve(self, start, end, timestamp, prev, zeros):
        words = ["solve", "--prev", prev, "--timestamp", timestamp, "--zeros", str(zeros), "--kernel", "portable"]
        words += ["--threads", "1", "--start", str(start), "--end", str(end), "--json"]
        if self.solving is None:
            self.solving = subprocess.Popen([self.args.solver, *words], stdout=subprocess.PIPE, text=True)
        elif self.solving.poll() is not None:
            solved, self.solving = self.solving, None
            found = json.loads(solved.stdout.read())["nonce"] if solved.returncode == 0 else None
            self.answer("ProcessAnswerNo" if found is None else f"ProcessAnswerYes;{found}")

    def stop(self):
        self.work = None
        if self.solving:
            self.solving.kill()
            self.solving.wait()
            self.solving = None

    def answer(self, text):
        self.work = None
        self.tell("answer", text=text)
        self.say(self.leader, text)

    # ---- as a leader

    def next_block(self):
        if self.args.source:
            with urllib.request.urlopen(self.args.source + "/request.php", timeout=5) as reply:
                block = json.load(reply)
            prev, zeros = block["hash"], int(block["zeros"])
        else:
            prev, zeros = hashlib.sha256(str(time.time_ns()).encode()).hexdigest(), self.args.zeros
        self.block = (str(time.time_ns() // 1_000_000), prev, zeros)
        self.cursor = 1
        self.tell("block", prev=prev, zeros=zeros)

    def lead(self, number, name, fields):
        timestamp, prev, zeros = self.block
        if name in ("processrequest", "processanswerno"):
            start, self.cursor = self.cursor, self.cursor + 100_000
            self.tell("lease", node=number, start=start, answers=name == "processanswerno")
            self.say(number, f"Process;{start};{start + 99_999};{timestamp};{prev};{zeros}")
        elif name == "processansweryes":
            nonce = int(fields[0])
            if not self.is_good(self.digest(prev, nonce, timestamp), zeros):
                return self.tell("wrong", node=number, nonce=nonce)
            status = "success"
            if self.args.source:
                query = urllib.parse.urlencode({"timestamp": timestamp, "nonce": nonce, "poolname": "python"})
                with urllib.request.urlopen(f"{self.args.source}/submit.php?{query}", timeout=5) as reply:
                    status = json.load(reply)["status"]
            self.tell("found", node=number, nonce=nonce, status=status)
            for peer in self.peers:
                self.say(peer, "ProcessInterrupt")
            self.next_block()
            self.cursor = 1
            for peer in self.peers:
                self.lead(peer, "processrequest", [])


if __name__ == "__main__":
    Program(options()).run()
