"""The plugin for Prefect's command line: bare deployment names, the server of the settings, error messages."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from prefect.plugins import HookContext, SetupResult

from flows import prefect_plugin
from flows.operations.prefect_api import Api
from tests.support import prefect_services as prefect_services_

until = prefect_services_.until


def hook(monkeypatch, *argv, api_url=None):
    monkeypatch.setattr(sys, "argv", list(argv))
    return prefect_plugin.setup_environment(ctx=HookContext("3.8.8", api_url, None))


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["/venv/bin/prefect", "deployment", "run", "x"], "deployment"),
        (["prefect", "--no-prompt", "deploy", "--all"], "deploy"),
        (["/lib/prefect/__main__.py", "worker", "start"], "worker"),
        (["prefect", "--help"], None),
        (["/venv/bin/slickwatch", "deployment", "run"], None),
        (["/lib/other/__main__.py", "deployment"], None),
        ([], None),
    ],
)
def test_only_the_prefect_command_is_recognised(argv, command):
    assert prefect_plugin._command(argv) == command


def test_the_server_comes_from_the_settings(monkeypatch, tmp_path):
    (tmp_path / "slickwatch.toml").write_text("[prefect]\nport = 4321\n")
    monkeypatch.chdir(tmp_path)
    result = hook(monkeypatch, "prefect", "flow-run", "ls")
    assert isinstance(result, SetupResult)
    assert result.env == {"PREFECT_API_URL": "http://127.0.0.1:4321/api"}


@pytest.mark.parametrize("argv", [("pytest",), ("prefect", "--help"), ("prefect", "server", "start")])
def test_other_commands_are_ignored(monkeypatch, argv):
    assert hook(monkeypatch, *argv) is None


def test_a_configured_server_is_kept(monkeypatch):
    assert hook(monkeypatch, "prefect", "flow-run", "ls", api_url="http://elsewhere/api") is None


def test_invalid_settings_cause_a_warning(monkeypatch, tmp_path, capsys):
    (tmp_path / "slickwatch.toml").write_text("[prefect]\nport = -1\n")
    monkeypatch.chdir(tmp_path)
    assert hook(monkeypatch, "prefect", "flow-run", "ls") is None
    err = capsys.readouterr().err
    assert err.startswith("prefect: slickwatch plugin disabled: ")
    assert err.count("\n") == 1


def test_a_run_under_invalid_settings_is_refused_in_one_line(tmp_path):
    (tmp_path / "slickwatch.toml").write_text("[prefect]\nport = -1\n")
    (tmp_path / "pyproject.toml").write_text("[tool.prefect.plugins]\nenabled = true\n")
    done = prefect_services_.Services(tmp_path, "").prefect("deployment", "run", "retrain-dakd")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("prefect: ")
    assert "slickwatch.toml" in line
    assert "prefect.port" in line


def test_a_changed_prefect_causes_a_warning(monkeypatch, capsys):
    def missing(url, remedy):
        raise AttributeError("PrefectClient has no such method")

    monkeypatch.setattr(prefect_plugin, "_accept_bare_names", missing)
    assert hook(monkeypatch, "prefect", "deployment", "run", "x", api_url="http://127.0.0.1:1/api") is None
    assert "no such method" in capsys.readouterr().err


def test_help_does_not_load_the_settings(tmp_path):
    program = (
        "import sys; sys.argv = ['prefect', '--help']; import prefect; print('flows.prefect_plugin' in sys.modules, "
    )
    program += "'flows.settings' in sys.modules)"
    environment = {**os.environ, "PREFECT_PLUGINS_ENABLED": "true"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_without_a_server_the_error_names_address_and_remedy(tmp_path):
    port = prefect_services_.free_port()
    (tmp_path / "slickwatch.toml").write_text(f"[prefect]\nport = {port}\n")
    (tmp_path / "pyproject.toml").write_text("[tool.prefect.plugins]\nenabled = true\n")
    services = prefect_services_.Services(tmp_path, "")
    done = services.prefect("deployment", "run", "retrain-dakd")
    assert done.returncode == 1
    assert f"http://127.0.0.1:{port}" in done.stderr
    assert "slickwatch up" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_outside_a_project_without_a_server_it_is_one_line(tmp_path):
    """In an environment of its own with the packages of this one and what an installation adds."""
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    (packages,) = environment.glob("lib/python3*/site-packages")
    (packages / "these.pth").write_text("\n".join([str(prefect_services_.ROOT), *map(str, _site_packages())]) + "\n")
    shutil.copy(prefect_services_.ROOT / "flows" / "slickwatch_prefect.pth", packages)
    port = prefect_services_.free_port()
    around = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "PYTHON"))}
    around |= {"SLICKWATCH_PREFECT__PORT": str(port), "PREFECT_HOME": str(tmp_path / "home")}
    (tmp_path / "elsewhere").mkdir()
    command = [environment / "bin" / "python", "-m", "prefect", "deployment", "run", "retrain-dakd"]
    done = subprocess.run(command, cwd=tmp_path / "elsewhere", env=around, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"prefect: http://127.0.0.1:{port}: no Prefect server answers (")
    assert line.endswith("there is no slickwatch.toml here: go to its folder, and start the server with slickwatch up")


def _site_packages():
    import prefect

    return {Path(path) for path in sys.path if path.endswith("site-packages")} | {Path(prefect.__file__).parents[1]}


def test_only_the_prefect_command_has_plugins_enabled(tmp_path):
    line = (prefect_services_.ROOT / "flows" / "slickwatch_prefect.pth").read_text()
    around = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    enabled = {}
    for program in ("prefect", "other"):
        (tmp_path / program).write_text(f"{line}\nprint(os.environ.get('PREFECT_PLUGINS_ENABLED'))\n")
        done = subprocess.run(
            [sys.executable, tmp_path / program, "version"], env=around, capture_output=True, text=True, check=True
        )
        enabled[program] = done.stdout.strip()
    assert enabled == {"prefect": "true", "other": "None"}
    assert line.count("\n") == 1, "each line of a .pth file is a statement of its own"


def test_a_bare_name_runs_the_deployment(prefect_services):
    with Api(prefect_services.url) as api:
        before = {run["id"] for run in prefect_services.runs(api, "retrain-dakd")}
        done = prefect_services.prefect("deployment", "run", "retrain-dakd")
        assert done.returncode == 0, done.stdout + done.stderr

        def finished():
            runs = prefect_services.runs(api, "retrain-dakd")
            return [run for run in runs if run["id"] not in before and run["end_time"] is not None]

        (run,) = until(finished, prefect_services.logs)
    assert run["state"]["type"] == "COMPLETED"
    assert run["parameters"]["config"] == str(prefect_services.folder / "slickwatch.toml")
    assert "an output of its own" in prefect_services.home.log("runs").read_text()


def test_the_full_name_still_works(prefect_services):
    done = prefect_services.prefect("deployment", "inspect", "retrain-dakd/retrain-dakd")
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_ambiguous_name_lists_both_deployments(prefect_services):
    with Api(prefect_services.url) as api:
        flow = api.post("/flows/", name="another")
        deployment = api.post("/deployments/", name="retrain-dakd", flow_id=flow["id"])
        done = prefect_services.prefect("deployment", "run", "retrain-dakd")
        api.delete(f"/deployments/{deployment['id']}")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "another/retrain-dakd, retrain-dakd/retrain-dakd" in done.stderr


def test_an_unknown_name_is_reported_by_prefect(prefect_services):
    done = prefect_services.prefect("deployment", "run", "retrain-nothing")
    assert done.returncode == 1
    assert "'retrain-nothing' not found" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_the_package_contains_the_plugin_and_the_checkout_enables_it():
    import tomllib

    pyproject = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert pyproject["project"]["entry-points"]["prefect.plugins"] == {"slickwatch": "flows.prefect_plugin"}
    assert pyproject["tool"]["prefect"]["plugins"] == {"enabled": True}
    included = pyproject["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    assert included["flows/slickwatch_prefect.pth"] == "slickwatch_prefect.pth"
