"""``ray up`` and ``ray down`` without Ray on the machine: our provider alone, and a stand-in for the study.

For tests of what is around a study, which need no cluster and take seconds. $STAND_IN holds the study's source.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

from clusters.vast.provider import VastNodeProvider
from clusters.vast.rent import ssh


def main(command: str, file: str) -> None:
    config = yaml.safe_load(Path(file).read_text())
    config = VastNodeProvider.bootstrap_config(config)
    provider = VastNodeProvider(config["provider"], config["cluster_name"])
    if command == "down":
        for node in provider.nodes_for_teardown({}):
            provider.terminate_node(node)
        return
    if not provider.non_terminated_nodes({}):
        provider.create_node(config["available_node_types"]["head"]["node_config"], {"ray-node-type": "head"}, 1)
    (node,) = provider.non_terminated_nodes({})
    words = ["mkdir -p study/studies && cat > study/studies/step2_rate.py"]
    found = provider._find(node)
    subprocess.run(
        ssh(found, config["auth"]["ssh_private_key"], words), input=os.environ["STAND_IN"].encode(), check=True
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[-1])
