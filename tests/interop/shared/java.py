"""What the suites with Java clients share: pinned jars of Maven Central, compiling, and a server to run against.

The jars come by `mvn`, where it is installed, since it knows its own mirrors and proxies; else, or if
MAVEN_REPOSITORY names a repository's URL, by plain HTTP. Only the standard library is needed.
"""

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
from typing import NamedTuple

from serving import die_with_parent, environment

DOWNLOAD_SECONDS = 600
START_SECONDS = 30
STOP_SECONDS = 20
# Without it Arrow cannot reach direct memory: with jars on the class path nothing is a named module.
OPENS = "--add-opens=java.base/java.nio=ALL-UNNAMED"


class Jar(NamedTuple):
    """A line of a jars.txt: `GROUP:NAME:VERSION SHA-256`."""

    group: str
    name: str
    version: str
    sha256: str

    @property
    def file(self):
        return f"{self.name}-{self.version}.jar"


def runs(tool):
    """Whether there is this tool of a JDK, and it is new enough."""
    try:
        done = subprocess.run([tool, "-version"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return False
    found = re.search(r"(\d+)[.\d]*", done.stdout + done.stderr)
    return found is not None and int(found[1]) >= 17


def pins(path):
    lines = Path(path).read_text().splitlines()
    pins = [line.split() for line in lines if line and not line.startswith("#")]
    return [Jar(*coordinates.split(":"), sha256) for coordinates, sha256 in pins]


def provide(cache, jars):
    """The paths of jars, those that are not in the cache downloaded."""
    # The folder is created by any of several runs at once.
    cache.mkdir(parents=True, exist_ok=True)
    missing = [jar for jar in jars if not whole(cache / jar.file, jar)]
    if missing:
        with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as folder:
            folder = Path(folder)
            if "MAVEN_REPOSITORY" in os.environ or shutil.which("mvn") is None or not by_maven(missing, folder):
                for jar in missing:
                    by_http(jar, folder / jar.file)
            for jar in missing:
                if not whole(folder / jar.file, jar):
                    sys.exit(f"{jar.file} has SHA-256 {digest(folder / jar.file)}, jars.txt says {jar.sha256}")
                # At once: another run may read it.
                (folder / jar.file).replace(cache / jar.file)
    return [cache / jar.file for jar in jars]


def whole(path, jar):
    return path.exists() and digest(path) == jar.sha256


def digest(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def by_maven(jars, folder):
    """Whether mvn copied all of the jars, and nothing that they depend on, by one call."""
    items = "".join(
        f"<artifactItem><groupId>{jar.group}</groupId><artifactId>{jar.name}</artifactId>"
        f"<version>{jar.version}</version></artifactItem>"
        for jar in jars
    )
    (folder / "pom.xml").write_text(
        '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>'
        "<groupId>jars</groupId><artifactId>jars</artifactId><version>1</version><packaging>pom</packaging>"
        "<build><plugins><plugin><artifactId>maven-dependency-plugin</artifactId><configuration>"
        f"<artifactItems>{items}</artifactItems><outputDirectory>{folder}</outputDirectory>"
        "<useBaseVersion>true</useBaseVersion></configuration></plugin></plugins></build></project>"
    )
    try:
        done = subprocess.run(
            ["mvn", "-q", "-B", "-Dstyle.color=never", "dependency:copy"],
            cwd=folder, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        print(f"mvn did not provide the jars: {error}", flush=True)
        return False
    if done.returncode != 0:
        print(f"mvn did not provide the jars:\n{done.stdout[:1000]}", flush=True)
    return done.returncode == 0 and all((folder / jar.file).exists() for jar in jars)


def by_http(jar, target):
    url = f"{repository()}/{jar.group.replace('.', '/')}/{jar.name}/{jar.version}/{jar.file}"
    try:
        with urllib.request.urlopen(url, timeout=60) as response, target.open("wb") as file:
            shutil.copyfileobj(response, file)
    except OSError as error:
        # Not the URL: a mirror's address may hold a password.
        sys.exit(f"{jar.file} could not be downloaded: {error}")


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


def compile(sources, classes, jars=()):
    """Compiles checks."""
    files = sorted(map(str, sources))
    path = ["-cp", os.pathsep.join(map(str, jars))] if jars else []
    if subprocess.run(["javac", "-encoding", "UTF-8", *path, "-d", classes, *files]).returncode != 0:
        sys.exit("the checks do not compile")


def demo(folder):
    """The TPC-H tables of scale 0.01."""
    command = [os.environ["AIRSTRIP_BIN"], "demo", "--scale", "0.01", folder]
    subprocess.run(command, env=environment(), stdout=subprocess.DEVNULL, check=True)


def check(label, root, log, main, jars, seconds):
    """Runs the Java class `main` (its arguments: HOST:PORT and `label`) on a server of its own; whether all passed."""
    # Half of a minute ends what a failing check of cancelling leaves behind.
    command = [os.environ["AIRSTRIP_BIN"], "serve", root, "--listen", "127.0.0.1:0", "--query-timeout", "30s"]
    with log.open("w") as file:
        server = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=file, text=True, env=environment(), preexec_fn=die_with_parent
        )
    try:
        address = started(server)
        if address is None:
            print(f"FAIL {label} server.starts: no line with its address in {START_SECONDS} s")
            passed = False
        else:
            passed = suite(label, main, jars, address, seconds)
    finally:
        stopped = stop(server)
    if not stopped:
        print(f"FAIL {label} server.stops: exit code {server.returncode} after SIGTERM")
    if not (passed and stopped):
        lines = [line for line in log.read_text().splitlines(keepends=True) if 'outcome="Ok"' not in line]
        print(f"the end of the server's log, without what went well:\n{''.join(lines)[-4000:]}")
    sys.stdout.flush()
    return passed and stopped


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


def suite(label, main, jars, address, seconds):
    command = [
        "java", OPENS, "-Xmx512m", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8", "-Duser.timezone=UTC",
        "-cp", os.pathsep.join(map(str, jars)), main, address, label,
    ]  # fmt: skip
    # stderr has the driver's own log, which no check needs; it is shown if Java dies.
    with tempfile.TemporaryFile("w+") as noise:
        java = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=noise, text=True, encoding="utf-8", preexec_fn=die_with_parent
        )
        timer = threading.Timer(seconds, java.kill)
        timer.start()
        summary = None
        for line in java.stdout:
            if found := re.fullmatch(r"(\d+) passed, (\d+) failed\n", line):
                summary = found
            # The label in each line: several runs do the same checks.
            print(re.sub(r"^(ok|FAIL) ", rf"\1 {label} ", line), end="", flush=True)
        code = java.wait()
        timer.cancel()
        if summary is None:
            noise.seek(0)
            print(f"FAIL {label} suite.ends: exit code {code}, after at most {seconds} s")
            print(f"the end of the client's log:\n{noise.read()[-3000:]}")
        return code == 0 and summary is not None and int(summary[1]) > 0
