"""Put pip into a virtual environment that was made without it: Debian's Python has none until python3-venv is there.

Run with the environment's python. The newest stable pip comes from PIP_INDEX_URL or PyPI, its checksum verified.
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/") + "/pip/"
page = urllib.request.urlopen(index).read().decode()
links = re.findall(r'href="([^"#]*/pip-(\d+(?:\.\d+)*)-py3-none-any\.whl)#sha256=([0-9a-f]{64})"', page)
link, _, digest = max(links, key=lambda found: [int(part) for part in found[1].split(".")])
wheel = urllib.request.urlopen(urllib.parse.urljoin(index, link)).read()
if hashlib.sha256(wheel).hexdigest() != digest:
    sys.exit(f"{link}: wrong checksum; try again")
with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / link.rsplit("/", 1)[-1]
    path.write_bytes(wheel)
    subprocess.run([sys.executable, f"{path}/pip", "install", "--quiet", "--no-index", str(path)], check=True)
