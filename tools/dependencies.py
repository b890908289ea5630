"""Print the dependencies of pyproject.toml but for those named: `dependencies.py --without torch lightning`.

With the test extra; for Pythons on which the heavy packages have no wheel at hand.
"""

import argparse
import re
import tomllib
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--without", nargs="*", default=[])
left_out = set(parser.parse_args().without)
project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
for requirement in (*project["dependencies"], *project["optional-dependencies"]["test"]):
    if re.split(r"[\[<>=;\s]", requirement)[0] not in left_out:
        print(requirement)
