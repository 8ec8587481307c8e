#!/usr/bin/env python3
"""Runs the JDBC checks in `src/` with every driver of `jars.txt` against `$AIRSTRIP_BIN`.

    AIRSTRIP_BIN=target/debug/airstrip python3 tests/interop/jdbc/run.py --cache DIR

One line per check: `ok name: detail` or `FAIL name: detail`. Exit code: 0 if all passed, 1 if one failed
or a jar could not be had, 77 if there is no Java.

The drivers come from Maven Central: by `mvn`, where it is installed, since it knows its own mirrors and
proxies; else, or if MAVEN_REPOSITORY names a repository's URL, by plain HTTP. `--jar VERSION=FILE` adds a
driver that is on disk already, such as one built from source; `--only VERSION` leaves out the others.
"""

import argparse
import ctypes
import hashlib
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.request
import xml.etree.ElementTree
from pathlib import Path

HERE = Path(__file__).resolve().parent
GROUP = "org.apache.arrow"
NO_JAVA = 77
DOWNLOAD_SECONDS = 300
START_SECONDS = 30
STOP_SECONDS = 20
# All checks of one driver take about 20 s; a hanging one must not hold up the caller.
SUITE_SECONDS = 150
# Without it Arrow cannot reach direct memory: with the driver's jar on the class path nothing is a named module.
OPENS = "--add-opens=java.base/java.nio=ALL-UNNAMED"


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--cache", type=Path, required=True, help="the folder that keeps the jars")
    arguments.add_argument("--jar", action="append", default=[], metavar="VERSION=FILE")
    arguments.add_argument("--only", action="append", default=[], metavar="VERSION")
    options = arguments.parse_args()
    # The folder is created by any of several runs at once.
    cache = options.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    missing = [tool for tool in ("java", "javac") if not runs(tool)]
    if missing:
        print(f"SKIPPED: the JDBC checks need a JDK of version 17 or newer; there is no {' and no '.join(missing)}")
        return NO_JAVA
    with tempfile.TemporaryDirectory(prefix="airstrip-jdbc-") as scratch:
        drivers = [(version, provide(cache, *pin)) for pin in pins() if wanted(options, version := pin[1])]
        for given in options.jar:
            version, _, path = given.partition("=")
            if wanted(options, version):
                drivers.append((version, Path(path).resolve(strict=True)))
        if not drivers:
            sys.exit("no driver is left to run")
        make(Path(scratch))
        return 0 if all([check(Path(scratch), *driver) for driver in drivers]) else 1


def wanted(options, version):
    return not options.only or version in options.only


def runs(tool):
    """Whether there is this tool of a JDK, and it is new enough."""
    try:
        done = subprocess.run([tool, "-version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    found = re.search(r"(\d+)[.\d]*", done.stdout + done.stderr)
    return found is not None and int(found[1]) >= 17


def pins():
    """The lines of jars.txt: name, version, SHA-256."""
    lines = (HERE / "jars.txt").read_text().splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


def provide(cache, name, version, sha256):
    """The path of a jar, downloaded if it is not in the cache."""
    jar = cache / f"{name}-{version}.jar"
    if jar.exists() and digest(jar) == sha256:
        return jar
    with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as folder:
        fetched = Path(folder) / jar.name
        if "MAVEN_REPOSITORY" in os.environ or shutil.which("mvn") is None or not by_maven(name, version, fetched):
            by_http(name, version, fetched)
        if digest(fetched) != sha256:
            sys.exit(f"{jar.name} has SHA-256 {digest(fetched)}, jars.txt says {sha256}")
        # At once: another run may read it.
        fetched.replace(jar)
    return jar


def digest(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def by_maven(name, version, target):
    coordinates = f"{GROUP}:{name}:{version}"
    for goal in (
        ["dependency:get", f"-Dartifact={coordinates}", "-Dtransitive=false"],
        ["dependency:copy", f"-Dartifact={coordinates}", f"-DoutputDirectory={target.parent}", "-Dmdep.useBaseVersion=true"],
    ):
        try:
            done = subprocess.run(
                ["mvn", "-q", "-B", "-Dstyle.color=never", *goal],
                cwd=target.parent, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            print(f"mvn did not provide {target.name}: {error}", flush=True)
            return False
        if done.returncode != 0:
            print(f"mvn did not provide {target.name}:\n{done.stdout[:1000]}", flush=True)
            return False
    return target.exists()


def by_http(name, version, target):
    url = f"{repository()}/{GROUP.replace('.', '/')}/{name}/{version}/{target.name}"
    try:
        with urllib.request.urlopen(url, timeout=60) as response, target.open("wb") as file:
            shutil.copyfileobj(response, file)
    except OSError as error:
        # Not the URL: a mirror's address may hold a password.
        sys.exit(f"{target.name} could not be downloaded: {error}")


def repository():
    """The URL of Maven Central, or of what stands for it."""
    if url := os.environ.get("MAVEN_REPOSITORY"):
        return url.rstrip("/")
    settings = Path.home() / ".m2" / "settings.xml"
    if settings.exists():
        for mirror in xml.etree.ElementTree.parse(settings).iterfind(".//{*}mirror"):
            of = (mirror.findtext("{*}mirrorOf") or "").strip()
            url = (mirror.findtext("{*}url") or "").strip()
            if url and ("*" == of or "central" in of.split(",")):
                return url.rstrip("/")
    sys.exit("the jars come with Maven (mvn), or from the repository whose URL MAVEN_REPOSITORY holds")


def make(scratch):
    """What all drivers share: the compiled checks, which know nothing but java.sql, and the tables."""
    sources = sorted(str(source) for source in (HERE / "src").glob("*.java"))
    compiled = subprocess.run(["javac", "-encoding", "UTF-8", "-d", scratch / "classes", *sources])
    if compiled.returncode != 0:
        sys.exit("the checks do not compile")
    demo = [os.environ["AIRSTRIP_BIN"], "demo", "--scale", "0.01", scratch / "demo"]
    subprocess.run(demo, env=environment(), stdout=subprocess.DEVNULL, check=True)


def environment():
    """Settings of the caller's environment are not what the checks expect."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AIRSTRIP_")}


def check(scratch, version, jar):
    """Runs the checks with a driver, on a server of their own; whether all passed."""
    print(f"driver {version}", flush=True)
    root, log = scratch / f"root-{version}", scratch / f"log-{version}"
    shutil.copytree(scratch / "demo", root)
    # Half of a minute ends what a failing check of cancelling leaves behind.
    command = [os.environ["AIRSTRIP_BIN"], "serve", root, "--listen", "127.0.0.1:0", "--query-timeout", "30s"]
    with log.open("w") as file:
        server = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=file, text=True, env=environment(), preexec_fn=die_with_parent
        )
    try:
        address = started(server)
        if address is None:
            print(f"FAIL {version} server.starts: no line with its address in {START_SECONDS} s")
            passed = False
        else:
            passed = suite(version, jar, scratch / "classes", address)
    finally:
        stopped = stop(server)
    if not stopped:
        print(f"FAIL {version} server.stops: exit code {server.returncode} after SIGTERM")
    if not (passed and stopped):
        lines = [line for line in log.read_text().splitlines(keepends=True) if 'outcome="Ok"' not in line]
        print(f"the end of the server's log, without what went well:\n{''.join(lines)[-4000:]}")
    sys.stdout.flush()
    return passed and stopped


def die_with_parent():
    """The server does not outlive this program. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def started(server):
    """The server's HOST:PORT, from its first lines. The rest of its output is read away."""
    found = queue.Queue()

    def read():
        for line in server.stdout:
            if address := re.search(r"grpc://([^\s/]+)", line):
                found.put(address[1])
        found.put(None)

    threading.Thread(target=read, daemon=True).start()
    try:
        return found.get(timeout=START_SECONDS)
    except queue.Empty:
        return None


def stop(server):
    """Asks the server to end; whether it did so in order."""
    server.send_signal(signal.SIGTERM)
    try:
        return server.wait(STOP_SECONDS) == 0
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
        return False


def suite(version, jar, classes, address):
    command = [
        "java", OPENS, "-Xmx512m", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8", "-Duser.timezone=UTC",
        "-cp", f"{jar}{os.pathsep}{classes}", "Suite", address, version,
    ]  # fmt: skip
    # stderr has the driver's own log, which no check needs; it is shown if Java dies.
    with tempfile.TemporaryFile("w+") as noise:
        java = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=noise, text=True, encoding="utf-8", preexec_fn=die_with_parent
        )
        timer = threading.Timer(SUITE_SECONDS, java.kill)
        timer.start()
        summary = None
        for line in java.stdout:
            if found := re.fullmatch(r"(\d+) passed, (\d+) failed\n", line):
                summary = found
            # The version in each line: both drivers run the same checks.
            print(re.sub(r"^(ok|FAIL) ", rf"\1 {version} ", line), end="", flush=True)
        code = java.wait()
        timer.cancel()
        if summary is None:
            noise.seek(0)
            print(f"FAIL {version} suite.ends: exit code {code}, after at most {SUITE_SECONDS} s")
            print(f"the end of the driver's log:\n{noise.read()[-3000:]}")
        return code == 0 and summary is not None and int(summary[1]) > 0


if __name__ == "__main__":
    sys.exit(main())
