"""The serial reference: the same pushes, one after another, to a server that nothing disturbs.

Feeds it through plain gRPC with payloads as the ledgers have them (the SDK would form differences anew). A process of
its own, because the generated messages and the SDK share the package name. Input: one JSON object; output: none.
"""

import json
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def feed(stubs, address, job, rounds):
    """`rounds`: per commit, the (client, number, payload) of its pushes."""
    message = {
        "stubs": str(stubs),
        "address": address,
        "model": job.name,
        "clients": job.clients,
        "gradient": job.mode == "gradient",
        "pushes": [(client, number, payload.hex()) for pushes in rounds for client, number, payload in pushes],
    }
    done = subprocess.run(
        [sys.executable, __file__], input=json.dumps(message), capture_output=True, text=True, timeout=600
    )
    if done.returncode != 0:
        raise RuntimeError(f"the reference could not be fed: {done.stderr[-2000:]}")


def make_stubs(folder):
    sys.path.insert(0, str(HERE.parent / "python"))
    import plain_client

    folder.mkdir(parents=True, exist_ok=True)
    plain_client.generate(folder)
    return folder


def main():
    message = json.load(sys.stdin)
    sys.path[:0] = [message["stubs"], str(HERE.parent / "python")]
    import plain_client
    from pushes import samples

    clients = [plain_client.PlainClient(message["address"]) for _ in range(message["clients"])]
    for index, client in enumerate(clients):
        client.open(message["model"], f"client-{index}")
    pb = clients[0].training_pb
    kind = pb.PUSH_KIND_GRADIENT if message["gradient"] else pb.PUSH_KIND_DELTA
    for index, number, payload in message["pushes"]:
        client = clients[index]
        answer = push(client, bytes.fromhex(payload), kind, samples(number))
        assert answer.sequence == number, f"client {index}: push {number} became {answer.sequence}"


def push(client, payload, kind, samples):
    header = client.header(client.session.version, len(payload), samples=samples)
    header.kind = kind
    messages = [client.training_pb.PushRequest(header=header)]
    messages += [client.training_pb.PushRequest(chunk=chunk) for chunk in client.chunks(payload)]
    answer = client.training.Push(iter(messages), timeout=60)
    client.session.last_sequence = answer.sequence
    return answer


if __name__ == "__main__":
    main()
