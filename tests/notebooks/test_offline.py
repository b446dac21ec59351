"""Lesson 00 needs no network: it runs where every connection but to this machine itself is refused."""

import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import nbformat
import pytest

from ftkit.notebooks.run import run_notebook

LESSON = "00_start_here.ipynb"
SOMEWHERE = "192.0.2.1"  # an address that is kept for examples and belongs to no one
ATTEMPTS = {
    "connect": f"import socket; socket.create_connection(('{SOMEWHERE}', 80), timeout=2)",
    "connect_ex": f"import socket; socket.socket().connect_ex(('{SOMEWHERE}', 80))",
    "datagram": f"import socket; socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('{SOMEWHERE}', 80))",
    "name": "import socket; socket.getaddrinfo('example.org', 80)",
    "page": "import urllib.request; urllib.request.urlopen('https://example.org', timeout=2)",
    "async": f"import asyncio; asyncio.run(asyncio.open_connection('{SOMEWHERE}', 80))",
    "child": "import subprocess, sys\n"
             "code = \"import socket; socket.getaddrinfo('example.org', 80)\"\n"
             "sys.exit(subprocess.run([sys.executable, '-c', code]).returncode)",
}


def python(code: str, environment: dict[str, str]) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True,
                          text=True, encoding="utf-8", timeout=60)


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_the_block_refuses_every_way_out(attempt, cut_off):
    done = python(ATTEMPTS[attempt], cut_off)
    assert done.returncode != 0 and "the network is cut off" in done.stderr


def test_the_block_lets_this_machine_talk_to_itself(cut_off):
    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"here")

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        done = python(f"import urllib.request; print(urllib.request.urlopen('{address}').read().decode())", cut_off)
        server.shutdown()
    assert done.stdout == "here\n", done.stderr


def test_a_notebook_that_wants_the_network_fails_where_it_wants_it(tmp_path, cut_off, monkeypatch):
    for name, value in cut_off.items():
        monkeypatch.setenv(name, value)
    cells = [nbformat.v4.new_code_cell('scale: str = "tiny"\nseed: int = 0\nout_dir: str = "."', id="parameters",
                                       metadata={"tags": ["parameters"]}),
             nbformat.v4.new_code_cell(ATTEMPTS["name"], id="wants")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "90_wants.ipynb")
    result = run_notebook(tmp_path / "90_wants.ipynb", tmp_path / "build" / "90_wants.ipynb")
    assert result.status == "failed" and result.cell == "wants" and "the network is cut off" in result.error


def test_lesson_00_runs_with_the_network_cut_off(as_shipped, notebooks):
    shipped = as_shipped(notebooks / LESSON)
    assert shipped.result.status == "ok", shipped.result.error
