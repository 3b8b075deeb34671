"""MLflow's own page: the address that opens the runs as a table with the columns that matter here.

``python -m sqidflow.tracking.ui ADDRESS`` prints it for the store of the workdir; ``make mlflow`` does.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import TYPE_CHECKING

from sqidflow.core.settings import default_workdir, load_settings
from sqidflow.core.workdir import Workdir
from sqidflow.tracking.killed import end_killed_runs
from sqidflow.tracking.runs import PROCESSES, STORE, default_tracking_uri, experiment_for

if TYPE_CHECKING:
    from mlflow import MlflowClient

COLUMNS = ("metrics.`test_ndcg`", "metrics.`energy_kwh`", "tags.`blessed`", "tags.`data_hash`")
"""NDCG, kWh, blessed and the version of the data, as MLflow names its columns."""
_WORKFLOW = "workflowType=machine_learning"
"""Without it MLflow's menu is that of language models: traces, sessions, judges, prompts."""
_SHARED = "mlflow.sharedViewState."
_VIEW = {
    "orderByKey": "attributes.start_time",
    "orderByAsc": False,
    "searchFilter": "",
    "startTime": "ALL",
    "lifecycleFilter": "Active",
    "datasetsFilter": [],
    "modelVersionFilter": "All Runs",
    "selectedColumns": list(COLUMNS),
    "columnOrder": list(COLUMNS),
    "viewMaximized": True,
}


def runs_path(client: MlflowClient, experiment_id: str) -> str:
    """The path of an experiment's runs in MLflow's page, with ``COLUMNS``.

    MLflow keeps a view that was shared in a tag of the experiment, and the address names it.
    """
    view = json.dumps(_VIEW, sort_keys=True)
    key = hashlib.sha256(view.encode()).hexdigest()
    if client.get_experiment(experiment_id).tags.get(_SHARED + key) != view:
        client.set_experiment_tag(experiment_id, _SHARED + key, view)
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={key}&compareRunsMode=TABLE&{_WORKFLOW}"


def main(address: str) -> None:
    """Print where the runs of the workdir are; the bare address where there is no run yet."""
    from mlflow import MlflowClient

    workdir = Workdir(default_workdir())
    tracking = load_settings(default_workdir()).tracking
    path = ""
    if (workdir.mlflow / STORE).is_file():
        uri = tracking.uri or default_tracking_uri(workdir)
        client = MlflowClient(tracking_uri=uri)
        end_killed_runs(client, workdir.mlflow / PROCESSES, own_store=uri == default_tracking_uri(workdir))
        experiment = experiment_for(client, tracking.experiment)
        if experiment is not None:
            path = runs_path(client, experiment)
    sys.stdout.write(f"MLflow on {address}/{path}  (Ctrl-C stops it)\n")


if __name__ == "__main__":
    main(sys.argv[1])
