"""MLflow and H2O: servers that say of themselves how they are, and of which version."""

from __future__ import annotations

import os
from base64 import b64encode
from pathlib import Path

import msgspec

from fullcircle.deployment.needs import sql, web
from fullcircle.deployment.needs.outcome import Met, Unmet
from fullcircle.deployment.needs.places import address, shown
from fullcircle.types.needs import Need

_BY_HAND = "ask it by hand once"


class _Cloud(msgspec.Struct):
    """What H2O says of its cluster (``GET /3/Cloud``), as far as it matters here."""

    version: str = ""
    cloud_healthy: bool = False
    cloud_size: int = 0


def mlflow(need: Need, seconds: float) -> Met:
    """MLflow's tracking server (health, credentials, version), or the database or folder it is kept in.

    Raises Unmet. Credentials are those of MLflow's own variables (MLFLOW_TRACKING_TOKEN, ..._USERNAME).
    """
    at = address(need)
    if at.startswith(("http://", "https://")):
        return _tracking(at.rstrip("/"), seconds)
    if at.startswith(("databricks", "uc:")):
        return Met(what="MLflow in Databricks", warning="it was not asked", next_step=_BY_HAND)
    if "://" not in at or at.startswith("file:"):
        folder = Path(at.removeprefix("file://").removeprefix("file:"))
        if not folder.is_dir():
            told = "" if need.variable else str(folder.absolute())  # whatever stands in the variable may be a secret
            raise Unmet("there is no such folder", received=told, next_step="correct the address")
        return Met(what=f"the folder {folder} is there", warning=_no_version(need), next_step=_BY_HAND)
    found = sql.asked(at, seconds)
    told = found.warning or _no_version(need)
    return Met(what=f"MLflow's database: {found.what}", warning=told, next_step=found.next_step or _BY_HAND)


def _no_version(need: Need) -> str:
    return "it does not tell which MLflow writes to it, so the version was not checked" if need.version else ""


def _tracking(url: str, seconds: float) -> Met:
    where = shown(url)
    health = web.get(f"{url}/health", seconds)
    if health.status == 403 and b"host" in health.body.lower():
        raise Unmet(
            "MLflow refuses the name by which it is called (403)",
            received=where,
            next_step="start it with --allowed-hosts, or call it by a name that it goes by",
        )
    web.refuse(health.status, where)
    if health.body.strip() != b"OK":
        raise Unmet("what answers there is no MLflow server", received=where, next_step="correct the address")
    version = web.get(f"{url}/version", seconds)
    answer = web.get(f"{url}/api/2.0/mlflow/experiments/search?max_results=1", seconds, _credentials())
    if answer.status in (401, 403):
        raise Unmet(
            f"MLflow refuses who asks ({answer.status})",
            received=where,
            next_step="where the model runs set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD",
        )
    web.refuse(answer.status, where)
    told = version.body.decode("ascii", "replace").strip()[:40] if version.status == 200 else ""
    return Met(what=f"MLflow at {where} is well and lets us in", version=told)


def _credentials() -> dict[str, str]:
    token = os.environ.get("MLFLOW_TRACKING_TOKEN", "").strip()
    if token:
        return {"Authorization": f"Bearer {token}"}
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{one}", "") for one in ("USERNAME", "PASSWORD"))
    if not user:
        return {}
    return {"Authorization": f"Basic {b64encode(f'{user}:{password}'.encode()).decode('ascii')}"}


def h2o(need: Need, seconds: float) -> Met:
    """An H2O cluster: whether it is healthy, and its version. Raises Unmet."""
    url = address(need).rstrip("/")
    where = shown(url)
    found = web.get(f"{url}/3/Cloud", seconds)
    web.refuse(found.status, where)
    try:
        cloud = msgspec.json.decode(found.body, type=_Cloud)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unmet("what answers there is no H2O", received=where, next_step="correct the address") from error
    if not cloud.cloud_healthy:
        raise Unmet("the H2O cluster says that it is not healthy", received=where, next_step="see H2O's own log")
    return Met(what=f"H2O at {where} is healthy, {cloud.cloud_size} nodes", version=cloud.version)
