"""The documented deployments for other work pools: they deploy on a real server, with variables that its pools know."""

import os
import subprocess
import sys

import pytest
from conftest import Place

from fewshot.project.fingerprints import SOURCES
from fewshot.project.paths import Home

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["docker", "kubernetes"])
def test_the_nightly_retraining_deploys_to_other_pools_without_other_code(
    home: Home, servers: Place, kind: str
) -> None:
    import httpx
    import yaml

    api = servers[0]
    variables = {"PREFECT_API_URL": api, "FEWSHOT_PROJECT": "/projects/few", "FEWSHOT_HOME": "/projects/few/.fewshot"}

    def prefect(*arguments: str) -> None:
        command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
        done = subprocess.run(command, cwd=SOURCES, env=os.environ | variables, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    prefect("work-pool", "create", kind, "--type", kind)
    prefect("deploy", "--all", "--prefect-file", f"docs/workers/{kind}.yaml")
    key = tuple(os.environ["PREFECT_API_AUTH_STRING"].split(":"))
    found = httpx.get(f"{api}/deployments/name/retrain/nightly-{kind}", trust_env=False, auth=key).json()
    assert found["entrypoint"] == "flows/retrain.py:retrain"
    assert found["parameters"]["preset"] == "glyphs-protonet-5w1s"
    assert [one["schedule"]["cron"] for one in found["schedules"]] == ["0 3 * * *"]
    assert found["pull_steps"] == [{"prefect.deployments.steps.set_working_directory": {"directory": "/opt/fewshot"}}]
    if kind == "docker":
        assert found["job_variables"]["volumes"] == ["/projects/few:/opt/fewshot", "/projects/few/.fewshot:/state"]

    # The nightly job is the one that a process runs; only the pool is another.
    ours = yaml.safe_load((SOURCES / "prefect.yaml").read_text())["deployments"]
    [nightly] = [one for one in ours if one["name"] == "nightly"]
    [other] = yaml.safe_load((SOURCES / "docs" / "workers" / f"{kind}.yaml").read_text())["deployments"]
    assert {key: nightly[key] for key in other if key not in ("name", "work_pool")} == {
        key: value for key, value in other.items() if key not in ("name", "work_pool")
    }
    pool = httpx.get(f"{api}/work_pools/{kind}", trust_env=False, auth=key).json()
    known = pool["base_job_template"]["variables"]["properties"]
    assert other["work_pool"]["job_variables"].keys() <= known.keys()
