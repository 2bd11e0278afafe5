"""A node of a Headframe cluster in Python, written from headframe.proto alone. It searches slowly, and shows no witnesses.

    node.py --id 7 --certs DIR [--heartbeat SECONDS] 1=127.0.0.1:7701 2=127.0.0.1:7702

It needs the modules that grpcio-tools makes of headframe.proto. It prints what happens as a line of JSON each, and leaves the cluster when its
process is asked to end (SIGINT or SIGTERM).
"""

import argparse
import hashlib
import json
import queue
import random
import signal
import struct
import threading
import time
from pathlib import Path

import grpc

import headframe_pb2 as pb
import headframe_pb2_grpc

# Nonces between two looks at what the leader says.
CHUNK = 2000


def tell(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


class Text:
    """A text job, ready to be hashed."""

    def __init__(self, job):
        self.start = hashlib.sha256(job.text.previous_hash.hex().encode())
        self.end = job.text.timestamp.encode()
        self.double = job.text.hashing == pb.HASHING_DOUBLE
        self.target = job.goal.report_target

    def solves(self, nonce):
        digest = self.start.copy()
        digest.update(b"%d" % nonce + self.end)
        digest = digest.digest()
        if self.double:
            digest = hashlib.sha256(digest).digest()
        return digest <= self.target


def name(solution):
    """A solution's name, as the interface describes it."""
    job, text = solution.job, solution.job.text
    content = struct.pack(
        ">QQQQQ", job.round.height, job.round.generation, job.tag.template, job.tag.run, job.tag.number
    )
    content += job.round.hash + job.goal.block_target + job.goal.report_target
    content += bytes([job.goal.search == pb.SEARCH_EVERY])
    content += bytes([0, text.hashing == pb.HASHING_DOUBLE]) + text.previous_hash + text.timestamp.encode()
    digest = hashlib.sha256(content + struct.pack(">Q", solution.nonce)).digest()
    return struct.unpack(">Q", digest[:8])[0]


class Lease:
    """Nonces to search, and how far they are searched."""

    def __init__(self, lease, job):
        self.number, self.end, self.job = lease.number, lease.end, job
        self.at, self.text = lease.start, Text(job)


class Node:
    """Everything that the node knows. The lock is held wherever it is read or changed."""

    def __init__(self, heartbeat):
        self.lock = threading.Lock()
        self.heartbeat = heartbeat
        self.run = random.getrandbits(64)
        self.sent = 0
        self.outboxes = {}  # of each node with a stream, what is to be sent on it
        self.leads = {}  # when each node last said that it leads
        self.leader = None
        self.held = None
        self.obeyed = {}  # of each leader's run, the newest assignment
        self.leases = []
        self.stopped = None  # a round that has been solved here, and which report told of it
        self.blocks = []
        self.speed = 0
        self.asked = 0.0
        self.leaving = False

    def stamp(self):
        self.sent += 1
        return pb.Stamp(run=self.run, sent=self.sent)

    def beat(self, echo=None):
        return pb.Heartbeat(stamp=self.stamp(), echo=echo)

    def report(self):
        progress = [pb.Progress(lease=lease.number, to=lease.at) for lease in self.leases]
        return pb.Report(
            stamp=self.stamp(), held=self.held, speed=self.speed, progress=progress, blocks=self.blocks
        )

    def send(self, to, **content):
        outbox = self.outboxes.get(to)
        if outbox is not None:
            outbox.put(pb.Message(**content))

    def elect(self):
        now = time.monotonic()
        fresh = [node for node, last in self.leads.items() if now - last < 2 * self.heartbeat]
        leader = min(fresh, default=None)
        if leader != self.leader:
            self.leader = leader
            tell("leader", leader=leader)
            self.ask()

    def ask(self):
        self.asked = time.monotonic()
        if self.leader is not None:
            self.send(self.leader, process_request=pb.ProcessRequest(report=self.report()))

    def hear(self, sender, message):
        kind = message.WhichOneof("content")
        if kind in ("heartbeat_request", "heartbeat_reply", "leave"):
            beat = getattr(message, kind).heartbeat
            if kind == "leave":
                self.leads.pop(sender, None)
            elif beat.HasField("leads"):
                self.leads[sender] = time.monotonic()
            self.elect()
            if kind == "heartbeat_request":
                report = self.report() if sender == self.leader else None
                reply = pb.HeartbeatReply(heartbeat=self.beat(echo=beat.stamp), report=report)
                self.send(sender, heartbeat_reply=reply)
        elif kind in ("process", "process_interrupt") and sender == self.leader:
            if kind == "process_interrupt":
                tell("interrupted")
            self.obey(getattr(message, kind).assignment)

    def obey(self, assignment):
        reign, number = assignment.reign, (assignment.reign.number, assignment.sequence)
        if assignment.report.run != self.run or number <= self.obeyed.get(reign.run, (0, 0)):
            return
        self.obeyed[reign.run] = number
        self.held = pb.Held(reign=reign, sequence=assignment.sequence)
        if self.stopped is not None and assignment.report.sent >= self.stopped[1]:
            self.stopped = None
        old, self.leases = self.leases, []
        for lease in assignment.leases:
            job = assignment.jobs[lease.job]
            if job.WhichOneof("puzzle") != "text":
                continue  # given back, since it is not named in reports
            if self.stopped is not None and job.round == self.stopped[0]:
                continue
            known = next((one for one in old if one.end == lease.end and one.job == job), None)
            if known is None:
                known = Lease(lease, job)
                tell("assigned", lease=lease.number, start=lease.start, end=lease.end)
            known.number, known.at = lease.number, max(known.at, lease.start)
            self.leases.append(known)
        for lease in old:
            if lease not in self.leases and lease.at < lease.end:
                tell("stopped", lease=lease.number, at=lease.at, end=lease.end)
        settled = [block for block in self.blocks if name(block) in assignment.settled]
        for block in settled:
            self.blocks.remove(block)
            tell("settled", nonce=block.nonce)

    def searched(self, lease, at, nonce):
        """A lease is searched up to `at`; `nonce` solves it, if it is given."""
        if lease not in self.leases:
            return  # it was over meanwhile
        lease.at = at
        if nonce is not None:
            self.blocks.append(pb.Solution(job=lease.job, nonce=nonce))
            self.leases = [other for other in self.leases if other.job.round != lease.job.round]
            report = self.report()
            self.stopped = (lease.job.round, report.stamp.sent)
            tell("found", nonce=nonce)
            self.send(self.leader, process_answer_yes=pb.ProcessAnswerYes(report=report))
        elif at == lease.end:
            tell("searched", lease=lease.number)
            self.send(self.leader, process_answer_no=pb.ProcessAnswerNo(report=self.report()))

    def tick(self):
        self.elect()
        left = sum(lease.end - lease.at for lease in self.leases)
        if left < self.speed * self.heartbeat or left == 0:
            if time.monotonic() - self.asked >= self.heartbeat / 4:
                self.ask()

    def leave(self):
        self.leaving = True
        for other in self.outboxes:
            self.send(other, leave=pb.Leave(heartbeat=self.beat(), report=self.report()))
        for outbox in self.outboxes.values():
            outbox.put(None)  # nothing comes after it


def exchange(node, other, address, credentials):
    """Keeps a stream to one other node open."""
    options = [
        ("grpc.ssl_target_name_override", f"node-{other}.headframe"),
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.min_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 1000),
    ]
    pause = 0.05
    with grpc.secure_channel(address, credentials, options) as channel:
        stub = headframe_pb2_grpc.NodeStub(channel)
        while not node.leaving:
            outbox = queue.Queue()
            with node.lock:
                node.outboxes[other] = outbox
            try:
                for message in stub.Exchange(iter(outbox.get, None)):
                    pause = 0.05
                    with node.lock:
                        node.hear(other, message)
            except grpc.RpcError as error:
                tell("ended", node=other, status=error.code().name, details=error.details())
            with node.lock:
                node.outboxes.pop(other, None)
            outbox.put(None)
            if not node.leaving:
                time.sleep(pause)
                pause = min(2 * pause, 1.0)


def search(node):
    """Searches the leases, the first one first."""
    while not node.leaving:
        with node.lock:
            node.tick()
            lease = next((lease for lease in node.leases if lease.at < lease.end), None)
            at, end = (lease.at, min(lease.at + CHUNK, lease.end)) if lease else (0, 0)
        if lease is None:
            time.sleep(0.02)
            continue
        began = time.monotonic()
        found = next((nonce for nonce in range(at, end) if lease.text.solves(nonce)), None)
        count = end - at if found is None else found + 1 - at
        with node.lock:
            node.speed = max(1, int(count / max(time.monotonic() - began, 1e-6)))
            node.searched(lease, at + count, found)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--id", type=int, required=True)
    parser.add_argument("--certs", type=Path, required=True)
    parser.add_argument("--heartbeat", type=float, default=5.0)
    parser.add_argument("nodes", nargs="+", metavar="ID=HOST:PORT")
    args = parser.parse_args()
    files = ["ca.pem", f"node-{args.id}.key", f"node-{args.id}.pem"]
    credentials = grpc.ssl_channel_credentials(*((args.certs / file).read_bytes() for file in files))
    node, threads = Node(args.heartbeat), []
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # they are waited for below
    for other in args.nodes:
        other, address = other.split("=", 1)
        threads.append(threading.Thread(target=exchange, args=(node, int(other), address, credentials)))
    threads.append(threading.Thread(target=search, args=(node,)))
    for thread in threads:
        thread.start()
    signal.sigwait(ends)
    with node.lock:
        node.leave()
    for thread in threads:
        thread.join()
    tell("left")


if __name__ == "__main__":
    main()
